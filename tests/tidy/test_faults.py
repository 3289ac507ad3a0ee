"""The fault rows: each that is listed has tests of its name, a figure, and a mutant that fits the tree."""

from __future__ import annotations

import re

import pytest

from tests.shared import ROOT
from tests.tools import faultrows, mutants

MUTANTS = mutants.load_all()
TEST = re.compile(r"^(?:async )?def (test_([A-Z]{2}\d\d)_\w+)\(", re.MULTILINE)


def named_in(name: str) -> list[tuple[str, str]]:
    """Return (test, row) of each test in a file that names a row."""
    return TEST.findall((ROOT / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", sorted(faultrows.rows()))
def test_each_row_has_tests_and_a_mutant(row: str) -> None:
    """A row is done when a test of its name asks for its figures and a mutant shows what it is worth."""
    entry = faultrows.rows()[row]
    for name in entry.tests:
        assert [found for _, found in named_in(name) if found == row], f"{name} has no test_{row}_..."
    texts = "".join((ROOT / name).read_text(encoding="utf-8") for name in entry.tests)
    for what in entry.figures:
        assert f'"{row}", "{what}"' in texts, f'{row}: no test asks figure("{row}", "{what}")'
        assert f'gate_record("{row}", "{what}"' in texts, f"{row}: no test books {what}"
    assert [one.name for one in MUTANTS if one.row == row], f"tests/mutants has no {row}_*.diff"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_each_mutant_fits_and_belongs_to_a_row(mutant: mutants.Mutant) -> None:
    """It changes the tree as it is now, names a test that is there, and says how the other tests did."""
    entry = faultrows.rows().get(mutant.row)
    assert entry is not None, f"{mutant.row} is not in tests/faults.toml"
    for test in mutant.tests:
        name, _, function = test.partition("::")
        assert name in entry.tests, f"{mutant.name}: {name} is not a test file of {mutant.row}"
        named = [found for found, row in named_in(name) if row == mutant.row]
        assert named if not function else function.partition("[")[0] in named, f"{mutant.name}: no {test}"
    outcome = r"(pass|not run) \d{4}-\d\d-\d\d"
    assert re.match(outcome, mutant.others), f"{mutant.name}: run it with --thorough, or say that it was not"
    for hunk in mutant.hunks:
        text = "\n" + (ROOT / hunk.path).read_text(encoding="utf-8")
        old = "\n" + "\n".join(hunk.old) + "\n"
        assert 1 == text.count(old), f"{mutant.name}: its lines must stand once in {hunk.path}; make it anew"


def test_the_gate_file_holds_what_the_gate_asks() -> None:
    """What tests/gate.json says was run is a known figure, in full."""
    if faultrows.GATE.exists():
        assert [] == faultrows.gate_problems(faultrows.GATE.read_text())
