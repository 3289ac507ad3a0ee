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

#: What trade folds; market data and ideas are no part of its state.
STREAM_KINDS = (
    Kind.INSTRUMENT, Kind.TICK_STEP, Kind.CONFIG, Kind.HALT, Kind.TICK, Kind.LANE_UP, Kind.RESUME,
    Kind.CLOCK_STEP, Kind.REPORT, Kind.FILL, Kind.BALANCE, Kind.RECONCILED, Kind.RESOLVED,
)


class ArchiveStage:
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
        self._waiting = b""  # decisions that the stream has not reached yet
        self._since = 0

    def poll(self, budget: int) -> int:
        """Fold what both logs hold, in the order in which trade saw it."""
        if not self._waiting:
            self._waiting = self._decided.read(budget)
        facts = self._facts.read(budget)
        for at in range(0, len(facts), SLOT_BYTES):
            seq = HEADER_STRUCT.unpack_from(facts, at)[0]
            self._apply_before(seq)
            self._trader.fold(facts, at)
        if not facts:
            # Nothing in between is a fact, so what was decided up to here may be applied.
            self._apply_before(self._stream.position)
        done = len(facts) // SLOT_BYTES
        if self._since >= self._checkpoint_records and not self._waiting:
            self._write()
        return done

    def _apply_before(self, stream_seq: int) -> None:
        """Apply the decisions that were caused by stream records before `stream_seq`."""
        while self._waiting:
            at = 0
            while at < len(self._waiting) and self._cause_of(at) < stream_seq:
                self._trader.apply_decision(self._waiting, at)
                self._since += 1
                at += SLOT_BYTES
            self._waiting = self._waiting[at:]
            if self._waiting:
                return
            self._waiting = self._decided.read(256)

    def _cause_of(self, at: int) -> int:
        """Return the stream position that caused the decision at `at`: each carries it as `source_seq`."""
        return int(HEADER_STRUCT.unpack_from(self._waiting, at)[3])

    def _write(self) -> None:
        self._since = 0
        data = serialise(self._trader, self._stream.position, self._decisions.position)
        path = self._directory / f"{self._decisions.position:020d}.checkpoint"
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
