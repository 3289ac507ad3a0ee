"""`price_package` against its slow model: equal packages and refusals."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline.core.fees import FeeTable
from pipeline.core.legbook import LegBook
from pipeline.core.sizing import Bounds, Order, Package, Refusal, price_package
from pipeline.errors import InvariantError
from pipeline.kinds import Cause
from pipeline.native.legs import FeeTerms, Leg
from pipeline.native.sizing import SIZE_MICRO_MAX
from tests.models import sizing_model
from tests.shared import scaled, seeds

SEEDS = 100
CASES = scaled(300, 3_000)  # times the seeds: 30,000 cases at commit
I64_MAX = (1 << 63) - 1
ONE = 10**6
STEPS = [1, 5, 10, 25, 50, 100, 100, 250, 500, 2_500]
Levels = list[tuple[int, int]]


def size_of(rng: random.Random) -> int:
    """Return a size of any magnitude; often a whole lot, sometimes none, sometimes the most."""
    kind = rng.random()
    if kind < 0.02:
        return rng.choice([0, -1, 1, 9_999, 10_000, SIZE_MICRO_MAX, SIZE_MICRO_MAX - rng.randint(0, 20_000)])
    if kind < 0.3:  # few enough for ties
        return rng.randint(1, 20) * 500_000
    if kind < 0.75:
        return rng.randint(1, 50_000) * rng.choice([10_000, 10_000, 100_000, 1_000_000])
    return rng.randint(1, 10 ** rng.randint(4, 15))


def ladder(rng: random.Random, price: int, step: int, levels: int) -> Levels:
    """Return levels from a price on, upwards for a positive step; some off the grid, some out of range."""
    found = []
    for _ in range(levels):
        shown = price
        if rng.random() < 0.02:
            shown = rng.choice([0, -100, 10_000, 10_050, price + 1, price - 1, 1 << 70, -(1 << 70)])
        found.append((shown, size_of(rng)))
        price += step * rng.choice([1, 1, 2, 3, 10])
    if rng.random() < 0.1:
        found.append((0, 0))
    return found


def legs_of(rng: random.Random, count: int, fair: int, levels: int) -> list[LegBook]:
    """Return legs around a fair price, all under one rule book or each under its own."""
    step, rate = rng.choice(STEPS), rng.choice([0, 0, 40_000, 70_000, rng.randint(0, 10**6)])
    exponent, is_mixed = rng.choice([1, 1, 1, 2, 0]), rng.random() < 0.3
    found = []
    for row in range(1, count + 1):
        if is_mixed:
            step, rate = rng.choice(STEPS), rng.choice([0, 40_000, 70_000, 10**6])
            exponent = rng.choice([0, 1, 2])
        price = max(step, (fair + rng.randint(-fair // 2, max(1, fair // 20))) // step * step)
        asks = ladder(rng, price, step, rng.randint(0 if rng.random() < 0.05 else 1, levels))
        bids = ladder(rng, price - step, -step, rng.randint(0, levels)) or [(0, 0)]
        if rng.random() < 0.02:
            bids[0] = (bids[0][0], 1 << 70)
        found.append(LegBook(
            row, rng.randint(0, 1), asks, bids, rate, exponent, step,
            rng.choice([0, 1, 1_000_000, 5_000_000, rng.randint(0, 10**9)]),
            rng.choice([0, 1, 1_000_000, 1_000_000, rng.randint(0, 10**8)])))
    return found


def bounds_of(rng: random.Random) -> Bounds:
    """Return bounds that often bind."""
    def limit(digits_min: int) -> int:
        if rng.random() < 0.4:
            return rng.choice([10**12, 10**18, I64_MAX, rng.randint(1, 40) * ONE])
        return rng.randint(0, 10 ** rng.randint(digits_min, 12))

    return Bounds(
        order_usd_micro_max=limit(6), package_usd_micro_max=limit(6), partial_loss_usd_micro_max=limit(5),
        package_orders_max=rng.choice([15, 15, 15, 60, 300, rng.randint(0, 15)]),
        levels_max=rng.choice([1, 2, 4, 8, 8, 16, I64_MAX]),
        edge_usd_micro_min=rng.choice([0, 1, 1, 50_000, rng.randint(0, 10**10), I64_MAX]),
        edge_ppm_min=rng.choice([0, 1, 1, 20_000, rng.randint(0, 10**6), I64_MAX]),
    )


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_packages_equal_the_slow_model(seed: int) -> None:
    """Any legs within the ranges: the same package or refusal."""
    rng = random.Random(seed)
    for case in range(CASES):
        count, is_no = rng.randint(1, rng.choice([3, 6, 12])), rng.random() < 0.4
        sets_paid = max(1, count - 1) if is_no else 1
        fair = max(20, min(9_900, 10_000 * sets_paid // count))
        legs, bounds = legs_of(rng, count, fair, rng.choice([1, 3, 8, 14])), bounds_of(rng)
        wanted = sizing_model.price_package(legs, sets_paid, bounds, is_exclusive_no=is_no)
        found = price_package(legs, sets_paid, bounds, is_exclusive_no=is_no)

        where = f"seed {seed}, case {case}: {[(leg.asks, leg.bids) for leg in legs]} {bounds}"
        assert (type(wanted), wanted) == (type(found), found), where
        if isinstance(found, Package):
            assert all(type(order) is Order for order in found.orders)
            assert {int} == {type(value) for order in found.orders for value in order} | {
                type(value) for value in found[:-1]}
        else:
            assert type(found.cause) is Cause


@pytest.mark.parametrize("rate_ppm, exponent", [(10**6, 0), (10**6, 1), (999_999, 2), (10**6, 2)])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_the_largest_products_are_exact(rate_ppm: int, exponent: int, count: int) -> None:
    """Sixteen levels of the largest size at prices with the largest fractions, under the widest bounds."""
    deepest = [(price, SIZE_MICRO_MAX) for price in range(4_993, 5_009)]
    cheapest = [(price, SIZE_MICRO_MAX) for price in range(1, 17)]
    bids = [(price, SIZE_MICRO_MAX) for price in range(5_001, 4_985, -1)]
    for asks in (deepest, cheapest):
        for edge_ppm_min in (1, I64_MAX):
            for sets_paid in (1, count):
                legs = [
                    LegBook(row, 0, asks, bids, rate_ppm, exponent, 1, 0, 0) for row in range(count)]
                bounds = Bounds(I64_MAX, I64_MAX, I64_MAX, 256, I64_MAX, 1, edge_ppm_min)
                for is_no in (False, True):
                    wanted = sizing_model.price_package(legs, sets_paid, bounds, is_exclusive_no=is_no)
                    assert wanted == price_package(legs, sets_paid, bounds, is_exclusive_no=is_no)


PLAIN: dict[str, Any] = {
    "row": 1, "outcome": 0, "asks": [(4_000, 10 * ONE)], "bids": [(3_900, 10 * ONE)], "fee_rate_ppm": 0,
    "fee_exponent": 1, "tick_step": 100, "size_micro_min": ONE, "usd_micro_min": ONE}
WIDE = Bounds(10**12, 10**12, 10**12, 15, 8, 1, 1)


@pytest.mark.parametrize("name, value", [
    ("tick_step", 0), ("tick_step", 1 << 63), ("size_micro_min", -1), ("usd_micro_min", 1 << 63),
    ("fee_rate_ppm", 10**6 + 1), ("fee_rate_ppm", -1), ("fee_exponent", 3), ("fee_exponent", -1),
    ("asks", [(4_000, SIZE_MICRO_MAX + 1)]), ("asks", [(4_000, 1 << 70)]),
    ("asks", [(100 * level, 20_000) for level in range(1, 18)]),
])
def test_legs_outside_the_ranges_raise(name: str, value: object) -> None:
    """What could leave a type is refused by name, never computed."""
    with pytest.raises(InvariantError, match=r"native\.(sizing|legs): expected"):
        price_package([LegBook(**{**PLAIN, name: value})], 1, Bounds(10**12, 10**12, 10**12, 15, 100, 1, 1))


@pytest.mark.parametrize("name", Bounds.__slots__)
@pytest.mark.parametrize("value", [-1, 1 << 63])
def test_bounds_outside_the_ranges_raise(name: str, value: int) -> None:
    """A bound is a number of 63 bits; so are the legs at most 16, and the sets paid."""
    bounds = Bounds(**{**{each: getattr(WIDE, each) for each in Bounds.__slots__}, name: value})
    with pytest.raises(InvariantError, match=r"native\.sizing: expected"):
        price_package([LegBook(**PLAIN)], 1, bounds)
    with pytest.raises(InvariantError, match="a count of legs"):
        price_package([LegBook(**PLAIN)] * 17, 1, WIDE)
    for sets_paid in (-1, 17):
        with pytest.raises(InvariantError, match="sets paid"):
            price_package([LegBook(**PLAIN)], sets_paid, WIDE)


@pytest.mark.parametrize("part, whole", [(-1, 1), (1, 0), (1, -1), (1 << 70, 1), (1, 1 << 80), (1, 1 << 200)])
def test_fee_terms_outside_the_ranges_raise(part: int, whole: int) -> None:
    """A fee fraction larger than any schedule has never gets into a table; nor do costs and prices."""
    table = FeeTable(0, 1)
    with pytest.raises(InvariantError, match="fee term"):
        table.put(3_900, 1, 1, part, whole)
    for price, unit, worst in ((-1, 1, 1), (10_001, 1, 1), (1, -1, 1), (1, 2, 1), (1, 1, 2 * 10**12 + 1)):
        with pytest.raises(InvariantError, match=r"native\.legs: expected a"):
            table.put(price, unit, worst, 1, 1)


class Empty(FeeTerms):
    """A table whose `add` puts nothing."""

    def add(self, price_ticks: int) -> None:
        """Forget the price."""


def test_a_table_without_terms_raises() -> None:
    """A price whose terms nobody can compute is an error, not a share for nothing."""
    leg = Leg(1, 0, PLAIN["asks"], [], Empty(), 0, 1, 100, ONE, ONE)
    with pytest.raises(InvariantError, match="put no unit cost"):
        price_package([leg], 1, WIDE)


def test_no_legs_are_no_package() -> None:
    """Without legs there is nothing to buy."""
    assert Refusal(Cause.BELOW_EDGE, 0, 1) == price_package([], 1, WIDE)
