"""trade: turns ideas into orders behind the risk gate and follows them to their end.

Reads the `ideas` stream (IDEA runs and every record that book and detect pass on); writes decisions:
PACKAGE with its INTENTs, CANCEL, VERDICT, SUBSCRIBE, RESYNC, RECONCILE, BEAT. All that one input causes is
one run of at most 64 slots, so a log never ends inside a decision.

Deciding and knowing are apart: `TraderState` folds inputs and decisions, `Trader` reads it, renders
decisions and applies each one through the same door that recovery uses.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.codec import CODECS, KIND_OFFSET
from pipeline.core import decisions
from pipeline.core.asking import ask_about_doubts, ask_balances
from pipeline.core.decisions import Causing
from pipeline.core.limits import ORDER_NO_MAX, salt_of
from pipeline.core.packing import run_of
from pipeline.core.risk import TAKEN, Fields, Proposal, Verdict
from pipeline.core.selfmatch import Wanted
from pipeline.core.state import Slot, TraderState
from pipeline.kinds import Cause, HaltLevel, IntentClass, Kind, OrderType
from pipeline.native.packages import package_run, read_idea
from pipeline.records import HEADER_BYTES, RUN_SLOTS_MAX, SLOT_BYTES
from pipeline.units import NS_PER_MS, NS_PER_S

OUTPUT_SLOTS_MAX = RUN_SLOTS_MAX  # slots that one input may cause
BEAT_EVERY_NS = 500 * NS_PER_MS  # half of what the venue heartbeat allows
RECONCILE_EVERY_NS = NS_PER_S
POLL_EVERY_NS = 8 * NS_PER_S  # while an order is open or a trade unsettled in silence for as long: OR14, FL02
VERDICT_EVERY_NS = NS_PER_S  # of one (basket, cause)
RESYNC_WAIT_NS = 5 * NS_PER_S  # "no snapshot in 5 s: resubscribe" (MD04), and between two of one row
RESYNC_LOOK_NS = 100 * NS_PER_MS
#: Of one run; the rest comes next.
_CANCELS_MAX, _SUBSCRIBES_MAX, _RESYNCS_MAX, _VERDICTS_MAX = 20, 14, 8, 8

#: A book that lost its stream heals by its own snapshot; one that contradicts itself must be asked for.
_HEALS_ITSELF = (Cause.NO_SNAPSHOT, Cause.DISCONNECT, Cause.FREEZE)
_NEVER_HEALS = (Cause.ARENA_FULL, Cause.RESOLVED, Cause.SHUTDOWN, Cause.UNKNOWN_INSTRUMENT)
_NOTHING: Sequence[bytes] = ()
_TICK = int(Kind.TICK)
_PARTS_OFFSET = 43  # `parts`; `part` is the byte before it
_H4, _GTC, _NEW_RISK = int(HaltLevel.H4), int(OrderType.GTC), int(IntentClass.NEW_RISK)
_CAUSING = struct.Struct("<Qqq")  # seq, now_ns, recv_ns: the head of every record
_IDEA = int(Kind.IDEA)
#: A package's group, its first order number, its orders, and what each costs and reserves.
Taken = tuple[tuple[int, int, int, int, int, int], int, Sequence[Wanted], Sequence[int], Sequence[int]]
_IDEA_NO = slice(HEADER_BYTES, HEADER_BYTES + 8)


class Trader:
    """A pure fold: the same records in give the same decision runs out."""

    def __init__(self, account: int = 0) -> None:
        self._facts = TraderState(account)
        self._taken: Taken | None = None  # the newest package, decided and not folded yet
        self.counts: dict[Cause, int] = {}  # refusals by cause
        self.taken_count = 0
        self._parts: list[bytes] = []  # slots of an idea that is not whole yet
        self._untold: dict[tuple[int, int], list[Any]] = {}  # verdict repeats: [count, proposal, verdict]
        self._stale: dict[int, list[int]] = {}  # row -> [cause, since]
        self._resync_look_ns = 0
        passed: Callable[[Slot, int, Causing], list[bytes]] = self._on_input
        self._routes: dict[int, Callable[[Slot, int, Causing], list[bytes]]] = dict.fromkeys(
            self._facts.folds, passed)
        self._routes |= {
            int(Kind.RESUME): self._on_resume, int(Kind.STALE): self._on_stale, int(Kind.GAP): self._on_gap,
            int(Kind.LANE_UP): self._on_lane_up}

    @property
    def facts(self) -> TraderState:
        """Return everything that trade knows, its newest package included.

        That one is folded when somebody asks, so that its orders leave first: nothing is decided in between.
        """
        taken = self._taken
        if taken is not None:
            self._taken = None
            self._fold_package(*taken)
        return self._facts

    def on_record(self, slot: Slot, offset: int = 0) -> Sequence[bytes]:
        """Take the record at `offset`; return what it makes us do: nothing, or one run of 1..64 slots.

        Called once a run when the buffer holds all its slots (then one run a slot may come back), else once
        a slot.
        """
        if slot[offset + _PARTS_OFFSET] <= 1 or slot[offset + _PARTS_OFFSET - 1]:
            return self._on_slot(slot, offset)
        end = min(len(slot), offset + slot[offset + _PARTS_OFFSET] * SLOT_BYTES)
        return [run for place in range(offset, end, SLOT_BYTES) for run in self._on_slot(slot, place)]

    def _on_slot(self, slot: Slot, offset: int) -> Sequence[bytes]:
        kind = slot[offset + KIND_OFFSET]
        if kind == _IDEA:
            return self._on_idea(slot, offset)
        if kind == _TICK:
            now_ns = int.from_bytes(slot[offset + 8:offset + 16], "little")
            if now_ns < self.facts.timer_ns:
                return _NOTHING
            return self._finish(self._on_tick, slot, offset)
        route = self._routes.get(kind)
        return _NOTHING if route is None else self._finish(route, slot, offset)

    def fold(self, slot: Slot, offset: int = 0) -> None:
        """Take a stream record without deciding: recovery and the archive's checkpoints."""
        if slot[offset + KIND_OFFSET] == Kind.RESUME:
            self._forget()
        self.facts.fold(slot, offset)

    def apply_decision(self, slot: Slot, offset: int = 0) -> None:
        """Take a logged decision as a fact, instead of deciding."""
        self.facts.apply_decision(slot, offset)

    def _finish(
        self, route: Callable[[Slot, int, Causing], list[bytes]], slot: Slot, offset: int,
    ) -> Sequence[bytes]:
        causing, facts = Causing(*_CAUSING.unpack_from(slot, offset)), self.facts
        if facts.stream_halt >= _H4 or facts.own_halt >= _H4:
            facts.fold(slot, offset)  # keep knowing, decide nothing
            return _NOTHING
        return self._with_asked(route(slot, offset, causing), slot, offset)

    def _with_asked(self, slots: list[bytes], slot: Slot, offset: int) -> Sequence[bytes]:
        """Return the run of what the record made us do, and of what else is due."""
        facts = self.facts
        is_asked = facts.orders.cancel_wanted or facts.subscribe_wanted or facts.strangers_wanted
        if is_asked and facts.halt_level < _H4:
            causing = Causing(*_CAUSING.unpack_from(slot, offset))
            slots += self._asked(causing, OUTPUT_SLOTS_MAX - len(slots))
        return (run_of(slots),) if slots else _NOTHING

    def _decide(self, slot: bytes, into: list[bytes]) -> None:
        """Make a decision: from here it is a fact."""
        self.facts.apply_decision(slot)
        into.append(slot)

    # -- inputs ---------------------------------------------------------------------------------------

    def _on_input(self, slot: Slot, offset: int, causing: Causing) -> list[bytes]:
        self.facts.fold(slot, offset)
        return []

    def _on_resume(self, slot: Slot, offset: int, causing: Causing) -> list[bytes]:
        self._forget()
        self.facts.fold(slot, offset)
        return []

    def _on_lane_up(self, slot: Slot, offset: int, causing: Causing) -> list[bytes]:
        """Judge what a dead gateway left, and tell its successor at once: it sends nothing before that."""
        slots = self._on_input(slot, offset, causing)
        self._beat(causing, slots)
        return slots

    def _beat(self, causing: Causing, slots: list[bytes]) -> None:
        facts = self.facts
        self._decide(
            decisions.beat_slot(
                causing, facts.beat_no + 1, facts.orders.open_count, facts.fence_order_no, facts.fence_epoch),
            slots)

    def _forget(self) -> None:
        """A restart: what hangs on books and ideas starts empty, as book and detect do."""
        self._parts.clear()
        self._untold.clear()
        self._stale.clear()

    def _on_stale(self, slot: Slot, offset: int, causing: Causing) -> list[bytes]:
        """Remember what is stale; ask at once where only an answer helps."""
        record = CODECS[Kind.STALE].unpack(slot, offset)
        return self._gone_stale(record.instrument, record.cause, causing, record.proof_ns)

    def _on_gap(self, slot: Slot, offset: int, causing: Causing) -> list[bytes]:
        """One book's stream broke on a socket that goes on (a frame that we cannot read): ask for the book.

        A shard's gap heals by its own reconnect.
        """
        record = CODECS[Kind.GAP].unpack(slot, offset)
        return self._gone_stale(record.instrument, record.cause, causing) if record.instrument else []

    def _gone_stale(self, row: int, cause: int, causing: Causing, proof_ns: int = 0) -> list[bytes]:
        """Keep what is stale, and ask. A book that was right since it was asked for is asked for at once."""
        slots = list[bytes]()
        if cause == Cause.NONE or cause in _NEVER_HEALS:
            self._stale.pop(row, None)
            return slots
        known = self._stale.get(row)
        self._stale[row] = [cause, known[1] if known else causing.now_ns]
        if cause not in _HEALS_ITSELF:
            told_ns = self.facts.resync_ns.get(row, 0)
            is_new = proof_ns > told_ns and self.facts.resync_due_ns.get(row, 0) <= causing.now_ns
            self._resync(row, causing, slots, 0 if is_new else NS_PER_S)
        return slots

    def _resync(self, row: int, causing: Causing, slots: list[bytes], wait_ns: int) -> None:
        """Ask for a fresh book of the row unless that was done within `wait_ns`."""
        facts = self.facts
        cause, since_ns = self._stale[row]
        told_ns = facts.resync_ns.get(row)
        earliest_ns = since_ns + wait_ns if cause in _HEALS_ITSELF else since_ns
        if causing.now_ns >= earliest_ns and (told_ns is None or causing.now_ns - told_ns >= wait_ns):
            self._decide(decisions.resync_slot(causing, row, facts.request_no + 1, cause), slots)

    def _on_tick(self, slot: Slot, offset: int, causing: Causing) -> list[bytes]:
        """Timers: orders first, then what is due of beats, reconciles, repeats and resyncs."""
        facts, slots, now_ns = self.facts, list[bytes](), causing.now_ns
        facts.fold(slot, offset)
        if now_ns - facts.beat_ns >= BEAT_EVERY_NS:
            self._beat(causing, slots)
        silent_ns = now_ns - facts.reconcile_ns
        if silent_ns >= RECONCILE_EVERY_NS and (
                facts.orders.doubtful or not facts.gate.is_reconciled or facts.quarantine.count
                or (silent_ns >= POLL_EVERY_NS
                    and min(facts.orders.oldest_ns, facts.fills.silent_ns) <= now_ns - POLL_EVERY_NS)):
            ask_about_doubts(facts, causing, lambda slot: self._decide(slot, slots))
        if facts.drift.suspects:
            ask_balances(facts, causing, lambda slot: self._decide(slot, slots))
        if self._untold:
            self._tell(causing, slots)
        if self._stale and now_ns >= self._resync_look_ns:
            self._resync_look_ns = now_ns + RESYNC_LOOK_NS
            before = len(slots)
            for row in self._stale:
                self._resync(row, causing, slots, RESYNC_WAIT_NS)
                if len(slots) - before == _RESYNCS_MAX:
                    break
        return slots

    def _asked(self, causing: Causing, room: int) -> list[bytes]:
        """Drain what the fold wants: cancels first (they only reduce risk), then subscriptions."""
        facts, slots = self.facts, list[bytes]()
        for order_no, cause in list(facts.orders.cancel_wanted.items())[:min(_CANCELS_MAX, room)]:
            order = facts.orders.by_no[order_no]
            self._decide(
                decisions.cancel_slot(
                    causing, order.row, order.order_no, order.group_no, order.order_hash, facts.cancel_no + 1,
                    cause), slots)
        strangers_max = max(0, min(_CANCELS_MAX, room) - len(slots))
        for order_hash, row in list(facts.strangers_wanted.items())[:strangers_max]:
            cause = int(Cause.UNKNOWN_ORDER_OPEN)
            self._decide(
                decisions.cancel_slot(causing, row, 0, 0, order_hash, facts.cancel_no + 1, cause), slots)
        for row in list(facts.subscribe_wanted)[:min(_SUBSCRIBES_MAX, room - len(slots))]:
            self._decide(decisions.subscribe_slot(causing, row, facts.request_no + 1), slots)
        return slots

    # -- ideas ----------------------------------------------------------------------------------------

    def _on_idea(self, slot: Slot, offset: int) -> Sequence[bytes]:
        """Put the idea together from its parts; decide at the last one."""
        facts, part, parts = self.facts, slot[offset + _PARTS_OFFSET - 1], slot[offset + _PARTS_OFFSET]
        if facts.stream_halt >= _H4 or facts.own_halt >= _H4:
            return _NOTHING
        if part == 0 and parts <= 1:
            self._parts = []
            run = slot if isinstance(slot, bytes) else bytes(slot)
            fields, causing, venue_ns = read_idea(run, offset, 1)
        elif self._is_whole(bytes(slot[offset:offset + SLOT_BYTES]), part, parts):
            fields, causing, venue_ns = read_idea(b"".join(self._parts), 0, len(self._parts))
            self._parts = []
        else:
            return self._with_asked([], slot, offset)
        proposal = Proposal(*fields)
        verdict = facts.gate.check(proposal)
        if verdict is TAKEN:
            self.taken_count += 1
            run = self._take(causing, fields, venue_ns)
            if not (facts.orders.cancel_wanted or facts.subscribe_wanted):
                return (run,)
            return self._with_asked(slots_of(run), slot, offset)
        self.counts[verdict.cause] = self.counts.get(verdict.cause, 0) + 1
        return self._with_asked(self._refuse(Causing(*causing), proposal, verdict), slot, offset)

    def _is_whole(self, copied: bytes, part: int, parts: int) -> bool:
        """Keep one part of an idea; tell whether it was the last that was missing."""
        if part == 0:
            self._parts = []
        elif len(self._parts) != part or self._parts[0][_IDEA_NO] != copied[_IDEA_NO]:
            self._parts = []  # the middle of an idea whose start was before our time
            return False
        self._parts.append(copied)
        return part + 1 >= parts

    def _take(self, causing: tuple[int, int, int], fields: Fields, venue_ns: int) -> bytes:
        """Write the package and its intents; they are facts for whoever asks next."""
        facts, now_ns = self.facts, causing[1]
        gate, group_no, order_no = facts.gate, facts.group_no + 1, facts.order_no + 1
        limits, all_paid, all_worst = gate.limits, gate.paid, gate.worst
        _, basket, event, _, leg_count, size_micro, _, _, _, _, _, orders = fields
        salt = salt_of(limits.salt_epoch, order_no)
        if not (order_no + len(orders) - 1 <= ORDER_NO_MAX):
            salt_of(limits.salt_epoch, ORDER_NO_MAX + 1)  # refuses, as it would that order
        run = package_run(
            causing, venue_ns, fields, all_paid, all_worst, group_no, order_no, salt,
            now_ns + limits.intent_ttl_ns)
        self._taken = (
            (group_no, basket, event, leg_count, size_micro, now_ns), order_no, orders, all_paid, all_worst)
        return run

    def _fold_package(
        self, group: tuple[int, int, int, int, int, int], first_no: int, orders: Sequence[Wanted],
        all_paid: Sequence[int], all_worst: Sequence[int],
    ) -> None:
        """Make the package and its intents facts, through the door of recovery."""
        facts, group_no, now_ns = self._facts, group[0], group[-1]
        facts.open_group(*group)
        for place, order in enumerate(orders):
            leg_no, row, outcome, side, order_type, price_ticks, size_micro = order
            facts.intend(
                first_no + place, group_no, row, outcome, side, order_type, price_ticks, size_micro,
                all_worst[place], _NEW_RISK, leg_no, 1 if order_type == _GTC else 0, now_ns, all_paid[place])

    def _refuse(self, causing: Causing, proposal: Proposal, verdict: Verdict) -> list[bytes]:
        """Write the verdict, at most once a second for one (basket, cause); repeats are counted."""
        key, slots = (proposal.basket, int(verdict.cause)), list[bytes]()
        untold = self._untold.get(key)
        count = untold[0] + 1 if untold else 1
        told_ns = self.facts.verdict_ns.get(key)
        if told_ns is not None and causing.now_ns - told_ns < VERDICT_EVERY_NS:
            self._untold[key] = [count, proposal, verdict]
            return slots
        self._untold.pop(key, None)
        self._decide(decisions.verdict_slot(causing, proposal, verdict, count), slots)
        return slots

    def _tell(self, causing: Causing, slots: list[bytes]) -> None:
        """Write the repeats whose second is over."""
        due = [
            key for key in self._untold
            if causing.now_ns - self.facts.verdict_ns.get(key, 0) >= VERDICT_EVERY_NS]
        for key in due[:_VERDICTS_MAX]:
            count, proposal, verdict = self._untold.pop(key)
            self._decide(decisions.verdict_slot(causing, proposal, verdict, count), slots)

    @property
    def volatile(self) -> dict[str, Any]:
        """Return what hangs on books and ideas as JSON values; not a fold over the two logs."""
        untold = []
        for key, (count, proposal, verdict) in self._untold.items():
            head = [getattr(proposal, name) for name in _HEAD]
            untold.append([*key, count, head, [int(verdict.cause), verdict.value, verdict.limit]])
        parts = [part.hex() for part in self._parts]
        return {
            "untold": untold, "parts": parts, "stale": [[row, *held] for row, held in self._stale.items()],
            "resync_look_ns": self._resync_look_ns, "taken": self.taken_count,
            "counts": [[int(cause), count] for cause, count in self.counts.items()]}

    def load_volatile(self, state: dict[str, Any]) -> None:
        """Replace what `volatile` returned."""
        self._untold = {}
        for basket, cause, count, head, verdict in state["untold"]:
            proposal = Proposal(**dict(zip(_HEAD, head, strict=True)), orders=())
            self._untold[basket, cause] = [count, proposal, Verdict(Cause(verdict[0]), *verdict[1:])]
        self._parts = [bytes.fromhex(part) for part in state["parts"]]
        self._stale = {row: held for row, *held in state["stale"]}
        self._resync_look_ns, self.taken_count = state["resync_look_ns"], state["taken"]
        self.counts = {Cause(cause): count for cause, count in state["counts"]}


_HEAD = (
    "idea_no", "basket", "event", "strategy", "leg_count", "size_micro", "payout_usd_micro", "cost_usd_micro",
    "fee_usd_micro", "partial_loss_usd_micro", "now_ns")


def slots_of(run: bytes) -> list[bytes]:
    """Return the slots of a run one by one."""
    return [run[start:start + SLOT_BYTES] for start in range(0, len(run), SLOT_BYTES)]
