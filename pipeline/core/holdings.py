"""What we hold of each market, and how much of it may be used: a view of trade's facts.

Pure; read by `pm recycle`. A booked fill is not yet a balance on chain: a trade that is neither confirmed nor
failed may still be taken back, and what an open order offers is promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.core.state import TraderState
from pipeline.kinds import Outcome, Side

Pair = tuple[int, int]  # of YES, of NO

_NONE: Pair = (0, 0)


@dataclass(frozen=True, slots=True)
class Holding:
    """Shares of one market, 1e-6 share, YES first."""

    row: int
    held_micro: Pair
    unsettled_micro: Pair = _NONE  # bought in trades that are not confirmed
    offered_micro: Pair = _NONE  # in open orders that sell
    payout_usd_micro: Pair | None = None  # a share; None = not resolved

    def free_micro(self, outcome: int) -> int:
        """Return the shares of a token that an action on chain may use; >= 0."""
        busy = self.unsettled_micro[outcome] + self.offered_micro[outcome]
        return max(0, self.held_micro[outcome] - busy)


def holdings(facts: TraderState) -> tuple[Holding, ...]:
    """Return every market with shares, resolved ones too, in the order in which they were first traded."""
    unsettled: dict[tuple[int, int], int] = {}
    for booking in facts.fills.unsettled():
        if booking.side == Side.BUY:
            token = booking.row, booking.outcome
            unsettled[token] = unsettled.get(token, 0) + booking.size_micro
    offered: dict[tuple[int, int], int] = {}
    for order in facts.orders.open_orders:
        if order.side == Side.SELL:
            token = order.row, order.outcome
            rest = max(0, order.size_micro - order.filled_micro)
            offered[token] = offered.get(token, 0) + rest
    return tuple(
        Holding(row, _ours(facts, row), _pair(unsettled, row), _pair(offered, row),
                facts.positions.payouts.get(row))
        for row in facts.positions.rows if any(facts.positions.shares(row)))


def _ours(facts: TraderState, row: int) -> Pair:
    """Return our shares, without those that are missing from the wallet (FL09)."""
    yes, no = facts.positions.shares(row)
    other_yes, other_no = facts.external.positions.shares(row)
    return yes + min(0, other_yes), no + min(0, other_no)


def _pair(tokens: Mapping[tuple[int, int], int], row: int) -> Pair:
    return tokens.get((row, Outcome.YES), 0), tokens.get((row, Outcome.NO), 0)
