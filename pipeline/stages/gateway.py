"""gateway.<id>, the machine: the only one that sends orders. `gateway_stage` feeds it, `net/orders` carries.

Takes signed orders, cancels, beats and rows; writes the report ring. At most once on the wire: before a
request's first byte the highest order number is stored, and a request without an answer is UNKNOWN, never
sent again. What the venue takes now, and how much (`venues/polymarket/modes`, `budgets`), is asked before
each request and told in VENUE records.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.codec import CODECS, offset_of
from pipeline.kinds import Cause, HaltLevel, Kind, OrderState, Origin, Side
from pipeline.native.brake import refuse_late
from pipeline.native.flow import Sink
from pipeline.native.submit import SignedBatch, glance, sent_of
from pipeline.net.edge import Outbox, Submit
from pipeline.shm.halt import HaltPage
from pipeline.stages.brake import Brake
from pipeline.stages.cancels import KEPT_MAX, Cancels
from pipeline.stages.pulse import Pulse
from pipeline.stages.reports import Reports
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import answers, modes, wire
from pipeline.venues.polymarket.answers import Sent, VenueState
from pipeline.venues.polymarket.budgets import Budgets
from pipeline.venues.polymarket.encode import (
    OrderRenderer,
    RequestRenderer,
    cancel_body,
    cancel_market_body,
    cancels_body,
    heartbeat_body,
)
from pipeline.venues.polymarket.modes import Asked, VenueModes
from pipeline.venues.polymarket.wire import SignerRates

_VENUE = CODECS[Kind.VENUE]
_NUMBER_AT = offset_of(Kind.SIGNED, "order_no")
_CONDITION_AT = offset_of(Kind.INSTRUMENT, "condition")
_ROW_AT = offset_of(Kind.INSTRUMENT, "instrument")
ORDER_NO_NONE = (1 << 64) - 1  # a fence that lets nothing through
REFRESH_NS = 10 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`rates` are the account's tier (venue sheet 16); None: no limit, for a rehearsal."""

    source: int
    is_dry: bool
    rates: SignerRates | None
    account: int = 0
    batch_max: int = wire.BATCH_ORDERS_MAX
    source_seq: int = 0  # our count of reports goes on from here
    epoch: int = 0  # of this start; above 0, nothing is sent before `trade` fenced what an older one left
    heartbeat_ns: int = wire.HEARTBEAT_SECONDS * NS_PER_S
    beat_age_ns_max: int = NS_PER_S


class InFlight(NamedTuple):
    """One request on the wire; numbers and time of the cause belong to the package's latency line."""

    orders: tuple[Sent, ...] = ()
    cancels: tuple[Sent, ...] = ()
    group_no: int = 0
    cause_seq: int = 0
    recv_ns: int = 0
    deadline_ns: int = 0  # no byte of its orders leaves behind it
    classes: bytes = b""  # each order's IntentClass
    is_post_only: bool = False  # every one of its orders is
    sent_ns: int = 0
    asked: Asked = Asked.ORDER


class GatewayMachine:
    """Sans-IO: signed orders and cancels in, requests and reports out. halt_page: opened as this gateway."""

    def __init__(
        self, settings: GatewaySettings, orders: OrderRenderer, requests: RequestRenderer, brake: Brake,
        halt_page: HaltPage, sink: Sink, counts: Counts,
    ) -> None:
        self.outbox = Outbox()
        self.in_flight: dict[int, InFlight] = {}
        self.cancels = Cancels()
        self._settings = settings
        self._orders = orders
        self._requests = requests
        self._brake = brake
        self._halt_page = halt_page
        self._halt_level = halt_page.words.level  # the number itself: cheaper than a HaltLevel of it
        self._counts = counts
        self._count_sent = counts.counter("orders_sent").add
        self._modes = VenueModes(settings.epoch)
        self._budgets = Budgets(settings.rates, settings.epoch)
        self._pulse = Pulse(settings.heartbeat_ns, settings.beat_age_ns_max)
        self._reports = Reports(sink, settings.source, settings.source_seq)
        self._batch = SignedBatch()  # orders of one package
        self._leaving: list[tuple[int, Sent]] = []  # on the wire and not yet reported as SENT
        self._sent: OrderedDict[int, Sent] = OrderedDict()  # by order number, for cancels
        self._overtaking: dict[int, Any] = {}  # cancels whose order has not come through yet
        self._conditions: dict[int, bytes] = {}  # of each row, for the cancel of a market
        self._seen_no = brake.order_no  # at most once: a number that is not above it was here before
        self._fence_no = ORDER_NO_NONE if settings.epoch else 0
        self._tag = 0
        self._refreshed_ns = 0
        operator = halt_page.entry("operator")
        if operator.level == HaltLevel.H0 and operator.since_ns:  # resumed while no gateway ran
            self.on_clear(operator.since_ns, operator.since_ns)

    # ------------------------------------------------------------------ inputs from the core

    def has_room(self) -> bool:
        """Whether every report that one more turn may cause fits the ring now."""
        return self.flush() and self._reports.has_room()

    def on_signed(self, now_ns: int, slots: bytes, at: int = 0) -> None:
        """Collect a package's orders; its last one sends the batch."""
        group_no, cause, is_last = glance(slots, at)
        batch, order_no = self._batch, int.from_bytes(slots[at + _NUMBER_AT : at + _NUMBER_AT + 8], "little")
        if batch.count and batch.head[0] != group_no:
            self._send_batch(now_ns)
        if order_no <= self._seen_no:
            self._counts.add("orders_repeated")  # a signer that died may sign its last orders again
            return
        self._seen_no = order_no
        if order_no <= self._fence_no:
            self._end_unsent((sent_of(slots, at, Sent),), now_ns, Cause.LANE_DIED)
        elif cause:
            self._reports.tell(
                sent_of(slots, at, Sent), now_ns, OrderState.UNSENT, Origin.SIGNER, Cause(cause))
        else:
            batch.add(slots, at)
        if is_last or batch.count >= self._settings.batch_max:
            self._send_batch(now_ns)

    def on_cancel(self, now_ns: int, cancel: Any) -> None:
        """Cancel by hash at the next `send_cancels`; one that overtakes its order ends the order unsent."""
        known = self._sent.get(cancel.order_no)
        if known is None and not any(cancel.order_hash):
            if len(self._overtaking) < KEPT_MAX:
                self._overtaking[cancel.order_no] = cancel
            return
        if self._settings.is_dry:
            return
        target = known or Sent(
            cancel.order_no, cancel.group_no, cancel.order_hash, Side.BUY, cancel.instrument,
            self._settings.account)
        if not self.cancels.want(target):
            self._cancel_market(now_ns, target)

    def on_instrument(self, slot: bytes, at: int) -> None:
        """Learn a row's tokens, exchange and condition."""
        self._orders.on_instrument(slot, at)
        row = int.from_bytes(slot[at + _ROW_AT : at + _ROW_AT + 4], "little")
        self._conditions[row] = bytes(slot[at + _CONDITION_AT : at + _CONDITION_AT + 32])

    def on_beat(self, now_ns: int, fence_epoch: int, fence_no: int, open_orders: int = 0) -> None:
        """Trade was alive at `now_ns`; it ended or doubts the orders up to its fence when we came up."""
        self._pulse.on_beat(now_ns)
        self._budgets.cover(now_ns, open_orders)
        if fence_epoch >= self._settings.epoch:
            self._fence_no = fence_no

    def on_clear(self, now_ns: int, cleared_ns: int) -> None:
        """The operator lifted halts: ours goes, if it is older; what caused it causes it again.

        A start reads every Clear of the stream: what was lifted before we halted says nothing of that.
        """
        owner = self._halt_page.owner
        if owner is None or cleared_ns < self._halt_page.entry(owner).since_ns:
            return
        self._modes.halting = None
        if self._halt_page.entry(owner).level:
            self._halt_page.put(
                HaltLevel.H0, now_ns=now_ns, cause=Cause.NONE, durable=False, reason="gateway: resumed")

    def recall(self, now_ns: int, orders: Sequence[Sent]) -> None:
        """Tell the hashes of orders that may have left before our start: the venue knows them by these."""
        for one in orders:
            self._reports.tell(one, now_ns, OrderState.UNKNOWN, Origin.GATEWAY, Cause.LANE_DIED)

    def forget(self) -> None:
        """Drop what is on its way, unsent and unreported: a rehearsal's machine has no driver."""
        while self.outbox.take() is not None:
            pass
        self.in_flight.clear()
        self._leaving.clear()
        self._budgets.refresh(0)
        self._seen_no = 0

    # ------------------------------------------------------------------ inputs from the driver

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Report what the answer says of each order and cancel of its request, and note what of the venue."""
        self.flush()
        request = self.in_flight.pop(tag, None)
        if request is None:
            return
        condition = answers.venue_condition(status, body, headers.get("retry-after", ""))
        if condition.state != VenueState.NORMAL:
            self._counts.add("venue_troubles", 1)
        self._modes.on_answer(
            now_ns, request.sent_ns, request.asked, status, condition, is_post_only=request.is_post_only)
        if request.asked == Asked.HEARTBEAT:
            if self._pulse.on_answer(now_ns, request.sent_ns, status, body, condition.retry_after_ms):
                self._modes.pulse_found(now_ns)
        elif request.asked == Asked.CANCEL:
            self._on_cancel_answer(now_ns, request, status, headers, body, condition)
        elif request.asked == Asked.ORDER:
            in_flight = sum(len(other.orders) for other in self.in_flight.values())
            self._budgets.on_headers(now_ns, headers, in_flight, is_cancel=False)
            judge = answers.batch_answer if len(request.orders) > 1 else _order_answer
            self._reports.owe(judge(status, body, request.orders, now_ns))
        self._tell_venue(now_ns, doubt=condition.state == VenueState.MISVERSIONED)

    def _on_cancel_answer(
        self, now_ns: int, request: InFlight, status: int, headers: dict[str, str], body: bytes,
        condition: answers.VenueCondition,
    ) -> None:
        """Refused without a look, cancels wait for their turn again: that is no word on their orders."""
        in_flight = sum(len(other.cancels) for other in self.in_flight.values())
        self._budgets.on_headers(now_ns, headers, in_flight, is_cancel=True)
        if condition.state == VenueState.RATE_LIMITED:
            self._budgets.hold_cancels(now_ns, condition.retry_after_ms)
        if condition.state not in (VenueState.NORMAL, VenueState.CLOSED_ONLY, VenueState.MISVERSIONED):
            self.cancels.put_back(request.cancels)
            return
        self._budgets.cancels_flow()
        for one in request.cancels:
            self.cancels.answered(one.order_hash)
        self._reports.owe(answers.cancel_answer(status, body, request.cancels, now_ns))

    def refuses(self, now_ns: int, tag: int) -> Cause:
        """Ask again about orders, right before their bytes: they may have waited, or the whole lane stood.

        NONE lets them go; cancels and heartbeats always may.
        """
        request = self.in_flight.get(tag)
        if request is None or not request.orders:
            return Cause.NONE
        if self._modes.mode and not self._modes.allows(Asked.ORDER, is_post_only=request.is_post_only):
            return Cause.VENUE_MODE
        level = self._halt_level()
        causes = (refuse_late(now_ns, request.deadline_ns, one, level) for one in request.classes)
        return Cause(next(filter(None, causes), Cause.NONE))

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """Not sent is definitive; sent without an answer is UNKNOWN until venue evidence."""
        self.flush()
        request = self.in_flight.pop(tag, None)
        if request is None:
            return
        if was_sent or cause == Cause.NO_CONNECTION:
            self._modes.on_silence(now_ns, request.sent_ns, request.asked, cause)
        if request.asked == Asked.HEARTBEAT:
            self._pulse.on_silence(now_ns)
        judge = answers.no_answer if was_sent else answers.not_sent
        self._reports.owe(judge(request.orders, cause, now_ns))
        self.cancels.put_back(request.cancels)
        self._tell_venue(now_ns)

    def on_timer(self, now_ns: int) -> None:
        """Do what is due: heartbeat, cancels that wait, a question to a venue that takes nothing."""
        self.flush()
        self._tell_venue(now_ns)
        if self._settings.is_dry:
            return
        if self._pulse.is_due(now_ns):
            self._pulse.sent(now_ns)
            self._ask(now_ns, Asked.HEARTBEAT, wire.PATH_HEARTBEAT, heartbeat_body(self._pulse.heartbeat_id))
        if self._pulse.look(now_ns):
            self._modes.pulse_lost(now_ns)
            self._tell_venue(now_ns, doubt=True)
        self.send_cancels(now_ns)
        if self._modes.is_due(now_ns):
            self._modes.asking(now_ns)
            self._ask(now_ns, Asked.PROBE, wire.PATH_ORDERS, modes.PROBE_BODY)
        if now_ns - self._refreshed_ns >= REFRESH_NS:
            self._refreshed_ns = now_ns
            self._budgets.refresh(now_ns)
            self._counts.put("venue_mode", int(self._modes.mode))
            self._counts.put("cancels_waiting", len(self.cancels))
            self._counts.put("rate_warnings", self._budgets.warnings)

    def flush(self) -> bool:
        """Publish owed reports; True when none is left. An order's SENT stands before its answer."""
        self._requests.prepare()
        leaving, self._leaving = self._leaving, []
        for now_ns, one in leaving:
            self._remember(one)
            self._reports.tell(one, now_ns, OrderState.SENT, Origin.GATEWAY, Cause.NONE)
        return self._reports.flush()

    # ------------------------------------------------------------------ sending

    def _send_batch(self, now_ns: int) -> None:
        batch = self._batch
        refused = batch.ask(self._brake, now_ns, self._halt_level(), self._overtaking, Sent)
        for one, cause in refused:
            self._end_unsent((one,), now_ns, Cause(cause) if cause else Cause.OVERTAKEN)
        if batch.count:
            self._send(now_ns, batch)
            batch.clear()

    def _send(self, now_ns: int, batch: SignedBatch) -> None:
        sent, bounds = batch.sent(Sent), batch.bounds
        if self._settings.is_dry:
            for one in sent:
                self._reports.tell(one, now_ns, OrderState.DRY, Origin.GATEWAY, Cause.DRY_RUN)
            return
        if self._modes.mode and not self._modes.allows(Asked.ORDER, is_post_only=bounds[2]):
            self._end_unsent(sent, now_ns, Cause.VENUE_MODE)
            return
        path = wire.PATH_ORDER if len(sent) == 1 else wire.PATH_ORDERS
        if not self._budgets.take_orders(now_ns, len(sent), path):
            self._end_unsent(sent, now_ns, Cause.RATE_LIMIT)
            return
        body = self._orders.render(batch.slots)
        if not isinstance(body, bytes):
            self._end_unsent(sent, now_ns, Cause(body))
            return
        data = self._requests.render("POST", path, now_ns // NS_PER_S, body)
        # The stored number is what makes a crash safe, so it comes first; the reports may follow the write.
        self._brake.commit(batch.order_no_max)
        self._leaving += [(now_ns, one) for one in sent]
        self._submit(data, InFlight(sent, (), *batch.head, *bounds, now_ns))
        self._count_sent(len(sent))

    def send_cancels(self, now_ns: int) -> None:
        """Send what waits, as much as mode and bucket let through: one request, of one order or of many."""
        cancels, venue = self.cancels, self._modes
        if not len(cancels):
            return
        is_question = not venue.allows(Asked.CANCEL)
        if is_question and not venue.is_due(now_ns, cancel_waits=True):
            return
        path = wire.PATH_ORDER if len(cancels) == 1 else wire.PATH_ORDERS
        taken = cancels.take(self._budgets.cancels_room(now_ns, path))
        if not taken:
            return
        if is_question:
            venue.asking(now_ns)  # a cancel is the best question there is
        hashes = [one.order_hash for one in taken]
        body = cancel_body(hashes[0]) if path == wire.PATH_ORDER else cancels_body(hashes)
        self._budgets.take_cancels(now_ns, len(taken), path)
        data = self._requests.render("DELETE", path, now_ns // NS_PER_S, body)
        self._submit(data, InFlight((), taken, sent_ns=now_ns, asked=Asked.CANCEL))
        self._counts.add("cancels_sent", len(taken))

    def _cancel_market(self, now_ns: int, target: Sent) -> None:
        """Cancel everything of a market one of whose orders the venue gave no word on, again and again."""
        condition = self._conditions.get(target.instrument)
        path = wire.PATH_CANCEL_MARKET
        if condition is None or self._budgets.cancels_room(now_ns, path) < 1:
            self.cancels.put_back((target,))
            return
        self._budgets.take_cancels(now_ns, 1 + self._budgets.open_orders, path)
        data = self._requests.render("DELETE", path, now_ns // NS_PER_S, cancel_market_body(condition))
        self._submit(data, InFlight((), (target,), sent_ns=now_ns, asked=Asked.CANCEL))
        self._counts.add("market_cancels_sent", 1)

    def _ask(self, now_ns: int, asked: Asked, path: str, body: bytes) -> None:
        data = self._requests.render("POST", path, now_ns // NS_PER_S, body)
        self._submit(data, InFlight(sent_ns=now_ns, asked=asked))

    def _end_unsent(self, sent: Sequence[Sent], now_ns: int, cause: Cause) -> None:
        self._reports.owe(answers.not_sent(tuple(sent), cause, now_ns))

    def _submit(self, data: bytes, request: InFlight) -> None:
        self._tag += 1
        self.in_flight[self._tag] = request
        self.outbox.put(Submit(self._tag, data))

    def _remember(self, sent: Sent) -> None:
        if len(self._sent) >= KEPT_MAX:
            self._sent.popitem(last=False)  # a dict would look past all that was deleted before
        self._sent[sent.order_no] = sent

    def _tell_venue(self, now_ns: int, *, doubt: bool = False) -> None:
        """Tell a mode that changed, and halt where no waiting helps."""
        if self._modes.take_untold() or doubt:
            mode, cause, status, until_ns, text = self._modes.standing
            self._reports.owe((_VENUE.pack(
                recv_ns=now_ns, mode=int(mode), cause=int(cause), http_status=status, until_ns=until_ns,
                doubt=int(doubt), account=self._settings.account, text=answers.plain(text)),))
            self._counts.put("venue_mode", int(mode))
        halting = self._modes.halting
        if halting is not None and self._halt_level() < halting.level and self._halt_page.owner is not None:
            self._halt_page.put(
                halting.level, now_ns=now_ns, cause=halting.cause, durable=False, reason=halting.reason)


def _order_answer(status: int, body: bytes, orders: Sequence[Sent], recv_ns: int) -> list[bytes]:
    return answers.order_answer(status, body, orders[0], recv_ns)
