"""OR22: an order of ours would meet another one of ours, in one token or over the complement.

Trade decides on random quotes; the local exchange holds nobody's orders but ours, so that whatever matches
there is a match with ourselves. Orders and cancels are on their way for a while, and come in any order.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.core.order import Order
from pipeline.core.selfmatch import meeting
from pipeline.kinds import Cause, Kind, OrderState, OrderType, Origin
from pipeline.sim.trades import Placed
from pipeline.units import NS_PER_MS
from tests.models.core_rig import T0_NS, balance, event, report, started, tick, top
from tests.shared import fresh_seed
from tests.sim_orders import order
from tests.sim_trader import Trader, exchange_of, market
from tests.tools.faultrows import figure

QUOTES = figure("OR22", "quotes")
ROWS = (1, 2)
STEP_NS = 20 * NS_PER_MS
ON_THE_WAY_MAX = 12  # steps
S = OrderState


class Desk:
    """Trade on random books of two markets, one of which wins; `met` counts what matched with ourselves."""

    def __init__(self, seed: int) -> None:
        self.draw, self.now_ns = random.Random(f"OR22:{seed}"), T0_NS
        self.rig = started(
            *event(ROWS, tick_step=10, tick_step_finest=10), usd_micro=10**15, cooldown_ns=1,
            **dict.fromkeys(("day_usd_micro_max", "market_usd_micro_max", "event_usd_micro_max"), 10**15),
            **dict.fromkeys(("order_usd_micro_max", "partial_loss_usd_micro_max"), 10**12),
            package_usd_micro_max=10**13, residue_usd_micro_max=10**13)
        trader = Trader(cash_micro=10**15)
        self.markets = {row: market(row) for row in ROWS}
        self.exchange = exchange_of([trader], list(self.markets.values()))
        self.account = self.exchange.accounts[trader.name]
        self.there: dict[int, Any] = {}  # number -> our order at the exchange
        self.due: list[tuple[int, Callable[[], None]]] = []
        self.step = self.met = self.taken = 0

    def quotes(self) -> None:
        """One set of quotes for both markets, often with a profit on one side or the other."""
        self.step += 1
        self.now_ns += STEP_NS
        ready = [action for when, action in self.due if when <= self.step]
        self.due = [one for one in self.due if one[0] > self.step]
        for action in ready:
            action()
        middle, off = self.draw.randrange(1_500, 8_500, 10), self.draw.randrange(-400, 400, 10)
        records = [balance(10**15, self.now_ns)]
        second = min(max(10_000 - middle + off, 500), 9_500)
        for row, ticks in zip(ROWS, (middle, second), strict=True):
            spread, size = self.draw.choice((10, 40, 100)), self.draw.choice((20, 33, 50))
            records.append(top(row, [(ticks - spread, size)], [(ticks + spread, size)], self.now_ns))
        self.feed(*records, tick(self.now_ns))

    def feed(self, *records: bytes) -> None:
        for one in self.rig.feed(*records):
            if one.kind == Kind.INTENT:
                self.taken += 1
                self.later(lambda intent=one: self.arrive(intent))
            elif one.kind == Kind.CANCEL:
                self.later(lambda number=one.order_no: self.cancel(number))

    def later(self, action: Callable[[], None]) -> None:
        self.due.append((self.step + self.draw.randint(1, ON_THE_WAY_MAX), action))

    def arrive(self, intent: Any) -> None:
        number = intent.order_no
        is_fak = intent.order_type == OrderType.FAK
        placed = self.exchange.engine.submit(self.now_ns, order(
            self.account, self.markets[intent.instrument], is_buy=True, price_ticks=intent.price_ticks,
            size_micro=intent.size_micro, order_type="FAK" if is_fak else "GTC", outcome=intent.outcome))
        self.met += isinstance(placed, Placed) and bool(placed.trades)
        state = S.CANCELED if is_fak else S.LIVE
        if not is_fak:
            assert isinstance(placed, Placed), placed
            self.there[number] = placed.order
        for told, origin in ((S.SENT, Origin.GATEWAY), (state, Origin.HTTP)):
            self.feed(report(number, told, origin, self.now_ns, matched_micro=0 if is_fak else -1))

    def cancel(self, number: int) -> None:
        found = self.there.pop(number, None)
        if found is not None and found.left_micro:
            self.exchange.engine.cancel(self.now_ns, [found])
        self.feed(report(number, S.CANCELED, Origin.USER_CHANNEL, self.now_ns, matched_micro=0))


def test_OR22_nothing_of_ours_meets_anything_of_ours(gate_record: Callable[..., None]) -> None:
    """Over all quotes not one match at an exchange where only we are; the gate says why it took no more."""
    seed = fresh_seed()
    print(f"seeds OR22:0 and OR22:{seed}")
    quotes, vetoed, taken = 0, 0, 0
    for one in (0, seed):
        desk = Desk(one)
        while desk.step < -(-QUOTES // 2):
            desk.quotes()
            assert 0 == desk.met, f"seed OR22:{one}, step {desk.step}"
        quotes, taken = quotes + desk.step, taken + desk.taken
        vetoed += sum(
            told.count for told in desk.rig.of(Kind.VERDICT) if told.cause == Cause.SELF_MATCH)
    assert taken > quotes // 10 and vetoed > quotes // 100, (taken, vetoed)
    gate_record("OR22", "quotes", quotes, seed)


def resting(number: int, row: int, outcome: int, side: int, price_ticks: int, state: OrderState) -> Order:
    return Order(
        number, 1, row, 1, outcome, side, int(OrderType.GTC), price_ticks, 10**7, 10**7, 10**7, 0, 0, 1,
        T0_NS, T0_NS, int(state))


@pytest.mark.parametrize("seed", range(20))
def test_OR22_every_pair_is_judged_as_the_book_would(seed: int) -> None:
    """By the definition: YES and NO prices above 1 together mint, below 1 merge; the same token crosses."""
    draw = random.Random(f"OR22:pairs:{seed}")
    for _ in range(200):
        ours = [
            resting(number, draw.choice(ROWS), draw.randrange(2), draw.randrange(2),
                    draw.randrange(3_900, 6_110, 100), draw.choice((S.INTENDED, S.SENT, S.LIVE, S.DELAYED,
                    S.UNKNOWN, S.MATCHED, S.CANCELED, S.EXPIRED)))
            for number in range(1, draw.randint(1, 4))]
        wanted = [(0, draw.choice(ROWS), draw.randrange(2), draw.randrange(2), 0,
                   draw.randrange(3_900, 6_110, 100), 10**7) for _ in range(draw.randint(1, 2))]
        alive = [(one.row, one.outcome, one.side, one.price_ticks) for one in ours
                 if one.state not in (S.MATCHED, S.CANCELED, S.EXPIRED)]
        new = [(row, outcome, side, ticks) for _, row, outcome, side, _, ticks, _ in wanted]
        pairs = [(one, other) for place, one in enumerate(new) for other in alive + new[:place]]
        assert any(crosses(one, other) for one, other in pairs) == (meeting(wanted, ours) is not None)


def crosses(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Tell whether two orders match, from the four kinds of a match."""
    (row, token, side, ticks), (row_2, token_2, side_2, ticks_2) = one, other
    if row != row_2:
        return False
    if token == token_2:  # a buyer and a seller of it
        return side != side_2 and (ticks >= ticks_2 if side == 0 else ticks_2 >= ticks)
    if side != side_2:  # a buyer of YES and a seller of NO both stand on the bid side
        return False
    return ticks + ticks_2 >= 10_000 if side == 0 else ticks + ticks_2 <= 10_000
