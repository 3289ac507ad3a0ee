"""What follows from the fee terms of a price, in plain Python: bounds of a fee, and what must be reserved.

The native modules compute the same; test_core_fees holds this against exact fractions.
"""

from __future__ import annotations

from pipeline.core.fees import fee_terms
from pipeline.errors import InvariantError
from pipeline.kinds import OrderType
from pipeline.units import FEE_QUANTUM_USD_MICRO, PPM, TICKS_PER_USD, cost_micro

_BUDGET_TYPES = (int(OrderType.FOK), int(OrderType.FAK))  # spend an amount instead of stopping at shares


def taker_fee_usd_micro_max(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> int:
    """Return the fee rounded up to 10 uUSD.

    With a rate below 1, cost + this also bounds cost + fee of the same shares at any better price.
    """
    numerator, denominator = fee_terms(price_ticks, rate_ppm, exponent)
    return -(-size_micro * numerator // denominator) * FEE_QUANTUM_USD_MICRO


def budget_fee_usd_micro_max(budget_usd_micro: int, tick_step: int, rate_ppm: int, exponent: int) -> int:
    """Return a bound of the fee when a budget buys at any price from one tick step up.

    A FAK BUY spends its budget; at a better price it buys more shares and pays a higher fee:
    budget / p * rate * (p(1-p))**e = budget * rate * p**(e-1) * (1-p)**e, at most budget * rate for e >= 1.
    """
    if not (budget_usd_micro >= 0 and tick_step >= 1):
        raise InvariantError(
            f"fees_model: a budget >= 0 and a tick step >= 1 expected, was {budget_usd_micro}, {tick_step}")
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
