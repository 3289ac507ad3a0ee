"""The supervisor: makes the run's memory, starts the lanes, watches them, takes everything down again.

Writes the `control` ring (Config, LaneUp) and the run description. All segments are made and unlinked
here alone; lanes are spawned, never forked, and die with their supervisor.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from pipeline.config.load import Config, config_record
from pipeline.config.topology import LaneSpec, plan
from pipeline.errors import EnvironmentProblem, PipelineError
from pipeline.native.log import LogWriter
from pipeline.native.ring import Writer
from pipeline.records import CODECS, Kind
from pipeline.run import wiring
from pipeline.run.channels import SharedMemory, format_all, segment_sizes
from pipeline.run.checks import check_start
from pipeline.run.spec import RunSpec, anchored_clock
from pipeline.shm import halt, memory
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import LaneState, StatusView
from pipeline.shm.wait import make_doorbell_fd
from pipeline.units import NS_PER_S

START_S_MAX = 60.0
STOP_S_MAX = 5.0
POLL_S = 0.02
CONTROL_SOURCE = 1
GENERATIONS_KEPT = 8


class StartStopped(PipelineError):
    """Somebody asked for the end before the run was up."""


class Supervisor:
    """One run. `start`, then `watch` now and then, then `stop` in any case."""

    def __init__(
        self, config: Config, config_files: Sequence[Path], overrides: dict[str, object], mode: str,
        is_virtual: bool = False,
    ) -> None:
        self.config = config
        self.mode = mode
        self.state_dir = Path(config.state_dir).resolve()
        self.lanes: tuple[LaneSpec, ...] = plan(config, virtual=is_virtual)
        self._config_files = tuple(config_files)
        self._overrides = overrides
        self._instance = instance_name(config.name, self.state_dir)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._segments: list[str] = []
        self._doorbells: dict[str, int] = {}
        self._lock: int | None = None
        self._memory: SharedMemory | None = None
        self._control: Writer | None = None
        self._control_seq = 0
        self.spec: RunSpec | None = None
        self.clock = time.time_ns
        self._stolen_before = _steal_ticks()

    @property
    def run_dir(self) -> Path:
        """Where this run's description and the lanes' output are."""
        if self.spec is None:
            raise PipelineError("run.supervisor: the run has not started")
        return Path(self.spec.run_dir)

    @property
    def stages(self) -> list[str]:
        """All stages of the run, lane by lane."""
        return [stage for lane in self.lanes for stage in lane.stages]

    def start(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Start everything or nothing; raises with one line and leaves no process and no segment.

        should_stop is asked between the steps: then StartStopped is raised, with nothing left behind.
        """
        check_start(self.config, self.mode)
        try:
            for step in (self._take_lock, self._prepare, self._spawn):
                if should_stop():
                    raise StartStopped("run.supervisor: asked to stop during the start")
                step()
            self._await_running(should_stop)
            self._verify_pinning()
            self._introduce()
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
        if self._memory is None:
            raise PipelineError("run.supervisor: the run has not started")
        return StatusView(self._memory.buffer(f"status.{lane}"))

    def steal_ticks(self) -> int:
        """Return the CPU time that was stolen from this machine since the start, in clock ticks."""
        return _steal_ticks() - self._stolen_before

    def watch(self) -> None:
        """Raise when a lane died: the chain cannot go on without it."""
        for name, process in self._processes.items():
            code = process.poll()
            if code is not None:
                raise self._death(name, code)

    def stop(self) -> None:
        """End all lanes, then unlink every segment; safe to call twice."""
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        for fd in self._doorbells.values():
            os.close(fd)
        self._doorbells.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._memory is not None:
            self._leave_counters()
            self._memory.close()
            self._memory = None
        for name in self._segments:
            memory.unlink(name)
        self._segments.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _leave_counters(self) -> None:
        """Write what the lanes counted, for `pm status` after the end; a failed start leaves none."""
        if self.spec is None:
            return
        counters = {}
        for lane in self.lanes:
            view = self.status(lane.name)
            counters[lane.name] = view.counters()
            view.close()
        with suppress(OSError):  # no reason to leave segments behind
            (self.run_dir / "counters.json").write_bytes(orjson.dumps(counters))

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
        HaltPage(self.state_dir).close()  # a damaged one is refused now, in one line
        run_dir = self.state_dir / "run" / str(generation)
        run_dir.mkdir(parents=True, mode=0o700)
        self._forget_old_runs(run_dir.parent)
        files = self._copy_config(run_dir)
        self._set_aside(generation - 1)
        for log in wiring.LOGS:
            directory = self.state_dir / "logs" / log
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            LogWriter(directory, log, self.config.shm.log_segment_slots, salt_epoch=generation).close()
        self._make_memory(generation)
        for lane in self.lanes:
            if any(wiring.WIRES[wiring.split_name(stage)[0]].has_sockets for stage in lane.stages):
                self._doorbells[lane.name] = make_doorbell_fd()
        self.spec = RunSpec(
            instance=self._instance, generation=generation, mode=self.mode, state_dir=str(self.state_dir),
            run_dir=str(run_dir), anchor_wall_ns=time.time_ns(), anchor_mono_ns=time.monotonic_ns(),
            salt_epoch=generation, config_files=files, overrides=self._overrides, lanes=self.lanes,
            doorbells=dict(self._doorbells))
        self.clock = anchored_clock(self.spec.anchor_wall_ns, self.spec.anchor_mono_ns)
        self.spec.save(run_dir / "spec.json")
        latest = self.state_dir / "run" / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(str(generation))

    def _set_aside(self, generation: int) -> None:
        """Keep the last run's logs and checkpoints and begin new ones.

        trade would otherwise start empty and decide the old stream a second time: recovery is later work.
        """
        kept = self.state_dir / "old" / str(generation)
        for name in ("logs", "checkpoints"):
            if (self.state_dir / name).exists():
                kept.mkdir(parents=True, exist_ok=True, mode=0o700)
                (self.state_dir / name).rename(kept / name)

    def _next_generation(self) -> int:
        """Return a number that no run of this state directory had: salts and segment names hang on it."""
        path = self.state_dir / "generation"
        text = path.read_text().strip() if path.exists() else "0"
        if not (text.isascii() and text.isdigit()):
            raise EnvironmentProblem(
                f"run.supervisor: {path} must hold a number, holds {text[:20]!r}; "
                f"write a number into it that is above all folders of {self.state_dir / 'run'}")
        generation = int(text) + 1
        partial = path.with_suffix(".partial")
        partial.write_text(str(generation))
        partial.replace(path)
        return generation

    def _forget_old_runs(self, runs: Path) -> None:
        numbered = sorted((int(path.name), path) for path in runs.iterdir() if path.name.isdigit())
        for _, path in numbered[:-GENERATIONS_KEPT]:
            shutil.rmtree(path)

    def _copy_config(self, run_dir: Path) -> tuple[str, ...]:
        copies = []
        for number, path in enumerate(self._config_files):
            copy = run_dir / f"config-{number}.toml"
            shutil.copyfile(path, copy)
            copies.append(str(copy))
        return tuple(copies)

    def _make_memory(self, generation: int) -> None:
        lanes = [lane.name for lane in self.lanes]
        rows_max = self.config.universe.instruments_max + 1
        for what, size in segment_sizes(self.stages, lanes, self.config.shm, rows_max).items():
            name = memory.segment_name(self._instance, generation, what)
            self._segments.append(name)  # first: a signal may end the start between any two steps
            try:
                memory.create(name, size, generation=generation).close()
            except EnvironmentProblem:
                self._segments.remove(name)  # not made, or another program's
                raise
        self._memory = SharedMemory(self._instance, generation)
        format_all(self._memory, self.stages, lanes, self.config.shm)
        self._control = Writer(self._memory.buffer(f"ring.{wiring.CONTROL}"))

    def _spawn(self) -> None:
        for lane in self.lanes:
            with open(self.run_dir / f"{lane.name}.err", "wb") as errors:
                self._processes[lane.name] = subprocess.Popen(
                    [sys.executable, "-m", "pipeline.run.lane", str(self.run_dir / "spec.json"), lane.name],
                    stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    pass_fds=tuple(self._doorbells.values()), start_new_session=True)

    def _await_running(self, should_stop: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_S_MAX
        waiting = [lane.name for lane in self.lanes]
        while waiting:
            if should_stop():
                raise StartStopped("run.supervisor: asked to stop during the start")
            self.watch()
            waiting = [name for name in waiting if self._state(name) != LaneState.RUNNING]
            if waiting and time.monotonic() > deadline:
                raise EnvironmentProblem(
                    f"run.supervisor: lane {waiting[0]} did not start within {START_S_MAX:.0f} s; "
                    f"see {self.run_dir / waiting[0]}.err")
            time.sleep(POLL_S)

    def _state(self, lane: str) -> LaneState:
        view = self.status(lane)
        try:
            return view.state
        finally:
            view.close()

    def _verify_pinning(self) -> None:
        for lane in self.lanes:
            if lane.cpu is None:
                continue
            found = os.sched_getaffinity(self._processes[lane.name].pid)
            if found != {lane.cpu}:
                raise EnvironmentProblem(
                    f"run.supervisor: lane {lane.name} should sit on cpu {lane.cpu}, "
                    f"the kernel says {sorted(found)}")

    def _introduce(self) -> None:
        """Tell the stream what holds in this run: the limits, then each lane."""
        if self.spec is None:
            return
        self._push(Kind.CONFIG, **config_record(self.config, self.spec.salt_epoch))
        for number, lane in enumerate(self.lanes):
            name = lane.name.encode()[:32]
            self._push(Kind.LANE_UP, lane=number, epoch=self.spec.generation, stage_name=name)

    def _push(self, kind: Kind, **fields: object) -> None:
        if self._control is None:
            return
        self._control_seq += 1
        now_ns = self.clock()
        source_seq = now_ns // NS_PER_S * 1_000_000 + self._control_seq
        record = CODECS[kind].pack(
            source=CONTROL_SOURCE, source_seq=source_seq, recv_ns=now_ns, **fields)
        if not self._control.push(record):
            raise EnvironmentProblem("run.supervisor: the control ring is full: the sequencer does not run")

    def _death(self, name: str, code: int) -> PipelineError:
        path = self.run_dir / f"{name}.err"
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
        words = lines[-1] if lines else f"no message; exit code {code}"
        problem = EnvironmentProblem(f"run.supervisor: lane {name} ended: {words} (all of it: {path})")
        if 1 < code < 8:
            problem.exit_code = code  # the lane's own verdict: config, environment, venue, data
        return problem


def instance_name(name: str, state_dir: Path) -> str:
    """Return the prefix of a run's segments: its name, and what tells its state directory from all others.

    Two runs of one name (two demos) must not sweep each other's memory; one state directory has one run.
    """
    letters = "".join(letter for letter in name if letter.isalnum())
    return letters + hashlib.blake2b(os.fsencode(state_dir), digest_size=4).hexdigest()


def _steal_ticks() -> int:
    with open("/proc/stat") as stat:
        fields = stat.readline().split()
    return int(fields[8]) if len(fields) > 8 else 0
