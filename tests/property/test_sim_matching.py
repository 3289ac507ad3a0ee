"""The matching engine against a slow model: one account, other participants' flow, every time in force."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from pipeline.sim.book import Order
from pipeline.sim.errors_text import Refusal
from pipeline.sim.ledger import USD
from pipeline.sim.trades import Placed
from tests.models.slow_exchange import SlowBook, ceil_micro, fee, floor_micro
from tests.sim_orders import order
from tests.sim_trader import NOW_NS, Trader, exchange_of, market


def fills(result: Placed) -> list[tuple[int, int]]:
    return [(trade.price_ticks, trade.size_micro) for trade in result.trades]


class Pair:
    """The exchange and the slow model side by side, with one account."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.of = market(fee_rate_ppm=self.rng.choice([0, 40_000, 70_000]))
        trader = Trader(cash_micro=10**12, sets_micro={self.of.condition: 10**11})
        self.exchange = exchange_of([trader], [self.of])
        self.account = self.exchange.accounts["demo"]
        self.slow = SlowBook()
        self.cash = Fraction(10**6)
        self.shares = [Fraction(10**5), Fraction(10**5)]
        self.sides: dict[str, Order] = {}
        self.matches = 0

    def step(self) -> None:
        roll = self.rng.random()
        if roll < 0.55:
            self.foreign()
        elif roll < 0.9:
            self.own()
        else:
            self.cancel()

    def draw(self) -> tuple[bool, int, int]:
        ticks = 100 * self.rng.randint(44, 56)
        return self.rng.random() < 0.5, ticks, 10_000 * self.rng.randint(500, 9_000)

    def foreign(self) -> None:
        is_bid, ticks, size_micro = self.draw()
        price, size = Fraction(ticks, 10_000), Fraction(size_micro, 10**6)
        if self.rng.random() < 0.4:
            self.exchange.foreign_change(NOW_NS, self.of, is_bid, ticks, -size_micro)
            self.slow.remove_others(is_bid, price, size)
            return
        self.exchange.foreign_change(NOW_NS, self.of, is_bid, ticks, size_micro)
        matches = self.slow.matches(is_bid, price, 0, size, None)
        self.slow.remove_matched(is_bid, matches)
        for at, taken, order_id in matches:
            if order_id is not None:
                self.settle(self.sides[order_id], at, taken, is_taker=False)
        left = size - sum((m[1] for m in matches), Fraction(0))
        if left >= Fraction(1, 100):
            self.slow.add(is_bid, price, left, None)

    def own(self) -> None:
        is_buy, ticks, size_micro = self.draw()
        outcome, kind = self.rng.randint(0, 1), self.rng.choice(["GTC", "FAK", "FOK"])
        budget = 10_000 * self.rng.randint(100, 4_000) if is_buy and kind != "GTC" else 0
        new = order(self.account, self.of, is_buy, ticks, 0 if budget else size_micro, kind, outcome, budget)
        yes = Fraction(ticks if outcome == 0 else 10_000 - ticks, 10_000)
        size = None if budget else Fraction(size_micro, 10**6)
        paid = Fraction(budget, 10**6) if budget else None
        matches = self.slow.matches(new.is_bid, yes, outcome, size, paid)
        done = self.is_done(matches, outcome, size, paid)
        result = self.exchange.engine.submit(NOW_NS, new)
        if (kind == "FOK" and not done) or (kind == "FAK" and not matches):
            assert isinstance(result, Refusal)
            return
        assert isinstance(result, Placed), result.text
        expected = [(at if outcome == 0 else 1 - at, taken) for at, taken, _ in matches]
        assert expected == [(Fraction(p, 10_000), Fraction(s, 10**6)) for p, s in fills(result)]
        self.sides[new.order_id] = new
        self.slow.remove_matched(new.is_bid, matches)
        for at, taken, order_id in matches:
            self.settle(new, at, taken, is_taker=True)
            if order_id is not None:
                self.settle(self.sides[order_id], at, taken, is_taker=False)
        if size is not None and kind == "GTC":
            left = size - sum((m[1] for m in matches), Fraction(0))
            if left >= Fraction(1, 100):
                self.slow.add(new.is_bid, yes, left, new.order_id)

    @staticmethod
    def is_done(
        matches: list[tuple[Fraction, Fraction, str | None]],
        outcome: int,
        size: Fraction | None,
        budget: Fraction | None,
    ) -> bool:
        if size is not None:
            return size == sum((m[1] for m in matches), Fraction(0))
        paid = sum(
            (ceil_micro(taken * (at if outcome == 0 else 1 - at)) for at, taken, _ in matches), Fraction(0)
        )
        return paid == budget

    def settle(self, of: Order, at: Fraction, taken: Fraction, is_taker: bool) -> None:
        own = at if of.outcome == 0 else 1 - at
        self.matches += 1
        if is_taker:
            self.cash -= fee(Fraction(self.of.fee_rate_ppm, 10**6), own, taken)
        if of.is_buy:
            self.cash -= ceil_micro(taken * own)
            self.shares[of.outcome] += taken
        else:
            self.cash += floor_micro(taken * own)
            self.shares[of.outcome] -= taken

    def cancel(self) -> None:
        resting = list(self.exchange.engine.open.get("demo", {}).values())
        if resting:
            chosen = self.rng.choice(resting)
            self.exchange.engine.cancel(NOW_NS, [chosen])
            self.slow.remove_order(chosen.order_id)


@pytest.mark.parametrize("seed", range(200))
def test_matching_equals_the_slow_model(seed: int) -> None:
    """Books, matches, cash and shares equal those of a flat sorted list, in exact fractions."""
    pair = Pair(seed)
    for _ in range(160):
        pair.step()
        for is_bid in (True, False):
            levels = pair.exchange.levels(pair.of, is_bid)
            assert pair.slow.levels(is_bid) == [(Fraction(p, 10_000), Fraction(s, 10**6)) for p, s in levels]
    ledger = pair.exchange.ledger

    assert pair.matches >= 5
    assert pair.cash * 10**6 == ledger.balance("demo", USD)
    assert [s * 10**6 for s in pair.shares] == [ledger.balance("demo", token) for token in pair.of.tokens]
    ledger.check([pair.of])
