"""MD09: the hash of one book cannot be reproduced, or of all: then it is the venue's rule that changed."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable

import pytest

from pipeline import records as r
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_MD03_books import markets, one_frame
from tests.models.chain import Chain
from tests.models.venue_model import Market
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

RUNS = figure("MD09", "runs")
ROWS = 20
MISMATCH_NS, RESYNC_NS = 250 * NS_PER_MS, NS_PER_S


def other_rule(text: bytes) -> bytes:
    """Return a frame whose hashes follow a rule that nobody told us."""
    said = json.loads(text)
    for part in (said, *said.get("price_changes", ())):
        if "hash" in part:
            part["hash"] = hashlib.sha1(b"new" + part["hash"].encode()).hexdigest()
    return json.dumps(said, separators=(",", ":")).encode()


class Rule:
    """A chain of hashed books that change now and then; counts snapshots asked for by row."""

    def __init__(self, seed: int, count: int = ROWS) -> None:
        self.rng = random.Random(seed)
        self.rows: list[Market] = markets(self.rng, count)
        self.chain = Chain(self.rows, blocks=(2 * count, count, 8), reopen_ns=1)
        self.asked: Counter[tuple[int, int]] = Counter()  # (row, second) -> snapshots
        self.chain.venue.withholds = self._count
        assert self.chain.run(20_000, 20, until=self.chain.is_settled)
        self.asked.clear()

    def _count(self, market: Market) -> bool:
        self.asked[market.row, self.chain.now_ns // NS_PER_S] += 1
        return False

    def run(self, ms: float, *only: Market) -> None:
        """Go on; some book changes every 20 ms."""
        end_ns = self.chain.now_ns + int(ms * NS_PER_MS)
        while self.chain.now_ns < end_ns:
            self.change(self.rng.choice(only or self.rows))
            self.chain.step(20)

    def change(self, market: Market) -> None:
        """One change of one level in one frame."""
        self.chain.venue.tell(market, one_frame(self.rng, market), self.chain.now_ns)

    def stale_count(self) -> int:
        return self.chain.counts["stale_hash_mismatch"]


@pytest.mark.parametrize("seed", range(3))
def test_MD09_one_book_that_differs_is_asked_for_anew(seed: int) -> None:
    """Wrong for 250 ms: stale, counted by its cause, asked for within 1 s; no other book suffers."""
    rule = Rule(seed)
    chain, victim = rule.chain, rule.rng.choice(rule.rows)
    chain.venue.respell = lambda market, text: other_rule(text) if market is victim else text
    rule.change(victim)
    chain.step()
    assert not chain.is_believed(victim.row)
    begun_ns, before = chain.now_ns, chain.counts["resyncs"]
    assert chain.run(1_000, 5, until=lambda: rule.stale_count() > 0)
    assert MISMATCH_NS <= chain.now_ns - begun_ns <= MISMATCH_NS + 50 * NS_PER_MS
    chain.venue.respell = lambda market, text: text
    assert chain.run(1_000, 5, until=lambda: chain.counts["resyncs"] > before)
    assert chain.now_ns - begun_ns <= MISMATCH_NS + RESYNC_NS
    assert chain.run(8_000, 20, until=chain.is_settled)
    stats = chain.books.stats()  # the first snapshot was of the other rule, too
    assert (2, 0) == (stats["stales_by_cause"]["HASH_MISMATCH"], stats["is_advisory"])


@pytest.mark.parametrize("seed", [6, fresh_seed()])
def test_MD09_a_new_rule_is_doubted_and_not_the_books(seed: int, gate_record: Callable[..., None]) -> None:
    """All hashes differ: after five books hashes decide nothing, books stay right, no storm of questions."""
    for run in range(RUNS // 2):
        rule = Rule(seed + run)
        chain, told = rule.chain, f"seed {seed}, run {run}"
        chain.venue.respell = lambda market, text: other_rule(text)
        rule.run(3_000)
        stats = chain.books.stats()
        assert (1, 1) == (stats["is_advisory"], stats["advisories"]), told
        assert rule.stale_count() <= ROWS, told
        rule.run(5_000)
        assert chain.run(8_000, 20, until=chain.is_settled), told
        stales = rule.stale_count()
        rule.run(5_000)
        chain.run(500, 5)
        assert chain.is_settled(), told
        assert stales == rule.stale_count(), "hashes decide nothing"
        assert max(rule.asked.values(), default=0) <= 2, "a snapshot of each token, once a second at most"
        assert chain.counters().get("resyncs", 0) <= 3 * ROWS, told
        chain.venue.respell = lambda market, text: text
        rule.run(6_000)
        assert 0 == chain.books.stats()["is_advisory"], f"{told}: 64 right ones in a row end the doubt"
    gate_record("MD09", "runs", RUNS // 2, seed)


def test_MD09_without_hashes_best_prices_still_decide() -> None:
    """While the rule is doubted, a lost change shows in the announced best prices and ends the book."""
    rule = Rule(11)
    chain = rule.chain
    chain.venue.respell = lambda market, text: other_rule(text)
    rule.run(4_000)
    assert chain.run(20_000, 20, until=chain.is_settled)
    victim = rule.rows[0]
    side = 0 if victim.sides[0] else 1
    victim.venue_ns += 10**6
    change = victim.place(side, victim.best(side), 0)
    assert change is not None
    victim.frames([change], per_frame=1)  # this one is lost
    rule.change(victim)
    chain.step()
    assert not chain.is_believed(victim.row) or chain.equals(victim)
    chain.run(1_000, 5)
    assert chain.run(10_000, 20, until=chain.is_settled)


def test_MD09_four_wrong_books_are_wrong_books() -> None:
    """Up to 5 %, and up to four, are books that went wrong: each is asked for anew, the rule stands."""
    rule = Rule(12)
    chain = rule.chain
    victims = rule.rows[:4]
    chain.venue.respell = lambda market, text: other_rule(text) if market in victims else text
    for victim in victims:
        rule.change(victim)
    rule.run(400, *rule.rows[4:])
    assert 4 == rule.stale_count()
    assert 0 == chain.books.stats()["is_advisory"]
    chain.venue.respell = lambda market, text: text
    assert chain.run(8_000, 20, until=chain.is_settled)
    assert r.Cause.HASH_MISMATCH.name in chain.books.stats()["stales_by_cause"]
