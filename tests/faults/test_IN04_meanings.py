"""IN04: good JSON with another meaning through feed, sequencer, book and trade: no wrong book is believed.

The venue is a truthful model; its word decides. A lie is refused, or of none of our books, or it makes a book
that is not believed (open, stale, crossed): what is believed is a state that the venue had.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import records as r
from tests.faults.test_MD03_books import levels, markets
from tests.models.chain import Chain
from tests.models.meaning_mutator import Meanings
from tests.models.text_venue import text_of
from tests.models.venue_model import Market, runs_of
from tests.shared import scaled, seeds
from tests.tools.faultrows import figure

MUTANTS, SEEDS = figure("IN04", "mutants"), seeds(scaled(2, 20))
LIES_PER_FRAME = 4
MARKETS = 2
AHEAD_MS_MAX = 5_500  # a little more than how far a lie's time may be ahead of our clock
LATER_EVERY = 25  # lies; after so many, time goes on with the last one standing


class Truth:
    """Every state that the venue's books had, and what a chain believed of them."""

    def __init__(self, chain: Chain, rows: list[Market], seed: int) -> None:
        self._chain, self._rows, self._seed = chain, rows, seed
        self._tops: dict[int, set[Any]] = {market.row: set() for market in rows}
        self._books: dict[int, set[Any]] = {market.row: set() for market in rows}
        self.believed = 0
        self.lie = b""
        for market in rows:
            self.note(market)
        chain.on_top = self._on_top

    def note(self, market: Market) -> None:
        """Take the state in which the venue's book is now."""
        self._tops[market.row].add(tuple(map(tuple, market.tops())))
        self._books[market.row].add(_whole(market.sides[0].items(), market.sides[1].items()))

    def forget(self) -> None:
        """From now on only what the books are now is true."""
        for market in self._rows:
            self._tops[market.row].clear()
            self._books[market.row].clear()
            self.note(market)

    def _on_top(self, top: Any) -> None:
        if not top.flags & (r.Flag.OPEN | r.Flag.STALE | r.Flag.CROSSED):
            self.believed += 1
            assert levels(top) in self._tops[top.instrument], f"seed {self._seed}: {self.lie!r}"

    def check(self) -> None:
        """Whatever book is believed now is one that the venue had, level by level."""
        for market in self._rows:
            book = self._chain.books.snapshot_row(market.row)
            assert book is not None
            if not (book["is_stale"] or book["is_open"] or book["is_crossed"]):
                assert _whole(book["bids"], book["asks"]) in self._books[market.row], (
                    f"seed {self._seed}: {self.lie!r}")


def _whole(bids: Any, asks: Any) -> Any:
    return frozenset(bids), frozenset(asks)


def say_anew(chain: Chain, rows: list[Market]) -> None:
    """What waits on the line is older than the frames that were handed in past it: say it as it is now."""
    line = chain.venue.lines.get(0)
    if line is None or all(message == b"PONG" for message in line.queue):
        return
    line.queue = deque(message for message in line.queue if message == b"PONG")
    line.queue.append(b"[" + b",".join(text_of(market.snapshot(0), market) for market in rows) + b"]")


def heal(chain: Chain, truth: Truth, rows: list[Market]) -> None:
    """Bring every book back: by a snapshot where the socket still stands, else by the next socket.

    A lie of a time that has not come orders nothing; one of the next five seconds is waited for.
    """
    for wait_ms in (400, 400, AHEAD_MS_MAX, AHEAD_MS_MAX):
        say_anew(chain, rows)
        if 0 in chain.venue.lines:
            for market in rows:
                if not (chain.is_believed(market.row) and chain.equals(market)):
                    chain.feed(text_of(market.snapshot(0), market))
        if chain.run(wait_ms, 20, until=chain.is_settled):
            break
    assert chain.is_settled(), f"{truth.lie!r} {chain.counts}"
    truth.forget()


def frames_of(rng: random.Random, market: Market, truth: Truth) -> list[bytes]:
    """Let the venue's book change once; return the frames that say so, with the odd tick and whole book."""
    before = (dict(market.sides[0]), dict(market.sides[1]))
    ticked = market.change_tick(rng.choice((100, 10))) if rng.random() < 0.1 else []
    runs = ticked + market.commit()
    truth.note(market)
    if rng.random() < 0.1:
        runs.append(market.snapshot(rng.randrange(2)))
    if not runs or before == (market.sides[0], market.sides[1]):
        runs = [market.snapshot(rng.randrange(2))]
    return [text_of(part, market) for run in runs for part in runs_of(run)]


def _fate(is_refused: bool, is_same: bool) -> str:
    return "refused" if is_refused else "unheard" if is_same else "taken"


@pytest.mark.parametrize("seed", SEEDS)
def test_IN04_no_wrong_book_is_believed(seed: int, gate_record: Callable[..., None]) -> None:
    """Each lie is refused, unheard or not believed, at once and later; the truth brings books back."""
    rng = random.Random(seed)
    chain = Chain(markets(rng, MARKETS), blocks=(2, 2, 2), backoff_ns_min=10**6, backoff_ns_max=10**6)
    chain.opening_ns = 0
    assert chain.run(20_000, until=chain.is_settled), f"seed {seed}"
    rows = list(chain.venue.markets.values())
    truth = Truth(chain, rows, seed)
    tokens = [token for market in rows for token in market.ids["tokens"]]
    liar = Meanings(rng.randrange(1 << 30), tokens, [market.ids["market"] for market in rows])
    fates, told, standing, count = Counter[str](), Counter[str](), 0, 0
    while count < MUTANTS // len(SEEDS):
        market = rng.choice(rows)
        market.venue_ns += 10**6
        chain.now_ns = max(chain.now_ns, market.venue_ns + 10**9)  # our clock is not behind the venue's
        frames = frames_of(rng, market, truth)
        at = rng.randrange(len(frames))
        for frame in frames[:at]:
            chain.feed(frame)
        for _ in range(LIES_PER_FRAME):
            name, truth.lie = liar.next(frames[at])
            standing += chain.books.snapshot_row(market.row)["is_stale"] is False
            before, rejected = chain.ladders, chain.counters().get("frames_rejected", 0)
            chain.feed(truth.lie)
            truth.check()
            is_refused = chain.counters().get("frames_rejected", 0) > rejected
            assert not is_refused or before == chain.ladders, f"seed {seed}: {truth.lie!r}"
            fates[_fate(is_refused, before == chain.ladders)] += 1
            told[name] += 1
            count += 1
            if count % LATER_EVERY == 0:
                say_anew(chain, rows)
                chain.run(600, 60)  # longer than a mismatch may last
                truth.check()
                break
            if not chain.is_believed(market.row):
                heal(chain, truth, rows)
        heal(chain, truth, rows)
    assert set(liar.ways) == set(told), f"seed {seed}: {told}"
    for fate in ("refused", "unheard", "taken"):
        assert fates[fate] > count // 20, f"seed {seed}: {fates}"
    assert standing > count * 9 // 10, f"seed {seed}: {standing} of {count}"
    assert truth.believed > count // 4, f"seed {seed}: {truth.believed}"
    gate_record("IN04", "mutants", count, seed)
