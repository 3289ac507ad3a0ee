"""trade: the only stage that decides.

Reads `ideas`; writes the `decisions` log. Risk gate, sizing check, orders, leg groups, positions and
the fill index are `core.trader`; prices of watched books pass it by natively.
"""

from __future__ import annotations

from pipeline.core.trader import Trader
from pipeline.errors import InvariantError
from pipeline.native.log import LogWriter
from pipeline.native.relay import Filter
from pipeline.records import CODECS, RUN_SLOTS_MAX, SLOT_BYTES, Kind, kind_of
from pipeline.native.stamps import Stamps
from pipeline.stages.stage import Clock, Counts

#: Everything but TOP: decisions come from ideas, truth and time.
WANTED = (
    Kind.IDEA, Kind.INSTRUMENT, Kind.TICK_STEP, Kind.CONFIG, Kind.HALT, Kind.TICK, Kind.LANE_UP, Kind.RESUME,
    Kind.CLOCK_STEP,
    Kind.REPORT, Kind.FILL, Kind.BALANCE, Kind.RECONCILED, Kind.RESOLVED, Kind.STALE, Kind.GAP,
)
_PACKAGE = CODECS[Kind.PACKAGE]


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
        self._counts = counts
        self._stamps = stamps
        self.cancel_count = 0  # cancels written so far: they must reach a sleeping gateway at once

    def poll(self, budget: int) -> int:
        """Decide on up to `budget` wanted slots; a log has no full state, so nothing waits here."""
        passed = self._source.passed_count
        data = self._source.read(min(budget, RUN_SLOTS_MAX))
        for at in range(0, len(data), SLOT_BYTES):
            for decided in self.trader.on_record(data, at):
                self._append(decided)
        if not data:
            self._decisions.prepare_next()
        return len(data) // SLOT_BYTES + self._source.passed_count - passed

    def _append(self, run: bytes) -> None:
        if not self._decisions.push(run):
            raise InvariantError("stages.trade: the decision log took no record; a log must never be full")
        self.cancel_count += sum(kind_of(run, at) == Kind.CANCEL for at in range(0, len(run), SLOT_BYTES))
        if kind_of(run) == Kind.PACKAGE:
            cause_seq = _PACKAGE.struct.unpack_from(run)[_PACKAGE.at["cause_seq"]]
            self._stamps.mark(cause_seq, cause_seq + 1, self._clock())
            self._counts.add("packages", 1)

    def close(self) -> None:
        """Nothing is held here."""
