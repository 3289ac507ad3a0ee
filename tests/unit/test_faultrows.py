"""The table of fault rows and the book that a gate run writes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.tools import faultrows
from tests.tools.faultrows import GateBook, gate_problems, parse

GOOD = '[SH01]\nfault = "torn read"\ntests = "tests/faults/x.py"\nfigures = { reads = [5, 100] }\n'


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a table of one row in place of the project's."""
    table = parse(GOOD)
    monkeypatch.setattr(faultrows, "rows", lambda: table)


@pytest.mark.parametrize(("text", "words"), [
    (GOOD.replace("SH01", "SH1"), "no row of the catalogue"),
    (GOOD.replace("[5, 100]", "[4, 100]"), "commit runs at least 1/20 of gate"),
    (GOOD.replace("[5, 100]", "[5]"), "commit, gate"),
    (GOOD.replace("[5, 100]", "[5, 0]"), "commit, gate"),
    (GOOD.replace("tests =", "test ="), "needs fault, tests and figures"),
    (GOOD.replace("{ reads = [5, 100] }", "{}"), "needs fault, tests and figures"),
])
def test_a_bad_table_is_refused(text: str, words: str) -> None:
    """A row without tests or figures, or a commit tier below 1/20, is an error that names the row."""
    with pytest.raises(ValueError, match=words):
        parse(text)


@pytest.mark.parametrize(("tier_name", "expected"), [("commit", 5), ("gate", 100), ("soak", 100)])
def test_a_figure_follows_the_tier(rows: None, monkeypatch: pytest.MonkeyPatch, tier_name, expected) -> None:
    """Commit and gate have their own counts, soak the gate's unless it names one."""
    monkeypatch.setenv("PM_TIER", tier_name)
    assert expected == faultrows.figure("SH01", "reads")
    assert (5, 100, 900) == parse(GOOD.replace("100]", "100, 900]"))["SH01"].figures["reads"]


def test_only_a_gate_run_writes(rows: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests of one figure add up, seeds are kept, a later session starts anew, other rows stay."""
    path, one, later = tmp_path / "gate.json", tmp_path / "one", tmp_path / "later"
    one.mkdir()
    later.mkdir()
    GateBook(one, path).add("SH01", "reads", 100, 7)
    assert not path.exists()
    monkeypatch.setenv("PM_TIER", "gate")
    path.write_text('{"XX01": {"y": {"count": 1}}}')
    book = GateBook(one, path)
    book.add("SH01", "reads", 60, 7)
    book.add("SH01", "reads", 50, 8)
    found = json.loads(path.read_text())
    assert {"count": 1} == found["XX01"]["y"]
    entry = found["SH01"]["reads"]
    assert (110, [7, 8]) == (entry["count"], entry["seeds"])
    assert {"count", "seeds", "commit", "date"} == set(entry)
    GateBook(later, path).add("SH01", "reads", 40)
    assert (40, []) == tuple(json.loads(path.read_text())["SH01"]["reads"][key] for key in ("count", "seeds"))
    with pytest.raises(KeyError):
        book.add("SH01", "writes", 1)


def test_workers_of_one_session_lose_no_count(
    rows: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    """Four processes that book at once, each with a book of its own: every count and seed is in the file."""
    monkeypatch.setenv("PM_TIER", "gate")
    path, each, children = tmp_path / "gate.json", 25, []
    for number in range(4):
        child = os.fork()
        if not child:
            code = 1
            try:
                book = GateBook(tmp_path, path)
                for turn in range(each):
                    book.add("SH01", "reads", 1, number * each + turn)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [0] * 4 == [os.waitpid(child, 0)[1] for child in children]
    entry = json.loads(path.read_text())["SH01"]["reads"]
    assert (4 * each, list(range(4 * each))) == (entry["count"], sorted(entry["seeds"]))


def test_a_short_or_foreign_gate_file_is_a_problem(rows: None) -> None:
    """Counts below the gate's and rows that the table does not have are named."""
    assert [] == gate_problems('{"SH01": {"reads": {"count": 100}}}')
    text = '{"SH01": {"reads": {"count": 99}, "x": {"count": 1}}}'
    assert ["gate.json: SH01.reads ran 99 of 100",
            "gate.json: SH01.x is not in faults.toml"] == gate_problems(text)
