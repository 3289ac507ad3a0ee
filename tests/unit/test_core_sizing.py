"""core.sizing: exact prices, minimums, lots, limits, and the bound of partial fills."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest

from pipeline.core.legbook import LegBook
from pipeline.core.sizing import (
    Bounds,
    Order,
    Package,
    Refusal,
    price_package,
)
from pipeline.kinds import Cause, OrderType
from tests.models.payoff_model import fee_charged, fee_exact, sale
from tests.models.sizing_model import partial_loss_usd_micro_max, sale_usd_micro
from tests.shared import seeds

ONE = 1_000_000
WIDE = Bounds(10**12, 10**12, 10**12, 15, 8, 1, 1)


def leg(asks: list[tuple[int, int]], bids: list[tuple[int, int]] | None = None, **changes: int) -> LegBook:
    values = {
        "row": 1,
        "outcome": 0,
        "fee_rate_ppm": 0,
        "fee_exponent": 1,
        "tick_step": 100,
        "size_micro_min": 5 * ONE,
        "usd_micro_min": ONE,
        **changes,
    }
    return LegBook(asks=asks, bids=bids or [], **values)


def bounds(**changes: int) -> Bounds:
    values = {name: getattr(WIDE, name) for name in Bounds.__slots__}
    return Bounds(**{**values, **changes})


def priced(found: Package | Refusal) -> Package:
    assert isinstance(found, Package), found
    return found


def refused(found: Package | Refusal) -> Refusal:
    assert isinstance(found, Refusal), found
    return found


def test_sizing_takes_whole_budgets_as_fak() -> None:
    """Whole shares at cent prices cost whole cents: one FAK a leg, all of the thinnest depth."""
    found = priced(price_package([leg([(3_000, 100 * ONE)]), leg([(4_000, 50 * ONE)])], 1, WIDE))
    assert (50 * ONE, 50 * ONE, 35 * ONE, 0) == (
        found.size_micro,
        found.payout_usd_micro,
        found.cost_usd_micro,
        found.fee_usd_micro,
    )
    assert [(3_000, 50 * ONE, OrderType.FAK), (4_000, 50 * ONE, OrderType.FAK)] == [
        (order.price_ticks, order.size_micro, order.order_type) for order in found.orders
    ]


def test_sizing_uses_gtc_where_no_budget_is_exact() -> None:
    """A price on the 0.0001 grid needs 100-share steps for a whole cent; share-targeted orders do not."""
    found = priced(
        price_package([leg([(3_001, 57_340_000)], tick_step=1), leg([(4_000, 90 * ONE)])], 1, WIDE)
    )
    assert 57_340_000 == found.size_micro
    assert {OrderType.GTC} == {order.order_type for order in found.orders}
    assert found.cost_usd_micro == 57_340_000 * 7_001 // 10_000


def test_sizing_walks_all_ladders_together() -> None:
    """Deeper levels are taken while the marginal sum stays below the payout, one order a level."""
    found = priced(
        price_package(
            [leg([(3_000, 20 * ONE), (5_500, 20 * ONE), (6_500, 100 * ONE)]), leg([(4_000, 60 * ONE)])],
            1,
            WIDE,
        )
    )
    assert 40 * ONE == found.size_micro  # 0.65 + 0.40 does not pay
    assert [(0, 3_000, 20 * ONE), (0, 5_500, 20 * ONE), (1, 4_000, 40 * ONE)] == [
        (order.leg_no, order.price_ticks, order.size_micro) for order in found.orders
    ]


def test_sizing_refuses_what_fees_eat() -> None:
    """A sum below 1 that exact fees lift above it is no package."""
    legs = [leg([(4_900, 100 * ONE)], fee_rate_ppm=70_000), leg([(4_900, 100 * ONE)], fee_rate_ppm=70_000)]
    assert Cause.BELOW_EDGE == refused(price_package(legs, 1, WIDE)).cause
    free = [leg([(4_900, 100 * ONE)]), leg([(4_900, 100 * ONE)])]
    assert 2 * ONE == priced(price_package(free, 1, WIDE)).edge_usd_micro


def test_sizing_keeps_both_edge_minimums() -> None:
    """The edge must clear the USD minimum and the share of the spend; a refusal names value and limit."""
    legs = [leg([(4_900, 10 * ONE)]), leg([(4_900, 10 * ONE)])]
    found = refused(price_package(legs, 1, bounds(edge_usd_micro_min=200_001)))
    assert (Cause.BELOW_EDGE, 200_000, 200_001) == (found.cause, found.value, found.limit)
    assert Cause.BELOW_EDGE == refused(price_package(legs, 1, bounds(edge_ppm_min=20_409))).cause
    assert isinstance(price_package(legs, 1, bounds(edge_ppm_min=20_408)), Package)


def test_sizing_keeps_the_minimums_of_the_venue() -> None:
    """A marketable BUY is at least 1 USD, a resting order at least the market's size."""
    cheap = [leg([(300, 30 * ONE)]), leg([(9_000, 30 * ONE)])]
    assert Cause.BELOW_MINIMUM == refused(price_package(cheap, 1, WIDE)).cause
    small = [leg([(5_001, 4 * ONE)], tick_step=1), leg([(4_000, 4 * ONE)])]
    found = refused(price_package(small, 1, WIDE))
    assert (Cause.BELOW_MINIMUM, 4 * ONE, 5 * ONE) == (found.cause, found.value, found.limit)


def test_sizing_merges_a_small_first_level() -> None:
    """A level below the minimum joins the next at the worse price, and the package still pays."""
    found = priced(
        price_package([leg([(3_000, 2 * ONE), (3_500, 20 * ONE)]), leg([(4_000, 22 * ONE)])], 1, WIDE)
    )
    assert [(3_500, 22 * ONE), (4_000, 22 * ONE)] == [
        (order.price_ticks, order.size_micro) for order in found.orders
    ]
    assert found.payout_usd_micro - found.cost_usd_micro == 22 * ONE * 2_500 // 10_000


def test_sizing_stops_at_an_off_grid_level() -> None:
    """Our orders fit the current tick: an off-grid level, and all behind it, is not taken."""
    legs = [leg([(3_000, 20 * ONE), (3_050, 20 * ONE), (3_100, 20 * ONE)]), leg([(4_000, 60 * ONE)])]
    assert 20 * ONE == priced(price_package(legs, 1, WIDE)).size_micro


@pytest.mark.parametrize(
    "name, value",
    [
        ("order_usd_micro_max", 20 * ONE),
        ("package_usd_micro_max", 30 * ONE),
        ("partial_loss_usd_micro_max", 5 * ONE),
    ],
)
def test_sizing_shrinks_to_its_limits(name: str, value: int) -> None:
    """A limit makes a package smaller, not impossible; the reservation of budget orders counts."""
    legs = [leg([(3_000, 500 * ONE)], fee_rate_ppm=30_000), leg([(4_000, 500 * ONE)], fee_rate_ppm=30_000)]
    found = priced(price_package(legs, 1, bounds(**{name: value})))
    assert 0 < found.size_micro < 500 * ONE
    worst = [order.price_ticks * order.size_micro // 10_000 * 103 // 100 for order in found.orders]
    spent = {
        "order_usd_micro_max": max(worst),
        "package_usd_micro_max": sum(worst),
        "partial_loss_usd_micro_max": found.partial_loss_usd_micro,
    }[name]
    assert value * 9 // 10 <= spent <= value


def test_sizing_counts_orders() -> None:
    """More orders than allowed make it take fewer levels."""
    legs = [leg([(1_000 + 100 * step, 20 * ONE) for step in range(6)]), leg([(4_000, 200 * ONE)])]
    found = priced(price_package(legs, 1, bounds(package_orders_max=3)))
    assert len(found.orders) <= 3
    assert 40 * ONE == found.size_micro


@pytest.mark.parametrize("seed", seeds(200))
def test_sizing_is_exact_and_legal(seed: int) -> None:
    """Cost, fee, payout equal exact fractions; grid, lot, minimum, depth, limits hold for each order."""
    rng = random.Random(seed)
    step = rng.choice([1, 10, 100])
    legs = []
    for row in range(rng.randint(2, 5)):
        price = rng.randrange(step, 4_000, step)
        asks = []
        for _ in range(rng.randint(1, 8)):
            asks.append((price, rng.randint(1, 100_000) * 1_000))
            price += step * rng.randint(1, 20)
        legs.append(
            leg(
                asks,
                row=row + 1,
                tick_step=step,
                fee_rate_ppm=rng.choice([0, 40_000, 70_000]),
                usd_micro_min=ONE,
            )
        )
    limits = bounds(order_usd_micro_max=rng.randint(1, 50) * ONE, levels_max=rng.randint(1, 8))
    found = price_package(legs, 1, limits)
    if isinstance(found, Refusal):
        return
    shares = [0] * len(legs)
    cost, fee = Fraction(0), 0
    for order in found.orders:
        book = legs[order.leg_no]
        shares[order.leg_no] += order.size_micro
        exact = Fraction(order.price_ticks * order.size_micro, 10_000)
        cost += exact
        fee += fee_charged(order.price_ticks, order.size_micro, book.fee_rate_ppm, 1)
        assert order.price_ticks % step == 0
        assert order.size_micro % 10_000 == 0
        assert exact >= book.usd_micro_min
        if order.order_type == OrderType.FAK:
            assert exact % 10_000 == 0
        else:
            assert order.size_micro >= book.size_micro_min
    assert [found.size_micro] * len(legs) == shares
    assert (cost, fee, found.size_micro) == (
        found.cost_usd_micro,
        found.fee_usd_micro,
        found.payout_usd_micro,
    )
    assert found.edge_usd_micro >= 1
    for leg_no, book in enumerate(legs):
        reach = [order for order in found.orders if order.leg_no == leg_no]
        limit = max(order.price_ticks for order in reach)
        depth = sum(size for price, size in book.asks[: limits.levels_max] if price <= limit)
        assert depth >= found.size_micro  # what is asked for was shown
        assert (
            sum(order.price_ticks * order.size_micro // 10_000 for order in reach)
            <= limits.order_usd_micro_max
        )
    assert len({order.order_type for order in found.orders}) == 1


@pytest.mark.parametrize("seed", seeds(200))
def test_sizing_equals_the_optimum_without_lots(seed: int) -> None:
    """With share orders and no minimum the walk finds the best size over every level boundary."""
    rng = random.Random(seed)
    legs = []
    for row in range(rng.randint(2, 4)):
        price, asks = rng.randint(500, 4_500), []
        for _ in range(rng.randint(1, 5)):
            asks.append((price, rng.randint(1, 40) * 10_000))
            price += rng.randint(1, 300)
        legs.append(leg(asks, row=row + 1, tick_step=1, size_micro_min=1, usd_micro_min=1))
    ends = sorted(
        {sum(size for _, size in book.asks[: count + 1]) for book in legs for count in range(len(book.asks))}
    )
    reach = min(sum(size for _, size in book.asks) for book in legs)

    def profit(size: int) -> Fraction:
        cost = Fraction(0)
        for book in legs:
            rest = size
            for price, depth in book.asks:
                cost += Fraction(price * min(rest, depth), 10_000)
                rest -= min(rest, depth)
        return size - cost

    best = max([profit(size) for size in ends if size <= reach], default=Fraction(0))
    found = price_package(legs, 1, bounds(package_orders_max=60))
    if isinstance(found, Refusal):
        assert best < 1
    else:
        # A coarser budget lot may give up at most an eighth of the size.
        exact = Fraction(found.edge_usd_micro)
        is_fak = found.orders[0].order_type == OrderType.FAK
        assert (best * 7 / 10 if is_fak else best) <= exact <= best


def loss(legs: list[LegBook], orders: list[Order], filled: list[Fraction], no_of_exclusive: bool) -> Fraction:
    """Return the exact loss of one fill pattern after the best of: hold all, sell all, keep whole sets."""
    cost, held = Fraction(0), [Fraction(0)] * len(legs)
    for order, size in zip(orders, filled, strict=True):
        book = legs[order.leg_no]
        cost += size * Fraction(order.price_ticks, 10_000)
        cost += fee_exact(order.price_ticks, 1, book.fee_rate_ppm, 1) * size
        held[order.leg_no] += size
    best = Fraction(0)
    for kept in (Fraction(0), min(held), max(held)):
        keep = [min(size, kept) for size in held]
        pays = sum(keep) - max(keep) if no_of_exclusive else min(keep)
        sold = sum(
            (
                sale(book.bids, size - stays, book.fee_rate_ppm, 1)
                for book, size, stays in zip(legs, held, keep, strict=True)
            ),
            Fraction(0),
        )
        best = max(best, pays + sold)
    return cost - best


@pytest.mark.parametrize("seed", seeds(200))
def test_partial_loss_bounds_every_fill_pattern(seed: int) -> None:
    """The bound of a package that pays holds at all 2**n vertices and at random interior points."""
    rng = random.Random(seed)
    is_no = rng.random() < 0.5
    count, size = rng.randint(2, 4), rng.randint(10, 500) * ONE
    while True:
        asks = [rng.randint(2, 95) * 100 for _ in range(count)]
        if sum(asks) < (10_000 * (count - 1) if is_no else 10_000) * 9 // 10:
            break
    legs, orders = [], []
    for row, ask in enumerate(asks):
        bids = [(ask - 100 * step, rng.randint(1, 400) * ONE) for step in range(1, min(4, ask // 100))]
        legs.append(leg([(ask, size)], bids, row=row + 1, fee_rate_ppm=rng.choice([0, 40_000])))
        first = size if rng.random() < 0.6 else size // 2 // 10_000 * 10_000
        for part in (first, size - first):
            if part:
                orders.append(Order(row, row + 1, int(is_no), ask, part, int(OrderType.GTC)))
    bound = partial_loss_usd_micro_max(legs, orders, size, is_exclusive_no=is_no)
    patterns = [
        [Fraction(order.size_micro * bit) for bit, order in zip(bits, orders, strict=True)]
        for bits in itertools.product((0, 1), repeat=len(orders))
    ]
    for _ in range(15):
        patterns.append([Fraction(rng.randint(0, order.size_micro)) for order in orders])
    for filled in patterns:
        assert loss(legs, orders, filled, is_no) <= bound


def test_partial_loss_is_the_worst_vertex() -> None:
    """Without bids everything bought may be lost but the leg that is missing: the dearest two of three."""
    legs = [leg([(price, 10 * ONE)]) for price in (2_000, 3_000, 4_000)]
    orders = [
        Order(index, 1, 0, book.asks[0][0], 10 * ONE, int(OrderType.GTC)) for index, book in enumerate(legs)
    ]
    assert 7 * ONE == partial_loss_usd_micro_max(legs, orders, 10 * ONE, is_exclusive_no=False)
    with_bids = [leg([(price, 10 * ONE)], [(price - 100, 10 * ONE)]) for price in (2_000, 3_000, 4_000)]
    assert 200_000 == partial_loss_usd_micro_max(with_bids, orders, 10 * ONE, is_exclusive_no=False)


def test_sale_is_conservative() -> None:
    """Beyond the known bids a share sells for nothing, and fees round up."""
    book = leg([], [(4_000, 10 * ONE), (3_000, 5 * ONE)], fee_rate_ppm=70_000)
    fees = 168_000 + 73_500
    assert 5_500_000 - fees == sale_usd_micro(book, 100 * ONE)
