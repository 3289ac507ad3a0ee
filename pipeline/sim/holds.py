"""Takers that a market holds before they match: `sd` for seconds, `itode` for a moment.

A held order has its funds reserved and cannot be cancelled; when its time is over it meets the book as it
is then. In an `sd` market the request is answered "delayed" at once, in an `itode` market after the hold.
Post-only orders and those that would only rest are not held. Source: venue sheet 15.1, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.sim import errors_text as texts
from pipeline.sim.book import Order, Status, taking
from pipeline.sim.errors_text import Refusal
from pipeline.sim.later import Later
from pipeline.sim.timers import Timers
from pipeline.sim.trades import Listener, Placed
from pipeline.units import NS_PER_S

if TYPE_CHECKING:
    from pipeline.sim.engine import Engine


class Holds:
    """Held orders of one engine; they stand in `Engine.held`."""

    def __init__(self, engine: Engine, timers: Timers, listener: Listener) -> None:
        self._engine = engine
        self._timers = timers
        self._listener = listener
        self._answers: dict[str, Later[Placed | Refusal]] = {}  # by order id, where the request waits

    def wait_ns(self, order: Order) -> int:
        """Return how long its market would hold the order if it takes; 0 = not at all."""
        if order.post_only:
            return 0
        if order.market.seconds_delay:
            return order.market.seconds_delay * NS_PER_S
        return self._engine.settings.itode_hold_ns if order.market.delays_takers else 0

    def hold(self, now_ns: int, order: Order, hold_ns: int) -> Placed:
        """Keep a taker for the time."""
        self._engine.tally.held += 1
        order.status, order.status_text = Status.DELAYED, "DELAYED"
        self._engine.held.setdefault(order.account.name, {})[order.order_id] = order
        self._listener.on_order(now_ns, order, "PLACEMENT")
        self._timers.at(now_ns + hold_ns, lambda due_ns: self._end(due_ns, order))
        if order.market.seconds_delay:
            return Placed(order, (), "delayed")
        answer = self._answers[order.order_id] = Later()
        return Placed(order, (), "delayed", answer)

    def drop(
        self, now_ns: int, orders: Iterable[Order], status_text: str = "CANCELED_ORDER_TIMED_OUT"
    ) -> None:
        """End held orders unmatched: their market is resolved, or the engine takes nothing any more."""
        for order in orders:
            del self._engine.held[order.account.name][order.order_id]
            order.status, order.status_text = Status.CANCELED, status_text
            self._listener.on_order(now_ns, order, "CANCELLATION")
            self._give(now_ns, order, texts.ORDER_TIMED_OUT)

    def _end(self, now_ns: int, order: Order) -> None:
        engine = self._engine
        if order.status is not Status.DELAYED:
            return
        if not engine.mode.is_matching:
            self.drop(now_ns, [order])
            return
        del engine.held[order.account.name][order.order_id]
        plan = engine.books[order.market.condition].plan(taking(order))
        refusal = engine.funds.refuse(order, plan.fills, plan.is_complete)
        if refusal is not None:  # its owner knows the order, so he hears of its end
            self._give(now_ns, order, engine.turn_down(now_ns, order, replace(refusal, kills=True)))
            return
        order.status, order.status_text = Status.LIVE, "LIVE" if plan.fills else "UNMATCHED"
        placed = engine.match(now_ns, order, plan.fills, "UPDATE")
        self._give(now_ns, order, placed if placed.trades else replace(placed, status="unmatched"))

    def _give(self, now_ns: int, order: Order, answer: Placed | Refusal) -> None:
        waiting = self._answers.pop(order.order_id, None)
        if waiting is not None:
            waiting.give(now_ns, answer)
