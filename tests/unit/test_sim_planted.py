"""Planted mispricings: quiet books without arbitrage, edges exact, journal true to what was taken."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from pipeline.sim.exchange import Exchange
from pipeline.sim.planted import PlantKind, Shape, make_event, make_events
from pipeline.sim.planting import Pace, Planting
from tests.shared import scaled
from tests.sim_trader import NOW_NS, Trader, exchange_of

MS = 10**6


def plants_of(seed: int, count: int):
    for event in make_events(seed, 12):
        for number in range(count):
            plant = event.next_plant(number)
            if plant is not None:
                yield event, plant


@pytest.mark.parametrize("seed", range(3))
def test_edges_equal_fractions(seed: int) -> None:
    """Each plant's net per share and best total equal a recomputation with Fractions from the fee rule."""
    checked = clearing = below = 0
    for event, plant in plants_of(seed, scaled(commit=40, gate=400)):
        rate = Fraction(event.markets[0].fee_rate_ppm, 10**6)
        buys_no = plant.kind is PlantKind.NO_SET
        is_trap = plant.kind is PlantKind.LISTED_YES
        payout = len(plant.legs) - 1 if buys_no else 0 if is_trap else 1
        assert not is_trap or (event.markets[0].version == "v2" and plant.edge_usd_micro < 0)
        books = [
            [(1 - Fraction(p, 10**4) if buys_no else Fraction(p, 10**4), size) for p, size in leg.levels]
            for leg in plant.legs
        ]
        net = payout - sum(levels[0][0] + rate * levels[0][0] * (1 - levels[0][0]) for levels in books)
        assert net == plant.net_per_share
        steps = net / Fraction(plant.tick_step, 10**4)
        assert steps // 1 == plant.clears_fees_by_ticks
        best = None
        reach = min(sum(size for _, size in levels) for levels in books)
        ends = {sum(s for _, s in levels[:n]) for levels in books for n in range(1, len(levels) + 1)}
        for shares in (end for end in ends if end <= reach):
            total = Fraction(payout * shares)
            for levels in books:
                left = shares
                for price, size in levels:
                    part = min(left, size)
                    left -= part
                    total -= price * part + (rate * part * price * (1 - price) // 10) * 10
            best = total if best is None else max(best, total)
        assert best is not None
        assert best // 1 == plant.edge_usd_micro
        gross = sum(Fraction(leg.levels[0][0], 10**4) for leg in plant.legs)
        assert gross > 1 if buys_no else gross < 1
        for levels in books:
            assert levels[0][0] * levels[0][1] >= 10**6  # a marketable BUY of at least 1 USD
        checked, clearing, below = checked + 1, clearing + (steps >= 1), below + (net < 0)
    assert checked > 300
    assert 0.6 < clearing / checked < 0.9
    assert 0.05 < below / checked < 0.3


@pytest.mark.parametrize("seed", range(20))
def test_quiet_books_hold_no_arbitrage(seed: int) -> None:
    """Without a plant no basket of any kind pays, even before fees; plants stay inside the spread."""
    for event in make_events(seed, 9):
        asks = [min(d.price_ticks for d in base if not d.is_bid) for base in event.base]
        bids = [max((d.price_ticks for d in base if d.is_bid), default=0) for base in event.base]
        assert sum(asks) > 10_000 > sum(bids)
        assert 3 <= len(event.markets) <= 12
        assert {True} == {market.planted and market.neg_risk for market in event.markets}
        for number in range(10):
            plant = event.next_plant(number)
            for leg in plant.legs if plant else ():
                for price, _ in leg.levels:
                    assert bids[leg.outcome_index] < price < asks[leg.outcome_index]
                    assert price % event.step == 0


def test_shapes_give_the_promised_legs() -> None:
    """Trios have 3 legs, duos 2 for NO sets; two thirds of all plants have 2 or 3 legs; some live < 50 ms."""
    legs: list[int] = []
    lives: list[int] = []
    for event, plant in plants_of(5, 60):
        legs.append(len(plant.legs))
        lives.append(plant.life_ns)
        if event.shape is Shape.TRIO:
            assert 3 == len(plant.legs)
        if event.shape is Shape.DUO and plant.kind is PlantKind.NO_SET:
            assert 2 == len(plant.legs)
    assert 0.55 < sum(count <= 3 for count in legs) / len(legs) < 0.8
    assert 0.03 < sum(life < 50 * MS for life in lives) / len(lives) < 0.15
    lives.sort()
    assert 1_000 * MS < lives[len(lives) // 2] < 4_000 * MS


def planted_exchange(seed: int, shape: Shape) -> tuple[Exchange, Planting, Trader]:
    trader = Trader(cash_micro=10**13)
    event = make_event(seed, 0, shape)
    exchange = exchange_of([trader], list(event.markets))
    planting = Planting(exchange, [event], seed, Pace())
    planting.open(NOW_NS)
    return exchange, planting, trader


def run_until_planted(exchange: Exchange, planting: Planting, now_ns: int) -> int:
    count = len(planting.journal)
    while len(planting.journal) == count:
        now_ns += MS
        exchange.on_timer(now_ns)
        planting.pump(now_ns)
    return now_ns


@pytest.mark.parametrize("seed,shape", [(1, Shape.TRIO), (2, Shape.DUO), (3, Shape.FIELD)])
def test_journal_follows_what_is_taken(seed: int, shape: Shape) -> None:
    """Taking a plant's legs ends it as taken, sizes counted; an untouched one is withdrawn in full."""
    exchange, planting, trader = planted_exchange(seed, shape)
    planting.start(NOW_NS)
    now_ns = run_until_planted(exchange, planting, NOW_NS)
    plant = planting.journal[-1]
    assert plant.t_start_ns == now_ns
    by_condition = exchange.engine.markets
    for leg, condition in zip(plant.legs, plant.conditions, strict=True):
        of = by_condition[condition]
        worst = leg.levels[-1][0]
        ticks = 10_000 - worst if leg.is_bid else worst
        size = sum(size for _, size in leg.levels)
        answer = trader.place(
            exchange,
            of,
            now_ns,
            price=f"{ticks / 10_000:g}",
            quantity=f"{size / 10**6:.2f}",
            outcome=int(leg.is_bid),
        )
        assert (200, "matched") == (answer.status, json.loads(answer.body)["status"])
    assert "taken" == plant.end
    taken = [sum(size for _, size in leg.levels) for leg in plant.legs]
    while "taken" in (row := planting.report()[0])["end"] and sum(plant.consumed_micro) < sum(taken):
        now_ns += MS
        exchange.on_timer(now_ns)
        planting.pump(now_ns)
        assert now_ns < plant.t_end_ns + 200 * MS
    assert taken == [leg["consumed_micro"] for leg in planting.report()[0]["legs"]]
    assert row["t_end_ns"] >= row["t_start_ns"]
    now_ns = run_until_planted(exchange, planting, now_ns)
    second = planting.journal[1]
    assert second.t_start_ns >= plant.t_end_ns + 250 * MS
    now_ns += second.life_ns + MS
    exchange.on_timer(now_ns)
    planting.pump(now_ns)
    assert ("withdrawn", 0) == (second.end, sum(second.consumed_micro))
    planting.stop(now_ns)
    exchange.ledger.check(by_condition.values())


def test_history_rebuilds_every_book() -> None:
    """The commits kept for planted markets, folded, are the engine's present books."""
    exchange, planting, _ = planted_exchange(4, Shape.TRIO)
    planting.start(NOW_NS)
    for step in range(1, 5_000):
        exchange.on_timer(NOW_NS + step * MS)
        planting.pump(NOW_NS + step * MS)
    planting.stop(NOW_NS + 5_000 * MS)
    assert len(planting.journal) >= 1
    for market in exchange.engine.markets.values():
        sizes: dict[tuple[bool, int], int] = {}
        for _, changes, _ in exchange.history(market):
            for change in changes:
                sizes[change.is_bid, change.price_ticks] = change.size_micro
        shown = {(b, p): s for b in (True, False) for p, s in exchange.levels(market, b)}
        assert shown == {key: size for key, size in sizes.items() if size}
