"""shm.ringview: what a ring's header says is what its two ends did."""

from __future__ import annotations

import random

import pytest

from pipeline.codec import CODECS
from pipeline.errors import LayoutError
from pipeline.kinds import Kind
from pipeline.native.gauge import receive
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.shm.ringview import RingLook, look_at_ring

TICK = CODECS[Kind.TICK].pack(tick_count=1)


@pytest.mark.parametrize("seed", range(5))
def test_depth_is_what_was_pushed_and_not_yet_read(seed: int) -> None:
    """After any mix of pushes and reads, also past the ring's end, the look agrees with the ends."""
    rng = random.Random(seed)
    buffer = bytearray(Ring.bytes_for(128))
    Ring.format(buffer, 128, position=rng.randrange(1 << 40))
    writer, reader = Writer(buffer), Reader(buffer)
    first = writer.position
    for _ in range(300):
        for _ in range(rng.randrange(60)):
            writer.push(TICK)
        waiting = writer.position - reader.position
        receive(reader, rng.randint(0, waiting))
        look = look_at_ring(memoryview(buffer).toreadonly())
        assert (128, writer.position, reader.position) == (look.capacity, look.written, look.read)
        assert writer.position - reader.position == look.depth
    assert writer.position > first + 128
    writer.close()
    reader.close()


def test_two_words_read_one_after_the_other_never_give_nonsense() -> None:
    """A reader that passes the tail we saw makes depth 0, not 2**64 - 1; a late head makes it full."""
    assert 0 == RingLook(capacity=128, written=10, read=11).depth
    assert 128 == RingLook(capacity=128, written=500, read=11).depth


def test_a_buffer_that_is_no_ring_is_refused() -> None:
    """A segment that is too short is an error with words, not a crash."""
    with pytest.raises(LayoutError, match="at least 4096 bytes"):
        look_at_ring(memoryview(bytes(100)))
