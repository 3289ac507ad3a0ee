"""core.orders: what a reconcile pass proves of an order, and what only the venue's word on it does."""

from __future__ import annotations

from pipeline.core.orders import UNKNOWN_FINAL_NS
from pipeline.kinds import OrderState, OrderType, Origin
from pipeline.units import NS_PER_S
from tests.models.core_rig import T0_NS
from tests.unit.test_core_orders import SIZE, sent, tell

S = OrderState


def test_a_complete_pass_ends_what_nobody_told() -> None:
    """Ended without a count: the venue's word on that order closes it, or the lists after its time.

    A pass may end before the lists show the newest trade.
    """
    for named in (True, False):
        orders = sent()
        order = tell(orders, S.MATCHED, Origin.HTTP)
        assert not order.is_closed
        orders.doubt_missing_fills(T0_NS + NS_PER_S, NS_PER_S)
        assert [1] == [item.order_no for item in orders.doubtful]
        orders.on_reconciled(T0_NS, T0_NS + 2)
        assert not order.is_closed
        if named:
            tell(orders, S.CANCELED, Origin.RECONCILE, matched_micro=0)
        else:
            orders.on_reconciled(T0_NS + UNKNOWN_FINAL_NS - 1, T0_NS + UNKNOWN_FINAL_NS)
            assert not order.is_closed
            orders.on_reconciled(T0_NS + UNKNOWN_FINAL_NS, T0_NS + UNKNOWN_FINAL_NS)
        assert order.is_closed


def test_what_a_pass_lists_is_open() -> None:
    """OR12: a refused cancel and a pass that still shows the order: it stays open and reserved."""
    orders = sent(OrderType.GTC)
    order = tell(orders, S.LIVE, Origin.HTTP)
    orders.asked_cancel(1, T0_NS)
    tell(orders, S.CANCEL_REFUSED, Origin.HTTP, now_ns=T0_NS + 1)
    tell(orders, S.LIVE, Origin.RECONCILE, now_ns=T0_NS + 5)
    orders.on_reconciled(T0_NS + 2, T0_NS + 6)
    assert (S.LIVE, False) == (order.state, order.is_closed)
    orders.on_reconciled(T0_NS + 7, T0_NS + 9)  # the next pass does not show it
    assert (S.UNKNOWN, False) == (order.state, order.is_closed)
    tell(orders, S.MATCHED, Origin.RECONCILE, matched_micro=SIZE)  # by name; trades will follow
    assert (S.MATCHED, False) == (order.state, order.is_closed)


def test_OR01_what_came_behind_the_question_is_not_gone() -> None:  # noqa: N802
    """A cancel was refused before the order arrived; the pass was asked before, too: it says nothing."""
    orders = sent(OrderType.GTC)
    tell(orders, S.UNKNOWN, Origin.GATEWAY)
    orders.asked_cancel(1, T0_NS)
    tell(orders, S.CANCEL_REFUSED, Origin.HTTP, now_ns=T0_NS + 1)
    order = tell(orders, S.LIVE, Origin.USER_CHANNEL, now_ns=T0_NS + 20 * NS_PER_S)
    orders.on_reconciled(T0_NS + 19 * NS_PER_S, T0_NS + 21 * NS_PER_S)
    assert (S.LIVE, False) == (order.state, order.is_closed)
