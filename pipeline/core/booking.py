"""What a told fill means for the order that it is of: token, side and price by our own record (FL05).

Pure; shared by trade's ledger and by the PnL that is folded from the logs alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pipeline.core.fills import Booking
from pipeline.kinds import Side
from pipeline.units import TICKS_PER_USD, cost_micro, proceeds_micro


class View(NamedTuple):
    """A fill in our order's own terms, and in what the venue's words differed from them."""

    booking: Booking
    is_corrected: bool  # told of the sister token, or with the side inverted
    is_beyond: bool  # told at a price that our order does not allow


def own_view(row: int, outcome: int, side: int, limit_ticks: int, record: Any) -> View:
    """Return what a FILL record books for the order of these terms.

    A price p of one token is 1 - p of its sister. Who rests is filled at his own price; nobody is filled
    beyond his limit: the contract settles no match that either signed order does not allow (venue sheet 7.2
    and 10.1, read 2026-11-20). Amounts are kept as told unless one of these changes the price.
    """
    is_told_so = (record.outcome, record.side) == (outcome, side)
    price_ticks = record.price_ticks if record.outcome == outcome else TICKS_PER_USD - record.price_ticks
    is_beyond = price_ticks > limit_ticks if side == Side.BUY else price_ticks < limit_ticks
    if record.is_maker or is_beyond:
        price_ticks = limit_ticks
    usd_micro = record.usd_micro
    if not is_told_so or price_ticks != record.price_ticks:
        money = cost_micro if side == Side.BUY else proceeds_micro
        usd_micro = money(price_ticks, record.size_micro)
    booking = Booking(
        row, outcome, side, record.size_micro, usd_micro, record.fee_usd_micro, record.venue_ns)
    return View(booking, not is_told_so, is_beyond and is_told_so)


def told_view(record: Any) -> Booking:
    """Return a FILL of an order whose terms nobody here knows, as the venue tells it."""
    return Booking(
        record.instrument, record.outcome, record.side, record.size_micro, record.usd_micro,
        record.fee_usd_micro, record.venue_ns)
