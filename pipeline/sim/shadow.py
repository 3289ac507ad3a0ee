"""The book behind a recording: what its frames display, minus what our own orders took from it.

Reads: recorded frames of one market, unaltered. Implements the engine's `TakingBook`, so our orders
fill against the display without changing it: each displayed share at most once until that level's
recorded size grows. A resting order of ours fills only when a recorded print or quote passes its
price strictly; `apply` returns those fills for the engine to book.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.errors import InvariantError
from pipeline.sim.book import Fill, Order, Plan, Remaining, Taking, crosses, token_ticks
from pipeline.sim.bookhash import solve_hash
from pipeline.sim.market import LevelChange, Market
from pipeline.sim.render import BookText
from pipeline.units import decimal_to_int

Key = tuple[bool, int]  # (is_bid, price_ticks) in the YES view


def item_levels(item: dict[str, Any], outcome: int) -> dict[Key, int]:
    """Return the YES-view levels of a recorded `book` object."""
    levels: dict[Key, int] = {}
    for name, is_bid in (("bids", True), ("asks", False)):
        for level in item.get(name) or ():
            price = token_ticks(decimal_to_int(level["price"], 4), outcome)
            levels[is_bid == (outcome == 0), price] = decimal_to_int(level["size"], 6)
    return levels


class ShadowBook:
    """Display of one recorded market and what we may still take from it."""

    shows_changes = False

    def __init__(self, market: Market) -> None:
        self.market = market
        self.text = BookText(market)
        self.frames_applied = 0
        self._shown: dict[Key, int] = {}
        self._taken: dict[Key, int] = {}
        self._resting: list[Order] = []
        self._book_ms = 0  # venue time of the last snapshot

    # -- the recording ------------------------------------------------------------------------

    def apply(self, item: dict[str, Any]) -> list[tuple[bool, tuple[Fill, ...]]]:
        """Follow one recorded object; return fills of our resting orders as (taker is bid, fills).

        Objects of other markets, other schemas and unknown kinds change nothing. Deltas older than the
        last snapshot are dropped, equal ones applied (sizes are absolute, so they converge).
        """
        if item.get("market") != self.market.condition:
            return []
        kind = item.get("event_type")
        stamp = item.get("timestamp")
        now_ms = int(stamp) if isinstance(stamp, str) and stamp.isdigit() else self.text.timestamp_ms
        self.frames_applied += 1
        if kind == "book" or (kind is None and "bids" in item):
            self._apply_book(item, now_ms)
        elif kind == "price_change":
            if now_ms < self._book_ms:
                return []
            for change in item.get("price_changes") or ():
                self._apply_change(change)
        elif kind == "tick_size_change":
            self.market.tick_step = decimal_to_int(item["new_tick_size"], 4)
        elif kind == "last_trade_price":
            return self._passed_by_print(item)
        else:
            return []  # best_bid_ask comes a millisecond ahead of its changes and says nothing new
        self.text.timestamp_ms = max(self.text.timestamp_ms, now_ms)
        return self._passed_by_quotes()

    def _outcome(self, asset: object) -> int | None:
        return self.market.tokens.index(asset) if asset in self.market.tokens else None

    def _apply_book(self, item: dict[str, Any], now_ms: int) -> None:
        outcome = self._outcome(item.get("asset_id"))
        if outcome is None or now_ms < self._book_ms:
            return
        self._book_ms = now_ms
        if item.get("last_trade_price"):
            self.market.last_trade = self.text.last_trade = item["last_trade_price"]
        levels = item_levels(item, outcome)
        for key in [key for key in self._shown if key not in levels]:
            self._set(key, 0)
        for key, size in levels.items():
            self._set(key, size)
        if item.get("hash") and "last_trade_price" not in item:
            self._learn_last_trade(item, outcome, now_ms)

    def _learn_last_trade(self, item: dict[str, Any], outcome: int, now_ms: int) -> None:
        """A refreshed book leaves the last trade price out, but its hash tells which it is."""
        self.text.timestamp_ms = max(self.text.timestamp_ms, now_ms)
        if self.text.hash(outcome) == item["hash"]:
            return
        market = self.market
        solved = solve_hash(item, market.min_order_size, (market.tick_step,), (market.neg_risk,))
        if solved is not None:
            market.last_trade = self.text.last_trade = solved[1]

    def _apply_change(self, change: dict[str, Any]) -> None:
        outcome = self._outcome(change.get("asset_id"))
        if outcome is None:
            return
        is_bid = (change["side"] == "BUY") == (outcome == 0)
        self._set(
            (is_bid, token_ticks(decimal_to_int(change["price"], 4), outcome)),
            decimal_to_int(change["size"], 6),
        )

    def _set(self, key: Key, size_micro: int) -> None:
        """Growth brings new shares; after a reduction no more than what is shown can have been taken."""
        if size_micro:
            self._shown[key] = size_micro
            if key in self._taken:
                self._taken[key] = min(self._taken[key], size_micro)
        else:
            self._shown.pop(key, None)
            self._taken.pop(key, None)
        self.text.set_level(key[0], key[1], size_micro)

    def _passed_by_print(self, item: dict[str, Any]) -> list[tuple[bool, tuple[Fill, ...]]]:
        """A print below our bid (or above our offer) means that ours would have traded first."""
        outcome = self._outcome(item.get("asset_id"))
        if outcome is None:
            return []
        price = token_ticks(decimal_to_int(item["price"], 4), outcome)
        taker_is_bid = (item.get("side") == "BUY") == (outcome == 0)
        left = decimal_to_int(item["size"], 6)
        fills: list[Fill] = []
        for order in self._queue(not taker_is_bid):
            if left and (price < order.yes_ticks if order.is_bid else price > order.yes_ticks):
                size = min(left, order.left_micro)
                left -= size
                fills.append(Fill(order.yes_ticks, size, order))
        return self._booked(taker_is_bid, fills)

    def _passed_by_quotes(self) -> list[tuple[bool, tuple[Fill, ...]]]:
        """A displayed quote strictly through our price is a taker that we would have met."""
        out: list[tuple[bool, tuple[Fill, ...]]] = []
        bid, ask = self.text.best()
        for taker_is_bid, quote in ((False, ask), (True, bid)):
            fills: list[Fill] = []
            for order in self._queue(not taker_is_bid):
                through = quote < order.yes_ticks if order.is_bid else quote > order.yes_ticks
                size = min(order.left_micro, self._open((taker_is_bid, quote))) if through else 0
                if size:
                    key = (taker_is_bid, quote)
                    self._taken[key] = self._taken.get(key, 0) + size
                    fills.append(Fill(order.yes_ticks, size, order))
            out += self._booked(taker_is_bid, fills)
        return out

    def _booked(self, taker_is_bid: bool, fills: list[Fill]) -> list[tuple[bool, tuple[Fill, ...]]]:
        """Forget orders that are now full (the engine counts the fills when it books them)."""
        for fill in fills:
            if fill.maker is not None and fill.size_micro >= fill.maker.left_micro:
                self._resting.remove(fill.maker)
        return [(taker_is_bid, tuple(fills))] if fills else []

    def _queue(self, is_bid: bool) -> list[Order]:
        """Return our resting orders of a side, best price and then oldest first."""
        mine = [order for order in self._resting if order.is_bid == is_bid]
        return sorted(mine, key=lambda order: -order.yes_ticks if is_bid else order.yes_ticks)

    # -- the engine's view --------------------------------------------------------------------

    def _open(self, key: Key) -> int:
        return self._shown.get(key, 0) - self._taken.get(key, 0)

    def _best_first(self, is_bid: bool) -> Iterator[int]:
        prices = [price for side, price in self._shown if side == is_bid]
        return iter(sorted(prices, reverse=is_bid))

    def plan(self, taking: Taking) -> Plan:
        """Return what would match now against the display, changing nothing."""
        fills: list[Fill] = []
        walk = Remaining(taking)
        for price in self._best_first(not taking.is_bid):
            if walk.is_done or not crosses(taking.is_bid, taking.limit_ticks, price):
                break
            size = walk.take(price, self._open((not taking.is_bid, price)))
            if size:
                fills.append(Fill(price, size))
        return Plan(tuple(fills), walk.is_done)

    def take(self, is_bid: bool, fills: Sequence[Fill]) -> None:
        for fill in fills:
            key = (not is_bid, fill.price_ticks)
            if fill.size_micro > self._open(key):
                raise InvariantError(
                    f"sim.shadow: expected at most {self._open(key)} left at {fill.price_ticks}, found {fill}"
                )
            self._taken[key] = self._taken.get(key, 0) + fill.size_micro

    def rest(self, order: Order) -> None:
        self._resting.append(order)

    def cancel(self, order: Order) -> None:
        if order not in self._resting:
            raise InvariantError(f"sim.shadow: order {order.order_id} expected at rest, was not found")
        self._resting.remove(order)

    def levels(self, is_bid: bool) -> list[tuple[int, int]]:
        """Return the recorded display, best first; what we took stays displayed."""
        return [(price, self._shown[is_bid, price]) for price in self._best_first(is_bid)]

    def take_changes(self) -> tuple[LevelChange, ...]:
        return ()

    def book(self) -> BookText:
        """Return the display as served to a subscriber that comes late."""
        return self.text
