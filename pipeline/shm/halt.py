"""The halt page: who wants which halt level; a mapped file in the state directory, so it survives a reboot.

One entry per owner, written by that owner alone (operator tools take turns under a file lock): the reason
first, then the level word. The effective level is the highest. A page that is missing, short or wrong counts
as H3 for everybody who reads it, with an error that says so: an unreadable brake is a pulled brake.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EnvironmentProblem, IntegrityError, UsageError
from pipeline.kinds import Cause, HaltLevel
from pipeline.native.crc import checksum
from pipeline.native.haltwords import HaltWords

FILE_NAME = "halt.page"
MAGIC = b"pm-halt1"
EACH_MAX = 16  # gateways, signers
OWNERS: tuple[str, ...] = (
    "operator", "supervisor", "trade", *(f"gateway.{i}" for i in range(EACH_MAX)),
    *(f"signer.{i}" for i in range(EACH_MAX)), "web", "alert",
)
_HEADER = struct.Struct("<8sIIII")  # magic, version, owners, entry bytes, CRC-32C of the 20 bytes before
_CHECKED_BYTES = 20
_VERSION = 1
_FIRST = 128
_ENTRY_BYTES = 256  # two pairs of cache lines: each entry has another writer
_WORD = struct.Struct("<Q")
_NOTE = struct.Struct("<qH118s")  # since_ns, Cause, reason; 8 bytes after the level word
_REASON_BYTES = 118
PAGE_BYTES = _FIRST + len(OWNERS) * _ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Halt:
    """One owner's wish."""

    owner: str
    level: HaltLevel
    cause: int  # Cause, or a number this build does not know
    since_ns: int
    reason: str


def owner_index(owner: str) -> int:
    """Return the place of an owner, also its number in `Halt` records; UsageError for an unknown one."""
    if owner not in OWNERS:
        known = ", ".join(OWNERS[:4])
        raise UsageError(f"shm.halt: owner must be one of {known}, …, web, alert; was {owner!r}")
    return OWNERS.index(owner)


def _header() -> bytes:
    fields = struct.pack("<8sIII", MAGIC, _VERSION, len(OWNERS), _ENTRY_BYTES)
    return fields + struct.pack("<I", checksum(fields))


def create(directory: str | os.PathLike[str], level: HaltLevel = HaltLevel.H0, reason: str = "") -> Path:
    """Make the page, all owners at H0 except the supervisor at `level`; for a new state directory only.

    Written whole under another name and then linked, so no reader meets half a page. Raises
    EnvironmentProblem when a page is there: a page is never replaced, an operator's halt is in it.
    """
    path = Path(directory) / FILE_NAME
    made = path.with_name(f"{FILE_NAME}.{os.getpid()}.tmp")
    page = bytearray(PAGE_BYTES)
    page[:_HEADER.size] = _header()
    _write_note(memoryview(page), owner_index("supervisor"), 0, Cause.NONE, reason)
    _WORD.pack_into(page, _entry(owner_index("supervisor")), int(level) * 0x0101010101010101)
    try:
        fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, page)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.link(made, path)
    except FileExistsError:
        raise EnvironmentProblem(f"shm.halt: {path} exists; it is kept, open it instead") from None
    except OSError as error:
        raise EnvironmentProblem(
            f"shm.halt: {path} cannot be made: {error.strerror}; check the state directory") from error
    finally:
        made.unlink(missing_ok=True)
    return path


def _entry(index: int) -> int:
    return _FIRST + index * _ENTRY_BYTES


def _write_note(page: memoryview, index: int, now_ns: int, cause: Cause, reason: str) -> None:
    raw = reason.encode()[:_REASON_BYTES]
    _NOTE.pack_into(page, _entry(index) + 8, now_ns, int(cause), raw)


def _map(path: Path, writable: bool) -> tuple[mmap.mmap, tuple[int, int]]:
    """Map a proven page; return it and the file's (device, inode). IntegrityError says what is wrong."""
    hint = "all readers take it as H3; look at the state directory, then remove the file and start anew"
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    try:
        with open(path, "r+b" if writable else "rb") as file:
            status = os.fstat(file.fileno())
            size = status.st_size
            if size != PAGE_BYTES:
                raise IntegrityError(f"shm.halt: {path} needs {PAGE_BYTES} bytes, has {size}; {hint}")
            mapping = mmap.mmap(file.fileno(), PAGE_BYTES, access=access)
    except OSError as error:
        raise IntegrityError(f"shm.halt: {path} cannot be read: {error.strerror}; {hint}") from error
    if mapping[:_HEADER.size] != _header():
        mapping.close()
        raise IntegrityError(f"shm.halt: {path} has a header of another build or a bad check; {hint}")
    return mapping, (status.st_dev, status.st_ino)


class HaltPage:
    """One owner's hold on the page: reads all levels, writes its own. Raises IntegrityError for a wrong page.

    `words.level()` costs tens of ns: what effect lanes call before each first byte.
    """

    def __init__(self, directory: str | os.PathLike[str], owner: str | None = None) -> None:
        self.path = Path(directory) / FILE_NAME
        self.owner = owner
        self._own = -1 if owner is None else owner_index(owner)
        self._mapping, self._identity = _map(self.path, owner is not None)
        self._page = memoryview(self._mapping)
        self.words = HaltWords(self._page, _FIRST, _ENTRY_BYTES, len(OWNERS), self._own)

    def level(self) -> HaltLevel:
        """Return the effective level."""
        return HaltLevel(self.words.level())

    def watch_lease(self, lease: memoryview, age_ns_max: int) -> None:
        """Take H3 as in force, here and in native code, while the supervisor's lease is older than this."""
        self.words.watch_lease(lease, age_ns_max)

    def entries(self) -> list[Halt]:
        """Return what each owner above H0 wants, highest first."""
        found = []
        for index, owner in enumerate(OWNERS):
            level = HaltLevel(self.words.level_of(index))
            since_ns, cause, raw = _NOTE.unpack_from(self._page, _entry(index) + 8)
            if level != HaltLevel.H0:
                reason = raw.rstrip(b"\0").decode(errors="replace")
                found.append(Halt(owner, level, cause, since_ns, reason))
        return sorted(found, key=lambda halt: (-halt.level, OWNERS.index(halt.owner)))

    def entry(self, owner: str) -> Halt:
        """Return what one owner wants, also when that is H0: `since_ns` and reason are of its last word."""
        index = owner_index(owner)
        since_ns, cause, raw = _NOTE.unpack_from(self._page, _entry(index) + 8)
        return Halt(owner, HaltLevel(self.words.level_of(index)), cause, since_ns,
                    raw.rstrip(b"\0").decode(errors="replace"))

    def put(
        self, level: HaltLevel, *, now_ns: int, reason: str, cause: Cause = Cause.OPERATOR,
        durable: bool = True,
    ) -> None:
        """Store our own level; H0 clears it. The reason stands before the level can be seen.

        It is in force for every process at once and survives ours. durable: return after it is on disk; a
        lane on the path says False and leaves that to the supervisor (a stalled disk must not stop a lane).
        The operator's entry has many writers (every `pm halt`), so it is written under a file lock.
        """
        if self.owner is None:
            raise UsageError("shm.halt: this page was opened to read; open it with an owner to write")
        with self._turn():
            self._store(level, now_ns, cause, reason, durable)

    def raise_to(self, level: HaltLevel, *, now_ns: int, cause: Cause = Cause.OPERATOR, reason: str) -> bool:
        """Store our own level unless as much holds already; False = what stood there was kept.

        One operator's mild halt must not loosen another's: only `put` lowers.
        """
        if self.owner is None:
            raise UsageError("shm.halt: this page was opened to read; open it with an owner to write")
        with self._turn():
            if self.words.level_of(self._own) >= level:
                return False
            self._store(level, now_ns, cause, reason, durable=True)
            return True

    def _store(self, level: HaltLevel, now_ns: int, cause: Cause, reason: str, durable: bool) -> None:
        _write_note(self._page, self._own, now_ns, cause, reason)
        self.words.put(int(level))
        if durable:
            self._mapping.flush()  # the word must survive a power loss too

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self.owner != "operator":
            yield
            return
        with open(self.path, "rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            yield

    def check(self) -> None:
        """Raise IntegrityError when the file was removed, replaced or damaged; call each second."""
        try:
            found = os.stat(self.path)
            is_same = (found.st_dev, found.st_ino) == self._identity
        except OSError:
            is_same = False
        if not is_same or self._mapping[:_HEADER.size] != _header():
            raise IntegrityError(f"shm.halt: {self.path} was removed, replaced or damaged under a running "
                                 "pipeline; halt H3 and restart the pipeline")

    def close(self) -> None:
        """Unmap; afterwards the level reads H3."""
        self.words.close()
        self._page.release()
        self._mapping.close()


def effective(directory: str | os.PathLike[str]) -> tuple[HaltLevel, list[Halt], str]:
    """Return (level, entries, problem) for tools; a missing or corrupt page is H3 and `problem` says why."""
    try:
        page = HaltPage(directory)
    except IntegrityError as error:
        return HaltLevel.H3, [], str(error)
    try:
        return page.level(), page.entries(), ""
    finally:
        page.close()
