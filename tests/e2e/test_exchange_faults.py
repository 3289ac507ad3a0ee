"""pm exchange --faults over real sockets: cut, late and frozen as the file says, told and reported."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from pipeline.run.exchange import ExchangeProcess, fault_words
from tests.cli_runs import command, one_line, pm, until
from tests.shared import ROOT

pytestmark = pytest.mark.timeout(180)
FILE = """
[[fault]]
name = "cut"
kind = "cut_before"
count_max = 1
routes = ["GET /time"]

[[fault]]
name = "late"
kind = "slow_answer"
delay_ms = 300
count_max = 1
routes = ["GET /time"]

[[fault]]
name = "freeze"
kind = "freeze"
"""


class Exchange:
    """One `pm exchange --faults` in the background; its lines are read at the end."""

    def __init__(self, directory: Path, faults: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            command("exchange", "--dir", directory, "--json", "--port", 0, "--faults", faults),
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        assert self.process.stdout is not None
        self.urls: dict[str, str] = json.loads(self.process.stdout.readline())["urls"]
        self.tls = ssl.create_default_context(cafile=str(directory / "ca.pem"))

    def connect(self, service: str) -> http.client.HTTPConnection:
        parts = urlsplit(self.urls[service])
        if parts.scheme == "https":
            return http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=30, context=self.tls)
        return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)

    def control(self, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        """Ask the control port, as an operator's script does."""
        connection = self.connect("control")
        token = (self.directory / "control.token").read_text()
        try:
            connection.request(method, path, json.dumps(value), {"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def stop(self) -> list[dict[str, Any]]:
        """End it; return what it told."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        said, errors = self.process.communicate(timeout=60)
        assert (0, "") == (self.process.returncode, errors)
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    (tmp_path / "faults.toml").write_text(FILE)
    found = Exchange(tmp_path / "exchange", tmp_path / "faults.toml")
    yield found
    found.process.kill()
    found.process.communicate()


def test_faults_begin_by_name_and_are_told(exchange: Exchange) -> None:
    """A cut ends the connection unanswered; a late answer holds what is pipelined behind it."""
    assert 200 == exchange.control("POST", "/control/fault", {"name": "cut"})[0]
    connection = exchange.connect("clob_tls")
    connection.request("GET", "/time")
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()

    exchange.control("POST", "/control/fault", {"name": "late"})
    connection = exchange.connect("clob")
    connection.connect()
    asked = time.monotonic()
    connection.sock.sendall(b"GET /time HTTP/1.1\r\nhost: x\r\n\r\n" * 2)
    found = b""
    while found.count(b"HTTP/1.1 200 OK") < 2:
        found += connection.sock.recv(65_536)
        assert time.monotonic() - asked >= 0.3  # the second request waits for the first one's answer
    connection.close()

    status, refused = exchange.control("POST", "/control/fault", {"name": "nobody"})
    assert (400, True) == (status, "cut, late, freeze" in refused["error"])
    new = {"name": "new", "kind": "unauthorized", "for_s": 60}
    status, row = exchange.control("POST", "/control/fault", new)
    assert (200, True) == (status, row["is_active"])
    told = [(event["what"], event["name"]) for event in exchange.stop() if event["event"] == "fault"]
    assert [
        ("begins", "cut"), ("hits", "cut"), ("begins", "late"), ("hits", "late"), ("begins", "new"),
    ] == told  # fmt: skip
    report = json.loads((exchange.directory / "report.json").read_text())
    counts = {row["name"]: row["count"] for row in report["faults"]}
    assert {"cut": 1, "late": 1, "freeze": 0, "new": 0} == counts


def test_a_frozen_socket_answers_pings_and_nothing_else(exchange: Exchange) -> None:
    """Data came, then none comes, PONG does; a socket that is opened now gets its books."""

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{exchange.urls['gamma']}/markets?closed=false&limit=20") as answer:
                rows = await answer.json()
            tokens = [token for row in rows for token in json.loads(row["clobTokenIds"])]
            subscribe = json.dumps({"type": "market", "assets_ids": tokens})
            async with session.ws_connect(exchange.urls["ws_market"], max_msg_size=1 << 23) as old:
                await old.send_str(subscribe)
                while "price_changes" not in await old.receive_str(timeout=30):
                    pass
                exchange.control("POST", "/control/fault", {"name": "freeze"})
                await drained(old)
                async with session.ws_connect(exchange.urls["ws_market"], max_msg_size=1 << 23) as new:
                    await new.send_str(subscribe)
                    for _ in range(50):  # the flow goes on all the while
                        await new.receive_str(timeout=30)
                await old.send_str("PING")
                assert "PONG" == await old.receive_str(timeout=30)

    async def drained(ws: aiohttp.ClientWebSocketResponse) -> None:
        """Read what was on its way: everything in front of the PONG to a PING that is sent now."""
        await ws.send_str("PING")
        while await ws.receive_str(timeout=30) != "PONG":
            pass

    asyncio.run(run())
    (row,) = [row for row in exchange.control("GET", "/control/faults")[1] if row["name"] == "freeze"]
    assert row["count"] > 10


def test_the_demo_hears_each_fault_without_waiting(tmp_path: Path) -> None:
    """What the demo shows comes from the exchange's own lines, which are read while it runs."""
    (tmp_path / "faults.toml").write_text(
        '[[fault]]\nname = "down"\nkind = "mode"\nmode = "disabled"\nat_s = 0\nfor_s = 0.3\n')
    process = ExchangeProcess(
        tmp_path / "exchange", {"markets": 1, "planted_events": 1, "faults": str(tmp_path / "faults.toml")})
    words: list[str] = []
    try:
        process.start(lambda what, done, total: None)
        assert [] == process.take_events()
        process.control("POST", "/control/start")
        until(lambda: words.extend(map(fault_words, process.take_events())) or len(words) == 3, "three lines")
        assert "running" == process.control("GET", "/control/report")["modes"][-1][1]
    finally:
        process.stop()

    assert [
        "fault down (mode) begins", "fault down (mode) hits (disabled)", "fault down (mode) ends, 1 hits",
    ] == words  # fmt: skip
    assert [] == process.take_events()


@pytest.mark.parametrize("which", ["exchange", "demo"])
def test_a_bad_file_is_one_line_and_exit_3(which: str, tmp_path: Path) -> None:
    """Both commands refuse it before anything trades."""
    path = tmp_path / "faults.toml"
    path.write_text('[[fault]]\nname = "x"\nkind = "freze"\n')
    more = ("--dir", tmp_path / "exchange", "--port", 0) if which == "exchange" else ("--seconds", 2)
    done = pm(which, *more, "--faults", path)

    assert 3 == done.returncode
    assert "did you mean freeze?" in one_line(done)
