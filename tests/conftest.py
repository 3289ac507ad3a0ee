"""Session rules for every test: tiers, seconds per folder, skips counted by category, the closing line.

Reads PM_TIER (commit, gate, soak), PM_FRESH_SEED. Ends every session with `skipped: n recordings, n servers`.
A skip fails the session when ../shared is there; so does a commit tier that takes more than 15 minutes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.shared import SHARED, fresh_seed, tier
from tests.tools.faultrows import GateBook
from tests.tools.ledger import Ledger
from tests.tools.turns import Turns

LEDGER = pytest.StashKey[Ledger]()
RAN = pytest.StashKey[bool]()
#: Files whose tests judge how soon something happens under load: nothing else runs meanwhile, in no worker.
ALONE = ("test_PR01_kills.py",)
GATE_BOOK = pytest.StashKey[GateBook]()
TURNS = pytest.StashKey[Turns]()
TURNS_FOLDER = "PM_TEST_TURNS"  # in the environment, so that all workers meet at the same place


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this session is one of several workers of another one."""
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Open the session's ledger and the book of proven fault rows."""
    fresh_seed()  # before worker processes begin: they collect the same tests
    config.stash[LEDGER] = Ledger(SHARED.is_dir(), tier())
    config.pluginmanager.register(Booking(config), "booking")
    if not is_worker(config):
        os.environ[TURNS_FOLDER] = tempfile.mkdtemp(prefix="pm-turns-")
    shared = Path(os.environ[TURNS_FOLDER])
    config.stash[TURNS] = Turns(shared)
    config.stash[GATE_BOOK] = GateBook(shared)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test when it is its turn; the wait counts against no limit of the test."""
    with item.config.stash[TURNS].take(item.path.name in ALONE):
        return (yield)


@pytest.fixture
def gate_record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Give `record(row, what, count, seed=None)`: call it after a fault test's last assertion.

    In tier gate it goes to tests/gate.json (row, count, seeds, commit, date); other tiers write nothing.
    """
    return request.config.stash[GATE_BOOK].add


def pytest_report_header() -> list[str]:
    """Say what decides this session's counts, and how to repeat it."""
    seed = fresh_seed()
    found = "found" if SHARED.is_dir() else "absent"
    return [f"tier: {tier()}; fresh seed: {seed} (PM_FRESH_SEED={seed} repeats it); recordings: {found}"]


class Booking:
    """Books each phase's time and each skip, in the process that collects what the workers tell."""

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._ledger = config, config.stash[LEDGER]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Book one phase of one test; name a failure at once: a session cut short has no summary."""
        self._ledger.add(report.nodeid, report.when, report.duration)
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None and not is_worker(self._config):
            crash = getattr(report.longrepr, "reprcrash", None)
            terminal.ensure_newline()
            why = str(crash or report.longrepr)[:400]
            terminal.write_line(f"FAILED {report.when} of {report.nodeid}: {why}")
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self._ledger.add_skip(report.nodeid, reason)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Book a file that skips itself as a whole: its tests would vanish uncounted."""
        if report.skipped:
            self._ledger.add_skip(report.nodeid, f"whole file skipped: {report.longrepr}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print seconds per folder and what else fails the session."""
    ledger = terminalreporter.config.stash[LEDGER]
    elapsed_s = time.monotonic() - ledger.began_s
    if ledger.tests:
        terminalreporter.section("seconds per folder")
        for folder, seconds in sorted(ledger.seconds.items()):
            terminalreporter.line(f"{folder:<12} {seconds:8.1f} s  {ledger.tests[folder]:6} tests")
        terminalreporter.line(f"{'all':<12} {elapsed_s:8.1f} s  {sum(ledger.tests.values()):6} tests")
    for reason in ledger.other_reasons:
        terminalreporter.line(f"skipped for another reason: {reason}")
    for failure in ledger.failures(elapsed_s):
        terminalreporter.line(f"FAILED session: {failure}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn forbidden skips and a spent budget into a failing exit status."""
    session.config.stash[RAN] = not session.config.option.collectonly
    ledger = session.config.stash[LEDGER]
    if session.exitstatus == pytest.ExitCode.OK and ledger.failures(time.monotonic() - ledger.began_s):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Print the closing line, after pytest's own last one; the folder of the turns goes with the session."""
    config.stash[TURNS].close()
    if is_worker(config):
        return
    shutil.rmtree(os.environ.pop(TURNS_FOLDER), ignore_errors=True)
    if config.stash.get(RAN, False):
        print(config.stash[LEDGER].closing_line())
