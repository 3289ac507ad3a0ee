"""native.log between processes: what one process saw is what the next finds, whatever died in between."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest

from pipeline.native import torture
from pipeline.native.log import LogReader, LogWriter
from tests.chaos import channels

MESSAGES = 1_000_000_000 if channels.GATE else 10_000_000
SEGMENT_SLOTS = 8_192
SEED = 20261122
STEPS = [torture.STOP_BEGUN, torture.STOP_HALF, torture.STOP_FILLED, torture.STOP_CLOSED]


@pytest.fixture
def place():
    """Give a directory in memory where there is one."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as name:
        yield Path(name)


@pytest.mark.timeout(3_700)  # the gate figure takes long; the ends have a deadline of their own
def test_exactly_once_between_pinned_processes(place, capsys):
    """10 M messages (gate: 1 G), >= 1,000 segments, every byte compared: 0 lost, doubled, reordered."""
    consumer_cpu, producer_cpu = channels.cpus()
    common = {"directory": str(place), "first": 0, "count": MESSAGES, "seed": SEED,
              "segment_slots": SEGMENT_SLOTS, "bounded": True}
    more = {"pause_every": 2_048}
    consumer = channels.start(common | {"end": "consume", "cpu": consumer_cpu, "more": more})
    producer = channels.start(common | {"end": "produce", "cpu": producer_cpu, "more": more | {"run_max": 7}})
    got, sent = channels.answers([consumer, producer], 3_600 if channels.GATE else 300)
    segment_count = sent["position"] // SEGMENT_SLOTS
    with capsys.disabled():
        print(f"\nlog: {sent['sent']} sent through {segment_count} segments, "
              f"{sent['inline_rolls']} made late, empty {got['empty_count']}, "
              f"{got['received'] * 1e3 / got['elapsed_ns']:.1f} M/s with pauses, "
              f"cpus {producer_cpu},{consumer_cpu}")
    assert (MESSAGES, MESSAGES) == (sent["sent"], got["received"])
    assert (0, 0, 0) == (got["wrong_order"], got["wrong_bytes"], got["broken_runs"])
    assert sent["position"] == got["position"]
    assert got["empty_count"] >= 1_000
    assert segment_count >= 1_000


@pytest.mark.parametrize("step", STEPS)
def test_writer_killed_inside_publish_leaves_nothing_visible(place, step):
    """SIGKILL at 250 places x 4 steps before the release store: live reader and next writer agree exactly."""
    rng, index = random.Random(step), 0
    LogWriter(place, "torture", 256).close()
    live = LogReader(place, "torture")
    for _ in range(250):
        count = rng.randint(1, 300)

        def work(first: int = index, count: int = count) -> None:
            writer = LogWriter(place, "torture")
            last = first + count - 1
            torture.produce(writer, first, count + 64, SEED, run_max=64, stop_step=step, stop_at=last)

        channels.die_in_child(work)
        seen = 0
        while live.has_input():
            got = torture.consume(live, index, 1, SEED)
            assert (1, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes)
            index, seen = index + 1, seen + 1
        assert seen < count
        writer = LogWriter(place, "torture")
        assert (0, "complete") == (writer.recovered.cut_count, writer.recovered.reason)
        assert not live.has_input()
        torture.produce(writer, index, 1, SEED)
        writer.close()
        assert 1 == torture.consume(live, index, 1, SEED).received
        index += 1
    proving = LogReader(place, "torture", verify=True)
    got = torture.consume(proving, 0, index, SEED, deadline_s=5)
    assert (index, 0, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs)
    assert not proving.has_input()


def test_what_was_published_survives_the_writers_death(place):
    """SIGKILL right after the release store: the last run is there for reader and next writer, 200 times."""
    index = 0
    LogWriter(place, "torture", 256).close()
    for _ in range(200):

        def work(first: int = index) -> None:
            writer, step = LogWriter(place, "torture"), torture.STOP_SHOWN
            torture.produce(writer, first, 5, SEED, run_max=5, stop_step=step, stop_at=first + 4)

        channels.die_in_child(work)
        index += 5
    got = torture.consume(LogReader(place, "torture", verify=True), 0, index, SEED, deadline_s=5)
    assert (index, 0, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs)
