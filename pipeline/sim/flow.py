"""Order flow of other participants, as changes of level sizes over time.

Writes: `FlowEvent`s, made by `foreign` (another venue's recording) and `generate` (seeded). Both the
matching engine (live markets) and `track` (markets rendered before the run) read them. Prices and
sides are in the YES view. A removal larger than what is left is clipped by whoever applies it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.sim.market import Commit, LevelChange, Market
from pipeline.sim.trades import last_trade_text
from pipeline.units import TICKS_PER_USD


class Delta(NamedTuple):
    """Shares that appear (> 0) or disappear (< 0) at a level."""

    is_bid: bool
    price_ticks: int
    size_micro: int


class FlowEvent(NamedTuple):
    """One commit of other participants. `at_ns` counts from the market's start and never decreases.

    `print_micro` > 0: the commit was a match of that size whose taker bought YES or NO
    (`taker_outcome`) and lifted the first delta's level.
    """

    at_ns: int
    deltas: tuple[Delta, ...]
    print_micro: int = 0
    taker_outcome: int = 0


@dataclass(slots=True)
class FlowMarket:
    """A market with its opening book and its flow; `events` is read once, lazily."""

    market: Market
    opening: tuple[Delta, ...]
    opening_ms: int  # venue time of the opening book; events count from here
    events: Iterator[FlowEvent]


class LevelBook:
    """Sizes by (side, price): the book of a market that nobody of ours trades in."""

    __slots__ = ("clipped_micro", "sizes")

    def __init__(self, opening: tuple[Delta, ...] = ()) -> None:
        self.sizes: dict[tuple[bool, int], int] = {}
        self.clipped_micro = 0
        for delta in opening:
            self.apply(delta)

    def apply(self, delta: Delta) -> LevelChange | None:
        """Apply one delta; return the level's new size, or None when nothing changed."""
        key = (delta.is_bid, delta.price_ticks)
        before = self.sizes.get(key, 0)
        after = before + delta.size_micro
        if after < 0:
            self.clipped_micro -= after
            after = 0
        if after == before:
            return None
        if after:
            self.sizes[key] = after
        else:
            del self.sizes[key]
        return LevelChange(delta.is_bid, delta.price_ticks, after)


def commit_of(market: Market, book: LevelBook, event: FlowEvent, now_ns: int) -> Commit | None:
    """Apply an event to a level book; return the commit to publish, or None when nothing changed."""
    changes = tuple(change for change in (book.apply(delta) for delta in event.deltas) if change is not None)
    if not changes:
        return None
    if not event.print_micro:
        return Commit(market, now_ns, changes)
    yes_ticks = event.deltas[0].price_ticks
    price_ticks = yes_ticks if event.taker_outcome == 0 else TICKS_PER_USD - yes_ticks
    return Commit(
        market,
        now_ns,
        changes,
        traded=True,
        last_trade=last_trade_text(price_ticks, True),
        trade_ticks=price_ticks,
        trade_size_micro=event.print_micro,
        taker_is_buy=True,
        taker_outcome=event.taker_outcome,
    )
