"""Shared memory segments: made and unlinked by the supervisor alone, attached by everyone else.

A segment is a `multiprocessing.shared_memory` object (any tool may `SharedMemory(name)` it) with one header
page before its data. Nothing here ever registers with Python's resource tracker: an attacher that does
deletes the live run's memory when it exits (seen on 3.11, 3.12, 3.13), so the system calls are made directly.
Names are `pm-<instance>-<generation>-<what>`; old generations are swept at start and after a stop.
"""

from __future__ import annotations

import _posixshmem  # type: ignore[import-not-found]
import errno
import functools
import hashlib
import mmap
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import pipeline
from pipeline import native
from pipeline.errors import EnvironmentProblem, InvariantError, LayoutError, UsageError
from pipeline.native.crc import checksum
from pipeline.records import LAYOUT_HASH

HEADER_BYTES = 4096
MAGIC = b"pm-shm-1"
_HEADER = struct.Struct("<8sQQQQQ")  # magic, layout, build, generation, epoch, data bytes
_CHECK = struct.Struct("<I")  # CRC-32C of the fields before it
_NAME = re.compile(r"pm-([a-z0-9]+)-([0-9]+)-([A-Za-z0-9_.]+)")
_NAME_BYTES_MAX = 200


@functools.cache
def build_id() -> int:
    """Return 64 bits that name this build: version, layout and the bytes of its native modules."""
    digest = hashlib.sha256(f"{pipeline.__version__} {LAYOUT_HASH}".encode())
    for path in sorted(Path(native.__path__[0]).glob("*.so")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return int.from_bytes(digest.digest()[:8], "little")


def segment_name(instance: str, generation: int, what: str) -> str:
    """Return a segment's name; instance: lower-case letters and digits, what: letters, digits, `_`, `.`."""
    name = f"pm-{instance}-{generation}-{what}"
    if not _NAME.fullmatch(name) or len(name) > _NAME_BYTES_MAX:
        raise UsageError(
            f"shm.memory: a name pm-<instance>-<generation>-<what> of letters and digits, at most "
            f"{_NAME_BYTES_MAX} long, was {name!r}; change the instance name")
    return name


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says about itself."""

    layout: int
    build: int
    generation: int
    epoch: int
    data_bytes: int

    def pack(self) -> bytes:
        """Return the header's bytes with their check."""
        fields = _HEADER.pack(MAGIC, self.layout, self.build, self.generation, self.epoch, self.data_bytes)
        return fields + _CHECK.pack(checksum(fields))


class Segment:
    """A mapped segment. `data` is everything after the header page; a read-only one raises on a write.

    Release numpy views and ring ends before `close`: an open view keeps the mapping and close raises.
    """

    def __init__(self, name: str, mapping: mmap.mmap, header: Header, read_only: bool) -> None:
        self.name = name
        self.header = header
        self.read_only = read_only
        self._mapping = mapping
        self._whole = memoryview(mapping)
        self.data = self._whole[HEADER_BYTES:HEADER_BYTES + header.data_bytes]

    def close(self) -> None:
        """Unmap; raises InvariantError while a view of `data` is alive. A second call does nothing."""
        try:
            self.data.release()
            self._whole.release()
            self._mapping.close()
        except BufferError as error:
            raise InvariantError(
                f"shm.memory: {self.name} is closed while a view of it lives; release views first") from error

    def __enter__(self) -> Segment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def create(
    name: str, data_bytes: int, *, generation: int, epoch: int = 0, group: int | None = None
) -> Segment:
    """Make a segment of `data_bytes` zero bytes with all its memory reserved; for the supervisor only.

    Owner-only (0600), or owner and `group` (0660) for the signer's ring. Raises EnvironmentProblem when the
    name exists or memory is short: at start, with a message, instead of a SIGBUS later.
    """
    if not 0 < data_bytes <= 1 << 40:
        raise UsageError(f"shm.memory: {name} needs 1..2**40 bytes, was {data_bytes}")
    size = HEADER_BYTES + data_bytes
    try:
        fd = _posixshmem.shm_open("/" + name, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
    except FileExistsError:
        raise EnvironmentProblem(
            f"shm.memory: {name} exists already; stop the other run of this instance, or sweep") from None
    except OSError as error:
        raise EnvironmentProblem(
            f"shm.memory: {name} cannot be made: {error.strerror}; check /dev/shm") from error
    try:
        os.posix_fallocate(fd, 0, size)
        if group is not None:
            os.fchown(fd, -1, group)
            os.fchmod(fd, 0o660)
        header = Header(LAYOUT_HASH, build_id(), generation, epoch, data_bytes)
        os.pwrite(fd, header.pack(), 0)
        mapping = mmap.mmap(fd, size)
    except OSError as error:
        _posixshmem.shm_unlink("/" + name)
        is_full = error.errno in (errno.ENOSPC, errno.ENOMEM)
        reason = "not enough shared memory" if is_full else str(error.strerror)
        raise EnvironmentProblem(
            f"shm.memory: {name} needs {size} bytes: {reason}; "
            "enlarge /dev/shm or choose smaller rings and arenas") from error
    finally:
        os.close(fd)
    return Segment(name, mapping, header, read_only=False)


def attach(name: str, *, read_only: bool = False) -> Segment:
    """Map an existing segment, untracked. Raises LayoutError in one line when it is not of this build.

    EnvironmentProblem when it is missing, another user's, or open to all: then anyone may have written it.
    """
    try:
        fd = _posixshmem.shm_open("/" + name, os.O_RDONLY if read_only else os.O_RDWR, mode=0)
    except FileNotFoundError:
        raise EnvironmentProblem(f"shm.memory: {name} does not exist; start the pipeline first") from None
    except PermissionError:
        raise EnvironmentProblem(
            f"shm.memory: {name} belongs to another user; run as that user or in its group") from None
    try:
        status = os.fstat(fd)
        size = status.st_size
        if status.st_mode & 0o007:
            raise EnvironmentProblem(
                f"shm.memory: {name} is open to every user (mode {status.st_mode & 0o777:04o}), 0600 or 0660 "
                "was expected; stop the pipeline, find out who changed that, then start it anew")
        header = _read_header(name, os.pread(fd, _HEADER.size + _CHECK.size, 0), size)
        access = mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE
        mapping = mmap.mmap(fd, HEADER_BYTES + header.data_bytes, access=access)
    finally:
        os.close(fd)
    return Segment(name, mapping, header, read_only)


def _read_header(name: str, raw: bytes, size: int) -> Header:
    """Return the proven header; LayoutError names the first thing that is wrong."""
    hint = "stop the pipeline, then start it with one build"
    if len(raw) < _HEADER.size + _CHECK.size:
        raise LayoutError(f"shm.memory: {name} needs a header of {HEADER_BYTES} bytes, has {size}; {hint}")
    fields = raw[:_HEADER.size]
    magic, layout, build, generation, epoch, data_bytes = _HEADER.unpack(fields)
    (check,) = _CHECK.unpack_from(raw, _HEADER.size)
    wrong: list[tuple[str, object, object]] = [
        ("magic", MAGIC, magic), ("header check", checksum(fields), check),
        ("layout", f"0x{LAYOUT_HASH:016x}", f"0x{layout:016x}"),
        ("build", f"0x{build_id():016x}", f"0x{build:016x}"),
        ("size", HEADER_BYTES + data_bytes, size),
    ]
    for what, expected, found in wrong:
        if expected != found:
            raise LayoutError(f"shm.memory: {name}: {what} {expected!r} expected, was {found!r}; {hint}")
    return Header(layout, build, generation, epoch, data_bytes)


def unlink(name: str) -> bool:
    """Remove the name; mappings live on. False when it was gone. For the supervisor only."""
    try:
        _posixshmem.shm_unlink("/" + name)
    except FileNotFoundError:
        return False
    return True


def listing(instance: str) -> list[tuple[int, str]]:
    """Return (generation, name) of every segment of the instance, oldest first."""
    found = []
    for entry in os.listdir("/dev/shm"):  # noqa: S108 - where POSIX shared memory lives on Linux
        match = _NAME.fullmatch(entry)
        if match and match[1] == instance:
            found.append((int(match[2]), entry))
    return sorted(found)


def sweep(instance: str, keep_generation: int | None = None) -> list[str]:
    """Unlink the instance's segments of all other generations; return their names. For the supervisor only.

    Raises EnvironmentProblem for one that another program made, and leaves it.
    """
    swept = []
    for generation, name in listing(instance):
        if generation == keep_generation:
            continue
        _refuse_foreign(name)
        if unlink(name):
            swept.append(name)
    return swept


def _refuse_foreign(name: str) -> None:
    """Raise EnvironmentProblem for what bears our name and is not ours: it is not for us to delete."""
    path = Path("/dev/shm") / name  # noqa: S108 - where POSIX shared memory lives on Linux
    try:
        with open(path, "rb") as file:
            found = file.read(len(MAGIC))
            is_reserved = os.fstat(file.fileno()).st_size == 0 or found == bytes(len(MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise EnvironmentProblem(
            f"shm.memory: {path} bears this run's name and cannot be read ({error.strerror}); "
            "remove it, or set another name") from error
    if found != MAGIC and not is_reserved:  # a maker killed inside `create` leaves an empty one
        raise EnvironmentProblem(
            f"shm.memory: {path} bears this run's name, but starts with {found!r} instead of {MAGIC!r}: "
            "another program made it; remove it, or set another name")
