"""pm cancel-all as a function: what counts as open, when it is proven, and which exit says what is left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.cancel_all import cancel_all, left_of
from pipeline.errors import EnvironmentProblem, PipelineError, RiskRefusal, UsageError, VenueError
from pipeline.kinds import HaltLevel
from pipeline.shm import halt

Look = Callable[[Path], dict[str, Any]]


def facts(
    *, running: bool = True, level: str = "H2", seen: int = 2, counter: int | None = None,
    lanes: str = "running", **states: int
) -> dict[str, Any]:
    """Return what pm status would know: orders by state, trade's own count, how the lanes are."""
    return {
        "is_running": running,
        "lanes": [{"is": lanes if running else "gone"}],
        "halt": {"level": level, "owners": []},
        "summary": {"orders_by_state": states},
        "counters": {"trade_halt_level": seen, **({} if counter is None else {"open_orders": counter})},
    }


def looks(*answers: dict[str, Any]) -> Look:
    """Return a look that gives these answers in turn, the last one for ever."""
    left = list(answers)
    return lambda state: left.pop(0) if len(left) > 1 else left[0]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "generation").write_text("1")
    return tmp_path


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (facts(matched=7, canceled=3, rejected=1, unsent=2, dry=4, expired=1), 0),
        (facts(intended=1), 1),
        (facts(sent=1, live=2, delayed=3, unknown=4, matched=9), 10),
        (facts(live=1, counter=3), 3),
        (facts(intended=3, counter=0), 0),
        (facts(running=False, live=1), 1),
        (facts(running=False, counter=2), 2),
    ],
)
def test_open_is_whatever_may_still_trade(found: dict[str, Any], count: int) -> None:
    """An unknown order counts; trade's own count decides, the summary only where there is none."""
    assert count == left_of(found).count


def test_done_when_nothing_is_open_for_a_while(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Orders end one after the other; the halt stands before the first look and stays."""

    def look(directory: Path) -> dict[str, Any]:
        assert HaltLevel.H2 == halt.effective(directory)[0]
        return answers(directory)

    answers = looks(facts(seen=0), facts(live=2), facts(live=1, canceled=1), facts(canceled=2))
    assert 0 == cancel_all(state, "enough", 30, True, look)
    shown = json.loads(capsys.readouterr().out)
    assert ("H2", 0, True) == (shown["level"], shown["open_orders"], shown["is_running"])
    level, entries, _ = halt.effective(state)
    assert (HaltLevel.H2, "enough") == (level, entries[0].reason)


def test_no_proof_before_the_chain_saw_the_halt(state: Path) -> None:
    """Nothing open proves nothing while new orders may still be decided."""
    with pytest.raises(EnvironmentProblem, match="did not take it up"):
        cancel_all(state, "enough", 1.5, False, looks(facts(seen=0)))


def test_one_order_in_between_starts_the_wait_again(state: Path) -> None:
    """An order seen within the time of the proof is not overlooked."""
    with pytest.raises(VenueError, match=r"still open .*: 1 order \(live 1\)"):
        cancel_all(state, "enough", 0.5, False, looks(facts(), facts(), facts(live=1)))


@pytest.mark.parametrize(
    ("found", "problem", "words"),
    [
        (facts(unknown=2, live=1), VenueError, r"after 1 s still open in .*: 3 orders \(live 1, unknown 2\)"),
        (facts(counter=4), VenueError, "still open in .*: 4 orders;"),
        (facts(lanes="starting"), EnvironmentProblem, "not all lanes run"),
        (facts(running=False, live=1), EnvironmentProblem, "nothing runs in .* left 1 order .* open: start"),
        (facts(running=False, live=1, level="H4"), RiskRefusal, "halted H4, so nothing runs there"),
    ],
)
def test_what_is_left_is_said(
    found: dict[str, Any], problem: type[PipelineError], words: str, state: Path
) -> None:
    """Each way of not being done has its exit code and says what to do; the halt stands all the same."""
    with pytest.raises(problem, match=words):
        cancel_all(state, "enough", 1, False, looks(found))
    assert HaltLevel.H2 == halt.effective(state)[0]


def test_stopped_pipeline_that_left_nothing_is_done(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing runs, nothing is open: exit 0, and the halt keeps it so."""
    assert 0 == cancel_all(state, "enough", 1, False, looks(facts(running=False, seen=0, matched=3)))
    assert "the last run left no order open" in capsys.readouterr().out


def test_a_stricter_halt_is_kept(state: Path) -> None:
    """H3 of an operator is not loosened to H2."""
    halt.create(state)
    page = halt.HaltPage(state, "operator")
    page.put(HaltLevel.H3, now_ns=1, reason="first")
    page.close()
    assert 0 == cancel_all(state, "second", 30, False, looks(facts(level="H3", seen=3)))
    level, entries, _ = halt.effective(state)
    assert (HaltLevel.H3, "first") == (level, entries[0].reason)


def test_reason_and_place_are_asked_for(tmp_path: Path) -> None:
    """An empty reason is exit 2, a folder without a run exit 4; neither makes a halt page."""
    with pytest.raises(UsageError, match="reason is empty"):
        cancel_all(tmp_path, " ", 1, False)
    with pytest.raises(EnvironmentProblem, match="holds no run"):
        cancel_all(tmp_path, "enough", 1, False)
    assert not (tmp_path / halt.FILE_NAME).exists()
