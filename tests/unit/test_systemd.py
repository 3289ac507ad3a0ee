"""Units, deploy script and operations chapter against the program: what they promise of each other holds.

What only a service manager can show is shown by systemd/fresh-box-check.sh on a fresh machine.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.main import get_command

from pipeline import errors
from pipeline.cli.app import app
from pipeline.config.load import load
from pipeline.config.supervision import Supervision
from pipeline.errors import PipelineError
from pipeline.run import stopping, supervisor
from pipeline.run.exchange_service import PORTS, ExchangeOptions
from tests.shared import ROOT
from tests.tidy.test_docs_run import blocks

UNITS = ROOT / "systemd"
Unit = list[tuple[str, str, str]]  # section, key, value; a key may come again
SECONDS = {"s": 1, "min": 60}


def read(name: str) -> Unit:
    """Return every setting of a unit file; a line that is none fails."""
    found: Unit = []
    section = ""
    for line in (UNITS / name).read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if head := re.fullmatch(r"\[(Unit|Service|Install)\]", line):
            section = head[1]
            continue
        pair = re.fullmatch(r"([A-Z][A-Za-z]+)=(.*)", line)
        assert pair, f"{name}: {line!r} is no setting"
        assert section, f"{name}: {line!r} stands before the first section"
        found.append((section, pair[1], pair[2]))
    return found


def values(unit: Unit, key: str) -> list[str]:
    return [value for _, name, value in unit if name == key]


def one(unit: Unit, key: str) -> str:
    (value,) = values(unit, key)
    return value


def seconds(text: str) -> int:
    number, word = re.fullmatch(r"(\d+)(s|min)", text).groups()  # type: ignore[union-attr]
    return int(number) * SECONDS[word]


@pytest.fixture
def pipeline_unit() -> Unit:
    return read("pm-pipeline.service")


@pytest.mark.parametrize("name", ["pm-pipeline.service", "pm-exchange.service"])
def test_commands_of_units_are_commands_of_ours(name: str) -> None:
    """ExecStart names a command and options that exist, also with what the environment file adds."""
    words = shlex.split(one(read(name), "ExecStart"))
    assert words[0].endswith("/.venv/bin/pm-pipeline")
    more = ["--config", "more.toml", "--topology", "4core"]
    added = {"$PM_OPTIONS": more, "$PM_ONCE": ["--recover-from-venue"]}
    arguments = [word for raw in words[2:] for word in added.get(raw, [raw])]
    command = get_command(app).commands[words[1]]  # type: ignore[attr-defined]
    context = command.make_context(words[1], arguments)
    assert not context.args
    if name == "pm-pipeline.service":
        assert ["state_dir=/var/lib/pm-pipeline/state"] == context.params["set_"]
        assert context.params["recover_from_venue"]
        assert 2 == len(context.params["config"])


def test_no_restart_where_it_cannot_help(pipeline_unit: Unit) -> None:
    """Usage, configuration, risk and data stay failed; environment, venue and bugs are tried again."""
    codes = {
        kind.exit_code for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, PipelineError)
    }
    assert {1, 2, 3, 4, 5, 6, 7} == codes
    assert {"2", "3", "6", "7"} == set(one(pipeline_unit, "RestartPreventExitStatus").split())
    assert "on-failure" == one(pipeline_unit, "Restart")
    tries_s = seconds(one(pipeline_unit, "RestartSec")) * int(one(pipeline_unit, "StartLimitBurst"))
    assert tries_s < seconds(one(pipeline_unit, "StartLimitIntervalSec")), "the limit could never be reached"


def test_times_of_the_unit_leave_room_for_ours(pipeline_unit: Unit) -> None:
    """A start and a stop that take their longest are not killed half way; stalled lanes die before we do."""
    assert seconds(one(pipeline_unit, "TimeoutStartSec")) > supervisor.START_S_MAX
    assert seconds(one(pipeline_unit, "TimeoutStopSec")) > 2 * (stopping.CANCEL_S_MAX + supervisor.STOP_S_MAX)
    assert seconds(one(pipeline_unit, "WatchdogSec")) / 2 >= Supervision().stall_kill_s


def test_hardening_spares_what_lanes_need(pipeline_unit: Unit) -> None:
    """Shared memory, pinning, locking and real time stay possible; everything else is closed."""
    keys = {key for _, key, _ in pipeline_unit}
    assert not {"PrivateIPC", "RestrictRealtime", "CPUAffinity", "DynamicUser", "PrivateDevices"} & keys
    assert ("infinity", "1", "mixed") == (
        one(pipeline_unit, "LimitMEMLOCK"), one(pipeline_unit, "LimitRTPRIO"), one(pipeline_unit, "KillMode"))
    assert ("notify", "main") == (one(pipeline_unit, "Type"), one(pipeline_unit, "NotifyAccess"))
    assert ["pm-pipeline", ""] == [one(pipeline_unit, "User"), one(pipeline_unit, "CapabilityBoundingSet")]
    assert "strict" == one(pipeline_unit, "ProtectSystem")
    assert "yes" == one(pipeline_unit, "NoNewPrivileges")


def test_exchange_has_the_ports_of_the_demo() -> None:
    """config/demo.toml finds the exchange where its unit's default puts it."""
    venue = tomllib.loads((ROOT / "config" / "demo.toml").read_text())["venues"]["polymarket"]
    ports = ExchangeOptions(Path("unused")).settings()["ports"]
    assert list(PORTS) == list(ports)
    assert ports["clob_tls"] == urlsplit(venue["clob_url"]).port == urlsplit(venue["user_ws_url"]).port
    assert ports["clob_tls"] == urlsplit(venue["market_ws_url"]).port
    assert ports["gamma_tls"] == urlsplit(venue["gamma_url"]).port
    assert "--port" not in one(read("pm-exchange.service"), "ExecStart")


def test_every_command_of_the_chapter_is_run_by_the_box() -> None:
    """Each line of a `sh box` fence stands in the check that runs on a fresh machine, word for word."""
    chapter = blocks((UNITS / "README.md").read_text())
    assert {"sh box", "text"} >= {language for language, _ in chapter}
    typed = [line.strip() for language, body in chapter if language == "sh box" for line in body.splitlines()]
    run = {line.strip() for line in (UNITS / "fresh-box-check.sh").read_text().splitlines()}
    assert len(typed) > 10
    assert [] == [line for line in typed if line and line not in run]


def test_chapter_units_and_script_name_the_same_places() -> None:
    """State, configuration and code are where the chapter says, in all files."""
    texts = {path.name: path.read_text() for path in UNITS.iterdir() if path.is_file()}
    for place in ("/var/lib/pm-pipeline/state", "/etc/pm-pipeline", "/opt/pm-pipeline"):
        for name in ("README.md", "pm-pipeline.service", "deploy.sh", "fresh-box-check.sh"):
            assert place in texts[name], f"{name} does not name {place}"
    for path in (UNITS / "deploy.sh", UNITS / "fresh-box-check.sh"):
        assert os.access(path, os.X_OK)


def test_scripts_are_scripts() -> None:
    """Both parse; a word that deploy.sh does not know is exit 2 before anything is touched."""
    for shell, name in (("sh", "deploy.sh"), ("bash", "fresh-box-check.sh")):
        done = subprocess.run([shell, "-n", UNITS / name], capture_output=True, text=True, check=False)
        assert (0, "") == (done.returncode, done.stderr)
    done = subprocess.run(
        ["sh", UNITS / "deploy.sh", "--demo", "--wrong"], capture_output=True, text=True, check=False)
    assert (2, "") == (done.returncode, done.stdout)
    assert 'no argument or --demo expected, was "--wrong"' in done.stderr


def test_service_state_is_named_once(tmp_path: Path) -> None:
    """The installed `pm` names the service's state in PM_STATE; --state still wins."""
    environment = {**os.environ, "PM_STATE": str(tmp_path / "service")}
    for more, expected in (([], "service"), (["--state", str(tmp_path / "other")], "other")):
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "status", *more],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert 4 == done.returncode
        assert f"state directory {tmp_path / expected} does not exist" in done.stderr


@pytest.mark.parametrize("name", ["demo", "paper"])
def test_what_deploy_installs_is_a_configuration(name: str, tmp_path: Path) -> None:
    """The template and the section that deploy.sh puts behind it go together; the metrics' port is fixed."""
    script = (UNITS / "deploy.sh").read_text()
    pattern = re.compile(r"put pipeline\.toml <<TOML\n\$\(cat [^)]+\)\n(.*?)^TOML$", re.DOTALL | re.MULTILINE)
    (behind,) = pattern.findall(script)
    installed = tmp_path / "pipeline.toml"
    installed.write_text((ROOT / "config" / f"{name}.toml").read_text() + behind)
    assert 9464 == load([installed]).metrics.port
    assert "http://127.0.0.1:9464/metrics" in (UNITS / "README.md").read_text()
