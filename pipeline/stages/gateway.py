"""gateway.<id>: the only stage that sends orders.

Reads the signed ring (orders), `decisions` (Cancel, Beat: cancels need no wallet key) and `stream`
(Instrument rows); writes the report ring. At most once on the wire: before a request's first byte the
highest order number is stored, and a request without an answer is UNKNOWN, never sent again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.codec import CODECS, kind_of, offset_of
from pipeline.native.brake import refuse_late
from pipeline.native.flow import Sink, Source
from pipeline.native.relay import Filter
from pipeline.native.submit import SignedBatch, glance, sent_of
from pipeline.net.edge import Outbox, Submit
from pipeline.records import SLOT_BYTES, Cause, Kind, OrderState, Origin, Side
from pipeline.shm.halt import HaltPage
from pipeline.stages import rehearsal
from pipeline.stages.brake import Brake
from pipeline.stages.recall import Recall
from pipeline.stages.stage import Clock, Counts, no_one_to_tell, push_owed
from pipeline.units import MICRO, NS_PER_S
from pipeline.venues.polymarket import answers, wire
from pipeline.venues.polymarket.answers import Sent
from pipeline.venues.polymarket.encode import (
    OrderRenderer,
    RequestRenderer,
    cancel_body,
    heartbeat_body,
)

_REPORT = CODECS[Kind.REPORT]
_BEAT = CODECS[Kind.BEAT]
_NUMBER_AT = offset_of(Kind.SIGNED, "order_no")
ORDER_NO_NONE = (1 << 64) - 1  # a fence that lets nothing through
ORDERS_KEPT_MAX = 65_536
REPORT_SLOTS = 64  # room for every report that one turn may cause


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """`orders_per_s` and `orders_burst` are the account's tier (venue sheet 16)."""

    source: int
    is_dry: bool
    orders_per_s: int
    orders_burst: int
    batch_max: int = wire.BATCH_ORDERS_MAX
    source_seq: int = 0  # our count of reports goes on from here
    epoch: int = 0  # of this start; above 0, nothing is sent before `trade` fenced what an older one left
    heartbeat_ns: int = 3 * NS_PER_S
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
    is_heartbeat: bool = False


class GatewayMachine:
    """Sans-IO: signed orders and cancels in, requests and reports out."""

    def __init__(
        self, settings: GatewaySettings, orders: OrderRenderer, requests: RequestRenderer, brake: Brake,
        halt_page: HaltPage, sink: Sink, counts: Counts,
    ) -> None:
        self.outbox = Outbox()
        self.in_flight: dict[int, InFlight] = {}
        self._settings = settings
        self._orders = orders
        self._requests = requests
        self._brake = brake
        self._halt_level = halt_page.words.level  # the number itself: cheaper than a HaltLevel of it
        self._sink = sink
        self._counts = counts
        self._count_sent = counts.counter("orders_sent").add
        self._batch = SignedBatch()  # orders of one package
        self._owed: deque[bytes] = deque()  # reports that wait for room: reports are never dropped
        self._leaving: list[tuple[int, Sent]] = []  # on the wire and not yet reported as SENT
        self._sent: OrderedDict[int, Sent] = OrderedDict()  # by order number, for cancels
        self._overtaking: dict[int, Any] = {}  # cancels whose order has not come through yet
        self._source_seq = settings.source_seq
        self._seen_no = brake.order_no  # at most once: a number that is not above it was here before
        self._fence_no = ORDER_NO_NONE if settings.epoch else 0
        self._tag = 0
        self._tokens_micro = settings.orders_burst * MICRO
        self._tokens_ns = 0
        self._beat_ns = 0
        self._heartbeat_ns = 0
        self._heartbeat_id = ""

    # ------------------------------------------------------------------ inputs from the core

    def has_room(self) -> bool:
        """Whether every report that one more turn may cause fits the ring now."""
        return self.flush() and self._sink.has_room(REPORT_SLOTS)

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
            self._report(sent_of(slots, at, Sent), now_ns, OrderState.UNSENT, Origin.SIGNER, Cause(cause))
        else:
            batch.add(slots, at)
        if is_last or batch.count >= self._settings.batch_max:
            self._send_batch(now_ns)

    def on_cancel(self, now_ns: int, cancel: Any) -> None:
        """Cancel by hash; a cancel that overtakes its order ends the order unsent."""
        known = self._sent.get(cancel.order_no)
        if known is None and not any(cancel.order_hash):
            if len(self._overtaking) < ORDERS_KEPT_MAX:
                self._overtaking[cancel.order_no] = cancel
            return
        if self._settings.is_dry:
            return
        target = known or Sent(
            cancel.order_no, cancel.group_no, cancel.order_hash, Side.BUY, cancel.instrument)
        body = cancel_body(target.order_hash)
        data = self._requests.render("DELETE", wire.PATH_ORDER, now_ns // NS_PER_S, body)
        self._submit(data, InFlight(cancels=(target,)))
        self._counts.add("cancels_sent", 1)

    def on_instrument(self, slot: bytes, at: int) -> None:
        """Learn a row's tokens and exchange."""
        self._orders.on_instrument(slot, at)

    def on_beat(self, now_ns: int, fence_epoch: int, fence_no: int) -> None:
        """Trade was alive at `now_ns`; it ended or doubts the orders up to its fence when we came up."""
        self._beat_ns = now_ns
        if fence_epoch >= self._settings.epoch:
            self._fence_no = fence_no

    def recall(self, now_ns: int, orders: Sequence[Sent]) -> None:
        """Tell the hashes of orders that may have left before our start: the venue knows them by these."""
        for one in orders:
            self._report(one, now_ns, OrderState.UNKNOWN, Origin.GATEWAY, Cause.LANE_DIED)

    def forget(self) -> None:
        """Drop what is on its way, unsent and unreported: a rehearsal's machine has no driver."""
        while self.outbox.take() is not None:
            pass
        self.in_flight.clear()
        self._leaving.clear()
        self._seen_no = 0

    # ------------------------------------------------------------------ inputs from the driver

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Report what the answer says of each order and cancel of its request."""
        self.flush()
        request = self.in_flight.pop(tag, None)
        if request is None:
            return
        condition = answers.venue_condition(status, body, headers.get("retry-after", ""))
        if condition.state != answers.VenueState.NORMAL:
            self._counts.add("venue_troubles", 1)
            if condition.state == answers.VenueState.RATE_LIMITED:
                self._tokens_micro = 0
                self._tokens_ns = now_ns + condition.retry_after_ms * 1_000_000
        if request.is_heartbeat:
            self._heartbeat_id = answers.heartbeat_answer(status, body) or ""
            return
        if request.cancels:
            reports = answers.cancel_answer(status, body, request.cancels, now_ns)
        elif len(request.orders) == 1:
            reports = answers.order_answer(status, body, request.orders[0], now_ns)
        else:
            reports = answers.batch_answer(status, body, request.orders, now_ns)
        for report in reports:
            self._owe(report)

    def refuses(self, now_ns: int, tag: int) -> Cause:
        """Ask again about orders, right before their bytes: they may have waited, or the whole lane stood.

        NONE lets them go; cancels and heartbeats always may.
        """
        request = self.in_flight.get(tag)
        if request is None or not request.orders:
            return Cause.NONE
        level = self._halt_level()
        causes = (refuse_late(now_ns, request.deadline_ns, one, level) for one in request.classes)
        return Cause(next(filter(None, causes), Cause.NONE))

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """Not sent is definitive; sent without an answer is UNKNOWN until venue evidence."""
        self.flush()
        request = self.in_flight.pop(tag, None)
        if request is None:
            return
        judge = answers.no_answer if was_sent else answers.not_sent
        for report in judge(request.orders, cause, now_ns):
            self._owe(report)
        for cancel in request.cancels:
            self._report(cancel, now_ns, OrderState.CANCEL_REFUSED, Origin.GATEWAY, cause)

    def on_timer(self, now_ns: int) -> None:
        """Send the venue heartbeat, only while trade itself is alive."""
        self.flush()
        settings = self._settings
        is_alive = self._beat_ns and now_ns - self._beat_ns <= settings.beat_age_ns_max
        if is_alive and not settings.is_dry and now_ns - self._heartbeat_ns >= settings.heartbeat_ns:
            self._heartbeat_ns = now_ns
            body = heartbeat_body(self._heartbeat_id)
            data = self._requests.render("POST", wire.PATH_HEARTBEAT, now_ns // NS_PER_S, body)
            self._submit(data, InFlight(is_heartbeat=True))

    def flush(self) -> bool:
        """Publish owed reports; True when none is left. An order's SENT stands before its answer."""
        self._requests.prepare()
        leaving, self._leaving = self._leaving, []
        for now_ns, one in leaving:
            self._remember(one)
            self._report(one, now_ns, OrderState.SENT, Origin.GATEWAY, Cause.NONE)
        return push_owed(self._sink, self._owed)

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
        sent = batch.sent(Sent)
        if self._settings.is_dry:
            for one in sent:
                self._report(one, now_ns, OrderState.DRY, Origin.GATEWAY, Cause.DRY_RUN)
            return
        if not self._take_tokens(now_ns, len(sent)):
            self._end_unsent(sent, now_ns, Cause.RATE_LIMIT)
            return
        body = self._orders.render(batch.slots)
        if not isinstance(body, bytes):
            self._end_unsent(sent, now_ns, Cause(body))
            return
        path = wire.PATH_ORDER if len(sent) == 1 else wire.PATH_ORDERS
        data = self._requests.render("POST", path, now_ns // NS_PER_S, body)
        # The stored number is what makes a crash safe, so it comes first; the reports may follow the write.
        self._brake.commit(batch.order_no_max)
        self._leaving += [(now_ns, one) for one in sent]
        self._submit(data, InFlight(sent, (), *batch.head, *batch.bounds))
        self._count_sent(len(sent))

    def _end_unsent(self, sent: Sequence[Sent], now_ns: int, cause: Cause) -> None:
        for report in answers.not_sent(tuple(sent), cause, now_ns):
            self._owe(report)

    def _submit(self, data: bytes, request: InFlight) -> None:
        self._tag += 1
        self.in_flight[self._tag] = request
        self.outbox.put(Submit(self._tag, data))

    def _take_tokens(self, now_ns: int, count: int) -> bool:
        """Take from the token bucket of the account's tier, for the whole batch or not at all."""
        elapsed_ns = max(0, now_ns - self._tokens_ns)
        cap = self._settings.orders_burst * MICRO
        self._tokens_micro = min(cap, self._tokens_micro + elapsed_ns * self._settings.orders_per_s // 1_000)
        self._tokens_ns = max(self._tokens_ns, now_ns)
        if self._tokens_micro < count * MICRO:
            return False
        self._tokens_micro -= count * MICRO
        return True

    def _remember(self, sent: Sent) -> None:
        if len(self._sent) >= ORDERS_KEPT_MAX:
            self._sent.popitem(last=False)  # a dict would look past all that was deleted before
        self._sent[sent.order_no] = sent

    def _report(self, sent: Sent, now_ns: int, state: OrderState, origin: Origin, cause: Cause) -> None:
        self._owe(_REPORT.pack(
            recv_ns=now_ns, instrument=sent.instrument, order_no=sent.order_no, group_no=sent.group_no,
            order_hash=sent.order_hash, making_micro=-1, taking_micro=-1, matched_micro=-1,
            state=int(state), origin=int(origin), cause=int(cause), account=sent.account))

    def _owe(self, report: bytes) -> None:
        self._source_seq += 1
        stamped = bytearray(report)
        stamped[24:32] = self._source_seq.to_bytes(8, "little")
        stamped[40:42] = self._settings.source.to_bytes(2, "little")
        self._owed.append(bytes(stamped))


class GatewayStage:
    """Follows its channels for the machine; the driver carries its requests.

    While nothing is to be sent, `understudy`, a machine without a driver, keeps the code warm.
    """

    def __init__(
        self, name: str, machine: GatewayMachine, understudy: GatewayMachine, signed: Source,
        decisions: Filter, rows: Filter, clock: Clock, recall: Recall | None = None,
    ) -> None:
        self.name = name
        self._recall = recall
        self.machine = machine
        self._understudy = understudy
        self._pause = rehearsal.Pause(clock)
        self._signed = signed
        self._decisions = decisions
        self._rows = rows
        self._clock = clock
        #: Carries the machine's requests out; the driver puts itself here, so that no other stage of the lane
        #: stands between a rendered request and its first byte.
        self.carry: Callable[[], object] = no_one_to_tell
        understudy.on_instrument(rehearsal.MARKET, 0)

    def poll(self, budget: int) -> int:
        """Serve rows, orders and cancels, in this order: an order needs its row."""
        rows = self._rows.read(budget)
        for at in range(0, len(rows), SLOT_BYTES):
            self.machine.on_instrument(rows, at)
            if self._recall is not None:
                self._recall.on_instrument(rows, at)
        done = len(rows)
        if self._recall is not None and not rows:
            self.machine.recall(self._clock(), self._recall.orders())
            self._recall = None
        if self.machine.has_room():
            orders = self._signed.read(16)
            for at in range(0, len(orders), SLOT_BYTES):
                self.machine.on_signed(self._clock(), orders, at)
            if orders:
                self.carry()
            decided = self._decisions.read(16)
            for at in range(0, len(decided), SLOT_BYTES):
                self._on_decision(decided, at)
            done += len(orders) + len(decided)
            if orders:
                self._pause.work()
        if not done and self._pause.is_over:
            self._rehearse()
        return done // SLOT_BYTES

    def _rehearse(self) -> None:
        """Render a package's request for nobody: on a CPU of its own this lane wakes before one is signed."""
        for slot in rehearsal.SIGNED:
            self._understudy.on_signed(self._clock(), slot)
        self._understudy.forget()
        self._pause.work()

    def _on_decision(self, data: bytes, at: int) -> None:
        if kind_of(data, at) == Kind.CANCEL:
            self.machine.on_cancel(self._clock(), CODECS[Kind.CANCEL].unpack(data, at))
        else:
            beat = _BEAT.unpack(data, at)
            self.machine.on_beat(self._clock(), beat.fence_epoch, beat.fence_order_no)

    def close(self) -> None:
        """Nothing is held here: brake and page close with their lane."""
