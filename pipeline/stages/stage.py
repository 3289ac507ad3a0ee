"""What a stage is, and the small things that every stage gets from its lane.

A lane polls its stages in declared order; only the topology file knows which stages share a lane.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from pipeline.native.counters import Counter
from pipeline.native.flow import Sink
from pipeline.shm.status import StatusPage

Clock = Callable[[], int]  # now in ns since the epoch; one anchored monotonic clock per host


class Stage(Protocol):
    """One job in the stream."""

    name: str

    def poll(self, budget: int) -> int:
        """Handle up to `budget` records; return how many, 0 = idle.

        Never waits: takes an input only when its output has room for all it may emit.
        """

    def close(self) -> None:
        """Release views and files; called once, also after a failed start."""


class Signalling(Stage, Protocol):
    """A stage that wakes others by counts of its own, not by its channels alone."""

    signals: dict[str, int]


@runtime_checkable
class Telling(Protocol):
    """A stage that calls its `tell` inside `poll`, for work in another lane that should begin before it ends.

    Its lane puts its wakes there.
    """

    tell: Callable[[], object]


def no_one_to_tell() -> None:
    """The `tell` of a stage whose lane has set none."""


def backoff_ns(attempts: int, least_ns: int, most_ns: int, spread: int) -> int:
    """Return the wait before a socket's next attempt: doubled with each, capped, over the upper half of it.

    spread: 0..999, another for each socket and attempt, so that no two try again together.
    """
    step_ns = min(least_ns << min(attempts, 10), most_ns)
    return step_ns // 2 + step_ns * spread // 2_000


def push_owed(sink: Sink, owed: deque[bytes]) -> bool:
    """Push runs that must not be dropped, oldest first, while there is room; True when none is left."""
    while owed:
        if not sink.push(owed[0]):
            return False
        owed.popleft()
    return True


class Counts:
    """A stage's named counters on its lane's status page, looked up once each.

    Without a page nobody sees them: for a rehearsal.
    """

    def __init__(self, page: StatusPage | None = None) -> None:
        self._page = page
        self._counters: dict[str, Counter] = {}

    def counter(self, name: str) -> Counter:
        """Return the counter itself, for native code."""
        found = self._counters.get(name)
        if found is None:
            found = Counter() if self._page is None else self._page.counter(name)
            self._counters[name] = found
        return found

    def add(self, name: str, amount: int = 1) -> None:
        """Count `amount` more."""
        self.counter(name).add(amount)

    def put(self, name: str, value: int) -> None:
        """Store a gauge."""
        self.counter(name).put(value)
