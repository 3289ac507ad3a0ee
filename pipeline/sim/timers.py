"""Things to do later, in order of time and then of arrival."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Timers:
    """A heap of actions; an action that has become pointless checks that itself."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0

    def at(self, when_ns: int, action: Callable[[int], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when_ns, self._count, action))

    def run(self, now_ns: int) -> int:
        """Run what is due, each at its own time; return how many ran."""
        done = 0
        while self._heap and self._heap[0][0] <= now_ns:
            when_ns, _, action = heapq.heappop(self._heap)
            action(when_ns)
            done += 1
        return done

    def next_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None
