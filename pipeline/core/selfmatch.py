"""Would new orders meet our own: a bid and an ask of one book, a token's own or its complement's (OR22).

Pure; the risk gate asks. One physical book holds both tokens of a row: a bid for NO at p is an ask for YES at
1 - p, so our bid for YES at 0.60 meets our bid for NO at 0.40 and mints with ourselves.
Source: venue sheet 7.2 and 17.1, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.core.order import Order
from pipeline.kinds import OrderState, Outcome, Side
from pipeline.units import TICKS_PER_USD

#: One order of a proposal: leg, row, outcome, side, type, price_ticks, size_micro.
Wanted = tuple[int, int, int, int, int, int, int]
_OVER = tuple(map(int, (OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED)))  # closed: not listed
_BUY, _YES = int(Side.BUY), int(Outcome.YES)
_NO_BID, _NO_ASK = 0, TICKS_PER_USD  # nothing crosses these


def _in_yes(outcome: int, side: int, price_ticks: int) -> tuple[bool, int]:
    """Return (is a bid, price) as the YES side of the book sees the order."""
    is_yes = outcome == _YES
    return (side == _BUY) == is_yes, price_ticks if is_yes else TICKS_PER_USD - price_ticks


def meeting(wanted: Sequence[Wanted], open_orders: Iterable[Order]) -> tuple[int, int] | None:
    """Return (row, number of our order) of the first meeting; 0 = within the package; None = there is none.

    open_orders: also those in flight and those whose cancel is; what ended at the venue meets nobody.
    """
    bids: dict[int, tuple[int, int]] = {}  # row -> our best price and its order
    asks: dict[int, tuple[int, int]] = {}
    rows = {order[1] for order in wanted}
    for order in open_orders:
        if order.row in rows and order.state not in _OVER:
            is_bid, ticks = _in_yes(order.outcome, order.side, order.price_ticks)
            _put(order.row, is_bid, ticks, order.order_no, bids, asks)
    for _, row, outcome, side, _, price_ticks, _ in wanted:
        is_bid, ticks = _in_yes(outcome, side, price_ticks)
        if is_bid:
            other, number = asks.get(row, (_NO_ASK, 0))
            if ticks >= other:
                return row, number
        else:
            other, number = bids.get(row, (_NO_BID, 0))
            if ticks <= other:
                return row, number
        _put(row, is_bid, ticks, 0, bids, asks)
    return None


def _put(
    row: int, is_bid: bool, ticks: int, number: int, bids: dict[int, tuple[int, int]],
    asks: dict[int, tuple[int, int]],
) -> None:
    if is_bid:
        bids[row] = max(bids.get(row, (_NO_BID, 0)), (ticks, number))
    else:
        asks[row] = min(asks.get(row, (_NO_ASK, 0)), (ticks, number))
