"""State of one book in the slow model, and the venue's hash by json and hashlib."""

from __future__ import annotations

import collections
import functools
import hashlib
import json
from typing import Any

from pipeline import records as r
from pipeline.units import int_to_decimal

FULL = 10_000
SIZE_MAX = 10**15
NONE_ANNOUNCED = r.NOT_ANNOUNCED
ZERO_HASH = bytes(20)
decimal_text = functools.lru_cache(1 << 16)(int_to_decimal)  # a venue says the same levels again and again


def gcd(one: int, other: int) -> int:
    while other:
        one, other = other, one % other
    return one


def sha1(text: str) -> bytes:
    return hashlib.sha1(text.encode()).digest()


def announced_hash(
    ids: dict[str, Any],
    outcome: int,
    venue_ns: int,
    bids: dict[int, int],
    asks: dict[int, int],
    tick_step: int,
    last_trade: str,
) -> bytes:
    """Return the venue's SHA-1 of the YES book `bids`, `asks` as the token `outcome` sees it."""
    return sha1(preimage(ids, outcome, venue_ns, bids, asks, tick_step, last_trade))


def preimage(
    ids: dict[str, Any],
    outcome: int,
    venue_ns: int,
    bids: dict[int, int],
    asks: dict[int, int],
    tick_step: int,
    last_trade: str,
) -> str:
    if outcome:
        bids, asks = {FULL - p: s for p, s in asks.items()}, {FULL - p: s for p, s in bids.items()}
    level = lambda p, s: {"price": decimal_text(p, 4), "size": decimal_text(s, 6)}  # noqa: E731
    book = {
        "market": ids["market"],
        "asset_id": ids["tokens"][outcome],
        "timestamp": str(venue_ns // 10**6),
        "hash": "",
        "bids": [level(p, bids[p]) for p in sorted(bids)],
        "asks": [level(p, asks[p]) for p in sorted(asks, reverse=True)],
        "min_order_size": int_to_decimal(ids["size_micro_min"], 6),
        "tick_size": int_to_decimal(tick_step, 4),
        "neg_risk": ids["neg_risk"],
        "last_trade_price": last_trade,
    }
    if ids["v2"]:
        book["version"] = "v2"
    return json.dumps(book, separators=(",", ":"), ensure_ascii=False)


def identity(instrument: Any) -> dict[str, Any]:
    return {
        "market": "0x" + instrument.condition.hex(),
        "tokens": [str(int.from_bytes(t, "big")) for t in (instrument.token_yes, instrument.token_no)],
        "size_micro_min": instrument.size_micro_min,
        "neg_risk": bool(instrument.rules & r.Rule.NEG_RISK),
        "v2": bool(instrument.rules & r.Rule.V2),
    }


def trade_text(ticks: int, digits: int) -> str:
    return "" if digits == 0 else f"{ticks // FULL}." + f"{ticks % FULL:04d}"[:digits]


class Doubt:
    """MD09: more than 5 % of the hashed books, five at least, wrong within 10 s: then the rule is wrong."""

    def __init__(self) -> None:
        self.advisory = False
        self.agreed = self.times = 0
        self.seen: dict[int, int] = {}  # row -> when its hash was last counted as wrong
        self.counted: list[int] = []  # the second of each count
        self.sampled: list[int] = []  # the second of each book that a sample made stale

    def wrong(self, number: int, now_ns: int, books: dict[int, Book]) -> None:
        if number in self.seen and now_ns - self.seen[number] < 10 * 10**9:
            return
        self.seen[number] = now_ns
        second = now_ns // 10**9
        self.counted = [one for one in self.counted if one > second - 10] + [second]
        hashed = hashed_count(books)
        if not self.advisory and len(self.counted) >= 5 and 20 * len(self.counted) > hashed:
            self.advisory, self.agreed, self.times = True, 0, self.times + 1

    def may_fall(self, now_ns: int, books: dict[int, Book]) -> bool:
        """MD10: five books within ten seconds, or 5 %, may fall for what REST shows."""
        second = now_ns // 10**9
        self.sampled = [one for one in self.sampled if one > second - 10]
        if len(self.sampled) >= 5 and 20 * len(self.sampled) >= hashed_count(books):
            return False
        self.sampled.append(second)
        return True

    def forgive(self, book: Book) -> None:
        """The stream shows what REST showed: hearing it costs nothing."""
        if book.sampled_ns // 10**9 in self.sampled:
            self.sampled.remove(book.sampled_ns // 10**9)
        book.sampled_ns = 0

    def weigh(self, agrees: bool) -> None:
        self.agreed = self.agreed + 1 if agrees else 0
        self.advisory = self.advisory and self.agreed < 64


def hashed_count(books: dict[int, Book]) -> int:
    return sum(bool(book.rules & r.Rule.HASHED) and not book.resolved for book in books.values())


def mix_of(sides: list[dict[int, int]]) -> int:
    """Return the `levels_mix` of a SAMPLE, by Python's own integers."""
    total, full = 0, 2**64
    for side, levels in enumerate(sides):
        for price, size in levels.items():
            mix = (size + 1) * 0x9E3779B97F4A7C15 % full ^ (price * 2 + side)
            mix = (mix ^ mix >> 30) * 0xBF58476D1CE4E5B9 % full
            mix = (mix ^ mix >> 27) * 0x94D049BB133111EB % full
            total += mix ^ mix >> 31
    return total % full


def is_wide(bid: int, ask: int) -> bool:
    return bid <= 100 and (ask == 0 or ask >= FULL - 100)


class Book:
    Doubts = Doubt

    def __init__(self, doubt: Doubt) -> None:
        self.doubt = doubt
        self.sides: list[dict[int, int]] = [{}, {}]
        self.stale, self.cause, self.open, self.resolved = True, r.Cause.NO_SNAPSHOT, False, False
        self.venue_ns = self.base_ns = self.proof_ns = self.heard_ns = 0
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
        self.sample_since = self.sampled_ns = 0
        self.sample: tuple[int, bytes, int] = (0, b"", 0)  # venue time, hash, mix

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
        return self.has_hash and not self.doubt.advisory

    @property
    def has_hash(self) -> bool:
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
        if venue_ns == self.target_ns and (
            pair == [None, None] or any(h and h == t for h, t in zip(pair, self.hashes, strict=True))
        ):
            return "repeat"
        seen = [
            p
            for p in self.pairs
            if p[0] == venue_ns and any(h and h == q for h, q in zip(pair, p[1], strict=True))
        ]
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

    def owed(self, venue_ns: int, digest: bytes, mix: int) -> bool:
        """Whether the stream owes what REST showed."""
        if venue_ns < self.target_ns or mix == mix_of(self.sides):
            return False
        if venue_ns > self.target_ns:
            return True
        if not self.hashes[0]:
            return not self.hashes[1]
        if digest[:8] == self.hashes[0][:8]:
            return self.open or not self.hashed
        return not any(p[0] == venue_ns and (p[1][0] or ZERO_HASH)[:8] == digest[:8] for p in self.pairs)

    def lacks_sample(self, now_ns: int, books: dict[int, Book]) -> bool:
        if now_ns - self.sample_since < 2 * 10**9 and self.target_ns <= self.sample[0]:
            return False
        self.sample_since = 0
        if not self.owed(*self.sample):
            return False
        is_tired = self.sampled_ns and now_ns - self.sampled_ns < 60 * 10**9
        if is_tired or not self.doubt.may_fall(now_ns, books):
            return False
        self.sampled_ns = now_ns
        return True

    def set_best(self, head: Any) -> None:
        self.best = [
            head.best_bid_yes if head.best_bid_yes != NONE_ANNOUNCED else mirror(head.best_ask_no),
            head.best_ask_yes if head.best_ask_yes != NONE_ANNOUNCED else mirror(head.best_bid_no),
        ]

    def too_long(self, now_ns: int, desync_ns: int) -> int:
        if self.crossed_since and now_ns - self.crossed_since >= desync_ns:
            return r.Cause.CROSSED_BOOK
        if self.tick_since and now_ns - self.tick_since >= 10**9:
            return r.Cause.TICK_UNPROVEN
        if self.mismatch_since and now_ns - self.mismatch_since >= desync_ns:
            if not self.bbo_ok:
                return r.Cause.BBO_MISMATCH
            if self.hashed and not self.dirty and not self.tick_old:
                return r.Cause.HASH_MISMATCH
        return r.Cause.NONE


def mirror(best_ticks: int) -> int:
    return FULL - best_ticks if 0 < best_ticks < FULL else best_ticks
