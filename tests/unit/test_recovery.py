"""native.recovery: after a cut or a flipped bit a log replays to a proven prefix, told, or is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError, LogCorrupt
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.recovery import Verified, verify
from pipeline.records import SLOT_BYTES
from tests.models.log_files import HEADER_BYTES, facts, fill, memory_directory, replay, ticks
from tests.models.ring_model import LogModel


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


def test_cut_at_every_byte_of_a_64_kib_log(place):
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


@pytest.mark.parametrize("seed", range(10))
def test_flipped_bits_never_replay_wrongly(place, seed):
    """10,000 random flipped bits in four files: each refused, cut and reported, or without any effect."""
    rng = random.Random(seed)
    model, writer = fill(place, seed, 180)
    published = writer.position
    writer.close()
    whole = {path: path.read_bytes() for path in sorted(place.glob("*.log"))}
    outcomes = {"refused": 0, "cut": 0, "whole": 0}
    for _ in range(1_000):
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
    assert all(outcomes.values())


def expect_flip(place: Path, model: LogModel, published: int) -> str:
    """As expect_prefix; a flip in an older file is met by the proving reader after the writer attached."""
    try:
        return expect_prefix(place, model, published)
    except LogCorrupt as error:
        return "refused" if "\n" not in str(error) else "refused in many lines"


def test_a_damaged_middle_is_refused_by_writer_and_reader(place):
    """A wrong record with whole runs after it: where, what and what to do, and nothing after it is shown."""
    writer = LogWriter(place, "log", 64)
    for number in range(20):
        writer.push(ticks([number]))
    writer.close()
    path = place / f"{0:020d}.log"
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 7 * SLOT_BYTES + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogCorrupt, match="position 7: a record fails its check; do not trade on it"):
        LogWriter(place, "log", 64)
    reader = LogReader(place, "log", verify=True)
    assert [(n, n, 0, 1) for n in range(7)] == facts(reader.read())
    with pytest.raises(LogCorrupt, match="position 7"):
        reader.read()


def test_verify_shows_what_is_proven_and_changes_nothing(place):
    """Whole, cut, damaged, missing logs: how far it is right, what is wrong, and not one byte is touched."""
    model, writer = fill(place, 6, 150)
    position = writer.position
    writer.close()
    assert Verified(0, position, position, 3, "") == verify(place, "log")
    path = place / f"{64:020d}.log"
    data = bytearray(path.read_bytes())
    starts = [at for at, _, part, _ in model.records if part == 0]
    data[HEADER_BYTES + 3 * SLOT_BYTES + 100] ^= 4
    path.write_bytes(data)
    found = verify(place, "log")
    assert max(start for start in starts if start <= 67) == found.good_position
    assert position == found.position
    assert "a record fails its check; do not trade on it" in found.problem
    assert bytes(data) == path.read_bytes()
    path.write_bytes(data[:HEADER_BYTES + 2 * SLOT_BYTES])
    assert found.good_position >= verify(place, "log").good_position
    path.unlink()
    assert "missing" in verify(place, "log").problem
    assert "holds no log" in verify(place.parent, "log").problem


def test_a_missing_file_is_refused(place):
    """A hole between files is corruption, for the writer and for a reader that comes to it."""
    _, writer = fill(place, 2, 300)
    writer.close()
    (place / f"{128:020d}.log").unlink()
    with pytest.raises(LogCorrupt, match="segment 128 expected, was 192"):
        LogWriter(place, "log", 64)
    with pytest.raises(LogCorrupt, match="the next segment is missing"):
        replay(place)


def test_an_unused_file_that_was_cut_is_made_anew(place):
    """A prepared next file that a power loss left short holds nothing while the file before it has room."""
    writer = LogWriter(place, "log", 64)
    writer.push(ticks([1]))
    writer.prepare_next()
    writer.close()
    (place / f"{64:020d}.log").write_bytes(b"")
    (place / f"{64:020d}.999.tmp").write_bytes(b"left by a dead writer")
    writer = LogWriter(place, "log", 64)
    for number in range(2, 100):
        assert writer.push(ticks([number]))
    assert list(range(1, 100)) == [number for _, number, _, _ in replay(place)]
    assert [] == list(place.glob("*.tmp"))
