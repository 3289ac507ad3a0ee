"""VN01: a market resolves, closes or starts its game while our orders are open there."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.core.positions import fold_pnl
from pipeline.kinds import Kind, OrderState, Origin, Rule
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from tests.models.core_rig import FULL, T0_NS, Rig, Venue, event, instrument, report, started, tick, top
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

RUNS = figure("VN01", "runs")
ROWS = (1, 2)
FENCE_NS = 2 * NS_PER_S
STEPS = 14
NOTICES = ("resolved", "closed", "paused", "ends", "game")


class Play:
    """One event of two markets; one of them ends at a random step, and we are told in one of five ways."""

    def __init__(self, seed: int) -> None:
        self.rng, self.now_ns = random.Random(seed), T0_NS
        self.kind, self.row = self.rng.choice(NOTICES), self.rng.choice(ROWS)
        self.notice_step = self.rng.randrange(2, STEPS - 4)
        end_ns = T0_NS + self.rng.randint(6, 9) * NS_PER_S
        self.dates = {"ends_ns": end_ns} if self.kind == "ends" else (
            {"game_start_ns": end_ns} if self.kind == "game" else {})
        self.notice_ns = end_ns - FENCE_NS if self.dates else 1 << 62
        self.over_ns = end_ns + FENCE_NS if self.kind == "game" else 1 << 62  # a game is traded again
        self.rig: Rig = started(*(self._market(row) for row in ROWS), fence_ns=FENCE_NS)
        self.venue = Venue(seed)
        self.records: list[bytes] = []  # intents, reports, fills and resolutions, as the logs hold them
        self.intents: dict[int, Any] = {}
        self.late: list[Any] = []  # orders in the market behind the notice
        self.sent = self.cancelled = 0
        self.open: set[int] = set()
        self.payouts: dict[int, bool] = {}

    def _market(self, row: int, **changes: Any) -> bytes:
        dates = self.dates if row == self.row else {}
        return instrument(row, ROWS.index(row), len(ROWS), **{**dates, "now_ns": self.now_ns, **changes})

    def feed(self, *slots: bytes) -> None:
        """Feed the stream; an order in the market behind the notice is late."""
        for slot in self.rig.feed(*slots):
            if slot.kind == Kind.INTENT:
                self.sent += 1
                self.intents[slot.order_no] = slot
                self.records.append(CODECS[Kind.INTENT].pack(**slot._asdict()))
                self.open.add(slot.order_no)
                if slot.instrument == self.row and self.notice_ns <= slot.now_ns <= self.over_ns:
                    self.late.append(slot)
                self.venue.take(slot, self.now_ns)
            elif slot.kind == Kind.CANCEL and slot.order_no in self.open:
                self.open.discard(slot.order_no)
                self.cancelled += 1

    def deliver(self, count: int) -> None:
        """Let the venue tell of its oldest news."""
        for slot in self.venue.pending[:count]:
            self.records.append(slot)
            self.feed(slot)
        del self.venue.pending[:count]

    def notice(self) -> None:
        """Tell that the market is over; a date was told long before."""
        if self.dates:
            return
        self.notice_ns = self.now_ns
        if self.kind == "resolved":
            self.resolve(self.row)
        else:
            gone = Rule.CLOSED if self.kind == "closed" else 0
            self.feed(self._market(self.row, rules=FULL & ~Rule.TRADABLE | gone))

    def resolve(self, row: int) -> None:
        """The venue pays out what it holds now and later: what fills behind it is worth the same."""
        self.payouts[row] = self.rng.random() < 0.5
        paid = self.venue.resolve(row, self.payouts[row], self.now_ns)
        self.records.append(paid)
        self.feed(paid)

    def run(self) -> None:
        """Offer a profit in each step, before and behind the notice."""
        for step in range(STEPS):
            self.now_ns += self.rng.randint(600, 900) * NS_PER_MS
            if step == self.notice_step:
                self.notice()
            asks = [self.rng.randint(40, 46) * 100 for _ in ROWS]
            self.feed(tick(self.now_ns), *(
                top(row, [], [(ask, 500)], self.now_ns) for row, ask in zip(ROWS, asks, strict=True)))
            self.now_ns += 20 * NS_PER_MS
            self.feed(tick(self.now_ns))
            self.deliver(self.rng.randint(0, len(self.venue.pending)))

    def settle(self) -> int:
        """End everything; return our cash, which the venue's own ledger must equal."""
        self.deliver(len(self.venue.pending))
        for row in ROWS:
            if row in self.payouts:
                for outcome in (0, 1):  # filled behind the resolution
                    pays = self.payouts[row] == (outcome == 0)
                    self.venue.cash_usd_micro += self.venue.held.pop((row, outcome), 0) * pays
            else:
                self.resolve(row)
        return self.rig.trader.facts.positions.cash_usd_micro


@pytest.mark.parametrize("seed", [1, fresh_seed()])
def test_VN01_nothing_is_sent_behind_the_notice_and_money_is_exact(
    seed: int, gate_record: Callable[..., None],
) -> None:
    """Resolved, closed, paused, about to end or to start: no order from then on, and every cent is right.

    The venue's own books are the truth; the log folded by itself says the same.
    """
    sent, told = 0, dict.fromkeys(NOTICES, 0)
    for number in range(RUNS // 2):
        play = Play(seed * 1_000_003 + number)
        play.run()
        assert [] == play.late, f"seed {seed}, run {number}: {play.kind} was told, and then it was sent"
        cash = play.settle()
        assert play.venue.cash_usd_micro == cash, f"seed {seed}, run {number}: {play.kind}"
        assert cash == fold_pnl(play.records).pnl_usd_micro, f"seed {seed}, run {number}"
        sent, told[play.kind] = sent + play.sent, told[play.kind] + 1
    assert sent > RUNS
    assert min(told.values()) > RUNS // 20
    gate_record("VN01", "runs", RUNS // 2, seed)


def resting() -> tuple[Rig, list[Any]]:
    """Return a rig with two orders that rest, one in each market; the fence is two seconds."""
    ends_ns = T0_NS + 10 * NS_PER_S
    rig = started(*event(ROWS, ends_ns=ends_ns), fence_ns=FENCE_NS)
    rig.feed(*(top(row, [], [(4_500, 50)]) for row in ROWS))
    intents = rig.of(Kind.INTENT)
    rig.feed(*(report(one.order_no, OrderState.SENT, Origin.GATEWAY) for one in intents),
             *(report(one.order_no, OrderState.LIVE, matched_micro=0) for one in intents))
    assert set(ROWS) == {one.instrument for one in intents}
    return rig, intents


@pytest.mark.parametrize(("change", "rows"), [
    ({"rules": FULL & ~Rule.TRADABLE | Rule.CLOSED}, (1,)),
    ({"rules": FULL & ~Rule.TRADABLE}, (1,)),
    ({"ends_ns": T0_NS + NS_PER_S}, (1,)),
    ({"ends_ns": 0, "game_start_ns": T0_NS + NS_PER_S}, (1,)),
    ({"ends_ns": T0_NS + 60 * NS_PER_S}, ()),
])
def test_VN01_what_rests_is_cancelled_within_a_second(change: dict[str, int], rows: tuple[int, ...]) -> None:
    """Closed, paused, an earlier end, a game about to start: the market's own orders go, the other's stay."""
    rig, intents = resting()
    dates = {"ends_ns": T0_NS + 10 * NS_PER_S}
    rig.feed(instrument(1, 0, 2, **{**dates, **change}, now_ns=T0_NS + NS_PER_MS))
    for milliseconds in range(10, 1_000, 10):
        rig.feed(tick(T0_NS + milliseconds * NS_PER_MS))
    by_no = {one.order_no: one.instrument for one in intents}
    assert list(rows) == [by_no[slot.order_no] for slot in rig.of(Kind.CANCEL)]


def test_VN01_the_fence_cancels_before_a_scheduled_end() -> None:
    """Nobody has to say anything: two seconds before the end of both, both orders are taken back."""
    rig, intents = resting()
    fence_ns = T0_NS + 8 * NS_PER_S
    rig.feed(tick(fence_ns - 10 * NS_PER_MS))
    assert [] == rig.of(Kind.CANCEL)
    rig.feed(tick(fence_ns))
    assert [one.order_no for one in intents] == [slot.order_no for slot in rig.of(Kind.CANCEL)]


def test_VN01_a_game_that_began_is_traded_again() -> None:
    """The fence lies around the start alone: as long behind it as before; without one nothing is fenced."""
    start_ns = T0_NS + 10 * NS_PER_S
    for fence_ns, offsets in ((FENCE_NS, (-3, 3)), (0, (-3, -1, 0, 1, 3))):
        taken = []
        for offset in (-3, -1, 0, 1, 3):
            rig = started(*event(ROWS, game_start_ns=start_ns), fence_ns=fence_ns)
            now_ns = start_ns + offset * NS_PER_S
            rig.feed(tick(now_ns), *(top(row, [], [(4_500, 50)], now_ns) for row in ROWS))
            if rig.of(Kind.INTENT):
                taken.append(offset)
        assert list(offsets) == taken


def test_VN01_shares_of_a_resolved_market_are_paid_to_the_unit() -> None:
    """A fill that arrives behind the resolution is paid at once, half of a void's share rounded down."""
    rig, intents = resting()
    rig.feed(report(intents[0].order_no, OrderState.CANCELED, Origin.USER_CHANNEL, matched_micro=0))
    positions = rig.trader.facts.positions
    before = positions.cash_usd_micro
    positions.trade(1, 0, 0, 1_000_001, 450_000, 0)
    assert positions.resolve(1, MICRO // 2, MICRO // 2)
    assert before - 450_000 + 500_000 == positions.cash_usd_micro
