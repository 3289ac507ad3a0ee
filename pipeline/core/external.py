"""Orders, fills and shares on our wallet that nobody here intended: exposure, never our PnL (FL11, FL09).

Pure; owned by `Accounting`. They are seen and labelled; nothing here ever cancels them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.codec import CODECS
from pipeline.core.booking import told_view
from pipeline.core.fills import Booking, Change, FillIndex, is_provisional
from pipeline.core.positions import Positions
from pipeline.kinds import Kind, OrderState, Side
from pipeline.units import cost_micro

_OPEN = (OrderState.LIVE, OrderState.DELAYED, OrderState.UNKNOWN)
_FILL = CODECS[Kind.FILL]
ORDERS_MAX = 4_096  # open orders of others; beyond it the oldest is forgotten and counted


class Resting(NamedTuple):
    """An open order of somebody else on our wallet."""

    row: int
    usd_micro: int  # what a BUY may still take; a sale takes none of the collateral
    seen_ns: int  # stream time at which the venue last told it
    is_told: bool  # it was labelled: none of ours can be this one


class External:
    """What others do on this wallet: their open orders, and the shares that they bought or sold."""

    def __init__(self) -> None:
        self.positions = Positions()
        self._fills = FillIndex()
        self._orders: dict[bytes, Resting] = {}  # by order hash, oldest first
        self._resting: dict[int, int] = {}  # row -> USD micro of open orders
        self.resting_usd_micro = 0
        self.by_row: dict[int, int] = {}  # row -> USD micro that may be lost; rows at 0 are not here

    @property
    def order_count(self) -> int:
        """Return how many orders of others are open."""
        return len(self._orders)

    def knows(self, order_hash: bytes) -> bool:
        """Tell whether fills of this order are another's."""
        return self._fills.knows(order_hash)

    def on_report(self, record: Any) -> None:
        """Follow an order that nobody here intended; without its terms nothing can be counted."""
        name = bytes(record.order_hash)
        before = self._drop(name)
        if record.state not in _OPEN or record.size_micro <= 0:
            return
        if len(self._orders) >= ORDERS_MAX:
            self._drop(next(iter(self._orders)))
        rest_micro = max(0, record.size_micro - max(0, record.matched_micro))
        usd_micro = cost_micro(record.price_ticks, rest_micro) if record.side == Side.BUY else 0
        is_told = before is not None and before.is_told
        self._orders[name] = Resting(record.instrument, usd_micro, record.now_ns, is_told)
        self._add(record.instrument, usd_micro)

    def is_ours(self, order_hash: bytes) -> None:
        """An order of ours turned out to have this hash: it counts there."""
        self._drop(order_hash)

    def on_reconciled(self, asked_ns: int) -> list[tuple[bytes, int]]:
        """A whole list was asked for at `asked_ns`: what it did not show is over. Label the others.

        Returns (hash, row) of each that is labelled now. Call it only while no order of ours lacks its hash.
        """
        for name, order in list(self._orders.items()):
            if order.seen_ns < asked_ns:
                self._drop(name)
        fresh = [(name, order) for name, order in self._orders.items() if not order.is_told]
        for name, order in fresh:
            self._orders[name] = order._replace(is_told=True)
        return [(name, order.row) for name, order in fresh]

    def book(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> None:
        """Take a fill of another's order, token and side as the venue tells them."""
        record = _FILL.unpack(slot, offset)
        change, booking = self._fills.apply(
            bytes(record.order_hash), record.trade_id, record.status, told_view(record), record.now_ns)
        if change in (Change.BOOK, Change.REVERSE):
            self.positions.book(
                booking, change, provisional=change == Change.BOOK and is_provisional(record.status))
        if change in (Change.REVERSE, Change.SETTLE):
            self.positions.hold(booking, -1)
        self.refresh(booking.row)

    def unsettled(self) -> Iterator[Booking]:
        """Yield what was booked for each trade of others that may still be taken back."""
        return self._fills.unsettled()

    def adjust(self, row: int, by: tuple[int, int]) -> None:
        """Take shares of YES and NO that came (+) or went (-) without a trade that we know (FL09)."""
        for outcome, micro in enumerate(by):
            if micro:
                side = Side.BUY if micro > 0 else Side.SELL
                self.positions.trade(row, outcome, side, abs(micro), 0, 0)
        self.refresh(row)

    def refresh(self, row: int) -> None:
        """Bring the market's exposure to what shares and open orders may lose."""
        usd_micro = self.positions.worst_loss_row(row) + self._resting.get(row, 0)
        if usd_micro:
            self.by_row[row] = usd_micro
        else:
            self.by_row.pop(row, None)

    def resolve(self, row: int, payout_micro_yes: int, payout_micro_no: int) -> None:
        """The market is over: what it pays is not ours."""
        self.positions.resolve(row, payout_micro_yes, payout_micro_no)
        self.refresh(row)

    def _drop(self, name: bytes) -> Resting | None:
        order = self._orders.pop(name, None)
        if order is not None:
            self._add(order.row, -order.usd_micro)
        return order

    def _add(self, row: int, usd_micro: int) -> None:
        self.resting_usd_micro += usd_micro
        total = self._resting.get(row, 0) + usd_micro
        if total:
            self._resting[row] = total
        else:
            self._resting.pop(row, None)
        self.refresh(row)

    def state(self) -> list[Any]:
        """Return everything as JSON values, for a checkpoint."""
        orders = [[name.hex(), *order] for name, order in self._orders.items()]
        return [self.positions.state(), self._fills.state(), orders]

    def load(self, state: list[Any]) -> None:
        """Replace everything by what `state()` returned."""
        self.positions.load(state[0])
        self._fills.load(state[1])
        self._orders, self._resting, self.by_row, self.resting_usd_micro = {}, {}, {}, 0
        for name, *order in state[2]:
            self._orders[bytes.fromhex(name)] = Resting(*order)
            self._add(order[0], order[1])
        for row in self.positions.rows:
            self.refresh(row)
