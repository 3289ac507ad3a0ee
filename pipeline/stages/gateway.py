"""gateway.<id>: the only stage that sends orders.

Reads the signed ring (orders), `decisions` (Cancel, Beat: cancels need no wallet key) and `stream`
(Instrument rows); writes the report ring. At most once on the wire: before a request's first byte the
highest order number is stored, and a request without an answer is UNKNOWN, never sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.native.flow import Sink
from pipeline.net.edge import Outbox, Submit
from pipeline.records import CODECS, SLOT_BYTES, Cause, Kind, OrderState, Origin
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import Status
from pipeline.stages.brake import Brake
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket import answers
from pipeline.venues.polymarket.encode import OrderRenderer

_SIGNED = CODECS[Kind.SIGNED]
_REPORT = CODECS[Kind.REPORT]
HASHES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    source: int
    is_dry: bool
    orders_per_s: int  # the account's tier, polymarket.md 16
    orders_burst: int
    batch_max: int = 15
    heartbeat_ns: int = 3 * NS_PER_S
    beat_age_ns_max: int = NS_PER_S


@dataclass(frozen=True, slots=True)
class InFlight:
    """One request on the wire."""

    orders: tuple[Any, ...]  # unpacked Signed records, in the order of the body
    cancels: tuple[Any, ...] = ()
    is_heartbeat: bool = False


class GatewayMachine:
    """Sans-IO: signed orders and cancels in, requests and reports out."""

    def __init__(
        self, settings: GatewaySettings, renderer: OrderRenderer, brake: Brake, halt_page: HaltPage, sink: Sink,
        status: Status,
    ) -> None:
        self.outbox = Outbox()
        self.requests: dict[int, InFlight] = {}
        self._settings = settings
        self._renderer = renderer
        self._brake = brake
        self._halt_page = halt_page
        self._sink = sink
        self._status = status
        self._batch: list[Any] = []
        self._owed: deque[bytes] = deque()  # reports that wait for room; control never drops
        self._hashes: dict[int, bytes] = {}  # order number -> order hash, for cancels
        self._unsent_cancels: dict[int, Any] = {}
        self._source_seq = 0
        self._tag = 0
        self._tokens_micro = settings.orders_burst * 1_000_000
        self._tokens_ns = 0
        self._beat_ns = 0
        self._heartbeat_ns = 0
        self._heartbeat_id = ""

    # ------------------------------------------------------------------ inputs from the core

    def has_room(self) -> bool:
        """Whether every report that one more batch may cause fits the ring now."""
        return self.flush() and self._sink.has_room(64)

    def on_signed(self, now_ns: int, slot: bytes | memoryview, at: int = 0) -> None:
        """Collect a package's orders; the last one sends the batch."""
        order = _SIGNED.unpack(slot, at)
        if self._batch and self._batch[0].group_no != order.group_no:
            self._send_batch(now_ns)
        if order.cause != Cause.NONE:
            self._report(order, now_ns, OrderState.UNSENT, Origin.SIGNER, Cause(order.cause))
        else:
            self._batch.append(order)
        if order.batch_index + 1 >= order.batch_count or len(self._batch) >= self._settings.batch_max:
            self._send_batch(now_ns)

    def on_cancel(self, now_ns: int, cancel: Any) -> None:
        """Cancel by hash; one that overtakes its order ends the order unsent."""
        order_hash = self._hashes.get(cancel.order_no) or (cancel.order_hash if any(cancel.order_hash) else None)
        if order_hash is None:
            self._unsent_cancels[cancel.order_no] = cancel
            return
        if self._settings.is_dry:
            return
        self._submit(now_ns, self._renderer.cancel_request(order_hash, now_ns // NS_PER_S), InFlight((), (cancel,)))

    def on_instrument(self, record: Any) -> None:
        self._renderer.add_market(record)

    def on_beat(self, now_ns: int) -> None:
        self._beat_ns = now_ns

    # ------------------------------------------------------------------ inputs from the driver

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        request = self.requests.pop(tag, None)
        if request is None:
            return
        if request.is_heartbeat:
            self._heartbeat_id = answers.heartbeat_id(body) or ""
        elif request.cancels:
            for report in answers.cancel_reports(request.cancels, status, body, now_ns):
                self._owe(report)
        else:
            for report in answers.order_reports(request.orders, status, body, now_ns):
                self._owe(report)
        self.flush()

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """Not sent is definitive; sent without an answer is UNKNOWN until venue evidence."""
        request = self.requests.pop(tag, None)
        if request is None:
            return
        state = OrderState.UNKNOWN if was_sent else OrderState.UNSENT
        for order in request.orders:
            self._report(order, now_ns, state, Origin.GATEWAY, cause)
        for cancel in request.cancels:
            self._owe(_REPORT.pack(
                order_no=cancel.order_no, group_no=cancel.group_no, state=int(OrderState.CANCEL_REFUSED),
                origin=int(Origin.GATEWAY), cause=int(cause), making_micro=-1, taking_micro=-1, matched_micro=-1,
                order_hash=self._hashes.get(cancel.order_no, bytes(32))))
        self.flush()

    def on_timer(self, now_ns: int) -> None:
        """Send the venue heartbeat only while trade itself is alive."""
        self.flush()
        settings = self._settings
        is_alive = self._beat_ns and now_ns - self._beat_ns <= settings.beat_age_ns_max
        if is_alive and not settings.is_dry and now_ns - self._heartbeat_ns >= settings.heartbeat_ns:
            self._heartbeat_ns = now_ns
            request = self._renderer.heartbeat_request(self._heartbeat_id, now_ns // NS_PER_S)
            self._submit(now_ns, request, InFlight((), is_heartbeat=True))

    def flush(self) -> bool:
        """Publish owed reports; True when none is left."""
        while self._owed:
            if not self._sink.push(self._owed[0]):
                return False
            self._owed.popleft()
        return True

    # ------------------------------------------------------------------ sending

    def _send_batch(self, now_ns: int) -> None:
        batch, self._batch = self._batch, []
        level, _, _ = self._halt_page.effective()
        going: list[Any] = []
        for order in batch:
            cause = self._brake.refuse(now_ns, order.deadline_ns, order.intent_class, _usd_micro(order), level)
            if cause == Cause.NONE and order.order_no in self._unsent_cancels:
                del self._unsent_cancels[order.order_no]
                cause = Cause.OVERTAKEN
            if cause == Cause.NONE:
                going.append(order)
            else:
                self._report(order, now_ns, OrderState.UNSENT, Origin.GATEWAY, cause)
        if not going:
            return
        if self._settings.is_dry:
            for order in going:
                self._report(order, now_ns, OrderState.DRY, Origin.GATEWAY, Cause.DRY_RUN)
            return
        if not self._take_tokens(now_ns, len(going)):
            for order in going:
                self._report(order, now_ns, OrderState.UNSENT, Origin.GATEWAY, Cause.RATE_LIMIT)
            return
        data = self._renderer.order_request(going, now_ns // NS_PER_S)
        for order in going:
            self._remember(order)
            self._report(order, now_ns, OrderState.SENT, Origin.GATEWAY, Cause.NONE)
        self._brake.commit(max(order.order_no for order in going))
        self._submit(now_ns, data, InFlight(tuple(going)))
        self._status.add("orders_sent", len(going))

    def _submit(self, now_ns: int, data: bytes, request: InFlight) -> None:
        self._tag += 1
        self.requests[self._tag] = request
        self.outbox.put(Submit(self._tag, data))

    def _take_tokens(self, now_ns: int, count: int) -> bool:
        """Token bucket of the account's tier, checked for the whole batch."""
        cap = self._settings.orders_burst * 1_000_000
        earned = (now_ns - self._tokens_ns) * self._settings.orders_per_s // 1_000
        self._tokens_micro = min(cap, self._tokens_micro + earned)
        self._tokens_ns = now_ns
        if self._tokens_micro < count * 1_000_000:
            return False
        self._tokens_micro -= count * 1_000_000
        return True

    def _remember(self, order: Any) -> None:
        if len(self._hashes) >= HASHES_MAX:
            self._hashes.pop(next(iter(self._hashes)))
        self._hashes[order.order_no] = order.order_hash

    def _report(self, order: Any, now_ns: int, state: OrderState, origin: Origin, cause: Cause) -> None:
        self._owe(_REPORT.pack(
            recv_ns=now_ns, instrument=order.instrument, order_no=order.order_no, group_no=order.group_no,
            order_hash=order.order_hash, making_micro=-1, taking_micro=-1, matched_micro=-1,
            state=int(state), origin=int(origin), cause=int(cause), account=order.account))
        self._status.add(f"orders_{state.name.lower()}", 1)

    def _owe(self, report: bytes) -> None:
        self._source_seq += 1
        stamped = bytearray(report)
        stamped[24:32] = self._source_seq.to_bytes(8, "little")
        stamped[40:42] = self._settings.source.to_bytes(2, "little")
        self._owed.append(bytes(stamped))
        self.flush()


def _usd_micro(order: Any) -> int:
    """Return what the order can cost: the collateral of a BUY, nothing for a SELL."""
    return int(order.maker_amount) if order.side == 0 else 0


class GatewayStage:
    """Follows its channels for the machine; the driver carries its requests."""

    def __init__(
        self, name: str, machine: GatewayMachine, signed: Any, cancels: Any, rows: Any, clock: Callable[[], int],
    ) -> None:
        self.name = name
        self.machine = machine
        self._signed = signed
        self._cancels = cancels
        self._rows = rows
        self._clock = clock

    def poll(self, budget: int) -> int:
        """Serve rows, orders and cancels, in this order: an order needs its row."""
        rows = self._rows.read(budget)
        for at in range(0, len(rows), SLOT_BYTES):
            self.machine.on_instrument(CODECS[Kind.INSTRUMENT].unpack(rows, at))
        done = len(rows)
        if self.machine.has_room():
            orders = self._signed.read(min(budget, 16))
            for at in range(0, len(orders), SLOT_BYTES):
                self.machine.on_signed(self._clock(), orders, at)
            decided = self._cancels.read(16)
            for at in range(0, len(decided), SLOT_BYTES):
                self._decision(decided, at)
            done += len(orders) + len(decided)
        return done // SLOT_BYTES

    def _decision(self, data: bytes, at: int) -> None:
        kind = data[at + 32]
        if kind == Kind.CANCEL:
            self.machine.on_cancel(self._clock(), CODECS[Kind.CANCEL].unpack(data, at))
        elif kind == Kind.BEAT:
            self.machine.on_beat(self._clock())

    def close(self) -> None:
        """Nothing is held here: the brake closes with its lane."""
