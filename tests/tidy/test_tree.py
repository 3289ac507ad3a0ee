"""Every rule over every file of the project, and the tools (ruff, mypy) over what they are meant for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.native.generate import TARGET, render
from tests.shared import ROOT
from tests.tidy import rules, whole

CODE = (".py", ".pyx", ".pxd", ".pyi", ".h", ".c")
TEXT = (*CODE, ".md", ".toml", ".sh", ".lock", ".yml", ".yaml", ".service", ".cfg", ".txt", ".json", "")


def tracked() -> list[str]:
    """Return the files of the project: what git tracks or would; without git, what stands here."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (FileNotFoundError, subprocess.CalledProcessError):
        hidden = {
            ".venv",
            ".git",
            "build",
            "dist",
            "__pycache__",
            ".hypothesis",
            ".mypy_cache",
            ".ruff_cache",
        }
        listed = [
            path.relative_to(ROOT).as_posix()
            for path in ROOT.rglob("*")
            if not hidden & set(path.relative_to(ROOT).parts)
        ]
    return sorted({name for name in listed if (ROOT / name).is_file()})


FILES = tracked()


def files(*tops: str, suffixes: tuple[str, ...] = (".py",)) -> list[str]:
    """Return the tracked files below these folders with these endings."""
    return [name for name in FILES if name.startswith(tops) and Path(name).suffix in suffixes]


def scope(rule: rules.Rule) -> list[str]:
    """Return what a rule is for."""
    cython = (".py", ".pyx")
    return {
        rules.imports_point_down: files("pipeline/", suffixes=(".py", ".pyx", ".pxd", ".pyi")),
        rules.file_fits_a_head: files("", suffixes=CODE),
        rules.function_fits_a_screen: files("", suffixes=cython),
        rules.line_fits: files("", suffixes=CODE),
        rules.module_says_its_job: files("pipeline/", "bench/", "tests/", suffixes=cython),
        rules.test_states_its_promise: [
            name for name in files("tests/") if Path(name).name.startswith("test_")
        ],
        rules.tests_do_not_sleep: files("tests/"),
        rules.errors_are_named: files("pipeline/", "bench/", suffixes=cython),
        rules.asserts_stand_at_import: files("pipeline/"),
        rules.core_is_pure: files("pipeline/core/"),
        rules.oldest_goes_by_popitem: files("pipeline/"),
        rules.ids_are_no_numbers: files("pipeline/", suffixes=CODE),
        rules.units_are_made_at_the_edge: files(
            "pipeline/core/", "pipeline/native/", "pipeline/net/", "pipeline/shm/", "pipeline/stages/",
            suffixes=(".py", ".pyx", ".pxd")),
        rules.names_no_machine: files("", suffixes=TEXT),
    }[rule]


RULES = [
    rules.imports_point_down,
    rules.file_fits_a_head,
    rules.function_fits_a_screen,
    rules.line_fits,
    rules.module_says_its_job,
    rules.test_states_its_promise,
    rules.tests_do_not_sleep,
    rules.errors_are_named,
    rules.asserts_stand_at_import,
    rules.core_is_pure,
    rules.oldest_goes_by_popitem,
    rules.ids_are_no_numbers,
    rules.units_are_made_at_the_edge,
    rules.names_no_machine,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_project_keeps(rule: rules.Rule) -> None:
    """No file of the rule's scope breaks it, and the scope is not empty."""
    names = scope(rule)
    assert names
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in names}
    problems = [problem for name, text in texts.items() for problem in rule(name, text)]
    assert [] == problems, "\n".join(problems)


def test_every_rule_is_applied() -> None:
    """A rule that is written but not listed would check nothing."""
    written = {
        value
        for name, value in vars(rules).items()
        if callable(value) and getattr(value, "__module__", "") == rules.__name__ and not name.startswith("_")
    }
    assert set(RULES) == written - {rules.unit_of}


def test_sync_labels_come_in_pairs() -> None:
    """Each label names one release and one acquire, in native and shm."""
    sources = {
        name: (ROOT / name).read_text() for name in files("pipeline/native/", "pipeline/shm/", suffixes=CODE)
    }
    assert sources
    assert [] == whole.sync_labels_pair(sources)


def test_generated_structs_are_current() -> None:
    """records.pxd is what records.py says; `python -m pipeline.native.generate` writes it."""
    assert render() == TARGET.read_text()


def test_lock_agrees_with_pyproject() -> None:
    """What ./pm installs is what pyproject.toml asks for: run, test and build."""
    assert [] == whole.lock_agrees(
        (ROOT / "pyproject.toml").read_text(), (ROOT / "requirements.lock").read_text()
    )


def tool(arguments: list[str], folder: Path = ROOT) -> tuple[int, str]:
    """Run a tool of this environment; return its status and its words."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


RUFF = ["ruff", "check", "--output-format", "concise", "--config", str(ROOT / "pyproject.toml")]
MYPY = ["mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-color-output"]
CHECKS: list[tuple[Callable[[], tuple[int, str]], str]] = [
    (lambda: tool([*RUFF, "."]), "All checks passed!"),
    (lambda: tool(MYPY), "Success: no issues found in"),
]


@pytest.mark.parametrize(("check", "expected"), CHECKS, ids=["ruff", "mypy"])
def test_tool_finds_nothing(check: Callable[[], tuple[int, str]], expected: str) -> None:
    """ruff is clean everywhere; mypy strict is clean on core, venues, config, units, records, errors."""
    status, words = check()
    assert 0 == status, words
    assert expected in words


def test_tools_can_fail(tmp_path: Path) -> None:
    """With our settings ruff refuses an unused import and mypy strict an untyped function."""
    (tmp_path / "bad.py").write_text('"""Bad."""\nimport os\n\n\ndef f(x):\n    return x\n')
    status, words = tool([*RUFF, "--no-cache", str(tmp_path / "bad.py")])
    assert 1 == status
    assert "F401" in words
    status, words = tool([*MYPY, "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "bad.py")])
    assert 1 == status
    assert "no-untyped-def" in words
