"""Copies a log with changes: what a test needs to damage one record of a real run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.native.log import LogReader, LogWriter
from pipeline.records import SLOT_BYTES, runs

#: Gets one slot; returns it, changed or not, or b"" to drop it.
Edit = Callable[[bytes], bytes]


def slots_of(state_dir: Path, name: str) -> Iterator[bytes]:
    """Yield every record of a log of the state directory, in order."""
    reader = LogReader(state_dir / "logs" / name, name, 0, verify=True)
    try:
        while data := reader.read(4_096):
            yield from (data[at : at + SLOT_BYTES] for at in range(0, len(data), SLOT_BYTES))
    finally:
        reader.close()


def rewrite(source: Path, target: Path, name: str, edit: Edit) -> None:
    """Copy one log into another state directory; a run keeps its slots but those that `edit` drops."""
    directory = target / "logs" / name
    directory.mkdir(parents=True)
    log = LogWriter(directory, name)
    try:
        for run in runs(b"".join(slots_of(source, name))):
            kept = [edit(run[at : at + SLOT_BYTES]) for at in range(0, len(run), SLOT_BYTES)]
            slots = [bytearray(slot) for slot in kept if slot]
            for part, slot in enumerate(slots):
                slot[42:44] = bytes((part, len(slots)))  # part, parts
            if slots and not log.push(b"".join(slots)):
                raise OSError(f"{directory}: the log took no record")
    finally:
        log.close()


def changed(slot: bytes, at: int, size: int, value: int) -> bytes:
    """Return the slot with one little-endian field of `size` bytes at byte `at` set."""
    return slot[:at] + value.to_bytes(size, "little") + slot[at + size :]
