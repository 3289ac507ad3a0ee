"""Slow model of native.gate: what a proposal's orders cost and reserve, in plain Python integers of any size.

Every test names itself, so that a property test can count how often each of them was the one that refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.fees import fee_terms
from pipeline.core.legbook import SHARE_LOT_MICRO, LegBook
from pipeline.core.sizing import BUDGET_LOT_USD_MICRO
from pipeline.errors import InvariantError
from pipeline.kinds import Cause, OrderType, Side
from pipeline.units import FEE_QUANTUM_USD_MICRO, TICKS_PER_USD
from tests.models.fees_model import worst_buy_usd_micro

SIZE_MICRO_MAX = 1 << 57
LEG_COUNT_MAX = 255  # one byte of a record, and 0 is none
I64_MAX = (1 << 63) - 1

Wanted = tuple[int, int, int, int, int, int, int]
Token = tuple[int, int]  # (row, outcome)
Judged = tuple[str, tuple[Any, ...]]  # name of the test that decided, and what the gate answers


def price_orders(
    orders: tuple[Wanted, ...], rules: Mapping[int, LegBook], leg_count: int, size_micro: int,
) -> tuple[Any, ...]:
    """Return (0, paid, worst, cost, fee, worst by row, tokens, worst of a leg), or (cause, value, limit)."""
    return judged(orders, rules, leg_count, size_micro)[1]


def judged(
    orders: tuple[Wanted, ...], rules: Mapping[int, LegBook], leg_count: int, size_micro: int,
) -> Judged:
    """Return the answer with the name of the test that decided it, "taken" when none refused.

    A number of an order beyond 64 bits counts as the largest (or least) of them, as no record carries it.
    """
    if not 1 <= leg_count <= LEG_COUNT_MAX:
        raise InvariantError(f"gate_model: 1..{LEG_COUNT_MAX} legs expected, were {leg_count}")
    orders = tuple(_carried(order) for order in orders)
    for order in orders:
        fault = _fault(order, rules[order[1]])
        if fault is not None:
            return fault
    legs: dict[int, list[Wanted]] = {leg_no: [] for leg_no in range(leg_count)}
    tokens: dict[int, Token] = {}
    for order in orders:
        leg_no, row, outcome = order[:3]
        if leg_no not in legs or tokens.setdefault(leg_no, (row, outcome)) != (row, outcome):
            return _refused("leg", Cause.NOT_PROVEN, leg_no, leg_count)
        legs[leg_no].append(order)
    shares = [sum(order[6] for order in held) for held in legs.values()]
    if any(held != size_micro for held in shares):
        return _refused("shares", Cause.NOT_PROVEN, min(shares), size_micro)
    per_row: dict[int, int] = {}
    for order in orders:
        per_row[order[1]] = per_row.get(order[1], 0) + _worst(order, rules)
    return "taken", (
        int(Cause.NONE), [_paid(order) for order in orders], [_worst(order, rules) for order in orders],
        sum(_paid(order) for order in orders), sum(_fee(order, rules) for order in orders), per_row,
        tuple(tokens.values()), max(sum(_worst(order, rules) for order in held) for held in legs.values()))


def _carried(order: Wanted) -> Wanted:
    leg_no, row, outcome, side, order_type, price_ticks, size_micro = (
        max(-I64_MAX - 1, min(I64_MAX, field)) for field in order)
    return leg_no, row, outcome, side, order_type, price_ticks, size_micro


def _fault(order: Wanted, leg: LegBook) -> Judged | None:
    """Return what the venue would not take of this order, None when it would take it."""
    _, _, _, side, order_type, price_ticks, size_micro = order
    is_fak, paid = order_type == OrderType.FAK, _paid(order)
    if side != Side.BUY:
        return _refused("side", Cause.NOT_PROVEN, side, order_type)
    if order_type not in (OrderType.FAK, OrderType.GTC):
        return _refused("type", Cause.NOT_PROVEN, side, order_type)
    if price_ticks not in range(1, TICKS_PER_USD) or price_ticks % leg.tick_step:
        return _refused("price", Cause.OFF_GRID, price_ticks, leg.tick_step)
    if size_micro <= 0 or size_micro % SHARE_LOT_MICRO:
        return _refused("size", Cause.OFF_GRID, size_micro, SHARE_LOT_MICRO)
    if size_micro > SIZE_MICRO_MAX:
        return _refused("size max", Cause.LIMIT_ORDER, size_micro, SIZE_MICRO_MAX)
    if is_fak and paid % BUDGET_LOT_USD_MICRO:
        return _refused("cents", Cause.OFF_GRID, paid, BUDGET_LOT_USD_MICRO)
    if paid < leg.usd_micro_min:
        return _refused("usd min", Cause.BELOW_MINIMUM, paid, leg.usd_micro_min)
    if not is_fak and size_micro < leg.size_micro_min:
        return _refused("size min", Cause.BELOW_MINIMUM, size_micro, leg.size_micro_min)
    return None


def _refused(name: str, cause: Cause, value: int, limit: int) -> Judged:
    return name, (int(cause), value, limit)


def _paid(order: Wanted) -> int:
    """Return the cost of an order without its fee, rounded up."""
    return -(-order[5] * order[6] // TICKS_PER_USD)


def _worst(order: Wanted, rules: Mapping[int, LegBook]) -> int:
    """Return the most that an order takes from the collateral."""
    _, row, _, _, order_type, price_ticks, size_micro = order
    leg = rules[row]
    return worst_buy_usd_micro(
        order_type, price_ticks, size_micro, leg.tick_step, leg.fee_rate_ppm, leg.fee_exponent)


def _fee(order: Wanted, rules: Mapping[int, LegBook]) -> int:
    """Return the fee of an order that fills at its limit, floored as the venue does."""
    leg = rules[order[1]]
    part, whole = fee_terms(order[5], leg.fee_rate_ppm, leg.fee_exponent)
    return order[6] * part // whole * FEE_QUANTUM_USD_MICRO
