"""pm halt and pm resume as functions: which page, which level, who still holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli.halt import clear_halt, level_named, set_halt
from pipeline.cli.states import one_state, states_in
from pipeline.errors import EnvironmentProblem, IntegrityError, RiskRefusal, UsageError
from pipeline.kinds import HaltLevel
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage


def level(state: Path) -> HaltLevel:
    found, _, problem = halt.effective(state)
    assert "" == problem
    return found


@pytest.mark.parametrize("text", ["H3", "h3", "3", " H3 "])
def test_level_is_read_as_people_write_it(text: str) -> None:
    """H3, h3 and 3 are one level."""
    assert HaltLevel.H3 == level_named(text)


@pytest.mark.parametrize("text", ["H0", "0", "H5", "", "high", "HH3"])
def test_other_levels_are_refused(text: str) -> None:
    """H0 is no halt; the message names the levels."""
    with pytest.raises(UsageError, match="H1, H2, H3 or H4"):
        level_named(text)


def test_halt_makes_a_page_before_the_first_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A halt needs no run: directory and page are made, and the level is in force."""
    state = tmp_path / "not" / "yet"
    set_halt(state, "H2", "not before noon", as_json=True)
    assert HaltLevel.H2 == level(state)
    shown = json.loads(capsys.readouterr().out)
    assert ("H2", True, "not before noon") == (
        shown["level"],
        shown["was_raised"],
        shown["owners"][0]["reason"],
    )


def test_halt_never_lowers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A milder halt of another operator keeps the stricter one and its reason."""
    set_halt(tmp_path, "H3", "first", as_json=False)
    set_halt(tmp_path, "H1", "second", as_json=False)
    assert HaltLevel.H3 == level(tmp_path)
    assert "at least as strict already" in capsys.readouterr().out
    set_halt(tmp_path, "H4", "third", as_json=False)
    assert HaltLevel.H4 == level(tmp_path)
    assert "third" in capsys.readouterr().out


def test_halt_without_a_choice_halts_everything(tmp_path: Path) -> None:
    """Several state directories below the one given: all are halted; resume wants to know which."""
    for name in ("paper", "live"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generation").write_text("1")
    (tmp_path / "other").mkdir()
    set_halt(tmp_path, "H3", "all of it", as_json=False)
    assert [HaltLevel.H3, HaltLevel.H3] == [level(tmp_path / name) for name in ("paper", "live")]
    assert not (tmp_path / "other" / halt.FILE_NAME).exists()
    assert not (tmp_path / halt.FILE_NAME).exists()
    with pytest.raises(UsageError, match="choose one"):
        clear_halt(tmp_path, "which", as_json=False)
    clear_halt(tmp_path / "live", "this one", as_json=False)
    assert [HaltLevel.H3, HaltLevel.H0] == [level(tmp_path / name) for name in ("paper", "live")]


def test_resume_says_what_still_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator's word is cleared, the gateway's stays: exit 6 names it."""
    set_halt(tmp_path, "H3", "mine", as_json=False)
    page = HaltPage(tmp_path, "gateway.0")
    page.put(HaltLevel.H1, now_ns=1, reason="rate limit")
    page.close()
    with pytest.raises(RiskRefusal, match=r"H1 still holds by gateway.0 \(rate limit\)"):
        clear_halt(tmp_path, "fixed", as_json=False)
    assert HaltLevel.H1 == level(tmp_path)
    assert "at H1" in capsys.readouterr().out


def test_resume_needs_a_page(tmp_path: Path) -> None:
    """Nothing to resume is the environment's problem; a damaged page is data that contradict."""
    with pytest.raises(EnvironmentProblem, match="holds no run"):
        clear_halt(tmp_path, "x", as_json=False)
    (tmp_path / "generation").write_text("3")
    with pytest.raises(EnvironmentProblem, match="no halt page"):
        clear_halt(tmp_path, "x", as_json=False)
    (tmp_path / halt.FILE_NAME).write_bytes(b"short")
    for command in (
        lambda: clear_halt(tmp_path, "x", as_json=False),
        lambda: set_halt(tmp_path, "3", "x", False),
    ):
        with pytest.raises(IntegrityError, match=halt.FILE_NAME):
            command()


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_reason_is_asked_for(reason: str, tmp_path: Path) -> None:
    """Neither command works without a why."""
    with pytest.raises(UsageError, match="reason is empty"):
        set_halt(tmp_path, "H3", reason, as_json=False)
    with pytest.raises(UsageError, match="reason is empty"):
        clear_halt(tmp_path, reason, as_json=False)
    assert [] == states_in(tmp_path)


def test_state_directory_is_found_one_level_up(tmp_path: Path) -> None:
    """The folder above the only state directory stands for it; a file is none."""
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "generation").write_text("1")
    assert tmp_path / "demo" == one_state(tmp_path) == one_state(tmp_path / "demo")
    with pytest.raises(EnvironmentProblem, match="does not exist"):
        one_state(tmp_path / "demo" / "generation")
