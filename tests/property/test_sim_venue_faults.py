"""Whole exchanges under any mix of faults: the ledger balances, nothing happens twice."""

from __future__ import annotations

import json
import random
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from pipeline.sim.exchange import Exchange
from pipeline.sim.fault_plan import FaultPlan
from pipeline.sim.faults import HTTP_KINDS, parse
from pipeline.sim.http import Response
from pipeline.sim.ledger import COUNTERPARTY, FEES, OUTSIDE, ROUNDING, USD
from pipeline.sim.market import Market
from pipeline.sim.settings import ExchangeSettings, SelfTrade
from pipeline.sim.trades import Trade
from tests.models.settled_accounts import Part, balances
from tests.sim_orders import order
from tests.sim_trader import KEYS, NOW_NS, Trader, exchange_of, market

SHARE = 1_000_000
MS = 10**6
SECOND = 10**9
STEPS = 120
FINAL = {"CONFIRMED", "FAILED"}


class World:
    """Three markets, one of them delayed; two traders who post over HTTP and straight to the engine."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = random.Random(seed)
        self.markets = [
            market(1, planted=True),
            market(2, tick_step=rng.choice([10, 100]), seconds_delay=rng.choice([0, 1])),
            market(3, delays_takers=rng.random() < 0.5),
        ]
        sets = {of.condition: 300 * SHARE for of in self.markets}
        self.traders = [
            Trader(cash_micro=10**10, sets_micro=sets),
            Trader("poor", KEYS[1], cash_micro=50 * SHARE),
        ]
        settings = ExchangeSettings(
            trade_told_after_ns=rng.choice([0, 90 * MS]),
            self_trade=rng.choice(list(SelfTrade)),
        )
        self.exchange: Exchange = exchange_of(self.traders, self.markets, settings, seed)
        self.plan = FaultPlan(parse({"seed": seed, "fault": self._faults()}), self.exchange)
        self.deposits = self._holdings()
        self.now_ns = NOW_NS
        self.answers = 0
        self.asked = 0
        self.plan.start(NOW_NS)

    def _faults(self) -> list[dict[str, Any]]:
        rng = self.rng
        found: list[dict[str, Any]] = [
            {"name": "s", "kind": "settlement", "at_s": 0, "failed_ppm": 250_000, "retried_ppm": 300_000},
            {"name": "r", "kind": "restart", "at_s": rng.uniform(1, 8), "down_s": rng.uniform(0.2, 2),
             "post_only_s": rng.uniform(0, 2), "orders": rng.choice(["keep", "wipe"])},
            {"name": "m", "kind": "mode", "mode": rng.choice(["disabled", "cancel_only", "post_only"]),
             "at_s": rng.uniform(1, 10), "for_s": 0.7},
            {"name": "t", "kind": "tick", "market": "planted", "step": "0.001", "at_s": 3, "for_s": 4},
            {"name": "g", "kind": "game_start", "at_s": rng.uniform(2, 9)},
        ]  # fmt: skip
        if rng.random() < 0.3:
            found.append({"name": "e", "kind": "resolve", "at_s": 9, "winner": rng.randint(0, 1)})
        for kind in HTTP_KINDS:
            slow = {"delay_ms": rng.randint(1, 900)} if kind.startswith("slow") else {}
            found.append({"name": kind, "kind": kind, "at_s": 0, "chance_ppm": 40_000, **slow})
        return found

    def _holdings(self) -> dict[tuple[str, str], int]:
        ledger = self.exchange.ledger
        assets = [USD, *(token for of in self.markets for token in of.tokens)]
        names = [trader.name for trader in self.traders]
        return {
            (name, a): ledger.balance(name, a) for name in names for a in assets if ledger.balance(name, a)
        }

    def step(self) -> None:
        """Do one random thing at a time a little later."""
        rng = self.rng
        self.now_ns += rng.randint(1, 200) * MS
        self.exchange.on_timer(self.now_ns)
        of = rng.choice([one for one in self.markets if one.payout_micro is None])
        ticks = of.tick_step * rng.randint(3_000 // of.tick_step, 7_000 // of.tick_step)
        size = rng.randint(500, 6_000) * 10_000
        roll, trader = rng.random(), rng.choice(self.traders)
        if roll < 0.35:
            delta = rng.choice([1, 1, -1]) * size
            self.exchange.foreign_change(self.now_ns, of, rng.random() < 0.5, ticks, delta)
        elif roll < 0.42:
            self.exchange.foreign_take(self.now_ns, of, rng.random() < 0.5, ticks, size)
        elif roll < 0.5:
            self.ask(trader, "DELETE", "/cancel-all", None)
        elif roll < 0.58:
            self.ask(trader, "POST", "/order", trader.body(of, price="0.6", quantity="10", side="BUY"))
        else:
            self.submit(trader, of, ticks, size)

    def submit(self, trader: Trader, of: Market, ticks: int, size: int) -> None:
        rng = self.rng
        is_buy, kind = rng.random() < 0.5, rng.choice(["GTC", "GTC", "FAK", "FOK"])
        budget = rng.randint(100, 3_000) * 10_000 if is_buy and kind != "GTC" else 0
        account = self.exchange.accounts[trader.name]
        size = 0 if budget else size
        if self.exchange.engine.mode.is_matching:  # the routes ask for the mode, the engine is told
            self.exchange.engine.submit(
                self.now_ns, order(account, of, is_buy, ticks, size, kind, rng.randint(0, 1), budget)
            )

    def ask(self, trader: Trader, method: str, path: str, value: Any) -> None:
        body = b"" if value is None else json.dumps(value, separators=(",", ":")).encode()
        headers = trader.headers(method, path, body, self.now_ns)
        self.asked += 1

        def reply(_: int, __: Response | None) -> None:
            self.answers += 1

        self.exchange.ask(self.now_ns, "clob", method, path, headers, body, reply)

    def finish(self) -> None:
        """Let everything that is planned happen."""
        while (due_ns := self.exchange.next_timer_ns()) is not None:
            self.now_ns = due_ns
            self.exchange.on_timer(due_ns)

    def parts(self) -> list[Part]:
        """Return the sides of every trade that did not fail, as the exchange's own report names them."""
        found = []
        for trade in self.exchange.engine.trades.values():
            if trade.status != "FAILED":
                found += _parts(trade)
        return found


def _parts(trade: Trade) -> list[Part]:
    sides = []
    for one, fee_micro in ((trade.taker, trade.fee_micro), (trade.maker, 0)):
        if one is not None:
            same = one.outcome == trade.outcome
            ticks = trade.price_ticks if same else 10_000 - trade.price_ticks
            token, price = one.market.tokens[one.outcome], Fraction(ticks, 10_000)
            sides.append(Part(one.account.name, token, one.is_buy, price, trade.size_micro, fee_micro))
    return sides


def assert_sums(exchange: Exchange, names: list[str]) -> None:
    """All accounts, fees and vaults together are what came from outside: always nothing."""
    vaults = [f"vault:{condition}" for condition in exchange.engine.markets]
    everyone = [*names, COUNTERPARTY, FEES, ROUNDING, OUTSIDE, *vaults]
    assert 0 == sum(exchange.ledger.balance(name, USD) for name in everyone)


@pytest.mark.parametrize("seed", range(40))
def test_any_mix_of_faults_leaves_an_exact_ledger(seed: int) -> None:
    """Balanced at every step; in the end equal to a model that knows only the trades that did not fail."""
    world = World(seed)
    exchange, names = world.exchange, [trader.name for trader in world.traders]
    for number in range(STEPS):
        world.step()
        if number % 20 == 0:
            exchange.ledger.check(world.markets)
            assert_sums(exchange, names)
    world.finish()

    exchange.ledger.check(world.markets)
    assert_sums(exchange, names)
    trades = list(exchange.engine.trades.values())
    assert {trade.status for trade in trades} <= FINAL
    payouts = {
        token: micro // SHARE
        for of in world.markets
        if of.payout_micro is not None
        for token, micro in zip(of.tokens, of.payout_micro, strict=True)
    }
    assert balances(world.deposits, world.parts(), payouts) == world._holdings()
    assert not exchange.engine.held.get("demo") and not exchange.engine.held.get("poor")
    assert world.asked == world.answers


@pytest.mark.parametrize("seed", range(100, 110))
def test_nothing_is_matched_or_reversed_twice(seed: int) -> None:
    """Each share of an order is in one trade; a failed trade has one reversal of each of its postings."""
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    world.finish()
    engine, ledger = world.exchange.engine, world.exchange.ledger

    matched: Counter[str] = Counter()
    void: Counter[str] = Counter()
    for trade in engine.trades.values():
        for one in {id(o): o for o in (trade.taker, trade.maker) if o is not None}.values():
            matched[one.order_id] += trade.size_micro
            void[one.order_id] += trade.size_micro * (trade.status == "FAILED")
    for one in engine.orders.values():
        assert (matched[one.order_id], void[one.order_id]) == (one.matched_micro, one.void_micro)
        assert one.may_rest is False or one.matched_micro <= one.size_micro
        assert len(one.trade_ids) == len(set(one.trade_ids))
    posted: Counter[tuple[str, str]] = Counter((p.reference, p.kind) for p in ledger.postings)
    for trade in engine.trades.values():
        made = posted[trade.trade_id, "match"] + posted[trade.trade_id, "fee"]
        assert 1 == posted[trade.trade_id, "match"]
        assert (made if trade.status == "FAILED" else 0) == posted[trade.trade_id, "reverse"]
    for name, asset in world._holdings():
        assert 0 == ledger.unsettled(name, asset)


def test_the_mixes_meet_everything() -> None:
    """Over the seeds every fault hits, trades fail and survive, orders are held: no empty claim above."""
    hits: Counter[str] = Counter()
    for seed in range(8):
        world = World(seed)
        for _ in range(STEPS):
            world.step()
        world.finish()
        hits.update({row["name"]: row["count"] for row in world.plan.rows()})
        hits.update(trade.status for trade in world.exchange.engine.trades.values())
        hits["held"] += world.exchange.engine.tally.held
        hits["posted_only"] += world.exchange.engine.tally.posted_only

    wanted = {*HTTP_KINDS, "s", "r", "m", "t", "g", "CONFIRMED", "FAILED", "held", "posted_only"}
    wanted.remove("ghost_books")  # nobody asks for books here; MD10 does
    assert set() == {name for name in wanted if not hits[name]}
