"""How many equal shares of a basket to buy, at which prices, with which orders.

Pure: ladders in, a priced package or a refusal out. Walks all ladders together by their marginal sum
(strategy.md 6.1), rounds down to a common lot, prices every order with exact fees and checks the edge again.

Orders: one FAK per price level where its collateral amount is exact (2 decimals of USD, so the budget buys
the shares and no others), else share-targeted GTC orders whose rest is cancelled (venue sheet 10.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.fees import (
    PICO_PER_USD,
    taker_fee_usd_micro,
    taker_fee_usd_micro_max,
    unit_cost_pico,
    worst_buy_usd_micro,
)
from pipeline.records import Cause, OrderType
from pipeline.units import MICRO, PPM, TICKS_PER_USD, cost_micro, proceeds_micro

Ladder = Sequence[tuple[int, int]]  # (price_ticks, size_micro), best first

SHARE_LOT_MICRO = 10_000  # 2 decimals of a share, on every tick size (venue sheet 10.3)
BUDGET_LOT_USD_MICRO = 10_000  # FAK and FOK amounts have 2 decimals of USD
_CENTS = TICKS_PER_USD  # hundredths of a share * ticks = 1e-6 USD; a cent is 10,000 of them
_TRIES_MAX = 12  # sizes tried for one package, largest first
_SCALED_PER_USD_MICRO = PICO_PER_USD // MICRO * MICRO  # 1e-12 USD a share * 1e-6 share = 1e-18 USD


@dataclass(frozen=True, slots=True)
class LegBook:
    """One token to buy: its ladders (own view: NO levels for a NO token) and the market's rules."""

    row: int
    outcome: int
    asks: Ladder
    bids: Ladder
    fee_rate_ppm: int
    fee_exponent: int
    tick_step: int
    size_micro_min: int
    usd_micro_min: int


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one package; all above zero."""

    order_usd_micro_max: int  # all orders of one leg, fees included
    package_usd_micro_max: int
    partial_loss_usd_micro_max: int
    package_orders_max: int
    levels_max: int
    edge_usd_micro_min: int
    edge_ppm_min: int


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a package: buy `size_micro` of the token at `price_ticks` or better."""

    leg_no: int
    row: int
    outcome: int
    price_ticks: int
    size_micro: int
    order_type: int


@dataclass(frozen=True, slots=True)
class Package:
    """A priced package: equal shares of every leg."""

    size_micro: int
    payout_usd_micro: int
    cost_usd_micro: int
    fee_usd_micro: int
    partial_loss_usd_micro: int
    orders: tuple[Order, ...]

    @property
    def edge_usd_micro(self) -> int:
        return self.payout_usd_micro - self.cost_usd_micro - self.fee_usd_micro


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no package."""

    cause: Cause
    value: int
    limit: int


def price_package(
    legs: Sequence[LegBook], sets_paid: int, bounds: Bounds, *, is_exclusive_no: bool = False,
) -> Package | Refusal:
    """Return the largest package that clears every bound, or why there is none.

    sets_paid: USD paid per share of the whole basket, proven by the caller.
    is_exclusive_no: every leg is the NO of another outcome of one exclusive event, so all but one leg of a
    partial fill pay 1 (a tighter bound of its loss).
    """
    ladders = [_usable(leg, bounds.levels_max, SHARE_LOT_MICRO) for leg in legs]
    sizes, used = _walk(legs, ladders, sets_paid, bounds)
    refusal = Refusal(Cause.BELOW_EDGE, 0, bounds.edge_usd_micro_min)
    if not sizes:
        return refusal
    is_first, tries = True, 0
    while sizes and tries < _TRIES_MAX:
        size_micro, tries = sizes.pop(), tries + 1
        priced = _at_size(legs, ladders, used, size_micro, sets_paid, bounds, is_exclusive_no)
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


def _usable(leg: LegBook, levels_max: int, lot_micro: int) -> list[tuple[int, int]]:
    """Return the first levels, on the market's grid, floored to the lot; nothing behind an off-grid level."""
    levels: list[tuple[int, int]] = []
    for price, size in leg.asks[:levels_max]:
        if not (0 < price < TICKS_PER_USD and price % leg.tick_step == 0):
            break
        floored = size // lot_micro * lot_micro
        if floored > 0:
            levels.append((price, floored))
    return levels


def _walk(
    legs: Sequence[LegBook], ladders: Sequence[Ladder], sets_paid: int, bounds: Bounds,
) -> tuple[list[int], list[int]]:
    """Return the cumulative sizes at which a level ends, ascending, and the number of levels used per leg.

    Goes on while one more share of each leg costs less than it pays and the spending bounds allow it.
    """
    count = len(legs)
    place, left = [0] * count, [ladder[0][1] if ladder else 0 for ladder in ladders]
    if not count or 0 in left:
        return [], place
    spent, spent_legs = 0, [0] * count
    slack = bounds.package_orders_max * 20  # rounding of fees and reservations, per order
    room = max(0, bounds.package_usd_micro_max - slack) * _SCALED_PER_USD_MICRO
    room_leg = max(0, bounds.order_usd_micro_max - slack) * _SCALED_PER_USD_MICRO
    payout, total, sizes = sets_paid * PICO_PER_USD, 0, []
    while True:
        units, worst = [], []
        for leg, ladder, at in zip(legs, ladders, place, strict=True):
            price = ladder[at][0]
            units.append(unit_cost_pico(price, leg.fee_rate_ppm, leg.fee_exponent))
            # What a FAK at this level may spend: its budget and the fee of the best price it could get.
            budget = price * (PICO_PER_USD // TICKS_PER_USD)
            worst.append(max(units[-1], budget + -(-budget * leg.fee_rate_ppm // PPM)))
        if sum(units) >= payout:
            break
        step = min(left)
        fits = min((room - spent) // sum(worst), *(
            (room_leg - spent_leg) // unit for spent_leg, unit in zip(spent_legs, worst, strict=True)))
        step_paid = max(0, min(step, fits // SHARE_LOT_MICRO * SHARE_LOT_MICRO))
        if step_paid:
            total += step_paid
            sizes.append(total)
        if step_paid < step:
            break
        spent += step * sum(worst)
        spent_legs = [done + step * unit for done, unit in zip(spent_legs, worst, strict=True)]
        left = [rest - step for rest in left]
        for number, ladder in enumerate(ladders):
            if left[number] == 0:
                place[number] += 1
                if place[number] == len(ladder):
                    return sizes, [
                        min(at + 1, len(levels)) for at, levels in zip(place, ladders, strict=True)]
                left[number] = ladder[place[number]][1]
    return sizes, [at + 1 for at in place]


def _at_size(
    legs: Sequence[LegBook], ladders: Sequence[Ladder], used: Sequence[int], size_micro: int, sets_paid: int,
    bounds: Bounds, is_exclusive_no: bool,
) -> Package | Refusal:
    """Return the package of about this size: FAK when that costs at most an eighth of the size, else GTC."""
    coarse, fak_size = _fak_ladders(legs, ladders, used, size_micro)
    fak = (coarse, fak_size, OrderType.FAK)
    gtc = (ladders, size_micro, OrderType.GTC)
    plans = (fak, gtc) if fak_size * 8 >= size_micro * 7 else (gtc, fak)
    refusal: Refusal | None = None
    for levels, size, order_type in plans:
        if not size > 0:
            continue
        orders = _orders(legs, levels, size, order_type, bounds)
        if isinstance(orders, Refusal):
            refusal = refusal or orders
            continue
        spends = _spends(legs, orders)
        priced = _priced(legs, orders, spends, size, sets_paid, is_exclusive_no)
        over = _over(priced, spends, len(legs), bounds)
        if over is not None:
            refusal = refusal or over
            continue
        edge, spend = priced.edge_usd_micro, priced.cost_usd_micro + priced.fee_usd_micro
        if edge >= bounds.edge_usd_micro_min and edge * PPM >= bounds.edge_ppm_min * spend:
            return priced
        refusal = refusal or Refusal(
            Cause.BELOW_EDGE, edge, max(bounds.edge_usd_micro_min, -(-bounds.edge_ppm_min * spend // PPM)))
    return refusal or Refusal(Cause.BELOW_EDGE, 0, bounds.edge_usd_micro_min)


def _fak_ladders(
    legs: Sequence[LegBook], ladders: Sequence[Ladder], used: Sequence[int], size_micro: int,
) -> tuple[list[Ladder], int]:
    """Return the ladders and the size floored to the lot at which every budget is a whole number of cents."""
    lot_cents = 1
    for ladder, count in zip(ladders, used, strict=True):
        for price, _ in ladder[:count]:
            lot_cents = math.lcm(lot_cents, _CENTS // math.gcd(price, _CENTS))
    lot = lot_cents * SHARE_LOT_MICRO
    floored: list[Ladder] = [
        [(price, size // lot * lot) for price, size in ladder[:count] if size >= lot]
        for ladder, count in zip(ladders, used, strict=True)]
    reach = min(sum(size for _, size in ladder) for ladder in floored)
    return floored, min(size_micro // lot * lot, reach)


def _orders(
    legs: Sequence[LegBook], ladders: Sequence[Ladder], size_micro: int, order_type: OrderType,
    bounds: Bounds,
) -> tuple[Order, ...] | Refusal:
    """Return the orders of every leg, or the minimum or count that they break."""
    orders: list[Order] = []
    for leg_no, (leg, ladder) in enumerate(zip(legs, ladders, strict=True)):
        slices, rest = [], size_micro
        for price, depth in ladder:
            taken = min(depth, rest)
            if taken > 0:
                slices.append((price, taken))
            rest -= taken
        if rest:
            return Refusal(Cause.BELOW_EDGE, size_micro - rest, size_micro)
        if order_type == OrderType.GTC:
            slices = _merged(slices, leg)
        for price, size in slices:
            if cost_micro(price, size) < leg.usd_micro_min:
                return Refusal(Cause.BELOW_MINIMUM, cost_micro(price, size), leg.usd_micro_min)
            if order_type == OrderType.GTC and size < leg.size_micro_min:
                return Refusal(Cause.BELOW_MINIMUM, size, leg.size_micro_min)
            orders.append(Order(leg_no, leg.row, leg.outcome, price, size, int(order_type)))
    if len(orders) > bounds.package_orders_max:
        return Refusal(Cause.TOO_MANY_ORDERS, len(orders), bounds.package_orders_max)
    return tuple(orders)


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


def _spends(legs: Sequence[LegBook], orders: Sequence[Order]) -> list[int]:
    """Return what each order reserves: a budget order at a better price pays a higher fee."""
    return [
        worst_buy_usd_micro(
            order.order_type, order.price_ticks, order.size_micro, leg.tick_step, leg.fee_rate_ppm,
            leg.fee_exponent)
        for order in orders for leg in (legs[order.leg_no],)]


def _over(priced: Package, spends: Sequence[int], leg_count: int, bounds: Bounds) -> Refusal | None:
    """Return the spending or loss limit that the package breaks (merged orders cost more than the walk)."""
    per_leg = [0] * leg_count
    for order, spend in zip(priced.orders, spends, strict=True):
        per_leg[order.leg_no] += spend
    for value, limit, cause in (
        (max(per_leg), bounds.order_usd_micro_max, Cause.LIMIT_ORDER),
        (sum(spends), bounds.package_usd_micro_max, Cause.LIMIT_ORDER),
        (priced.partial_loss_usd_micro, bounds.partial_loss_usd_micro_max, Cause.LIMIT_PARTIAL_LOSS),
    ):
        if not value <= limit:
            return Refusal(cause, value, limit)
    return None


def _priced(
    legs: Sequence[LegBook], orders: tuple[Order, ...], spends: Sequence[int], size_micro: int,
    sets_paid: int, is_exclusive_no: bool,
) -> Package:
    """Return the package with exact costs, fees and the bound of its partial-fill loss."""
    cost = fee = 0
    for order in orders:
        leg = legs[order.leg_no]
        cost += cost_micro(order.price_ticks, order.size_micro)
        fee += taker_fee_usd_micro(order.price_ticks, order.size_micro, leg.fee_rate_ppm, leg.fee_exponent)
    loss = _loss_bound(legs, orders, spends, size_micro, is_exclusive_no)
    return Package(size_micro, sets_paid * size_micro, cost, fee, loss, orders)


def sale_usd_micro(leg: LegBook, size_micro: int) -> int:
    """Return what selling the size into the leg's known bids yields after fees; 0 beyond their depth."""
    yielded, rest = 0, size_micro
    for price, depth in leg.bids:
        sold = min(depth, rest)
        if not (sold > 0 and 0 < price < TICKS_PER_USD):
            break
        fee = taker_fee_usd_micro_max(price, sold, leg.fee_rate_ppm, leg.fee_exponent)
        yielded += max(0, proceeds_micro(price, sold) - fee)
        rest -= sold
    return yielded


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
    return _loss_bound(legs, orders, _spends(legs, orders), size_micro, is_exclusive_no)


def _loss_bound(
    legs: Sequence[LegBook], orders: Sequence[Order], spends: Sequence[int], size_micro: int,
    is_exclusive_no: bool,
) -> int:
    losses: list[int] = []
    cost_legs, over = [0] * len(legs), [0] * len(legs)
    sales = [sale_usd_micro(leg, size_micro) for leg in legs]
    for order, spend in zip(orders, spends, strict=True):
        losses.append(max(0, spend - sales[order.leg_no] * order.size_micro // size_micro))
        cost_legs[order.leg_no] += spend
        over[order.leg_no] += max(0, spend - order.size_micro)
    selling = sum(losses) - min(losses) if len(losses) > 1 else 0
    if not is_exclusive_no:
        return selling
    holding = max(cost + sum(over) - over[number] for number, cost in enumerate(cost_legs))
    return min(selling, holding)
