"""pm run under a service manager: what it tells, when, and what a lane that stands does to the watchdog."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli_runs import Market, command, processes_of, segments_of, until
from tests.shared import ROOT

pytestmark = pytest.mark.timeout(180)
NAME = "service"
WATCHDOG_USEC = 2_000_000


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("market"), NAME)
    yield found
    found.close()


class Service:
    """`pm run` as a service manager starts it: with a socket for its words and a watchdog."""

    def __init__(self, market: Market, directory: Path) -> None:
        self.state = directory / "state"
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(directory / "notify"))
        self._socket.setblocking(False)
        self.process = subprocess.Popen(
            command("run", "--config", market.config, "--set", f"state_dir={self.state}", "--json"),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={
                **os.environ, "NOTIFY_SOCKET": str(directory / "notify"),
                "WATCHDOG_USEC": str(WATCHDOG_USEC),
            })

    def listen(self) -> list[str]:
        """Return everything that was heard so far."""
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def pets(self) -> int:
        return self.listen().count("WATCHDOG=1")

    def lane(self, name: str) -> int:
        """Return the pid of a lane, as its command line says."""
        for pid in processes_of(self.state):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if name.encode() in words[1:]:
                return pid
        raise AssertionError(f"lane {name} does not run")

    def close(self) -> None:
        self.process.terminate()  # a kill would leave its shared memory to nobody
        self.process.communicate(timeout=60)
        self._socket.close()


@pytest.fixture
def service(market: Market, tmp_path: Path) -> Iterator[Service]:
    found = Service(market, tmp_path)
    yield found
    found.close()
    until(lambda: not processes_of(found.state) and not segments_of(NAME, found.state), "nothing to be left")


def test_manager_hears_start_life_and_end(service: Service) -> None:
    """READY comes when all lanes run, then pets and a status, STOPPING before the end; exit 0."""
    until(lambda: "READY=1" in service.listen(), "READY")
    assert service.process.stdout is not None
    up: dict[str, Any] = json.loads(service.process.stdout.readline())
    assert {"core", "signer", "gateway", "account", "back"} & set(up["lanes"])
    until(lambda: service.pets() >= 2, "two pets")
    status = next(line for line in service.listen() if line.startswith("STATUS="))
    assert status == f"STATUS=mode dry, halt H0, lanes {', '.join(up['lanes'])}"
    service.process.send_signal(signal.SIGTERM)
    said, errors = service.process.communicate(timeout=30)
    assert (0, "SIGTERM") == (service.process.returncode, json.loads(said)["signal"])
    heard = service.listen()
    assert ["READY=1", "STOPPING=1"] == [heard[0], heard[-1]]
    warnings = errors.splitlines()
    assert len(warnings) == bool(up["memory_not_locked"])  # one warning where the machine refuses, else none
    assert all("is not locked" in line for line in warnings)
    assert [] == segments_of(NAME, service.state)


def test_lane_that_stands_ends_the_pets(service: Service) -> None:
    """A stopped process is alive to the supervisor, but its loop does not turn: no pet until it goes on."""
    until(lambda: service.pets() >= 1, "a pet")
    pid = service.lane("signer")
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: Path(f"/proc/{pid}/stat").read_text().split()[2] == "T", "the stop")
        quiet = service.pets() + 1  # one may be due for turns from before
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 1.5 * WATCHDOG_USEC / 1e6, "more than a period")
        assert service.pets() <= quiet
    finally:
        os.kill(pid, signal.SIGCONT)
    before = service.pets()
    until(lambda: service.pets() > before, "a pet after the lane went on")
