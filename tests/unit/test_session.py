"""Rules of a test session, the lock tool's choice of wheels, and the helpers that tests share."""

from __future__ import annotations

import itertools

import pytest

from tests.shared import fresh_seed, scaled, seeds, wait_until
from tests.tools.ledger import COMMIT_SECONDS_MAX, Ledger
from tests.tools.lock import package_lines, wheel_targets


def test_closing_line_counts_by_category() -> None:
    """The session ends with the counts of both categories; another reason is listed, not counted."""
    ledger = Ledger(has_shared=False, tier_name="commit")
    ledger.add_skip("a", "Skipped: recordings: ../shared is not there")
    ledger.add_skip("b", "recordings: x")
    ledger.add_skip("c", "Skipped: servers: no PostgreSQL")
    ledger.add_skip("d", "Skipped: needs two CPUs")
    assert "skipped: 2 recordings, 1 servers" == ledger.closing_line()
    assert ["d: Skipped: needs two CPUs"] == ledger.other_reasons
    assert [] == ledger.failures(1.0)


def test_a_skip_fails_only_beside_the_recordings() -> None:
    """With ../shared present, every skip fails the session, whatever its reason."""
    for reason in ("Skipped: recordings: x", "Skipped: servers: x", "Skipped: other"):
        ledger = Ledger(has_shared=True, tier_name="commit")
        assert [] == ledger.failures(1.0)
        ledger.add_skip("a", reason)
        assert ["1 skipped although ../shared is there: nothing may be skipped then"] == ledger.failures(1.0)


@pytest.mark.parametrize(
    ("tier_name", "elapsed_s", "count"),
    [
        ("commit", COMMIT_SECONDS_MAX, 0),
        ("commit", COMMIT_SECONDS_MAX + 1, 1),
        ("gate", COMMIT_SECONDS_MAX * 9, 0),
    ],
)
def test_only_the_commit_tier_has_a_budget(tier_name: str, elapsed_s: float, count: int) -> None:
    """15 minutes for a commit; gate and soak may take longer."""
    assert count == len(Ledger(True, tier_name).failures(elapsed_s))


def test_seconds_are_booked_by_folder() -> None:
    """A test's three phases count as one test of its folder."""
    ledger = Ledger(True, "commit")
    for name, phase in itertools.product(
        ("tests/unit/test_a.py::x", "tests/tidy/test_b.py::y[1/2]"), ("setup", "call")
    ):
        ledger.add(name, phase, 0.5)
    assert {"unit": 1.0, "tidy": 1.0} == ledger.seconds
    assert {"unit": 1, "tidy": 1} == ledger.tests


def test_seeds_are_fixed_ones_and_the_session_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last seed is new in each session, the same throughout it, and can be repeated."""
    assert [0, 1, 2, fresh_seed()] == seeds(4)
    monkeypatch.setenv("PM_FRESH_SEED", "77")
    assert [0, 77] == seeds(2)


@pytest.mark.parametrize(("tier_name", "expected"), [("", 1), ("commit", 1), ("gate", 20), ("soak", 20)])
def test_counts_follow_the_tier(monkeypatch: pytest.MonkeyPatch, tier_name: str, expected: int) -> None:
    """The default is the commit tier; soak runs the gate's count unless it has its own."""
    monkeypatch.setenv("PM_TIER", tier_name)
    assert expected == scaled(1, 20)
    assert (50 if tier_name == "soak" else expected) == scaled(1, 20, 50)


def test_an_unknown_tier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo must not silently run the small counts."""
    monkeypatch.setenv("PM_TIER", "gates")
    with pytest.raises(pytest.UsageError, match="PM_TIER is one of commit, gate, soak, was 'gates'"):
        scaled(1, 20)


def test_waiting_ends_with_the_condition_or_fails() -> None:
    """A condition that comes true ends the wait; one that never does fails the test and says what it was."""
    calls = itertools.count()
    wait_until(lambda: next(calls) == 3)
    assert 4 == next(calls)
    with pytest.raises(pytest.fail.Exception, match=r"the moon was not true within 0.01 s"):
        wait_until(lambda: False, 0.01, "the moon")


ALL = {(machine, python) for machine in ("x86_64", "aarch64") for python in ("3.11", "3.12", "3.13", "3.14")}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a-1-py3-none-any.whl", ALL),
        ("a-1-py2.py3-none-any.whl", ALL),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", {("x86_64", "3.12")}),
        ("a-1-cp39-abi3-manylinux_2_28_aarch64.whl", {target for target in ALL if target[0] == "aarch64"}),
        ("a-1-cp313-abi3-manylinux_2_28_aarch64.whl", {("aarch64", "3.13"), ("aarch64", "3.14")}),
        ("a-1-cp313-cp313t-manylinux_2_28_x86_64.whl", set()),
        ("a-1-cp312-cp312-musllinux_1_2_x86_64.whl", set()),
        ("a-1-cp312-cp312-win_amd64.whl", set()),
        ("a-1-cp312-cp312-macosx_11_0_arm64.whl", set()),
        ("a-1-cp312-cp312-manylinux_2_39_x86_64.whl", set()),
        ("a-1-cp310-cp310-manylinux_2_17_x86_64.whl", set()),
    ],
)
def test_wheels_count_for_the_machines_that_can_install_them(
    name: str, expected: set[tuple[str, str]]
) -> None:
    """A wheel's hash is kept exactly when a supported Linux machine could install it."""
    assert expected == wheel_targets(name)


def test_a_package_that_a_machine_cannot_install_stops_the_lock() -> None:
    """A gap is found when the lock is made, not on the machine that it leaves out."""
    wheel = {"name": "a-1-cp311-abi3-manylinux_2_17_x86_64.whl", "hashes": {"sha256": "1" * 64}}
    source = {"name": "a-1.tar.gz", "hashes": {"sha256": "2" * 64}}
    with pytest.raises(SystemExit, match=r"a==1 has no wheel for .*aarch64"):
        package_lines({"name": "a", "version": "1", "wheels": [wheel]})
    assert ["a==1 \\", f"    --hash=sha256:{'1' * 64} \\", f"    --hash=sha256:{'2' * 64}"] == package_lines(
        {"name": "a", "version": "1", "wheels": [wheel], "sdist": source}
    )
    assert [] == package_lines(
        {"name": "a", "version": "1", "marker": "sys_platform == 'win32'", "sdist": source}
    )
