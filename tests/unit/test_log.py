"""native.log: the journal against a slow model, other logs, other writers and full disks."""

from __future__ import annotations

import os
import random
import resource
import shutil

import pytest

from pipeline.errors import (
    EnvironmentProblem,
    LayoutError,
    LogCorrupt,
    PipelineError,
    UsageError,
)
from pipeline.native import crc
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.segments import allocate_segment, segments
from pipeline.records import SLOT_BYTES
from tests.models.log_files import facts, fill, memory_directory, replay, ticks
from tests.models.ring_model import LogModel


@pytest.fixture
def place():
    """Give a directory in memory where there is one: these tests write thousands of small files."""
    with memory_directory() as path:
        yield path


@pytest.mark.parametrize(("text", "expected"), [
    (b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E), (bytes(range(31, -1, -1)), 0x113FDB5C),
])
def test_crc_equals_the_published_vectors(text, expected):
    """CRC-32C of RFC 3720 appendix B.4 and of the check string, by the CPU's instruction and by tables."""
    assert expected == crc.checksum(text)
    assert expected == crc.checksum_by_tables(text)


def test_crc_ways_agree():
    """Instruction and tables agree at each length and alignment."""
    data = random.Random(1).randbytes(400)
    for start in range(9):
        for length in range(300):
            part = data[start:start + length]
            assert crc.checksum_by_tables(part) == crc.checksum(part)


@pytest.mark.parametrize("seed", range(30))
def test_equals_the_slow_model(place, seed):
    """Runs come back whole, in order, with seq = position; readers that join, seek and lag see the same."""
    rng, number = random.Random(seed), 0
    slots = rng.choice([64, 65, 100, 256])
    writer, model = LogWriter(place, "log", slots), LogModel(slots)
    live, proving = LogReader(place, "log"), LogReader(place, "log", verify=True)
    seen: dict[LogReader, list] = {live: [], proving: []}
    for _ in range(300):
        numbers = list(range(number, number + rng.choice([1, 1, 2, 7, 64])))
        assert writer.push(ticks(numbers))
        model.push(numbers)
        number += len(numbers)
        if rng.random() < 0.3:
            writer.prepare_next()
        for reader, got in seen.items():
            if rng.random() < 0.4:
                got.extend(facts(reader.read(rng.choice([1, 10, 500]))))
                reader.prepare_next()
    assert model.position == writer.position
    for reader, got in seen.items():
        while data := reader.read(1_000):
            got.extend(facts(data))
        assert model.records == got
        assert not reader.has_input()
    for _ in range(20):
        chosen = rng.randrange(len(model.records))
        live.seek(model.records[chosen][0])
        assert model.records[chosen:chosen + 1] == facts(live.read(1))[:1]
    assert model.records == replay(place)


def test_a_reader_may_come_before_the_log(place):
    """A reader at position 0 of an empty directory waits, then follows."""
    reader = LogReader(place, "log")
    assert b"" == reader.read()
    writer = LogWriter(place, "log", 64)
    writer.push(ticks([5]))
    assert [(0, 5, 0, 1)] == facts(reader.read())
    assert 1 == reader.position == writer.position


@pytest.mark.parametrize("start", [7, 2**63 - 100, 2**64 - 64 * 5])
def test_positions_may_start_anywhere(place, start):
    """Positions are unbounded u64; a log may begin at any."""
    writer = LogWriter(place, "log", 64, position=start)
    reader = LogReader(place, "log", start)
    for number in range(150):
        assert writer.push(ticks([number]))
        assert [(start + number, number, 0, 1)] == facts(reader.read())
    assert [start, start + 64, start + 128] == [one.first for one in segments(place, "log")][:3]


def test_the_next_writer_goes_on_without_a_gap(place):
    """Closing and attaching any number of times continues the same log; salt epoch and slots stay."""
    LogWriter(place, "log", 64, salt_epoch=9).close()
    for number in range(200):
        writer = LogWriter(place, "log", 1_000)
        assert (number, 0, 64, 9) == (writer.recovered.position, writer.recovered.cut_count,
                                      writer.segment_slots, writer.salt_epoch)
        assert writer.push(ticks([number]))
        writer.close()
    assert [(n, n, 0, 1) for n in range(200)] == replay(place)


def test_one_writer_at_a_time_and_only_of_this_log(place):
    """A second writer, another log's name, a fresh start over a log and a missing directory are refused."""
    writer = LogWriter(place, "log", 64)
    with pytest.raises(EnvironmentProblem, match="has a writer already"):
        LogWriter(place, "log", 64)
    writer.close()
    with pytest.raises(LayoutError, match="belongs to another log"):
        LogWriter(place, "other", 64)
    with pytest.raises(LayoutError, match="belongs to another log"):
        LogReader(place, "other")
    with pytest.raises(EnvironmentProblem, match="empty directory was expected"):
        LogWriter(place, "log", 64, fresh=True)
    with pytest.raises(EnvironmentProblem, match="cannot be opened"):
        LogWriter(place / "none", "log", 64)
    with pytest.raises(UsageError, match="segment_slots"):
        LogWriter(place, "log", 63)


def test_reader_refuses_positions_that_the_log_does_not_have(place):
    """Beyond the end is another log's position; before the oldest file is the archive's work."""
    _, writer = fill(place, 1, 200)
    with pytest.raises(LogCorrupt, match=f"the log ends at {writer.position}"):
        LogReader(place, "log", writer.position + 1)
    assert writer.position == LogReader(place, "log", writer.position).position
    (place / f"{0:020d}.log").unlink()
    with pytest.raises(EnvironmentProblem, match="older than the oldest segment 64"):
        LogReader(place, "log", 3)
    assert 64 == LogReader(place, "log", None).position


def test_segments_allocated_ahead_are_used(place):
    """The archiver may make the next file first; the writer takes it and never replaces it."""
    writer = LogWriter(place, "log", 64)
    assert allocate_segment(place, "log", 64, 64)
    assert not allocate_segment(place, "log", 64, 64)
    inode = (place / f"{64:020d}.log").stat().st_ino
    for number in range(100):
        assert writer.push(ticks([number]))
    assert inode == (place / f"{64:020d}.log").stat().st_ino
    assert 100 == len(replay(place))


def test_preparing_when_idle_keeps_the_roll_off_the_path(place):
    """With prepare_next called until it has nothing to do, no segment is made inside `begin`."""
    writer = LogWriter(place, "log", 64)
    for number in range(1_000):
        while not writer.prepare_next(4096):
            pass
        assert writer.push(ticks([number]))
    assert 0 == writer.inline_rolls
    assert 0o600 == (place / f"{0:020d}.log").stat().st_mode & 0o777


def test_disk_full_is_known_before_anything_is_half_written(place):
    """When the next segment cannot be reserved the run is refused whole, records stay, and space cures it."""
    writer = LogWriter(place, "log", 64)
    for number in range(60):
        writer.push(ticks([number]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        assert not writer.push(ticks(list(range(60, 70))))
        with pytest.raises(EnvironmentProblem, match="at position 64: File too large; free space"):
            writer.check()
        assert 60 == writer.position
        assert writer.push(ticks([60, 61]))  # what still fits goes on
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [f"{0:020d}.log", "writer.lock"] == sorted(os.listdir(place))
    assert writer.push(ticks(list(range(62, 72))))
    writer.check()
    assert list(range(72)) == [number for _, number, _, _ in replay(place)]


def test_no_space_at_creation_is_a_clear_error(place):
    """A log larger than its file system is refused at start with the reason, not by a signal later."""
    free = shutil.disk_usage(place).total
    slots = min(2 * free // SLOT_BYTES, 1 << 26)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(PipelineError, match=r"native.log: .* (File too large|No space left)"):
            LogWriter(place, "log", slots)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ["writer.lock"] == os.listdir(place)


def test_closed_ends_are_inert(place):
    """After close there is neither room nor input, and the lock is free."""
    writer, reader = LogWriter(place, "log", 64), LogReader(place, "log")
    writer.push(ticks([1]))
    writer.close()
    reader.close()
    assert not writer.push(ticks([2]))
    assert not reader.has_input()
    assert 0 == reader.position
    LogWriter(place, "log", 64).close()
