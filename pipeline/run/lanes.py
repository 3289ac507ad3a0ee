"""The processes of a run: one object a lane, spawned and never forked, known by its epoch.

A spare process waits beside them with every module imported, which is most of a start's time: it becomes the
next lane that dies.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.config.topology import LaneSpec
from pipeline.errors import EnvironmentProblem
from pipeline.run import wiring

#: Whoever holds one of these stages keeps orders or books; the others may be late without harm.
_MAY_WAIT = ("refdata", "archive", "observe", "solve")


class Spare:
    """A process that can become any lane of the run, once; it ends when its supervisor does."""

    def __init__(self, run_dir: Path, fds: Iterable[int]) -> None:
        self._run_dir = run_dir
        self._fds = tuple(fds)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The waiting process, 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def prepare(self) -> None:
        """Start one unless it waits already."""
        if self._process is not None and self._process.poll() is None:
            return
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.run.lane", str(self._run_dir / "spec.json"), "--spare"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=self._fds,
            start_new_session=True)

    def become(self, order: Sequence[str]) -> subprocess.Popen[bytes] | None:
        """Let it become a lane, told in words as `run.lane` takes them; None when nobody waits."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None or process.stdin is None:
            return None
        try:
            with process.stdin as pipe:
                pipe.write("\0".join(order).encode())
        except OSError:  # it died between the look and the write
            process.kill()
            process.wait()
            return None
        return process

    def end(self) -> None:
        """Let it go; safe to call at any time."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.kill()
            process.wait()


class LaneProcess:
    """One lane's process. `epoch` rises with each start; what an older one left is foreign to it."""

    def __init__(self, lane: LaneSpec, run_dir: Path, fds: Iterable[int], spare: Spare) -> None:
        self.lane = lane
        self.kinds = tuple(wiring.split_name(stage)[0] for stage in lane.stages)
        #: Whether it holds a part of the chain: all lanes that do restart as one.
        self.is_core = any(wiring.WIRES[kind].is_core for kind in self.kinds)
        #: Whether no order should leave while it is away.
        self.is_trading = any(kind not in _MAY_WAIT for kind in self.kinds)
        self.spare = spare
        self.epoch = 0
        self.starts = 0
        self._run_dir = run_dir
        self._fds = tuple(fds)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process, 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    @property
    def error_file(self) -> Path:
        """Where its last words are."""
        return self._run_dir / f"{self.lane.name}.err"

    def spawn(self, epoch: int) -> None:
        """Start the process; an earlier one must be dead."""
        is_restart = self.starts > 0
        self.epoch, self.starts = epoch, self.starts + 1
        order = [self.lane.name, str(epoch), "again" if is_restart else "first"]
        if is_restart and (ready := self.spare.become([*order, str(self.error_file)])) is not None:
            self._process = ready
            return
        with open(self.error_file, "ab" if is_restart else "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.run.lane", str(self._run_dir / "spec.json"), *order],
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=self._fds,
                start_new_session=True)

    def code(self) -> int | None:
        """Return how it ended, None while it runs or before it was started."""
        return self._process.poll() if self._process is not None else None

    def ask_to_stop(self) -> None:
        """Send SIGTERM when it runs; no spare is needed any more."""
        self.spare.end()
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False when it still runs then."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End it at once and take its exit status."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()

    def death(self) -> EnvironmentProblem:
        """Return its end as an error; its own verdict (config, environment, venue, data) is the exit code."""
        code = self.code() or 0
        problem = EnvironmentProblem(
            f"run.supervisor: lane {self.lane.name} ended: {self.last_words()} "
            f"(all of it: {self.error_file})")
        if 1 < code < 8:
            problem.exit_code = code
        return problem

    def last_words(self) -> str:
        """Return the last line that it wrote, or its exit code."""
        try:
            lines = self.error_file.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        said = [line for line in lines if line.strip()]
        return said[-1] if said else f"no message; exit code {self.code()}"
