"""trade: the only stage that decides.

Reads `ideas`; writes the `decisions` log. Risk gate, sizing check, orders, leg groups, positions and
the fill index are `core.trader`; prices of watched books pass it by natively.
"""

from __future__ import annotations

from pipeline.core.trader import Trader
from pipeline.errors import InvariantError
from pipeline.native.log import LogWriter
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.records import PARTS_OFFSET, RUN_SLOTS_MAX, SLOT_BYTES, Kind, kind_of, offset_of
from pipeline.stages.stage import Clock, Counts

#: Everything but TOP: decisions come from ideas, truth and time.
WANTED = (
    Kind.IDEA, Kind.INSTRUMENT, Kind.TICK_STEP, Kind.CONFIG, Kind.HALT, Kind.TICK, Kind.LANE_UP, Kind.RESUME,
    Kind.CLOCK_STEP,
    Kind.REPORT, Kind.FILL, Kind.BALANCE, Kind.RECONCILED, Kind.RESOLVED, Kind.STALE, Kind.GAP,
)
_PACKAGE = int(Kind.PACKAGE)
_CAUSE_SEQ = offset_of(Kind.PACKAGE, "cause_seq")


class TradeStage:
    def __init__(
        self, name: str, trader: Trader, source: Filter, decisions: LogWriter, clock: Clock, counts: Counts,
        stamps: Stamps,
    ) -> None:
        self.name = name
        self.trader = trader
        self._source = source
        self._decisions = decisions
        self._clock = clock
        self._count_package = counts.counter("packages").add
        self._stamps = stamps
        self.signals = {"package decided": 0, "cancel decided": 0}

    def poll(self, budget: int) -> int:
        """Decide on up to `budget` wanted slots; a log has no full state, so nothing waits here."""
        passed = self._source.passed_count
        data = self._source.read(min(budget, RUN_SLOTS_MAX))
        at, end = 0, len(data)
        while at < end:
            for decided in self.trader.on_record(data, at):
                self._append(decided)
            # A run that starts here was taken whole; the rest of one that an earlier read cut comes by slots.
            at += SLOT_BYTES * (data[at + PARTS_OFFSET] or 1 if data[at + PARTS_OFFSET - 1] == 0 else 1)
        if not data:
            self._decisions.prepare_next()
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

    def close(self) -> None:
        """Nothing is held here."""
