"""JR01: a journal with a torn tail or a flipped bit replays to a proven prefix, told, or is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, LogCorrupt
from pipeline.native.log import LogWriter
from pipeline.records import SLOT_BYTES
from tests.models.log_files import HEADER_BYTES, fill, memory_directory, replay, ticks
from tests.models.ring_model import LogModel
from tests.shared import seeds
from tests.tools.faultrows import figure

FLIPS = figure("JR01", "flips")


@pytest.fixture
def place():
    """Give a directory in memory where there is one: these tests write thousands of small files."""
    with memory_directory() as path:
        yield path


def expect_prefix(place: Path, model: LogModel, published: int) -> str:
    """Recover a damaged log: refused, or replayed to a prefix of whole runs whose loss is reported."""
    try:
        writer = LogWriter(place, "log", 64)
    except IntegrityError as error:
        return "refused" if "\n" not in str(error) else "refused in many lines"
    recovered = writer.recovered
    writer.close()
    got = replay(place)
    assert model.records[:len(got)] == got
    assert not got or got[-1][2] + 1 == got[-1][3]
    if len(got) < len(model.records):
        assert recovered.cut_count >= published - recovered.position > 0
        return "cut"
    return "whole"


def test_JR01_cut_at_every_byte_of_a_64_kib_log(place, gate_record):
    """A file cut anywhere replays to the whole runs before the cut, told exactly, or is refused: 0 wrong."""
    rng, model = random.Random(3), LogModel(239)
    writer = LogWriter(place, "log", 239)
    while writer.position < 230:
        numbers = [len(model.records) + n for n in range(rng.choice([1, 1, 2, 3, 5]))]
        writer.push(ticks(numbers))
        model.push(numbers)
    published = writer.position
    writer.close()
    path = place / f"{0:020d}.log"
    whole = path.read_bytes()
    assert 65_280 == len(whole)
    ends = [0] + [position + 1 for position, _, part, parts in model.records if part + 1 == parts]
    outcomes = {"refused": 0, "cut": 0, "whole": 0}
    assert figure("JR01", "cuts") == len(whole) + 1
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        if size < HEADER_BYTES:
            with pytest.raises(LogCorrupt, match="the header is cut off"):
                LogWriter(place, "log", 64)
            outcomes["refused"] += 1
            continue
        slots = min((size - HEADER_BYTES) // SLOT_BYTES, published)
        kept = max(end for end in ends if end <= slots)
        recovering = LogWriter(place, "log", 64)
        assert (kept, published - kept) == (recovering.recovered.position, recovering.recovered.cut_count)
        recovering.close()
        if size % 61 == 0:
            assert model.records[:kept] == replay(place)
        outcomes["whole" if kept == published else "cut"] += 1
    assert HEADER_BYTES == outcomes["refused"]
    assert outcomes["cut"] > 50_000
    gate_record("JR01", "cuts", sum(outcomes.values()))


@pytest.mark.parametrize("seed", seeds(10))
def test_JR01_flipped_bits_never_replay_wrongly(place, seed, gate_record):
    """Random flipped bits in four files: each refused, cut and reported, or without any effect."""
    rng = random.Random(seed)
    model, writer = fill(place, seed, 180)
    published = writer.position
    writer.close()
    whole = {path: path.read_bytes() for path in sorted(place.glob("*.log"))}
    outcomes = {"refused": 0, "cut": 0, "whole": 0}
    for _ in range(FLIPS // 10):
        path = rng.choice(list(whole))
        damaged = bytearray(whole[path])
        bit = rng.randrange(8 * len(damaged) if rng.random() < 0.8 else 8 * 512)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        outcomes[expect_flip(place, model, published)] += 1
        for other in place.glob("*.log"):
            if other not in whole:
                other.unlink()
        for one, data in whole.items():
            one.write_bytes(data)
    assert all(outcomes.values()), f"seed {seed}: {outcomes}"
    gate_record("JR01", "flips", sum(outcomes.values()), seed)


def expect_flip(place: Path, model: LogModel, published: int) -> str:
    """As expect_prefix; a flip in an older file is met by the proving reader after the writer attached."""
    try:
        return expect_prefix(place, model, published)
    except LogCorrupt as error:
        return "refused" if "\n" not in str(error) else "refused in many lines"
