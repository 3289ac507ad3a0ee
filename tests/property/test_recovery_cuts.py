"""store.refold and store.checkpoints: a dead trade comes back with every fact it had, wherever it died."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.core.checkpoint import facts_digest, serialise
from pipeline.core.detector import Detector
from pipeline.core.trader import Trader
from pipeline.errors import LogCorrupt
from pipeline.kinds import Kind, OrderState, Origin
from pipeline.native.log import LogReader, LogWriter
from pipeline.store import checkpoints
from pipeline.store.refold import Refold, recover
from pipeline.units import NS_PER_MS
from tests.models.core_rig import config, pack, report, tick
from tests.property.test_core_stream import LIMITS, World
from tests.shared import seeds

SEGMENT_SLOTS = 256  # so that short runs cross many files, with PAD at their ends


class LoggedWorld(World):
    """A random market whose every input and decision goes into two real logs, as the chain writes them."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.directory = directory
        self.writers = {}
        for log in ("stream", "decisions"):
            (directory / "logs" / log).mkdir(parents=True)
            self.writers[log] = LogWriter(directory / "logs" / log, log, SEGMENT_SLOTS)
        self._tail = LogReader(directory / "logs" / "stream", "stream")
        self.cuts: list[tuple[int, int, str]] = []
        self.trade_is_dead = False
        super().__init__(seed)

    def push(self, *records: bytes) -> None:
        """Append each record, let the chain take it, append its run; after each is a place to die."""
        for record in records:
            self._append("stream", record)
            self.rig.seq = self._position("stream") - 2  # `feed` counts it up to the record's own place
            if self.trade_is_dead:
                self._tail.read(1)
                continue
            before = len(self.rig.decisions)
            super().push(self._tail.read(1))  # as logged: with its check, as the chain sees it
            made = self.rig.decisions[before:]
            for first in range(0, len(made), 64):
                self._append("decisions", b"".join(made[first : first + 64]))
            self.cuts.append((*self.ends, facts_digest(self.rig.trader)))

    def _append(self, log: str, run: bytes) -> None:
        writer = self.writers[log]
        assert writer.push(run)
        writer.prepare_next()

    def _position(self, log: str) -> int:
        return int(self.writers[log].position)

    @property
    def ends(self) -> tuple[int, int]:
        return self._position("stream"), self._position("decisions")

    def restart(self) -> None:
        """Trade dies, the stream goes on a little, trade comes back from the logs, and the chain resumes."""
        self.trade_is_dead = True
        for _ in range(self.rng.randint(0, 12)):
            self.now_ns += NS_PER_MS
            self.push(tick(self.now_ns))
        for held in self.venue.pending[:3]:
            self.push(held[:8] + self.now_ns.to_bytes(8, "little") + held[16:])
        del self.venue.pending[:3]
        self.rig.trader, self.rig.detector = from_logs(self.directory, *self.ends), Detector()
        self.trade_is_dead = False
        known = [pack(Kind.LANE_UP, now_ns=self.now_ns, epoch=2, stage_name=b"gateway.main", sent_order_no=2)]
        self.push(pack(Kind.RESUME, now_ns=self.now_ns, live_seq=self.ends[0]), *known, config(**LIMITS))

    def close(self) -> None:
        self._tail.close()
        for writer in self.writers.values():
            writer.close()


def from_logs(
    directory: Path, stream_end: int, decisions_end: int, start: tuple[Trader, int, int] | None = None
) -> Trader:
    """Return the trader that the logs give below both ends, from the beginning or a checkpoint."""
    trader, stream_seq, decisions_seq = start or (Trader(), 0, 0)
    stream, decisions = both(directory, stream_seq, decisions_seq)
    recover(trader, stream, decisions, stream_end, decisions_end)
    stream.close()
    decisions.close()
    return trader


def both(directory: Path, stream_seq: int = 0, decisions_seq: int = 0) -> tuple[LogReader, LogReader]:
    """Return proving readers of stream and decisions."""
    logs = directory / "logs"
    return (
        LogReader(logs / "stream", "stream", stream_seq, verify=True),
        LogReader(logs / "decisions", "decisions", decisions_seq, verify=True),
    )


def play(seed: int, directory: Path, steps: int) -> tuple[LoggedWorld, random.Random]:
    world, draw = LoggedWorld(seed, directory), random.Random(f"cuts:{seed}")
    for _ in range(steps):
        world.step()
        if draw.random() < 0.1:
            world.restart()
    return world, draw


@pytest.mark.parametrize("seed", seeds(6))
def test_the_logs_give_the_facts_of_every_moment(seed: int, tmp_path: Path) -> None:
    """Dead behind any record: the logs below the two ends give the live facts, even when they go on."""
    world, draw = play(seed, tmp_path, 30)
    world.close()
    cuts = [*draw.sample(world.cuts, min(60, len(world.cuts))), world.cuts[-1]]

    for stream_end, decisions_end, digest in cuts:
        found = from_logs(tmp_path, stream_end, decisions_end)
        assert digest == facts_digest(found), f"seed {seed}, ends {stream_end} and {decisions_end}"


@pytest.mark.parametrize("seed", seeds(12))
def test_a_checkpoint_and_the_rest_give_the_facts_of_every_later_moment(seed: int, tmp_path: Path) -> None:
    """Checkpoints are folded behind a live run at any pace; each, with the logs after it, gives the facts."""
    world, draw = LoggedWorld(seed, tmp_path), random.Random(f"checkpoints:{seed}")
    archive = Refold(Trader(), *both(tmp_path))
    taken = 0
    for _ in range(60):
        world.step()
        if draw.random() < 0.1:
            world.restart()
        archive.step(draw.choice((1, 3, 7, 200)))
        positions = archive.positions
        if positions is not None:
            checkpoints.write(tmp_path / "checkpoints", serialise(archive.trader, *positions), positions[1])
            taken += 1
    world.close()

    assert taken > 20
    for stream_end, decisions_end, digest in draw.sample(world.cuts, 40):
        start = checkpoints.load_newest(tmp_path / "checkpoints", stream_end, decisions_end)
        found = from_logs(tmp_path, stream_end, decisions_end, start=start)
        assert digest == facts_digest(found), f"seed {seed}, ends {stream_end} and {decisions_end}"
    whole = checkpoints.recovered(tmp_path / "checkpoints", tmp_path / "logs", *world.ends)
    assert facts_digest(world.rig.trader) == facts_digest(whole), f"seed {seed}"
    assert ([], {}, []) == (whole.volatile["parts"], whole.counts, whole.volatile["untold"])


def test_a_checkpoint_ahead_of_the_logs_or_damaged_is_skipped_with_its_reason(tmp_path: Path) -> None:
    """The newest whole file that does not exceed either end is taken; each skipped one says why."""
    for decisions_seq in (10, 20, 30, 40):
        checkpoints.write(tmp_path, serialise(Trader(), decisions_seq * 2, decisions_seq), decisions_seq)
    newest = checkpoints.files(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    skipped: list[tuple[str, str]] = []

    found = checkpoints.load_newest(tmp_path, 59, 100, lambda path, why: skipped.append((path.stem, why)))

    assert found is not None
    assert (40, 20) == found[1:]
    assert [f"{40:020d}", f"{30:020d}"] == [name for name, _ in skipped]
    assert "digest" in skipped[0][1]
    assert "the logs end at 59 and 100" in skipped[1][1]
    assert checkpoints.load_newest(tmp_path, 59, 9) is None


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    """Old files go with each new one, and so does what a crash left half written."""
    (tmp_path / f"{1:020d}.checkpoint.partial").write_bytes(b"half")
    for decisions_seq in range(7):
        checkpoints.write(tmp_path, serialise(Trader(), 0, decisions_seq), decisions_seq)

    left = sorted(path.name for path in tmp_path.iterdir())
    assert [f"{seq:020d}.checkpoint" for seq in range(3, 7)] == left


def test_a_log_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    """Recovery never goes on with facts missing: an end that the log does not reach is corruption."""
    world, _ = play(1, tmp_path, 5)
    world.close()
    stream_end, decisions_end = world.ends

    with pytest.raises(LogCorrupt, match="was to be read up to"):
        from_logs(tmp_path, stream_end + 64, decisions_end)
    with pytest.raises(LogCorrupt, match="was to be read up to"):
        from_logs(tmp_path, stream_end, decisions_end + 64)


def test_positions_are_told_between_runs_only(tmp_path: Path) -> None:
    """A reader that proves what it reads must be able to start at a checkpoint's positions."""
    for log in ("stream", "decisions"):
        (tmp_path / "logs" / log).mkdir(parents=True)
    stream = LogWriter(tmp_path / "logs" / "stream", "stream", SEGMENT_SLOTS)
    decisions = LogWriter(tmp_path / "logs" / "decisions", "decisions", SEGMENT_SLOTS)
    for _ in range(3):
        stream.push(tick(1) + report(7, OrderState.SENT, Origin.GATEWAY))
    decisions.push(b"".join(pack(Kind.BEAT, source_seq=5) for _ in range(3)))
    fold = Refold(Trader(), *both(tmp_path))

    seen = [fold.positions]
    while fold.step(1):
        seen.append(fold.positions)

    expected = [(0, 0), None, (2, 0), None, (4, 0), None, (6, 0), None, None, (6, 3)]
    assert expected == seen
    stream.close()
    decisions.close()
