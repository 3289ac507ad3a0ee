"""Ring segments in shared memory for the tests of this folder, and the CPUs that their ends run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.native.ring import Ring
from pipeline.shm import memory

FIXED_SEED = 20261121


@contextmanager
def ring_segments() -> Iterator[Callable[..., memory.Segment]]:
    """Give a maker of ring segments, `make(slots, position=0)`; all are gone afterwards."""
    made: list[memory.Segment] = []

    def make(slots: int, position: int = 0) -> memory.Segment:
        name = memory.segment_name(f"test{os.getpid()}", len(made), "ring")
        memory.unlink(name)
        made.append(memory.create(name, Ring.bytes_for(slots), generation=len(made)))
        Ring.format(made[-1].data, slots, position)
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            memory.unlink(one.name)  # first: a failed test may still hold a view
        for one in made:
            one.close()
