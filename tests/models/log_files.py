"""Builds and reads small logs beside the slow model; for test_log.py and test_recovery.py."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.codec import CODECS, unpack
from pipeline.kinds import Kind
from pipeline.native.log import LogReader, LogWriter
from pipeline.records import SLOT_BYTES
from tests.models.ring_model import LogModel

HEADER_BYTES = 4096


@contextmanager
def memory_directory() -> Iterator[Path]:
    """Give a directory in memory where there is one."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as name:
        yield Path(name)


def ticks(numbers: list[int]) -> bytes:
    """Return one slot a number."""
    return b"".join(CODECS[Kind.TICK].pack(tick_count=number) for number in numbers)


def facts(data: bytes) -> list[tuple[int, int, int, int]]:
    """Return (seq, number, part, parts) of each slot."""
    records = [unpack(data, offset) for offset in range(0, len(data), SLOT_BYTES)]
    return [(record.seq, record.tick_count, record.part, record.parts) for record in records]


def replay(directory: Path, position: int | None = None) -> list[tuple[int, int, int, int]]:
    """Return all records that a proving reader shows; raises what it raises."""
    reader = LogReader(directory, "log", position, verify=True)
    found = []
    while data := reader.read():
        found += facts(data)
    reader.close()
    return found


def fill(directory: Path, seed: int, slots_min: int, segment_slots: int = 64) -> tuple[LogModel, LogWriter]:
    """Return a model and a writer that hold the same random runs."""
    rng, model = random.Random(seed), LogModel(segment_slots)
    writer = LogWriter(directory, "log", segment_slots)
    number = 0
    while writer.position < slots_min:
        numbers = list(range(number, number + rng.choice([1, 1, 1, 2, 3, 5, 30])))
        assert writer.push(ticks(numbers))
        model.push(numbers)
        number += len(numbers)
    return model, writer
