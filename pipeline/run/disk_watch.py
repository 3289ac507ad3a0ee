"""Halts for what the archive says of the disk: no room for the logs, or a segment that it refused to keep.

Reads the counters `disk_full` and `disk_failed` of the lane with `archive`; asks for a level by
`SupervisorHalts`. No room is H1 and clears itself; a refused segment is H3 until the operator resumes, for
what it holds may be gone after the next power loss.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.kinds import Cause, HaltLevel
from pipeline.run.halts import SupervisorHalts
from pipeline.shm.status import StatusView
from pipeline.store.upkeep import DiskFull

_WORDS: dict[int, str] = {
    DiskFull.NO_SPACE: "the disk has no room for another log segment",
    DiskFull.LOG_BYTES_MAX: "the logs reached shm.log_bytes_max",
}


class DiskWatch:
    """`look` in each round of the guard. tell writes an event: level, name, fields."""

    def __init__(
        self, view: StatusView, halts: SupervisorHalts, tell: Callable[..., object],
    ) -> None:
        self._full = view.reader_of("disk_full")
        self._failed = view.reader_of("disk_failed")
        self._halts = halts
        self._tell = tell
        self._failed_seen = 0

    def look(self) -> None:
        """Raise or lift the halt as the counters say."""
        full, failed = self._full(), self._failed()
        if failed > self._failed_seen:
            words = f"the disk refused to keep {failed} log segments; look at the disk before pm resume"
            if self._halts.want(Cause.DISK_FULL, HaltLevel.H3, words):
                self._tell("error", "disk_failed", segments=failed)
        self._failed_seen = failed
        level = self._halts.level_of(Cause.DISK_FULL)
        if full and level < HaltLevel.H1:
            words = _WORDS.get(full, "the disk is full")
            self._halts.want(Cause.DISK_FULL, HaltLevel.H1, words)
            self._tell("error", "disk_full", words=words)
        elif not full and level == HaltLevel.H1:
            self._halts.drop(Cause.DISK_FULL)
            self._tell("info", "disk_has_room")
