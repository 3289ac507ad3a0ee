"""run.replay and `pm replay`: a log decides the same again, over restarts; what differs is named exactly."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest

from pipeline.cli.replay import lines, replay_log
from pipeline.codec import CODECS, kind_of, runs
from pipeline.core.detector import Detector
from pipeline.errors import EnvironmentProblem, LayoutError
from pipeline.kinds import Kind
from pipeline.native.log import LogWriter
from pipeline.records import SLOT_BYTES
from pipeline.run import manifest, replay_chain
from pipeline.run.replay import Replay, find_logs
from tests.replay.restarts import Restarts, slots_of
from tests.shared import fresh_seed
from tests.world.plan import draw_plan
from tests.world.refold import read_log
from tests.world.world import World

FIXED_SEED = 2_001


class Told:
    """One finished world: its state directory and the bytes of its stream."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.plan = draw_plan(seed)
        self.seed = seed
        world = World(self.plan, directory)
        try:
            world.trade(60, 1_000)
            world.settle()
            world.resolve()
        finally:
            world.close()
        self.state = directory / "state"
        self.stream = read_log(self.state / "logs" / "stream", "stream")
        self.decisions = read_log(self.state / "logs" / "decisions", "decisions")


@pytest.fixture(scope="module", params=["fixed", "fresh"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    seed = FIXED_SEED if request.param == "fixed" else fresh_seed()
    return Told(seed, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return Told(2_002, tmp_path_factory.mktemp("one"))


def restarted(told: Told, directory: Path, cuts: int, draw: random.Random) -> Restarts:
    """Play the world's stream through a core that dies `cuts` times in the middle of its work."""
    core = Restarts(directory, told.plan.overrides, draw)
    count = len(told.stream) // SLOT_BYTES
    places = sorted(draw.sample(range(count // 4, count), cuts))
    for first, end in zip([0, *places], [*places, count], strict=True):
        core.play(slots_of(told.stream, first, end), polls_every=10)  # most is decided before it dies
        if end != count:
            if draw.random() < 0.3:
                core.finish()
            core.crash()
    core.finish()
    core.end()
    return core


def test_a_log_replays_the_same(told: Told) -> None:
    """Every decision of a run comes out again, byte for byte, from its stream alone."""
    found = Replay(find_logs(told.state)).run()

    assert found.difference is None, (told.seed, found.difference.lines())
    assert 1 == found.spans
    assert len(list(runs(told.decisions))) == found.decisions > 50
    assert 0 == found.unlogged
    assert len(told.decisions) // SLOT_BYTES == found.decision_slots
    assert found.records > 1_000


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_log_with_restarts_replays_the_same(told: Told, cuts: int, tmp_path: Path) -> None:
    """RESUME is honoured: what an old core did not decide is not decided, the new one begins empty."""
    core = restarted(told, tmp_path / "state", cuts, random.Random(f"{told.seed}:{cuts}"))

    found = Replay(core.logs).run()

    assert found.difference is None, (told.seed, found.difference.lines())
    assert cuts + 1 == found.spans
    assert 0 == found.unlogged
    decided = len(list(runs(read_log(core.logs / "decisions", "decisions"))))
    assert decided == found.decisions > 20


def test_a_resume_that_lies_is_noticed(one: Told, tmp_path: Path) -> None:
    """The comparison hangs on RESUME: with its books kept over the restart a core decides otherwise."""
    core = restarted(one, tmp_path / "state", 1, random.Random(f"{one.seed}:lie"))
    stream = read_log(core.logs / "stream", "stream")
    kept = b"".join(run for run in runs(stream) if kind_of(run) != Kind.RESUME or _resume(run).live_seq == 0)
    _rewrite(core.logs / "stream", "stream", kept, core.config.shm.log_segment_slots)

    assert Replay(core.logs).run().difference is not None, f"seed {one.seed}"


def _resume(run: bytes) -> object:
    return CODECS[Kind.RESUME].unpack(run)


def _rewrite(directory: Path, name: str, data: bytes, slots: int) -> None:
    shutil.rmtree(directory)
    directory.mkdir()
    writer = LogWriter(directory, name, slots, salt_epoch=1)
    for run in runs(data):
        assert writer.push(run)
    writer.close()


def _price_changed(data: bytes, at: int) -> bytes:
    """The INTENT behind `at` asks one tick more."""
    index = next(place for place in range(at, len(data), SLOT_BYTES) if kind_of(data, place) == Kind.INTENT)
    record = CODECS[Kind.INTENT].unpack(data, index)
    fields = {name: getattr(record, name) for name in record._fields}
    fields["price_ticks"] += 1
    return data[:index] + CODECS[Kind.INTENT].pack(**fields) + data[index + SLOT_BYTES :]


def _split(data: bytes, at: int) -> tuple[list[bytes], int]:
    """Return the runs, and which one is the first behind `at`."""
    found, place = list(runs(data)), 0
    for number, run in enumerate(found):
        if place >= at:
            return found, number
        place += len(run)
    raise AssertionError(at)


def _dropped(data: bytes, at: int) -> bytes:
    """The run behind `at` is not there."""
    found, number = _split(data, at)
    return b"".join([*found[:number], *found[number + 1 :]])


def _doubled(data: bytes, at: int) -> bytes:
    """The run behind `at` stands twice."""
    found, number = _split(data, at)
    return b"".join([*found[: number + 1], *found[number:]])


@pytest.mark.parametrize("tamper", [_price_changed, _dropped, _doubled])
def test_the_first_difference_is_named(
    one: Told, tamper: Callable[[bytes, int], bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    """A changed, a missing and an extra decision: exit 7; position, cause, expected and found in words."""
    logs = tmp_path / "logs"
    shutil.copytree(one.state / "logs", logs)
    slots = int(str(one.plan.overrides["shm.log_segment_slots"]))
    changed = tamper(one.decisions, len(one.decisions) // SLOT_BYTES // 8 * SLOT_BYTES)
    _rewrite(logs / "decisions", "decisions", changed, slots)

    assert 7 == replay_log(logs, as_json=True)
    told = orjson.loads(capsys.readouterr().out)
    assert 7 == replay_log(logs, as_json=False)
    shown = capsys.readouterr().out

    different = told["difference"]
    first = next(
        place for place, (old, new) in enumerate(zip(_slots(one.decisions), _slots(changed), strict=False))
        if old[48:] != new[48:] or old[:32][8:] != new[:32][8:])
    logged = read_log(logs / "decisions", "decisions")
    at = different["position"]
    seqs = [int.from_bytes(slot[:8], "little") for slot in _slots(logged)]
    assert seqs.index(at) <= first < seqs.index(at) + max(len(different["expected"]), 1)
    assert not told["is_same"]
    assert different["expected"] != different["found"]
    assert f"first difference: decision at position {at}" in shown
    for words in (different["cause"], *different["expected"], *different["found"]):
        assert words in shown
    assert f"{different['cause_seq']:>9} " in different["cause"]


def _slots(data: bytes) -> list[bytes]:
    return [data[at : at + SLOT_BYTES] for at in range(0, len(data), SLOT_BYTES)]


def test_a_lost_end_of_the_stream_is_noticed(one: Told, tmp_path: Path) -> None:
    """A decision whose cause the stream does not hold: nothing found where one was expected."""
    logs = tmp_path / "logs"
    shutil.copytree(one.state / "logs", logs)
    half = slots_of(one.stream, 0, len(one.stream) // SLOT_BYTES // 2)
    _rewrite(logs / "stream", "stream", half, int(str(one.plan.overrides["shm.log_segment_slots"])))

    different = Replay(logs).run().difference

    assert different is not None
    assert [] == different.found
    assert different.cause.endswith(" not in the stream")
    assert "  found     no decision" in different.lines()


def test_a_lost_end_of_the_decisions_is_told(
    one: Told, tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    """A core may end before it logged what follows; how much that is, is said; all lost is no comparison."""
    slots, logs = int(str(one.plan.overrides["shm.log_segment_slots"])), tmp_path / "logs"
    shutil.copytree(one.state / "logs", logs)
    kept = list(runs(one.decisions))
    _rewrite(logs / "decisions", "decisions", b"".join(kept[:-7]), slots)

    assert 0 == replay_log(logs, as_json=False)
    assert "7 more decisions follow from the rest of the stream" in capsys.readouterr().out
    _rewrite(logs / "decisions", "decisions", b"", slots)
    assert 0 == replay_log(logs, as_json=False)
    shown = capsys.readouterr().out
    assert f"{len(kept):,} more decisions follow" in shown
    assert "no decision stands in the log: nothing was compared" in shown


class ForgetfulDetector(Detector):
    """Planted fault: every tenth idea is not told."""

    def on_near(self, top: object, slot: bytes, offset: int = 0) -> Sequence[bytes]:
        ideas = super().on_near(top, slot, offset)
        return () if ideas and self._idea_no % 10 == 9 else ideas


def test_other_code_is_caught(one: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that decides otherwise than the one that ran does not replay the log."""
    monkeypatch.setattr(replay_chain, "Detector", ForgetfulDetector)

    assert Replay(find_logs(one.state)).run().difference is not None


def _retire(core: Restarts, log: str, before: int) -> int:
    """Delete the segments of a log that end at or below `before`; return where it begins then."""
    slots = core.config.shm.log_segment_slots
    paths = sorted((core.logs / log).glob("*.log"))
    for path in paths:
        if int(path.stem) + slots <= before:
            path.unlink()
    return min(int(path.stem) for path in (core.logs / log).glob("*.log"))


def test_a_log_without_its_beginning_needs_a_checkpoint(one: Told, tmp_path: Path) -> None:
    """With old segments retired, it begins at the first restart behind a checkpoint, or says what lacks."""
    overrides = one.plan.overrides | {"shm.log_segment_slots": 1_024}
    small = dataclasses.replace(one.plan, overrides=overrides)
    core = Restarts(tmp_path / "state", small.overrides, random.Random(5))
    count = len(one.stream) // SLOT_BYTES
    core.play(slots_of(one.stream, 0, count // 2))
    core.finish()
    core.checkpoint()
    begun = core._stream.position
    core.play(slots_of(one.stream, count // 2, count * 3 // 4))
    core.crash()
    core.play(slots_of(one.stream, count * 3 // 4, count))
    core.finish()
    core.end()
    assert _retire(core, "stream", begun) > 0

    found = Replay(core.logs).run()

    assert found.difference is None, found.difference.lines()
    assert 1 == found.spans
    assert begun < found.stream_first
    assert found.decisions > 5
    shutil.rmtree(tmp_path / "state" / "checkpoints")
    with pytest.raises(EnvironmentProblem, match="no restart behind that has a checkpoint before it") as lack:
        Replay(core.logs).run()
    assert "\n" not in str(lack.value)


def test_refusals_are_one_line_each(one: Told, tmp_path: Path) -> None:
    """No log: exit 4. Another layout: exit 7, with what to do."""
    with pytest.raises(EnvironmentProblem, match="holds no logs stream and decisions") as nothing:
        find_logs(tmp_path)
    assert 4 == nothing.value.exit_code
    logs = tmp_path / "logs"
    shutil.copytree(one.state / "logs", logs)
    path = next((logs / "decisions").glob("*.log"))
    data = bytearray(path.read_bytes())
    _set_layout(data)
    path.write_bytes(data)
    with pytest.raises(LayoutError, match="the layout hash is not this build's; use the build") as other:
        Replay(logs)
    assert 7 == other.value.exit_code
    assert "\n" not in str(other.value)


def _set_layout(data: bytearray) -> None:
    """Make the segment one of another layout, its header's check right."""
    from pipeline.native.crc import checksum
    from pipeline.records import LAYOUT_HASH

    layout_at = data.index(LAYOUT_HASH.to_bytes(8, "little"), 0, 512)
    check_at = next(
        at for at in range(0, 512, 8)
        if at and int.from_bytes(data[at : at + 8], "little") == checksum(bytes(data[:at])))
    data[layout_at : layout_at + 8] = (LAYOUT_HASH ^ 1).to_bytes(8, "little")
    data[check_at : check_at + 8] = checksum(bytes(data[:check_at])).to_bytes(8, "little")


def test_a_manifest_of_other_code_warns(one: Told, tmp_path: Path) -> None:
    """What wrote the log is shown; another build or a configuration that nobody named is a warning."""
    logs = tmp_path / "logs"
    shutil.copytree(one.state / "logs", logs)
    assert [] == Replay(logs).run().warnings
    shutil.rmtree(logs / manifest.DIRECTORY)
    assert ["no manifest beside the logs: nothing tells which code and configuration wrote them"] == (
        Replay(logs).run().warnings)
    (logs / manifest.DIRECTORY).mkdir()
    told = {
        "manifest": 1, "generation": 1, "started_ns": 1, "version": "0.1.0", "build": "0" * 16,
        "layout_version": 2, "config_hash": "f" * 32, "lock_hash": "", "topology": "2core", "python": "3.11",
        "lanes": [{"name": "core", "cpu": 0, "wait": "block"}], "kernel": "6", "stream_seq": 0,
        "decisions_seq": 0, "books": {"rows_max": 257, "ladders": [192, 64, 1]}}
    (logs / manifest.DIRECTORY / "1.json").write_text(json.dumps(told))

    found = Replay(logs).run()

    assert found.difference is None
    assert f"written by build {'0' * 16}, replayed by build {manifest.build_id()}" in found.warnings[0]
    assert "which no manifest names" in found.warnings[1]
    shown = lines(found)
    assert shown[0].startswith("start 1 at ")
    assert "core@0/block" in shown[0]
    assert f"{found.decisions:,} decisions" in shown[-1]
