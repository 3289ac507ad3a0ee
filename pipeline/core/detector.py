"""detect: watches every basket and says which can be bought now.

Reads the `tops` stream (TOP and all records that book passes on); writes IDEA runs, one a profitable
basket, after the record that caused them. Consumes nothing: the stage passes every record on.

An IDEA keeps `seq`, `now_ns` and `recv_ns` of its cause; `source_seq` carries the newest venue time of the
books it was priced from, so that trade can say how old the prices were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.codec import CODECS, KIND_OFFSET
from pipeline.core.limits import NO_LIMITS, limits_of
from pipeline.core.strategies.basket import BasketStrategy, Watch
from pipeline.core.strategies.interface import Idea
from pipeline.core.tops import Book
from pipeline.kinds import Cause, Flag, Kind, TradeStatus
from pipeline.native.packages import idea_run
from pipeline.native.sums import Top
from pipeline.units import PPM

_TOP_KIND = int(Kind.TOP)
_TICK_KIND = int(Kind.TICK)
_IDEA_KIND = int(Kind.IDEA)
_NOTHING: Sequence[bytes] = ()
_PICO_PER_PPM = 1_000_000  # 1e-12 USD a share in a millionth of a USD a share


class Detector:
    """A pure fold: the same records in give the same IDEA runs out."""

    def __init__(self, strategy: BasketStrategy | None = None) -> None:
        self._strategy = strategy or BasketStrategy()
        self._books = self._strategy.books  # the hot lookup; owned by the strategy
        self._limits = NO_LIMITS
        self._idea_no = 0
        self._handlers: dict[int, Any] = {
            int(Kind.INSTRUMENT): self._on_instrument,
            int(Kind.TICK_STEP): self._on_tick_step,
            int(Kind.CONFIG): self._on_config,
            int(Kind.STALE): self._on_stale,
            int(Kind.GAP): self._on_gap,
            int(Kind.FILL): self._on_fill,
            int(Kind.REPORT): self._on_report,
            int(Kind.RESOLVED): self._on_resolved,
        }

    def on_record(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> Sequence[bytes]:
        """Return the IDEA runs that the record at `offset` causes; they stand after it in the stream."""
        kind = slot[offset + KIND_OFFSET]
        if kind == _TOP_KIND:
            book = self._books.get(int.from_bytes(slot[offset + 36:offset + 40], "little"))
            if book is None:
                return _NOTHING
            return self.on_near(book, slot, offset) if book.take(slot, offset) else _NOTHING
        if kind == _TICK_KIND:
            now_ns = int.from_bytes(slot[offset + 8:offset + 16], "little")
            ideas = self._strategy.on_tick(now_ns)
            return self._render(ideas, slot, offset) if ideas else _NOTHING
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(slot, offset)
        return _NOTHING

    def on_near(
        self, top: Top, slot: bytes | bytearray | memoryview, offset: int = 0,
    ) -> Sequence[bytes]:
        """Return the IDEA runs of a watched row that took the TOP at `offset` and is near a profit."""
        ideas = self._strategy.on_top(top, top.now_ns)
        return self._render(ideas, slot, offset) if ideas else _NOTHING

    def _on_instrument(self, slot: bytes, offset: int) -> None:
        changed = self._strategy.instruments.apply(slot, offset)
        if changed is not None:
            self._strategy.on_instrument(changed)

    def _on_tick_step(self, slot: bytes, offset: int) -> None:
        changed = self._strategy.instruments.apply_tick_step(slot, offset)
        if changed is not None:
            self._strategy.on_instrument(changed)

    def _on_config(self, slot: bytes, offset: int) -> None:
        self._limits = limits_of(slot, offset)
        self._strategy.on_limits(self._limits)

    def _on_stale(self, slot: bytes, offset: int) -> None:
        record = CODECS[Kind.STALE].unpack(slot, offset)
        book = self._books.get(record.instrument)
        if book is not None and record.cause != Cause.NONE:
            book.flags |= Flag.STALE

    def _on_gap(self, slot: bytes, offset: int) -> None:
        """Every book of the shard, or the one named, is stale until its next fresh top."""
        record = CODECS[Kind.GAP].unpack(slot, offset)
        if record.instrument:
            book = self._books.get(record.instrument)
            if book is not None:
                book.flags |= Flag.STALE
            return
        for book in self._books.values():
            if book.instrument.shard == record.shard:
                book.flags |= Flag.STALE

    def _on_fill(self, slot: bytes, offset: int) -> None:
        """Depth that an older top shows is ours already (only the first status of a trade counts)."""
        record = CODECS[Kind.FILL].unpack(slot, offset)
        book = self._books.get(record.instrument)
        if book is not None and record.status == TradeStatus.MATCHED:
            book.touch(record.venue_ns, record.now_ns + self._limits.cooldown_ns)
            self._strategy.on_fill(book, record.now_ns)

    def _on_report(self, slot: bytes, offset: int) -> None:
        record = CODECS[Kind.REPORT].unpack(slot, offset)
        self._strategy.on_report(record.instrument, record.state, record.now_ns)

    def _on_resolved(self, slot: bytes, offset: int) -> None:
        record = CODECS[Kind.RESOLVED].unpack(slot, offset)
        book = self._books.get(record.instrument)
        if book is not None:
            book.is_resolved = True

    def _render(
        self, ideas: Sequence[Idea], slot: bytes | bytearray | memoryview, offset: int,
    ) -> list[bytes]:
        runs = []
        for idea in ideas:
            self._idea_no += 1
            runs.append(idea_run(idea, self._idea_no, slot, offset))
        return runs

    def book(self, row: int) -> Book | None:
        """Return what is known of a watched row, None for all others."""
        return self._books.get(row)

    @property
    def rows_version(self) -> int:
        """Return a number that grows whenever `watched` may have changed."""
        return self._strategy.version

    def watched(self) -> dict[int, Book]:
        """Return the books in a basket by row: all other tops may pass unseen."""
        return {row: book for row, book in self._books.items() if book.links}

    @property
    def watches(self) -> Sequence[Watch]:
        """Every basket under observation."""
        return self._strategy.watches

    @property
    def counts(self) -> dict[str, int]:
        """Return counters for `pm status`: baskets, tops of watched rows, ideas, refusals by cause."""
        refusals = {f"refused_{cause.name.lower()}": count for cause, count in self._strategy.counts.items()}
        tops = sum([book.taken_count for book in self._books.values()])
        return {
            "baskets": len(self._strategy.watches), "tops": tops, "ideas": self._idea_no,
            **refusals}

    def why_nothing(self) -> list[str]:
        """Return, in words, what kept every basket from becoming an idea; for people, not for decisions."""
        if self._limits.missing:
            return [f"no limits: {self._limits.missing} is missing"]
        watches = self._strategy.watches
        if not watches:
            known = len(self._strategy.instruments.rows)
            return [f"no baskets: {known} instruments known, no complete and proven event among them"]
        stale = sum(1 for watch in watches if any(book.flags & Flag.STALE for book in watch.books))
        below = [watch for watch in watches if not watch.ideas]
        best = max(watches, key=lambda watch: watch.best)
        edge_ppm = best.best // _PICO_PER_PPM
        lines = [
            f"baskets {len(watches)}, stale now {stale}, without an idea {len(below)}",
            f"best edge at the best prices {edge_ppm} of {PPM} a share (basket {best.basket.number})"]
        lines += [f"{cause.name.lower()}: {count}" for cause, count in self._strategy.counts.items()]
        return lines
