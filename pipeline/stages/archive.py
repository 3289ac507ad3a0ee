"""archive: checkpoints made off the path, and everything that the logs need of the disk.

Reads `stream` and `decisions`; folds both with the same core classes that trade uses and every
`checkpoint_records` records writes a checkpoint file (both positions, digest; fsync, rename). trade's state
is a fold over facts and its own decisions, never over books, so no book is needed here. Beside that, in a
thread of its own: syncs the logs, makes segments ahead, copies full ones into the archive, deletes what
nobody needs.

Counters: `stream_fsync_position`, `decisions_fsync_position` (all below is on the disk), `log_bytes`,
`segments_archived`, `segments_deleted`, `checkpoints`, `archive_errors`, `disk_busy_ms` (age of the disk work
under way), `disk_full` (`store.upkeep.DiskFull`; above 0 asks for halt H1, 0 again when there is room) and
`disk_failed` (segments that the disk refused to keep; above 0 asks for halt H3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.core.checkpoint import serialise
from pipeline.core.trader import Trader
from pipeline.errors import InvariantError, PipelineError
from pipeline.native.log import LogReader
from pipeline.native.segments import segment_firsts, segments
from pipeline.stages.stage import Clock, Counts
from pipeline.store import checkpoints
from pipeline.store.background import Worker
from pipeline.store.events import EventLog
from pipeline.store.refold import Refold
from pipeline.store.segments import LOGS, live_directory, reading
from pipeline.store.upkeep import Limits, Report, Upkeep
from pipeline.units import NS_PER_MS

CLOSE_S_MAX = 2.0  # wait for disk work under way; then it is left to the next start
_STEP_SLOTS = 4_096


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """checkpoint_records counts what was folded of both logs; sync_ns is the time between two rounds."""

    limits: Limits = field(default_factory=Limits)
    checkpoint_records: int = 32_768
    sync_ns: int = 500 * NS_PER_MS


def reads_name(log: str, stage: str) -> str:
    """Return the counter in which a lane tells how far a stage of its has read a log: what it still needs."""
    return f"reads.{log}.{stage}"


class ReadPositions:
    """How far each log is read: the least of what the lanes tell.

    needed: by log the stages that trading needs; one that tells nothing has read nothing. watching: stages
    that are waited for only once they tell. counters: one lane's counters each, read anew at each call.
    """

    def __init__(
        self, needed: Mapping[str, Iterable[str]], counters: Iterable[Callable[[], Mapping[str, int]]],
        watching: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self._names = {log: [reads_name(log, stage) for stage in stages] for log, stages in needed.items()}
        self._watching = {
            log: [reads_name(log, stage) for stage in stages] for log, stages in (watching or {}).items()}
        self._counters = list(counters)

    def __call__(self, log: str, otherwise: int) -> int:
        """Return the position that nobody is before; `otherwise` when no stage needs this log."""
        told: dict[str, int] = {}
        for counters in self._counters:
            told.update(counters())
        positions = [told.get(name, 0) for name in self._names.get(log, ())]
        positions += [told[name] for name in self._watching.get(log, ()) if name in told]
        return min(positions, default=otherwise)


class ArchiveStage:
    """Goes on from the newest checkpoint, so it may die at any time; nobody who reads the logs notices."""

    def __init__(
        self, name: str, state_dir: Path, open_reader: Callable[[str, int], LogReader], reads: ReadPositions,
        worker: Worker, counts: Counts, clock: Clock, log: EventLog,
        settings: ArchiveSettings,
    ) -> None:
        """open_reader: of a live log at a position; the lane closes what it gives."""
        self.name = name
        self._state_dir = state_dir
        self._reads = reads
        self._worker = worker
        self._counts = counts
        self._clock = clock
        self._log = log
        self._settings = settings
        self._directory = state_dir / "checkpoints"
        self._upkeep = Upkeep(state_dir, settings.limits)
        self._taken: list[tuple[int, int]] = []  # positions of the newest two checkpoints, older first
        self._fold = self._begin(open_reader)
        self._written = 0  # records folded at the last checkpoint
        self._busy_ns = self._rounded_ns = 0  # when the work under way, and the last round, began
        self._is_rounding = False
        self._is_full = False

    def _begin(self, open_reader: Callable[[str, int], LogReader]) -> Refold:
        """Return the fold at the newest checkpoint; without any, where the logs begin, archive included."""
        ends = [
            max((info.published for info in segments(live_directory(self._state_dir, log), log)), default=0)
            for log in LOGS]

        def skip(path: Path, why: str) -> None:
            self._log.warning("checkpoint_skipped", stage=self.name, file=path.name, words=why)

        found = checkpoints.load_newest(self._directory, ends[0], ends[1], skip)
        trader, *positions = found or (Trader(), 0, 0)
        if found:
            self._taken.append((positions[0], positions[1]))
        oldest = [min(segment_firsts(live_directory(self._state_dir, log)), default=0) for log in LOGS]
        if any(position < first for position, first in zip(positions, oldest, strict=True)):
            with (
                reading(self._state_dir, LOGS[0], positions[0]) as stream,
                reading(self._state_dir, LOGS[1], positions[1]) as decisions,
            ):
                fold = Refold(trader, stream, decisions)
                while fold.step(_STEP_SLOTS):
                    pass
                reached = fold.positions
            if reached is None:
                raise InvariantError("stages.archive: a decision in the logs has no end; verify the logs")
            positions = list(reached)
        return Refold(trader, *(open_reader(log, at) for log, at in zip(LOGS, positions, strict=True)))

    def poll(self, budget: int) -> int:
        """Fold what both logs hold, in the order in which trade saw it; hand disk work to the thread."""
        done = self._fold.step(budget)
        if done:
            self._counts.put("archive_position", self._fold.stream_position)
        for result in self._worker.results():
            self._take(result)
        folded = self._fold.facts_count + self._fold.decisions_count
        if folded - self._written >= self._settings.checkpoint_records:
            self._write(folded)
        now_ns = self._clock()
        if not self._worker.waiting:
            self._busy_ns = now_ns
        self._counts.put("disk_busy_ms", max(0, now_ns - self._busy_ns) // NS_PER_MS)
        if not self._is_rounding and now_ns - self._rounded_ns >= self._settings.sync_ns:
            self._rounded_ns, self._is_rounding = now_ns, True
            pins = {log: self._pin(place, log) for place, log in enumerate(LOGS)}
            self._worker.submit(lambda: self._round(pins))
        return done

    def _round(self, pins: Mapping[str, int]) -> Report:
        try:
            return self._upkeep.round(pins)
        finally:
            self._is_rounding = False  # the thread's last word of this round; only `poll` sets it

    def _pin(self, place: int, log: str) -> int:
        """Return the first position of a log that the last checkpoint but one or a reader still needs."""
        if len(self._taken) < 2:
            return 0
        behind = self._taken[-2][place]
        return min(behind, self._reads(log, behind))

    def _write(self, folded: int) -> None:
        positions = self._fold.positions
        if positions is None:
            return  # in the middle of a run: the next poll is soon enough
        self._written = folded
        data = serialise(self._fold.trader, *positions)
        self._worker.submit(lambda: self._write_file(data, positions))

    def _write_file(self, data: bytes, positions: tuple[int, int]) -> tuple[int, int]:
        checkpoints.write(self._directory, data, positions[1])
        return positions

    def _take(self, result: object) -> None:
        """Take what the thread did."""
        if isinstance(result, Report):
            self._tell(result)
        elif isinstance(result, tuple):
            self._taken = [*self._taken, result][-2:]
            self._counts.add("checkpoints", 1)
        elif isinstance(result, OSError | PipelineError):  # seen and told; the next round tries again
            self._counts.add("archive_errors", 1)
            self._log.error("archive_error", stage=self.name, words=str(result))
        elif isinstance(result, Exception):
            raise result

    def _tell(self, report: Report) -> None:
        counts = self._counts
        for log, position in report.synced.items():
            counts.put(f"{log}_fsync_position", position)
        counts.put("disk_full", int(report.disk_full))
        counts.put("disk_failed", report.failed_count)
        counts.put("log_bytes", report.log_bytes)
        counts.add("segments_archived", report.archived_count)
        counts.add("segments_deleted", report.deleted_count)
        for level, event, fields in report.events:
            if level == "error":
                counts.add("archive_errors", 1)
            getattr(self._log, level)(event, stage=self.name, **fields)
        if self._is_full != bool(report.disk_full):
            self._is_full = bool(report.disk_full)
            event = "disk_is_full" if self._is_full else "disk_has_room"
            self._log.warning(event, stage=self.name, cause=report.disk_full.name.lower(),
                              log_bytes=report.log_bytes)

    def close(self) -> None:
        """End the thread; the readers belong to the lane, and a thread that hangs keeps its descriptors."""
        if self._worker.close(CLOSE_S_MAX):
            self._upkeep.close()
