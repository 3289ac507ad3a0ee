"""Segment files of both logs: compressed copies beside the live ones, and whole logs again for tools.

`<state_dir>/logs/<log>/<first>.log` is live; `<state_dir>/archive/<log>/<first>.log.zst` is a full one, byte
for byte, that outlives it. Writing a copy and proving it cost disk and CPU time: never on an order's path.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zstandard

from pipeline.errors import LogCorrupt
from pipeline.native.log import LogReader
from pipeline.native.segments import SegmentInfo, segment_firsts, segments
from pipeline.store.durable import sync_directory

LOGS = ("stream", "decisions")
CHUNK_BYTES = 1 << 18  # one step of the compressor: the interpreter is free for the lane between two
COMPRESSION_LEVEL = 3
_ENDING, _PARTIAL = ".log.zst", ".partial"
_READ_SLOTS = 4_096


def live_directory(state_dir: Path, log: str) -> Path:
    """Return the folder of a log's live segments."""
    return state_dir / "logs" / log


def archive_directory(state_dir: Path, log: str) -> Path:
    """Return the folder of a log's compressed segments; it is made with the first of them."""
    return state_dir / "archive" / log


def archive_path(state_dir: Path, log: str, first: int) -> Path:
    """Return where the copy of the segment of `first` is or will be."""
    return archive_directory(state_dir, log) / f"{first:020d}{_ENDING}"


def archived(state_dir: Path, log: str) -> list[int]:
    """Return the first positions of the copies, rising."""
    paths = archive_directory(state_dir, log).glob(f"*{_ENDING}")
    stems = [path.name.removesuffix(_ENDING) for path in paths]
    return sorted(int(stem) for stem in stems if len(stem) == 20 and stem.isdigit())


def is_full(info: SegmentInfo) -> bool:
    """Tell whether nothing will be written into this file any more."""
    return info.published == info.first + info.slots


def archive_segment(state_dir: Path, log: str, first: int) -> Path:
    """Prove every record of a full segment and write its copy; it is there whole or not at all.

    Raises LogCorrupt for damage and for another copy of that name, OSError when the disk refuses.
    """
    live, target = live_directory(state_dir, log) / f"{first:020d}.log", archive_path(state_dir, log, first)
    _prove(live.parent, log, first)
    if target.exists():
        if is_copy(live, target):
            return target
        raise LogCorrupt(
            f"store.segments: {target} is no copy of {live}; move the archive of another run away")
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = target.with_name(target.name + _PARTIAL)
    try:
        _pack(live, partial)
        partial.replace(target)
    except OSError:
        partial.unlink(missing_ok=True)  # a full disk needs the room
        raise
    sync_directory(target.parent)
    return target


def _pack(live: Path, partial: Path) -> None:
    compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL, write_checksum=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with open(live, "rb") as source, open(os.open(partial, flags, 0o600), "wb") as out:
        with compressor.stream_writer(out, closefd=False) as packed:
            while chunk := source.read(CHUNK_BYTES):
                packed.write(chunk)
        out.flush()
        os.fsync(out.fileno())


def _prove(directory: Path, log: str, first: int) -> None:
    """Read one full segment with every checksum; raises LogCorrupt."""
    reader = LogReader(directory, log, first, verify=True)
    try:
        end = next(info.first + info.slots for info in segments(directory, log) if info.first == first)
        while reader.position < end and reader.read(_READ_SLOTS):
            pass
        if reader.position < end:
            raise LogCorrupt(f"store.segments: {directory}: the segment of {first} is not full; "
                             f"it ends at {reader.position} instead of {end}")
    finally:
        reader.close()


def is_copy(live: Path, packed: Path) -> bool:
    """Tell whether a compressed file holds a live one byte for byte, but for its word "next is ready".

    That word (byte 384) may be set after the copy was made.
    """
    with open(live, "rb") as left, open(packed, "rb") as raw:
        right = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True)
        try:
            if _but_next_ready(left.read(CHUNK_BYTES)) != _but_next_ready(_whole_chunk(right)):
                return False
            while chunk := left.read(CHUNK_BYTES):
                if chunk != _whole_chunk(right):
                    return False
            return not right.read(1)
        except zstandard.ZstdError:
            return False


def _but_next_ready(chunk: bytes) -> bytes:
    return chunk[:384] + chunk[392:]


def _whole_chunk(source: zstandard.ZstdDecompressionReader) -> bytes:
    """Read CHUNK_BYTES unless the end comes first: a decompressor may give less at once."""
    parts, missing = [], CHUNK_BYTES
    while missing and (part := source.read(missing)):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def archive_all(state_dir: Path) -> list[Path]:
    """Bring both logs to the disk and copy every full segment; for a clean stop, when no lane runs any more.

    Returns the copies that were made. Raises OSError or LogCorrupt; what was copied before stays.
    """
    made = []
    for log in LOGS:
        directory = live_directory(state_dir, log)
        if not directory.is_dir():
            continue
        for info in segments(directory, log):
            if info.published > info.first:
                sync_file(Path(info.path))
        sync_directory(directory)
        for info in segments(directory, log):
            if is_full(info) and not archive_path(state_dir, log, info.first).exists():
                made.append(archive_segment(state_dir, log, info.first))
    return made


def sync_file(path: Path) -> None:
    """Bring a file's pages to the disk, those written through mappings, too; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def whole_log(state_dir: Path, log: str, position: int = 0) -> Iterator[Path]:
    """Lend a temporary folder that holds a log from `position` on: copies unpacked, live segments linked.

    It ends where the log ends now (the last, live file is followed on). Raises OSError when there is no room.
    """
    live = live_directory(state_dir, log)
    copies, on_hand = archived(state_dir, log), segment_firsts(live) if live.is_dir() else []
    firsts = sorted({*copies, *on_hand})
    begin = max((first for first in firsts if first <= position), default=0)
    with tempfile.TemporaryDirectory(prefix="pm-whole-") as made:
        directory = Path(made) / log
        directory.mkdir()
        for first in firsts:
            if first < begin:
                continue
            target = directory / f"{first:020d}.log"
            if first in on_hand and _lend(live / target.name, target):
                continue
            with open(archive_path(state_dir, log, first), "rb") as packed, open(target, "wb") as out:
                zstandard.ZstdDecompressor().copy_stream(packed, out)
        yield directory


def _lend(live: Path, target: Path) -> bool:
    """Make a live file appear in another folder; False when it was deleted meanwhile, behind its copy."""
    try:
        os.link(live, target)  # it may be deleted from under us and stays readable
        return True
    except FileNotFoundError:
        return False
    except OSError:
        target.symlink_to(live.resolve())  # another file system
        return True


@contextmanager
def whole_logs(logs: Path) -> Iterator[Path]:
    """Lend the folder of both logs as if no segment had ever been deleted; `logs` is `<state_dir>/logs`.

    It is `logs` itself when nothing was, else a temporary folder with all that stands in and beside `logs`.
    """
    state_dir = logs.parent
    firsts = {log: segment_firsts(logs / log) if (logs / log).is_dir() else [] for log in LOGS}
    if not any(set(archived(state_dir, log)) - set(firsts[log]) for log in LOGS):
        yield logs
        return
    with ExitStack() as held:
        made = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="pm-whole-"))) / "logs"
        made.mkdir()
        for source, target in ((state_dir, made.parent), (logs, made)):
            for entry in source.iterdir():
                if entry.name not in (*LOGS, "logs"):
                    (target / entry.name).symlink_to(entry.resolve())
        for log in LOGS:
            (made / log).symlink_to(held.enter_context(whole_log(state_dir, log)))
        yield made


@contextmanager
def reading(
    state_dir: Path, log: str, position: int | None = 0, *, verify: bool = False,
) -> Iterator[LogReader]:
    """Lend a reader at `position` (None = the oldest record there is), from the archive when it must be.

    Raises what LogReader raises, and EnvironmentProblem when neither holds the position.
    """
    live = live_directory(state_dir, log)
    firsts, copies = segment_firsts(live) if live.is_dir() else [], archived(state_dir, log)
    if position is None:
        position = min([*copies, *firsts], default=0)
    with ExitStack() as held:
        directory = live
        if copies and (not firsts or position < firsts[0]):
            directory = held.enter_context(whole_log(state_dir, log, position))
        reader = LogReader(directory, log, position, verify=verify)
        held.callback(reader.close)
        yield reader
