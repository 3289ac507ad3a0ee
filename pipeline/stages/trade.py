"""trade: the only stage that decides.

Reads `ideas`; writes the `decisions` log. Risk gate, sizing check, orders, leg groups, positions and
the fill index are `core.trader`; prices of watched books pass it by natively.
"""

from __future__ import annotations

from pipeline.codec import PARTS_OFFSET, kind_of, offset_of
from pipeline.core.accounting import ALARMS, Alarms
from pipeline.core.trader import Trader
from pipeline.errors import InvariantError
from pipeline.kinds import Cause, HaltLevel, Kind
from pipeline.native.log import LogWriter
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.records import SLOT_BYTES
from pipeline.shm.halt import HaltPage
from pipeline.stages.stage import Clock, Counts
from pipeline.store.events import EventLog
from pipeline.store.refold import FACT_KINDS
from pipeline.units import NS_PER_MS

#: Everything but TOP: decisions come from ideas, truth and time.
WANTED = (Kind.IDEA, Kind.STALE, Kind.GAP, *FACT_KINDS)
#: Why trade halts by itself, in words.
_HALTS = {
    Cause.NONE: "nothing halts",
    Cause.OVERRUN: "more fills of unknown orders than can be kept",
    Cause.SHARES_DIFFER: "the wallet does not hold what our fills explain (alarm shares_differ)",
}
SLOTS_PER_POLL = 8  # a burst of fills costs 20 to 40 us each, and the lane has books to keep meanwhile
TELL_NS = 50 * NS_PER_MS
_PACKAGE = int(Kind.PACKAGE)
_CAUSE_SEQ = offset_of(Kind.PACKAGE, "cause_seq")


class TradeStage:
    def __init__(
        self, name: str, trader: Trader, source: Filter, decisions: LogWriter, halt_page: HaltPage,
        clock: Clock, counts: Counts, stamps: Stamps, log: EventLog,
    ) -> None:
        """trader: as recovered; halt_page: opened as `trade`."""
        self.name = name
        self.trader = trader
        self._source = source
        self._decisions = decisions
        self._halt_page = halt_page
        self._own_halt = HaltLevel.H0  # as it stands on the page
        self._clock = clock
        self._counts = counts
        self._told_ns = 0
        self._count_package = counts.counter("packages").add
        self._stamps = stamps
        self._log = log
        self._told = dict(trader.facts.alarms.told)  # what an earlier trade told already
        for alarm, (count, _, _) in self._told.items():
            counts.put(f"alarm_{alarm}", count)
        self.signals = {"package decided": 0, "cancel decided": 0}

    def poll(self, budget: int) -> int:
        """Decide on up to `budget` wanted slots; a log has no full state, so nothing waits here."""
        passed = self._source.passed_count
        data = self._source.read(min(budget, SLOTS_PER_POLL))
        at, end = 0, len(data)
        while at < end:
            for decided in self.trader.on_record(data, at):
                self._append(decided)
            # A run that starts here was taken whole; the rest of one that an earlier read cut comes by slots.
            at += SLOT_BYTES * (data[at + PARTS_OFFSET] or 1 if data[at + PARTS_OFFSET - 1] == 0 else 1)
        if not data:
            self._decisions.prepare_next()
            self._tell()
        return len(data) // SLOT_BYTES + self._source.passed_count - passed

    def _append(self, run: bytes) -> None:
        is_package = kind_of(run) == _PACKAGE
        if is_package:
            # Before the push: behind it the signer may be done before we are.
            cause_seq = int.from_bytes(run[_CAUSE_SEQ : _CAUSE_SEQ + 8], "little")
            self._stamps.mark(cause_seq, cause_seq + 1, self._clock())
        if not self._decisions.push(run):
            raise InvariantError("stages.trade: the decision log took no record; a log must never be full")
        if is_package:
            self.signals["package decided"] += 1
            self._count_package(1)
        else:
            cancels = sum(kind_of(run, at) == Kind.CANCEL for at in range(0, len(run), SLOT_BYTES))
            self.signals["cancel decided"] += cancels

    def _tell(self) -> None:
        """Put what people and the supervisor ask for on the status page, our own halt on the halt page."""
        now_ns = self._clock()
        if now_ns - self._told_ns < TELL_NS:
            return
        self._told_ns = now_ns
        facts = self.trader.facts
        self._counts.put("open_orders", facts.orders.open_count)
        self._counts.put("doubtful_orders", len(facts.orders.doubtful))
        self._counts.put("is_reconciled", int(facts.gate.is_reconciled))
        self._counts.put("unsettled_trades", facts.fills.unsettled_count)
        self._counts.put("quarantined_fills", facts.quarantine.count)
        self._counts.put("dust_micro_shares", facts.orders.reservations.dust_micro)
        self._counts.put("external_orders", facts.external.order_count)
        self._counts.put("differing_positions", len(facts.drift.differing))
        if facts.alarms.told != self._told:
            self._tell_alarms(facts.alarms)
        self._counts.put("trade_halt_level", facts.halt_level)  # behind the orders: they are of this level
        if facts.own_halt != self._own_halt:
            self._own_halt = HaltLevel(facts.own_halt)
            cause = Cause(facts.own_cause)
            self._halt_page.put(
                self._own_halt, now_ns=now_ns, cause=cause, durable=False, reason=f"trade: {_HALTS[cause]}")

    def _tell_alarms(self, alarms: Alarms) -> None:
        """Write each alarm that rang since the last look: the newest of each name, and how often it rang."""
        for name, told in alarms.told.items():
            known = self._told.get(name)
            if told != known:
                count, row, words = told
                self._log.error(name, row=row, what=words, count=count, do=ALARMS[name])
                self._counts.put(f"alarm_{name}", count)
        self._told = dict(alarms.told)

    def close(self) -> None:
        """Nothing is held here."""
