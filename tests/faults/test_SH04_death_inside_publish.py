"""SH04: a producer that dies inside publish, anywhere near 2^63, leaves nothing that a reader could see."""

from __future__ import annotations

import random

import pytest

from pipeline.native import torture
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.ring import Observer, Reader, Ring, Writer
from tests.faults import channels
from tests.faults.rings import FIXED_SEED, ring_segments
from tests.models.log_files import memory_directory
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

STEPS = [torture.STOP_BEGUN, torture.STOP_HALF, torture.STOP_FILLED, torture.STOP_CLOSED]
RING_KILLS = figure("SH04", "ring_kills")
LOG_KILLS = figure("SH04", "log_kills")
NEAR_WRAP = 2**63 - 300  # a signed word would turn negative within the first kills
SEEDS = [FIXED_SEED, fresh_seed()]


@pytest.fixture
def segment():
    """Give a maker of ring segments; all are gone afterwards."""
    with ring_segments() as make:
        yield make


@pytest.fixture
def place():
    """Give a directory in memory where there is one."""
    with memory_directory() as path:
        yield path


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_SH04_a_ring_shows_nothing_of_a_killed_publish(segment, step, seed, gate_record):
    """SIGKILL at random places x 4 steps before the release store: nothing of it shows, the next goes on."""
    kills = RING_KILLS // len(STEPS) // len(SEEDS)
    data = segment(128, NEAR_WRAP).data
    reader, observer = Reader(data), Observer(data)
    rng, index = random.Random(seed * 10 + step), 0
    for _ in range(kills):
        count = rng.randint(1, 60)

        def work(first: int = index, count: int = count) -> None:
            writer = Writer(data)
            last = first + count - 1
            torture.produce(writer, first, count + 64, seed, run_max=64, stop_step=step, stop_at=last)

        channels.die_in_child(work)
        writer = Writer(data)
        shown = (writer.position - reader.position) % 2**64
        assert shown < count
        got = torture.consume(reader, index, shown, seed)
        assert (shown, 0, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs)
        assert not reader.has_input()
        index += shown
        slots, _ = observer.read(128)
        assert b"" == slots or len(slots) <= shown * 256
        torture.produce(writer, index, 1, seed)
        assert 1 == torture.consume(reader, index, 1, seed).received
        observer.read(128)
        index += 1
        writer.close()
    reader.close()
    observer.close()
    gate_record("SH04", "ring_kills", kills, seed)


def test_SH04_observers_reject_slots_that_a_dead_writer_was_overwriting(segment):
    """A writer died with slots overwritten and not shown: their old places are lost, never returned torn."""
    data = segment(128).data
    writer, reader, observer = Writer(data), Reader(data), Observer(data)
    torture.produce(writer, 0, 128, FIXED_SEED)
    torture.consume(reader, 0, 128, FIXED_SEED)

    def work() -> None:
        step = torture.STOP_FILLED
        torture.produce(Writer(data), 128, 64, FIXED_SEED ^ 1, run_max=64, stop_step=step, stop_at=128)

    channels.die_in_child(work)
    slots, lost = observer.read(128)
    assert 64 == lost
    fresh = bytearray(Ring.bytes_for(128))
    Ring.format(fresh, 128)
    torture.produce(Writer(fresh), 0, 128, FIXED_SEED)
    assert bytes(fresh[4096 + 64 * 256:]) == slots
    for end in (writer, reader, observer):
        end.close()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", SEEDS)
def test_SH04_a_log_shows_nothing_of_a_killed_publish(place, step, seed, gate_record):
    """SIGKILL at random places x 4 steps before the release store: reader and next writer agree exactly."""
    rng, index = random.Random(seed * 10 + step), 0
    kills = LOG_KILLS // len(STEPS) // len(SEEDS)
    LogWriter(place, "torture", 256, position=NEAR_WRAP).close()
    live = LogReader(place, "torture", NEAR_WRAP)
    for _ in range(kills):
        count = rng.randint(1, 300)

        def work(first: int = index, count: int = count) -> None:
            writer = LogWriter(place, "torture")
            last = first + count - 1
            torture.produce(writer, first, count + 64, seed, run_max=64, stop_step=step, stop_at=last)

        channels.die_in_child(work)
        seen = 0
        while live.has_input():
            got = torture.consume(live, index, 1, seed)
            assert (1, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes)
            index, seen = index + 1, seen + 1
        assert seen < count
        writer = LogWriter(place, "torture")
        assert (0, "complete") == (writer.recovered.cut_count, writer.recovered.reason)
        assert not live.has_input()
        torture.produce(writer, index, 1, seed)
        writer.close()
        assert 1 == torture.consume(live, index, 1, seed).received
        index += 1
    proving = LogReader(place, "torture", NEAR_WRAP, verify=True)
    got = torture.consume(proving, 0, index, seed, deadline_s=5)
    assert (index, 0, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs)
    assert not proving.has_input()
    gate_record("SH04", "log_kills", kills, seed)


def test_SH04_what_was_published_survives_the_writers_death(place):
    """SIGKILL right after the release store: the last run is there for reader and next writer, 200 times."""
    index = 0
    LogWriter(place, "torture", 256).close()
    for _ in range(200):

        def work(first: int = index) -> None:
            writer, step = LogWriter(place, "torture"), torture.STOP_SHOWN
            torture.produce(writer, first, 5, FIXED_SEED, run_max=5, stop_step=step, stop_at=first + 4)

        channels.die_in_child(work)
        index += 5
    got = torture.consume(LogReader(place, "torture", verify=True), 0, index, FIXED_SEED, deadline_s=5)
    assert (index, 0, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs)
