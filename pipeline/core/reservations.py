"""What open orders may still take, where orders are UNKNOWN, and what uneven groups left behind.

Sums kept per market, derived from orders only; owned and updated by `Orders`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.core.order import Order
from pipeline.kinds import Side

DUST_MICRO = 1_000  # a claim may exceed its fills by this for ever: 1 unit a fill is lost on chain (10.5)
_BUY = int(Side.BUY)


class Reservations:
    """Reserved collateral, UNKNOWN orders and residue, each per market."""

    def __init__(self) -> None:
        self.usd_micro = 0  # all markets together
        self.by_row: dict[int, int] = {}  # what open orders may still take; rows at 0 are not here
        self.unknown: dict[int, int] = {}  # row -> UNKNOWN orders; the gate asks `row in unknown`
        self._residue: dict[int, int] = {}
        self._paid_out: dict[int, None] = {}  # rows whose residue is cash
        self.dust_micro = 0  # 1e-6 shares that ended orders claim and no trade ever told: nobody's
        self.residue_usd_micro = 0  # cost of shares that closed groups hold beyond their equal part

    def row(self, row: int) -> int:
        """Return what the market's open orders may still take, USD micro."""
        return self.by_row.get(row, 0)

    def rows_usd_micro(self, rows: Iterable[int]) -> int:
        """Return what the open orders of these markets may still take, USD micro."""
        by_row = self.by_row
        return sum([by_row[row] for row in rows if row in by_row]) if by_row else 0

    def reserve(self, order: Order) -> None:
        """Bring the sums to what the order may still take: nothing once it is closed (I4)."""
        due = 0
        if not order.is_closed:
            due = order.worst_usd_micro
            if order.side == _BUY:
                due -= order.filled_usd_micro + order.fee_usd_micro
            due = max(due, 0)
        change = due - order.reserved_usd_micro
        if change:
            order.reserved_usd_micro = due
            self.usd_micro += change
            sums, row = self.by_row, order.row
            total = sums.get(row, 0) + change
            if total:
                sums[row] = total
            else:
                del sums[row]

    def leave_dust(self, order: Order) -> None:
        """An ended order whose trades are all listed: what it claims beyond them is written off, if dust."""
        missing_micro = order.claim_micro - order.filled_micro - order.voided_micro
        if 0 < missing_micro <= DUST_MICRO:
            order.claim_micro -= missing_micro
            self.dust_micro += missing_micro

    def count_unknown(self, row: int, change: int) -> None:
        """Count an order that became UNKNOWN (1) or is known again (-1)."""
        _add(self.unknown, row, change)

    def leave(self, change: Mapping[int, int]) -> None:
        """Add what a closed group's residue changed by."""
        for row, usd_micro in change.items():
            if row not in self._paid_out:
                _add(self._residue, row, usd_micro)
                self.residue_usd_micro += usd_micro

    def forget_residue(self, row: int) -> None:
        """The market was paid out: its residue is cash."""
        self._paid_out[row] = None
        self.residue_usd_micro -= self._residue.pop(row, 0)

    def state(self) -> list[Any]:
        """Return the sums as JSON values, for a checkpoint."""
        sums = [list(one.items()) for one in (self.by_row, self.unknown, self._residue)]
        return [self.usd_micro, *sums, list(self._paid_out), self.dust_micro]

    def load(self, state: list[Any]) -> None:
        """Replace the sums by what `state()` returned."""
        self.usd_micro = state[0]
        self.by_row, self.unknown, self._residue = (dict(pairs) for pairs in state[1:4])
        self._paid_out, self.dust_micro = dict.fromkeys(state[4]), state[5]
        self.residue_usd_micro = sum(self._residue.values())


def _add(sums: dict[int, int], key: int, change: int) -> None:
    """Add to a sum and drop it at zero."""
    total = sums.get(key, 0) + change
    if total:
        sums[key] = total
    else:
        sums.pop(key, None)
