"""Slow model of the stage `book`: dict books, hashlib and json; the promises of `pipeline.native.books`
again.

Reads records as bytes (one run a call), returns the records that it must emit as tuples:
("top", row, flags, bids, asks, venue_ns, proof_ns), ("stale", row, cause), ("pass", bytes).
"""

from __future__ import annotations

from typing import Any

from pipeline import records as r
from pipeline.codec import unpack
from tests.models.book_hints import AHEAD_NS_MAX, BookHints
from tests.models.book_state import FULL, NONE_ANNOUNCED, SIZE_MAX, ZERO_HASH, Book, gcd, identity, mix_of


class BookModel(BookHints):
    """The whole fold; `blocks` is the arena's capacity by class."""

    def __init__(
        self, rows_max: int, blocks: tuple[int, int, int], batch_ns: int = 20_000_000, hash_rows: int = 64,
        desync_ns: int = 250_000_000,
    ) -> None:
        self.rows_max, self.free = rows_max, dict(zip((128, 1024, 16384), blocks, strict=True))
        self.defaults = self.batch_ns, self.hash_rows, self.desync_ns = batch_ns, hash_rows, desync_ns
        self.books: dict[int, Book] = {}
        self.cursor, self.doubt = 0, Book.Doubts()
        self.stages: dict[int, tuple[Any, list[Any]]] = {}
        self.out: list[tuple[Any, ...]] = []

    def fold(self, run: bytes) -> list[tuple[Any, ...]]:
        self.out = []
        slots = [unpack(run, at) for at in range(0, len(run), r.SLOT_BYTES)]
        head = slots[0]
        handler = getattr(self, "on_" + r.Kind(head.kind).name.lower(), None)
        if handler is None:
            self.out.append(("pass", run))
        else:
            handler(head, slots, run)
        return self.out

    def known(self, head: Any) -> Book | None:
        return self.books.get(head.instrument)

    def emit_top(self, number: int, book: Book) -> None:
        flags = r.Flag.OPEN * book.open | r.Flag.STALE * book.stale | r.Flag.CROSSED * book.crossed
        self.out.append(("top", number, int(flags), book.top(0), book.top(1), book.venue_ns, book.proof_ns))

    def close(self, book: Book, cause: int) -> bool:
        news = not book.stale or book.cause != cause
        book.stale, book.cause, book.open, book.tick_old, book.dirty = True, cause, False, False, False
        book.mismatch_since = book.crossed_since = book.tick_since = book.searched = book.sample_since = 0
        return news

    def go_stale(self, number: int, book: Book, cause: int) -> None:
        if self.close(book, cause):
            self.out.append(("stale", number, int(cause)))
            self.emit_top(number, book)

    def prove(self, book: Book, now_ns: int) -> None:
        book.open = book.tick_old = False
        book.mismatch_since = book.tick_since = book.searched = 0
        book.proof_ns = book.heard_ns if 0 < book.heard_ns < now_ns else now_ns

    def check(self, book: Book, now_ns: int) -> bool:
        book.dirty = False
        if not book.crossed and book.matches(book.candidates()) and book.bbo_ok:
            self.prove(book, now_ns)
            return True
        if not book.mismatch_since and not book.tick_old:
            book.mismatch_since = now_ns
        return False

    def settle(self, number: int, book: Book, now_ns: int) -> None:
        book.crossed_since = (book.crossed_since or now_ns) if book.crossed else 0
        if book.open:
            if book.dirty and book.rules & r.Rule.WATCH and book.hashed:
                self.check(book, now_ns)
            elif not book.mismatch_since and not book.tick_old and not book.bbo_ok:
                book.mismatch_since = now_ns
        self.emit_top(number, book)

    # grids and blocks ---------------------------------------------------------------------------------

    def block_class(self, grid: int) -> int:
        return next(c for c in (128, 1024, 16384) if FULL // grid <= c)

    def take_tick(self, book: Book, step: int) -> bool:
        book.grid = gcd(book.grid, gcd(FULL, step))
        if not book.levels_used or book.grid == book.used_grid:
            return True
        size = self.block_class(book.grid)
        if not self.free[size]:
            self.free[book.levels_used] += 1
            book.levels_used = 0
            return False
        self.free[size] -= 1
        self.free[book.levels_used] += 1
        book.levels_used, book.used_grid = size, book.grid
        return True

    # records ------------------------------------------------------------------------------------------

    def on_instrument(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots
        if not 0 < head.instrument < self.rows_max:
            return
        book = self.books.get(head.instrument)
        if head.flags & r.Flag.REPEAT and book:
            return
        self.out.append(("pass", run))
        if book is None:
            book = self.books[head.instrument] = Book(self.doubt)
            book.grid = (
                gcd(
                    gcd(FULL, head.tick_step_finest) if head.tick_step_finest else 0,
                    gcd(FULL, head.tick_step) if head.tick_step else 0,
                )
                or 1
            )
        book.rules, book.shard, book.ids = head.rules, head.shard, identity(head)
        if not book.stream_tick:
            book.tick_step = head.tick_step
        book.dirty = book.open
        if not all(self.take_tick(book, s) for s in (head.tick_step, head.tick_step_finest) if s):
            self.go_stale(head.instrument, book, r.Cause.ARENA_FULL)

    def on_config(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots
        self.batch_ns, self.hash_rows, self.desync_ns = (
            given if given > 0 else default
            for given, default in zip(
                (head.batch_ns_max, head.hash_rows_max, head.desync_ns_max), self.defaults, strict=True
            )
        )
        self.out.append(("pass", run))

    def on_gap(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots
        for number, book in self.books.items():
            if not book.resolved and (
                head.instrument == number or (not head.instrument and book.shard == head.shard)
            ):
                book.best = [NONE_ANNOUNCED] * 2
                book.pairs.clear()
                if not (book.stale and book.cause == r.Cause.NO_SNAPSHOT):
                    self.close(book, head.cause or r.Cause.DISCONNECT)
        self.out.append(("pass", run))

    def on_resolved(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots
        book = self.known(head)
        if book:
            self.close(book, r.Cause.RESOLVED)
            book.resolved = True
            if book.levels_used:
                self.free[book.levels_used] += 1
                book.levels_used = 0
        self.out.append(("pass", run))

    def on_tick_step(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots
        book = self.known(head)
        self.out.append(("pass", run))
        if book is None:
            return
        book.stream_tick = True
        if not 0 < head.new_step < FULL:
            if not book.stale:
                self.go_stale(head.instrument, book, r.Cause.OFF_GRID)
            return
        if book.tick_step != head.new_step:
            book.tick_step = head.new_step
            if not self.take_tick(book, head.new_step):
                self.go_stale(head.instrument, book, r.Cause.ARENA_FULL)
                return
            if not book.stale:
                book.tick_old = book.dirty = book.open = True
                book.tick_since, book.mismatch_since = head.now_ns, 0
        if not book.stale:
            self.settle(head.instrument, book, head.now_ns)

    def on_delta(self, head: Any, slots: list[Any], run: bytes) -> None:
        del run
        book = self.known(head)
        if book is None:
            return
        raw = [
            (s.price_ticks[i], s.size_micro[i], s.side[i], s.outcome[i])
            for s in slots
            for i in range(min(8, s.change_count))
        ]
        good = all(s.change_count <= 8 for s in slots) and all(
            0 < p < FULL and p % book.grid == 0 and 0 <= size <= SIZE_MAX and side < 2 and token < 2
            for p, size, side, token in raw
        )
        changes = [(FULL - p if o else p, size, side ^ o, o) for p, size, side, o in raw] if good else []
        content = tuple(c[:3] for c in changes) if good else None
        place = book.place(head.venue_ns, head.hash_yes, head.hash_no, content)
        if self.is_ahead(head):
            if not book.stale:
                self.go_stale(head.instrument, book, r.Cause.DATED_AHEAD)
            return
        if book.stale:
            if good and place == "new" and not book.resolved:
                book.set_target(head.venue_ns, head.now_ns, head.hash_yes, head.hash_no)
                book.set_best(head)
                book.remember(head.venue_ns, head.hash_yes, head.hash_no, content)
            return
        if (
            place == "superseded"
            or head.venue_ns < book.base_ns
            or (place == "late" and head.venue_ns < book.floor_ns)
        ):
            return
        if not good:
            self.go_stale(head.instrument, book, r.Cause.OFF_GRID)
            return
        tokens = [sorted(c[:3] for c in changes if c[3] == o) for o in (0, 1)]
        if tokens[1] and (not book.rules & r.Rule.MIRRORED or (tokens[0] and tokens[0] != tokens[1])):
            self.go_stale(head.instrument, book, r.Cause.MIRROR_MISMATCH)
            return
        if place == "new":
            if book.open and not book.hashed and not book.crossed and not book.tick_old and book.bbo_ok:
                self.prove(book, head.now_ns)
            book.set_target(head.venue_ns, head.now_ns, head.hash_yes, head.hash_no)
        if place != "late":
            book.set_best(head)
        applied = 0 if tokens[0] or not tokens[1] else 1
        for price, size, side, token in changes:
            if token != applied:
                continue
            if place == "late" and any(k == (price, side) and t > head.venue_ns for k, t in book.touches):
                continue
            book.touch((price, side), head.venue_ns)
            book.sides[side][price] = size
            if not size:
                del book.sides[side][price]
            book.change_ticks = price
        book.remember(head.venue_ns, head.hash_yes, head.hash_no, content)
        book.heard_ns = head.recv_ns
        book.venue_ns = max(book.venue_ns, head.venue_ns)
        book.pristine, book.dirty, book.open = False, True, True
        self.settle(head.instrument, book, head.now_ns)

    def on_snapshot(self, head: Any, slots: list[Any], run: bytes) -> None:
        del run
        book = self.known(head)
        if (
            book is None
            or head.outcome > 1
            or book.resolved
            or (head.outcome and not book.rules & r.Rule.MIRRORED)
        ):
            return
        known, levels = self.stages.pop(head.source, (None, []))
        if known != (head.instrument, head.outcome):
            levels = []
        for s in slots:
            count = s.bid_count + s.ask_count
            if count > r.SNAPSHOT_LEVELS:
                self.go_stale(head.instrument, book, r.Cause.OFF_GRID)
                return
            levels += [(s.price_ticks[i], s.size_micro[i], int(i >= s.bid_count)) for i in range(count)]
        if head.flags & r.Flag.MORE:
            self.stages[head.source] = ((head.instrument, head.outcome), levels)
            return
        if self.is_ahead(head):
            self.go_stale(head.instrument, book, r.Cause.DATED_AHEAD)
            return
        fresh = book.stale or head.venue_ns >= book.venue_ns
        if 0 < head.tick_step < FULL and fresh:
            book.stream_tick, book.tick_step = True, head.tick_step
            if not self.take_tick(book, head.tick_step):
                self.go_stale(head.instrument, book, r.Cause.ARENA_FULL)
                return
        if not all(0 < p < FULL and p % book.grid == 0 and 0 < s <= SIZE_MAX for p, s, _ in levels):
            self.go_stale(head.instrument, book, r.Cause.OFF_GRID)
            return
        if fresh and head.last_trade_state in (1, 2):
            book.trade = (
                (0, 0)
                if head.last_trade_state == 1
                else (head.last_trade_ticks, 4 if head.last_trade_ticks % 10 else 3)
            )
            book.print_ticks = book.print_ticks if head.last_trade_state == 1 else head.last_trade_ticks
        sides: list[dict[int, int]] = [{}, {}]
        for price, size, side in levels:
            sides[side ^ head.outcome][FULL - price if head.outcome else price] = size
        self.whole_book(head, book, sides, len(levels))

    def whole_book(self, head: Any, book: Book, sides: list[dict[int, int]], count: int) -> None:
        pair = (head.hash, ZERO_HASH) if head.outcome == 0 else (ZERO_HASH, head.hash)
        place, was_stale = book.place(head.venue_ns, *pair, None), book.stale
        if not was_stale:
            sister = head.outcome != book.base_outcome
            if place == "superseded" or head.venue_ns < max(book.venue_ns, book.target_ns):
                return
            if sister and head.venue_ns == book.base_ns:
                if book.pristine:
                    if sides != book.sides or count != sum(map(len, sides)):
                        self.go_stale(head.instrument, book, r.Cause.MIRROR_MISMATCH)
                        return
                    if head.hash != ZERO_HASH:
                        book.hashes[head.outcome] = head.hash
                    self.settle(head.instrument, book, head.now_ns)
                    return
                if place == "new":
                    return
        if not book.levels_used:
            size = self.block_class(book.grid)
            if not self.free[size]:
                self.go_stale(head.instrument, book, r.Cause.ARENA_FULL)
                return
            self.free[size] -= 1
            book.levels_used, book.used_grid = size, book.grid
        cause, book.stale = book.cause, False
        if was_stale:
            book.mismatch_since = book.tick_since = book.searched = 0
        if head.venue_ns < book.target_ns and head.now_ns - book.arrived_ns >= AHEAD_NS_MAX:
            book.target_ns = 0
        book.sides = sides
        if was_stale and book.sampled_ns and mix_of(sides) == book.sample[2]:
            self.doubt.forgive(book)
        book.venue_ns = book.base_ns = book.floor_ns = head.venue_ns
        book.touches.clear()
        book.base_outcome, book.pristine, book.change_ticks, book.crossed_since = head.outcome, True, 0, 0
        if place == "new" or head.venue_ns >= book.target_ns:
            book.set_target(head.venue_ns, head.now_ns, *pair)
            book.tick_since = 0
        book.remember(head.venue_ns, *pair, None)
        book.heard_ns = head.recv_ns
        book.dirty = book.open = True
        if was_stale and cause != r.Cause.NO_SNAPSHOT:
            self.out.append(("stale", head.instrument, 0))
        book.cause = r.Cause.NONE
        self.settle(head.instrument, book, head.now_ns)

    def on_tick(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots
        self.out.append(("pass", run))
        budget, search, now_ns = self.hash_rows, True, head.now_ns
        numbers = sorted(self.books)
        end = numbers[-1] + 1 if numbers else 0
        start = self.cursor if self.cursor < end else 0
        for number in [n for n in numbers if n >= start] + [n for n in numbers if n < start]:
            book = self.books[number]
            if book.stale or not (book.open or book.crossed or book.sample_since):
                continue
            proven = False
            if book.open and book.hashed:
                if book.dirty:
                    if budget > 0:
                        budget -= 1
                        proven = self.check(book, now_ns)
                    elif budget == 0:
                        budget, self.cursor = -1, number
                elif (search and book.mismatch_since and not book.crossed and book.bbo_ok
                        and now_ns - max(book.mismatch_since, book.searched) >= self.batch_ns):
                    search, book.searched = False, now_ns
                    if book.matches(book.all_trades()):
                        self.prove(book, now_ns)
                        proven = True
            elif book.open and not book.crossed and not book.tick_old:
                if not book.bbo_ok:
                    book.mismatch_since = book.mismatch_since or now_ns
                elif now_ns - book.arrived_ns >= self.batch_ns:
                    if self.doubt.advisory and book.dirty and book.has_hash and budget > 0:
                        budget, book.dirty = budget - 1, False
                        self.doubt.weigh(book.matches(book.candidates()))
                    self.prove(book, now_ns)
                    proven = True
            cause = book.too_long(now_ns, self.desync_ns)
            if not cause and book.sample_since and book.lacks_sample(now_ns, self.books):
                cause = r.Cause.SAMPLE_DIFFERS
            if cause == r.Cause.HASH_MISMATCH and book.venue_ns >= book.target_ns:
                self.doubt.wrong(number, now_ns, self.books)
            if cause:
                self.go_stale(number, book, cause)
            elif proven:
                self.emit_top(number, book)
