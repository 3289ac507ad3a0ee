"""Which markets' matches fail on the chain too often: no new risk in them for a while (FL03).

Pure; owned by `Accounting`, asked by the risk gate.
"""

from __future__ import annotations

from typing import Any

from pipeline.units import NS_PER_S, PPM

WINDOW = 50  # fills of a market that are looked at
FAILED_PPM_MAX = 20_000  # 2 % of them may fail
FAILED_MAX = WINDOW * FAILED_PPM_MAX // PPM
COOL_NS = 600 * NS_PER_S  # our choice: settlement trouble lasts minutes; the next failure begins it anew


class Reverts:
    """Counts fills and failed fills a market; the newest `WINDOW` fills decide."""

    def __init__(self) -> None:
        self._count: dict[int, int] = {}  # row -> fills
        self._failed: dict[int, list[int]] = {}  # row -> fills when one failed, the newest few
        self.until_ns: dict[int, int] = {}  # row -> when its newest cool-down ends; the gate asks

    def on_fill(self, row: int) -> None:
        """Count a fill of the market."""
        self._count[row] = self._count.get(row, 0) + 1

    def on_failed(self, row: int, now_ns: int) -> bool:
        """A fill of the market failed; tell whether the market cools down now.

        It counts at the time of its failure: among the fills that were booked last then.
        """
        count = self._count.get(row, 0)
        recent = [one for one in (*self._failed.get(row, ()), count) if one > count - WINDOW]
        self._failed[row] = recent
        if len(recent) <= FAILED_MAX:
            return False
        self.until_ns[row] = now_ns + COOL_NS
        return True

    def failed(self, row: int) -> int:
        """Return how many of the market's newest fills failed."""
        return len(self._failed.get(row, ()))

    def state(self) -> list[Any]:
        """Return the counts as JSON values, for a checkpoint."""
        return [list(held.items()) for held in (self._count, self._failed, self.until_ns)]

    def load(self, state: list[Any]) -> None:
        """Replace the counts by what `state()` returned."""
        self._count, failed, self.until_ns = (dict(pairs) for pairs in state)
        self._failed = {row: list(numbers) for row, numbers in failed.items()}
