"""The supervisor's word on the halt page: the highest level that any of its reasons asks for.

A lane that is away or stalled halts new risk for as long; a crash loop latches until the operator resumes.
Writes the `supervisor` entry alone.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.kinds import Cause, HaltLevel
from pipeline.shm.halt import OWNERS, Halt, HaltPage

#: From H3 on only an operator lifts these; the others go when what caused them is gone, or with a new start.
LATCHED = (Cause.CRASH_LOOP, Cause.DISK_FULL, Cause.CLOCK_SKEW)
OTHERS = tuple(owner for owner in OWNERS if owner != "supervisor")


class SupervisorHalts:
    """Reasons by cause; `page` must be opened as `supervisor`, clock gives wall time in ns."""

    def __init__(self, page: HaltPage, clock: Callable[[], int]) -> None:
        self._page = page
        self._clock = clock
        self._reasons: dict[Cause, tuple[HaltLevel, str]] = {}
        self._resumed_ns = page.entry("operator").since_ns
        self._told = {owner: page.entry(owner) for owner in OTHERS}
        self._take_over()

    def _take_over(self) -> None:
        """Keep what an earlier supervisor latched and nobody lifted since."""
        entry, operator = self._page.entry("supervisor"), self._page.entry("operator")
        is_lifted = operator.level == HaltLevel.H0 and operator.since_ns > entry.since_ns
        if entry.level != HaltLevel.H0 and entry.cause in LATCHED and not is_lifted:
            self._reasons[Cause(entry.cause)] = (entry.level, entry.reason)
        else:
            self._store()

    @property
    def level(self) -> HaltLevel:
        """The level that the supervisor asks for now."""
        return max((level for level, _ in self._reasons.values()), default=HaltLevel.H0)

    def has(self, cause: Cause) -> bool:
        """Tell whether this reason holds."""
        return cause in self._reasons

    def level_of(self, cause: Cause) -> HaltLevel:
        """The level that this reason asks for."""
        return self._reasons[cause][0] if cause in self._reasons else HaltLevel.H0

    def want(self, cause: Cause, level: HaltLevel, reason: str) -> bool:
        """Halt for this cause at least at `level`; False when that was so already."""
        if self.level_of(cause) >= level:
            return False
        self._reasons[cause] = (level, reason)
        self._store()
        return True

    def news(self) -> list[Halt]:
        """Return what other owners asked for or lifted since the last call; somebody has to hear of it."""
        found = []
        for owner in OTHERS:
            entry = self._page.entry(owner)
            if entry.level != self._told[owner].level:
                self._told[owner] = entry
                found.append(entry)
        return found

    def drop(self, cause: Cause) -> bool:
        """The cause is gone; False when it was not there."""
        if self._reasons.pop(cause, None) is None:
            return False
        self._store()
        return True

    def follow_operator(self) -> int:
        """Lift what is latched when the operator resumed since the last call; return that time, 0 = not."""
        operator = self._page.entry("operator")
        if operator.level != HaltLevel.H0 or operator.since_ns <= self._resumed_ns:
            return 0
        self._resumed_ns = operator.since_ns
        for cause in LATCHED:
            if self.level_of(cause) >= HaltLevel.H3:  # an operator makes no room on a full disk
                self.drop(cause)
        return operator.since_ns

    def _store(self) -> None:
        highest = max(self._reasons.items(), key=lambda item: item[1][0], default=None)
        cause, (level, reason) = highest or (Cause.NONE, (HaltLevel.H0, "supervisor: nothing halts"))
        # What is latched must outlive a power loss; for the rest, a stalled disk must not stop the watch.
        self._page.put(
            level, now_ns=self._clock(), reason=reason, cause=cause,
            durable=Cause.CRASH_LOOP in self._reasons)
