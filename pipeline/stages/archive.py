"""archive: checkpoints made off the path.

Reads `stream` and `decisions`; folds both with the same core classes that trade uses and every
`checkpoint_records` decisions writes a checkpoint file (both positions, digest; fsync, rename). trade's
state is a fold over facts and its own decisions, never over books, so no book is needed here.
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.core.checkpoint import serialise
from pipeline.core.trader import Trader
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.records import HEADER_STRUCT, SLOT_BYTES, Kind
from pipeline.stages.stage import Counts

CHECKPOINT_RECORDS = 4_096
CHECKPOINTS_KEPT = 4
_FACTS, _DECIDED = 0, 1

#: What trade folds; market data and ideas are no part of its state.
STREAM_KINDS = (
    Kind.INSTRUMENT, Kind.TICK_STEP, Kind.CONFIG, Kind.HALT, Kind.TICK, Kind.LANE_UP, Kind.RESUME,
    Kind.CLOCK_STEP, Kind.REPORT, Kind.FILL, Kind.BALANCE, Kind.RECONCILED, Kind.RESOLVED,
)


class ArchiveStage:
    """Folds both logs as trade does, and writes a checkpoint each `checkpoint_records` of them."""

    def __init__(
        self, name: str, stream: LogReader, decisions: LogReader, directory: Path, counts: Counts,
        checkpoint_records: int = CHECKPOINT_RECORDS,
    ) -> None:
        self.name = name
        self._stream = stream
        self._decisions = decisions
        self._facts = Filter(stream, STREAM_KINDS)
        self._decided = Filter(decisions, tuple(Kind))
        self._directory = directory
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._counts = counts
        self._checkpoint_records = checkpoint_records
        self._trader = Trader()
        self._waiting: list[bytes] = [b"", b""]  # facts and decisions that were read and not folded
        self._at = [0, 0]  # place in each
        self._since = 0

    def poll(self, budget: int) -> int:
        """Fold what both logs hold, in the order in which trade saw it.

        A fact is folded only when a decision of a later cause stands in the log: then trade had passed it,
        and every decision that it caused is there to be read. Beats keep that at most half a second behind.
        """
        done = 0
        while done < budget and self._has(_DECIDED, self._decided, budget):
            has_fact = self._has(_FACTS, self._facts, budget)
            cause_seq = self._head(_DECIDED, 3)
            if has_fact and self._head(_FACTS, 0) <= cause_seq:
                self._trader.fold(self._waiting[_FACTS], self._at[_FACTS])
                self._at[_FACTS] += SLOT_BYTES
            elif has_fact or self._stream.position > cause_seq:
                self._trader.apply_decision(self._waiting[_DECIDED], self._at[_DECIDED])
                self._at[_DECIDED] += SLOT_BYTES
                self._since += 1
            else:
                break  # the cause itself is not read yet
            done += 1
        if self._since >= self._checkpoint_records:
            self._write()
        return done

    def _has(self, which: int, source: Filter, budget: int) -> bool:
        """Tell whether a slot of the log waits, after reading more when none does."""
        if self._at[which] >= len(self._waiting[which]):
            self._waiting[which], self._at[which] = source.read(budget), 0
        return bool(self._waiting[which])

    def _head(self, which: int, field: int) -> int:
        """Return seq (0) or source_seq (3, of a decision: its cause) of the first waiting slot."""
        return int(HEADER_STRUCT.unpack_from(self._waiting[which], self._at[which])[field])

    def _position(self, which: int, reader: LogReader) -> int:
        """Return the position of the first record of a log that is not folded yet."""
        is_waiting = self._at[which] < len(self._waiting[which])
        return self._head(which, 0) if is_waiting else reader.position

    def _write(self) -> None:
        self._since = 0
        decided = self._position(_DECIDED, self._decisions)
        data = serialise(self._trader, self._position(_FACTS, self._stream), decided)
        path = self._directory / f"{decided:020d}.checkpoint"
        partial = path.with_suffix(".partial")
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        for old in sorted(self._directory.glob("*.checkpoint"))[:-CHECKPOINTS_KEPT]:
            old.unlink()
        self._counts.add("checkpoints", 1)

    def close(self) -> None:
        """Nothing is held here: the readers belong to the lane."""
