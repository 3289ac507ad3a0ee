"""No section of the vector file stands there untested."""

from __future__ import annotations

import ast
import json

from tests.shared import ROOT, SHARED, needs_shared

#: What the file says of itself.
ABOUT = {"schema", "title", "generated_utc_date", "produced_with", "field_notes", "warning"}


def named_by_tests() -> set[str]:
    """Return every text in a test function, its decorators included, of the files that read the vectors."""
    found: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text("utf-8")
        if "polymarket-vectors" not in text:
            continue
        for test in ast.walk(ast.parse(text)):
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                found |= {node.value for node in ast.walk(test)
                          if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return found


@needs_shared
def test_every_section_is_tested() -> None:
    """A section that the file gains is named by a test, or fails here."""
    sections = json.loads((SHARED / "venues" / "polymarket-vectors.json").read_text("utf-8")).keys() - ABOUT
    named = named_by_tests()

    assert len(sections) > 15
    assert set() == sections - named, "no test reads these sections"
