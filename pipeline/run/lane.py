"""One lane: a process that polls its stages in declared order until told to stop.

`python -m pipeline.run.lane SPEC LANE EPOCH first|again` is started by the supervisor alone, or waits for
that order as `SPEC --spare`. It pins itself, attaches to the run's memory, builds its stages, freezes the
garbage collector's heap, and runs; exit code 0 after a clean stop, otherwise the code of the error it prints
in one line.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import uvloop

from pipeline.config.load import load
from pipeline.config.topology import LaneSpec
from pipeline.errors import PipelineError
from pipeline.native.futex import Waker
from pipeline.native.log import LogReader
from pipeline.run import wiring
from pipeline.run.build import build_stage
from pipeline.run.channels import Channels, SharedMemory
from pipeline.run.env import Built, Env
from pipeline.run.loop import LoopLane
from pipeline.run.process import freeze_heap, keep_awake, pin, take_realtime
from pipeline.run.spec import RunSpec, anchored_clock
from pipeline.run.state_dir import event_log
from pipeline.shm.lock import lock_memory
from pipeline.shm.status import TURN, LaneState, StatusPage, StatusView
from pipeline.shm.wait import make_wait, make_waker
from pipeline.stages.archive import reads_name
from pipeline.stages.stage import Signalling, Stage, Telling
from pipeline.units import NS_PER_MS

READS_NS = 100 * NS_PER_MS
NOBODY_READS = (1 << 63) - 1  # a position that no stream reaches
#: Idle turns before a lane sleeps that shares its CPU: about 200 us, as long as a decision.
SPIN_COUNT_SHARED = 64
SPARE_WORDS = 4  # name, epoch, first or again, file for its last words


class Wake:
    """Wakes one other lane, and only when something that it sleeps on was told by one stage."""

    def __init__(self, waker: Waker, counts: list[Callable[[], int]]) -> None:
        self._waker = waker
        self._counts = counts
        self._seen = -1

    def look(self) -> None:
        """Compare what was told with what was told before."""
        told = 0
        for count in self._counts:
            told += count()
        if told != self._seen:
            self._seen = told
            self._waker.wake_if_asleep()


def _look_all(wakes: list[Wake]) -> None:
    for wake in wakes:
        wake.look()


class Lane:
    """The stages of one process with their channels; `turn` polls each once."""

    def __init__(self, spec: RunSpec, lane: LaneSpec, epoch: int, is_restart: bool) -> None:
        self.spec = spec
        self.lane = lane
        self.clock = anchored_clock(spec.anchor_wall_ns, spec.anchor_mono_ns)
        state_dir = Path(spec.state_dir)
        self.config = load(spec.config_files, spec.overrides)
        self.channels = Channels(
            SharedMemory(spec.instance, spec.generation), state_dir / "logs",
            self.config.shm.log_segment_slots, spec.salt_epoch)
        self.page = StatusPage(
            self.channels.memory.buffer(f"status.{lane.name}"), epoch=epoch, pid=os.getpid(),
            now_ns=self.clock())
        env = Env(
            config=self.config, mode=spec.mode, stages=spec.stages, channels=self.channels, page=self.page,
            clock=self.clock, state_dir=state_dir, run_dir=Path(spec.run_dir),
            book_position=self._book_position(), start=spec.start, epoch=epoch, is_restart=is_restart,
            is_realtime=lane.realtime,
            lease_ns_max=self.config.supervision.lease_ms_max * NS_PER_MS,
            log=event_log(self.config, lane.name), lanes=[one.name for one in spec.lanes])
        self.env = env
        self.built: list[Built] = []
        self._reads: list[tuple[Callable[[int], None], LogReader]] = []
        self._told_ns = 0
        self._turn_ns = self.page.histogram(TURN)
        for stage in lane.stages:
            self._build(stage)
        self._marks = [self.page.stage(stage) for stage in lane.stages]
        self._wakers: dict[str, Waker] = {}
        self._wakes = self._make_wakes()
        self._polled = list(zip(
            self.built, self._marks, self._wakes, [built.is_driven for built in self.built], strict=True))
        self._is_in_turn = False

    def _build(self, stage: str) -> None:
        """Build a stage; how far it reads each log is told, for those who delete what nobody needs."""
        readers = self.channels.log_readers
        first = len(readers)
        self.built.append(build_stage(stage, self.env))
        for log, reader in readers[first:]:
            if (wiring.split_name(stage)[0], log) != ("signer", wiring.DECISIONS):  # tells it behind its push
                put = self.page.counter(reads_name(log, stage)).put
                put(reader.position)  # what a dead process told is not where we begin
                self._reads.append((put, reader))

    def _tell_reads(self) -> None:
        now_ns = self.clock()
        if now_ns - self._told_ns >= READS_NS:
            self._told_ns = now_ns
            for put, reader in self._reads:
                put(reader.position)

    def _book_position(self) -> Callable[[], int]:
        holder = next((one.name for one in self.spec.lanes if "book" in one.stages), None)
        if holder is None:  # a run that only records: nobody can fall behind
            return lambda: NOBODY_READS
        return StatusView(self.channels.memory.buffer(f"status.{holder}")).reader_of("book_position")

    def _make_wakes(self) -> list[list[Wake]]:
        """Return each stage's wakes, in the order of the stages."""
        lanes = {one.name: one.stages for one in self.spec.lanes}
        beside = {one.name for one in self.spec.lanes if one.cpu is None or one.cpu != self.lane.cpu}
        wakes = []
        for built in self.built:
            stage = built.stage
            found = []
            for other, things in wiring.lanes_to_wake(stage.name, lanes, self.lane.name, beside).items():
                if other not in self._wakers:
                    page = self.channels.memory.buffer(f"status.{other}")
                    self._wakers[other] = make_waker(page, self.spec.doorbells.get(other, -1))
                found.append(Wake(self._wakers[other], [self._count_of(stage, thing) for thing in things]))
            if isinstance(stage, Telling):
                stage.tell = partial(_look_all, found)
            wakes.append(found)
        return wakes

    def _count_of(self, stage: Stage, thing: str) -> Callable[[], int]:
        end = self.channels.written.get(thing)
        if end is not None:
            return lambda: end.position
        signals = cast(Signalling, stage).signals  # whatever is no channel is a signal of the stage's
        return lambda: signals[thing]

    def turn(self) -> int:
        """Poll each stage once and wake whoever sleeps on what was written; 0 = nothing was done."""
        if self._is_in_turn:
            return 0
        self._is_in_turn = True
        begun_ns, done = self.clock(), 0
        try:
            for built, mark, wakes, is_driven in self._polled:
                mark.begun.add(1)
                polled = built.stage.poll(self.spec.budget)
                mark.ended.add(1)
                done += polled
                # At once: the next stage's work may take longer than the wake. A driver writes frames and
                # answers between two turns: a stage with sockets tells also when its poll did nothing.
                if polled or is_driven:
                    _look_all(wakes)
            self.page.progress.add(1)
            self._turn_ns.observe(self.clock() - begun_ns)
            if not done:
                self._tell_reads()
        finally:
            self._is_in_turn = False
        return done

    def close(self) -> None:
        """Give back everything, in the order of the stages."""
        for built in self.built:
            built.stage.close()
            for close in built.close:
                close()
        for waker in self._wakers.values():
            waker.close()


def run_plain(lane: Lane, should_stop: Callable[[], bool]) -> None:
    """Loop of a lane without sockets: turn, wait, repeat."""
    is_shared = any(one.cpu == lane.lane.cpu and one.name != lane.lane.name for one in lane.spec.lanes)
    wait = make_wait(lane.lane.wait, lane.page, SPIN_COUNT_SHARED if is_shared else None)
    while not should_stop():
        wait.after(lane.turn(), lambda: lane.turn() > 0)
    wait.close()


def _stop_flag() -> Callable[[], bool]:
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda found, _frame: asked.append(found))
    parent = os.getppid()
    # A lane without its supervisor must not trade on: nobody watches it any more.
    return lambda: bool(asked) or os.getppid() != parent


def run_lane(spec: RunSpec, name: str, epoch: int, is_restart: bool) -> None:
    """Run one lane to its end. epoch: of this start; is_restart: the lane ran before in this run."""
    description = spec.lane(name)
    should_stop = _stop_flag()
    pin(description)
    lane = Lane(spec, description, epoch, is_restart)
    lane.page.counter("realtime_refused").put(int(not take_realtime(description)))
    lane.page.counter("awake_refused").put(int(not keep_awake(description)))
    unlocked = lock_memory()
    lane.page.counter("mlock_refused").put(int(bool(unlocked)))
    lane.page.set_state(LaneState.RUNNING)
    lane.env.log.info("lane_started", pid=os.getpid(), epoch=epoch, memory_not_locked=unlocked)
    try:
        freeze_heap()
        if name in spec.doorbells:
            uvloop.run(_loop_main(lane, should_stop))
        else:
            run_plain(lane, should_stop)
        lane.page.set_state(LaneState.STOPPED)
        lane.env.log.info("lane_stopped")
    except Exception as error:
        lane.page.set_state(LaneState.FAILED)
        lane.env.log.error("lane_failed", problem=type(error).__name__, words=str(error))
        raise
    finally:
        lane.close()
        lane.env.log.close()


async def _loop_main(lane: Lane, should_stop: Callable[[], bool]) -> None:
    await LoopLane(lane, should_stop).run()


def become() -> list[str]:
    """Wait, as a spare, for the name of the lane to become; return it, epoch and whether it ran before.

    An empty order, the end of the supervisor, ends the spare.
    """
    words = sys.stdin.buffer.read().decode().split("\0")
    if len(words) != SPARE_WORDS:
        raise SystemExit(0)
    *order, error_file = words
    with open(error_file, "ab") as errors:
        os.dup2(errors.fileno(), sys.stdout.fileno())
        os.dup2(errors.fileno(), sys.stderr.fileno())
    return order


def main() -> int:
    """Entry of a lane's process: SPEC LANE EPOCH first|again, or SPEC --spare."""
    name, epoch, when = sys.argv[2:] if sys.argv[2] != "--spare" else become()
    try:
        run_lane(RunSpec.load(Path(sys.argv[1])), name, int(epoch), when == "again")
    except PipelineError as problem:
        print(f"lane {name}: {problem}", file=sys.stderr)
        return problem.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
