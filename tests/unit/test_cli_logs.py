"""pm logs: merged, filtered, followed over a rotation; one line and a code for everything that is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.shm import halt
from pipeline.store.events import DIRECTORY, EventLog
from tests.cli_runs import command, one_line, pm
from tests.shared import ROOT


class Clock:
    now_ns = 1_764_000_000 * 10**9

    def __call__(self) -> int:
        self.now_ns += 2 * 10**9
        return self.now_ns


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Give a state directory with the logs of two lanes: 3 events of `core`, 2 of `supervisor`."""
    halt.create(tmp_path)
    clock = Clock()
    core = EventLog(tmp_path / DIRECTORY, "core", "debug", clock=clock)
    boss = EventLog(tmp_path / DIRECTORY, "supervisor", clock=clock)
    core.debug("looked", stage="book", rows_count=3)
    boss.info("running", mode="dry")
    core.warning("stale", stage="book", cause="gap in \x1b[31mred", age_ms=12)
    boss.error("lane_died", of="core", words="exit code 9")
    core.info("up")
    core.close()
    boss.close()
    return tmp_path


def test_text_is_for_people(state: Path) -> None:
    """UTC time, level, lane, event, fields; text with blanks is quoted and no byte of it moves a terminal."""
    done = pm("logs", "--state", state)
    assert (0, "") == (done.returncode, done.stderr)
    stale = '2025-11-24 16:00:06.000000Z  warning  core        stale  stage=book '
    stale += 'cause="gap in \\u001b[31mred" age_ms=12'
    assert [
        "2025-11-24 16:00:02.000000Z  debug    core        looked  stage=book rows_count=3",
        "2025-11-24 16:00:04.000000Z  info     supervisor  running  mode=dry",
        stale,
        '2025-11-24 16:00:08.000000Z  error    supervisor  lane_died  of=core words="exit code 9"',
        "2025-11-24 16:00:10.000000Z  info     core        up",
    ] == done.stdout.splitlines()


@pytest.mark.parametrize(("arguments", "expected"), [
    (("--level", "warning"), ["stale", "lane_died"]),
    (("--level", "error"), ["lane_died"]),
    (("--lane", "core"), ["looked", "stale", "up"]),
    (("--lane", "core", "--lane", "supervisor", "-n", 2), ["lane_died", "up"]),
    (("--event", "up", "--event", "running"), ["running", "up"]),
    (("--event", "never"), []),
    (("-n", 1), ["up"]),
    (("-n", 0), ["looked", "running", "stale", "lane_died", "up"]),
])
def test_filters(state: Path, arguments: tuple[object, ...], expected: list[str]) -> None:
    """Level and graver, lanes, events, the newest N; --json is the line itself."""
    done = pm("logs", "--state", state, "--json", *arguments)
    assert (0, "") == (done.returncode, done.stderr)
    assert expected == [json.loads(line)["event"] for line in done.stdout.splitlines()]


def test_what_is_wrong_is_one_line(state: Path, tmp_path: Path) -> None:
    """No state, no log: 4. A lane or level that does not exist: 2, with those that do."""
    assert "core, supervisor" in one_line(done := pm("logs", "--state", state, "--lane", "cor"))
    assert 2 == done.returncode
    assert "debug, info" in one_line(done := pm("logs", "--state", state, "--level", "loud"))
    assert 2 == done.returncode
    for path in (state / DIRECTORY).iterdir():
        path.unlink()
    assert "no event log" in one_line(done := pm("logs", "--state", state))
    assert 4 == done.returncode
    assert 4 == pm("logs", "--state", tmp_path / "nowhere").returncode


def test_a_torn_line_is_told_and_passed_over(state: Path) -> None:
    """What a crash cut off is counted on stderr; all else is shown."""
    with open(state / DIRECTORY / "core.jsonl", "ab") as file:
        file.write(b'{"ts_ns":1\n')
    done = pm("logs", "--state", state)
    assert 5 == len(done.stdout.splitlines())
    assert "pm: 1 lines are no events and were left out\n" == done.stderr


def test_follow_goes_on_over_a_rotation_until_a_signal(state: Path) -> None:
    """What comes later is shown at once, from old lanes, new lanes and new files; Ctrl-C is 130."""
    process = subprocess.Popen(
        command("logs", "--state", state, "--follow", "-n", 1), cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().endswith("up\n")
    log = EventLog(state / DIRECTORY, "core", bytes_max=300, files_kept=20)
    for number in range(8):
        log.info("step", number=number)
    log.close()
    shown = [process.stdout.readline().split()[-1] for _ in range(8)]
    assert [f"number={number}" for number in range(8)] == shown
    fresh = EventLog(state / DIRECTORY, "edge")
    fresh.error("hello")
    fresh.close()
    assert "edge" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert ("pm: stopped\n", 130) == (errors, process.returncode)
