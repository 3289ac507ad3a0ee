"""gateway.<id>: follows its channels for the machine that sends orders.

Reads the signed ring (orders), `decisions` (Cancel, Beat: cancels need no wallet key) and `stream`
(Instrument rows, Clear); the machine writes the report ring.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.codec import CODECS, kind_of
from pipeline.kinds import Kind
from pipeline.native.flow import Source
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES
from pipeline.stages import rehearsal
from pipeline.stages.gateway import GatewayMachine
from pipeline.stages.recall import Recall
from pipeline.stages.stage import Clock, no_one_to_tell

_BEAT = CODECS[Kind.BEAT]


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
            if kind_of(rows, at) == Kind.CLEAR:
                cleared_ns = int.from_bytes(rows[at + 8 : at + 16], "little")
                self.machine.on_clear(self._clock(), cleared_ns)
                continue
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
            if decided:
                self.machine.send_cancels(self._clock())
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
            self.machine.on_beat(
                self._clock(), beat.fence_epoch, beat.fence_order_no, beat.open_orders)

    def close(self) -> None:
        """Nothing is held here: brake and page close with their lane."""
