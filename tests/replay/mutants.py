"""Lanes with a planted fault: `python -m tests.replay.mutants SPEC LANE EPOCH first` runs one.

Its detect hangs on what no record holds; PM_MUTANT names the fault.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from pipeline.core.detector import Detector
from pipeline.run import build
from pipeline.run.lane import main
from pipeline.stages.detect import DetectStage

Slot = bytes | bytearray | memoryview


class ClockDetector(Detector):
    """Whether an idea is told hangs on the host's clock."""

    def on_near(self, top: Any, slot: Slot, offset: int = 0) -> Sequence[bytes]:
        ideas = super().on_near(top, slot, offset)
        return () if ideas and time.perf_counter_ns() // 1_000 & 1 else ideas


class SetDetector(Detector):
    """Whether an idea is told hangs on the order in which a set shows its members."""

    def on_near(self, top: Any, slot: Slot, offset: int = 0) -> Sequence[bytes]:
        ideas = super().on_near(top, slot, offset)
        first = next(iter({f"tell {self._idea_no}", f"hold {self._idea_no}"}))
        return () if ideas and first.startswith("hold") else ideas


class BatchDetector(Detector):
    """The first idea of a batch is held back."""

    is_first = False

    def on_near(self, top: Any, slot: Slot, offset: int = 0) -> Sequence[bytes]:
        ideas = super().on_near(top, slot, offset)
        held, self.is_first = ideas and self.is_first, False
        return () if held else ideas


class BatchStage(DetectStage):
    """Tells its detector where a batch begins; a small budget makes small batches."""

    def poll(self, budget: int) -> int:
        if isinstance(self.detector, BatchDetector):
            self.detector.is_first = budget > 64
        return super().poll(budget)


MUTANTS: dict[str, type[Detector]] = {
    "clock": ClockDetector, "set": SetDetector, "batch": BatchDetector, "none": Detector}


if __name__ == "__main__":
    build.Detector = MUTANTS[os.environ["PM_MUTANT"]]  # type: ignore[misc]
    build.detect.DetectStage = BatchStage  # type: ignore[misc]
    raise SystemExit(main())
