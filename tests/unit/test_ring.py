"""native.ring: the channel between two lanes, against a slow model and against damaged headers."""

from __future__ import annotations

import mmap
import random
import struct

import pytest

from pipeline.codec import CODECS, unpack
from pipeline.errors import InvariantError, LayoutError, UsageError
from pipeline.kinds import Kind
from pipeline.native.ring import Observer, Reader, Ring, Writer
from pipeline.records import SLOT_BYTES
from tests.models.ring_model import ObserverModel, RingModel

STARTS = [0, 5, 2**63 - 70, 2**64 - 300]


def ring(slots: int = 128, position: int = 0) -> bytearray:
    """Return a formatted buffer."""
    buffer = bytearray(Ring.bytes_for(slots))
    Ring.format(buffer, slots, position)
    return buffer


def ticks(numbers: list[int]) -> bytes:
    """Return one slot a number."""
    return b"".join(CODECS[Kind.TICK].pack(tick_count=number) for number in numbers)


def facts(data: bytes) -> list[tuple[int, int, int]]:
    """Return (number, part, parts) of each slot."""
    records = [unpack(data, offset) for offset in range(0, len(data), SLOT_BYTES)]
    return [(record.tick_count, record.part, record.parts) for record in records]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("seed", range(25))
def test_equals_the_slow_model(seed, start):
    """Any mix of pushes, reads and observations does what a list would do, also across 2**63 and 2**64."""
    rng = random.Random(seed)
    slots = rng.choice([128, 256])
    buffer, model = ring(slots, start), RingModel(slots, 0)
    writer, reader, observer = Writer(buffer), Reader(buffer), Observer(buffer)
    watcher = ObserverModel(model)
    number, lost_total = 0, 0
    for _ in range(400):
        action = rng.random()
        if action < 0.55:
            numbers = list(range(number, number + rng.choice([1, 1, 2, 5, 33, 64])))
            pushed = writer.push(ticks(numbers))
            assert model.push(numbers) == pushed
            number += len(numbers) if pushed else 0
        elif action < 0.9:
            slots_max = rng.choice([1, 7, 64, 300])
            assert model.read(slots_max) == facts(reader.read(slots_max))
        else:
            slots_max = rng.choice([1, 10, 64, 200])
            expected, lost = watcher.read(slots_max)
            data, found_lost = observer.read(slots_max)
            assert (expected, lost) == (facts(data), found_lost)
            lost_total += lost
        assert (start + model.tail) % 2**64 == writer.position
        assert (start + model.head) % 2**64 == reader.position
    while writer.push(ticks([number] * 64)):
        assert model.push([number] * 64)
    assert not model.push([number] * 64)
    assert lost_total == observer.lost_count
    assert number > slots


def test_a_run_is_visible_whole_or_not_at_all():
    """A reader that may take one slot still gets the whole run of 64."""
    buffer = ring()
    writer, reader = Writer(buffer), Reader(buffer)
    writer.push(ticks(list(range(64))))
    assert [(n, n, 64) for n in range(64)] == facts(reader.read(1))


def test_full_ring_refuses_and_changes_nothing():
    """A push without room returns False, counts it, and leaves position and contents as they were."""
    buffer = ring(128)
    writer, reader = Writer(buffer), Reader(buffer)
    assert writer.push(ticks(list(range(64))))
    assert writer.push(ticks(list(range(64, 127))))
    before = bytes(buffer)
    assert not writer.push(ticks([1, 2]))
    assert before == bytes(buffer)
    assert 1 == writer.full_count
    assert writer.push(ticks([127]))
    assert [(n, n, 64) for n in range(64)] == facts(reader.read(64))
    assert writer.push(ticks([128]))


def test_each_side_goes_on_where_its_predecessor_stopped():
    """Positions live in the buffer: a new Writer and a new Reader continue without loss or repeat."""
    buffer = ring()
    first = Writer(buffer)
    first.push(ticks([1]))
    first.close()
    assert Writer(buffer).push(ticks([2]))
    reader = Reader(buffer)
    assert [(1, 0, 1)] == facts(reader.read(1))
    reader.close()
    assert [(2, 0, 1)] == facts(Reader(buffer).read())


def test_a_foreign_epoch_is_refused():
    """When another process takes an end over, the old holder of that end, and it alone, must exit."""
    buffer = ring()
    old_writer, old_reader = Writer(buffer), Reader(buffer)
    old_writer.check_epoch()
    new_writer = Writer(buffer)
    assert 1 == new_writer.bump_epoch()
    new_writer.check_epoch()
    old_reader.check_epoch()
    with pytest.raises(LayoutError, match="producer epoch 0 expected, was 1"):
        old_writer.check_epoch()
    Reader(buffer).bump_epoch()
    with pytest.raises(LayoutError, match="reader epoch 0 expected, was 1"):
        old_reader.check_epoch()
    new_writer.check_epoch()


def test_contradicting_positions_stop_reading():
    """A tail more than a ring ahead of the head is impossible: nothing is shown and `check` raises."""
    buffer = ring()
    reader, writer = Reader(buffer), Writer(buffer)
    writer.push(ticks([1]))
    struct.pack_into("<Q", buffer, 256, 1_000)
    assert b"" == reader.read()
    with pytest.raises(InvariantError, match="at most 128 past head 0, was 1000"):
        reader.check()
    with pytest.raises(LayoutError, match="at most 128 apart"):
        Reader(buffer)


@pytest.mark.parametrize("slots", [0, 1, 64, 100, 129, 2**25])
def test_bad_sizes_are_refused(slots):
    """Slots must be a power of two from 128 up, and the buffer must hold them."""
    with pytest.raises(UsageError, match=r"native\.ring"):
        Ring.format(bytearray(1 << 20), slots)
    with pytest.raises(UsageError, match="need"):
        Ring.format(bytearray(1_000), 128)


def test_short_and_foreign_buffers_are_refused():
    """A buffer that is shorter than its header says, or no ring at all, is refused."""
    with pytest.raises(LayoutError, match="slots need"):
        Reader(ring()[:-1])
    with pytest.raises(LayoutError, match="header needs"):
        Reader(bytearray(100))
    with pytest.raises(LayoutError, match="magic"):
        Reader(bytearray(100_000))


def test_an_observer_needs_no_write_access(tmp_path):
    """Observers work over a read-only mapping; the two ends refuse one."""
    path = tmp_path / "ring"
    path.write_bytes(ring())
    with path.open("r+b") as file:
        shared = mmap.mmap(file.fileno(), 0)
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    writer, observer = Writer(shared), Observer(view)
    writer.push(ticks([7, 8]))
    assert ([(7, 0, 2), (8, 1, 2)], 0) == (facts(observer.read()[0]), 0)
    for end in (Writer, Reader):
        with pytest.raises((BufferError, TypeError)):
            end(view)
    for end in (writer, observer):
        end.close()
    shared.close()
    view.close()


def test_observer_from_oldest_begins_at_a_run():
    """from_oldest shows what the gating reader has not taken."""
    buffer = ring()
    writer, reader = Writer(buffer), Reader(buffer)
    for number in range(10):
        writer.push(ticks([number, number]))
    reader.read(6)
    found = facts(Observer(buffer, from_oldest=True).read()[0])
    assert [(n, part, 2) for n in range(3, 10) for part in (0, 1)] == found


def test_closed_ends_are_inert_and_release_the_buffer():
    """After close there is neither room nor input, and the buffer can be resized or unmapped."""
    buffer = ring()
    writer, reader, observer = Writer(buffer), Reader(buffer), Observer(buffer)
    writer.push(ticks([1]))
    for end in (writer, reader, observer, writer):
        end.close()
    assert not writer.push(ticks([2]))
    assert b"" == reader.read()
    assert (b"", 0) == observer.read()
    buffer.clear()  # raises BufferError while an export is alive
