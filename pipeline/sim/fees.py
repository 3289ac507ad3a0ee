"""The taker fee: shares * rate * (p * (1 - p)) ** exponent, floored to 10 uUSD.

Source: venue sheet 14.1 (flooring: 21 of 21 settled fills, September 2026). Makers pay nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from pipeline.sim.market import Market
from pipeline.units import FEE_QUANTUM_USD_MICRO, PPM, TICKS_PER_USD


def fee_exact_micro(market: Market, price_ticks: int, size_micro: int) -> Fraction:
    """Return the unrounded fee in USD micro; the same for either token of the market (p and 1 - p)."""
    variance = Fraction(price_ticks * (TICKS_PER_USD - price_ticks), TICKS_PER_USD**2)
    return Fraction(size_micro * market.fee_rate_ppm, PPM) * variance**market.fee_exponent


def floor_fee_micro(exact_micro: Fraction) -> int:
    """Return the fee as charged: floored to whole 10 uUSD."""
    return exact_micro // FEE_QUANTUM_USD_MICRO * FEE_QUANTUM_USD_MICRO


def fees_micro(market: Market, fills: Iterable[tuple[int, int]], per_order: bool) -> list[int]:
    """Return the fee of each (price_ticks, size_micro); the whole sits on the last one if `per_order`."""
    exact = [fee_exact_micro(market, price, size) for price, size in fills]
    if not per_order or not exact:
        return [floor_fee_micro(fee) for fee in exact]
    return [0] * (len(exact) - 1) + [floor_fee_micro(sum(exact, Fraction(0)))]
