"""Amounts are exact on every grid, sizes that cannot be said are refused, fees are floored."""

from __future__ import annotations

import math
import random
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from fractions import Fraction

import pytest

from pipeline.kinds import Cause, OrderType, Side
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.amounts import (
    Amounts,
    counter_amount,
    fee_adjusted_usd_micro,
    limit_amounts,
    market_amounts,
    order_amounts,
    size_step_micro,
    taker_fee_usd_micro,
)
from pipeline.venues.polymarket.identity import Refusal
from tests.models.signing_model import exact_amounts
from tests.shared import scaled

STEPS = sorted(wire.ROUNDING)
PRICES = [(step, price) for step in STEPS for price in range(step, 10_001 - step, step)]
IMMEDIATE = (OrderType.FOK, OrderType.FAK)


def oracle(kind: str, side: Side, step: int, price: int, quantity_micro: int) -> tuple[int, int]:
    """The reference of the venue sheet (10.5) in Decimal: what the exact official client computes."""
    decimals = wire.ROUNDING[step]
    p = Decimal(price).scaleb(-4)

    def cut(x: Decimal, places: int, rounding: str) -> Decimal:
        return x.quantize(Decimal(1).scaleb(-places), rounding=rounding)

    def two_step(x: Decimal) -> Decimal:
        return cut(cut(x, decimals[2] + 4, ROUND_CEILING), decimals[2], ROUND_FLOOR)

    quantity = cut(Decimal(quantity_micro).scaleb(-6), decimals[1], ROUND_FLOOR)
    if kind == "limit":
        usd = two_step(quantity * p)
        maker, taker = (usd, quantity) if side == Side.BUY else (quantity, usd)
    else:
        maker, taker = quantity, two_step(quantity / p if side == Side.BUY else quantity * p)
    return int(maker.scaleb(6)), int(taker.scaleb(6))


@pytest.mark.parametrize("seed", range(10))
def test_client_amounts_equal_the_decimal_reference(seed: int) -> None:
    """limit_amounts and market_amounts equal the exact client on random prices and sizes of every grid."""
    rng = random.Random(seed)
    for _ in range(scaled(1_000, 20_000)):
        step = rng.choice(STEPS)
        price = rng.randrange(step, 10_001 - step, step)
        quantity = rng.choice(
            [rng.randrange(10_000, 10**9), rng.randrange(1, 10**13), 10 ** rng.randrange(4, 12)]
        )
        side = rng.choice([Side.BUY, Side.SELL])
        for kind, found in (("limit", limit_amounts(side, price, quantity, step)),
                            ("market", market_amounts(side, price, quantity, step, strict=False))):
            if isinstance(found, Refusal):
                assert found.cause == Cause.BELOW_MINIMUM
                assert quantity < 100_000 or price < 200  # only where rounding leaves nothing or too much
            else:
                assert oracle(kind, side, step, price, quantity) == found, (kind, side, step, price, quantity)


def legal(order_type: OrderType, side: Side, step: int, price: int, size_micro: int) -> bool:
    """Tell by exact fractions whether price and size can be said within the venue's decimals."""
    usd, shares = Fraction(price * size_micro, 10_000), Fraction(size_micro)
    maker, taker = (usd, shares) if side == Side.BUY else (shares, usd)
    if order_type in IMMEDIATE:
        maker_unit, taker_unit = 10_000, 10 ** (6 - min(4, wire.ROUNDING[step][2]))
    else:
        amount_unit = 10 ** (6 - wire.ROUNDING[step][2])
        maker_unit, taker_unit = (amount_unit, 10_000) if side == Side.BUY else (10_000, amount_unit)
    return (maker / maker_unit).denominator == 1 and (taker / taker_unit).denominator == 1


@pytest.mark.parametrize("seed", range(4))
def test_exact_amounts_refuse_what_order_amounts_refuse(seed: int) -> None:
    """Off the grid, of no size, beyond what a record holds: the path's amounts agree with those in words."""
    rng, refused = random.Random(seed), 0
    for _ in range(scaled(20_000, 200_000)):
        step = rng.choice([*STEPS, 0, -1, 2, 5_000])
        price = rng.choice([rng.randrange(-10, 10_011), 100 * rng.randrange(101)])
        size = rng.choice([
            rng.randrange(-10, 10), rng.randrange(10**6), 10**6 * rng.randrange(10**4), 10_000 * 2**53,
            2**63 - rng.randrange(3), 2**63 // 10**8 * 10**8, (2**63 // 10**8 + 1) * 10**8])
        order_type, side = rng.choice([*map(int, OrderType), 9]), rng.randrange(2)
        found = order_amounts(order_type, side, price, size, step)
        refused += isinstance(found, Refusal)
        assert (None if isinstance(found, Refusal) else found) == exact_amounts(
            order_type, side, price, size, step)

    assert refused > 100


@pytest.mark.parametrize("order_type", list(OrderType))
@pytest.mark.parametrize("side", list(Side))
def test_the_size_step_is_the_smallest(order_type: OrderType, side: Side) -> None:
    """No smaller size is legal at any price: the step is found by brute force on a sample of prices."""
    rng = random.Random(f"step{order_type}{side}")
    for step, price in rng.sample(PRICES, 40):
        unit = size_step_micro(order_type, side, price, step)
        atom = 100 if unit % 10_000 else 10_000
        sizes = range(atom, min(unit, 2_000 * atom) + 1, atom)
        smallest = next((size for size in sizes if legal(order_type, side, step, price, size)), None)
        assert smallest in (unit, None)
        assert legal(order_type, side, step, price, unit)
        assert not any(legal(order_type, side, step, price, unit // d) for d in (2, 5) if unit % d == 0)


@pytest.mark.parametrize(("order_type", "side", "price", "size", "step", "expected"), [
    (OrderType.FAK, Side.BUY, 5_200, 250_000, 100, Amounts(130_000, 250_000)),
    (OrderType.FAK, Side.BUY, 3_333, 100_000_000, 1, Amounts(33_330_000, 100_000_000)),
    (OrderType.FOK, Side.SELL, 4_800, 15_500_000, 100, Amounts(15_500_000, 7_440_000)),
    (OrderType.GTC, Side.BUY, 2_900, 100_000_000, 100, Amounts(29_000_000, 100_000_000)),
    (OrderType.GTD, Side.SELL, 25, 7_770_000, 25, Amounts(7_770_000, 19_425)),
    (OrderType.FAK, Side.BUY, 5_000, 1_000, 1000, None),
])
def test_known_orders(order_type: OrderType, side: Side, price: int, size: int, step: int,
                      expected: Amounts | None) -> None:
    """Figures worked by hand: 0.52 x 0.25 = 0.13; 0.3333 needs 100 shares for whole cents."""
    found = order_amounts(order_type, side, price, size, step)

    assert expected == (None if isinstance(found, Refusal) else found)


@pytest.mark.parametrize(
    ("price", "size", "step", "cause"),
    [
        (0, 10**7, 100, Cause.OFF_GRID),
        (99, 10**7, 100, Cause.OFF_GRID),
        (10_000, 10**7, 100, Cause.OFF_GRID),
        (9_901, 10**7, 100, Cause.OFF_GRID),
        (5_250, 10**7, 100, Cause.OFF_GRID),
        (5_000, 10**7, 20, Cause.OFF_GRID),
        (-100, 10**7, 100, Cause.OFF_GRID),
        (5_000, 0, 100, Cause.BELOW_MINIMUM),
        (5_000, -(10**7), 100, Cause.BELOW_MINIMUM),
        (5_000, 9_999, 100, Cause.BELOW_MINIMUM),
        (5_000, 2**63 // 10_000 * 10_000 + 10_000, 100, Cause.LIMIT_ORDER),
    ],
)
def test_what_cannot_be_said_is_refused(price: int, size: int, step: int, cause: Cause) -> None:
    """Off-grid prices, empty and overflowing sizes are values with a cause, never an order."""
    for side in Side:
        found = order_amounts(OrderType.GTC, side, price, size, step)
        assert isinstance(found, Refusal)
        assert cause == found.cause


def test_a_market_buy_never_pays_a_tick_more() -> None:
    """When rounding would lift the encoded price by a tick step the order is refused."""
    for step, price in PRICES[::7]:
        for quantity in (10_000, 20_000, 50_000, 1_000_000):
            found = market_amounts(Side.BUY, price, quantity, step)
            if not isinstance(found, Refusal):
                encoded = Fraction(found.maker_amount * 10_000, found.taker_amount)
                assert price <= encoded < price + step


@pytest.mark.parametrize("seed", range(10))
def test_fees_are_floored_to_ten_micro_usd(seed: int) -> None:
    """The fee is the exact rational cut down to a multiple of 10 micro-USD."""
    rng = random.Random(seed)
    for _ in range(500):
        price, size = rng.randrange(1, 10_000), rng.randrange(1, 10**12)
        rate, exponent = rng.choice([0, 30_000, 40_000, 70_000, 72_000]), rng.choice([0, 1, 1, 2, 3])
        p = Fraction(price, 10_000)
        exact = size * Fraction(rate, 10**6) * (p * (1 - p)) ** exponent
        assert math.floor(exact / 10) * 10 == taker_fee_usd_micro(price, size, rate, exponent)


@pytest.mark.parametrize("seed", range(5))
def test_budget_holds_collateral_and_fee(seed: int) -> None:
    """Collateral plus fee of a budgeted BUY never exceeds the budget, and one cent more would."""
    rng = random.Random(seed)
    for _ in range(300):
        price, budget = rng.randrange(1, 10_000), rng.randrange(10**6, 10**11)
        rate, exponent, bps = rng.choice([0, 40_000, 70_000]), rng.choice([1, 1, 2]), rng.choice([0, 50, 100])
        adjusted = fee_adjusted_usd_micro(10**12, budget, price, rate, exponent, bps)
        p = Fraction(price, 10_000)
        factor = 1 + Fraction(rate, 10**6) * (p * (1 - p)) ** exponent / p + Fraction(bps, 10_000)
        assert adjusted * factor <= budget < (adjusted + 10_000) * factor
        assert min(adjusted, 70_000) == fee_adjusted_usd_micro(70_000, budget, price, rate, exponent, bps)


def test_partial_fills_round_down() -> None:
    """The counter amount of a partial fill is floored, as the contract does; a whole fill is whole."""
    rng = random.Random(3)
    for _ in range(300):
        maker, taker = rng.randrange(1, 10**12), rng.randrange(1, 10**12)
        filled = rng.randrange(0, maker + 1)
        assert math.floor(Fraction(filled * taker, maker)) == counter_amount(maker, taker, filled)
        assert taker == counter_amount(maker, taker, maker)
