"""What a pipeline costs that has nothing to do: `pm run` on the local exchange, 2core, all lanes block.

The exchange sends no market data; sockets, heartbeats and time go on. CPU time is the kernel's own count in
ns (`schedstat`) over all threads of the supervisor and its lanes; the exchange is not counted.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from bench import harness
from pipeline.run.exchange import ask_control

CONFIG = Path(__file__).resolve().parent.parent / "config" / "demo.toml"
SILENT_S = 5.0  # what is on its way when the flow stops is over by then
END_S_MAX = 60.0


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure one idle pipeline; smoke looks for a second only."""
    seconds = 1.0 if is_smoke else 60.0
    with tempfile.TemporaryDirectory(prefix="pm-bench-") as name:
        figures = _measure(Path(name), seconds, 0.5 if is_smoke else SILENT_S)
    return harness.record("idle", "python -m bench idle", figures, is_smoke)


def _measure(directory: Path, seconds: float, silent_s: float) -> dict[str, Any]:
    place = directory / "exchange"
    with _pm("exchange", "--dir", place, "--port", "0", "--seconds", "120", "--json") as (_, exchange):
        state = directory / "state"
        with _pm("run", "--config", CONFIG, "--config", exchange["config"], "--mode", "local", "--set",
                 "topology=2core", "--set", f"state_dir={state}", "--json") as (supervisor, _):
            token = (place / "control.token").read_text()
            ask_control(exchange["urls"]["control"], token, "POST", "/control/stop-flow")
            time.sleep(silent_s)
            lanes = _lanes(supervisor)
            found = _cpu_shares({"supervisor": supervisor, **lanes}, seconds)
    whole = round(sum(found.values()), 2)
    return {"seconds": seconds, "cpu_percent": found, "cpu_percent_all": whole}


@contextmanager
def _pm(*arguments: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """Run `pm ARGUMENTS`; give its process and the line in which it says that it is up."""
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        told: dict[str, Any] = {}
        while told.get("event") not in ("ready", "running"):
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"bench idle: {' '.join(command)} ended with {process.wait()}")
            told = json.loads(line)
        yield process.pid, told
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=END_S_MAX)


def _lanes(supervisor: int) -> dict[str, int]:
    """Return the processes of the lanes by name, and of the spare one."""
    found = {}
    for child in psutil.Process(supervisor).children():
        words = child.cmdline()
        found[words[words.index("pipeline.run.lane") + 2].strip("-")] = child.pid
    return found


def _cpu_shares(processes: dict[str, int], seconds: float) -> dict[str, float]:
    """Return each process's share of one core over the next `seconds`, in percent."""
    before = {name: _ran_ns(pid) for name, pid in processes.items()}
    began_ns = time.monotonic_ns()
    time.sleep(seconds)
    elapsed_ns = time.monotonic_ns() - began_ns
    return {name: round(100 * (_ran_ns(pid) - before[name]) / elapsed_ns, 2)
            for name, pid in processes.items()}


def _ran_ns(pid: int) -> int:
    tasks = Path("/proc", str(pid), "task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())
