"""What a strategy is: hooks that see records through detect and return ideas.

A strategy holds no order and no position; `trade` decides what becomes of an idea.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pipeline.core.instruments import Instrument
from pipeline.core.limits import Limits
from pipeline.core.sizing import Package
from pipeline.core.tops import Book
from pipeline.native.sums import Top


class Idea(NamedTuple):
    """Buy these orders together: proven payout, exact cost and fees."""

    basket: int
    event: int
    strategy: int
    leg_count: int
    venue_ns: int  # newest venue time among the books it was priced from
    package: Package


class Strategy(Protocol):
    """One plug-in of detect. Every hook is deterministic and takes time from its argument only."""

    def on_limits(self, limits: Limits) -> None:
        """Take new limits."""

    def on_instrument(self, instrument: Instrument) -> None:
        """Take a new or changed instrument; may start or stop watching books."""

    def book(self, row: int) -> Book | None:
        """Return the book of a watched row, None for all others."""

    def on_top(self, top: Top, now_ns: int) -> Sequence[Idea]:
        """Answer a new top of a watched row that has a sum above zero."""

    def on_report(self, row: int, state: int, now_ns: int) -> Sequence[Idea]:
        """Answer a report of one of our orders in the row."""

    def on_tick(self, now_ns: int) -> Sequence[Idea]:
        """Answer a new millisecond of stream time."""
