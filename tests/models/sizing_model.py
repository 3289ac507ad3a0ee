"""Slow model of native.sizing: whole packages in plain Python, as `core.sizing` describes them.

Also what tests ask of a package by itself: the loss bound of given orders, and what selling a leg yields.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.core.fees import PICO_PER_USD, Terms
from pipeline.core.legbook import SHARE_LOT_MICRO, Ladder, LegBook
from pipeline.core.sizing import Bounds, Order, Package, Refusal
from pipeline.kinds import Cause, OrderType
from pipeline.units import FEE_QUANTUM_USD_MICRO, MICRO, PPM, TICKS_PER_USD, cost_micro
from tests.models.fees_model import budget_fee_usd_micro_max, worst_buy_usd_micro

_CENTS = TICKS_PER_USD  # hundredths of a share * ticks = 1e-6 USD; a cent is 10,000 of them
_TRIES_MAX = 12  # sizes tried for one package, largest first
_SCALED_PER_USD_MICRO = PICO_PER_USD // MICRO * MICRO  # 1e-12 USD a share * 1e-6 share = 1e-18 USD
_GTC, _FAK = int(OrderType.GTC), int(OrderType.FAK)
#: Hundredths of a share, by price, at which the cost is a whole number of cents.
_LOT_CENTS = tuple(_CENTS // math.gcd(price, _CENTS) for price in range(TICKS_PER_USD))


def price_package(
    legs: Sequence[LegBook], sets_paid: int, bounds: Bounds, *, is_exclusive_no: bool = False,
) -> Package | Refusal:
    """Return the largest package that clears every bound, or why there is none.

    sets_paid: USD paid per share of the whole basket, proven by the caller.
    is_exclusive_no: every leg is the NO of another outcome of one exclusive event, so all but one leg of a
    partial fill pay 1 (a tighter bound of its loss).
    """
    ladders, sizes = _walk(legs, sets_paid, bounds)
    refusal = Refusal(Cause.BELOW_EDGE, 0, bounds.edge_usd_micro_min)
    if not sizes:
        return refusal
    is_first, tries = True, 0
    while sizes and tries < _TRIES_MAX:
        size_micro, tries = sizes.pop(), tries + 1
        priced = _at_size(legs, ladders, size_micro, sets_paid, bounds, is_exclusive_no)
        if isinstance(priced, Package):
            return priced
        if priced.cause in (Cause.LIMIT_ORDER, Cause.LIMIT_PARTIAL_LOSS):
            # Spending and loss grow at least in proportion to the size: the shrunk one fits but for rounding.
            shrunk = size_micro * priced.limit // priced.value // SHARE_LOT_MICRO * SHARE_LOT_MICRO
            if 0 < shrunk < size_micro:
                sizes = [size for size in sizes if size < shrunk] + [shrunk]
        if is_first or refusal.cause == Cause.BELOW_EDGE:
            refusal, is_first = priced, False
    return refusal


def _walk(
    legs: Sequence[LegBook], sets_paid: int, bounds: Bounds,
) -> tuple[list[list[tuple[int, int]]], list[int]]:
    """Return the levels reached of each leg, and the cumulative sizes at which a level ends, ascending.

    Goes on while one more share of each leg costs less than it pays and the spending bounds allow it.
    """
    ladders: list[list[tuple[int, int]]] = []
    sizes: list[int] = []
    left, places = [], []
    terms: list[Terms] = []
    for leg in legs:
        price, size, place = next_level(leg, 0, bounds.levels_max)
        if not price:
            return ladders, sizes
        ladders.append([(price, size)])
        left.append(size)
        places.append(place)
        terms.append(leg.fees.at[price] or leg.fees.add(price))
    if not terms:
        return ladders, sizes
    slack = bounds.package_orders_max * 20  # rounding of fees and reservations, per order
    room = max(0, bounds.package_usd_micro_max - slack) * _SCALED_PER_USD_MICRO
    room_legs = [max(0, bounds.order_usd_micro_max - slack) * _SCALED_PER_USD_MICRO] * len(legs)  # still free
    payout, total = sets_paid * PICO_PER_USD, 0
    while True:
        units = worst = 0
        for unit, unit_worst, _, _ in terms:
            units += unit
            worst += unit_worst
        if units >= payout:
            return ladders, sizes
        step = min(left)
        is_short = room < step * worst
        for term, free in zip(terms, room_legs, strict=True):
            if free < step * term[1]:
                is_short = True
        if is_short:
            fits = min(room // worst, *(
                free // term[1] for term, free in zip(terms, room_legs, strict=True)))
            step_paid = max(0, fits // SHARE_LOT_MICRO * SHARE_LOT_MICRO)
            if step_paid:
                sizes.append(total + step_paid)
            return ladders, sizes
        total += step
        sizes.append(total)
        room -= step * worst
        for number, leg in enumerate(legs):
            room_legs[number] -= step * terms[number][1]
            left[number] -= step
            if left[number] == 0:
                price, size, place = next_level(leg, places[number], bounds.levels_max)
                if not price:
                    return ladders, sizes
                ladders[number].append((price, size))
                left[number], places[number] = size, place
                terms[number] = leg.fees.at[price] or leg.fees.add(price)


def _at_size(
    legs: Sequence[LegBook], ladders: Sequence[Ladder], size_micro: int, sets_paid: int, bounds: Bounds,
    is_exclusive_no: bool,
) -> Package | Refusal:
    """Return the package of about this size: FAK when that costs at most an eighth of the size, else GTC."""
    coarse, fak_size = _fak_ladders(ladders, size_micro)
    is_fak_first = fak_size * 8 >= size_micro * 7
    refusal: Refusal | None = None
    for is_fak in (is_fak_first, not is_fak_first):
        levels, size, order_type = (coarse, fak_size, _FAK) if is_fak else (ladders, size_micro, _GTC)
        if size > 0:
            plan = _planned(legs, levels, size, order_type, bounds)
            found = plan if isinstance(plan, Refusal) else _cleared(
                legs, plan, size, sets_paid, bounds, is_exclusive_no)
            if isinstance(found, Package):
                return found
            refusal = refusal or found
    return refusal or Refusal(Cause.BELOW_EDGE, 0, bounds.edge_usd_micro_min)


def _fak_ladders(ladders: Sequence[Ladder], size_micro: int) -> tuple[Sequence[Ladder], int]:
    """Return the ladders and the size floored to the lot at which every budget is a whole number of cents."""
    lot = math.lcm(*[_LOT_CENTS[price] for ladder in ladders for price, _ in ladder]) * SHARE_LOT_MICRO
    floored: list[Ladder] = []
    reach = size_micro - size_micro % lot
    for ladder in ladders:
        levels = [(price, size - size % lot) for price, size in ladder if size >= lot]
        floored.append(levels)
        depth = 0
        for _, size in levels:
            depth += size
        reach = min(reach, depth)
    return floored, reach


class _Plan(NamedTuple):
    """Orders with what they cost: a package that no limit has looked at."""

    orders: list[Order]
    spends: list[int]  # what each order reserves
    cost_usd_micro: int
    fee_usd_micro: int


def _planned(
    legs: Sequence[LegBook], ladders: Sequence[Ladder], size_micro: int, order_type: int, bounds: Bounds,
) -> _Plan | Refusal:
    """Return the orders of every leg, priced, or the minimum or count that they break."""
    orders: list[Order] = []
    spends: list[int] = []
    cost = fee = 0
    for leg_no, leg in enumerate(legs):
        slices, rest = [], size_micro
        for price, depth in ladders[leg_no]:
            if depth >= rest:
                slices.append((price, rest))
                rest = 0
                break
            if depth > 0:
                slices.append((price, depth))
                rest -= depth
        if rest:
            return Refusal(Cause.BELOW_EDGE, size_micro - rest, size_micro)
        if order_type == _GTC and len(slices) > 1:
            slices = _merged(slices, leg)
        rate, exponent, fees = leg.fee_rate_ppm, leg.fee_exponent, leg.fees
        for price, size in slices:
            paid = -(-price * size // TICKS_PER_USD)
            if paid < leg.usd_micro_min:
                return Refusal(Cause.BELOW_MINIMUM, paid, leg.usd_micro_min)
            cost += paid
            _, _, part, whole = fees.at[price] or fees.add(price)
            charged = size * part
            fee += charged // whole * FEE_QUANTUM_USD_MICRO
            if order_type == _GTC:
                if size < leg.size_micro_min:
                    return Refusal(Cause.BELOW_MINIMUM, size, leg.size_micro_min)
                spends.append(paid - (-charged // whole) * FEE_QUANTUM_USD_MICRO)
            else:
                spends.append(paid + (
                    -(-paid * rate // PPM) if exponent
                    else budget_fee_usd_micro_max(paid, leg.tick_step, rate, exponent)))
            orders.append(Order(leg_no, leg.row, leg.outcome, price, size, order_type))
    if len(orders) > bounds.package_orders_max:
        return Refusal(Cause.TOO_MANY_ORDERS, len(orders), bounds.package_orders_max)
    return _Plan(orders, spends, cost, fee)


def _cleared(
    legs: Sequence[LegBook], plan: _Plan, size_micro: int, sets_paid: int, bounds: Bounds,
    is_exclusive_no: bool,
) -> Package | Refusal:
    """Return the package with the bound of its partial-fill loss, or the limit or edge that it breaks."""
    orders, spends, cost, fee = plan
    per_leg = [0] * len(legs)
    for order, spend in zip(orders, spends, strict=True):
        per_leg[order[0]] += spend
    if not max(per_leg) <= bounds.order_usd_micro_max:
        return Refusal(Cause.LIMIT_ORDER, max(per_leg), bounds.order_usd_micro_max)
    if not sum(spends) <= bounds.package_usd_micro_max:
        return Refusal(Cause.LIMIT_ORDER, sum(spends), bounds.package_usd_micro_max)
    loss = _loss_bound(legs, orders, spends, size_micro, is_exclusive_no)
    if not loss <= bounds.partial_loss_usd_micro_max:
        return Refusal(Cause.LIMIT_PARTIAL_LOSS, loss, bounds.partial_loss_usd_micro_max)
    payout, spent = sets_paid * size_micro, cost + fee
    edge = payout - spent
    if edge >= bounds.edge_usd_micro_min and edge * PPM >= bounds.edge_ppm_min * spent:
        return Package(size_micro, payout, cost, fee, loss, tuple(orders))
    return Refusal(
        Cause.BELOW_EDGE, edge, max(bounds.edge_usd_micro_min, -(-bounds.edge_ppm_min * spent // PPM)))


def _merged(slices: list[tuple[int, int]], leg: LegBook) -> list[tuple[int, int]]:
    """Join slices below a minimum with their neighbour, at the worse of both prices.

    Only for share-targeted orders: they stop at their shares, so a worse limit costs nothing unless needed.
    """
    merged: list[tuple[int, int]] = []
    for price, size in slices:
        if merged and _is_small(*merged[-1], leg):
            merged[-1] = (price, merged[-1][1] + size)
        else:
            merged.append((price, size))
    if len(merged) > 1 and _is_small(*merged[-1], leg):
        price, size = merged.pop()
        merged[-1] = (price, merged[-1][1] + size)
    return merged


def _is_small(price: int, size: int, leg: LegBook) -> bool:
    return size < leg.size_micro_min or cost_micro(price, size) < leg.usd_micro_min


def partial_loss_usd_micro_max(
    legs: Sequence[LegBook], orders: Sequence[Order], size_micro: int, *, is_exclusive_no: bool,
) -> int:
    """Return an upper bound of the loss over every partial fill of the orders, USD micro, >= 0.

    Loss is convex in what fills (linear cost, concave recovery), so its maximum is at a vertex of the box
    [nothing, everything] of the orders (strategy.md 6.3). Two recoveries are bounded in O(orders):
    selling (each share at least at the average of selling the whole leg, because sales are concave), where
    the worst vertex lacks the cheapest order only; and, for NO tokens of exclusive outcomes, holding, where
    all legs but the largest pay. Tested against all 2**n vertices and random interior points.
    """
    spends = []
    for order in orders:
        leg = legs[order.leg_no]
        spends.append(worst_buy_usd_micro(
            order.order_type, order.price_ticks, order.size_micro, leg.tick_step, leg.fee_rate_ppm,
            leg.fee_exponent))
    return _loss_bound(legs, orders, spends, size_micro, is_exclusive_no)


def _loss_bound(
    legs: Sequence[LegBook], orders: Sequence[Order], spends: Sequence[int], size_micro: int,
    is_exclusive_no: bool,
) -> int:
    sales = [sale_usd_micro(leg, size_micro) for leg in legs]
    selling, cheapest = 0, -1
    for order, spend in zip(orders, spends, strict=True):
        loss = spend - sales[order[0]] * order[4] // size_micro
        loss = max(loss, 0)
        selling += loss
        if cheapest < 0 or loss < cheapest:
            cheapest = loss
    selling = selling - cheapest if len(orders) > 1 else 0
    if not is_exclusive_no:
        return selling
    cost_legs, over, over_all = [0] * len(legs), [0] * len(legs), 0
    for order, spend in zip(orders, spends, strict=True):
        cost_legs[order[0]] += spend
        if spend > order[4]:
            over[order[0]] += spend - order[4]
            over_all += spend - order[4]
    holding = max(cost - beyond for cost, beyond in zip(cost_legs, over, strict=True)) + over_all
    return min(selling, holding)


def next_level(leg: LegBook, place: int, levels_max: int) -> tuple[int, int, int]:
    """Return the first usable level from `place` on, floored to the lot: (price, size, place behind it).

    Price 0: there is none. A level off the market's grid, or without a size, ends the ladder.
    """
    asks, step = leg.asks, leg.tick_step
    while place < levels_max:
        if place >= len(asks):
            break
        price, size = asks[place]
        place += 1
        if not (0 < price < TICKS_PER_USD and price % step == 0 and size > 0):
            break
        if size >= SHARE_LOT_MICRO:
            return price, size - size % SHARE_LOT_MICRO, place
    return 0, 0, 0


def sale_usd_micro(leg: LegBook, size_micro: int) -> int:
    """Return what selling the size into the leg's known bids yields after fees; 0 beyond their depth."""
    yielded, rest = 0, size_micro
    fees = leg.fees
    for price, depth in leg.bids:
        sold = depth if depth < rest else rest
        if not (sold > 0 and 0 < price < TICKS_PER_USD):
            break
        _, _, part, whole = fees.at[price] or fees.add(price)
        # Proceeds rounded down, fee rounded up; a fee above the proceeds would make the share worthless.
        gained = price * sold // TICKS_PER_USD + -sold * part // whole * FEE_QUANTUM_USD_MICRO
        if gained > 0:
            yielded += gained
        rest -= sold
        if not rest:
            break
    return yielded
