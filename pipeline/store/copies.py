"""Which full segments have a copy in `archive/`, and how many bytes of copies stay.

Used by one thread at a time (`store/upkeep`). A copy goes only when its live segment is gone and all copies
together are beyond the limit, the oldest of both logs first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.store import segments as files
from pipeline.store.segments import LOGS


class Copies:
    """The copies of both logs by first position; `bytes_max` is that of all together."""

    def __init__(self, state_dir: Path, bytes_max: int) -> None:
        self._state_dir = state_dir
        self._bytes_max = bytes_max
        self._made: dict[tuple[int, str, int], int] = {}  # (mtime ns, log, first) -> bytes
        self._total = 0  # of all their bytes
        self._known: dict[str, set[int]] = {log: set() for log in LOGS}
        for log in LOGS:
            for first in files.archived(state_dir, log):
                self.add(log, first)

    def has(self, log: str, first: int) -> bool:
        """Tell whether the segment has a copy."""
        return first in self._known[log]

    def add(self, log: str, first: int) -> None:
        """Take note of a copy that is there as a whole."""
        made = os.stat(files.archive_path(self._state_dir, log, first))
        self._made[made.st_mtime_ns, log, first] = made.st_size
        self._total += made.st_size
        self._known[log].add(first)

    def prune(self, live_first: Mapping[str, int]) -> list[Path]:
        """Delete what is beyond the limit and older than every live segment; return what went.

        live_first: first position of each log's oldest live segment. Raises OSError when the disk refuses.
        """
        gone: list[Path] = []
        if self._total <= self._bytes_max:
            return gone
        for key in sorted(self._made):
            if self._total <= self._bytes_max:
                break
            _, log, first = key
            if first >= live_first.get(log, 0):
                continue
            path = files.archive_path(self._state_dir, log, first)
            with suppress(FileNotFoundError):  # the operator may remove them, too
                path.unlink()
            self._total -= self._made.pop(key)
            self._known[log].discard(first)
            gone.append(path)
        return gone
