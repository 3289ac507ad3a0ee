"""The demo's exchange: started as a process of its own, asked over its control port, ended before judging.

Writes its configuration file; reads `ready.json` and `report.json` of its run directory.
"""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import EnvironmentProblem, VenueError

READY_S_MAX = 600.0  # rendering a whole recording ahead takes minutes
STOP_S_MAX = 30.0
#: In the run directory of an exchange; all but the API file are made by the exchange itself.
CA_FILE, KEY_FILE, API_FILE = "ca.pem", "key.hex", "api-key.json"
GEOBLOCK = "/api/geoblock"  # the venue has it on another host; this exchange beside its REST
Progress = Callable[[str, int, int], None]


def ask_control(
    url: str, token: str, method: str, path: str, body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Ask an exchange's control port at `url`; raises VenueError when it does not answer, or with no."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
    try:
        connection.request(method, path, json.dumps(body or {}), {"authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
    except (OSError, ValueError) as error:
        raise VenueError(f"run.exchange: the exchange does not answer {path}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise VenueError(f"run.exchange: {path} answered {answer.status}: {found}")
    return found


class ExchangeProcess:
    """One exchange; `start`, use, `stop` in any case."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.directory = directory
        self._settings = {"run_dir": str(directory), **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self.urls: dict[str, str] = {}
        self._token = ""
        self._heard = b""  # of a line that has not come in full

    @property
    def pid(self) -> int:
        """The process, 0 when none runs."""
        return self._process.pid if self._process else 0

    @property
    def ca_file(self) -> Path:
        """The certificate that its TLS is to be verified against; made by the exchange."""
        return self.directory / CA_FILE

    @property
    def api_file(self) -> Path:
        """The API key in the form that the pipeline reads; made by `start`."""
        return self.directory / API_FILE

    @property
    def key_file(self) -> Path:
        """The wallet key of the demo account, in hex; made by the exchange."""
        return self.directory / KEY_FILE

    def start(self, progress: Progress) -> None:
        """Start it and wait until it listens; raises its own words and exit code when it cannot."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        config = self.directory / "exchange.json"
        config.write_text(json.dumps(self._settings))
        with open(self.directory / "exchange.err", "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.sim.process", "--config", str(config)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        deadline = time.monotonic() + READY_S_MAX
        while True:
            event = self._next_event(deadline)
            if event.get("event") == "progress":
                progress(str(event["what"]), int(event["done"]), int(event["total"]))
            elif event.get("event") == "ready":
                self.urls = event["urls"]
                self._token = (self.directory / "control.token").read_text()
                write_api_file(self.directory)
                if self._process is not None and self._process.stdout is not None:
                    os.set_blocking(self._process.stdout.fileno(), False)
                return

    def account(self) -> dict[str, Any]:
        """Return address, wallet and signature type of the demo account."""
        return read_account(self.directory)

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask the control port; raises VenueError when the exchange does not answer."""
        try:
            return ask_control(self.urls["control"], self._token, method, path, body)
        except VenueError as problem:
            raise VenueError(f"{problem}; see {self.directory / 'exchange.err'}") from problem

    def take_events(self) -> list[dict[str, Any]]:
        """Return what it has told since the last call, without waiting; a full pipe would stop it."""
        if self._process is None or self._process.stdout is None:
            return []
        *lines, self._heard = (self._heard + (self._process.stdout.read() or b"")).split(b"\n")
        return [json.loads(line) for line in lines if line]

    def is_alive(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> dict[str, Any] | None:
        """End it and return its final report, None when it left none; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        if process.stdout is not None:
            process.stdout.close()
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        report = self.directory / "report.json"
        return json.loads(report.read_bytes()) if report.exists() else None

    def _next_event(self, deadline: float) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise EnvironmentProblem("run.exchange: the exchange is not running")
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        line = process.stdout.readline() if ready else b""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        code = process.poll() if ready else None
        if ready:
            code = process.wait(STOP_S_MAX)
        words = (self.directory / "exchange.err").read_text().strip().splitlines()
        said = words[-1].removeprefix("error: ") if words else "it did not become ready in time"
        problem = EnvironmentProblem(f"exchange: {said}")
        if code:
            problem.exit_code = code
        raise problem


def _account_file(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "api.json").read_text())
    return found


def pipeline_keys(directory: Path, urls: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return, by section, what a pipeline must be configured with to trade on the exchange of this folder."""
    account = read_account(directory)
    return {
        "venues.polymarket": {
            "clob_url": urls["clob_tls"], "gamma_url": urls["gamma_tls"],
            "market_ws_url": urls["ws_market_tls"], "user_ws_url": urls["ws_user_tls"],
            "geoblock_url": urls["clob_tls"] + GEOBLOCK,
            "data_url": urls["data_tls"],
            "tls_ca_file": str(directory / CA_FILE),
        },
        "accounts.main": {
            "address": account["address"], "maker": account["wallet"],
            "signature_type": account["signature_type"],
            "key_file": str(directory / KEY_FILE), "api_file": str(directory / API_FILE),
        },
    }


def read_account(directory: Path) -> dict[str, Any]:
    """Return address, wallet and signature type of the demo account of an exchange that is ready."""
    found = _account_file(directory)
    return {name: found[name] for name in ("address", "wallet", "signature_type")}


def write_api_file(directory: Path) -> None:
    """Write the API key in the form that the pipeline reads, for its owner alone."""
    found = _account_file(directory)
    descriptor = os.open(directory / API_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w") as file:
        keys = {name: found[name] for name in ("secret", "passphrase")}
        json.dump({"api_key": found["apiKey"], **keys}, file)


def fault_words(event: dict[str, Any]) -> str:
    """Return a "fault" event of the exchange as one line for people."""
    what, note = event["what"], f" ({event['note']})" if event["note"] else ""
    times = f", {event['count']} hits" if what == "ends" and event["count"] else ""
    return f"fault {event['name']} ({event['kind']}) {what}{times}{note if what != 'ends' else ''}"


def cpu_of_exchange(lane_cpus: list[int]) -> int:
    """Return the CPU that the exchange shares: the last one of the run, away from the chain."""
    return max(lane_cpus, default=max(os.sched_getaffinity(0)))
