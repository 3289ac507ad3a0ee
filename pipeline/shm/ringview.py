"""How full a ring is, read from its header page by anybody, at any time; the ring's ends are not touched.

The places of the words are those of native/ring.pyx; tests/unit/test_ringview.py holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import LayoutError

HEADER_BYTES = 4096
_SLOTS, _TAIL, _HEAD = 2, 32, 48  # u64 words: constant, of the producer, of the reader


@dataclass(frozen=True, slots=True)
class RingLook:
    """What a ring held when it was looked at, in slots."""

    capacity: int
    written: int  # slots ever written
    read: int  # slots ever given back by the reader

    @property
    def depth(self) -> int:
        """How many slots wait; the two words are read one after the other, so it is held to 0..capacity."""
        return min(max(self.written - self.read, 0), self.capacity)


def look_at_ring(buffer: memoryview) -> RingLook:
    """Return what the ring's header says; a read-only buffer will do. Raises LayoutError for a short one."""
    if len(buffer) < HEADER_BYTES:
        raise LayoutError(
            f"shm.ringview: a ring has at least {HEADER_BYTES} bytes, the buffer has {len(buffer)}; "
            "attach the ring's segment")
    with buffer[:HEADER_BYTES].cast("Q") as words:
        return RingLook(capacity=words[_SLOTS], written=words[_TAIL], read=words[_HEAD])
