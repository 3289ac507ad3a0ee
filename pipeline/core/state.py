"""Everything that trade knows: a fold over stream records and over its own logged decisions.

`fold` takes inputs, `apply_decision` takes decisions; neither decides anything. The live trader changes this
state by the same two doors, so a checkpoint made from the two logs equals the state of the run (section 3).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import astuple
from typing import Any

from pipeline.codec import CODECS, KIND_OFFSET
from pipeline.core.accounting import Accounting
from pipeline.core.drift import Drift
from pipeline.core.external import External
from pipeline.core.fills import FillIndex, Quarantine
from pipeline.core.instruments import Instruments, Question
from pipeline.core.limits import Limits, limits_of
from pipeline.core.order import Group, Order
from pipeline.core.orders import Orders
from pipeline.core.positions import Positions
from pipeline.core.reverts import Reverts
from pipeline.core.risk import RiskGate
from pipeline.kinds import Cause, HaltLevel, Kind, OrderState, Rule, VenueMode
from pipeline.units import NS_PER_MS, NS_PER_S, cost_micro

Slot = bytes | bytearray | memoryview

TIMER_NS = 10 * NS_PER_MS  # timers are looked at this often, on ticks
MISSING_FILL_NS = 250 * NS_PER_MS  # an ended order whose fills are not all told needs a reconcile after this
UNLISTED_NS = NS_PER_S  # how far the venue's lists may be behind its answers
REQUESTS_MAX = 64  # reconcile passes asked for and not answered
RESYNC_EVERY_NS, RESYNC_BURST = NS_PER_S, 3  # of one book that was right in between and fails again
VERDICTS_MAX = 65_536  # (basket, cause) pairs remembered for rate limiting


class TraderState:
    """Orders, groups, positions, fills, limits, counters. Changed by `fold` and `apply_decision` only."""

    def __init__(self, account: int = 0) -> None:
        self.account = account
        self.instruments = Instruments()
        self.questions: dict[int, Question] = {}  # row -> question on chain; no decision uses it
        self._known = self.instruments.rows
        self.fills = FillIndex()
        self.orders = Orders(self._forget)
        self.positions = Positions()
        self.quarantine, self.external, self.reverts = Quarantine(), External(), Reverts()
        self.gate = RiskGate(
            self.instruments, self.orders, self.positions, self.fills, self.quarantine, self.external,
            self.reverts)
        self.drift = Drift(self.positions, self.external, self.fills, self.orders)
        self.accounting = Accounting(
            self.fills, self.quarantine, self.external, self.reverts, self.drift, self.positions, self.orders,
            self.gate)
        self.alarms = self.accounting.alarms
        self.stream_halt = int(HaltLevel.H0)
        self.own_halt, self.own_cause = int(HaltLevel.H0), int(Cause.NONE)  # the stage tells the halt page
        self.order_no = self.group_no = self.cancel_no = self.request_no = self.beat_no = 0
        self.fence_order_no = self.fence_epoch = 0  # orders up to this were judged when that gateway came up
        self.resume_no = 0  # the newest CLEAR
        self.beat_ns = self.timer_ns = self.reconcile_ns = self.resume_ns = 0
        self.is_deaf = False  # the user channel is gone, and no pass since its return told what we missed
        self.is_adopting = False  # trades of orders that nobody here knows are ours: a start from the venue
        self.strangers_wanted: dict[bytes, int] = {}  # hash -> row: open orders of an unknown run
        self.subscribe_wanted: dict[int, None] = {}
        self.requests: OrderedDict[int, int] = OrderedDict()  # request -> stream time it was asked at
        self.verdict_ns: OrderedDict[tuple[int, int], int] = OrderedDict()  # oldest first
        self.resync_ns: dict[int, int] = {}
        self.resync_due_ns: dict[int, int] = {}  # when a book that fails anew may be asked for at once
        self.folds: dict[int, Any] = {
            int(Kind.TICK): self._on_tick, int(Kind.HALT): self._on_halt, int(Kind.CONFIG): self._on_config,
            int(Kind.LANE_UP): self._on_lane_up, int(Kind.RESUME): self._on_resume,
            int(Kind.CLEAR): self._on_clear,
            int(Kind.INSTRUMENT): self._on_instrument, int(Kind.TICK_STEP): self._on_tick_step,
            int(Kind.RESOLVED): self._on_resolved, int(Kind.REPORT): self._on_report,
            int(Kind.FILL): self._on_fill, int(Kind.BALANCE): self._on_balance,
            int(Kind.RECONCILED): self._on_reconciled, int(Kind.VENUE): self._on_venue,
            int(Kind.QUESTION): self._on_question, int(Kind.HOLDING): self._on_holding,
        }
        self._facts: dict[int, Any] = {
            int(Kind.PACKAGE): self._package, int(Kind.INTENT): self._intent, int(Kind.CANCEL): self._cancel,
            int(Kind.VERDICT): self._verdict, int(Kind.SUBSCRIBE): self._subscribe,
            int(Kind.RESYNC): self._resync, int(Kind.RECONCILE): self._reconcile, int(Kind.BEAT): self._beat,
        }

    @property
    def limits(self) -> Limits:
        """Return the limits in force."""
        return self.gate.limits

    @property
    def halt_level(self) -> int:
        """Return the level in force: the stream's or our own."""
        return max(self.stream_halt, self.own_halt)

    def fold(self, slot: Slot, offset: int = 0) -> None:
        """Take one stream record; kinds that trade does not know change nothing."""
        handler = self.folds.get(slot[offset + KIND_OFFSET])
        if handler is not None:
            handler(slot, offset)

    def apply_decision(self, slot: Slot, offset: int = 0) -> None:
        """Take one logged decision as a fact."""
        handler = self._facts.get(slot[offset + KIND_OFFSET])
        if handler is not None:
            handler(CODECS[Kind(slot[offset + KIND_OFFSET])].unpack(slot, offset))

    # -- inputs ---------------------------------------------------------------------------------------

    def _on_tick(self, slot: Slot, offset: int) -> None:
        now_ns = int.from_bytes(slot[offset + 8:offset + 16], "little", signed=True)
        if now_ns < self.timer_ns:
            return
        self.timer_ns = now_ns + TIMER_NS
        if self.orders.open_count:
            self.orders.on_timeouts(now_ns)
            self.orders.want_due_cancels(now_ns, max(self.limits.submit_timeout_ns, NS_PER_S))
            self.orders.doubt_missing_fills(now_ns, MISSING_FILL_NS)
            if self.limits.fence_ns:
                self._fence(now_ns)

    def _fence(self, now_ns: int) -> None:
        """Nothing of ours rests in a market that ends, or whose game starts, within the fence."""
        for row in dict.fromkeys(order.row for order in self.orders.open_orders):
            instrument = self._known.get(row)
            if instrument is not None and instrument.is_fenced(now_ns, self.limits.fence_ns):
                self.orders.want_cancel_all(int(Cause.FENCED), row)

    def _on_halt(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.HALT].unpack(slot, offset)
        self.stream_halt = record.level
        self._halted(record.cause)

    def _halted(self, cause: int) -> None:
        self.gate.halt_level = self.halt_level
        if self.halt_level >= HaltLevel.H2:
            self.orders.want_cancel_all(cause or int(Cause.HALTED))

    def _on_config(self, slot: Slot, offset: int) -> None:
        self.gate.limit(limits_of(slot, offset))

    def _on_lane_up(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.LANE_UP].unpack(slot, offset)
        if record.stage_name.startswith(b"gateway"):
            self.orders.on_gateway_restart(record.sent_order_no, record.now_ns)
            self.fence_order_no = self.order_no
            self.fence_epoch = max(self.fence_epoch, record.epoch)
            self.gate.venue_mode = int(VenueMode.RUNNING)  # its successor learns the mode by itself

    def _on_resume(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.RESUME].unpack(slot, offset)
        self.resume_ns = record.now_ns
        self.gate.is_reconciled = False
        self.requests.clear()  # whoever was asked may have died; what is due is asked again
        self.is_adopting = bool(record.from_venue)

    def _on_clear(self, slot: Slot, offset: int) -> None:
        """The operator lifts halts: ours goes, shares are as told; what else caused it causes it again."""
        self.resume_no = CODECS[Kind.CLEAR].unpack(slot, offset).resume_no
        self.drift.accept(tuple(self.drift.differing))
        self._halt_ourselves(HaltLevel.H0, Cause.NONE)

    def _on_instrument(self, slot: Slot, offset: int) -> None:
        record_row = int.from_bytes(slot[offset + 36:offset + 40], "little")
        is_new = self.instruments.get(record_row) is None
        changed = self.instruments.apply(slot, offset)
        if changed is not None and is_new:
            self.subscribe_wanted[changed.row] = None
        elif changed is not None and self.orders.open_count:
            if not changed.has(Rule.TRADABLE):  # closed, paused or disputed: nothing of ours waits there
                self.orders.want_cancel_all(int(Cause.NOT_TRADABLE), changed.row)
            self.orders.want_cancel_off_grid(changed.row, changed.tick_step)

    def _on_tick_step(self, slot: Slot, offset: int) -> None:
        """A new legal spacing: what of ours rests off it is not repriced by the venue, so it is cancelled."""
        changed = self.instruments.apply_tick_step(slot, offset)
        if changed is not None and self.orders.open_count:
            self.orders.want_cancel_off_grid(changed.row, changed.tick_step)

    def _on_question(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.QUESTION].unpack(slot, offset)
        self.questions[record.instrument] = Question(bytes(record.question_id), record.fee_bips)

    def _on_resolved(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.RESOLVED].unpack(slot, offset)
        if self.positions.resolve(record.instrument, record.payout_micro_yes, record.payout_micro_no):
            self.external.resolve(record.instrument, record.payout_micro_yes, record.payout_micro_no)
            self.orders.reservations.forget_residue(record.instrument)
            self.orders.want_cancel_all(int(Cause.RESOLVED), record.instrument)

    def _forget(self, order_no: int) -> None:
        self.accounting.on_forgotten(order_no)

    def _on_report(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.REPORT].unpack(slot, offset)
        order, is_learned = self.orders.on_report(record)
        if order is not None and record.state == OrderState.REJECTED and record.cause == Cause.VENUE_REJECT:
            self.gate.on_reject(order.row, record.now_ns)
        if order is None and self.is_adopting and record.state == OrderState.LIVE:
            self.strangers_wanted[bytes(record.order_hash)] = record.instrument
        elif order is None and not record.order_no:
            self.external.on_report(record)
        if order is not None and is_learned:
            self.accounting.on_learned(order)
        if order is not None and self.halt_level >= HaltLevel.H2:
            self.orders.want_cancel_all(int(Cause.HALTED))

    def _on_fill(self, slot: Slot, offset: int) -> None:
        if not self.accounting.on_fill(slot, offset, is_adopting=self.is_adopting):
            self._halt_ourselves(HaltLevel.H3, Cause.OVERRUN)  # nothing is forgotten silently

    def _on_balance(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.BALANCE].unpack(slot, offset)
        if record.account == self.account:
            self.accounting.on_balance(record)

    def _on_holding(self, slot: Slot, offset: int) -> None:
        """Compare shares with the venue's; it proves something only while we know all our fills."""
        record = CODECS[Kind.HOLDING].unpack(slot, offset)
        if record.account != self.account or not self.gate.is_reconciled or self.is_adopting:
            return
        found = self.accounting.on_holding(record, self.instruments.newest_row)
        if found is not None and not found.is_first and self.own_halt < HaltLevel.H1:
            self._halt_ourselves(HaltLevel.H1, Cause.SHARES_DIFFER)
        elif self.own_cause == Cause.SHARES_DIFFER and not self.drift.differing:
            self._halt_ourselves(HaltLevel.H0, Cause.NONE)

    def _halt_ourselves(self, level: HaltLevel, cause: Cause) -> None:
        self.own_halt, self.own_cause = int(level), int(cause)
        self._halted(self.own_cause)

    def _on_reconciled(self, slot: Slot, offset: int) -> None:
        record = CODECS[Kind.RECONCILED].unpack(slot, offset)
        asked_ns = self.requests.pop(record.request_no, 0)
        if record.account != self.account:
            return
        if record.lost:  # what the channel would have told is not repeated: first it is asked for
            self.is_deaf = True
            self.gate.is_reconciled, self.resume_ns = False, record.now_ns
        if not record.ok:
            return
        if record.heard:
            self.is_deaf = False
        if not asked_ns:
            if record.heard and record.begun_ns >= self.resume_ns:  # as good as one that we asked for
                self.gate.is_reconciled, self.is_adopting = True, False
            return
        self.orders.on_reconciled(asked_ns, record.now_ns)
        self._doubt_unlisted(asked_ns, record.now_ns)
        self.accounting.on_reconciled(asked_ns)
        if asked_ns >= self.resume_ns and not self.is_deaf:
            self.gate.is_reconciled = True
            self.is_adopting = False

    def _doubt_unlisted(self, asked_ns: int, now_ns: int) -> None:
        """An order that we take as open, and that a whole list does not show: its end was not told (OR14)."""
        for order in self.orders.open_orders:
            known_ns = max(order.timeout_ns, order.changed_ns + UNLISTED_NS, order.seen_open_ns + 1)
            if order.state in (OrderState.LIVE, OrderState.DELAYED) and asked_ns >= known_ns:
                self.orders.doubt(order, now_ns, int(Cause.UNKNOWN_ORDER_OPEN))

    def _on_venue(self, slot: Slot, offset: int) -> None:
        """What the venue takes changed. Behind a restart or a loss, only its own lists say what is open."""
        record = CODECS[Kind.VENUE].unpack(slot, offset)
        if record.account != self.account:
            return
        gate = self.gate
        if record.doubt:
            for order in self.orders.open_orders:
                if order.state in (OrderState.LIVE, OrderState.DELAYED):
                    self.orders.doubt(order, record.now_ns, record.cause)
        if record.doubt or gate.venue_mode >= VenueMode.RESTARTING > record.mode:
            gate.is_reconciled, self.resume_ns = False, record.now_ns
        gate.venue_mode = record.mode

    # -- decisions ------------------------------------------------------------------------------------

    def _package(self, record: Any) -> None:
        self.open_group(
            record.group_no, record.basket, record.event, record.leg_count, record.size_micro, record.now_ns)

    def open_group(
        self, group_no: int, basket: int, event: int, leg_count: int, size_micro: int, now_ns: int,
    ) -> None:
        """Take a PACKAGE as a fact; its fields by name of the record."""
        self.group_no = max(self.group_no, group_no)
        self.orders.open_group(Group(group_no, basket, event, leg_count, size_micro, now_ns))

    def _intent(self, record: Any) -> None:
        self.intend(
            record.order_no, record.group_no, record.instrument, record.outcome, record.side,
            record.order_type, record.price_ticks, record.size_micro, record.worst_usd_micro,
            record.intent_class, record.leg_no, record.cancel_rest, record.now_ns,
            cost_micro(record.price_ticks, record.size_micro))

    def intend(
        self, order_no: int, group_no: int, row: int, outcome: int, side: int, order_type: int,
        price_ticks: int, size_micro: int, worst_usd_micro: int, intent_class: int, leg_no: int,
        cancel_rest: int, now_ns: int, budget_usd_micro: int,
    ) -> None:
        """Take an INTENT as a fact; its fields by name of the record, and `cost_micro` of price and size."""
        self.order_no = max(self.order_no, order_no)
        instrument = self._known.get(row)
        event, wait_ns = 0, self.gate.limits.submit_timeout_ns
        if instrument is not None:
            event = instrument.event
            if instrument.taker_delay_ns > 0:
                wait_ns = max(wait_ns, instrument.taker_delay_ns + NS_PER_S)
        self.orders.intend(Order(
            order_no, group_no, row, event, outcome, side, order_type, price_ticks, size_micro,
            budget_usd_micro, worst_usd_micro, intent_class, leg_no, cancel_rest, now_ns, now_ns + wait_ns))

    def _cancel(self, record: Any) -> None:
        self.cancel_no = max(self.cancel_no, record.cancel_no)
        if record.order_no:
            self.orders.asked_cancel(record.order_no, record.now_ns)
        else:
            self.strangers_wanted.pop(bytes(record.order_hash), None)

    def _verdict(self, record: Any) -> None:
        key = (record.basket, record.cause)
        self.verdict_ns.pop(key, None)
        self.verdict_ns[key] = record.now_ns
        if len(self.verdict_ns) > VERDICTS_MAX:
            self.verdict_ns.popitem(last=False)

    def _subscribe(self, record: Any) -> None:
        self.request_no = max(self.request_no, record.request_no)
        self.subscribe_wanted.pop(record.instrument, None)

    def _resync(self, record: Any) -> None:
        self.request_no = max(self.request_no, record.request_no)
        row, now_ns = record.instrument, record.now_ns
        self.resync_ns[row] = now_ns
        full_ns = now_ns - (RESYNC_BURST - 1) * RESYNC_EVERY_NS
        self.resync_due_ns[row] = max(self.resync_due_ns.get(row, 0), full_ns) + RESYNC_EVERY_NS

    def _reconcile(self, record: Any) -> None:
        self.request_no = max(self.request_no, record.request_no)
        if record.instrument:
            self.drift.on_asked(record.instrument, record.now_ns)
            return
        self.reconcile_ns = record.now_ns
        self.requests[record.request_no] = record.now_ns
        if len(self.requests) > REQUESTS_MAX:
            self.requests.popitem(last=False)

    def _beat(self, record: Any) -> None:
        self.beat_no, self.beat_ns = record.beat_no, record.now_ns

    # -- checkpoint -----------------------------------------------------------------------------------

    _SCALARS = (
        "account", "stream_halt", "own_halt", "own_cause", "order_no", "group_no", "cancel_no", "request_no",
        "beat_no", "fence_order_no", "fence_epoch", "resume_no", "is_adopting", "beat_ns", "timer_ns",
        "reconcile_ns", "resume_ns", "is_deaf")
    _GATE = ("venue_mode", "is_reconciled", "day", "day_spent_usd_micro")
    _COLLATERAL = (
        "is_known", "offset_usd_micro", "allowance_usd_micro", "sure_usd_micro", "redeemed_usd_micro",
        "awaited_usd_micro", "unexplained_usd_micro")
    _PARTS = ("instruments", "orders", "positions", "fills", "quarantine", "external", "reverts", "drift",
              "accounting")

    def state(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "scalars": [getattr(self, name) for name in self._SCALARS],
            "gate": [getattr(self.gate, name) for name in self._GATE],
            "collateral": [getattr(self.gate.collateral, name) for name in self._COLLATERAL],
            "limits": list(astuple(self.limits)),
            **{name: getattr(self, name).state() for name in self._PARTS},
            "questions": [[row, one.question_id.hex(), one.fee_bips] for row, one in self.questions.items()],
            "rejects": list(self.gate.rejects.items()),
            "subscribe_wanted": list(self.subscribe_wanted), "requests": list(self.requests.items()),
            "verdict_ns": [[*key, told] for key, told in self.verdict_ns.items()],
            "resync_ns": list(self.resync_ns.items()), "resync_due_ns": list(self.resync_due_ns.items()),
            "strangers": [[key.hex(), row] for key, row in self.strangers_wanted.items()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Replace everything by what `state()` returned."""
        for target, names, key in (
            (self, self._SCALARS, "scalars"), (self.gate, self._GATE, "gate"),
            (self.gate.collateral, self._COLLATERAL, "collateral"),
        ):
            for name, value in zip(names, state[key], strict=True):
                setattr(target, name, value)
        self.gate.limit(Limits(*state["limits"]))
        for name in self._PARTS:
            getattr(self, name).load(state[name])
        self.questions = {row: Question(bytes.fromhex(text), bips) for row, text, bips in state["questions"]}
        self.subscribe_wanted = dict.fromkeys(state["subscribe_wanted"])
        self.requests = OrderedDict(state["requests"])
        self.verdict_ns = OrderedDict(((basket, cause), told) for basket, cause, told in state["verdict_ns"])
        self.resync_ns, self.resync_due_ns = dict(state["resync_ns"]), dict(state["resync_due_ns"])
        self.strangers_wanted = {bytes.fromhex(key): row for key, row in state["strangers"]}
        self.gate.rejects = {row: list(times) for row, times in state["rejects"]}
        self.gate.halt_level = self.halt_level
