"""Taker fees in exact integers: what the venue will charge, and the terms of every price for native code.

Pure; reads and writes no records. What is reserved follows from the terms in `native/sizing` and `gate`.
Source: venues sheet, section 14.1 (Polymarket docs "Fees", read 2026-11-20): fee = shares * rate *
(p * (1 - p)) ** exponent, takers only, floored to 10 uUSD a fill.
"""

from __future__ import annotations

import functools
import math

from pipeline.errors import InvariantError
from pipeline.native.legs import SCALES, FeeTerms
from pipeline.units import FEE_QUANTUM_USD_MICRO, PPM, TICKS_PER_USD

FEE_EXPONENT_MAX = 2  # the only exponent seen is 1; with more, size * n (`fee_terms`) would leave 128 bits
FEE_RATE_PPM_MAX = PPM  # below 1, price + fee rises with the price, which the bounds below need
UNITS_MAX = 1 << 16  # unit costs remembered: all prices of several fee schedules
TABLES_MAX = 64  # fee schedules whose tables are kept
STEP_FILLED_MIN = 10  # grids of up to 1,000 prices are computed ahead, 4 ms once a schedule
PICO_PER_USD = 10**12  # unit costs: 1e-12 USD a share, so a rounded sum of legs errs by < 1e-11 USD
_TICK_PICO = PICO_PER_USD // TICKS_PER_USD
assert (TICKS_PER_USD, PPM, FEE_EXPONENT_MAX) == SCALES


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


@functools.lru_cache(maxsize=UNITS_MAX)
def unit_cost_pico(price_ticks: int, rate_ppm: int, exponent: int) -> int:
    """Return price + fee of one share in 1e-12 USD, rounded up: the U of the detector's sums."""
    numerator, denominator = _fraction(price_ticks, PICO_PER_USD, rate_ppm, exponent)
    return price_ticks * _TICK_PICO - (-numerator // denominator)


Terms = tuple[int, int, int, int]


class FeeTable(FeeTerms):
    """All about a price under one fee schedule, computed once a price: `table.at[price] or table.add(price)`.

    (unit cost, most that a budget at this price may take a share: the price and the fee of the best price it
    could get, n, d): the first two 1e-12 USD, rounded up; n / d as `fee_terms` says.
    """

    __slots__ = ("at", "exponent", "rate_ppm", "steps")

    def __init__(self, rate_ppm: int, exponent: int) -> None:
        self.rate_ppm, self.exponent = rate_ppm, exponent
        self.at: list[Terms | None] = [None] * (TICKS_PER_USD + 1)
        self.steps: dict[int, None] = {}  # price grids that are filled

    def add(self, price_ticks: int) -> Terms:
        """Compute, keep and return a price's terms."""
        unit, budget = unit_cost_pico(price_ticks, self.rate_ppm, self.exponent), price_ticks * _TICK_PICO
        worst = max(unit, budget + -(-budget * self.rate_ppm // PPM))
        terms = self.at[price_ticks] = (unit, worst, *fee_terms(price_ticks, self.rate_ppm, self.exponent))
        self.put(price_ticks, *terms)
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
