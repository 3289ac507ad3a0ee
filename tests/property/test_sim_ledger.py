"""The ledger in random runs of whole exchanges: balanced, every share covered, no micro-dollar lost."""

from __future__ import annotations

import random

import pytest

from pipeline.sim.engine import Engine
from pipeline.sim.exchange import Exchange
from pipeline.sim.ledger import COUNTERPARTY, FEES, ROUNDING, USD
from pipeline.sim.market import Market
from pipeline.sim.settings import ExchangeSettings, FeePer
from pipeline.sim.trades import Placed
from tests.sim_orders import order
from tests.sim_trader import KEYS, NOW_NS, Trader, exchange_of, market

SHARE = 1_000_000


def drawn_exchange(rng: random.Random) -> tuple[Exchange, list[Market]]:
    """Three neg-risk markets and two traders, one of them nearly without money."""
    markets = [
        market(n + 1, event_id="e", outcome_index=n, neg_risk=True, tick_step=rng.choice([1, 10, 100]))
        for n in range(3)
    ]
    sets = {m.condition: 200 * SHARE for m in markets}
    traders = [Trader(cash_micro=10**10, sets_micro=sets), Trader("poor", KEYS[1], cash_micro=30 * SHARE)]
    per = rng.choice([FeePer.MATCH, FeePer.ORDER])
    return exchange_of(traders, markets, ExchangeSettings(fee_per=per)), markets


def step(rng: random.Random, exchange: Exchange, of: Market, now_ns: int) -> int:
    """Do one random thing; return how many trades an order of ours made."""
    ticks = of.tick_step * rng.randint(3_000 // of.tick_step, 7_000 // of.tick_step)
    size = rng.randint(5 * SHARE, 60 * SHARE) // 100 * 100
    roll = rng.random()
    if roll < 0.4:
        exchange.foreign_change(now_ns, of, rng.random() < 0.5, ticks, rng.choice([1, 1, -1]) * size)
    elif roll < 0.45:
        exchange.foreign_take(now_ns, of, rng.random() < 0.5, ticks, size)
    elif roll < 0.55:
        account = exchange.accounts[rng.choice(["demo", "poor"])]
        resting = list(exchange.engine.open.get(account.name, {}).values())
        exchange.engine.cancel(now_ns, rng.sample(resting, len(resting) // 2))
    else:
        account = exchange.accounts[rng.choice(["demo", "demo", "poor"])]
        is_buy, kind = rng.random() < 0.5, rng.choice(["GTC", "GTC", "FAK", "FOK"])
        budget = rng.randint(100, 3_000) * 10_000 if is_buy and kind != "GTC" else 0
        new = order(account, of, is_buy, ticks, 0 if budget else size, kind, rng.randint(0, 1), budget)
        result = exchange.engine.submit(now_ns, new)
        return len(result.trades) if isinstance(result, Placed) else 0
    return 0


def assert_reserves_are_covered(engine: Engine, exchange: Exchange, markets: list[Market]) -> None:
    for account in exchange.accounts.values():
        for asset in (USD, *(token for m in markets for token in m.tokens)):
            held = exchange.ledger.balance(account.name, asset)
            assert 0 <= engine.funds.reserved_micro(account, asset) <= held


@pytest.mark.parametrize("seed", range(200))
def test_every_micro_dollar_is_somewhere(seed: int) -> None:
    """After any run: postings balance, vaults cover shares, reserves are covered, and profits sum to zero."""
    rng = random.Random(seed)
    exchange, markets = drawn_exchange(rng)
    trades = 0
    for number in range(100):
        trades += step(rng, exchange, rng.choice(markets), NOW_NS + number)
        if number % 10 == 0:
            exchange.ledger.check(markets)
            assert_reserves_are_covered(exchange.engine, exchange, markets)
    winner = rng.randrange(3)
    exchange.resolve_event(NOW_NS + 1_000, "e", winner)
    ledger = exchange.ledger

    ledger.check(markets)
    assert trades > 0
    assert all({} == ledger.positions(name) for name in ("demo", "poor", COUNTERPARTY))
    profits = sum(ledger.pnl(name) for name in ("demo", "poor", COUNTERPARTY))
    assert 0 == profits + ledger.balance(FEES, USD) + ledger.balance(ROUNDING, USD)
    assert ledger.balance(FEES, USD) == sum(ledger.fees(name) for name in ("demo", "poor", COUNTERPARTY))
    assert 0 <= ledger.balance(ROUNDING, USD) <= 2 * exchange.engine.tally.trades + 10


@pytest.mark.parametrize("seed", range(5))
def test_same_seed_same_digest(seed: int) -> None:
    """The exchange is deterministic: one seed, one ledger digest; another seed, another."""

    def digest(of_seed: int) -> str:
        rng = random.Random(of_seed)
        exchange, markets = drawn_exchange(rng)
        for number in range(60):
            step(rng, exchange, rng.choice(markets), NOW_NS + number)
        return exchange.ledger.digest()

    assert digest(seed) == digest(seed)
    assert digest(seed) != digest(seed + 1_000)
