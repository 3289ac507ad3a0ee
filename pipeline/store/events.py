"""The event log: what changed, one JSON line each, a file per lane: `<state_dir>/log/<lane>.jsonl`.

A line is `{"ts_ns", "level", "lane", "event", "stage" when told, fields...}`; units stand in the names of
fields. State changes belong here, records do not. Nothing here raises into a lane: a line that cannot be
written is counted in `dropped_count` and forgotten. `logging.handlers` does the rotation.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

import orjson

from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.auth import Secret

LEVELS = ("debug", "info", "warning", "error")
SILENT = "silent"  # for simulated runs
DIRECTORY = "log"  # in the state directory
SUFFIX = ".jsonl"
BYTES_MAX = 4 << 20
FILES_KEPT = 4
REPEAT_NS = NS_PER_S  # the same line again within this time is counted instead of written
HIDDEN = "***"
HEAD = ("ts_ns", "level", "lane", "event")


def event_path(directory: Path, lane: str) -> Path:
    """Return the file that a lane writes now; older ones end in `.1`, `.2`, the greatest is the oldest."""
    return directory / f"{lane}{SUFFIX}"


def silent() -> EventLog:
    """Return a log that keeps nothing."""
    return EventLog(Path(), "", SILENT)


class EventLog:
    """One lane's log; any thread of the lane may write. No method raises.

    directory: the state directory's `log`, made when absent. A line that would pass bytes_max begins a new
    file; files_kept (at least 1) older ones stay. level: the mildest that is written; an unknown one counts
    as info, and with SILENT nothing is written and nothing made.
    """

    def __init__(
        self, directory: Path, lane: str, level: str = "info", bytes_max: int = BYTES_MAX,
        files_kept: int = FILES_KEPT, clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.lane = lane
        self.dropped_count = 0
        self._rank = len(LEVELS) if level == SILENT else LEVELS.index(level if level in LEVELS else "info")
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[str, str, bytes] = ("", "", b"")  # level, event, fields of the newest line
        self._last_ns = 0
        self._repeats = 0
        if level != SILENT:
            with suppress(OSError):  # each line will find that out and be counted
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = _File(event_path(directory, lane), bytes_max, max(1, files_kept))

    def debug(self, event: str, /, **fields: object) -> None:
        """Write what only helps to find a fault."""
        self._put("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Write an expected change of state."""
        self._put("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Write what somebody should look at; trading goes on."""
        self._put("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Write what ended or stopped something."""
        self._put("error", event, fields)

    def close(self) -> None:
        """Write what is left and close the file; later lines are dropped and counted."""
        with self._lock:
            self._tell_repeats()
            self._file.close()

    def _put(self, level: str, event: str, fields: dict[str, object]) -> None:
        if LEVELS.index(level) < self._rank:
            return
        said = (level, event, _encode(_named(fields)))
        with self._lock:
            now_ns = self._clock()
            if said == self._last and 0 <= now_ns - self._last_ns < REPEAT_NS:
                self._repeats += 1
                return
            self._tell_repeats()
            self._last, self._last_ns = said, now_ns
            self._write(now_ns, said)

    def _tell_repeats(self) -> None:
        """Write how often the newest line came again, if it did."""
        if self._repeats:
            level, event, fields = self._last
            count = _encode({"repeats_count": self._repeats})
            self._repeats = 0
            self._write(self._clock(), (level, event, _joined(fields, count)))

    def _write(self, now_ns: int, said: tuple[str, str, bytes]) -> None:
        level, event, fields = said
        head = _encode(dict(zip(HEAD, (now_ns, level, self.lane, event), strict=True)))
        if not self._file.put(_joined(head, fields) + b"\n"):
            self.dropped_count += 1


def _joined(first: bytes, second: bytes) -> bytes:
    """Return two JSON objects as one."""
    return first if second == b"{}" else first[:-1] + b"," + second[1:]


def _named(fields: dict[str, object]) -> dict[str, object]:
    """Return the fields as they are written: `stage` first, and no field in the place of one of the head."""
    first = {"stage": fields["stage"]} if "stage" in fields else {}
    return first | {f"about_{name}" if name in HEAD else name: value for name, value in fields.items()}


def _encode(fields: dict[str, object]) -> bytes:
    """Return one JSON object; what JSON cannot hold is replaced by something that says so."""
    try:
        return orjson.dumps(fields, default=_shown)
    except TypeError:
        plain = {_text(name): _plain(value) for name, value in fields.items()}
        return orjson.dumps(plain, default=_shown)


def _shown(value: object) -> object:
    """Return what stands for a value that JSON does not know; nobody's bytes are written on a guess."""
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, Path):
        return _text(str(value))
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return f"<{type(value).__name__}>"


def _plain(value: object) -> object:
    """Return a field by itself: a number above 64 bits as text, broken text legible, else its type's name."""
    try:
        orjson.dumps(value, default=_shown)
        return value
    except TypeError:
        if isinstance(value, int):
            return str(value)
        return _text(value) if isinstance(value, str) else f"<{type(value).__name__}>"


def _text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


class _File(RotatingFileHandler):
    """The rotated file: owner-only, whole lines, each by one system call."""

    def __init__(self, path: Path, bytes_max: int, files_kept: int) -> None:
        super().__init__(path, maxBytes=bytes_max, backupCount=files_kept, delay=True)
        self._bytes = 0
        self._is_torn = False
        self._is_closed = False

    def _open(self) -> TextIOWrapper:
        fd = os.open(self.baseFilename, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._bytes = os.fstat(fd).st_size
        # The last writer may have died, or run out of disk, in the middle of a line.
        self._is_torn = self._bytes > 0 and os.pread(fd, 1, self._bytes - 1) != b"\n"
        return os.fdopen(fd, "a", encoding="utf-8")  # held and closed by the parent class; written past it

    def put(self, line: bytes) -> bool:
        """Append one line; False = it is lost, or only a part of it is there."""
        try:
            return self._append(line)
        except (OSError, ValueError):
            return False

    def _append(self, line: bytes) -> bool:
        if self._is_closed:
            return False
        stream = self.stream or self._reopen()
        if os.fstat(stream.fileno()).st_nlink == 0:  # somebody removed the file
            stream.close()
            stream = self._reopen()
        if self._bytes and self._bytes + self._is_torn + len(line) > self.maxBytes:
            self.doRollover()
            stream = self._reopen()
        whole = b"\n" + line if self._is_torn else line
        written = os.write(stream.fileno(), whole)
        self._bytes += written
        self._is_torn = written > 0 and whole[written - 1:written] != b"\n"
        return written == len(whole)

    def _reopen(self) -> TextIOWrapper:
        self.stream = None  # what stays when there is no file to be had
        self.stream = self._open()
        return self.stream

    def close(self) -> None:
        """Close for good."""
        self._is_closed = True
        super().close()
