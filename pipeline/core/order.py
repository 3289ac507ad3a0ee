"""One order and one leg group: what is known of them. Their transitions live in `orders`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pipeline.kinds import OrderState, OrderType, Side

NO_HASH = bytes(32)


@dataclass(slots=True)
class Order:
    """One intent and all that is known of it."""

    order_no: int
    group_no: int
    row: int
    event: int
    outcome: int
    side: int
    order_type: int
    price_ticks: int
    size_micro: int
    budget_usd_micro: int  # what a BUY gives at most, fee apart
    worst_usd_micro: int  # reserved collateral, fee included
    intent_class: int
    leg_no: int
    cancel_rest: int
    intended_ns: int
    timeout_ns: int  # unanswered then: UNKNOWN
    state: int = int(OrderState.INTENDED)
    order_hash: bytes = NO_HASH
    cause: int = 0
    sent_ns: int = 0
    changed_ns: int = 0  # last change of state
    filled_micro: int = 0
    filled_usd_micro: int = 0
    fee_usd_micro: int = 0
    voided_micro: int = 0  # fills that failed to settle: matched, and not ours
    claim_micro: int = -1  # shares that the venue says matched; -1 = it never said
    is_final: bool = False  # the claim will not grow
    is_closed: bool = False
    reserved_usd_micro: int = 0
    cancel_ns: int = 0  # last cancel asked for
    cancel_refused_ns: int = 0
    seen_open_ns: int = 0  # last reconcile that listed it as open

    @property
    def is_budget(self) -> bool:
        """Tell whether the order spends an amount (FAK, FOK) instead of stopping at its shares."""
        return self.order_type in (OrderType.FAK, OrderType.FOK)

    @property
    def spent_usd_micro(self) -> int:
        """Return what its fills took from the collateral."""
        return self.filled_usd_micro + self.fee_usd_micro if self.side == Side.BUY else 0


@dataclass(slots=True)
class Group:
    """The orders of one package."""

    group_no: int
    basket: int
    event: int
    leg_count: int
    size_micro: int
    opened_ns: int
    open_count: int = 0
    residue: list[list[int]] = field(default_factory=list)  # [row, USD micro] that were counted of it
    orders: list[int] = field(default_factory=list)


_ORDER_FIELDS = tuple(item.name for item in fields(Order))
_GROUP_FIELDS = tuple(item.name for item in fields(Group))
_HASH_PLACE = _ORDER_FIELDS.index("order_hash")


def residue_of(group: Group, orders: Mapping[int, Order]) -> dict[int, int]:
    """Return, per market, the cost of the shares that the group holds beyond the equal part of every leg."""
    shares, cost, rows = [0] * group.leg_count, [0] * group.leg_count, [0] * group.leg_count
    for number in group.orders:
        order = orders.get(number)
        if order is not None:
            shares[order.leg_no] += order.filled_micro
            cost[order.leg_no] += order.spent_usd_micro
            rows[order.leg_no] = order.row
    residue: dict[int, int] = {}
    even = min(shares)
    for filled, spent, row in zip(shares, cost, rows, strict=True):
        if filled > even:
            residue[row] = residue.get(row, 0) - (-spent * (filled - even) // filled)
    return residue


def residue_change(group: Group, orders: Mapping[int, Order]) -> dict[int, int]:
    """Note what the group's residue is now; return by how much each market's changed since it was noted."""
    now = residue_of(group, orders)
    before: dict[int, int] = {row: usd_micro for row, usd_micro in group.residue}  # noqa: C416
    group.residue = [[row, usd_micro] for row, usd_micro in now.items()]
    return {row: now.get(row, 0) - before.get(row, 0) for row in {**before, **now}}


def order_state(order: Order) -> list[Any]:
    """Return the order as JSON values."""
    values = [getattr(order, name) for name in _ORDER_FIELDS]
    values[_HASH_PLACE] = order.order_hash.hex()
    return values


def order_from(state: list[Any]) -> Order:
    """Return the order that `order_state` described."""
    values = list(state)
    values[_HASH_PLACE] = bytes.fromhex(values[_HASH_PLACE])
    return Order(*values)


def group_state(group: Group) -> list[Any]:
    """Return the group as JSON values."""
    return [list(value) if isinstance(value, list) else value for value in (
        getattr(group, name) for name in _GROUP_FIELDS)]


def group_from(state: list[Any]) -> Group:
    """Return the group that `group_state` described."""
    values: list[Any] = [list(value) if isinstance(value, list) else value for value in state]
    return Group(*values)
