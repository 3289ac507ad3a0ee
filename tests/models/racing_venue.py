"""A venue whose matches, cancels and messages race, and `trade` in front of it; simulated time, exact ledger.

Written from the venue sheet (7, 11, 13), knowing nothing of how orders are followed. The venue's own events
decide what is true; what is told of them takes channels of its own: answers come in any order or never, the
user channel keeps its order and may lose a message, lists are read page by page while the truth goes on.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.codec import unpack
from pipeline.kinds import Cause, Kind, OrderState, OrderType, Origin, TradeStatus
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.core_rig import T0_NS, balance, event, fill, hash_of, pack, started, tick, top

S = OrderState
NEVER = 1 << 62
VENUE_ORIGINS = (Origin.HTTP, Origin.USER_CHANNEL, Origin.RECONCILE)


@dataclass(frozen=True, slots=True)
class Moods:
    """How likely each misfortune is, and how long things take at most, in ms."""

    lost_answers: float = 0.1  # of an order: cut behind the request
    lost_cancels: float = 0.1  # answers of a cancel
    lost_messages: float = 0.1  # of the user channel
    listed_late_ms: int = 200  # a trade stands in the lists so much behind its match, at most
    late_ms: int = 0  # an order whose answer was lost may arrive up to this much later
    never: float = 0.0  # or not at all
    latency_ms: int = 300
    halts: float = 0.3  # a halt that cancels everything, somewhere in the middle
    events: int = 1  # traded at the same time, two markets each
    tick_ms: int = 20
    offer_ms: int = 200


@dataclass(slots=True)
class Truth:
    """One order as the venue has it."""

    intent: Any
    state: str = "coming"  # then open, gone; or never
    is_lost: bool = False  # its answer
    ended: OrderState = S.UNKNOWN
    matched_micro: int = 0
    spent_usd_micro: int = 0
    trades: list[tuple[int, bytes]] = field(default_factory=list)  # (listed from, its FILL)

    @property
    def at_risk_usd_micro(self) -> int:
        """What it took and what it still can take, USD micro; at its limit price, fees are 0 here."""
        intent = self.intent
        left = intent.size_micro - self.matched_micro if self.state in ("coming", "open") else 0
        return self.spent_usd_micro + left * intent.price_ticks // 10_000


class Race:
    """Trade against the venue until nothing is on its way; `complaints` holds what did not hold."""

    def __init__(self, seed: object, moods: Moods) -> None:
        self.draw, self.moods, self.now_ns = random.Random(str(seed)), moods, T0_NS
        self.events = [(2 * number - 1, 2 * number) for number in range(1, moods.events + 1)]
        self.rig = started(
            *(one for number, rows in enumerate(self.events, 1)
              for one in event(rows, number, tick_step=1, tick_step_finest=1)),
            usd_micro=10**15, day_usd_micro_max=10**15, market_usd_micro_max=10**15,
            event_usd_micro_max=10**15)
        self.truths: dict[int, Truth] = {}
        self.submitted: list[int] = []
        self.packages: list[int] = []  # their groups
        self.complaints: list[str] = []
        self.cash_usd_micro = 0
        self.held: dict[tuple[int, int], int] = {}
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._planned = self._trade = self._user_ns = 0
        self._wanted: list[Any] = []  # passes that trade asked for and that did not begin
        self._is_passing = False

    @property
    def orders(self) -> Any:
        return self.rig.trader.facts.orders

    # -- time --------------------------------------------------------------------------------------

    def later(self, wait_ns: int, action: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._due, (self.now_ns + wait_ns, self._planned, action))

    def latency_ns(self) -> int:
        return self.draw.randint(1, self.moods.latency_ms) * NS_PER_MS

    def run(self, packages: int, seconds_max: int = 400) -> None:
        """Show a profit until so many packages were taken, then let everything end."""
        end_ns = self.now_ns + seconds_max * NS_PER_S
        offer_ns = self.now_ns
        if self.draw.random() < self.moods.halts:
            self.later(self.draw.randint(1, 1_500) * NS_PER_MS, self._halt)
        while self.now_ns < end_ns:
            if len(self.packages) < packages and self.now_ns >= offer_ns:
                offer_ns = self.now_ns + self.moods.offer_ms * NS_PER_MS
                self._offer()
            elif len(self.packages) >= packages and not self.orders.open_count and not self._due:
                return
            next_ns = self._due[0][0] if self._due else NEVER
            step_ns = (self.moods.tick_ms if next_ns - self.now_ns < NS_PER_S else 250) * NS_PER_MS
            while self._due and self._due[0][0] <= self.now_ns + step_ns:
                when_ns, _, action = heapq.heappop(self._due)
                self.now_ns, step_ns = when_ns, step_ns - (when_ns - self.now_ns)
                action()
                self._check()
            self.now_ns += step_ns
            self.feed(tick(self.now_ns))
        self.complaints.append(f"not over after {seconds_max} s: {self.orders.open_orders}")

    def _offer(self) -> None:
        self.feed(balance(10**15, self.now_ns))
        for rows in self.events:
            price = self.draw.choice((4_003, 4_007, 4_011, 4_000))
            self.feed(*(top(row, [], [(price, 33)], self.now_ns) for row in rows))
        self.feed(tick(self.now_ns))

    def _halt(self) -> None:
        self.feed(pack(Kind.HALT, now_ns=self.now_ns, level=2, cause=int(Cause.OPERATOR)))
        self.later(self.latency_ns(), lambda: self.feed(pack(Kind.HALT, now_ns=self.now_ns, level=0)))

    # -- what trade does ---------------------------------------------------------------------------

    def feed(self, *records: bytes) -> None:
        """Feed the stream at this time, check what the record proves, carry out what trade decides."""
        for record in records:
            orders = self.orders
            doubted = [order for order in orders.doubtful if order.state == S.UNKNOWN]
            decided = self.rig.feed(record)
            if doubted:
                self._check_evidence(record, [one for one in doubted if one.state != S.UNKNOWN])
            for one in decided:
                if one.kind == Kind.PACKAGE:
                    self._check_replaced(one)
                    self.packages.append(one.group_no)
                elif one.kind == Kind.INTENT:
                    self._submit(one)
                elif one.kind == Kind.CANCEL:
                    self.later(self.latency_ns(), lambda number=one.order_no: self._cancel(number))
                elif one.kind == Kind.RECONCILE:
                    self._wanted.append(one)
                    if not self._is_passing:
                        self._is_passing = True
                        self.later(self.latency_ns(), self._list_open)

    def _submit(self, intent: Any) -> None:
        draw, moods, number = self.draw, self.moods, intent.order_no
        truth = self.truths[number] = Truth(intent)
        self.submitted.append(number)
        self.later(draw.randint(0, 5) * NS_PER_MS, lambda: self.tell(number, S.SENT, Origin.GATEWAY))
        is_lost = truth.is_lost = draw.random() < moods.lost_answers
        travel_ns = self.latency_ns()
        if is_lost:
            cause = draw.choice((Cause.TIMEOUT, Cause.CONNECTION_LOST))
            self.later(
                draw.randint(10, 3_000) * NS_PER_MS,
                lambda: self.tell(number, S.UNKNOWN, Origin.GATEWAY, cause=int(cause)))
            if draw.random() < moods.never:
                truth.state = "never"
                return
            if moods.late_ms and draw.random() < 0.5:
                travel_ns = draw.randint(1, moods.late_ms) * NS_PER_MS
        self.later(travel_ns, lambda: self._arrive(number, is_lost))

    # -- the truth ---------------------------------------------------------------------------------

    def _arrive(self, number: int, is_lost: bool) -> None:
        draw, truth = self.draw, self.truths[number]
        truth.state = "open"
        if draw.random() < 0.5:
            self._match(number)
        is_fak = truth.intent.order_type == OrderType.FAK
        if is_fak and truth.state == "open":
            truth.state, truth.ended = "gone", S.CANCELED if not truth.matched_micro else S.MATCHED
        if not is_lost:
            matched = truth.matched_micro
            if is_fak and not matched:
                words = (S.CANCELED, {"making_micro": 0, "taking_micro": 0, "matched_micro": 0})
            elif matched:
                words = (S.MATCHED, {"taking_micro": matched, "matched_micro": matched})
            else:
                words = (S.LIVE, {})
            self.later(self.latency_ns(), lambda: self.tell(number, words[0], Origin.HTTP, **words[1]))
        if truth.state == "open":
            self._user(number, S.LIVE, truth.matched_micro)
            for _ in range(draw.randint(0, 3)):
                self.later(self.latency_ns() + self.latency_ns(), lambda: self._match(number))

    def _match(self, number: int) -> None:
        """Somebody takes a part of it, or all: money moves now, the words come when they come."""
        draw, truth = self.draw, self.truths[number]
        if truth.state != "open":
            return
        intent, left = truth.intent, truth.intent.size_micro - truth.matched_micro
        size = left if draw.random() < 0.4 else min(left, draw.randint(1, left // 10_000) * 10_000)
        better = draw.choice((0, 0, 1)) if intent.order_type == OrderType.GTC else 0
        usd = (intent.price_ticks - better) * size // 10_000
        truth.matched_micro += size
        truth.spent_usd_micro += usd
        self.cash_usd_micro -= usd
        key = (intent.instrument, intent.outcome)
        self.held[key] = self.held.get(key, 0) + size
        self._trade += 1
        told = fill(intent, size, self._trade, self.now_ns, usd_micro=usd, order_no=0)
        truth.trades.append((self.now_ns + draw.randint(0, self.moods.listed_late_ms) * NS_PER_MS, told))
        self._user_says(lambda: self.feed(restamped(told, self.now_ns)))
        for wait_s, status in ((1, TradeStatus.MINED), (2, TradeStatus.CONFIRMED)):
            later = fill(
                intent, size, self._trade, self.now_ns, status, usd_micro=usd, order_no=0)
            self.later(wait_s * NS_PER_S, lambda one=later: self.feed(restamped(one, self.now_ns)))
        if truth.matched_micro == intent.size_micro:
            truth.state, truth.ended = "gone", S.MATCHED
            self._user(number, S.MATCHED, truth.matched_micro)
        elif intent.order_type == OrderType.GTC:
            self._user(number, S.LIVE, truth.matched_micro)

    def _cancel(self, number: int) -> None:
        """A cancel arrives: only what rests can be cancelled; its answer says nothing of what matched."""
        truth, is_open = self.truths[number], False
        if truth.state == "open":
            truth.state, truth.ended, is_open = "gone", S.CANCELED, True
            self._user(number, S.CANCELED, truth.matched_micro)
        if self.draw.random() < self.moods.lost_cancels:
            return
        state = S.CANCELED if is_open else S.CANCEL_REFUSED
        self.later(self.latency_ns(), lambda: self.tell(number, state, Origin.HTTP))

    # -- what is told ------------------------------------------------------------------------------

    def tell(self, number: int, state: OrderState, origin: Origin, **more: int) -> None:
        values = {"making_micro": -1, "taking_micro": -1, "matched_micro": -1} | more
        self.feed(pack(
            Kind.REPORT, now_ns=self.now_ns, order_no=0 if origin == Origin.USER_CHANNEL else number,
            order_hash=hash_of(number), state=int(state), origin=int(origin), **values))

    def _user(self, number: int, state: OrderState, matched_micro: int) -> None:
        self._user_says(
            lambda: self.tell(number, state, Origin.USER_CHANNEL, matched_micro=matched_micro))

    def _user_says(self, say: Callable[[], None]) -> None:
        """In order, some time later, twice now and then, or lost."""
        self._user_ns = max(self._user_ns + 1, self.now_ns + self.latency_ns())
        if self.draw.random() >= self.moods.lost_messages:
            for _ in range(self.draw.choice((1, 1, 1, 2))):
                self.later(self._user_ns - self.now_ns, say)

    def _list_open(self) -> None:
        """A pass reads open orders, then trades, then orders by name; the open ones are told at its end."""
        wanted, self._wanted = self._wanted, []
        listed = [(number, one.matched_micro) for number, one in self.truths.items() if one.state == "open"]
        self.later(self.latency_ns(), lambda: self._list_trades(wanted, listed))

    def _list_trades(self, wanted: list[Any], listed: list[tuple[int, int]]) -> None:
        """Each trade is passed on once, when the list shows it."""
        for truth in self.truths.values():
            seen = [told for visible_ns, told in truth.trades if visible_ns <= self.now_ns]
            truth.trades = [one for one in truth.trades if one[0] > self.now_ns]
            for told in seen:
                self.feed(restamped(told, self.now_ns))
        self.later(self.latency_ns(), lambda: self._look_up(wanted, listed))

    def _look_up(self, wanted: list[Any], listed: list[tuple[int, int]]) -> None:
        for number in [one.order_no for one in wanted if one.order_no]:
            truth = self.truths[number]
            if truth.state in ("open", "gone"):
                state = S.LIVE if truth.state == "open" else truth.ended
                self.tell(number, state, Origin.RECONCILE, matched_micro=truth.matched_micro)
            else:
                self.tell(number, S.UNKNOWN, Origin.RECONCILE, cause=int(Cause.UNKNOWN_ORDER_OPEN))
        for number, matched in listed:
            self.tell(number, S.LIVE, Origin.RECONCILE, matched_micro=matched)
        request_no = max(one.request_no for one in wanted)
        self._is_passing = False
        self.feed(pack(Kind.RECONCILED, now_ns=self.now_ns, request_no=request_no, ok=1))
        if self._wanted and not self._is_passing:
            self._is_passing = True
            self.later(self.latency_ns(), self._list_open)

    # -- what must hold ----------------------------------------------------------------------------

    def _check(self) -> None:
        """I1: what each order took and may still take is told or reserved."""
        orders = self.orders.by_no
        for number, truth in self.truths.items():
            order = orders[number]
            known = order.spent_usd_micro + order.reserved_usd_micro
            if known < truth.at_risk_usd_micro:
                self.complaints.append(
                    f"I1 at {(self.now_ns - T0_NS) / NS_PER_S:.3f} s: {known} known of "
                    f"{truth.at_risk_usd_micro} uUSD; {truth.state}, {order}")

    def _check_evidence(self, record: bytes, found: list[Any]) -> None:
        """I4: an order leaves UNKNOWN by the venue's word, a trade or a whole pass alone."""
        if not found:
            return
        said = unpack(record)
        is_proof = said.kind in (Kind.FILL, Kind.RECONCILED) or (
            said.kind == Kind.REPORT and said.origin in VENUE_ORIGINS)
        if not is_proof:
            self.complaints.append(f"I4: {found} left UNKNOWN by {said}")

    def _check_replaced(self, package: Any) -> None:
        """A replacement only behind the end of what it replaces, or while that is reserved in full."""
        for number, truth in self.truths.items():
            order = self.orders.by_no[number]
            if truth.state in ("coming", "open") and (order.is_closed or not order.reserved_usd_micro):
                self.complaints.append(f"group {package.group_no} replaces order {number}: {truth.state}")

    def ended(self) -> list[str]:
        """Return everything that does not hold, at rest."""
        found, facts = self.complaints[:5], self.rig.trader.facts
        found += [f"open there: {number}" for number, one in self.truths.items() if one.state == "open"]
        found += [f"open here: {order}" for order in self.orders.open_orders]
        if facts.orders.reservations.usd_micro:
            found.append(f"still reserved: {facts.orders.reservations.usd_micro} uUSD")
        if facts.positions.cash_usd_micro != self.cash_usd_micro:
            found.append(f"cash {facts.positions.cash_usd_micro}, ledger {self.cash_usd_micro}")
        for key, size in self.held.items():
            held = facts.positions.held(*key)
            if held != size:
                found.append(f"position {key} {held}, ledger {size}")
        for number, truth in self.truths.items():
            state = facts.orders.by_no[number].state
            if truth.state == "never":
                if state != S.CANCELED:
                    found.append(f"order {number} never arrived, is {state}")
            elif facts.orders.by_no[number].filled_micro != truth.matched_micro:
                found.append(f"order {number}: {facts.orders.by_no[number]}, matched {truth.matched_micro}")
        return found


def restamped(slot: bytes, now_ns: int) -> bytes:
    """Return a record as it comes at another time."""
    return slot[:8] + now_ns.to_bytes(8, "little") + slot[16:]


