"""What is to be asked again and again, each time later than the last, until somebody drops it."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

Key = TypeVar("Key", int, bytes)


class Agenda(Generic[Key]):
    """Keys with the time of their next question; waits double from `wait_ns_min` to `wait_ns_max`."""

    def __init__(self, wait_ns_min: int, wait_ns_max: int, tries_max: int = 0) -> None:
        """tries_max: questions after which a key is dropped; 0 = never."""
        self._wait_ns_min, self._wait_ns_max = wait_ns_min, wait_ns_max
        self._tries_max = tries_max
        self._tries: dict[Key, int] = {}
        self._due: list[tuple[int, int, Key]] = []  # (when, number, key); old numbers are passed over
        self._valid: dict[Key, int] = {}  # key -> number of the entry that counts
        self._number = 0

    def __contains__(self, key: object) -> bool:
        return key in self._tries

    def __len__(self) -> int:
        return len(self._tries)

    def add(self, key: Key, now_ns: int) -> None:
        """Ask about a key at once; one that is known keeps its time."""
        if key not in self._tries:
            self._tries[key] = 0
            self._plan(key, now_ns)

    def drop(self, key: Key) -> None:
        """Ask no more."""
        self._tries.pop(key, None)
        self._valid.pop(key, None)

    def due(self, now_ns: int) -> Key | None:
        """Return a key that is to be asked about now, None without one. `again` or `drop` follows."""
        while self._due and self._due[0][0] <= now_ns:
            _, number, key = heapq.heappop(self._due)
            if self._valid.get(key) == number:
                del self._valid[key]
                return key
        return None

    def again(self, key: Key, now_ns: int) -> None:
        """It was asked in vain: plan the next time, or drop it after too many."""
        if key not in self._tries:
            return
        self._tries[key] += 1
        if self._tries_max and self._tries[key] >= self._tries_max:
            self.drop(key)
            return
        wait_ns = self._wait_ns_min << min(self._tries[key] - 1, 32)
        self._plan(key, now_ns + min(wait_ns, self._wait_ns_max))

    def _plan(self, key: Key, when_ns: int) -> None:
        self._number += 1
        self._valid[key] = self._number
        heapq.heappush(self._due, (when_ns, self._number, key))
