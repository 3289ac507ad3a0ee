"""Trade and gateway together against a moody venue, in simulated time; an account edge tells REST's truth.

Intents of `Rig` become signed orders of `Wire`, its cancels go to the gateway, what that reports is the
stream. The venue's user channel says nothing unless a test speaks for it: only polls bring the truth.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.kinds import Kind, OrderState, Origin
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.core_rig import balance, event, fill, pack, report, started, tick, top
from tests.models.moody_venue import MoodyVenue, Wire

ROWS = (1, 2)
PASS_NS = 60 * NS_PER_MS  # a reconcile's walk over the venue's pages


class Desk:
    """`gone` says how an order ended at the venue: a state that a question by name brings."""

    def __init__(self, directory: Path, venue: MoodyVenue, seed: int, **limits: int) -> None:
        self.venue, self.wire = venue, Wire(directory, venue, seed)
        self.rig = started(*event(ROWS), usd_micro=10**15, **{"day_usd_micro_max": 10**15} | limits)
        self.gone: dict[int, OrderState] = {}
        self.intents: dict[int, Any] = {}
        self.decided: list[Any] = []
        self._told = 0
        self._filled: list[int] = []
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._at = 0

    @property
    def now_ns(self) -> int:
        return self.wire.now_ns

    @property
    def orders(self) -> Any:
        return self.rig.trader.facts.orders

    def offer(self, ask_ticks: int = 4_000) -> list[int]:
        """Show a profit; return the numbers of the orders that trade made of it."""
        before = set(self.intents)
        self.feed(balance(10**15, self.now_ns))
        self.feed(*(top(row, [], [(ask_ticks, 50)], self.now_ns) for row in ROWS), tick(self.now_ns))
        return sorted(set(self.intents) - before)

    def feed(self, *records: bytes) -> None:
        """Feed the stream, and carry out what trade decides."""
        for one in self.rig.feed(*records):
            self.decided.append(one)
            if one.kind == Kind.INTENT:
                self.intents[one.order_no] = one
                number, = self.wire.order(ttl_ns=5 * NS_PER_S)
                assert number == one.order_no
            elif one.kind == Kind.CANCEL:
                self.wire.cancel(one.order_no)
            elif one.kind == Kind.RECONCILE:
                self._at += 1
                answer = (self.now_ns + PASS_NS, self._at, lambda asked=one: self._reconcile(asked))
                heapq.heappush(self._due, answer)

    def steps(self, duration_ns: int) -> Iterator[int]:
        """Let time pass for both; yield after each step."""
        for now_ns in self.wire.steps(duration_ns):
            while self._due and self._due[0][0] <= now_ns:
                heapq.heappop(self._due)[2]()
            told, self._told = self.wire.slots[self._told:], len(self.wire.slots)
            for slot in told:
                self.feed(slot[:8] + now_ns.to_bytes(8, "little") + slot[16:])
            self.feed(tick(now_ns))
            yield now_ns

    def run(self, duration_ns: int) -> None:
        for _ in self.steps(duration_ns):
            pass

    def end(self, number: int, state: OrderState, *, filled: bool = False) -> None:
        """End an order at the venue, in silence; a poll tells its trade, if it has one."""
        self.venue.open.pop(number, None)
        self.gone[number] = state
        if filled:
            self._filled.append(number)

    def _reconcile(self, asked: Any) -> None:
        """Tell trades, what is open, and the one order that was asked for; then the pass is whole."""
        for number in self._filled:
            self.feed(fill(self.intents[number], self.intents[number].size_micro, number, self.now_ns))
        for number in list(self.venue.open):
            if number in self.intents:
                self.feed(report(number, OrderState.LIVE, Origin.RECONCILE, self.now_ns, matched_micro=0))
        number = asked.order_no
        if number and number not in self.venue.open:
            usual = OrderState.CANCELED if number in self.venue.cancelled else OrderState.UNKNOWN
            state = self.gone.get(number, usual)
            size = self.intents[number].size_micro if state == OrderState.MATCHED else 0
            matched = -1 if state == OrderState.UNKNOWN else size
            self.feed(report(number, state, Origin.RECONCILE, self.now_ns, matched_micro=matched))
        self.feed(pack(Kind.RECONCILED, now_ns=self.now_ns, request_no=asked.request_no, ok=1))

    def reserved(self, number: int) -> int:
        """Return what the order holds of the collateral now, USD micro."""
        return self.orders.by_no[number].reserved_usd_micro


def worst_of(intent: Any) -> int:
    """Return the least that an unfilled order must keep reserved: price times size, USD micro rounded up."""
    return int(-(-intent.price_ticks * intent.size_micro // 10_000))
