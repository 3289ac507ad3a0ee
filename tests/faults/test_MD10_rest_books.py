"""REST books beside the stream's: their lies move nothing (MD10), and they show what was lost (MD05)."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import CODECS
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_MD03_books import COMMITS, DEEPER_NS_MAX, HASHED, markets, started
from tests.models.chain import Chain
from tests.models.core_rig import balance, event
from tests.models.core_rig import started as rig_of
from tests.models.venue_model import Market
from tests.proxy.plan import Plan
from tests.shared import fresh_seed, seeds
from tests.tools.faultrows import figure

ROWS = (1, 2, 3)
SECONDS = figure("MD10", "seconds")
STEP_MS = 50
PER_S = 2
SILENCES = 10  # of one seed
FALL_EVERY_S = 60  # one book falls for REST at most so often
Book = dict[str, Any]


def told_now(chain: Chain, book: Book) -> Book:
    """Date a REST book as of this moment, with a hash that nobody ever announced."""
    text = f"{chain.now_ns} {book['bids']} {book['asks']}"
    digest = hashlib.sha1(text.encode()).hexdigest()
    return {**book, "timestamp": str(chain.now_ns // NS_PER_MS), "hash": digest}


def shown(bid: str, ask: str) -> Callable[[Book], Book]:
    sides = [[{"price": price, "size": "1000"}] if price else [] for price in (bid, ask)]
    return lambda book: {**book, "bids": sides[0], "asks": sides[1]}


GHOST, CHEAP = shown("0.01", "0.99"), shown("", "0.01")


class Desk:
    """Detect and trade behind the chain's books of one event; no set of it is worth buying."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.rows = [Market(row, self.rng, 100, HASHED | r.Rule.WATCH) for row in ROWS]
        for market in self.rows:
            market.sides = [dict.fromkeys(side, 10**8) for side in ((1_000, 2_500, 3_000), (6_000, 7_500))]
        self.chain = Chain(self.rows, samples_per_s=PER_S)
        self.rig = rig_of(*event(ROWS))
        self.rig.feed(balance(10**12, self.chain.now_ns))
        self.chain.on_top = self._on_top
        self.states: dict[int, set[Any]] = {market.row: {self.state(market)} for market in self.rows}
        self.wrong: list[Any] = []
        self.unbelieved_ns: Counter[int] = Counter()
        assert self.chain.run(20_000, until=self.chain.is_settled)

    @staticmethod
    def state(market: Market) -> Any:
        return tuple(map(tuple, market.tops()))

    def _on_top(self, top: Any) -> None:
        self.rig.feed(CODECS[r.Kind.TOP].pack(**top._asdict()))
        sides = ((top.bid_ticks, top.bid_micro), (top.ask_ticks, top.ask_micro))
        seen = tuple(tuple((p, s) for p, s in zip(*side, strict=True) if s) for side in sides)
        if not top.flags & (r.Flag.OPEN | r.Flag.STALE) and seen not in self.states[top.instrument]:
            self.wrong.append(top)

    def change(self, market: Market) -> None:
        """Change a size behind the best prices; each change is a new state."""
        market.venue_ns = self.chain.now_ns // NS_PER_MS * NS_PER_MS
        change = market.place(0, self.rng.choice((1_000, 2_500)), 10**6 * self.rng.randrange(1, 10**6))
        assert change is not None
        self.states[market.row].add(self.state(market))
        self.chain.venue.tell(market, market.frames([change], per_frame=1), self.chain.now_ns)

    def run(self, seconds: int) -> None:
        """Go on; a book changes every few seconds, and quiet ones are there, too."""
        for _ in range(seconds * 1_000 // STEP_MS):
            if self.rng.random() < 0.01:
                self.change(self.rng.choice(self.rows[:2]))
            self.chain.step(STEP_MS)
            for market in self.rows:
                if not self.chain.is_believed(market.row):
                    self.unbelieved_ns[market.row] += STEP_MS * NS_PER_MS
        assert [] == self.wrong, "a believed book that the venue never had"

    def sample_stats(self) -> dict[str, int]:
        return {name[8:]: count for name, count in self.chain.books.stats().items() if name[:8] == "samples_"}

    def orders(self) -> int:
        return len(self.rig.of(r.Kind.INTENT))


@pytest.mark.parametrize("is_now", [False, True], ids=["of the book's time", "of now"])
def test_MD10_ghosts_cost_no_book_and_bring_no_order(
    is_now: bool, gate_record: Callable[..., None],
) -> None:
    """Ten minutes of 0.01 against 0.99 from REST: every one is counted, no book falls, nothing is ordered."""
    desk = Desk(4)
    chain = desk.chain
    chain.venue.shows = lambda _, book: told_now(chain, GHOST(book)) if is_now else GHOST(book)
    desk.unbelieved_ns.clear()
    desk.run(SECONDS)
    stats, falls = desk.sample_stats(), chain.counts["stale_sample_differs"]
    assert (0, 0, 0) == (desk.orders(), falls, chain.counts["resyncs"])
    assert stats["ghost"] >= PER_S * SECONDS * 9 // 10
    assert len(chain.questions) <= SECONDS + 1, "one question a second, whatever comes"
    assert sum(desk.unbelieved_ns.values()) == 0
    gate_record("MD10", "seconds", SECONDS)


def test_MD10_a_lying_rest_costs_little_and_brings_no_order() -> None:
    """Cheap asks of this moment: no order of them; each book falls once a minute, and is back within 1 s."""
    desk, seconds = Desk(5), 130
    chain = desk.chain
    chain.venue.shows = lambda _, book: told_now(chain, CHEAP(book))
    desk.unbelieved_ns.clear()
    desk.run(seconds)
    falls = chain.counts["stale_sample_differs"]
    assert 0 == desk.orders()
    assert len(ROWS) <= falls <= len(ROWS) * (1 + seconds // FALL_EVERY_S), desk.sample_stats()
    assert desk.sample_stats()["refused"] > falls
    assert chain.counts["resyncs"] <= falls
    assert sum(desk.unbelieved_ns.values()) <= falls * NS_PER_S
    chain.venue.shows = lambda _, book: book
    desk.run(5)
    assert chain.is_settled()
    for market in desk.rows:  # and orders do follow when the stream itself shows such a book
        market.sides = [{}, {3_100: 10**9}]
        market.venue_ns = chain.now_ns // NS_PER_MS * NS_PER_MS
        desk.states[market.row].add(desk.state(market))
    chain.cut()
    desk.run(5)
    assert desk.orders() > 0, "the desk is one that trades"


def test_MD10_many_books_never_fall_together() -> None:
    """REST lies of forty books at once: five fall within ten seconds, the others stay."""
    rng = random.Random(9)
    rows = markets(rng, 30)
    chain = Chain(rows, blocks=(60, 30, 8), samples_per_s=30)
    assert chain.run(20_000, until=chain.is_settled)
    chain.venue.shows = lambda _, book: told_now(chain, CHEAP(book))
    chain.run(8_000, 50)
    assert 5 == chain.counts["stale_sample_differs"]
    chain.run(42_000, 50)
    assert 10 < chain.counts["stale_sample_differs"] <= 30
    assert chain.counters()["resyncs"] <= chain.counts["stale_sample_differs"]


@pytest.mark.parametrize("seed", seeds(figure("MD05", "silences") // SILENCES))
def test_MD05_what_was_lost_is_found_in_silence(seed: int, gate_record: Callable[..., None]) -> None:
    """1 % lost, then the last messages of all, and no further one: within 10 s no wrong book is believed."""
    rng = random.Random(seed)
    chain = started(rng, Plan(seed, drop=0.01, first=1), samples_per_s=PER_S)
    rows = list(chain.venue.markets.values())
    for silence in range(SILENCES):
        for _ in range(COMMITS // SILENCES):
            market = rng.choice(rows)
            market.venue_ns = max(market.venue_ns + 10**6, chain.now_ns // 10**6 * 10**6)
            chain.commit(market)
            chain.step(rng.choice((1, 1, 5, 40)))
        for market in rows:  # deep in the book, so that no best price tells; and nobody hears of it
            market.venue_ns = max(market.venue_ns, chain.now_ns) // 10**6 * 10**6 + 10**6
            assert market.place(*deepest(market)) is not None
        found = chain.run(DEEPER_NS_MAX / 10**6, STEP_MS, until=lambda: not any(
            chain.is_believed(market.row) and not chain.equals(market) for market in rows))
        assert found, f"seed {seed}, silence {silence}: a wrong book is believed: {chain.books.stats()}"
        assert chain.run(20_000, STEP_MS, until=chain.is_settled), f"seed {seed}, {silence}: {chain.counts}"
    gate_record("MD05", "silences", SILENCES)


def deepest(market: Market) -> tuple[int, int, int]:
    """Return (side, price, size) of an order behind all others of its side."""
    side = 0 if market.best(0) > market.tick_step else 1
    edge = market.tick_step if side == 0 else 10_000 - market.tick_step
    return side, edge, market.sides[side].get(edge, 0) + 5_000_000


@pytest.mark.parametrize("seed", [1, fresh_seed()])
def test_MD05_a_sample_of_another_time_is_no_evidence(seed: int) -> None:
    """REST is late by up to seconds, or a little ahead of the stream: no healthy book falls."""
    rng = random.Random(seed)
    chain = started(rng, Plan(seed), samples_per_s=PER_S)
    rows = list(chain.venue.markets.values())
    old: dict[int, list[Book]] = {market.row: [] for market in rows}

    def late(market: Market, book: Book) -> Book:
        old[market.row].append(book)
        return rng.choice(old[market.row][-5:])

    chain.venue.shows = late
    for line in chain.venue.lines.values():
        line.lag_ns = NS_PER_S
    for _ in range(300):
        market = rng.choice(rows)
        market.venue_ns = max(market.venue_ns + 10**6, chain.now_ns // 10**6 * 10**6)
        chain.venue.tell(market, market.commit(), chain.now_ns)
        chain.run(rng.choice((20, 100, 300)), 20)
    stats = chain.books.stats()
    assert 0 == chain.counts["stale_sample_differs"], stats
    assert stats["samples_older"] > 5, stats
