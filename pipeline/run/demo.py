"""`pm demo`: exchange and pipeline as real processes on this machine, then a verdict.

Writes a state directory (temporary unless kept), live progress and a report. The pipeline trades until
the time is up; then the flow stops, orders settle, events are resolved by seed, the exchange ends, the
pipeline ends, and the two logs alone must tell the same money as the exchange's ledger.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from pipeline.config.load import Config, load
from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.run.demo_facts import LaneWatch, collect_facts, sums
from pipeline.run.exchange import ExchangeProcess, cpu_of_exchange, fault_words, pipeline_keys
from pipeline.run.judge import judge
from pipeline.run.process import on_cpu
from pipeline.run.progress import Progress
from pipeline.run.supervisor import Supervisor
from pipeline.shm import memory

CONFIG_FILE = Path(__file__).resolve().parent.parent.parent / "config" / "demo.toml"
SETTLE_S_MAX = 20.0
POLL_S = 0.25
FULL_SPEED_S_MIN = 5.0
EXCHANGE_NICE = 5
CONFIRM_S = 2.5  # a match is CONFIRMED 2 s later: by then every fill has told its whole walk
QUIET_LOOKS = 4
LAST_FRAMES_S_MAX = 5.0
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives on Linux


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    seconds: int = 60
    feeds: tuple[Path, ...] = ()
    speed: str = "1"
    topology: str = "2core"
    cpus: str = "auto"
    seed: int = 1
    json_file: Path | None = None
    keep: Path | None = None
    config_files: tuple[Path, ...] = ()
    faults: Path | None = None

    def checked(self) -> DemoOptions:
        """Return the options with absolute paths; raises UsageError in one line."""
        for feed in self.feeds:
            if not feed.is_file():
                raise UsageError(
                    f"demo: recording {feed} does not exist; give a *.jsonl.zst file or leave --feed away")
        if self.speed != "max":
            try:
                is_good = 0 < float(self.speed) <= 1_000
            except ValueError:
                is_good = False
            if not is_good:
                raise UsageError(f"demo: --speed is a number above 0 up to 1000, or max; was {self.speed!r}")
        if self.cpus not in ("auto", "virtual"):
            raise UsageError(f"demo: --cpus is auto or virtual, was {self.cpus!r}")
        if self.keep is not None and self.keep.exists() and any(self.keep.iterdir()):
            raise UsageError(f"demo: --keep {self.keep} exists and is not empty; name a new directory")
        if self.json_file is not None and not self.json_file.resolve().parent.is_dir():
            raise UsageError(f"demo: the directory of --json {self.json_file} does not exist")
        return replace(self, feeds=tuple(feed.resolve() for feed in self.feeds))


def is_flow_over(options: DemoOptions, ran_s: float, is_flow_done: bool) -> bool:
    """Tell whether the demo has traded enough.

    A recording at full speed ends with its last frame. A short one is over within one second; the generated
    event, which keeps wall time, still gets `FULL_SPEED_S_MIN`, so that every mode trades.
    """
    if options.feeds and options.speed == "max":
        return is_flow_done and ran_s > min(options.seconds, FULL_SPEED_S_MIN)
    return ran_s > options.seconds


def run_demo(options: DemoOptions) -> int:
    """Run the demo to its verdict; return the exit code."""
    options = options.checked()
    _sweep_dead_demos()
    directory = options.keep or Path(tempfile.mkdtemp(prefix="pm-demo-"))
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return _Demo(options, directory.resolve()).run()
    finally:
        if options.keep is None:
            shutil.rmtree(directory, ignore_errors=True)


def _sweep_dead_demos() -> None:
    """Give back the shared memory of demos that were killed; a live one is left alone."""
    for name in {path.name.split("-")[1] for path in SHARED_MEMORY.glob("pm-demo[0-9]*-*")}:
        pid = name.removeprefix("demo")
        if pid.isdigit() and not Path("/proc", pid).exists():
            memory.sweep(name)


class _Demo:
    """One demo: the exchange, the pipeline, and what is asked of them."""

    def __init__(self, options: DemoOptions, directory: Path) -> None:
        self._options = options
        self._directory = directory
        self._progress = Progress(sys.stdout)
        self._exchange: ExchangeProcess | None = None
        self._supervisor: Supervisor | None = None
        self._cpu_aside: int | None = None

    def run(self) -> int:
        """Start, trade, verify, report; return the exit code. Whatever happens, both trees end."""
        options = self._options
        try:
            self._start()
            facts_started = time.monotonic()
            self._trade()
            seconds = time.monotonic() - facts_started
            self._settle()
            report = self._need_exchange().stop()
            self._take_last_frames(report)
            facts = collect_facts(self._need_supervisor(), options, seconds, self._lanes)
        finally:
            if self._supervisor is not None:
                self._supervisor.stop()
            if self._exchange is not None:
                self._exchange.stop()
            self._progress.end()
        if report is None:
            raise EnvironmentProblem(
                f"demo: the exchange left no report; see {self._directory / 'exchange' / 'exchange.err'}")
        verdict = judge(self._directory / "state", report, facts, is_max_speed=options.speed == "max")
        print("\n".join(verdict.lines()))
        if options.json_file is not None:
            options.json_file.write_bytes(orjson.dumps(verdict.figures, option=orjson.OPT_INDENT_2) + b"\n")
            print(f"figures: {options.json_file}")
        if options.keep is not None:
            print(f"logs and state: {self._directory}")
        return verdict.exit_code

    def _need_exchange(self) -> ExchangeProcess:
        if self._exchange is None:
            raise EnvironmentProblem("demo: the exchange is not running")
        return self._exchange

    def _need_supervisor(self) -> Supervisor:
        if self._supervisor is None:
            raise EnvironmentProblem("demo: the pipeline is not running")
        return self._supervisor

    # ------------------------------------------------------------------ the phases of a demo

    def _start(self) -> None:
        options = self._options
        config = self._config({})
        plan = Supervisor(config, (), {}, "local", is_virtual=options.cpus == "virtual")
        cpus = [lane.cpu for lane in plan.lanes if lane.cpu is not None]
        settings: dict[str, Any] = {
            "seed": options.seed, "feeds": [str(feed) for feed in options.feeds],
            "speed": "max" if options.speed == "max" else float(options.speed),
            "seconds": float(options.seconds),
            # A real exchange does not share our CPUs: when both want one, ours goes first.
            "cpu": cpu_of_exchange(cpus), "nice": EXCHANGE_NICE,
            "faults": str(options.faults.resolve()) if options.faults else "",
        }
        self._progress.say("starting the local exchange (TLS, signatures checked)")
        # Nor does anybody who looks on: on the chain's CPU each look would hold it up.
        if len(cpus) == len(plan.lanes) and len(set(cpus)) > 1:
            self._cpu_aside = settings["cpu"]
        self._exchange = ExchangeProcess(self._directory / "exchange", settings)
        self._exchange.start(self._progress.step)
        overrides = self._overrides(self._exchange)
        self._progress.say(f"starting the pipeline: topology {options.topology}, mode local")
        self._supervisor = Supervisor(
            self._config(overrides), (CONFIG_FILE, *options.config_files), overrides, "local",
            is_virtual=options.cpus == "virtual")
        self._supervisor.start()

    def _config(self, overrides: dict[str, object]) -> Config:
        overrides = {"topology": self._options.topology, **overrides}
        return load((CONFIG_FILE, *self._options.config_files), overrides)

    def _overrides(self, exchange: ExchangeProcess) -> dict[str, object]:
        sections = pipeline_keys(exchange.directory, exchange.urls)
        return {
            "topology": self._options.topology,
            "name": f"demo{os.getpid()}",  # two demos at once are none of each other's business
            "state_dir": str(self._directory / "state"),
            **{f"{name}.{key}": value for name, keys in sections.items() for key, value in keys.items()},
        }

    def _trade(self) -> None:
        """Let it run for the time asked, or until a recording at full speed is over."""
        self._lanes = LaneWatch(self._need_supervisor(), self._options.seconds)
        with on_cpu(self._cpu_aside):
            self._look_on()

    def _look_on(self) -> None:
        started, is_over = time.monotonic(), False
        while not is_over:
            time.sleep(POLL_S)
            self._watch()
            status = self._need_exchange().control("GET", "/control/status")
            ran_s = time.monotonic() - started
            self._lanes.look(ran_s)
            self._progress.live(sums(self._need_supervisor()), status, self._options.seconds - ran_s)
            is_over = is_flow_over(self._options, ran_s, bool(status["flow_done"]))

    def _settle(self) -> None:
        """Stop the flow, wait for the last order, resolve, and wait for the last frame."""
        exchange = self._need_exchange()
        exchange.control("POST", "/control/stop-flow")
        stopped = time.monotonic()
        self._await("the last order to end", self._orders_at_rest)
        self._await("the last fill to be confirmed", lambda: time.monotonic() - stopped > CONFIRM_S)
        exchange.control("POST", "/control/resolve", {"seed": self._options.seed})
        for _ in range(QUIET_LOOKS):  # late prints and PONGs come by themselves
            self._await("the last frame to be folded", self._frames_folded)
            time.sleep(POLL_S)

    def _take_last_frames(self, report: dict[str, Any] | None) -> None:
        """With the exchange dead, fold what its kernel had accepted and we had not read yet."""
        accepted = sum(socket["accepted"] for socket in report["sockets"]) if report else 0
        deadline = time.monotonic() + LAST_FRAMES_S_MAX
        while time.monotonic() < deadline:
            self._need_supervisor().watch()
            numbers = sums(self._need_supervisor())
            if numbers["frames_taken"] >= accepted and numbers["is_idle"]:
                return
            time.sleep(POLL_S)

    def _await(self, what: str, is_done: Any) -> None:
        deadline = time.monotonic() + SETTLE_S_MAX
        while not is_done():
            self._watch()
            if time.monotonic() > deadline:
                self._progress.say(f"waited {SETTLE_S_MAX:.0f} s in vain for {what}; judging what is there")
                return
            time.sleep(POLL_S)

    def _watch(self) -> None:
        for event in self._need_exchange().take_events():
            if event.get("event") == "fault":
                self._progress.say(fault_words(event))
        self._need_supervisor().watch()
        if not self._need_exchange().is_alive():
            raise EnvironmentProblem(
                f"demo: the exchange ended; see {self._directory / 'exchange' / 'exchange.err'}")

    def _orders_at_rest(self) -> bool:
        numbers = sums(self._need_supervisor())
        states = numbers["summary"].get("orders_by_state", {})
        open_states = ("intended", "sent", "live", "delayed", "unknown")
        return not any(states.get(state) for state in open_states) and self._frames_folded()

    def _frames_folded(self) -> bool:
        """Everything that the exchange wrote was taken in, and the core has read it all."""
        status = self._need_exchange().control("GET", "/control/status")
        numbers = sums(self._need_supervisor())
        all_taken = status["frames_queued"] == status["frames_accepted"] == numbers["frames_taken"]
        return bool(all_taken and numbers["is_idle"])
