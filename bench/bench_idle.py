"""What a pipeline costs that has nothing to do: `pm run` on the local exchange, 2core, all lanes block.

The exchange sends no market data; sockets, heartbeats and time go on. CPU time is the kernel's own count in
ns (`schedstat`) over all threads of the supervisor and its lanes; the exchange is not counted.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import harness

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
            _stop_flow(place, exchange["urls"]["control"])
            time.sleep(silent_s)
            lanes = _lanes(state)
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


def _stop_flow(place: Path, control: str) -> None:
    token = (place / "control.token").read_text()
    request = urllib.request.Request(  # noqa: S310 - our own exchange on loopback
        f"{control}/control/stop-flow", b"{}", {"authorization": f"Bearer {token}"}, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        answer.read()


def _lanes(state: Path) -> dict[str, int]:
    """Return the processes of the lanes by name, and of the spare one."""
    spec = os.fsencode(state / "run")
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            places = [place for place, word in enumerate(words) if word.startswith(spec)]
            if places:
                found[words[places[0] + 1].decode().strip("-")] = int(entry.name)
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
