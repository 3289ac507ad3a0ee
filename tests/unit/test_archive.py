"""stages.archive and its files: nothing needed is deleted, and what is deleted can be read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from pipeline.cli.inspect import inspect_log
from pipeline.codec import HEADER_STRUCT
from pipeline.core.checkpoint import facts_digest, restore
from pipeline.core.trader import Trader
from pipeline.errors import InvariantError, LogCorrupt
from pipeline.kinds import Kind
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.segments import segment_firsts
from pipeline.records import SLOT_BYTES
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.archive import ArchiveSettings, ArchiveStage, ReadPositions, reads_name
from pipeline.stages.stage import Counts
from pipeline.store import checkpoints
from pipeline.store.background import Inline
from pipeline.store.events import silent
from pipeline.store.refold import recover
from pipeline.store.segments import (
    archive_all,
    archive_path,
    archived,
    live_directory,
    reading,
    whole_log,
    whole_logs,
)
from pipeline.store.upkeep import DiskFull, Limits
from tests.models.core_rig import balance, config, pack, tick

SLOTS = 128
LIMITS = Limits(segments_kept_min=2, log_bytes_max=1 << 30)


class Rig:
    """Both logs with their writers, a status page, and an archive stage over them."""

    def __init__(self, state_dir: Path, limits: Limits = LIMITS, reads: ReadPositions | None = None) -> None:
        self.state_dir = state_dir
        self.limits = limits
        self.reads = reads or ReadPositions({}, ())
        self.writers = {}
        for log in ("stream", "decisions"):
            live_directory(state_dir, log).mkdir(parents=True)
            self.writers[log] = LogWriter(live_directory(state_dir, log), log, SLOTS, salt_epoch=3)
        self.page = memoryview(bytearray(PAGE_BYTES))
        format_page(self.page, "back")
        self.now_ns = 1
        self.opened: list[tuple[str, int]] = []
        self.stage = self.start()
        self.stream_seq = 0

    def start(self) -> ArchiveStage:
        self.opened.clear()
        return ArchiveStage(
            "archive", self.state_dir, self._reader, self.reads, Inline(), Counts(StatusPage(self.page)),
            self._clock, silent(), ArchiveSettings(self.limits, checkpoint_records=200, sync_ns=1),
        )

    def _reader(self, log: str, position: int) -> LogReader:
        self.opened.append((log, position))
        return LogReader(live_directory(self.state_dir, log), log, position)

    def _clock(self) -> int:
        self.now_ns += 10
        return self.now_ns

    def write(self, ticks: int, beats_each: int = 10) -> None:
        """Append ticks, and a beat behind each `beats_each`th, as trade does."""
        for number in range(ticks):
            self.now_ns += 1_000_000
            if self.stream_seq == 0:
                self.push("stream", config())
                self.push("stream", balance(10**9))
            self.push("stream", tick(self.now_ns))
            if number % beats_each == 0:
                beat = pack(Kind.BEAT, source_seq=self.stream_seq - 1, now_ns=self.now_ns, beat_no=number + 1)
                self.push("decisions", beat)

    def push(self, log: str, run: bytes) -> None:
        assert self.writers[log].push(run)
        self.stream_seq += log == "stream"

    def poll(self, times: int = 200) -> None:
        for _ in range(times):
            self.stage.poll(256)

    @property
    def counters(self) -> dict[str, int]:
        return StatusView(self.page).counters()

    def live(self, log: str) -> list[int]:
        return segment_firsts(live_directory(self.state_dir, log))

    def close(self) -> None:
        self.stage.close()
        for writer in self.writers.values():
            writer.close()


def seqs(reader: LogReader) -> list[int]:
    found: list[int] = []
    while data := reader.read(1_000):
        found += [HEADER_STRUCT.unpack_from(data, at)[0] for at in range(0, len(data), SLOT_BYTES)]
    return found


def test_full_segments_are_copied_then_deleted_and_can_be_read_again(tmp_path: Path) -> None:
    """Live files stay few; the archive and they together are the whole log, every record proven."""
    rig = Rig(tmp_path)
    rig.write(2_000)
    rig.poll()
    counters, first_live = rig.counters, rig.live("stream")[0]

    assert first_live >= 10 * SLOTS
    assert counters["segments_deleted"] <= counters["segments_archived"]
    assert archived(tmp_path, "stream") == list(range(0, 2_002 - SLOTS, SLOTS))
    with reading(tmp_path, "stream", 0, verify=True) as whole:
        assert list(range(2_002)) == seqs(whole)
    with reading(tmp_path, "stream", 5 * SLOTS + 7, verify=True) as part:
        assert list(range(5 * SLOTS + 7, 2_002)) == seqs(part)
    with reading(tmp_path, "stream", None) as oldest:
        assert 0 == oldest.position
    rig.close()


def test_a_whole_log_outlives_the_deletion_of_its_files(tmp_path: Path) -> None:
    """A tool that reads while segments are deleted under it sees all of them."""
    rig = Rig(tmp_path)
    rig.write(1_000)
    with whole_log(tmp_path, "stream") as directory:
        rig.poll()
        assert rig.live("stream")[0] > 0
        reader = LogReader(directory, "stream", 0, verify=True)
        assert list(range(1_002)) == seqs(reader)
        reader.close()
    assert not directory.exists()
    rig.close()


@pytest.mark.parametrize(
    ("keeps", "reads"),
    [
        ("readers", {"stream": {"feed.x": 300}, "decisions": {"feed.x": 100_000}}),
        ("an untold reader", {"stream": {}, "decisions": {}}),
    ],
)
def test_nothing_that_a_reader_needs_is_deleted(
    tmp_path: Path, keeps: str, reads: dict[str, dict[str, int]]
) -> None:
    """A stage of trading that told no position needs everything; else everything from there on."""
    told = {reads_name(log, stage): at for log, stages in reads.items() for stage, at in stages.items()}
    needed = {"stream": ["feed.x"], "decisions": ["feed.x"]}
    rig = Rig(tmp_path, reads=ReadPositions(needed, [lambda: told]))
    rig.write(2_000)
    rig.poll()

    assert (2 * SLOTS if told else 0) == rig.live("stream")[0], keeps
    assert rig.counters["segments_archived"] > 10
    rig.close()


def test_a_watcher_is_waited_for_only_once_it_tells() -> None:
    """`observe` may be away for good; while it reads, its next segment is not deleted under it."""
    told: dict[str, int] = {reads_name("stream", "feed.x"): 500}
    watching = {"stream": ["observe"], "decisions": ["observe"]}
    reads = ReadPositions({"stream": ["feed.x"]}, [lambda: told], watching)
    assert (500, 7) == (reads("stream", 900), reads("decisions", 7))
    told |= {reads_name("stream", "observe"): 20, reads_name("decisions", "observe"): 3}
    assert (20, 3) == (reads("stream", 900), reads("decisions", 7))


def test_nothing_behind_the_last_checkpoint_but_one_is_missing(tmp_path: Path) -> None:
    """When the newest checkpoint is damaged, the one before it and the live logs still give the state."""
    rig = Rig(tmp_path)
    rig.write(3_000)
    rig.poll(1_000)
    rig.close()
    newest = checkpoints.files(tmp_path / "checkpoints")[-1]
    digest = facts_digest(checkpoints.recovered(tmp_path / "checkpoints", tmp_path / "logs", 3_002, 300))
    newest.write_bytes(b"torn")
    for log in ("stream", "decisions"):
        for path in (tmp_path / "archive" / log).iterdir():
            path.unlink()

    again = checkpoints.recovered(tmp_path / "checkpoints", tmp_path / "logs", 3_002, 300)

    assert digest == facts_digest(again)
    assert rig.live("stream")[0] > 0


def test_segments_kept_min_files_stay(tmp_path: Path) -> None:
    """However many copies there are, so many files with records are left."""
    rig = Rig(tmp_path, Limits(segments_kept_min=7))
    rig.write(3_000)
    rig.poll(400)
    with_records = [first for first in rig.live("stream") if first < 3_002]

    assert 7 == len(with_records)
    rig.close()


def test_copies_beyond_their_limit_go_oldest_first(tmp_path: Path) -> None:
    """Before and after a new start: copies fit, the newest are there, a live full segment keeps its own."""
    limit = 6_000
    rig = Rig(tmp_path, Limits(segments_kept_min=2, log_bytes_max=1 << 30, copies_bytes_max=limit))
    for times in range(2):
        rig.write(3_000)
        rig.poll(400)
        found = archived(tmp_path, "stream")
        sizes = [path.stat().st_size for path in (tmp_path / "archive").rglob("*.zst")]
        assert sum(sizes) <= limit < sum(sizes) + 4 * max(sizes)
        assert 0 not in found
        assert rig.live("stream")[0] in found
        assert found == list(range(found[0], found[-1] + 1, SLOTS))
        if not times:
            rig.stage.close()
            rig.stage = rig.start()
    rig.close()


def test_a_copy_that_differs_keeps_its_segment(tmp_path: Path) -> None:
    """A damaged copy, or one of another run, is never the reason to delete a live file; people are told."""
    rig = Rig(tmp_path)
    foreign = archive_path(tmp_path, "stream", 0)
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"of another run")
    rig.write(1_500)
    rig.poll()

    assert 0 == rig.live("stream")[0]
    assert rig.counters["archive_errors"] > 0
    assert b"of another run" == foreign.read_bytes()
    rig.close()


def test_a_damaged_segment_is_never_archived(tmp_path: Path) -> None:
    """A copy is made only of records that are proven, so the archive heals and does not spread damage."""
    rig = Rig(tmp_path)
    rig.write(3 * SLOTS)
    path = live_directory(tmp_path, "stream") / f"{SLOTS:020d}.log"
    with open(path, "r+b") as file:
        file.seek(4_096 + 10 * SLOT_BYTES + 100)
        file.write(b"\xff")
    rig.poll()

    assert [0, 2 * SLOTS] == archived(tmp_path, "stream")
    assert rig.counters["archive_errors"] == 1
    with pytest.raises(LogCorrupt):
        archive_all(tmp_path)
    rig.close()


def test_a_restart_goes_on_from_the_newest_checkpoint(tmp_path: Path) -> None:
    """A new stage reads from the checkpoint's positions, not from the beginning, and folds the same facts."""
    rig = Rig(tmp_path)
    rig.write(1_000)
    rig.poll()
    rig.stage.close()
    _, stream_seq, decisions_seq = restore(checkpoints.files(tmp_path / "checkpoints")[-1].read_bytes())
    assert stream_seq > 500

    rig.stage = rig.start()
    assert [("stream", stream_seq), ("decisions", decisions_seq)] == rig.opened
    rig.write(1_000)
    rig.poll()
    trader, *positions = restore(checkpoints.files(tmp_path / "checkpoints")[-1].read_bytes())
    rig.close()

    plain = Trader()
    assert rig.live("stream")[0] > 0  # the beginning is in the archive alone by now
    with reading(tmp_path, "stream", 0) as stream, reading(tmp_path, "decisions", 0) as decisions:
        recover(plain, stream, decisions, *positions)
    assert facts_digest(plain) == facts_digest(trader)


def test_without_a_checkpoint_it_begins_in_the_archive(tmp_path: Path) -> None:
    """All checkpoints lost and the live beginning gone: the copies give the state again."""
    rig = Rig(tmp_path)
    rig.write(1_500)
    rig.poll()
    rig.stage.close()
    expected = facts_digest(checkpoints.recovered(tmp_path / "checkpoints", tmp_path / "logs", 1_502, 150))
    for path in checkpoints.files(tmp_path / "checkpoints"):
        path.unlink()
    assert rig.live("stream")[0] > 0

    rig.stage = rig.start()
    assert min(position for _, position in rig.opened) > 100
    again = checkpoints.recovered(tmp_path / "checkpoints", tmp_path / "logs", 1_502, 150)
    rig.close()

    assert expected == facts_digest(again)


def test_the_reserve_is_made_ahead_and_log_bytes_max_is_told(tmp_path: Path) -> None:
    """Two files stand behind the one that is written; when the limit forbids another, `disk_full` says so."""
    file_bytes = 4_096 + SLOTS * SLOT_BYTES
    rig = Rig(tmp_path, Limits(segments_kept_min=50, log_bytes_max=9 * file_bytes))
    rig.poll(3)
    assert [0, SLOTS, 2 * SLOTS] == rig.live("stream")
    assert (DiskFull.NO, 6 * file_bytes) == (rig.counters["disk_full"], rig.counters["log_bytes"])

    rig.write(4 * SLOTS)
    rig.poll(3)
    assert DiskFull.LOG_BYTES_MAX == rig.counters["disk_full"]
    rig.close()


def test_the_clean_stop_copies_every_full_segment(tmp_path: Path) -> None:
    """After it the archive lacks only what is still being written."""
    rig = Rig(tmp_path)
    rig.write(5 * SLOTS)
    rig.close()

    made = archive_all(tmp_path)

    assert [archive_path(tmp_path, "stream", first) for first in range(0, 5 * SLOTS, SLOTS)] == made
    assert [] == archive_all(tmp_path)


def test_the_sync_position_follows_what_is_written(tmp_path: Path) -> None:
    """Everything below it was on the disk when it was told."""
    rig = Rig(tmp_path)
    rig.write(300)
    rig.poll(3)
    assert (302, 30) == (rig.counters["stream_fsync_position"], rig.counters["decisions_fsync_position"])
    rig.write(5)
    rig.poll(3)
    assert 307 == rig.counters["stream_fsync_position"]
    rig.close()


def test_what_must_not_happen_in_the_thread_ends_the_lane(tmp_path: Path) -> None:
    """A disk's refusal is an event; a mistake of ours is not swallowed by the thread."""

    class Broken(Inline):
        def submit(self, job: Callable[[], object]) -> None:
            super().submit(lambda: self.fail(job))

        def fail(self, job: Callable[[], object]) -> None:
            job()
            raise self.problem

        problem: Exception = OSError(28, "full")

    rig = Rig(tmp_path)
    worker = Broken()
    rig.stage._worker = worker
    rig.poll(2)
    assert 1 == rig.counters["archive_errors"]
    worker.problem = InvariantError("seen")
    rig.poll(2)
    assert rig.counters["archive_errors"] >= 2
    worker.problem = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        rig.poll(3)
    rig.close()


def test_tools_read_what_was_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pm inspect from position 0 shows the log's first record though its segment is only in the archive."""
    rig = Rig(tmp_path)
    rig.write(1_000)
    rig.poll()
    rig.close()
    assert rig.live("stream")[0] > 0
    (tmp_path / "logs" / "manifests").mkdir()

    inspect_log(live_directory(tmp_path, "stream"), 0, 3, (), as_json=True)
    assert [0, 1, 2] == [orjson.loads(line)["seq"] for line in capsys.readouterr().out.splitlines()]
    with whole_logs(tmp_path / "logs") as logs:
        assert {"stream", "decisions", "manifests"} == {path.name for path in logs.iterdir()}
        assert checkpoints.files(tmp_path / "checkpoints")[0].name in {
            path.name for path in (logs.parent / "checkpoints").iterdir()}
        assert [0, 0] == [segment_firsts(logs / log)[0] for log in ("stream", "decisions")]
    assert not logs.exists()


def test_logs_that_lost_nothing_are_lent_as_they_are(tmp_path: Path) -> None:
    """Nothing is unpacked or linked while every segment is live, copied or not."""
    rig = Rig(tmp_path, Limits(segments_kept_min=1_000))
    rig.write(1_000)
    rig.poll()
    rig.close()
    with whole_logs(tmp_path / "logs") as logs:
        assert tmp_path / "logs" == logs
