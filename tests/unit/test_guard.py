"""The guard's rounds: who is restarted with whom, when new risk halts, what latches, what clears itself.

Times are given; lanes are real status pages over private memory with processes that only pretend.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.config.supervision import Supervision
from pipeline.config.topology import LaneSpec
from pipeline.errors import EnvironmentProblem
from pipeline.kinds import Cause, HaltLevel
from pipeline.run.guard import Guard
from pipeline.run.halts import SupervisorHalts
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import PAGE_BYTES, LaneState, StatusPage, StatusView, format_page
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.shared import wait_until

LANES = {
    "feed": ("feed.polymarket.0", "sequencer"),
    "book": ("book", "detect", "trade"),
    "signer": ("signer.main",),
    "edge": ("gateway.main", "account.main"),
    "back": ("refdata.polymarket", "archive", "observe"),
}


class FakeLane:
    """What the guard sees of a process; `exit_code` ends it."""

    def __init__(self, name: str, stages: tuple[str, ...]) -> None:
        self.lane = LaneSpec(name, stages, None, "block", 0)
        self.kinds = tuple(stage.partition(".")[0] for stage in stages)
        self.is_core = bool({"sequencer", "book", "detect", "trade"} & set(self.kinds))
        self.is_trading = name != "back"
        self.pid, self.epoch = 100, 1
        self.exit_code: int | None = None
        self.error_file = Path("lane.err")
        self.kills = 0
        self.memory = memoryview(bytearray(PAGE_BYTES))
        format_page(self.memory, name)
        self.page = StatusPage(self.memory, pid=self.pid)
        self.page.set_state(LaneState.RUNNING)

    def code(self) -> int | None:
        return self.exit_code

    def kill(self) -> None:
        self.kills += 1
        if self.exit_code is None:
            self.exit_code = -9

    def last_words(self) -> str:
        return "its last words"

    def death(self) -> EnvironmentProblem:
        problem = EnvironmentProblem(f"{self.lane.name} ended")
        problem.exit_code = self.exit_code or 0
        return problem


class FakeRun:
    """Counts what the guard does; a revived lane runs with the next pid and shows it."""

    def __init__(self) -> None:
        self.lanes_running = [FakeLane(name, stages) for name, stages in LANES.items()]
        self.lanes = {one.lane.name: one for one in self.lanes_running}
        self.revived: list[tuple[list[str], bool]] = []
        self.events: list[str] = []
        self.halts: list[tuple[object, ...]] = []
        self.cleared: list[int] = []
        self.spares = 0
        self.has_room = True
        self.comes_up = True

    def renew_lease(self) -> None:
        """Nobody watches it here."""

    def view(self, lane: str) -> StatusView:
        return StatusView(self.lanes[lane].memory)

    def bury(self, dead: Sequence[FakeLane]) -> bool:
        return self.has_room

    def revive(self, dead: Sequence[FakeLane], is_core: bool) -> None:
        self.revived.append(([one.lane.name for one in dead], is_core))
        for one in dead:
            one.exit_code, one.pid = None, one.pid + 1
            if self.comes_up:
                one.page = StatusPage(one.memory, pid=one.pid)
                one.page.set_state(LaneState.RUNNING)

    def tell(self, level: str, event: str, **fields: object) -> None:
        self.events.append(event)
        if event == "halt_changed":
            self.halts.append((level, fields["owner"], fields["halt"], fields["words"]))

    def prepare_spare(self) -> None:
        self.spares += 1

    def clear_halts(self, resume_no: int) -> None:
        self.cleared.append(resume_no)


class Rig:
    """A guard, its run and the halt page; `round` lets time pass and every live lane turn."""

    def __init__(self, directory: Path) -> None:
        halt.create(directory)
        self.directory = directory
        self.now_ns = NS_PER_S
        self.page = HaltPage(directory, "supervisor")
        self.run = FakeRun()
        self.halts = SupervisorHalts(self.page, lambda: self.now_ns)
        self.guard = Guard(self.run, Supervision(), self.halts, lambda: self.now_ns)  # type: ignore[arg-type]
        self.round()

    def round(self, count: int = 1, still: Sequence[str] = (), step_ns: int = 20 * NS_PER_MS) -> None:
        for _ in range(count):
            self.now_ns += step_ns
            for name, lane in self.run.lanes.items():
                if name not in still and lane.exit_code is None:
                    lane.page.progress.add(1)
            self.guard.look()

    def level(self) -> HaltLevel:
        return HaltPage(self.directory).level()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize("name", ["signer", "edge"])
def test_an_edge_lane_restarts_alone(rig: Rig, name: str) -> None:
    """A dead edge lane is started in the round that sees it; H1 holds until it turns; nobody else ends."""
    rig.run.comes_up = False
    rig.run.lanes[name].exit_code = -9
    rig.round()
    assert [([name], False)] == rig.run.revived
    assert HaltLevel.H1 == rig.level()
    assert "lane_died" in rig.run.events

    lane = rig.run.lanes[name]
    lane.page = StatusPage(lane.memory, pid=lane.pid)
    lane.page.set_state(LaneState.RUNNING)
    rig.round()
    assert HaltLevel.H0 == rig.level()
    assert [0, 0] == [one.kills for other, one in rig.run.lanes.items() if other in ("feed", "back")]


@pytest.mark.parametrize("name", ["feed", "book"])
def test_the_core_restarts_as_one(rig: Rig, name: str) -> None:
    """When one lane of the chain dies all of them are ended and begin together; edges go on."""
    rig.run.lanes[name].exit_code = 1
    rig.round(2)
    assert [(["feed", "book"], True)] == rig.run.revived
    assert [1, 1] == [rig.run.lanes[other].kills for other in ("feed", "book")]
    assert [0, 0, 0] == [rig.run.lanes[other].kills for other in ("signer", "edge", "back")]
    assert HaltLevel.H0 == rig.level()


def test_what_trading_does_not_need_halts_nothing(rig: Rig) -> None:
    """The lane of archive and observe comes back without any halt."""
    rig.run.lanes["back"].exit_code = -11
    rig.round()
    assert [(["back"], False)] == rig.run.revived
    assert HaltLevel.H0 == rig.level()


def test_a_successor_waits_until_the_last_word_is_said(rig: Rig) -> None:
    """While the dead feed's ring has no room for its gaps, nothing starts and new risk stays halted."""
    rig.run.has_room = False
    rig.run.lanes["feed"].exit_code = -9
    rig.round(5)
    assert [] == rig.run.revived
    assert HaltLevel.H1 == rig.level()
    rig.run.has_room = True
    rig.round()
    assert [(["feed", "book"], True)] == rig.run.revived


def test_a_crash_loop_latches(rig: Rig) -> None:
    """The third death of a lane in a minute is H3: starts go on slowly, only an operator lifts it."""
    for _ in range(3):
        rig.round(50)
        rig.run.lanes["signer"].exit_code = -9
        rig.round()
    assert 2 == len(rig.run.revived)
    assert HaltLevel.H3 == rig.level()
    assert "crash_loop" in rig.run.events
    rig.round(10 * 50 + 2)  # restart_pause_s
    assert 3 == len(rig.run.revived)
    rig.round(100 * 50)
    assert HaltLevel.H3 == rig.level()

    with_operator = HaltPage(rig.directory, "operator")
    with_operator.put(HaltLevel.H0, now_ns=rig.now_ns, reason="resumed: mended")
    with_operator.close()
    rig.round()
    assert HaltLevel.H0 == rig.level()
    assert [rig.now_ns - 20 * NS_PER_MS] == rig.run.cleared


def test_deaths_far_apart_are_no_crash_loop(rig: Rig) -> None:
    """Three deaths over more than a minute are three restarts."""
    for _ in range(3):
        rig.round(31 * 50)
        rig.run.lanes["signer"].exit_code = -9
        rig.round()
    assert 3 == len(rig.run.revived)
    rig.round()
    assert HaltLevel.H0 == rig.level()


@pytest.mark.parametrize("code", [2, 3, 6, 7])
def test_a_lane_s_own_verdict_ends_the_run(rig: Rig, code: int) -> None:
    """A wrong configuration or a damaged log would only be wrong again: the run ends with that code."""
    rig.run.lanes["edge"].exit_code = code
    with pytest.raises(EnvironmentProblem) as caught:
        rig.round()
    assert code == caught.value.exit_code
    assert [] == rig.run.revived


def test_a_stalled_lane_halts_new_risk_and_clears_itself(rig: Rig) -> None:
    """No progress for 400 ms: H1 within 500 ms; 30 s after it turns again the halt is gone."""
    rig.round(20, still=["book"])
    assert HaltLevel.H0 == rig.level()
    rig.round(4, still=["book"])
    assert HaltLevel.H1 == rig.level()
    entry = HaltPage(rig.directory).entry("supervisor")
    assert Cause.LANE_STALLED == entry.cause
    assert "book" in entry.reason
    rig.round(29 * 50)
    assert HaltLevel.H1 == rig.level()
    rig.round(2 * 50)
    assert HaltLevel.H0 == rig.level()
    assert [] == rig.run.revived


def test_a_lane_that_stays_still_is_killed(rig: Rig) -> None:
    """After stall_kill_s the lane is ended and restarted like any dead one."""
    rig.round(int(10.2 * 50), still=["signer"])
    assert 1 <= rig.run.lanes["signer"].kills
    rig.round(2)
    assert [(["signer"], False)] == rig.run.revived


def test_a_machine_that_stood_still_is_no_lane_s_fault(rig: Rig) -> None:
    """When the guard itself came late, the lanes are given their time anew."""
    for _ in range(20):
        rig.round(1, still=list(LANES), step_ns=300 * NS_PER_MS)
    assert HaltLevel.H0 == rig.level()


def test_no_room_for_logs_halts_new_risk(rig: Rig) -> None:
    """What `archive` counts as disk_full is H1 within a second or two, and goes with it."""
    rig.run.lanes["back"].page.counter("disk_full").put(2)
    rig.round(60)
    assert HaltLevel.H1 == rig.level()
    assert Cause.DISK_FULL == HaltPage(rig.directory).entry("supervisor").cause
    rig.run.lanes["back"].page.counter("disk_full").put(0)
    rig.round(60)
    assert HaltLevel.H0 == rig.level()


def test_a_latch_outlives_its_supervisor(tmp_path: Path) -> None:
    """A new supervisor keeps a crash loop's H3 unless the operator resumed after it; other halts go."""
    halt.create(tmp_path)
    page = HaltPage(tmp_path, "supervisor")
    first = SupervisorHalts(page, lambda: 100)
    first.want(Cause.LANE_DIED, HaltLevel.H1, "away")
    assert HaltLevel.H0 == SupervisorHalts(page, lambda: 200).level
    first.want(Cause.CRASH_LOOP, HaltLevel.H3, "again and again")
    assert HaltLevel.H3 == SupervisorHalts(page, lambda: 300).level
    operator = HaltPage(tmp_path, "operator")
    operator.put(HaltLevel.H0, now_ns=400, reason="resumed: mended")
    assert HaltLevel.H0 == SupervisorHalts(page, lambda: 500).level
    assert HaltLevel.H0 == page.level()


def test_a_halt_of_another_lane_is_told_once(rig: Rig) -> None:
    """What a gateway halts for, and its end, is an event each; ours are told where they are made."""
    gateway = HaltPage(rig.directory, "gateway.0")
    gateway.put(HaltLevel.H3, now_ns=5, reason="gateway: the venue migrated", durable=False)
    rig.round(5)
    assert [("error", "gateway.0", "H3", "gateway: the venue migrated")] == rig.run.halts
    gateway.put(HaltLevel.H0, now_ns=6, reason="gateway: resumed", durable=False)
    rig.halts.want(Cause.LANE_STALLED, HaltLevel.H1, "a lane stands")
    rig.round(5)
    assert [("info", "gateway.0", "H0", "gateway: resumed")] == rig.run.halts[1:]


def test_a_spare_waits_for_calm(rig: Rig) -> None:
    """A process for the next death is prepared only when every lane has been up for two seconds."""
    rig.round(90)
    assert 0 == rig.run.spares
    rig.round(20)
    assert 0 < rig.run.spares


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_guard_that_ends_is_no_silence(rig: Rig) -> None:
    """When the thread dies of what nobody foresaw, the next look of the supervisor raises."""
    rig.guard.check()
    rig.run.lanes_running.clear()
    rig.guard._lanes[0].process = None  # type: ignore[assignment]
    rig.guard.start()
    wait_until(lambda: not rig.guard._thread.is_alive(), what="the end of the thread")
    with pytest.raises(EnvironmentProblem, match="ended"):
        rig.guard.check()
    rig.guard.stop()
