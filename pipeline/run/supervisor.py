"""The supervisor: makes the run's memory, starts the lanes, looks after them, takes everything down again.

Writes the `control` ring (Config, LaneUp, Clear), the run description and its own word of the halt page. All
segments are made and unlinked here alone; lanes are spawned, never forked, and die with their supervisor.
`guard` decides when a lane is started again, `stopping` how a run ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson

from pipeline.codec import CODECS
from pipeline.config.load import Config, config_record
from pipeline.config.topology import LaneSpec, plan
from pipeline.errors import EnvironmentProblem, PipelineError
from pipeline.kinds import Kind
from pipeline.run import manifest, startpoint, stopping, wills, wiring
from pipeline.run.checks import check_start
from pipeline.run.guard import Guard
from pipeline.run.halts import SupervisorHalts
from pipeline.run.lanes import LaneProcess, Spare
from pipeline.run.process import steal_ticks
from pipeline.run.run_memory import CONTROL_SOURCE, OWN_PAGE, RunMemory
from pipeline.run.spec import RunSpec, anchored_clock
from pipeline.run.startpoint import StartPoint
from pipeline.run.state_dir import event_log, forget_old_runs, instance_name, restart_numbers, set_aside
from pipeline.shm import halt, memory
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import LaneState, StatusView
from pipeline.shm.wait import make_doorbell_fd
from pipeline.store.durable import write_durably
from pipeline.store.events import EventLog

START_S_MAX = 60.0
STOP_S_MAX = 5.0
POLL_S = 0.02
EPOCHS = 1 << 12  # of lanes in one run; a generation's epochs are above those of the one before


class StartStopped(PipelineError):
    """Somebody asked for the end before the run was up."""


class Supervisor:
    """One run. `start`, then `watch` now and then, then `stop` in any case."""

    def __init__(
        self, config: Config, config_files: Sequence[Path], overrides: dict[str, object], mode: str,
        is_virtual: bool = False, from_venue: bool = False,
    ) -> None:
        """from_venue: begin new logs and take over what the venue says instead of what the logs say."""
        self.config = config
        self.mode = mode
        self.state_dir = Path(config.state_dir).resolve()
        self.lanes: tuple[LaneSpec, ...] = plan(config, virtual=is_virtual)
        self._config_files = tuple(config_files)
        self._overrides = overrides
        self._from_venue = from_venue
        self._instance = instance_name(config.name, self.state_dir)
        self.lanes_running: list[LaneProcess] = []
        self._doorbells: dict[str, int] = {}
        self._lock: int | None = None
        self._memory: RunMemory | None = None
        self._halt_page: HaltPage | None = None
        self._halts: SupervisorHalts | None = None
        self._log: EventLog | None = None
        self._guard: Guard | None = None
        self._spare: Spare | None = None
        self._epoch = 0
        self.spec: RunSpec | None = None
        self.clock = time.time_ns
        self._stolen_before = steal_ticks()

    @property
    def run_dir(self) -> Path:
        """Where this run's description and the lanes' output are."""
        return Path(self._need_spec().run_dir)

    @property
    def stages(self) -> list[str]:
        """All stages of the run, lane by lane."""
        return [stage for lane in self.lanes for stage in lane.stages]

    def start(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Start everything or nothing; raises with one line and leaves no process and no segment.

        should_stop is asked between the steps: then StartStopped is raised, with nothing left behind.
        """
        check_start(self.config, self.mode, self._config_files, self._overrides)
        try:
            for step in (self._take_lock, self._prepare, self._spawn):
                if should_stop():
                    raise StartStopped("run.supervisor: asked to stop during the start")
                step()
            self._await_running(should_stop)
            self._verify_pinning()
            self._look_after()
        except OSError as error:  # a full disk, a folder that is not ours
            self.stop()
            raise EnvironmentProblem(
                f"run.supervisor: {error.filename or self.state_dir}: {error.strerror}; "
                "free space or fix its owner"
            ) from error
        except BaseException:
            self.stop()
            raise

    def status(self, lane: str) -> StatusView:
        """Return a view of a lane's status page; close it after use."""
        return StatusView(self._need_memory().buffer(f"status.{lane}"))

    def steal_ticks(self) -> int:
        """Return the CPU time that was stolen from this machine since the start, in clock ticks."""
        return steal_ticks() - self._stolen_before

    def watch(self) -> None:
        """Raise when the run cannot go on; lanes that died are started again beside."""
        if self._guard is not None:
            self._guard.check()
            return
        for process in self.lanes_running:
            if process.code() is not None:
                raise process.death()

    def stop(self) -> None:
        """Cancel what is open, end all lanes, then unlink every segment; safe to call twice."""
        if self._guard is not None:
            self._guard.stop()
            if self._halts is not None and self.mode != "dry":
                left = stopping.cancel_orders(self, self._halts)
                if left:
                    self.tell("error", "stopped_with_open_orders", orders=left)
            self._guard = None
        has_run = self._end_lanes()
        if has_run:
            stopping.leave_logs(self.state_dir, self.tell)
        for fd in self._doorbells.values():
            os.close(fd)
        self._doorbells.clear()
        self._leave_memory()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._halt_page is not None:
            self._halt_page.close()
            self._halt_page = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def renew_lease(self) -> None:
        """Say that somebody looks after the lanes."""
        if self._memory is not None:
            self._memory.renew_lease()

    def view(self, lane: str) -> StatusView:
        """Return a view of a lane's status page that is kept until the end."""
        return self._need_memory().view(lane)

    def tell(self, level: str, event: str, **fields: object) -> None:
        """Write one event of the supervisor's log."""
        if self._log is not None:
            getattr(self._log, level)(event, **fields)

    def prepare_spare(self) -> None:
        """Have a process ready that may become the next lane that dies."""
        if self._spare is not None:
            self._spare.prepare()

    def clear_halts(self, resume_no: int) -> None:
        """Tell the stream that the operator lifts halts: whoever holds one of its own lets it go."""
        self.tell("info", "halts_cleared", resume_no=resume_no)
        self._push(Kind.CLEAR, resume_no=resume_no)

    # ------------------------------------------------------------------ start, step by step

    def _take_lock(self) -> None:
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.state_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise EnvironmentProblem(
                f"run.supervisor: state_dir {self.state_dir} cannot be written ({error.strerror}); "
                "set state_dir to a folder of yours") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentProblem(
                f"run.supervisor: another run uses {self.state_dir}; stop it, "
                "or set another state_dir"
            ) from None

    def _prepare(self) -> None:
        generation = self._next_generation()
        memory.sweep(self._instance)
        if not (self.state_dir / halt.FILE_NAME).exists():  # a page that is there holds somebody's halt
            halt.create(self.state_dir)
        self._halt_page = HaltPage(self.state_dir, "supervisor")  # a damaged one is refused now, in one line
        run_dir = self.state_dir / "run" / str(generation)
        run_dir.mkdir(parents=True, mode=0o700)
        forget_old_runs(run_dir.parent)
        files = self._copy_config(run_dir)
        if self._from_venue:
            set_aside(self.state_dir, generation)
        self._log = event_log(self.config, OWN_PAGE)
        self._epoch = generation * EPOCHS + 1
        start = self._find_start(generation)
        if not start.decisions:
            restart_numbers(self.state_dir)
        self._memory = RunMemory(
            self._instance, generation, self.stages, [lane.name for lane in self.lanes], self.config.shm,
            self.config.rows_end)
        self._memory.make()
        for lane in self.lanes:
            if any(wiring.WIRES[wiring.split_name(stage)[0]].has_sockets for stage in lane.stages):
                self._doorbells[lane.name] = make_doorbell_fd()
        self.spec = RunSpec(
            instance=self._instance, generation=generation, mode=self.mode, state_dir=str(self.state_dir),
            run_dir=str(run_dir), anchor_wall_ns=time.time_ns(), anchor_mono_ns=time.monotonic_ns(),
            salt_epoch=generation, config_files=files, overrides=self._overrides, lanes=self.lanes,
            doorbells=dict(self._doorbells), start=start)
        self.clock = anchored_clock(self.spec.anchor_wall_ns, self.spec.anchor_mono_ns)
        self._halts = SupervisorHalts(self._halt_page, self.clock)
        self.spec.save(run_dir / "spec.json")
        manifest.write(self.config, self.spec)
        latest = self.state_dir / "run" / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(str(generation))

    def _find_start(self, generation: int) -> StartPoint:
        """Return where the core begins; no lane of it may run."""
        return startpoint.find(
            self.state_dir / "logs", self.config.shm.log_segment_slots, generation, self._epoch,
            from_venue=self._from_venue)

    def _next_generation(self) -> int:
        """Return a number that no run of this state directory had: salts and segment names hang on it."""
        path = self.state_dir / "generation"
        text = path.read_text().strip() if path.exists() else "0"
        if not (text.isascii() and text.isdigit()):
            raise EnvironmentProblem(
                f"run.supervisor: {path} must hold a number, holds {text[:20]!r}; "
                f"write a number into it that is above all folders of {self.state_dir / 'run'}")
        generation = int(text) + 1
        write_durably(path, str(generation).encode())
        return generation

    def _copy_config(self, run_dir: Path) -> tuple[str, ...]:
        copies = []
        for number, path in enumerate(self._config_files):
            copy = run_dir / f"config-{number}.toml"
            shutil.copyfile(path, copy)
            copies.append(str(copy))
        return tuple(copies)

    def _spawn(self) -> None:
        spec = self._need_spec()
        self._introduce([stage for lane in self.lanes for stage in lane.stages])
        self._spare = Spare(Path(spec.run_dir), self._doorbells.values())
        for lane in self.lanes:
            process = LaneProcess(lane, Path(spec.run_dir), self._doorbells.values(), self._spare)
            self.lanes_running.append(process)
            process.spawn(self._epoch)

    def _await_running(self, should_stop: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S_MAX
        waiting = [lane.name for lane in self.lanes]
        while waiting:
            if should_stop():
                raise StartStopped("run.supervisor: asked to stop during the start")
            self.watch()
            self.renew_lease()
            waiting = [name for name in waiting if self.view(name).state != LaneState.RUNNING]
            if waiting and time.monotonic() > deadline:
                raise EnvironmentProblem(
                    f"run.supervisor: lane {waiting[0]} did not start within {START_S_MAX:.0f} s; "
                    f"see {self.run_dir / waiting[0]}.err")
            time.sleep(POLL_S)

    def _verify_pinning(self) -> None:
        for process in self.lanes_running:
            lane = process.lane
            if lane.cpu is None:
                continue
            found = os.sched_getaffinity(process.pid)
            if found != {lane.cpu}:
                raise EnvironmentProblem(
                    f"run.supervisor: lane {lane.name} should sit on cpu {lane.cpu}, "
                    f"the kernel says {sorted(found)}")

    def _look_after(self) -> None:
        spec = self._need_spec()
        self.tell(
            "info", "running", mode=self.mode, generation=spec.generation, topology=self.config.topology,
            stream_position=spec.start.stream, decisions_position=spec.start.decisions)
        if self._halts is not None:
            self._guard = Guard(
                self, self.config.supervision, self._halts, asks_venue=self.mode != "dry")
            self._guard.start()

    # ------------------------------------------------------------------ a lane died

    def bury(self, dead: Sequence[LaneProcess]) -> bool:
        """Say in the stream what dead lanes left and which epoch comes; False when a ring has no room yet."""
        rings = self._need_memory()
        stages, rows_max = self.stages, self.config.rows_end
        for process in dead:
            for stage in process.lane.stages:
                kind, ident = wiring.split_name(stage)
                if kind == "feed":
                    ring = f"feed.{ident}"
                    source = 1 + wiring.rings(stages).index(ring)
                    assets_max = self.config.venues.polymarket.assets_per_socket_max
                    shards = wills.shards_of(stage, stages, rows_max, assets_max)
                    if not wills.leave_gaps(rings.buffer(f"ring.{ring}"), source, shards):
                        return False
        self._epoch += 1
        self._introduce([stage for process in dead for stage in process.lane.stages], is_again=True)
        return True

    def revive(self, dead: Sequence[LaneProcess], is_core: bool) -> None:
        """Start these lanes again; with the core, where both logs end now."""
        spec, run_memory = self._need_spec(), self._need_memory()
        if is_core:
            self._from_venue = False
            start = self._find_start(spec.generation)
            self.spec = replace(spec, start=start)
            self.spec.save(Path(spec.run_dir) / "spec.json")
            run_memory.reset_core()
            self._push(Kind.CONFIG, **config_record(self.config, spec.salt_epoch))
        for process in dead:
            process.spawn(self._epoch)
            run_memory.count_restart(process.lane.name)

    def _introduce(self, stages: Sequence[str], is_again: bool = False) -> None:
        """Tell the stream what holds from here: the limits, at the start, and which stages come up."""
        spec = self._need_spec()
        if not is_again:
            self._push(Kind.CONFIG, **config_record(self.config, spec.salt_epoch))
        for number, stage in enumerate(stages):
            kind, ident = wiring.split_name(stage)
            sent = wills.sent_order_no(self.state_dir, ident) if kind == "gateway" else 0
            self._push(Kind.LANE_UP, lane=number, epoch=self._epoch, sent_order_no=sent,
                       stage_name=stage.encode()[:32])

    def _push(self, kind: Kind, **fields: object) -> None:
        run_memory = self._need_memory()
        run_memory.push(CODECS[kind].pack(
            source=CONTROL_SOURCE, source_seq=run_memory.control_seq, recv_ns=self.clock(), **fields))

    # ------------------------------------------------------------------ the end

    def _end_lanes(self) -> bool:
        """End every lane; tell whether any was started."""
        has_run = bool(self.lanes_running)
        if self._spare is not None:
            self._spare.end()
        for process in self.lanes_running:
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_S_MAX
        for process in self.lanes_running:
            if not process.wait(deadline - time.monotonic()):
                process.kill()
        self.lanes_running.clear()
        return has_run

    def _leave_memory(self) -> None:
        """Write what the lanes counted, for `pm status` after the end, and let every segment go."""
        if self._memory is None:
            return
        if self.spec is not None:
            counters = {lane.name: self.view(lane.name).counters() for lane in self.lanes}
            with suppress(OSError):  # no reason to leave segments behind
                (self.run_dir / "counters.json").write_bytes(orjson.dumps(counters))
        self._memory.close()
        self._memory = None

    def _need_spec(self) -> RunSpec:
        if self.spec is None:
            raise PipelineError("run.supervisor: the run has not started")
        return self.spec

    def _need_memory(self) -> RunMemory:
        if self._memory is None:
            raise PipelineError("run.supervisor: the run has not started")
        return self._memory
