"""What trade asks the venue for: orders and trades, orders in doubt by name, the balance of single tokens.

Reads facts; each question is a RECONCILE decision, rendered and handed to `decide`, which makes it a fact.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.core import decisions
from pipeline.core.decisions import Causing
from pipeline.core.order import NO_HASH
from pipeline.core.state import TraderState
from pipeline.kinds import Cause, OrderState
from pipeline.units import NS_PER_S

UNSETTLED_NS_MAX = 600 * NS_PER_S  # a poll lists trades back to the oldest unsettled one, at most so far
_SINGLES_MAX = 10  # orders asked for by name in one run
_UNKNOWN = int(OrderState.UNKNOWN)

Decide = Callable[[bytes], None]


def ask_about_doubts(facts: TraderState, causing: Causing, decide: Decide) -> None:
    """Ask for everything, and by name for what nobody answered for: most of it is over at the venue."""
    doubtful = facts.orders.doubtful
    cause = doubtful[0].cause if doubtful else Cause.NONE
    oldest_ns = facts.fills.oldest_match_ns
    since_ns = max(oldest_ns, causing.now_ns - UNSETTLED_NS_MAX) if oldest_ns else 0
    decide(decisions.reconcile_slot(causing, facts.request_no + 1, cause, since_ns=since_ns))
    named = [
        order for order in doubtful
        if order.order_hash != NO_HASH and (order.state == _UNKNOWN or not order.is_final)]
    for order in named[:_SINGLES_MAX]:
        decide(decisions.reconcile_slot(
            causing, facts.request_no + 1, order.cause, order.order_no, order.order_hash))


def ask_balances(facts: TraderState, causing: Causing, decide: Decide) -> None:
    """Ask what the wallet holds of the markets that are looked at (FL09)."""
    for row in facts.drift.due(causing.now_ns):
        decide(decisions.reconcile_slot(causing, facts.request_no + 1, Cause.SHARES_DIFFER, row=row))
