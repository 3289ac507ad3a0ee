"""The rows of the fault catalogue that are proven here: which file tests a row, and how much each tier runs.

Reads `tests/faults.toml`. A test asks `figure("SH01", "reads")` for its count and, after its last assertion,
tells the `gate_record` fixture what it ran; in tier gate that goes to `tests/gate.json` (`GateBook`).
"""

from __future__ import annotations

import datetime
import fcntl
import functools
import json
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.shared import ROOT, scaled, tier

TABLE = ROOT / "tests" / "faults.toml"
GATE = ROOT / "tests" / "gate.json"
ROW_ID = re.compile(r"[A-Z]{2}\d\d")
COMMIT_SHARE = 20  # the commit tier runs at least 1/20 of a figure


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `tests` is a file below the project's folder, `figures` is (commit, gate, soak) by name."""

    id: str
    fault: str
    tests: tuple[str, ...]
    figures: dict[str, tuple[int, int, int]]


def parse(text: str) -> dict[str, Row]:
    """Return the rows of a table; raises ValueError for one that is not well made."""
    rows = {}
    for name, entry in tomllib.loads(text).items():
        if not ROW_ID.fullmatch(name):
            raise ValueError(f"faults.toml: {name} is no row of the catalogue (two letters, two digits)")
        unknown = set(entry) - {"fault", "tests", "figures"}
        if unknown or not entry.get("fault") or not entry.get("tests") or not entry.get("figures"):
            raise ValueError(f"faults.toml: {name} needs fault, tests and figures, and nothing else")
        tests = entry["tests"] if isinstance(entry["tests"], list) else [entry["tests"]]
        figures = {}
        for what, counts in entry["figures"].items():
            if len(counts) not in (2, 3) or not all(isinstance(one, int) and one > 0 for one in counts):
                raise ValueError(f"faults.toml: {name}.{what} is [commit, gate] or [commit, gate, soak]")
            if counts[0] * COMMIT_SHARE < counts[1]:
                raise ValueError(f"faults.toml: {name}.{what}: commit runs at least 1/{COMMIT_SHARE} of gate")
            figures[what] = (counts[0], counts[1], counts[-1])
        rows[name] = Row(name, entry["fault"], tuple(tests), figures)
    return rows


@functools.cache
def rows() -> dict[str, Row]:
    """Return the project's rows by id."""
    return parse(TABLE.read_text(encoding="utf-8"))


def figure(row: str, what: str) -> int:
    """Return how much of a row's figure the tier in force runs."""
    return scaled(*rows()[row].figures[what])


@functools.cache
def source_commit() -> str:
    """Return the commit of the tree, with "-dirty" when files differ from it; "" without git."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", ".", ":!tests/gate.json"], cwd=ROOT, capture_output=True,
            text=True, check=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return head + "-dirty" * bool(changed)


class GateBook:
    """What a session proved, written to a JSON file row by row; other rows of the file stay.

    `folder` belongs to the session: its worker processes add up there, one at a time.
    """

    def __init__(self, folder: Path, path: Path = GATE) -> None:
        self._path = path
        self._proven, self._lock = folder / "proven.json", folder / "gate-book"

    def add(self, row: str, what: str, count: int, seed: int | None = None) -> None:
        """Book `count` of a row's figure, proven with `seed`; tests of one figure add up. Call it last.

        Raises KeyError for a figure that faults.toml does not have. Tiers other than gate write nothing.
        """
        rows()[row].figures[what]
        if tier() != "gate":
            return
        with self._lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            proven = _read(self._proven)
            entry = proven.setdefault(row, {}).setdefault(what, {"count": 0, "seeds": []})
            entry["count"] += count
            if seed is not None and seed not in entry["seeds"]:
                entry["seeds"].append(seed)
            entry["commit"] = source_commit()
            entry["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
            known = _read(self._path)
            known.setdefault(row, {})[what] = entry
            _write(self._proven, proven)
            _write(self._path, known)


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _write(path: Path, value: dict[str, Any]) -> None:
    made = path.with_suffix(".new")
    made.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    made.replace(path)


def gate_problems(text: str) -> list[str]:
    """Return what is wrong with a gate file: rows and figures unknown, counts below the gate's."""
    problems = []
    for row, figures in json.loads(text).items():
        for what, entry in figures.items():
            known = rows()[row].figures.get(what) if row in rows() else None
            if known is None:
                problems.append(f"gate.json: {row}.{what} is not in faults.toml")
            elif entry["count"] < known[1]:
                problems.append(f"gate.json: {row}.{what} ran {entry['count']} of {known[1]}")
    return problems
