"""The native parts that several benchmarks put together: rings in private memory, books over an arena."""

from __future__ import annotations

import zlib

from bench.frames import instruments_of
from pipeline.native.books import Books
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.sim.market import Market

RING_SLOTS = 4_096  # 1 MiB: as a lane's, and small enough to stay in the cache


def ring(slots: int = RING_SLOTS) -> tuple[Writer, Reader]:
    """Return both ends of a ring in private memory."""
    buffer = bytearray(Ring.bytes_for(slots))
    Ring.format(buffer, slots)
    return Writer(buffer), Reader(buffer)


def blocks_for(markets: list[Market]) -> tuple[int, int, int]:
    """Return how many ladders of 128, 1,024 and 16,384 levels these markets need, by their tick."""
    coarse = sum(1 for market in markets if market.tick_step >= 100)
    middle = sum(1 for market in markets if 10 <= market.tick_step < 100)
    return coarse + 1, middle + 1, len(markets) - coarse - middle + 1


class BookRig:
    """Books of some markets with the ends around them; rows are known, no book has a snapshot yet."""

    def __init__(self, markets: list[Market], is_watched: bool) -> None:
        self.blocks = blocks_for(markets)
        rows_max = len(markets) + 1
        self.arena = bytearray(arena_bytes(self.blocks))
        self.rows = bytearray(rows_bytes(rows_max))
        self.books = Books(rows_max, self.arena, self.rows, self.blocks)
        self.feed, self.feed_end = ring()
        self.tops, self.tops_end = ring()
        records = instruments_of(markets, is_watched)
        for at in range(0, len(records), 256):
            self.feed.push(records[at : at + 256])
            self.drain()

    def drain(self, checksum: int = 0) -> int:
        """Fold what waits; return the CRC-32 of the Tops that came out, continued from `checksum`."""
        while self.books.poll(self.feed_end, self.tops, 1 << 20):
            while data := self.tops_end.read(1 << 20):
                checksum = zlib.crc32(data, checksum)
        return checksum

    @property
    def bytes_used(self) -> dict[str, int]:
        """Return what the books occupy in shared memory."""
        return {"arena_bytes": len(self.arena), "rows_bytes": len(self.rows)}
