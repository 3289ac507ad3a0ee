"""Session rules for every test: tiers, seconds per folder, skips counted by category, the closing line.

Reads PM_TIER (commit, gate, soak), PM_FRESH_SEED. Ends every session with `skipped: n recordings, n servers`.
A skip fails the session when ../shared is there; so does a commit tier that takes more than 15 minutes.
"""

from __future__ import annotations

import collections
import time
from pathlib import Path

import pytest

from tests.shared import ROOT, SHARED, fresh_seed, tier

COMMIT_SECONDS_MAX = 15 * 60
CATEGORIES = ("recordings", "servers")


class Ledger:
    """What a session spent per folder and what it skipped, and whether that is allowed."""

    def __init__(self, has_shared: bool, tier_name: str) -> None:
        self.has_shared = has_shared
        self.tier_name = tier_name
        self.began_s = time.monotonic()
        self.seconds: collections.Counter[str] = collections.Counter()  # of tests/<folder>
        self.tests: collections.Counter[str] = collections.Counter()
        self.skips: collections.Counter[str] = collections.Counter()  # by category
        self.other_reasons: list[str] = []

    def add(self, nodeid: str, phase: str, duration_s: float) -> None:
        """Book one phase (setup, call, teardown) of one test."""
        parts = Path(nodeid.partition("::")[0]).parts
        folder = parts[1] if len(parts) > 2 else parts[0]
        self.seconds[folder] += duration_s  # type: ignore[assignment]  # a Counter adds floats as well
        self.tests[folder] += phase == "setup"

    def add_skip(self, nodeid: str, reason: str) -> None:
        """Book one skip under the category that its reason names first."""
        category = reason.removeprefix("Skipped: ").partition(":")[0]
        if category in CATEGORIES:
            self.skips[category] += 1
        else:
            self.other_reasons.append(f"{nodeid}: {reason}")

    def failures(self, elapsed_s: float) -> list[str]:
        """Return why this session fails although its tests passed; [] when it does not."""
        found = []
        skipped = sum(self.skips.values()) + len(self.other_reasons)
        if skipped and self.has_shared:
            found.append(f"{skipped} skipped although ../shared is there: nothing may be skipped then")
        if self.tier_name == "commit" and elapsed_s > COMMIT_SECONDS_MAX:
            found.append(f"the commit tier took {elapsed_s:.0f} s, at most {COMMIT_SECONDS_MAX} s are allowed")
        return found

    def closing_line(self) -> str:
        """Return the line that a session ends with."""
        return "skipped: " + ", ".join(f"{self.skips[name]} {name}" for name in CATEGORIES)


LEDGER = pytest.StashKey[Ledger]()
RAN = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Open the session's ledger."""
    config.stash[LEDGER] = Ledger(SHARED.is_dir(), tier())


def pytest_report_header() -> list[str]:
    """Say what decides this session's counts, and how to repeat it."""
    seed = fresh_seed()
    return [f"tier: {tier()}; fresh seed: {seed} (repeat with PM_FRESH_SEED={seed}); "
            f"recordings: {'found' if SHARED.is_dir() else 'absent'}; root: {ROOT.name}"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Book each phase's time and each skip."""
    report: pytest.TestReport = yield
    ledger = item.config.stash[LEDGER]
    ledger.add(item.nodeid, report.when, report.duration)
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        ledger.add_skip(item.nodeid, reason)
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Refuse a file that skips itself as a whole: its tests would vanish uncounted."""
    if report.skipped:
        raise pytest.UsageError(f"{report.nodeid}: mark the tests that need something, do not skip the module")


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
    """Print the closing line, after pytest's own last one."""
    if config.stash.get(RAN, False):
        print(config.stash[LEDGER].closing_line())
