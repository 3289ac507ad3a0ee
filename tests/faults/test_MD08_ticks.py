"""MD08: the tick size changes under our orders, and late metadata brings the old one back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import records as r
from pipeline.kinds import Kind, OrderState, Origin
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_MD03_books import markets, one_frame
from tests.models.chain import Chain
from tests.models.core_rig import T0_NS, Rig, event, instrument, pack, report, started, tick, top
from tests.models.venue_model import stamped
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

CHANGES = figure("MD08", "changes")
STEPS = (1, 10, 25, 50, 100, 1_000)
CANCEL_NS_MAX = NS_PER_S
ROWS = (1, 2)


class Market:
    """Plays one event of two rows to detect and trade; keeps what the stream said of ticks and our orders."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.now_ns = rng, T0_NS
        self.rig: Rig = started(*event(ROWS))
        self.steps = dict.fromkeys(ROWS, 100)
        self.orders: dict[int, Any] = {}  # open ones
        self.sent = self.off_grid = 0

    def feed(self, *records: bytes) -> list[Any]:
        """Feed records; every intent must fit the newest tick of the stream."""
        decided = self.rig.feed(*records)
        for slot in decided:
            if slot.kind == Kind.INTENT:
                assert slot.price_ticks % self.steps[slot.instrument] == 0, (slot, self.steps)
                self.orders[slot.order_no] = slot
                self.sent += 1
        return decided

    def offer(self, step_of: dict[int, int]) -> None:
        """Show a profit at prices of these steps."""
        self.now_ns += NS_PER_S
        asks = {}
        for row in ROWS:
            count = 4_500 // step_of[row]
            asks[row] = step_of[row] * self.rng.randint(max(1, count - 40), count)
        self.feed(*(top(row, [], [(asks[row], 500)], self.now_ns) for row in ROWS), tick(self.now_ns))

    def change(self, row: int, step: int) -> None:
        """A new tick: what of ours is off it must be cancelled within a second of stream time."""
        self.steps[row] = step
        decided = self.feed(pack(Kind.TICK_STEP, instrument=row, now_ns=self.now_ns, new_step=step))
        wanted = {number for number, order in self.orders.items()
                  if order.instrument == row and order.price_ticks % step}
        self.off_grid += len(wanted)
        cancels = {slot.order_no: slot.now_ns for slot in decided if slot.kind == Kind.CANCEL}
        until_ns = self.now_ns + CANCEL_NS_MAX
        while wanted - cancels.keys() and self.now_ns < until_ns:
            self.now_ns += 10 * NS_PER_MS
            cancels |= {slot.order_no: slot.now_ns for slot in self.feed(tick(self.now_ns))
                        if slot.kind == Kind.CANCEL}
        assert wanted <= cancels.keys(), f"off-grid orders {wanted} rest; cancelled were {cancels}"
        assert {number for number in cancels if number in self.orders} == wanted, "not off the grid"

    def end_orders(self) -> None:
        """The venue ends what is open, so that the basket is free again."""
        for number in list(self.orders):
            del self.orders[number]
            self.feed(report(number, OrderState.REJECTED, Origin.HTTP, self.now_ns, matched_micro=0))


@pytest.mark.parametrize("seed", [8, fresh_seed()])
def test_MD08_no_order_leaves_or_rests_off_the_grid(seed: int, gate_record: Callable[..., None]) -> None:
    """1,000 changes, late refreshes: no intent off the newest tick, off-grid orders cancelled in a second."""
    rng = random.Random(seed)
    market = Market(rng)
    for _ in range(CHANGES // 2):
        market.offer(market.steps)
        for number in market.orders:
            if rng.random() < 0.7:
                market.feed(report(number, OrderState.SENT, Origin.GATEWAY, market.now_ns))
        row, old = rng.choice(ROWS), dict(market.steps)
        market.change(row, rng.choice([step for step in STEPS if step != old[row]]))
        market.end_orders()
        late = instrument(row, ROWS.index(row), len(ROWS), tick_step=old[row], now_ns=market.now_ns)
        market.feed(stamped(late, flags=r.Flag.REPEAT) if rng.random() < 0.2 else late)
        assert market.rig.trader.facts.instruments.rows[row].tick_step == market.steps[row]
        market.offer(old)  # at prices of the old grid: a refused idea, or by chance a price on both
        market.end_orders()
    assert market.sent > CHANGES
    assert market.off_grid > CHANGES // 10
    gate_record("MD08", "changes", CHANGES // 2, seed)


@pytest.mark.parametrize("seed", [8, fresh_seed()])
def test_MD08_books_follow_the_stream_and_not_late_metadata(seed: int) -> None:
    """Levels stay; the book is open until a hash with the new tick proves it; the old one stays away."""
    rng = random.Random(seed)
    rows = markets(rng, 3)
    chain = Chain(rows, blocks=(6, 6, 3))
    assert chain.run(20_000, until=chain.is_settled)
    for number in range(CHANGES // 2):
        market = rng.choice(rows)
        old = market.tick_step
        market.venue_ns += 10**6
        steps = [step for step in (10, 50, 100) if step != old]
        chain.venue.tell(market, market.change_tick(rng.choice(steps)), chain.now_ns)
        chain.step()
        assert not chain.is_believed(market.row), f"seed {seed}, change {number}"
        chain.control(stamped(market.instrument, source=0, now_ns=0))  # with the tick of the start
        chain.step()
        chain.venue.tell(market, one_frame(rng, market), chain.now_ns)
        assert chain.run(3_000, 5, until=chain.is_settled), f"seed {seed}, change {number}: {chain.counts}"
        book = chain.books.snapshot_row(market.row)
        assert book is not None
        assert market.tick_step == book["tick_step"]


def test_MD08_a_tick_that_nothing_proves_is_asked_for() -> None:
    """Without a frame behind the change the book is asked for after a second."""
    rng = random.Random(3)
    (market,) = rows = markets(rng, 1)
    chain = Chain(rows)
    assert chain.run(20_000, until=chain.is_settled)
    market.venue_ns += 10**6
    chain.venue.tell(market, market.change_tick(50 if market.tick_step != 50 else 10), chain.now_ns)
    changed_ns = chain.now_ns
    assert chain.run(3_000, 5, until=lambda: chain.counts["resyncs"] > 0)
    assert NS_PER_S <= chain.now_ns - changed_ns <= NS_PER_S + 50 * NS_PER_MS
