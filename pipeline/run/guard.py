"""Looks after a running pipeline: renews the lease, restarts dead lanes, halts for stalled ones.

One thread of the supervisor's process; `look` is one round. Edge lanes restart alone; when a lane of the
core dies the others of the core are ended too, and all begin anew from the ends of both logs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.config.supervision import Supervision
from pipeline.errors import EnvironmentProblem, PipelineError
from pipeline.kinds import Cause, HaltLevel
from pipeline.run.disk_watch import DiskWatch
from pipeline.run.halts import SupervisorHalts
from pipeline.run.lanes import LaneProcess
from pipeline.run.venue_watch import VenueWatch, accounts_of
from pipeline.shm.status import LaneState, StatusView
from pipeline.units import NS_PER_MS, NS_PER_S

LOOK_S = 0.05
LATE_NS = 150 * NS_PER_MS  # when a round of our own came this late, the machine stood, not the lane
CALM_NS = 2 * NS_PER_S  # a spare process takes CPU from lanes that come up, so it waits for this
START_NS_MAX = 60 * NS_PER_S
OWN_VERDICTS = (2, 3, 6, 7)  # exit codes that another start would only repeat


class Run(Protocol):
    """What the guard may do to the run: `supervisor.Supervisor`."""

    lanes_running: Sequence[LaneProcess]

    def renew_lease(self) -> None:
        """Say that somebody looks after the lanes."""

    def view(self, lane: str) -> StatusView:
        """Return a held view of a lane's status page."""

    def bury(self, dead: Sequence[LaneProcess]) -> bool:
        """Say in the stream what dead lanes left; False when a ring has no room for it yet."""

    def revive(self, dead: Sequence[LaneProcess], is_core: bool) -> None:
        """Start these lanes again; all of the core's when `is_core`."""

    def tell(self, level: str, event: str, **fields: object) -> None:
        """Write one event of the supervisor's log."""

    def prepare_spare(self) -> None:
        """Have a process ready that may become the next lane that dies; cheap when one waits."""

    def clear_halts(self, resume_no: int) -> None:
        """Tell the stream that the operator lifts halts."""


@dataclass(slots=True)
class Watched:
    """What the guard remembers of a lane."""

    process: LaneProcess
    progress: int = -1
    moved_ns: int = 0
    started_ns: int = 0
    is_up: bool = False
    is_stalled: bool = False
    restarts: deque[int] = field(default_factory=deque)  # times of the last ones


class Guard:
    """`start` the thread when all lanes run; `stop` before they are ended."""

    def __init__(
        self, run: Run, settings: Supervision, halts: SupervisorHalts,
        clock: Callable[[], int] = time.monotonic_ns, *, asks_venue: bool = False,
    ) -> None:
        """asks_venue: account stages ask the venue about clock and account, and their answers halt."""
        self._run = run
        self._settings = settings
        self._halts = halts
        self._clock = clock
        now_ns = clock()
        self._lanes = [
            Watched(process, moved_ns=now_ns, started_ns=now_ns, is_up=True) for process in run.lanes_running]
        self._disks = [
            DiskWatch(run.view(lane.process.lane.name), halts, run.tell)
            for lane in self._lanes if "archive" in lane.process.lane.stages]
        self._venues = [
            VenueWatch(run.view(lane.process.lane.name), idents, halts, run.tell, settings.health_clear_s)
            for lane in self._lanes if asks_venue and (idents := accounts_of(lane.process.lane.stages))]
        self._dead: dict[str, list[Watched]] = {}  # "core" or a lane's name -> what waits to be revived
        self._revive_ns: dict[str, int] = {}
        self._looked_ns = now_ns
        self._calm_ns = now_ns  # since when every lane is up
        self._stalled_ns = 0  # when a lane was last seen stalled
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go, name="guard", daemon=True)
        self.problem: PipelineError | None = None  # why the run cannot go on

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; safe to call twice, and before `start`."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _go(self) -> None:
        while not self._ended.wait(LOOK_S):
            try:
                self.look()
            except PipelineError as problem:
                self.problem = problem
                return

    def check(self) -> None:
        """Raise why the run cannot go on; also when the thread itself ended."""
        if self.problem is not None:
            raise self.problem
        if not self._ended.is_set() and self._thread.ident is not None and not self._thread.is_alive():
            raise EnvironmentProblem(
                "run.guard: the thread that looks after the lanes ended; its error stands on stderr")

    def look(self) -> None:
        """One round; raises what the run cannot survive."""
        now_ns = self._clock()
        self._run.renew_lease()
        was_late = now_ns - self._looked_ns > LATE_NS
        self._looked_ns = now_ns
        for lane in self._lanes:
            if not any(lane in dead for dead in self._dead.values()):
                self._look_at(lane, now_ns, was_late)
        for group in list(self._dead):
            self._try_to_revive(group, now_ns)
        self._judge(now_ns)
        for one in self._halts.news():
            self._run.tell(
                "error" if one.level else "info", "halt_changed", owner=one.owner, halt=one.level.name,
                cause=one.cause, words=one.reason)
        resume_no = self._halts.follow_operator()
        if resume_no:
            self._revive_ns.clear()
            self._run.clear_halts(resume_no)

    # ------------------------------------------------------------------ one lane

    def _look_at(self, lane: Watched, now_ns: int, was_late: bool) -> None:
        process = lane.process
        code = process.code()
        if code is not None:
            self._died(lane, code, now_ns)
            return
        view = self._run.view(process.lane.name)
        if not lane.is_up:
            if view.pid == process.pid and view.state == LaneState.RUNNING:
                lane.is_up, lane.progress, lane.moved_ns = True, view.progress, now_ns
                self._run.tell(
                    "info", "lane_up", of=process.lane.name, pid=process.pid, epoch=process.epoch,
                    down_ms=(now_ns - lane.started_ns) // NS_PER_MS)
            elif now_ns - lane.started_ns > START_NS_MAX:
                process.kill()
            return
        progress = view.progress
        if progress != lane.progress or was_late:
            lane.progress, lane.moved_ns, lane.is_stalled = progress, now_ns, False
            return
        still_ns = now_ns - lane.moved_ns
        if process.is_trading and still_ns > self._settings.stall_ms_max * NS_PER_MS:
            self._stalled_ns = now_ns
            if not lane.is_stalled:
                lane.is_stalled = True
                self._run.tell(
                    "error", "lane_stalled", of=process.lane.name, pid=process.pid,
                    still_ms=still_ns // NS_PER_MS)
        if still_ns > self._settings.stall_kill_s * NS_PER_S:
            self._run.tell("error", "lane_killed", of=process.lane.name, pid=process.pid,
                           still_ms=still_ns // NS_PER_MS)
            process.kill()

    def _died(self, lane: Watched, code: int, now_ns: int) -> None:
        process = lane.process
        self._run.tell("error", "lane_died", of=process.lane.name, pid=process.pid, exit_code=code,
                       words=process.last_words())
        if code in OWN_VERDICTS:
            raise process.death()
        group = "core" if process.is_core else process.lane.name
        members = [one for one in self._lanes if one.process.is_core] if process.is_core else [lane]
        for member in members:
            member.process.kill()
            member.is_up, member.started_ns = False, now_ns
        self._dead[group] = members
        if process.is_trading:
            self._halts.want(Cause.LANE_DIED, HaltLevel.H1, f"lane {process.lane.name} is down")
        self._count_restart(lane, group, now_ns)

    def _count_restart(self, lane: Watched, group: str, now_ns: int) -> None:
        """Latch H3 when this lane died too often, and let further starts wait."""
        settings = self._settings
        lane.restarts.append(now_ns)
        while lane.restarts and now_ns - lane.restarts[0] > settings.restart_window_s * NS_PER_S:
            lane.restarts.popleft()
        if len(lane.restarts) < settings.restarts_max:
            return
        self._revive_ns[group] = now_ns + settings.restart_pause_s * NS_PER_S
        words = (f"lane {lane.process.lane.name} died {len(lane.restarts)} times in "
                 f"{settings.restart_window_s} s")
        if self._halts.want(Cause.CRASH_LOOP, HaltLevel.H3, words):
            self._run.tell("error", "crash_loop", of=lane.process.lane.name, deaths=len(lane.restarts),
                           window_s=settings.restart_window_s)

    def _try_to_revive(self, group: str, now_ns: int) -> None:
        if now_ns < self._revive_ns.get(group, 0):
            return
        members = self._dead[group]
        processes = [member.process for member in members]
        is_core = group == "core"
        if not self._run.bury(processes):
            return
        self._run.revive(processes, is_core)
        del self._dead[group]
        self._revive_ns.pop(group, None)

    def _judge(self, now_ns: int) -> None:
        """Halt new risk while a lane is away or stands, or the logs have no room; all clear themselves."""
        halts, settings = self._halts, self._settings
        for disk in self._disks:
            disk.look()
        for venue in self._venues:
            venue.look(now_ns)
        if all(lane.is_up for lane in self._lanes if lane.process.is_trading):
            halts.drop(Cause.LANE_DIED)
        if not all(lane.is_up for lane in self._lanes):
            self._calm_ns = now_ns
        elif now_ns - self._calm_ns > CALM_NS:
            self._run.prepare_spare()
        stalled = [lane.process.lane.name for lane in self._lanes if lane.is_stalled and lane.is_up]
        if stalled:
            halts.want(Cause.LANE_STALLED, HaltLevel.H1, f"lane {stalled[0]} makes no progress")
        elif halts.has(Cause.LANE_STALLED) and now_ns - self._stalled_ns > settings.health_clear_s * NS_PER_S:
            halts.drop(Cause.LANE_STALLED)
            self._run.tell("info", "stall_over")
