"""archive: checkpoints made off the path.

Reads `stream` and `decisions`; folds both with the same core classes that trade uses and every
`checkpoint_records` decisions writes a checkpoint file (both positions, digest; fsync, rename). trade's
state is a fold over facts and its own decisions, never over books, so no book is needed here.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.checkpoint import serialise
from pipeline.core.trader import Trader
from pipeline.native.log import LogReader
from pipeline.stages.stage import Counts
from pipeline.store import checkpoints
from pipeline.store.refold import Refold

CHECKPOINT_RECORDS = 4_096


class ArchiveStage:
    """Folds both logs as trade does, and writes a checkpoint each `checkpoint_records` decisions."""

    def __init__(
        self, name: str, stream: LogReader, decisions: LogReader, directory: Path, counts: Counts,
        checkpoint_records: int = CHECKPOINT_RECORDS,
    ) -> None:
        self.name = name
        self._fold = Refold(Trader(), stream, decisions)
        self._directory = directory
        self._counts = counts
        self._checkpoint_records = checkpoint_records
        self._written = 0  # decisions folded at the last checkpoint

    def poll(self, budget: int) -> int:
        """Fold what both logs hold, in the order in which trade saw it."""
        done = self._fold.step(budget)
        if self._fold.decisions_count - self._written >= self._checkpoint_records:
            self._write()
        return done

    def _write(self) -> None:
        positions = self._fold.positions
        if positions is None:
            return  # in the middle of a run: the next poll is soon enough
        self._written = self._fold.decisions_count
        checkpoints.write(self._directory, serialise(self._fold.trader, *positions), positions[1])
        self._counts.add("checkpoints", 1)

    def close(self) -> None:
        """Nothing is held here: the readers belong to the lane."""
