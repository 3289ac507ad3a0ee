"""Both logs folded into one trader, in the order in which trade saw them: recovery and checkpoints.

Reads `stream` and `decisions`; writes nothing. trade's facts are a fold over what it was told (`FACT_KINDS`)
and its own logged decisions, never over books. A decision names the stream record that caused it; trade had
folded that one and all before it, and nothing after it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.codec import HEADER_STRUCT
from pipeline.core.state import TraderState
from pipeline.core.trader import Trader
from pipeline.errors import LogCorrupt
from pipeline.kinds import Kind
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.records import RUN_SLOTS_MAX, SLOT_BYTES

#: What trade folds of `stream`; market data and ideas are no part of its state.
FACT_KINDS = tuple(map(Kind, TraderState().folds))
READ_SLOTS = 1_024
_SEQ, _CAUSE_SEQ, _PART, _PARTS = 0, 3, 8, 9  # fields of HEADER_STRUCT; a decision's source_seq is its cause


class _Slots:
    """The wanted slots of one log, one by one: `data` at `at` is the next, `seq` and `cause_seq` are its."""

    def __init__(self, reader: LogReader, kinds: Iterable[Kind]) -> None:
        self.reader = reader
        self._filter = Filter(reader, tuple(kinds))
        self.data, self.at = b"", 0
        self.seq = self.cause_seq = 0
        self._run_end = self._next_run_end = int(reader.position)  # of the last folded run, the waiting one

    def has(self) -> bool:
        """Tell whether a slot waits, after reading more when none does."""
        if self.at < len(self.data):
            return True
        while True:
            before = self.reader.position
            self.data, self.at = self._filter.read(READ_SLOTS), 0
            if self.data:
                self._look()
                return True
            if self.reader.position == before:
                self.reader.check()
                return False

    def _look(self) -> None:
        head = HEADER_STRUCT.unpack_from(self.data, self.at)
        self.seq, self.cause_seq = head[_SEQ], head[_CAUSE_SEQ]
        self._next_run_end = self.seq - head[_PART] + max(head[_PARTS], 1)

    def step(self) -> None:
        """The waiting slot was folded."""
        self._run_end = self._next_run_end
        self.at += SLOT_BYTES
        if self.at < len(self.data):
            self._look()

    @property
    def position(self) -> int | None:
        """Position behind everything folded, at the beginning of a run; None in the middle of one."""
        if self.at < len(self.data):
            return self._run_end if self.seq >= self._run_end else None
        return self._run_end if self.reader.position >= self._run_end else None


class Refold:
    """Folds what two readers show into a trader; their positions are where its state was taken.

    `step` follows live logs. `finish` goes to two known ends: what recovery does.
    """

    def __init__(self, trader: Trader, stream: LogReader, decisions: LogReader) -> None:
        self.trader = trader
        self._facts = _Slots(stream, FACT_KINDS)
        self._decided = _Slots(decisions, Kind)
        self.facts_count = self.decisions_count = 0

    @property
    def positions(self) -> tuple[int, int] | None:
        """Positions in stream and decisions behind all that is folded; None in the middle of a run."""
        stream_seq, decisions_seq = self._facts.position, self._decided.position
        return None if stream_seq is None or decisions_seq is None else (stream_seq, decisions_seq)

    @property
    def stream_position(self) -> int:
        """How far `stream` is read; some of it may wait for a decision before it is folded."""
        return int(self._facts.reader.position)

    def step(self, budget: int) -> int:
        """Fold up to `budget` slots of live logs; return how many.

        A fact is folded only when a decision of a later cause stands in the log: then trade had passed it,
        and every decision that it caused is there to be read. Beats keep that at most half a second behind.
        """
        facts, decided, done = self._facts, self._decided, 0
        while done < budget and decided.has():
            has_fact = facts.has()
            if has_fact and facts.seq <= decided.cause_seq:
                self._fold()
            elif has_fact or facts.reader.position > decided.cause_seq:
                self._apply()
            else:
                break  # the cause itself is not read yet
            done += 1
        return done

    def finish(self, stream_end: int, decisions_end: int) -> None:
        """Fold everything below the two ends; nobody may decide meanwhile, the logs may go on behind them.

        Raises LogCorrupt when a log ends before: facts would be missing.
        """
        facts, decided = self._facts, self._decided
        while True:
            is_decided = self._is_below(decided, decisions_end)
            if self._is_below(facts, stream_end) and not (is_decided and decided.cause_seq < facts.seq):
                self._fold()
            elif is_decided:
                self._apply()
            else:
                break
        for log, slots, end in (("stream", facts, stream_end), ("decisions", decided, decisions_end)):
            # PAD at the end of a file counts as a position and is never shown
            if slots.at >= len(slots.data) and slots.reader.position + RUN_SLOTS_MAX <= end:
                raise LogCorrupt(
                    f"store.refold: {log} was to be read up to {end}, it ends at {slots.reader.position}; "
                    "do not trade on it: keep a copy and restore the log from the archive")

    @staticmethod
    def _is_below(slots: _Slots, end: int) -> bool:
        return (slots.at < len(slots.data) or slots.reader.position < end) and slots.has() and slots.seq < end

    def _fold(self) -> None:
        self.trader.fold(self._facts.data, self._facts.at)
        self._facts.step()
        self.facts_count += 1

    def _apply(self) -> None:
        self.trader.apply_decision(self._decided.data, self._decided.at)
        self._decided.step()
        self.decisions_count += 1


def recover(
    trader: Trader, stream: LogReader, decisions: LogReader, stream_end: int, decisions_end: int,
) -> None:
    """Bring a checkpoint's trader to the ends of both logs; the readers stand at the checkpoint's positions.

    What hangs on books and ideas stays empty, as in a checkpoint: book and detect start empty, too.
    """
    Refold(trader, stream, decisions).finish(stream_end, decisions_end)
