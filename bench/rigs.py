"""The native parts that several benchmarks put together: rings in private memory, books over an arena."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codec import CODECS
from pipeline.kinds import Kind
from pipeline.native.books import Books
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.records import SLOT_BYTES

RING_SLOTS = 4_096  # 1 MiB: as a lane's, and small enough to stay in the cache


def ring(slots: int = RING_SLOTS) -> tuple[Writer, Reader]:
    """Return both ends of a ring in private memory."""
    buffer = bytearray(Ring.bytes_for(slots))
    Ring.format(buffer, slots)
    return Writer(buffer), Reader(buffer)


def blocks_for(tick_steps: Sequence[int]) -> tuple[int, int, int]:
    """Return how many ladders of 128, 1,024 and 16,384 levels these markets need, by their tick."""
    coarse = sum(1 for step in tick_steps if step >= 100)
    middle = sum(1 for step in tick_steps if 10 <= step < 100)
    return coarse + 1, middle + 1, len(tick_steps) - coarse - middle + 1


class BookRig:
    """Books with the ends around them; the rows of `records` are known, no book has a snapshot yet.

    records: Instrument slots of rows 1, 2, ...
    """

    def __init__(self, records: bytes) -> None:
        slots = [records[at : at + SLOT_BYTES] for at in range(0, len(records), SLOT_BYTES)]
        steps = [CODECS[Kind.INSTRUMENT].unpack(slot).tick_step for slot in slots]
        self.blocks = blocks_for(steps)
        rows_max = len(slots) + 1
        self.arena = bytearray(arena_bytes(self.blocks))
        self.rows = bytearray(rows_bytes(rows_max))
        self.books = Books(rows_max, self.arena, self.rows, self.blocks)
        self.feed, self.feed_end = ring()
        self.tops, self.tops_end = ring()
        for slot in slots:
            self.feed.push(slot)
            self.drain()

    def drain(self) -> None:
        """Fold what waits and let go of what came out."""
        while self.books.poll(self.feed_end, self.tops, 1 << 20):
            while self.tops_end.read(1 << 20):
                pass

    @property
    def bytes_used(self) -> dict[str, int]:
        """Return what the books occupy in shared memory."""
        return {"arena_bytes": len(self.arena), "rows_bytes": len(self.rows)}
