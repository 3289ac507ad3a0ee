"""`price_orders` against its slow model: equal sums and refusals, whatever orders an idea names."""

from __future__ import annotations

import functools
import math
import random
from collections import Counter
from typing import Any

import pytest

from pipeline.core.legbook import LegBook
from pipeline.errors import InvariantError
from pipeline.kinds import Cause, OrderType, Side
from pipeline.native import gate
from tests.models import gate_model
from tests.models.gate_model import I64_MAX, LEG_COUNT_MAX, SIZE_MICRO_MAX, Wanted
from tests.shared import scaled, seeds

SEEDS = 100
CASES = scaled(200, 1_000)  # times the seeds: 20,000 proposals at commit
COUNT_MIN = 100  # of each answer over all seeds
LOT = 10_000
ONE = 10**6
STEPS = [1, 5, 10, 25, 50, 100, 100, 250, 500, 2_500]
BUY, FAK, GTC = int(Side.BUY), int(OrderType.FAK), int(OrderType.GTC)
LARGEST = SIZE_MICRO_MAX // LOT * LOT
Rules = dict[int, LegBook]
Proposal = tuple[list[Wanted], int, int]  # orders, leg_count, size_micro
ANSWERS = (
    "taken", "side", "type", "price", "size", "size max", "cents", "usd min", "size min", "leg", "shares")
FAULTS = (
    "side", "type", "price", "size", "size", "huge", "cents", "leg", "row", "outcome", "shares", "drop",
    "twice")


def rules_of(rng: random.Random) -> Rules:
    """Return the rules of some rows; minimums that small orders break."""
    found = {}
    for row in rng.sample(range(1, 100), rng.randint(1, 6)):
        found[row] = LegBook(
            row, 0, (), (), rng.choice([0, 40_000, 70_000, 10**6, rng.randint(0, 10**6)]),
            rng.choice([0, 1, 1, 2]), rng.choice(STEPS), rng.choice([0, 1, 5 * ONE, rng.randint(0, 10**8)]),
            rng.choice([0, 1, ONE, rng.randint(0, 10**8)]))
    return found


def split(rng: random.Random, lots: int, parts: int) -> list[int]:
    """Return whole numbers above zero that add up to `lots`, at most `parts` of them."""
    cuts = sorted({rng.randint(1, lots) for _ in range(parts - 1)} - {lots})
    return [high - low for low, high in zip([0, *cuts], [*cuts, lots], strict=True)]


def legal(rng: random.Random, rules: Rules) -> Proposal:
    """Return a proposal on grid and lots, equal shares in every leg; only a minimum may refuse it."""
    leg_count, plan, lot_micro = rng.choice([1, 2, 3, 5, rng.randint(1, 12)]), [], LOT
    for leg_no in range(leg_count):
        row = rng.choice(list(rules))
        outcome, order_type = rng.randint(0, 1), rng.choice([FAK, GTC])
        step = rules[row].tick_step
        prices = [step * rng.randint(1, (10_000 - 1) // step) for _ in range(rng.choice([1, 1, 2, 4]))]
        plan.append((leg_no, row, outcome, order_type, prices))
        if order_type == FAK:
            lot_micro = math.lcm(lot_micro, *(10_000 // math.gcd(price, 10_000) * LOT for price in prices))
    size_max = rng.choice([10**8, 10**10, 10**12, SIZE_MICRO_MAX, SIZE_MICRO_MAX])
    lots = rng.choice([size_max // lot_micro, rng.randint(1, max(1, size_max // lot_micro))]) or 1
    orders = []
    for leg_no, row, outcome, order_type, prices in plan:
        for price, part in zip(prices, split(rng, lots, len(prices)), strict=False):
            orders.append((leg_no, row, outcome, BUY, order_type, price, part * lot_micro))
    if rng.random() < 0.5:
        rng.shuffle(orders)
    return orders, leg_count, lots * lot_micro


def broken(rng: random.Random, rules: Rules, proposal: Proposal) -> Proposal:
    """Return the proposal with one thing changed that should not pass; some changes still may."""
    orders, leg_count, size_micro = proposal
    fault, place = rng.choice(FAULTS), rng.randrange(len(orders))
    if fault == "drop":
        del orders[place]
    if fault == "twice":
        orders.insert(rng.randrange(len(orders) + 1), orders[place])
    if fault in ("drop", "twice"):
        return orders, leg_count, size_micro
    leg_no, row, outcome, side, order_type, price, size = orders[place]
    if fault == "side":
        side = rng.choice([1, 2, 3, -1, 255])
    elif fault == "type":
        order_type = rng.choice([*map(int, OrderType), 0, 9, -1])
    elif fault == "price":
        price = rng.choice([0, 10_000, -price, price + 1, price - 1, 10_000 + price, I64_MAX, -I64_MAX])
    elif fault == "size":
        size = rng.choice([0, -size, size + 1, size - 1, size + LOT // 2, -1, LOT, -I64_MAX])
    elif fault == "huge":
        size = rng.choice(
            [LARGEST, LARGEST + LOT, I64_MAX // LOT * LOT, I64_MAX, 1 << 58, 2 * LARGEST, LOT << 64])
    elif fault == "cents":
        order_type, size = FAK, size + LOT * rng.randint(-3, 3)
    elif fault == "leg":
        leg_no = rng.choice([-1, leg_no + 1, leg_no - 1, leg_count, LEG_COUNT_MAX, 256, I64_MAX, -1 << 70])
    elif fault == "row":
        row = rng.choice(list(rules))
    elif fault == "outcome":
        outcome = rng.choice([1 - outcome, 2, 255])
    else:
        size_micro += rng.choice([-LOT, LOT, 1, -size_micro, size_micro])
    orders[place] = (leg_no, row, outcome, side, order_type, price, size)
    return orders, leg_count, size_micro


def compare(orders: list[Wanted], rules: Rules, leg_count: int, size_micro: int, where: str) -> str:
    """Hold native against slow, types and order of rows included; return the name of the answer.

    Equal texts are equal types: an enum or a bool writes itself otherwise than the number that it equals.
    """
    name, wanted = gate_model.judged(tuple(orders), rules, leg_count, size_micro)
    found: tuple[Any, ...] = gate.price_orders(tuple(orders), rules, leg_count, size_micro)
    told = f"{where}: {name}, {orders}, {leg_count} legs of {size_micro}"
    assert wanted == found, told
    assert repr(wanted) == repr(found), told
    return name


@functools.cache
def played(seed: int) -> Counter[str]:
    """Compare a seed's proposals; return how often each answer came, and what the good ones held."""
    rng, counts = random.Random(seed), Counter[str]()
    for case in range(CASES):
        if case % 10 == 0:
            rules = rules_of(rng)
        proposal = legal(rng, rules)
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            if proposal[0]:
                proposal = broken(rng, rules, proposal)
        orders, leg_count, size_micro = proposal
        name = compare(orders, rules, leg_count, size_micro, f"seed {seed}, case {case}")
        counts[name] += 1
        if name == "taken":
            counts["taken with several orders a leg"] += len(orders) > leg_count
            counts["taken above 2**56"] += size_micro > 1 << 56
            for exponent in {rules[order[1]].fee_exponent for order in orders}:
                counts[f"taken with exponent {exponent}"] += 1
        counts["negative leg"] += name == "leg" and any(order[0] < 0 for order in orders)
    return counts


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_answers_equal_the_slow_model(seed: int) -> None:
    """Any proposal, legal or not: the same sums or the same refusal, in the same types."""
    assert CASES == sum(played(seed)[name] for name in ANSWERS), f"seed {seed}"


def test_the_seeds_reach_every_answer() -> None:
    """No test of the gate stays unasked: each refuses often, and many proposals pass."""
    counts = sum((played(seed) for seed in seeds(SEEDS)), Counter[str]())
    wanted = [
        *ANSWERS, "taken with several orders a leg", "taken above 2**56", "negative leg",
        *(f"taken with exponent {exponent}" for exponent in range(3))]
    assert {} == {name: counts[name] for name in wanted if counts[name] < COUNT_MIN}
    assert counts["taken"] >= CASES * SEEDS // 6


@pytest.mark.parametrize("rate_ppm, exponent", [(10**6, 0), (10**6, 1), (999_999, 2), (10**6, 2), (1, 2)])
@pytest.mark.parametrize("order_type", [FAK, GTC])
def test_the_largest_products_are_exact(rate_ppm: int, exponent: int, order_type: int) -> None:
    """As many legs as there may be, sizes at the limit, at the prices with the largest fees and budgets."""
    for price in (1, 3, 3_333, 4_999, 5_000, 5_001, 9_999):
        lot_micro = 10_000 // math.gcd(price, 10_000) * LOT if order_type == FAK else LOT
        size = SIZE_MICRO_MAX // lot_micro * lot_micro
        rules = {row: LegBook(row, 0, (), (), rate_ppm, exponent, 1, 0, 0) for row in range(3)}
        orders = [
            (leg_no, leg_no % 3, 0, BUY, order_type, price, size)
            for leg_no in range(LEG_COUNT_MAX) for _ in range(2)]
        where = f"price {price}"
        assert "taken" == compare(orders, rules, LEG_COUNT_MAX, 2 * size, where)


def test_sizes_above_the_limit_are_refused_by_name() -> None:
    """What could leave a native number is refused before it is multiplied, FAK and GTC alike."""
    rules = {1: LegBook(1, 0, (), (), 10**6, 2, 1, 0, 0)}
    for order_type in (FAK, GTC):
        for size in (LARGEST + LOT, I64_MAX // LOT * LOT):
            orders = ((0, 1, 0, BUY, order_type, 5_000, size),)
            assert (int(Cause.LIMIT_ORDER), size, 1 << 57) == gate.price_orders(orders, rules, 1, size)
            assert (int(Cause.LIMIT_ORDER), size, 1 << 57) == gate_model.price_orders(orders, rules, 1, size)
        assert 0 == gate.price_orders(
            ((0, 1, 0, BUY, GTC, 5_000, LARGEST),), rules, 1, LARGEST)[0]


@pytest.mark.parametrize("leg_count", [0, 256, -1, 1_000])
def test_impossible_counts_of_legs_raise(leg_count: int) -> None:
    """A count of legs that no record can carry never reaches the sums of the legs."""
    for ask in (gate.price_orders, gate_model.price_orders):
        with pytest.raises(InvariantError, match="legs expected"):
            ask((), {}, leg_count, LOT)
