"""Every legal price of every tick with sizes at the edges of what can be said, judged by exact rationals.

Reads no module that it judges: the decimals of each tick stand here as the venue sheet 10.3 has them. Of a
price, side and type the legal sizes are the multiples of one step, which is found with `Fraction`; what a
size pays then is whole by construction, and is checked to be so.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from pipeline.kinds import OrderType, Side

#: Tick in ticks of 0.0001 -> decimals of the collateral (venue sheet 10.3); shares have two.
DECIMALS = {1000: 3, 100: 4, 50: 5, 25: 6, 10: 5, 1: 6}
CENT_MICRO, TICKS = 10_000, 10_000
TAKER_DECIMALS_MAX = 4  # of FOK and FAK, whatever the tick (venue sheet 10.5)
IMMEDIATE = (OrderType.FOK, OrderType.FAK)
WAYS = [(order_type, side) for order_type in OrderType for side in Side]
SIZES = 200  # at each price, type and side
PRICES = [(step, price) for step in DECIMALS for price in range(step, TICKS, step)]
_FIXED = [
    1, 99, 100, 101, 999, 1_000, 9_900, 9_999, 10_000, 10_001, 10_100, 20_000, 99_999, 100_000, 250_000,
    999_900, 999_999, 1_000_000, 1_000_001, 1_010_000, 2_500_000, 4_990_000, 4_999_999, 5_000_000, 5_000_001,
    5_000_100, 5_010_000, 9_990_000, 10_000_000, 15_500_000, 33_330_000, 99_999_999, 100_000_000, 123_456_789,
    634_490_000, 999_990_000, 999_999_999, 1_000_000_000, 1_000_000_100, 92_790_000_000, 10**12,
    10**12 + 10_000, 10**14 - 1, 10**14, 0, -1, -10_000, -5_000_000]
_MULTIPLES = [
    1, 2, 3, 5, 7, 9, 10, 11, 50, 99, 100, 101, 997, 1_000, 10_007, 65_536, 99_999, 100_000, 123_457]
_NEAR = [-10_000, -100, -1, 0, 1, 100, 10_000, 5_000]


def usd_unit(order_type: OrderType, side: Side, step: int) -> tuple[int, int]:
    """Return the smallest step of (shares, USD) that an order may say, 1e-6 units."""
    decimals = DECIMALS[step]
    if order_type not in IMMEDIATE:
        return CENT_MICRO, 10 ** (6 - decimals)
    fine = 10 ** (6 - min(TAKER_DECIMALS_MAX, decimals))
    return (fine, CENT_MICRO) if side is Side.BUY else (CENT_MICRO, fine)


@dataclass(frozen=True, slots=True)
class Case:
    """One price, type and side with its sizes, and (maker, taker) of each; 0, 0 where it cannot be said."""

    step: int
    price: int
    order_type: OrderType
    side: Side
    size_step: int
    sizes: np.ndarray
    makers: np.ndarray
    takers: np.ndarray


def case_of(
    step: int, price: int, order_type: OrderType, side: Side, rng: random.Random | None = None,
) -> Case:
    """Return the boundary sizes of a price, or as many random ones of every magnitude."""
    share, usd = usd_unit(order_type, side, step)
    size_step = math.lcm(share, Fraction(price, TICKS * usd).denominator)
    if rng is None:
        near = [size_step * many + less for many in _MULTIPLES for less in _NEAR]
        sizes = np.array([*_FIXED, *near], dtype=np.int64)
    else:
        drawn = [rng.randrange(1, 10 ** rng.randrange(3, 15)) for _ in range(SIZES)]
        drawn[::2] = [max(1, size // size_step) * size_step for size in drawn[::2]]
        sizes = np.array(drawn, dtype=np.int64)
    is_legal = (sizes > 0) & (sizes % size_step == 0)
    product = np.where(is_legal, sizes, 0) * price
    if (product % (TICKS * usd)).any() or product.max(initial=0) >= 2**62:
        raise AssertionError(f"{step} {price} {order_type} {side}: step {size_step} is no whole collateral")
    shares, paid = np.where(is_legal, sizes, 0), product // TICKS
    makers, takers = (paid, shares) if side is Side.BUY else (shares, paid)
    return Case(step, price, order_type, side, size_step, sizes, makers, takers)


def slice_of(seed: int, parts: int) -> list[tuple[int, int]]:
    """Return a part of the grid: 1 / parts of each tick's prices, rounded up, drawn with the seed."""
    rng, found = random.Random(seed), []
    for step in DECIMALS:
        prices = range(step, TICKS, step)
        found += [(step, price) for price in sorted(rng.sample(prices, -(-len(prices) // parts)))]
    return found


def cases(prices: list[tuple[int, int]]) -> Iterator[Case]:
    """Yield the boundary cases of these prices, every type and side."""
    for step, price in prices:
        for order_type, side in WAYS:
            yield case_of(step, price, order_type, side)


assert SIZES == len(_FIXED) + len(_MULTIPLES) * len(_NEAR)
