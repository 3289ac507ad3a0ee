"""native.ring between processes: nothing lost, doubled, reordered, torn or half shown."""

from __future__ import annotations

import os
import random

import pytest

from pipeline.native import torture
from pipeline.native.ring import Observer, Reader, Ring, Writer
from pipeline.shm import memory
from tests.chaos import channels

MESSAGES = 1_000_000_000 if channels.GATE else 10_000_000
SEED = 20261121
STEPS = [torture.STOP_BEGUN, torture.STOP_HALF, torture.STOP_FILLED, torture.STOP_CLOSED]


@pytest.fixture
def segment():
    """Give a maker of ring segments; all are gone afterwards."""
    made = []

    def make(slots: int, position: int = 0) -> memory.Segment:
        name = memory.segment_name(f"test{os.getpid()}", len(made), "ring")
        memory.unlink(name)
        made.append(memory.create(name, Ring.bytes_for(slots), generation=len(made)))
        Ring.format(made[-1].data, slots, position)
        return made[-1]

    yield make
    for one in made:
        memory.unlink(one.name)  # first: a failed test may still hold a view
    for one in made:
        one.close()


@pytest.mark.timeout(3_700)  # the gate figure takes long; the ends have a deadline of their own
def test_exactly_once_between_pinned_processes(segment, capsys):
    """10 M messages (gate: 1 G), every byte compared: 0 lost, doubled, reordered; full, empty >= 1,000."""
    name = segment(256, 2**63 - 1_000).name
    consumer_cpu, producer_cpu = channels.cpus()
    common = {"name": name, "first": 0, "count": MESSAGES, "seed": SEED}
    more = {"pause_every": 1_024}
    consumer = channels.start(common | {"end": "consume", "cpu": consumer_cpu, "more": more})
    producer = channels.start(common | {"end": "produce", "cpu": producer_cpu, "more": more | {"run_max": 7}})
    got, sent = channels.answers([consumer, producer], 1_800 if channels.GATE else 240)
    with capsys.disabled():
        print(f"\nring: {sent['sent']} sent, full {sent['full_count']}, empty {got['empty_count']}, "
              f"{got['received'] * 1e3 / got['elapsed_ns']:.1f} M/s with pauses, "
              f"cpus {producer_cpu},{consumer_cpu}")
    assert (MESSAGES, MESSAGES) == (sent["sent"], got["received"])
    assert (0, 0, 0) == (got["wrong_order"], got["wrong_bytes"], got["broken_runs"])
    assert sent["full_count"] >= 1_000
    assert got["empty_count"] >= 1_000


@pytest.mark.parametrize("step", STEPS)
def test_producer_killed_inside_publish_leaves_nothing_visible(segment, step):
    """SIGKILL at 250 places x 4 steps before the release store: nothing of it shows, the next goes on."""
    data = segment(128).data
    reader, observer = Reader(data), Observer(data)
    rng, index = random.Random(step), 0
    for _ in range(250):
        count = rng.randint(1, 60)

        def work(first: int = index, count: int = count) -> None:
            writer = Writer(data)
            last = first + count - 1
            torture.produce(writer, first, count + 64, SEED, run_max=64, stop_step=step, stop_at=last)

        channels.die_in_child(work)
        writer = Writer(data)
        shown = (writer.position - reader.position) % 2**64
        assert shown < count
        got = torture.consume(reader, index, shown, SEED)
        assert (shown, 0, 0, 0) == (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs)
        assert not reader.has_input()
        index += shown
        slots, _ = observer.read(128)
        assert b"" == slots or len(slots) <= shown * 256
        torture.produce(writer, index, 1, SEED)
        assert 1 == torture.consume(reader, index, 1, SEED).received
        observer.read(128)
        index += 1
        writer.close()
    reader.close()
    observer.close()


def test_observer_rejects_slots_that_a_dead_writer_was_overwriting(segment):
    """A writer died with slots overwritten and not shown: their old places are lost, never returned torn."""
    data = segment(128).data
    writer, reader, observer = Writer(data), Reader(data), Observer(data)
    torture.produce(writer, 0, 128, SEED)
    torture.consume(reader, 0, 128, SEED)

    def work() -> None:
        step = torture.STOP_FILLED
        torture.produce(Writer(data), 128, 64, SEED ^ 1, run_max=64, stop_step=step, stop_at=128)

    channels.die_in_child(work)
    slots, lost = observer.read(128)
    assert 64 == lost
    fresh = bytearray(Ring.bytes_for(128))
    Ring.format(fresh, 128)
    torture.produce(Writer(fresh), 0, 128, SEED)
    assert bytes(fresh[4096 + 64 * 256:]) == slots
    for end in (writer, reader, observer):
        end.close()
