"""What we hold of each market, and how much of it may be used: a view of trade's facts.

Pure; read by `pm recycle`. A booked fill is not yet a balance on chain: a trade that is neither confirmed nor
failed may still be taken back, and what an open order offers is promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.fills import order_no_of
from pipeline.core.state import TraderState
from pipeline.records import Outcome, Side

Pair = tuple[int, int]  # of YES, of NO

_NONE: Pair = (0, 0)


@dataclass(frozen=True, slots=True)
class Holding:
    """Shares of one market, 1e-6 share, YES first."""

    row: int
    held_micro: Pair
    unsettled_micro: Pair = _NONE  # bought in orders that have a trade which is not confirmed
    offered_micro: Pair = _NONE  # in open orders that sell
    payout_usd_micro: Pair | None = None  # a share; None = not resolved

    def free_micro(self, outcome: int) -> int:
        """Return the shares of a token that an action on chain may use; >= 0."""
        busy = self.unsettled_micro[outcome] + self.offered_micro[outcome]
        return max(0, self.held_micro[outcome] - busy)


def holdings(facts: TraderState, adopted: Mapping[tuple[int, int], int]) -> tuple[Holding, ...]:
    """Return every market with shares, resolved ones too, in the order in which they were first traded.

    adopted: (row, outcome) -> shares of unconfirmed trades of runs before these logs, which no order here
    tells. All fills of an order wait until its last trade is confirmed: the index of trades knows no sizes,
    and too little is planned then, never too much.
    """
    unsettled: dict[tuple[int, int], int] = dict(adopted)
    for order_no in dict.fromkeys(order_no_of(key) for key, _ in facts.fills.unsettled()):
        order = facts.orders.by_no.get(order_no)
        if order is not None and order.side == Side.BUY:
            token = order.row, order.outcome
            unsettled[token] = unsettled.get(token, 0) + order.filled_micro
    offered: dict[tuple[int, int], int] = {}
    for order in facts.orders.open_orders:
        if order.side == Side.SELL:
            token = order.row, order.outcome
            rest = max(0, order.size_micro - order.filled_micro)
            offered[token] = offered.get(token, 0) + rest
    return tuple(
        Holding(row, facts.positions.shares(row), _pair(unsettled, row), _pair(offered, row),
                facts.positions.payouts.get(row))
        for row in facts.positions.rows if any(facts.positions.shares(row)))


def _pair(tokens: Mapping[tuple[int, int], int], row: int) -> Pair:
    return tokens.get((row, Outcome.YES), 0), tokens.get((row, Outcome.NO), 0)
