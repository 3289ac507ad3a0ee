"""MD13: ten times the usual load. Feeds push back and lose by counted Gaps, control loses nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import CODECS
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.chain import Chain
from tests.models.venue_model import Market
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

BURST_MS = figure("MD13", "milliseconds")
USUAL_MS = 1_500
USUAL, TIMES, CAPACITY = 0.2, 10, 0.6  # commits a ms; what a stage takes is three times the usual
SLOTS, LAG = 128, 64  # some 0.3 s of work, as the 20,480 of the product are of its 100 records a ms
CONTROL_EVERY_MS = 5
AGE_NS_MAX, BACK_NS_MAX = 100 * NS_PER_MS, NS_PER_S
PLAIN = r.Rule.MIRRORED | r.Rule.TRADABLE


class Load:
    """Plays commits at a rate, control records beside them, and looks at the age of what comes out."""

    def __init__(self, chain: Chain, rng: random.Random) -> None:
        self.chain, self.rng = chain, rng
        self.rows = list(chain.venue.markets.values())
        self.sent_ns: dict[tuple[int, int], int] = {}  # (row, venue time) -> when the venue sent it
        self.controls = 0
        self.waited = self.lag = 0
        self.ages: list[tuple[int, int]] = []  # (when, age) of each Top
        self._owed = 0.0
        self._ms = 0
        chain.on_top = self._on_top

    def _on_top(self, top: Any) -> None:
        sent_ns = self.sent_ns.get((top.instrument, top.venue_ns))
        if sent_ns is not None and not top.flags & r.Flag.STALE:
            self.ages.append((self.chain.now_ns, self.chain.now_ns - sent_ns))

    def play(self, ms: int, rate: float) -> None:
        chain = self.chain
        for _ in range(ms):
            self._owed += rate
            while self._owed >= 1:
                self._owed -= 1
                market = self.rng.choice(self.rows)
                market.venue_ns += NS_PER_MS
                changes = [market.place(*market.quiet_order()) for _ in range(2)]
                runs = market.frames([change for change in changes if change])
                self.sent_ns[market.row, market.venue_ns] = chain.now_ns
                chain.venue.tell(market, runs, chain.now_ns)
            self._ms += 1
            if self._ms % CONTROL_EVERY_MS == 0:
                self.controls += 1
                chain.control(CODECS[r.Kind.CLOCK_STEP].pack(step_ns=self.controls))
            chain.step()
            self.waited = max([self.waited, *(len(line.queue) for line in chain.venue.lines.values())])
            self.lag = max(self.lag, chain.sequencer.position - chain.book_position)


@pytest.mark.parametrize("slow", ["sequencer", "book"])
@pytest.mark.parametrize("seed", [13, fresh_seed()])
def test_MD13_a_burst_costs_prices_and_nothing_else(
    slow: str, seed: int, gate_record: Callable[..., None],
) -> None:
    """10x for 60 s: no control record lost or out of order, lag bounded, age < 100 ms a second after it."""
    rng = random.Random(seed)
    rows = [Market(row, rng, 100, PLAIN) for row in range(1, 9)]
    chain = Chain(rows, slots=SLOTS, lag=LAG, blocks=(10, 2, 1))
    assert chain.run(20_000, until=chain.is_settled)
    load = Load(chain, rng)
    load.play(USUAL_MS, USUAL)
    # ticks and control records take a share of each stage, too
    chain.rates[slow] = CAPACITY + (1 + 1 / CONTROL_EVERY_MS) * (slow == "book") + 0.2 * (slow != "book")
    load.play(USUAL_MS, USUAL)
    assert 0 == chain.counters().get("gaps", 0), f"seed {seed}: the usual load is too much"
    assert max(age for _, age in load.ages) < AGE_NS_MAX
    load.play(BURST_MS, USUAL * TIMES)
    counters = chain.counters()
    said = f"seed {seed}: waited {load.waited}, lag {load.lag}, {counters}"
    assert counters.get("pauses", 0) > 0 < counters.get("gaps", 0), said
    assert load.waited < 4 * USUAL * TIMES * 1_000, said
    assert load.lag < 4 * LAG, said
    ended_ns = chain.now_ns
    load.play(3_000, USUAL)
    late = [age for when_ns, age in load.ages if when_ns > ended_ns + BACK_NS_MAX]
    assert len(late) > 100, said
    assert max(late) < AGE_NS_MAX, said
    chain.rates[slow] = 1 << 20
    assert chain.run(5_000, until=chain.is_settled), said
    steps = [record.step_ns for record in chain.passed if record.kind == r.Kind.CLOCK_STEP]
    assert list(range(1, load.controls + 1)) == steps, said
    waits = [record.now_ns - record.recv_ns for record in chain.passed if record.kind == r.Kind.CLOCK_STEP]
    assert max(waits) <= 2 * NS_PER_MS, said  # whatever prices wait for, control does not
    gate_record("MD13", "milliseconds", BURST_MS, seed)
