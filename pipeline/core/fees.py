"""Taker fees in exact integers: what the venue will charge, and upper bounds for reservations.

Pure arithmetic; reads and writes no records. Source: venues sheet, section 14.1 (Polymarket docs "Fees",
read 2026-11-20): fee = shares * rate * (p * (1 - p)) ** exponent, takers only, floored to 10 uUSD a fill.
"""

from __future__ import annotations

import functools
import math
from array import array

from pipeline.errors import InvariantError
from pipeline.records import OrderType
from pipeline.units import FEE_QUANTUM_USD_MICRO, PPM, TICKS_PER_USD, cost_micro

FEE_EXPONENT_MAX = 2  # the only exponent seen is 1; with more, size * n (`fee_terms`) would leave 128 bits
FEE_RATE_PPM_MAX = PPM  # below 1, price + fee rises with the price, which the bounds below need
UNITS_MAX = 1 << 16  # unit costs remembered: all prices of several fee schedules
TABLES_MAX = 64  # fee schedules whose tables are kept
STEP_FILLED_MIN = 10  # grids of up to 1,000 prices are computed ahead, 4 ms once a schedule
PICO_PER_USD = 10**12  # unit costs: 1e-12 USD a share, so a rounded sum of legs errs by < 1e-11 USD
_TICK_PICO = PICO_PER_USD // TICKS_PER_USD
_BUDGET_TYPES = (int(OrderType.FOK), int(OrderType.FAK))  # spend an amount instead of stopping at shares


def _fraction(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> tuple[int, int]:
    """Return the exact fee in USD micro as (numerator, denominator); refuses impossible metadata."""
    if not (0 <= rate_ppm <= FEE_RATE_PPM_MAX and 0 <= exponent <= FEE_EXPONENT_MAX):
        raise InvariantError(
            f"core.fees: expected a rate of 0..{FEE_RATE_PPM_MAX} ppm, exponent 0..{FEE_EXPONENT_MAX}, "
            f"was {rate_ppm} ppm, {exponent}; check the market's fee schedule")
    if not (0 <= price_ticks <= TICKS_PER_USD and size_micro >= 0):
        raise InvariantError(
            f"core.fees: expected a price of 0..{TICKS_PER_USD} ticks and a size >= 0, "
            f"was {price_ticks} and {size_micro}")
    variance = price_ticks * (TICKS_PER_USD - price_ticks)
    return size_micro * rate_ppm * variance**exponent, PPM * (TICKS_PER_USD * TICKS_PER_USD) ** exponent


@functools.lru_cache(maxsize=UNITS_MAX)
def fee_terms(price_ticks: int, rate_ppm: int, exponent: int) -> tuple[int, int]:
    """Return (n, d): the exact fee of a size is size * n / d quanta of 10 uUSD. Checked once a price."""
    numerator, denominator = _fraction(price_ticks, 1, rate_ppm, exponent)
    common = math.gcd(numerator, denominator * FEE_QUANTUM_USD_MICRO)
    return numerator // common, denominator * FEE_QUANTUM_USD_MICRO // common


def taker_fee_usd_micro(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> int:
    """Return the fee of one fill: exact, floored to 10 uUSD as the venue does.

    Several fills at one price are floored each, so their sum is at most this on the sum.
    """
    numerator, denominator = fee_terms(price_ticks, rate_ppm, exponent)
    if not size_micro >= 0:
        _fraction(price_ticks, size_micro, rate_ppm, exponent)
    return size_micro * numerator // denominator * FEE_QUANTUM_USD_MICRO


def taker_fee_usd_micro_max(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> int:
    """Return the fee rounded up to 10 uUSD.

    With a rate below 1, cost + this also bounds cost + fee of the same shares at any better price.
    """
    numerator, denominator = fee_terms(price_ticks, rate_ppm, exponent)
    if not size_micro >= 0:
        _fraction(price_ticks, size_micro, rate_ppm, exponent)
    return -(-size_micro * numerator // denominator) * FEE_QUANTUM_USD_MICRO


def budget_fee_usd_micro_max(budget_usd_micro: int, tick_step: int, rate_ppm: int, exponent: int) -> int:
    """Return a bound of the fee when a budget buys at any price from one tick step up.

    A FAK BUY spends its budget; at a better price it buys more shares and pays a higher fee:
    budget / p * rate * (p(1-p))**e = budget * rate * p**(e-1) * (1-p)**e, at most budget * rate for e >= 1.
    """
    if not (budget_usd_micro >= 0 and tick_step >= 1):
        raise InvariantError(
            f"core.fees: expected a budget >= 0 and a tick step >= 1, was {budget_usd_micro} and {tick_step}")
    fee_terms(0, rate_ppm, exponent)  # refuses impossible metadata
    if exponent:
        return -(-budget_usd_micro * rate_ppm // PPM)
    return -(-budget_usd_micro * TICKS_PER_USD * rate_ppm // (PPM * tick_step))


def worst_buy_usd_micro(
    order_type: int, price_ticks: int, size_micro: int, tick_step: int, rate_ppm: int, exponent: int,
) -> int:
    """Return the most that a BUY can take from the collateral, fee included: what is reserved for it.

    FAK and FOK spend a budget, GTC and GTD stop at their shares (venue sheet 10.5).
    """
    cost = cost_micro(price_ticks, size_micro)
    if order_type in _BUDGET_TYPES:
        return cost + budget_fee_usd_micro_max(cost, tick_step, rate_ppm, exponent)
    return cost + taker_fee_usd_micro_max(price_ticks, size_micro, rate_ppm, exponent)


@functools.lru_cache(maxsize=UNITS_MAX)
def unit_cost_pico(price_ticks: int, rate_ppm: int, exponent: int) -> int:
    """Return price + fee of one share in 1e-12 USD, rounded up: the U of the detector's sums."""
    numerator, denominator = _fraction(price_ticks, PICO_PER_USD, rate_ppm, exponent)
    return price_ticks * _TICK_PICO - (-numerator // denominator)


Terms = tuple[int, int, int, int]


class FeeTable:
    """All about a price under one fee schedule, computed once a price: `table.at[price] or table.add(price)`.

    (unit cost, most that a budget at this price may take a share: the price and the fee of the best price it
    could get, n, d): the first two 1e-12 USD, rounded up; n / d as `fee_terms` says.
    """

    __slots__ = ("at", "exponent", "rate_ppm", "steps", "units")

    def __init__(self, rate_ppm: int, exponent: int) -> None:
        self.rate_ppm, self.exponent = rate_ppm, exponent
        self.at: list[Terms | None] = [None] * (TICKS_PER_USD + 1)
        self.units = array("q", bytes(8 * (TICKS_PER_USD + 1)))  # the unit costs alone; 0 = not computed
        self.steps: dict[int, None] = {}  # price grids that are filled

    def add(self, price_ticks: int) -> Terms:
        """Compute, keep and return a price's terms."""
        unit, budget = unit_cost_pico(price_ticks, self.rate_ppm, self.exponent), price_ticks * _TICK_PICO
        worst = max(unit, budget + -(-budget * self.rate_ppm // PPM))
        terms = self.at[price_ticks] = (unit, worst, *fee_terms(price_ticks, self.rate_ppm, self.exponent))
        self.units[price_ticks] = unit
        return terms

    def fill(self, tick_step: int) -> None:
        """Compute every price of a grid before it is needed; the finest grid is left to `add`."""
        if tick_step >= STEP_FILLED_MIN and tick_step not in self.steps:
            self.steps[tick_step] = None
            for price_ticks in range(tick_step, TICKS_PER_USD, tick_step):
                if self.at[price_ticks] is None:
                    self.add(price_ticks)


@functools.lru_cache(maxsize=TABLES_MAX)
def fee_table(rate_ppm: int, exponent: int) -> FeeTable:
    """Return the table of a fee schedule; all instruments of one schedule share it."""
    return FeeTable(rate_ppm, exponent)


def unit_proceeds_pico(price_ticks: int, rate_ppm: int, exponent: int) -> int:
    """Return price - fee of one share in 1e-12 USD, rounded down."""
    numerator, denominator = _fraction(price_ticks, PICO_PER_USD, rate_ppm, exponent)
    return price_ticks * _TICK_PICO - -(-numerator // denominator)
