"""The ledger of one test session: seconds per folder, skips by category, what fails although all passed."""

from __future__ import annotations

import collections
import time
from pathlib import Path

COMMIT_SECONDS_MAX = 15 * 60
CATEGORIES = ("recordings", "servers")


class Ledger:
    """What a session spent per folder and what it skipped, and whether that is allowed."""

    def __init__(self, has_shared: bool, tier_name: str) -> None:
        self.has_shared = has_shared
        self.tier_name = tier_name
        self.began_s = time.monotonic()
        self.seconds: dict[str, float] = collections.defaultdict(float)  # of tests/<folder>
        self.tests: collections.Counter[str] = collections.Counter()
        self.skips: collections.Counter[str] = collections.Counter()  # by category
        self.other_reasons: list[str] = []

    def add(self, nodeid: str, phase: str, duration_s: float) -> None:
        """Book one phase (setup, call, teardown) of one test."""
        parts = Path(nodeid.partition("::")[0]).parts
        folder = parts[1] if len(parts) > 2 else parts[0]
        self.seconds[folder] += duration_s
        self.tests[folder] += phase == "setup"

    def add_skip(self, nodeid: str, reason: str) -> None:
        """Book one skip under the category that its reason names first."""
        category = reason.removeprefix("Skipped: ").partition(":")[0]
        if category in CATEGORIES:
            self.skips[category] += 1
        else:
            self.other_reasons.append(f"{nodeid}: {reason}")

    def failures(self, elapsed_s: float) -> list[str]:
        """Return why this session fails although its tests passed; [] when it does not."""
        found = []
        skipped = sum(self.skips.values()) + len(self.other_reasons)
        if skipped and self.has_shared:
            found.append(f"{skipped} skipped although ../shared is there: nothing may be skipped then")
        if self.tier_name == "commit" and elapsed_s > COMMIT_SECONDS_MAX:
            found.append(f"the commit tier took {elapsed_s:.0f} s, allowed are {COMMIT_SECONDS_MAX} s")
        return found

    def closing_line(self) -> str:
        """Return the line that a session ends with."""
        return "skipped: " + ", ".join(f"{self.skips[name]} {name}" for name in CATEGORIES)
