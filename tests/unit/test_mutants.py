"""The mutants' runner on a project of two modules: what is caught, what survives, what no longer fits."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.shared import ROOT
from tests.tools import mutants

HEAD = ("# row: AA01\n# test: tests/faults/test_AA01_sum.py\n# thought: zero is no case\n"
        "# others: pass 2026-11-22\n")
CODE = ("def add(a, b):\n    if b == 0:\n        return a\n    return a + b\n"
        "\n\ndef twice(a):\n    return a * 2\n")
NATIVE = "# cython: language_level=3\ninclude \"part.pxi\"\n"
PART = "def answer():\n    return 42\n"
TESTS = {
    "test_AA01_sum.py": "from pipeline.code import add\n\n\n"
                        "def test_AA01_sum():\n    assert 3 == add(1, 2)\n",
    "test_other.py": "from pipeline.code import add, twice\n\n\ndef test_other():\n"
                     "    assert (5, 4) == (add(5, 0), twice(2))\n",
}


def diff(path: str, old: str, new: str, head: str = HEAD) -> str:
    """Return a mutant that replaces one line."""
    return f"{head}--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-{old}\n+{new}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project whose mutants can be tried."""
    root = tmp_path / "project"
    for folder in ("pipeline", "tests/faults", "tests/mutants"):
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = ["--import-mode=importlib"]\n')
    (root / "pipeline" / "__init__.py").touch()
    (root / "pipeline" / "code.py").write_text(CODE)
    for name, text in TESTS.items():
        (root / "tests" / "faults" / name).write_text(text)
    return root


def plant(root: Path, name: str, text: str) -> None:
    """Add a mutant."""
    (root / "tests" / "mutants" / f"{name}.diff").write_text(text)


def test_a_mutant_is_caught_and_the_original_untouched(project: Path, capsys) -> None:
    """Exit 0 when its test fails and, asked thoroughly, all others of the folder pass."""
    head = HEAD.replace("# others: pass 2026-11-22\n", "")
    plant(project, "AA01_minus", diff("pipeline/code.py", "    return a + b", "    return a - b", head))
    assert 0 == mutants.main(["--thorough", "AA01"], project)
    words = capsys.readouterr().out
    (found,) = mutants.load_all(project / "tests" / "mutants")
    assert found.others == f"pass {datetime.datetime.now(datetime.UTC).date().isoformat()}"
    assert "caught, others pass" in words
    assert "mutants: 1 of 1 caught" in words
    assert CODE == (project / "pipeline" / "code.py").read_text()


@pytest.mark.parametrize(("old", "new", "thorough", "words"), [
    ("    return a * 2", "    return a + a + 0", False, "SURVIVED"),
    ("    return a + b", "    return a -+ b)", False, "BROKEN"),
    ("    return a / b", "    return a", False, "its lines stand 0 times in pipeline/code.py"),
    ("", "# two", False, "its lines stand 3 times"),
    ("def add(a, b):", "def add(a, b, c):", True, "caught, others fail"),
])
def test_what_proves_nothing_is_exit_1(project: Path, capsys, old, new, thorough, words) -> None:
    """A survivor, one that breaks the import, one that fits nowhere or twice, one that others see too."""
    plant(project, "AA01_x", diff("pipeline/code.py", old, new))
    assert 1 == mutants.main(["--thorough"] * thorough, project)
    assert words in capsys.readouterr().out


def test_a_copy_has_all_but_what_runs_left(project: Path, tmp_path: Path) -> None:
    """Builds, caches and runs stay behind; a package that is named `run` does not."""
    for name in ("pipeline/run/lane.py", "run/x", "state/x", "build/x", "pipeline/__pycache__/x", ".venv/x"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "copy").mkdir()
    tree = tmp_path / "copy" / "tree"
    mutants.copy_tree(project, tree)
    assert (tree / "pipeline" / "run" / "lane.py").is_file()
    for name in ("run", "state", "build", "pipeline/__pycache__", ".venv"):
        assert not (tree / name).exists()
    assert (tmp_path / "shared").resolve() == (tree.parent / "shared").resolve()


def test_tests_that_fail_anyway_prove_nothing(project: Path, capsys) -> None:
    """Without a mutant the tests must pass; else nothing is planted at all."""
    plant(project, "AA01_minus", diff("pipeline/code.py", "    return a + b", "    return a - b"))
    (project / "pipeline" / "code.py").write_text(CODE.replace("a + b", "b + b"))
    assert 1 == mutants.main([], project)
    words = capsys.readouterr().out
    assert "TESTS FAIL (1)" in words
    assert "AA01_minus" not in words


def test_a_stranger_is_a_usage_error(project: Path, capsys) -> None:
    """A row without a mutant is exit 2 with the rows that there are."""
    plant(project, "AA01_minus", diff("pipeline/code.py", "    return a + b", "    return a - b"))
    assert 2 == mutants.main(["AA02"], project)
    assert "no mutant for 'AA02'; there are rows AA01" in capsys.readouterr().err
    found = mutants.load_all(project / "tests" / "mutants")
    assert found == mutants.choose(found, []) == mutants.choose(found, ["AA01_minus"])


@pytest.mark.parametrize(("text", "words"), [
    (diff("a.py", "x", "y", HEAD.replace("# thought: zero is no case\n", "")), "lacks '# thought"),
    (diff("a.py", "x", "y", HEAD.replace("AA01", "AA02", 1)), "must be named AA02_"),
    (HEAD, "changes nothing"),
    (HEAD + "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n x\n", "changes nothing"),
    (diff("a.py", "x", "y\n+" + "\n+".join("12345")), "6 lines changed, at most 5"),
])
def test_a_malformed_mutant_is_refused(text: str, words: str) -> None:
    """Head, name and size are part of the proof."""
    with pytest.raises(mutants.MutantError, match=words):
        mutants.parse("AA01_x", text)


def test_a_native_change_is_built_and_only_where_it_is_read(project: Path, capsys) -> None:
    """An included file that changes rebuilds its module in the copy; the original keeps its build."""
    (project / "pyproject.toml").write_text(
        (project / "pyproject.toml").read_text()
        + '[project]\nname = "x"\nversion = "1"\n'
        + '[[tool.setuptools.ext-modules]]\nname = "pipeline.deep"\nsources = ["pipeline/deep.pyx"]\n'
        + '[[tool.setuptools.ext-modules]]\nname = "pipeline.none"\nsources = ["pipeline/none.pyx"]\n')
    (project / "pipeline" / "deep.pyx").write_text(NATIVE)
    (project / "pipeline" / "none.pyx").write_text("not Cython at all: it must not be built\n")
    (project / "pipeline" / "part.pxi").write_text(PART)
    (project / "tests" / "faults" / "test_AA01_sum.py").write_text(
        "from pipeline.deep import answer\n\n\ndef test_AA01_sum():\n    assert 42 == answer()\n")
    mutants.rebuild(["pipeline/part.pxi"], project)
    built = {path: path.read_bytes() for path in (project / "pipeline").glob("*.so")}
    assert 1 == len(built)
    plant(project, "AA01_deep", diff("pipeline/part.pxi", "    return 42", "    return 43"))
    assert 0 == mutants.main([], project), capsys.readouterr().out
    assert built == {path: path.read_bytes() for path in (project / "pipeline").glob("*.so")}


@pytest.mark.parametrize(("name", "expected"), [
    ("pipeline/native/books_frames.pxi", {"books"}),
    ("pipeline/native/torture.pyx", {"torture"}),
    ("pipeline/native/segment.h", {"segments"}),
    ("pipeline/core/orders.py", set()),
])
def test_modules_of_the_real_tree(name: str, expected: set[str]) -> None:
    """What a changed file makes stale, by the sources' own words."""
    assert {f"pipeline.native.{one}" for one in expected} == set(mutants.modules_of([name], ROOT))


def test_a_declaration_reaches_all_who_read_it() -> None:
    """ring.pxd is read by the ring, by what uses it natively, and by nobody else."""
    found = set(mutants.modules_of(["pipeline/native/ring.pxd"], ROOT))
    assert {"pipeline.native.ring", "pipeline.native.torture"} <= found
    assert not found & {"pipeline.native.numparse", "pipeline.native.keccak", "pipeline.native.gate"}
    assert "pipeline.native.log" in mutants.modules_of(["pipeline/native/atomics.h"], ROOT)
