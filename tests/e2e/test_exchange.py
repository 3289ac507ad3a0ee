"""pm exchange as a real process: a pipeline trades on it, goes, comes again; it ends when it is told to."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cli_runs import Exchange, Run, one_line, pm, until
from tests.shared import ROOT

pytestmark = pytest.mark.timeout(180)
DEMO = ROOT / "config" / "demo.toml"


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[Exchange]:
    found = Exchange(tmp_path / "exchange", "--port", 0)
    yield found
    found.stop()


def test_pipeline_comes_and_goes_beside_it(exchange: Exchange, tmp_path: Path) -> None:
    """Two runs, one after the other, trade on one exchange with the demo's file and the one it wrote."""
    config = exchange.ready["config"]
    assert str(exchange.directory / "pipeline.toml") == config
    orders = 0
    for place in ("first", "second"):
        run = Run(
            DEMO, "--config", config, "--set", f"state_dir={tmp_path / place}", "--set", "name=exchanged",
            "--topology", "1core")
        try:
            assert "local" == run.up["mode"]
            until(lambda seen=orders: exchange.status()["orders"] > seen, "an order")
        finally:
            code, _, errors = run.stop()
        assert (0, "") == (code, errors)
        orders = exchange.status()["orders"]
    assert 0 == exchange.status()["open_orders"]
    code, said, errors = exchange.stop()
    assert (0, "") == (code, errors)
    assert "done" == json.loads(said.splitlines()[-1])["event"]
    report = json.loads((exchange.directory / "report.json").read_bytes())
    assert orders == report["tally"]["orders"] > 0


def test_keys_are_their_owners_alone(exchange: Exchange) -> None:
    """The folder and what is secret in it are closed to others; no proxy listens that nobody asked for."""
    assert "proxy" not in exchange.ready["urls"]
    assert "environment" not in exchange.ready
    assert not (exchange.directory / "hosts.env").exists()
    assert 0o700 == stat.S_IMODE(exchange.directory.stat().st_mode)
    for name in ("key.hex", "api-key.json", "control.token"):
        assert 0o600 == stat.S_IMODE((exchange.directory / name).stat().st_mode)


def five_ports() -> int:
    """Return the first of five free ports in a row."""
    while True:
        with ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                for place in range(1, 5):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port + place))
            except (OSError, OverflowError):
                continue
            return port


def test_ports_stay_over_a_restart(tmp_path: Path) -> None:
    """--port names five ports in a row; an exchange that is started again has them again."""
    port, names = five_ports(), ("clob_tls", "gamma_tls", "control", "clob", "proxy")
    found = []
    for _ in range(2):
        again = Exchange(tmp_path / "exchange", "--port", port, "--official-hosts")
        try:
            urls = again.ready["urls"]
            found.append([urlsplit(urls[name]).port for name in names])
        finally:
            assert 0 == again.stop()[0]
    assert [list(range(port, port + 5))] * 2 == found


def test_as_many_markets_as_asked_for_at_the_ports_that_it_prints(tmp_path: Path) -> None:
    """--generate 5 makes five binary markets, one of them v2; every address that it listens at is printed."""
    folder = tmp_path / "exchange"
    done = pm("exchange", "--dir", folder, "--port", 0, "--seconds", 1, "--generate", 5)
    markets = json.loads((folder / "report.json").read_bytes())["markets"]
    assert ["v1", "v2", "v1", "v1", "v1"] == [row["version"] for row in markets if not row["planted"]]
    rows = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    urls = json.loads((folder / "ready.json").read_bytes())["urls"]
    shown = {url for line in rows for url in line.split() if "://" in url}
    assert shown == {url for name, url in urls.items() if name != "control"}


def test_ends_by_itself_when_asked(tmp_path: Path) -> None:
    """--seconds ends it cleanly without a signal, and says where its report is.

    With --official-hosts two lines before it are the two variables, as in the file that `env` can read.
    """
    done = pm("exchange", "--dir", tmp_path / "exchange", "--port", 0, "--seconds", 1, "--official-hosts")
    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert ["HTTPS_PROXY", "SSL_CERT_FILE"] == [line.partition("=")[0] for line in lines[1:3]]
    assert f"SSL_CERT_FILE={tmp_path / 'exchange' / 'ca.pem'}" == lines[2]
    assert lines[1:3] == (tmp_path / "exchange" / "hosts.env").read_text().splitlines()
    assert f"its report: {tmp_path / 'exchange' / 'report.json'}" in done.stdout
    assert (tmp_path / "exchange" / "report.json").exists()


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    """Exit 4 says which port; nothing is left running."""
    port = five_ports()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        done = pm("exchange", "--dir", tmp_path / "exchange", "--port", port)
    assert 4 == done.returncode
    assert f"127.0.0.1:{port}" in one_line(done)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--feed", "nowhere.jsonl.zst"), 2, "nowhere.jsonl.zst does not exist"),
        (("--feed", __file__, "--generate", "3"), 2, "give one of the two"),
        (("--speed", "fast"), 2, "--speed is a number or max"),
        (("--speed", "-1"), 3, "speed in (0, 1000]"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: tuple[str, ...], code: int, words: str, tmp_path: Path
) -> None:
    """Nothing starts, and the line says what to give instead."""
    done = pm("exchange", "--dir", tmp_path / "exchange", "--port", 0, *arguments)
    assert code == done.returncode
    assert words in one_line(done)
    assert not os.path.exists(tmp_path / "exchange" / "ready.json")
