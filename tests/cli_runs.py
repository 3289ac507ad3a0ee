"""The real command line as subprocesses, and a local exchange with a configuration for it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.run.exchange import ExchangeProcess, pipeline_keys
from pipeline.run.state_dir import instance_name
from tests.shared import ROOT, wait_until

DEADLINE_S = 60.0
EXCHANGE = {
    "seed": 7,
    "seconds": 600.0,
    "markets": 4,
    "planted_events": 6,
    "plant_spacing_ms": 150,
    "quiet_ms": 200,
}


def command(*arguments: object) -> list[str]:
    """Return the command line of `pm ARGUMENTS`."""
    return [sys.executable, "-m", "pipeline.cli", *(str(one) for one in arguments)]


def pm(
    *arguments: object, cwd: Path = ROOT, timeout_s: float = DEADLINE_S
) -> subprocess.CompletedProcess[str]:
    """Run `pm ARGUMENTS` to its end."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of stderr, which begins with `pm: `; more, less or a traceback fails."""
    lines = done.stderr.splitlines()
    assert 1 == len(lines), done.stderr
    assert lines[0].startswith("pm: "), lines[0]
    assert "Traceback" not in done.stdout + done.stderr
    return lines[0]


def until(is_true: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true answer; fail after the deadline."""
    answers: list[Any] = []

    def ask() -> Any:
        answers[:] = [is_true()]
        return answers[0]

    wait_until(ask, deadline_s, what)
    return answers[0]


def segments_of(name: str, state: Path) -> list[str]:
    """Return the shared segments of runs of this name and state directory; other sessions have others."""
    prefix = f"pm-{instance_name(name, state)}-"
    return sorted(entry for entry in os.listdir("/dev/shm") if entry.startswith(prefix))


def processes_of(directory: Path) -> list[int]:
    """Return the processes whose command line names something below the directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in words:
                found.append(int(entry.name))
    return found


def write_config(
    path: Path, name: str, state_dir: Path, venue: dict[str, Any], account: dict[str, Any]
) -> Path:
    """Write a configuration of the demo's kind; TOML's strings, integers and booleans are JSON's."""
    tables: dict[str, dict[str, Any]] = {
        "": {"mode": "dry", "name": name, "state_dir": str(state_dir), "topology": "1core"},
        "venues.polymarket": venue,
        "accounts.main": account,
        "universe": {"include_all": True, "instruments_max": 100},
        "strategies.basket": {
            "enabled": True,
            "edge_usd_min": "0.01",
            "edge_ppm_min": 1000,
            "levels_max": 1,
            "package_usd_max": "500",
            "cooldown_ms": 1,
            "intent_ttl_ms": 500,
        },
        "risk": {
            "order_usd_max": "500",
            "market_usd_max": "100000",
            "event_usd_max": "500000",
            "day_usd_max": "1000000",
            "open_orders_max": 500,
            "partial_loss_usd_max": "500",
            "residue_usd_max": "5000",
            "proof_age_ms_max": 5000,
        },
        # Tests share the machine: a lane that waits for a CPU is no stalled one.
        "supervision": {"stall_ms_max": 3000, "health_clear_s": 1},
    }
    lines: list[str] = []
    for table, values in tables.items():
        lines += [f"[{table}]"] if table else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


class Market:
    """A running local exchange and the configuration file of a pipeline that trades on it."""

    def __init__(self, directory: Path, name: str, **settings: Any) -> None:
        self.directory = directory
        self.name = name
        self.state = directory / "state"
        self.exchange = ExchangeProcess(directory / "exchange", {**EXCHANGE, **settings})
        self.exchange.start(lambda what, done, total: None)
        keys = pipeline_keys(self.exchange.directory, self.exchange.urls)
        self.config = write_config(
            directory / "run.toml", name, self.state, keys["venues.polymarket"],
            {**keys["accounts.main"], "tier": "elite"})

    def arrivals(self) -> list[dict[str, Any]]:
        """Return every order that reached the exchange."""
        found: list[dict[str, Any]] = self.exchange.control("GET", "/control/report")["arrivals"]
        return found

    def close(self) -> None:
        self.exchange.stop()


class Run:
    """One `pm run` in the background."""

    def __init__(self, config: Path, *arguments: object) -> None:
        self.process = subprocess.Popen(
            command("run", "--config", config, "--json", *arguments),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"pm run ended with {self.process.wait()}: {self.process.communicate()[1]}")
        self.up: dict[str, Any] = json.loads(line)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Signal it; return exit code, what it said on stdout after it was up, and stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        said, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, said, errors


class Exchange:
    """One `pm exchange` in the background."""

    def __init__(self, directory: Path, *arguments: object) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            command("exchange", "--dir", directory, "--json", *arguments),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"pm exchange: {self.process.communicate()[1]}")
        self.ready: dict[str, Any] = json.loads(line)

    def status(self) -> dict[str, Any]:
        """Ask the control port, as an operator's script does."""
        return self.ask("/control/status")

    def report(self) -> dict[str, Any]:
        """Return its books of account as they stand; it checks them before it answers."""
        return self.ask("/control/report")

    def ask(self, path: str) -> dict[str, Any]:
        """Return what the control port answers."""
        parts = urlsplit(self.ready["urls"]["control"])
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        token = (self.directory / "control.token").read_text()
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {token}"})
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return found

    def stop(self) -> tuple[int, str, str]:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        said, errors = self.process.communicate(timeout=60)
        return self.process.returncode, said, errors
