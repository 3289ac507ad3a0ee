"""Slow model of the stage `book`: dict books, hashlib and json; the promises of `pipeline.native.books` again.

Reads records as bytes (one run a call), returns the records that it must emit as tuples:
("top", row, flags, bids, asks, venue_ns, proof_ns), ("stale", row, cause), ("pass", bytes).
"""

from __future__ import annotations

import collections
import hashlib
import json
from typing import Any

from pipeline import records as r
from pipeline.units import int_to_decimal

FULL = 10_000
SIZE_MAX = 10**15
NONE_ANNOUNCED = r.NOT_ANNOUNCED
ZERO_HASH = bytes(20)


def gcd(one: int, other: int) -> int:
    while other:
        one, other = other, one % other
    return one


def sha1(text: str) -> bytes:
    return hashlib.sha1(text.encode()).digest()  # noqa: S324 - the venue's choice


def announced_hash(ids: dict[str, Any], outcome: int, venue_ns: int, bids: dict[int, int], asks: dict[int, int],
                   tick_step: int, last_trade: str) -> bytes:
    """Return the venue's SHA-1 of the YES book `bids`, `asks` as the token `outcome` sees it."""
    return sha1(preimage(ids, outcome, venue_ns, bids, asks, tick_step, last_trade))


def preimage(ids: dict[str, Any], outcome: int, venue_ns: int, bids: dict[int, int], asks: dict[int, int],
             tick_step: int, last_trade: str) -> str:
    if outcome:
        bids, asks = {FULL - p: s for p, s in asks.items()}, {FULL - p: s for p, s in bids.items()}
    level = lambda p, s: {"price": int_to_decimal(p, 4), "size": int_to_decimal(s, 6)}  # noqa: E731
    book = {
        "market": ids["market"], "asset_id": ids["tokens"][outcome], "timestamp": str(venue_ns // 10**6), "hash": "",
        "bids": [level(p, bids[p]) for p in sorted(bids)], "asks": [level(p, asks[p]) for p in sorted(asks, reverse=True)],
        "min_order_size": int_to_decimal(ids["size_micro_min"], 6), "tick_size": int_to_decimal(tick_step, 4),
        "neg_risk": ids["neg_risk"], "last_trade_price": last_trade,
    }
    if ids["v2"]:
        book["version"] = "v2"
    return json.dumps(book, separators=(",", ":"), ensure_ascii=False)


def identity(instrument: Any) -> dict[str, Any]:
    return {
        "market": "0x" + instrument.condition.hex(),
        "tokens": [str(int.from_bytes(t, "big")) for t in (instrument.token_yes, instrument.token_no)],
        "size_micro_min": instrument.size_micro_min,
        "neg_risk": bool(instrument.rules & r.Rule.NEG_RISK), "v2": bool(instrument.rules & r.Rule.V2),
    }


def trade_text(ticks: int, digits: int) -> str:
    return "" if digits == 0 else f"{ticks // FULL}." + f"{ticks % FULL:04d}"[:digits]


class Book:
    def __init__(self) -> None:
        self.sides: list[dict[int, int]] = [{}, {}]
        self.stale, self.cause, self.open, self.resolved = True, r.Cause.NO_SNAPSHOT, False, False
        self.venue_ns = self.base_ns = self.proof_ns = 0
        self.base_outcome, self.pristine, self.stream_tick = 0, False, False
        self.crossed_since = self.mismatch_since = self.tick_since = self.searched = 0
        self.target_ns = self.arrived_ns = 0
        self.hashes: list[bytes | None] = [None, None]
        self.best = [NONE_ANNOUNCED, NONE_ANNOUNCED]
        self.dirty = self.tick_old = False
        self.trade: tuple[int, int] | None = None
        self.print_ticks = self.change_ticks = 0
        self.pairs: collections.deque[Any] = collections.deque(maxlen=16)
        self.touches: collections.deque[Any] = collections.deque(maxlen=32)
        self.floor_ns = 0
        self.levels_used = 0

    def top(self, side: int) -> list[tuple[int, int]]:
        if self.stale:
            return []
        return sorted(self.sides[side].items(), reverse=side == 0)[:8]

    def best_of(self, side: int) -> int:
        top = self.top(side)
        return top[0][0] if top else 0

    @property
    def crossed(self) -> bool:
        bid, ask = self.best_of(0), self.best_of(1)
        return bool(bid and ask and bid >= ask)

    @property
    def hashed(self) -> bool:
        return bool(self.rules & r.Rule.HASHED and any(self.hashes))

    @property
    def bbo_ok(self) -> bool:
        return all(want in (NONE_ANNOUNCED, self.best_of(side)) for side, want in enumerate(self.best))

    def set_target(self, venue_ns: int, now_ns: int, yes: bytes, no: bytes) -> None:
        self.target_ns, self.arrived_ns, self.tick_old = venue_ns, now_ns, False
        self.best = [NONE_ANNOUNCED, NONE_ANNOUNCED]
        self.hashes = [yes if yes != ZERO_HASH else None, no if no != ZERO_HASH else None]

    def place(self, venue_ns: int, yes: bytes, no: bytes, content: Any) -> str:
        pair = [h if h != ZERO_HASH else None for h in (yes, no)]
        if venue_ns > self.target_ns:
            return "new"
        if venue_ns == self.target_ns and (pair == [None, None] or any(h and h == t for h, t in zip(pair, self.hashes, strict=True))):
            return "repeat"
        seen = [p for p in self.pairs if p[0] == venue_ns and any(h and h == q for h, q in zip(pair, p[1], strict=True))]
        if any(p[2] == content or p[2] is None or content is None for p in seen):
            return "superseded"
        if venue_ns < self.target_ns:
            return "superseded" if seen else "late"
        return "new"

    def remember(self, venue_ns: int, yes: bytes, no: bytes, content: Any) -> None:
        self.pairs.append((venue_ns, [h if h != ZERO_HASH else None for h in (yes, no)], content))

    def touch(self, key: tuple[int, int], venue_ns: int) -> None:
        if len(self.touches) == 32:
            self.floor_ns = max(self.floor_ns, self.touches[0][1])
        self.touches.append((key, venue_ns))

    def matches(self, candidates: list[tuple[int, int]]) -> bool:
        outcome = 0 if self.hashes[0] else 1
        text = preimage(self.ids, outcome, self.target_ns, *self.sides, self.tick_step, "?")
        for ticks, digits in candidates:
            if self.hashes[outcome] == sha1(text.replace('"?"', f'"{trade_text(ticks, digits)}"')):
                self.trade = (ticks, digits)
                return True
        return False

    def candidates(self) -> list[tuple[int, int]]:
        found = [self.trade or (0, 0)]
        for ticks in (self.print_ticks, self.change_ticks):
            for price in (ticks, FULL - ticks) if ticks else ():
                if price % 10 == 0:
                    found.append((price, 3))
                if price % 10 or self.tick_step < 10:
                    found.append((price, 4))
        return found

    def all_trades(self) -> list[tuple[int, int]]:
        fine = range(self.tick_step, FULL, self.tick_step) if self.tick_step % 10 else ()
        return [(0, 0), *((p, 3) for p in range(10, FULL, 10)), *((p, 4) for p in fine)]


class BookModel:
    """The whole fold; `blocks` is the arena's capacity by class."""

    def __init__(self, rows_max: int, blocks: tuple[int, int, int], batch_ns: int = 20_000_000, hash_rows: int = 64,
                 desync_ns: int = 250_000_000) -> None:
        self.rows_max, self.free = rows_max, dict(zip((128, 1024, 16384), blocks, strict=True))
        self.defaults = self.batch_ns, self.hash_rows, self.desync_ns = batch_ns, hash_rows, desync_ns
        self.books: dict[int, Book] = {}
        self.cursor = 0
        self.stages: dict[int, tuple[Any, list[Any]]] = {}
        self.out: list[tuple[Any, ...]] = []

    def fold(self, run: bytes) -> list[tuple[Any, ...]]:
        self.out = []
        slots = [r.unpack(run, at) for at in range(0, len(run), r.SLOT_BYTES)]
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
        book.mismatch_since = book.crossed_since = book.tick_since = book.searched = 0
        return news

    def go_stale(self, number: int, book: Book, cause: int) -> None:
        if self.close(book, cause):
            self.out.append(("stale", number, int(cause)))
            self.emit_top(number, book)

    def prove(self, book: Book, now_ns: int) -> None:
        book.open = book.tick_old = False
        book.mismatch_since = book.tick_since = book.searched = 0
        book.proof_ns = now_ns

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
            book = self.books[head.instrument] = Book()
            book.grid = gcd(gcd(FULL, head.tick_step_finest) if head.tick_step_finest else 0,
                            gcd(FULL, head.tick_step) if head.tick_step else 0) or 1
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
            for given, default in zip((head.batch_ns_max, head.hash_rows_max, head.desync_ns_max), self.defaults, strict=True))
        self.out.append(("pass", run))

    def on_gap(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots
        for number, book in self.books.items():
            if not book.resolved and (head.instrument == number or not head.instrument and book.shard == head.shard):
                book.target_ns, book.hashes, book.best = 0, [None, None], [NONE_ANNOUNCED] * 2
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

    def on_trade_print(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots, run
        book = self.known(head)
        if book is None:
            return
        if head.price_ticks < FULL:
            book.print_ticks = head.price_ticks
        if not book.stale:
            book.dirty = book.dirty or book.open
            self.settle(head.instrument, book, head.now_ns)

    def on_bbo(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots, run
        book = self.known(head)
        if book is None or book.stale:
            return
        if head.venue_ns > book.target_ns:
            book.best = [mirror(head.ask_ticks), mirror(head.bid_ticks)] if head.outcome else [head.bid_ticks, head.ask_ticks]
            if not book.bbo_ok:
                book.open = True
            elif book.open:
                book.dirty = True
        self.settle(head.instrument, book, head.now_ns)

    def on_tick_step(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots, run
        book = self.known(head)
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
        raw = [(s.price_ticks[i], s.size_micro[i], s.side[i], s.outcome[i]) for s in slots for i in range(min(8, s.change_count))]
        good = all(s.change_count <= 8 for s in slots) and all(
            0 < p < FULL and p % book.grid == 0 and 0 <= size <= SIZE_MAX and side < 2 and token < 2 for p, size, side, token in raw)
        changes = [(FULL - p if o else p, size, side ^ o, o) for p, size, side, o in raw] if good else []
        content = tuple(c[:3] for c in changes) if good else None
        place = book.place(head.venue_ns, head.hash_yes, head.hash_no, content)
        if book.stale:
            if good and place == "new" and not book.resolved:
                book.set_target(head.venue_ns, head.now_ns, head.hash_yes, head.hash_no)
                self.set_best(book, head)
                book.remember(head.venue_ns, head.hash_yes, head.hash_no, content)
            return
        if place == "superseded" or head.venue_ns < book.base_ns or place == "late" and head.venue_ns < book.floor_ns:
            return
        if not good:
            self.go_stale(head.instrument, book, r.Cause.OFF_GRID)
            return
        tokens = [sorted(c[:3] for c in changes if c[3] == o) for o in (0, 1)]
        if tokens[1] and (not book.rules & r.Rule.MIRRORED or tokens[0] and tokens[0] != tokens[1]):
            self.go_stale(head.instrument, book, r.Cause.MIRROR_MISMATCH)
            return
        if place == "new":
            if book.open and not book.hashed and not book.crossed and not book.tick_old and book.bbo_ok:
                self.prove(book, head.now_ns)
            book.set_target(head.venue_ns, head.now_ns, head.hash_yes, head.hash_no)
        if place != "late":
            self.set_best(book, head)
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
        book.venue_ns = max(book.venue_ns, head.venue_ns)
        book.pristine, book.dirty, book.open = False, True, True
        self.settle(head.instrument, book, head.now_ns)

    def set_best(self, book: Book, head: Any) -> None:
        book.best = [
            head.best_bid_yes if head.best_bid_yes != NONE_ANNOUNCED else mirror(head.best_ask_no),
            head.best_ask_yes if head.best_ask_yes != NONE_ANNOUNCED else mirror(head.best_bid_no)]

    def on_snapshot(self, head: Any, slots: list[Any], run: bytes) -> None:
        del run
        book = self.known(head)
        if book is None or head.outcome > 1 or book.resolved or head.outcome and not book.rules & r.Rule.MIRRORED:
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
        fresh = book.stale or head.venue_ns >= book.venue_ns
        if 0 < head.tick_step < FULL and fresh:
            book.stream_tick, book.tick_step = True, head.tick_step
            if not self.take_tick(book, head.tick_step):
                self.go_stale(head.instrument, book, r.Cause.ARENA_FULL)
                return
        if not all(0 < p < FULL and p % book.grid == 0 and 0 < s <= SIZE_MAX for p, s, _ in levels):
            self.go_stale(head.instrument, book, r.Cause.OFF_GRID)
            return
        if fresh and head.last_trade_state:
            book.trade = (0, 0) if head.last_trade_state == 1 else (head.last_trade_ticks, 4 if head.last_trade_ticks % 10 else 3)
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
        book.sides = sides
        book.venue_ns = book.base_ns = book.floor_ns = head.venue_ns
        book.touches.clear()
        book.base_outcome, book.pristine, book.change_ticks, book.crossed_since = head.outcome, True, 0, 0
        if place == "new" or head.venue_ns >= book.target_ns:
            book.set_target(head.venue_ns, head.now_ns, *pair)
            book.tick_since = 0
        book.remember(head.venue_ns, *pair, None)
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
            if book.stale or not (book.open or book.crossed):
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
                    self.prove(book, now_ns)
                    proven = True
            cause = self.too_long(book, now_ns)
            if cause:
                self.go_stale(number, book, cause)
            elif proven:
                self.emit_top(number, book)

    def too_long(self, book: Book, now_ns: int) -> int:
        if book.crossed_since and now_ns - book.crossed_since >= self.desync_ns:
            return r.Cause.CROSSED_BOOK
        if book.tick_since and now_ns - book.tick_since >= 10**9:
            return r.Cause.TICK_UNPROVEN
        if book.mismatch_since and now_ns - book.mismatch_since >= self.desync_ns:
            if not book.bbo_ok:
                return r.Cause.BBO_MISMATCH
            if book.hashed and not book.dirty and not book.tick_old:
                return r.Cause.HASH_MISMATCH
        return r.Cause.NONE


def mirror(best_ticks: int) -> int:
    return FULL - best_ticks if 0 < best_ticks < FULL else best_ticks
