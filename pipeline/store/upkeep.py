"""What the logs need of the disk, in rounds off every lane's own thread: durability, room, copies, deletion.

A round syncs what both logs gained, makes segment files ahead of the writers, copies one full segment into
the archive and deletes those that nobody needs. Whatever the disk does, the writers of the logs never wait
for it: the reserve made ahead carries cancels and reports when there is no space for more.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from pipeline.config.load import SEGMENTS_AHEAD
from pipeline.errors import EnvironmentProblem, LogCorrupt
from pipeline.native.segments import SegmentInfo, allocate_segment, segments
from pipeline.store import segments as files
from pipeline.store.copies import Copies
from pipeline.store.durable import sync_directory
from pipeline.store.segments import LOGS, is_full

_FAILED = ".sync-failed"  # beside a segment: what the disk said of it is final
Event = tuple[str, str, dict[str, object]]  # level, event, fields: for the lane's event log


class DiskFull(IntEnum):
    """Counter `disk_full`: why no more room can be had; above 0 no new risk may be taken (H1)."""

    NO = 0
    NO_SPACE = 1  # the next segment cannot be made, whatever the reason
    LOG_BYTES_MAX = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """`segments_kept_min` files with records of each log stay; `log_bytes_max` is that of all live files.

    `copies_bytes_max` is that of all copies in the archive.
    """

    segments_kept_min: int = 4
    log_bytes_max: int = 2 << 30
    copies_bytes_max: int = 20 << 30


@dataclass(slots=True)
class Report:
    """What holds after a round: positions below `synced` are on the disk; counts are of this round."""

    synced: dict[str, int] = field(default_factory=dict)
    disk_full: DiskFull = DiskFull.NO
    failed_count: int = 0  # segments that the disk refused to keep: a latched halt (H3)
    log_bytes: int = 0
    archived_count: int = 0
    deleted_count: int = 0
    events: list[Event] = field(default_factory=list)


class _Sync:
    """How far one log is on the disk. An error is final for its file: a later success would mean nothing.

    The kernel forgets dirty pages that it could not write and tells that once, to descriptors that were open
    then. So the descriptor of a file is kept until the file is full and on the disk, and what failed is
    remembered beside it for the next process. Source: fsync(2), "ERRORS"; kernel errseq_t, read 2026-11-21.
    """

    def __init__(self, directory: Path, log: str) -> None:
        self.directory, self.log = directory, log
        self.position = 0
        self.failed: set[int] = set()
        self._fds: dict[int, int] = {}
        self._done: set[int] = set()
        self._seen: dict[int, int] = {}  # first -> published, as it was synced last

    def go_on(self, infos: list[SegmentInfo], report: Report) -> None:
        """Sync what is new, oldest first, up to the first file that failed."""
        for info in infos:
            if info.first in self._done or info.published == self._seen.get(info.first):
                continue
            if info.published == info.first:
                break
            if not self._sync(info, report):
                break
            self.position = info.published
            self._seen[info.first] = info.published
            if is_full(info):
                self._done.add(info.first)
                os.close(self._fds.pop(info.first))

    def _sync(self, info: SegmentInfo, report: Report) -> bool:
        path, marker = Path(info.path), Path(info.path + _FAILED)
        if info.first in self.failed or marker.exists():
            self.failed.add(info.first)
            return False
        try:
            if info.first not in self._fds:
                self._fds[info.first] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                sync_directory(self.directory)  # the file's name, too
            os.fsync(self._fds[info.first])
        except OSError as problem:
            self.failed.add(info.first)
            report.events.append(("error", "log_sync_failed", {
                "log": self.log, "first_position": info.first, "synced_position": self.position,
                "words": os.strerror(problem.errno or errno.EIO)}))
            try:
                marker.touch(0o600)
            except OSError:  # the disk that just refused; this process remembers
                report.events.append(("error", "log_sync_marker_failed", {"log": self.log}))
            return False
        return True

    def forget(self, first: int) -> None:
        """The file is deleted."""
        self._done.discard(first)
        self.failed.discard(first)
        self._seen.pop(first, None)
        if first in self._fds:
            os.close(self._fds.pop(first))

    def close(self) -> None:
        """Let the descriptors go."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


class Upkeep:
    """`round` is called by one thread at a time; nothing here is shared with a writer but the files."""

    def __init__(self, state_dir: Path, limits: Limits) -> None:
        self._state_dir = state_dir
        self._limits = limits
        self._logs = {log: _Sync(files.live_directory(state_dir, log), log) for log in LOGS}
        self._copies = Copies(state_dir, limits.copies_bytes_max)
        self._refused: set[tuple[str, int]] = set()  # copies that failed for good

    def round(self, pins: Mapping[str, int]) -> Report:
        """Do what is due. pins: the first position of each log that somebody still needs.

        Raises LayoutError or LogCorrupt when a log's files are not what they must be.
        """
        report = Report()
        infos = {log: segments(sync.directory, log) for log, sync in self._logs.items()}
        for log, sync in self._logs.items():
            sync.go_on(infos[log], report)
            report.synced[log] = sync.position
            report.failed_count += len(sync.failed)
        for log in LOGS:
            infos[log] = self._delete(log, infos[log], pins.get(log, 0), report)
        report.log_bytes = sum(os.stat(info.path).st_size for log in LOGS for info in infos[log])
        for log in LOGS:
            self._make_ahead(log, infos[log], report)
        for log in LOGS:
            if self._copy_one(log, infos[log], report):
                break
        self._prune_copies(infos, report)
        return report

    def _prune_copies(self, infos: Mapping[str, list[SegmentInfo]], report: Report) -> None:
        """Keep the archive within its limit."""
        try:
            gone = self._copies.prune({log: found[0].first if found else 0 for log, found in infos.items()})
        except OSError as problem:  # tried again in the next round
            words = f"{problem.filename}: {problem.strerror}"
            report.events.append(("error", "archive_failed", {"words": words}))
            return
        if gone:
            report.events.append(("info", "archive_pruned", {"copies": len(gone), "newest": str(gone[-1])}))

    def _make_ahead(self, log: str, infos: list[SegmentInfo], report: Report) -> None:
        """Keep files behind the one that is written: the reserve when the disk is full."""
        if not infos:
            return
        active = max((place for place, info in enumerate(infos) if info.published > info.first), default=0)
        last = infos[-1]
        first = last.first + last.slots
        for _ in range(len(infos) - 1 - active, SEGMENTS_AHEAD):
            size = os.stat(last.path).st_size
            if report.log_bytes + size > self._limits.log_bytes_max:
                report.disk_full = max(report.disk_full, DiskFull.LOG_BYTES_MAX)
                return
            if not self._allocate(log, first, last, report):
                return
            report.log_bytes += size
            first += last.slots

    def _allocate(self, log: str, first: int, last: SegmentInfo, report: Report) -> bool:
        try:
            allocate_segment(self._logs[log].directory, log, first, last.slots, last.salt_epoch)
        except EnvironmentProblem as problem:
            report.disk_full = DiskFull.NO_SPACE
            report.events.append(("error", "disk_full", {"log": log, "words": str(problem)}))
            return False
        return True

    def _copy_one(self, log: str, infos: list[SegmentInfo], report: Report) -> bool:
        """Copy the oldest full segment that has no copy; tell whether there was one to try."""
        for info in infos:
            if not is_full(info) or self._copies.has(log, info.first) or (log, info.first) in self._refused:
                continue
            try:
                files.archive_segment(self._state_dir, log, info.first)
            except LogCorrupt as problem:
                self._refused.add((log, info.first))
                report.events.append(("error", "archive_refused", {"log": log, "words": str(problem)}))
            except OSError as problem:  # tried again in the next round
                words = f"{problem.filename}: {problem.strerror}"
                report.events.append(("error", "archive_failed", {"log": log, "words": words}))
            else:
                self._copies.add(log, info.first)
                report.archived_count += 1
            return True
        return False

    def _delete(self, log: str, infos: list[SegmentInfo], pin: int, report: Report) -> list[SegmentInfo]:
        """Delete the oldest live files that are copied, behind `pin` and more than must be kept."""
        used = sum(info.published > info.first for info in infos)
        while used > self._limits.segments_kept_min and len(infos) > 1:
            oldest = infos[0]
            copy = files.archive_path(self._state_dir, log, oldest.first)
            is_behind = is_full(oldest) and oldest.first + oldest.slots <= pin
            if not is_behind or not self._copies.has(log, oldest.first):
                break
            if not files.is_copy(Path(oldest.path), copy):
                report.events.append(("error", "archive_refused", {
                    "log": log, "words": f"store.upkeep: {copy} is no copy of {oldest.path}"}))
                break
            os.unlink(oldest.path)
            Path(oldest.path + _FAILED).unlink(missing_ok=True)
            sync_directory(self._logs[log].directory)
            self._logs[log].forget(oldest.first)
            report.deleted_count += 1
            infos, used = infos[1:], used - 1
        return infos

    def close(self) -> None:
        """Let the files go."""
        for sync in self._logs.values():
            sync.close()
