"""pipeline.cli: help at once and readable, every end in one line and its documented code."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Kind
from pipeline.native.log import LogWriter
from pipeline.records import LAYOUT_HASH, LAYOUT_VERSION
from pipeline.shm.memory import build_id
from tests.cli_runs import command, one_line, pm
from tests.shared import ROOT

COMMANDS = (
    "demo", "run", "status", "halt", "resume", "inspect", "explain", "recycle", "logs", "connect", "doctor",
    "config", "config check")

SIGNALLED = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass
except SWALLOWED:
    pass
"""
CALL_MAIN = """
import sys, types
sys.path.insert(0, sys.argv[1])
import app
sys.modules["pipeline.cli.app"] = app  # commands are not what this is about
from pipeline.cli import main
main()
"""


def ticks(directory: Path, count: int) -> Path:
    """Write a log of this many ticks."""
    directory.mkdir()
    writer = LogWriter(directory, directory.name, 65_536)
    for number in range(count):
        assert writer.push(CODECS[Kind.TICK].pack(tick_count=number))
    writer.close()
    return directory


def test_help_appears_at_once() -> None:
    """pm --help takes less than 1 s of CPU, loads nothing of the pipeline, and names every command."""
    before = os.times()
    done = pm("--help")
    after = os.times()
    assert (0, "") == (done.returncode, done.stderr)
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.0
    for name in COMMANDS:
        assert f"  {name.split()[0]} " in done.stdout
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pipeline.cli.app, sys; print(*sorted(m for m in sys.modules if 'pipeline' in m))",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    ours = [name for name in loaded if not name.startswith("__editable__")]  # how pip finds a checkout
    commands = [f"pipeline.cli.{name}" for name in ("app", "options", "rehearsal", "setup")]
    assert ["pipeline", "pipeline.cli", *commands, "pipeline.errors"] == ours


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_is_for_people(name: str) -> None:
    """Usage, a sentence, options with names for their values; no Python type anywhere."""
    done = pm(*name.split(), "--help")
    assert 0 == done.returncode
    assert done.stdout.startswith(f"Usage: pm {name} ")
    for word in ("list[", "<str>", "<path>", "<int", "None"):
        assert word not in done.stdout.replace("ID <str>", "").replace("REASON <str>", "").replace(
            "LOG <path>", ""
        )
    options = [line for line in done.stdout.splitlines() if line.startswith("  --")]
    assert options
    assert all(len(line.split("  ")) > 2 or len(line) > 24 for line in options)


def test_version_says_what_is_installed() -> None:
    """One line: version, build of the native modules, record layout, Python."""
    done = pm("--version")
    assert (0, "", 1) == (done.returncode, done.stderr, len(done.stdout.splitlines()))
    assert re.fullmatch(
        rf"pm-pipeline \d+\.\d+\.\d+, build {build_id():016x}, layout {LAYOUT_VERSION} "
        rf"\({LAYOUT_HASH:016x}\), Python {platform.python_version()}\n", done.stdout)


def test_without_arguments_it_shows_help() -> None:
    """pm alone is a wrong call (2) that is answered with the help."""
    done = pm()
    assert 2 == done.returncode
    assert done.stdout.startswith("Usage: pm ")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("statsu",), "status"),
        (("inspect",), "LOG"),
        (("halt",), "REASON"),
        (("run",), "--config"),
        (("status", "--jsn"), "--json"),
        (("inspect", "x", "--from", "-1"), "--from"),
    ],
)
def test_wrong_call_is_one_line(arguments: tuple[str, ...], word: str) -> None:
    """A wrong call is exit 2, one line, and names what is wrong or near."""
    done = pm(*arguments)
    assert 2 == done.returncode
    assert word in one_line(done)
    assert "--help says more" in done.stderr


def test_broken_pipe_is_silent(tmp_path: Path) -> None:
    """pm inspect | head -1: nothing on stderr, the code of a program that SIGPIPE ended."""
    log = ticks(tmp_path / "log", 20_000)
    with subprocess.Popen(
        command("inspect", log, "--count", 0), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b" tick" in process.stdout.readline()
        process.stdout.close()
        assert (b"", 141) == (process.stderr.read(), process.wait(20))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_end_any_command_in_one_line(number: int, code: int, tmp_path: Path) -> None:
    """A signal in the middle of a command: one line, its code, no traceback."""
    log = ticks(tmp_path / "log", 20_000)
    process = subprocess.Popen(
        command("inspect", log, "--count", 0),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert " tick" in process.stdout.readline()  # it is at work, and the full pipe keeps it there
    begun = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert ("pm: stopped\n", code) == (errors, process.returncode)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("swallows", ["BaseException", "no"])
def test_a_signal_while_modules_load_is_not_lost(swallows: str, tmp_path: Path) -> None:
    """A module that swallows what is raised in it does not swallow the stop."""
    fake = tmp_path / "typer"  # the first module that a command loads
    fake.mkdir()
    (fake / "__init__.py").write_text(SIGNALLED.replace("SWALLOWED", swallows if swallows != "no" else "()"))
    (fake / "exceptions.py").write_text("class TyperException(Exception): pass")
    (fake / "main.py").write_text(
        "import time\ndef get_command(app):\n    time.sleep(30)\n    raise SystemExit(99)\n")
    (tmp_path / "app.py").write_text("app = None\n")
    done = subprocess.run(
        [sys.executable, "-c", CALL_MAIN, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False)
    assert (143, "pm: stopped\n") == (done.returncode, done.stderr)


def test_a_bug_is_one_line_and_exit_1() -> None:
    """What nobody expected names itself and the place; PM_TRACEBACK=1 shows all of it."""
    script = "import pipeline.cli.status as s, pipeline.cli as c\ns.show_status = lambda *_: 1 // 0\nc.main()"
    for switch, is_short in (("", True), ("1", False)):
        done = subprocess.run(
            [sys.executable, "-c", script, "status"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PM_TRACEBACK": switch},
        )
        assert 1 == done.returncode
        assert is_short == ("Traceback" not in done.stderr)
        if is_short:
            assert done.stderr.startswith("pm: unexpected ZeroDivisionError: ")
            assert 1 == len(done.stderr.splitlines())


def test_inspect_prints_records(tmp_path: Path) -> None:
    """Words and JSON tell the same records, from a position on, of the kinds asked for."""
    log = ticks(tmp_path / "log", 50)
    words = pm("inspect", log, "--from", 10, "--count", 5).stdout.splitlines()
    assert ["tick_count=10", "tick_count=14"] == [words[0].split()[-1], words[-1].split()[-1]]
    rows = pm("inspect", log, "--kind", "tick", "--count", 0, "--json").stdout.splitlines()
    assert 50 == len(rows)
    assert "" == pm("inspect", log, "--kind", "fill").stdout
    assert "one of" in one_line(pm("inspect", log, "--kind", "tock"))
