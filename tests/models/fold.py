"""Runs `Books` over records through two small rings and returns what it emitted, as the model does."""

from __future__ import annotations

from typing import Any

from pipeline import records as r
from pipeline.codec import unpack
from pipeline.native.books import Books
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.ring import Reader, Ring, Writer


def channel(slots: int) -> tuple[Writer, Reader]:
    buffer = bytearray(Ring.bytes_for(slots))
    Ring.format(buffer, slots)
    return Writer(buffer), Reader(buffer)


class Fold:
    def __init__(self, rows_max: int = 64, blocks: tuple[int, int, int] = (32, 32, 4), **limits: int) -> None:
        self.arena, self.rows = bytearray(arena_bytes(blocks)), bytearray(rows_bytes(rows_max))
        self.books = Books(rows_max, self.arena, self.rows, blocks, **limits)
        self.source_in, self.source = channel(1024)
        self.sink, self.sink_out = channel(1024)

    def fold(self, run: bytes) -> list[tuple[Any, ...]]:
        """Give one run; return every record it caused."""
        assert self.source_in.push(run)
        found: list[tuple[Any, ...]] = []
        while True:
            handled = self.books.poll(self.source, self.sink, 64)
            while data := self.sink_out.read(64):
                found += [words(run) for run in split(data)]
            if handled:
                return found


def split(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        end = at + r.SLOT_BYTES * (data[at + 43] or 1)
        found.append(data[at:end])
        at = end
    return found


def words(run: bytes) -> tuple[Any, ...]:
    record = unpack(run)
    if record.kind == r.Kind.TOP:
        sides = [
            list(zip(t, m, strict=True))
            for t, m in ((record.bid_ticks, record.bid_micro), (record.ask_ticks, record.ask_micro))
        ]
        bids, asks = ([level for level in side if level[1]] for side in sides)
        assert all(not any(level) for side in sides for level in side if not level[1])
        return "top", record.instrument, record.flags, bids, asks, record.venue_ns, record.proof_ns
    if record.kind == r.Kind.STALE:
        return "stale", record.instrument, record.cause
    return "pass", run
