"""core.orders: the state machine as a table, UNKNOWN only by evidence, closing only with all fills."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.core.order import Group, Order, residue_of
from pipeline.core.orders import UNKNOWN_FINAL_NS, Orders
from pipeline.core.reservations import DUST_MICRO
from pipeline.kinds import Cause, OrderState, OrderType, Origin
from pipeline.units import MICRO, NS_PER_S
from tests.models.core_rig import T0_NS, hash_of, report

S = OrderState
SIZE = 10 * MICRO


def book(order_type: int = OrderType.FAK, count: int = 1, **changes: Any) -> Orders:
    """Return `count` intended orders of one group, one a leg."""
    orders = Orders()
    orders.open_group(Group(1, 9, 1, count, SIZE, T0_NS))
    for number in range(1, count + 1):
        values: dict[str, Any] = {
            "order_no": number,
            "group_no": 1,
            "row": number,
            "event": 1,
            "outcome": 0,
            "side": 0,
            "order_type": int(order_type),
            "price_ticks": 4_000,
            "size_micro": SIZE,
            "budget_usd_micro": 4 * MICRO,
            "worst_usd_micro": 4_200_000,
            "intent_class": 0,
            "leg_no": number - 1,
            "cancel_rest": int(order_type == OrderType.GTC),
            "intended_ns": T0_NS,
            "timeout_ns": T0_NS + 3 * NS_PER_S,
        }
        orders.intend(Order(**{**values, **changes}))
    return orders


def tell(
    orders: Orders, state: OrderState, origin: Origin = Origin.HTTP, number: int = 1, **changes: Any
) -> Order:
    order, _ = orders.on_report(unpack(report(number, state, origin, **changes)))
    assert order is not None
    return order


def sent(order_type: int = OrderType.FAK, count: int = 1) -> Orders:
    orders = book(order_type, count)
    for number in range(1, count + 1):
        tell(orders, S.SENT, Origin.GATEWAY, number)
    return orders


def put(orders: Orders, order: Order, state: OrderState) -> None:
    """Bring an order into a state by reports that lead there."""
    path = {
        S.INTENDED: [],
        S.SENT: [(S.SENT, Origin.GATEWAY)],
        S.LIVE: [(S.SENT, Origin.GATEWAY), (S.LIVE, Origin.HTTP)],
        S.DELAYED: [(S.SENT, Origin.GATEWAY), (S.DELAYED, Origin.HTTP)],
        S.UNKNOWN: [(S.SENT, Origin.GATEWAY), (S.UNKNOWN, Origin.GATEWAY)],
        S.REJECTED: [(S.SENT, Origin.GATEWAY), (S.REJECTED, Origin.HTTP)],
        S.UNSENT: [(S.UNSENT, Origin.SIGNER)],
        S.CANCELED: [(S.SENT, Origin.GATEWAY), (S.LIVE, Origin.HTTP), (S.CANCELED, Origin.USER_CHANNEL)],
    }
    for step, origin in path[state]:
        tell(orders, step, origin)
    assert state == order.state


TABLE = [
    # from, told, by, becomes
    (S.INTENDED, S.SENT, Origin.GATEWAY, S.SENT),
    (S.INTENDED, S.UNSENT, Origin.SIGNER, S.UNSENT),
    (S.INTENDED, S.DRY, Origin.GATEWAY, S.DRY),
    (S.INTENDED, S.LIVE, Origin.USER_CHANNEL, S.LIVE),
    (S.SENT, S.LIVE, Origin.HTTP, S.LIVE),
    (S.SENT, S.DELAYED, Origin.HTTP, S.DELAYED),
    (S.SENT, S.REJECTED, Origin.HTTP, S.REJECTED),
    (S.SENT, S.UNKNOWN, Origin.GATEWAY, S.UNKNOWN),
    (S.SENT, S.UNSENT, Origin.GATEWAY, S.UNSENT),
    (S.SENT, S.UNSENT, Origin.SIGNER, S.SENT),
    (S.SENT, S.REJECTED, Origin.GATEWAY, S.SENT),
    (S.SENT, S.CANCELED, Origin.GATEWAY, S.SENT),
    (S.DELAYED, S.LIVE, Origin.USER_CHANNEL, S.LIVE),
    (S.DELAYED, S.REJECTED, Origin.HTTP, S.REJECTED),
    (S.LIVE, S.DELAYED, Origin.HTTP, S.LIVE),
    (S.LIVE, S.UNKNOWN, Origin.GATEWAY, S.LIVE),
    (S.LIVE, S.UNKNOWN, Origin.SUPERVISOR, S.UNKNOWN),
    (S.LIVE, S.CANCELED, Origin.USER_CHANNEL, S.CANCELED),
    (S.LIVE, S.EXPIRED, Origin.USER_CHANNEL, S.EXPIRED),
    (S.LIVE, S.REJECTED, Origin.HTTP, S.LIVE),
    (S.LIVE, S.UNSENT, Origin.GATEWAY, S.LIVE),
    (S.LIVE, S.SENT, Origin.GATEWAY, S.LIVE),
    (S.UNKNOWN, S.SENT, Origin.GATEWAY, S.UNKNOWN),
    (S.UNKNOWN, S.UNSENT, Origin.GATEWAY, S.UNKNOWN),
    (S.UNKNOWN, S.UNSENT, Origin.SUPERVISOR, S.UNKNOWN),
    (S.UNKNOWN, S.LIVE, Origin.GATEWAY, S.UNKNOWN),
    (S.UNKNOWN, S.REJECTED, Origin.GATEWAY, S.UNKNOWN),
    (S.UNKNOWN, S.CANCELED, Origin.SUPERVISOR, S.UNKNOWN),
    (S.UNKNOWN, S.CANCEL_REFUSED, Origin.HTTP, S.UNKNOWN),
    (S.UNKNOWN, S.LIVE, Origin.RECONCILE, S.LIVE),
    (S.UNKNOWN, S.LIVE, Origin.USER_CHANNEL, S.LIVE),
    (S.UNKNOWN, S.REJECTED, Origin.HTTP, S.REJECTED),
    (S.UNKNOWN, S.CANCELED, Origin.RECONCILE, S.CANCELED),
    (S.CANCELED, S.LIVE, Origin.USER_CHANNEL, S.CANCELED),
    (S.CANCELED, S.LIVE, Origin.RECONCILE, S.LIVE),
    (S.UNSENT, S.LIVE, Origin.RECONCILE, S.LIVE),
    (S.UNSENT, S.SENT, Origin.GATEWAY, S.SENT),
    (S.REJECTED, S.LIVE, Origin.USER_CHANNEL, S.REJECTED),
    (S.REJECTED, S.UNKNOWN, Origin.GATEWAY, S.REJECTED),
]


@pytest.mark.parametrize("begins, told, by, becomes", TABLE)
def test_order_state_table(begins: OrderState, told: OrderState, by: Origin, becomes: OrderState) -> None:
    """Each report moves the state exactly as its evidence allows (I4)."""
    orders = book(OrderType.GTC)
    order = orders.by_no[1]
    put(orders, order, begins)
    tell(orders, told, by)
    assert becomes == order.state
    assert order.is_closed == (order.order_no not in [item.order_no for item in orders.open_orders])
    assert order.reserved_usd_micro == (0 if order.is_closed else 4_200_000)
    assert orders.reservations.usd_micro == order.reserved_usd_micro
    assert (1 in orders.reservations.unknown) == (becomes == S.UNKNOWN)


@pytest.mark.parametrize(
    "told, by", list(itertools.product(S, (Origin.SIGNER, Origin.GATEWAY, Origin.SUPERVISOR)))
)
def test_I4_no_transport_report_ends_unknown(told: OrderState, by: Origin) -> None:  # noqa: N802
    """Whatever signer, gateway or supervisor say: a sent order stays UNKNOWN and fully reserved."""
    orders = sent()
    tell(orders, S.UNKNOWN, Origin.GATEWAY)
    order = tell(orders, told, by)
    assert (S.UNKNOWN, 4_200_000) == (order.state, orders.reservations.usd_micro)


def test_unsent_ends_an_order_that_timed_out_before_it_was_sent() -> None:
    """No answer for 3 s is UNKNOWN; the only one who could have sent it may still prove that it did not."""
    orders = book()
    orders.on_timeouts(T0_NS + 3 * NS_PER_S - 1)
    assert S.INTENDED == orders.by_no[1].state
    orders.on_timeouts(T0_NS + 3 * NS_PER_S)
    assert S.UNKNOWN == orders.by_no[1].state
    tell(orders, S.UNSENT, Origin.SIGNER)
    assert (S.UNSENT, 0) == (orders.by_no[1].state, orders.reservations.usd_micro)


def test_a_matched_order_waits_for_its_fills() -> None:
    """An HTTP answer changes state only: the reservation stays until the fills it claims were told."""
    orders = sent()
    order = tell(orders, S.MATCHED, Origin.HTTP, taking_micro=SIZE, making_micro=4 * MICRO)
    assert (S.MATCHED, False, 4_200_000) == (order.state, order.is_closed, orders.reservations.usd_micro)
    assert 9 in orders.busy
    orders.on_fill(order, 1, SIZE // 2, 2 * MICRO, 10_000, T0_NS)
    assert 2_190_000 == orders.reservations.usd_micro
    orders.on_fill(order, 1, SIZE // 2, 2 * MICRO, 10_000, T0_NS)
    assert (True, 0) == (order.is_closed, orders.reservations.usd_micro)
    assert 9 not in orders.busy


def test_fills_may_come_before_their_report() -> None:
    """A budget that is spent, or shares that are complete, end the order without any answer."""
    orders = sent()
    orders.on_fill(orders.by_no[1], 1, SIZE, 4 * MICRO, 0, T0_NS)
    assert (S.MATCHED, True) == (orders.by_no[1].state, orders.by_no[1].is_closed)
    late = tell(orders, S.MATCHED, Origin.HTTP, taking_micro=SIZE)
    assert late.is_closed
    shares = sent(OrderType.GTC)
    shares.on_fill(shares.by_no[1], 1, SIZE, 3_900_000, 0, T0_NS)
    assert shares.by_no[1].is_closed


def test_a_better_price_keeps_a_budget_order_open() -> None:
    """A FAK that got its shares for less may still get dust with the rest of its budget."""
    orders = sent()
    order = orders.by_no[1]
    orders.on_fill(order, 1, SIZE, 3_900_000, 0, T0_NS)
    assert not order.is_closed
    tell(orders, S.MATCHED, Origin.HTTP, taking_micro=SIZE + 250_000)
    assert not order.is_closed
    orders.on_fill(order, 1, 250_000, 100_000, 0, T0_NS)
    assert order.is_closed


def test_a_failed_fill_is_matched_and_not_ours() -> None:
    """FL03: the taken-back shares count as told, so the order closes; nothing is booked twice."""
    orders = sent()
    order = tell(orders, S.MATCHED, Origin.HTTP, taking_micro=SIZE)
    orders.on_fill(order, 1, SIZE, 4 * MICRO, 0, T0_NS)
    orders.on_fill(order, -1, SIZE, 4 * MICRO, 0, T0_NS)
    assert (0, 0, SIZE, True) == (
        order.filled_micro,
        order.filled_usd_micro,
        order.voided_micro,
        order.is_closed,
    )


def test_resting_orders_of_a_package_are_cancelled() -> None:
    """A share-targeted order that rests, wholly or in part, is cancelled at once, and once."""
    for state, matched in ((S.LIVE, 0), (S.MATCHED, SIZE // 2)):
        orders = sent(OrderType.GTC)
        order = tell(orders, state, Origin.HTTP, matched_micro=matched)
        assert (S.LIVE, {1: 0}) == (order.state, orders.cancel_wanted)
        orders.asked_cancel(1, T0_NS)
        assert {} == orders.cancel_wanted
        tell(orders, S.LIVE, Origin.USER_CHANNEL)
        assert {} == orders.cancel_wanted
    whole = sent(OrderType.GTC)
    tell(whole, S.MATCHED, Origin.HTTP, matched_micro=SIZE)
    assert {} == whole.cancel_wanted


def test_OR12_a_cancel_answer_is_a_hint() -> None:  # noqa: N802
    """An HTTP "canceled" frees nothing: only the venue's final count, or a complete pass, does."""
    orders = sent(OrderType.GTC)
    tell(orders, S.LIVE, Origin.HTTP)
    order = tell(orders, S.CANCELED, Origin.HTTP, now_ns=T0_NS + 5)
    assert (S.CANCELED, False) == (order.state, order.is_closed)
    orders.on_reconciled(T0_NS + 4, T0_NS + 9)  # asked before the cancel: says nothing
    assert not order.is_closed
    orders.on_fill(order, 1, MICRO, 400_000, 0, T0_NS + 6)  # a fill that raced the cancel
    tell(orders, S.CANCELED, Origin.USER_CHANNEL, matched_micro=MICRO)
    assert (True, 0) == (order.is_closed, orders.reservations.usd_micro)


def test_FL07_dust_is_named() -> None:  # noqa: N802
    """A claim that exceeds its fills by dust ends with a complete pass; more than dust stays open."""
    for missing, closed in ((DUST_MICRO, True), (DUST_MICRO + 1, False)):
        orders = sent()
        order = tell(orders, S.MATCHED, Origin.HTTP, taking_micro=SIZE)
        orders.on_fill(order, 1, SIZE - missing, 3_900_000, 0, T0_NS)
        assert not order.is_closed
        orders.doubt_missing_fills(T0_NS + NS_PER_S, NS_PER_S)
        orders.on_reconciled(T0_NS, T0_NS + 2)
        assert closed == order.is_closed


def test_OR01_unknown_dies_after_its_time_and_two_proofs_only() -> None:  # noqa: N802
    """Absent in a pass asked for after T_UNKNOWN_FINAL, and a cancel refused after it: dead; else not."""
    final = T0_NS + UNKNOWN_FINAL_NS
    for asked, refused, dead in (
        (final, final, True),
        (final - 1, final, False),
        (final, final - 1, False),
        (final, 0, False),
    ):
        orders = sent()
        order = tell(orders, S.UNKNOWN, Origin.GATEWAY)
        assert {1: Cause.TIMEOUT} == orders.cancel_wanted
        orders.asked_cancel(1, T0_NS)
        if refused:
            tell(orders, S.CANCEL_REFUSED, Origin.HTTP, now_ns=refused)
        orders.on_reconciled(asked, final + 1)
        assert (dead, 0 if dead else 4_200_000) == (order.is_closed, orders.reservations.usd_micro)
        assert S.CANCELED == order.state if dead else S.UNKNOWN == order.state


def test_cancels_are_asked_again() -> None:
    """OR13: silence is no answer; an old UNKNOWN order is cancelled once more at the end of its time."""
    orders = sent(OrderType.GTC)
    tell(orders, S.LIVE, Origin.HTTP)
    orders.asked_cancel(1, T0_NS)
    orders.want_due_cancels(T0_NS + NS_PER_S - 1, NS_PER_S)
    assert {} == orders.cancel_wanted
    orders.want_due_cancels(T0_NS + NS_PER_S, NS_PER_S)
    assert [1] == list(orders.cancel_wanted)
    orders.asked_cancel(1, T0_NS + NS_PER_S)
    tell(orders, S.CANCEL_REFUSED, Origin.HTTP, now_ns=T0_NS + NS_PER_S + 1)
    orders.want_due_cancels(T0_NS + 9 * NS_PER_S, NS_PER_S)
    assert {} == orders.cancel_wanted
    orders.on_reconciled(T0_NS + NS_PER_S + 2, T0_NS + 3 * NS_PER_S)  # a complete pass does not list it
    assert [S.UNKNOWN] == [order.state for order in orders.doubtful]
    tell(orders, S.CANCELED, Origin.RECONCILE, matched_micro=0)  # asked by name
    assert orders.by_no[1].is_closed


def test_OR12_a_cancel_that_came_before_its_order_is_repeated() -> None:  # noqa: N802
    """A delayed order that rests after its cancel was refused is looked for, and cancelled once listed."""
    orders = sent(OrderType.GTC)
    tell(orders, S.UNKNOWN, Origin.GATEWAY)
    orders.asked_cancel(1, T0_NS)
    tell(orders, S.CANCEL_REFUSED, Origin.HTTP, now_ns=T0_NS + 1)
    order = tell(orders, S.LIVE, Origin.USER_CHANNEL, now_ns=T0_NS + 20 * NS_PER_S)
    assert [order] == list(orders.doubtful)
    orders.want_due_cancels(T0_NS + 21 * NS_PER_S, NS_PER_S)
    assert {} == orders.cancel_wanted

    tell(orders, S.LIVE, Origin.RECONCILE, now_ns=T0_NS + 22 * NS_PER_S)
    orders.want_due_cancels(T0_NS + 22 * NS_PER_S, NS_PER_S)
    assert [1] == list(orders.cancel_wanted)
    orders.asked_cancel(1, T0_NS + 22 * NS_PER_S)
    tell(orders, S.CANCELED, Origin.HTTP, now_ns=T0_NS + 23 * NS_PER_S, matched_micro=0)
    assert orders.by_no[1].is_closed


def test_a_dead_gateway_leaves_unknown_and_unsent() -> None:
    """Unanswered up to the last sent number: UNKNOWN; above: provably unsent; answered ones stay."""
    orders = book(OrderType.GTC, 4)
    tell(orders, S.SENT, Origin.GATEWAY, 1)
    tell(orders, S.LIVE, Origin.HTTP, 1)
    tell(orders, S.SENT, Origin.GATEWAY, 2)
    orders.on_gateway_restart(3, T0_NS)
    assert [S.LIVE, S.UNKNOWN, S.UNKNOWN, S.UNSENT] == [orders.by_no[number].state for number in (1, 2, 3, 4)]
    assert 3 * 4_200_000 == orders.reservations.usd_micro


@pytest.mark.parametrize("outcomes", list(itertools.product("frpu", repeat=3)))
def test_OR10_each_leg_is_judged_alone(outcomes: tuple[str, ...]) -> None:  # noqa: N802
    """Every mix of filled, rejected, part-filled and unknown legs: state, reservation and group per leg."""
    orders = sent(count=3)
    for number, outcome in enumerate(outcomes, 1):
        if outcome == "r":
            tell(orders, S.REJECTED, Origin.HTTP, number)
        elif outcome == "u":
            tell(orders, S.UNKNOWN, Origin.GATEWAY, number)
        else:
            size = SIZE if outcome == "f" else SIZE // 2
            order = tell(orders, S.MATCHED, Origin.HTTP, number, taking_micro=size)
            orders.on_fill(order, 1, size, size * 4 // 10, 0, T0_NS)
    unknown = outcomes.count("u")
    assert 4_200_000 * unknown == orders.reservations.usd_micro
    assert (unknown > 0) == (9 in orders.busy)
    assert unknown == orders.open_count
    if not unknown:
        shares = {"f": SIZE, "p": SIZE // 2, "r": 0}
        even = min(shares[outcome] for outcome in outcomes)
        left = sum((shares[outcome] - even) * 4 // 10 for outcome in outcomes)
        assert left == orders.reservations.residue_usd_micro


def test_residue_is_what_exceeds_the_equal_part() -> None:
    """Two orders of one leg count together; the cost of the excess rounds up."""
    orders = book(count=2)
    first, second = orders.by_no[1], orders.by_no[2]
    first.filled_micro, first.filled_usd_micro = 3, 2
    second.filled_micro, second.filled_usd_micro = 1, 1
    assert {1: 2} == residue_of(Group(1, 9, 1, 2, SIZE, T0_NS, orders=[1, 2]), orders.by_no)


def test_strangers_and_contradictions_change_nothing() -> None:
    """A report of an order that is not ours, or whose number and hash disagree, is counted."""
    orders = sent(count=2)
    for record in (
        report(99, S.LIVE),
        report(2, S.LIVE, order_hash=hash_of(1)),
        report(0, S.LIVE, order_hash=hash_of(7)),
    ):
        assert (None, False) == orders.on_report(unpack(record))
    assert 3 == orders.stranger_count
    assert [S.SENT, S.SENT] == [order.state for order in orders.open_orders]
    found, learned = orders.on_report(unpack(report(0, S.LIVE, order_hash=hash_of(2))))
    assert found is orders.by_no[2]
    assert not learned
