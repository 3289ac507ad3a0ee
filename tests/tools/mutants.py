"""Runs the tests of a fault row against planted mistakes: `./pm test --mutants [--thorough] [ROW ...]`.

Each `tests/mutants/<ROW>_<name>.diff` is a unified diff of at most 5 changed lines with a head of comments:

    # row: SH01
    # test: tests/faults/test_SH01_torn_reads.py       (a file or a pytest id; more than one: several lines)
    # thought: what a colleague would have had in mind
    # others: pass 2026-11-22                          (or "not run DATE"; a --thorough run writes it)

For each diff: a scratch copy of the tree, built modules included; the diff applied (its old lines must stand
exactly once in the file, wherever that is; else the mutant is stale); the native modules that read a changed
file built anew; the tests named must FAIL. With --thorough all other tests of their folder must pass. The
same tests must pass on an unchanged copy first. Exit 1 when a mutant survived, is stale or did not build.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "tests" / "mutants"
CHANGED_LINES_MAX = 5
SECONDS_MAX = 1_800  # of one pytest call
NOT_COPIED = {".git", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"}
NOT_COPIED_TOPS = {"build", "dist", "run", "state"}  # left by builds and runs in the project's own folder
NATIVE_ENDINGS = (".pyx", ".pxd", ".pxi", ".h")
HEAD = re.compile(r"^# (row|test|thought|others):\s*(.+?)\s*$")
READS = (
    re.compile(r'^\s*include\s+"([^"]+)"', re.MULTILINE),
    re.compile(r'cdef\s+extern\s+from\s+"([^"]+)"'),
    re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE),
)
CIMPORTS = re.compile(r"^\s*(?:from\s+pipeline\.native\.(\w+)\s+cimport|cimport\s+pipeline\.native\.(\w+)|"
                      r"from\s+pipeline\.native\s+cimport\s+(\w+))", re.MULTILINE)
BUILD = """
import sys
from setuptools.dist import Distribution
wanted, made = set(sys.argv[1:]), Distribution()
made.parse_config_files()
made.ext_modules = [one for one in made.ext_modules if one.name in wanted]
command = made.get_command_obj("build_ext")
command.inplace = command.force = True
command.ensure_finalized()
command.run()
"""


class MutantError(Exception):
    """A mutant that cannot be tried: malformed, stale, or it does not build."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines to find in `path` and lines to put there."""

    path: str
    old: tuple[str, ...]
    new: tuple[str, ...]
    changed: int


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted mistake."""

    name: str
    row: str
    tests: tuple[str, ...]
    thought: str
    others: str
    hunks: tuple[Hunk, ...]

    @property
    def changed_lines(self) -> int:
        """Lines that differ; a replaced line counts once."""
        return sum(hunk.changed for hunk in self.hunks)


@dataclass(slots=True)
class Verdict:
    """How a mutant fared; `is_good` when it was caught and nothing else broke."""

    mutant: str
    outcome: str
    seconds: float
    is_good: bool
    detail: str = ""


@dataclass(slots=True)
class _Open:
    path: str
    old: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    removed: int = 0
    added: int = 0


def parse(name: str, text: str) -> Mutant:
    """Return the mutant of a diff's text; raises MutantError when head or hunks are not as they must be."""
    head: dict[str, list[str]] = {}
    hunks: list[Hunk] = []
    path, current = "", None
    for line in text.splitlines():
        if found := HEAD.match(line):
            head.setdefault(found[1], []).append(found[2])
        elif line.startswith("+++ "):
            path, current = line[4:].split("\t")[0].strip().removeprefix("b/"), None
        elif line.startswith("@@"):
            _close(current, hunks)
            current = _Open(path)
        elif line.startswith(("--- ", "diff ", "index ")):
            _close(current, hunks)
            current = None
        elif current is not None and not line.startswith("\\"):
            if not line.startswith("+"):
                current.old.append(line[1:])
                current.removed += line.startswith("-")
            if not line.startswith("-"):
                current.new.append(line[1:])
                current.added += line.startswith("+")
    _close(current, hunks)
    for wanted in ("row", "test", "thought"):  # tests/tidy asks for "others": it is written after a first run
        if wanted not in head:
            raise MutantError(f"{name}: the head lacks '# {wanted}: ...'")
    mutant = Mutant(name, head["row"][0], tuple(head["test"]), " ".join(head["thought"]),
                    " ".join(head.get("others", [])), tuple(hunks))
    if not hunks or not all(hunk.path and hunk.changed for hunk in hunks):
        raise MutantError(f"{name}: a hunk changes nothing or names no file")
    if not name.startswith(mutant.row + "_"):
        raise MutantError(f"{name}: must be named {mutant.row}_<name>.diff")
    if mutant.changed_lines > CHANGED_LINES_MAX:
        raise MutantError(f"{name}: {mutant.changed_lines} lines changed, at most {CHANGED_LINES_MAX}")
    return mutant


def _close(current: _Open | None, hunks: list[Hunk]) -> None:
    if current is not None:
        changed = max(current.removed, current.added)
        hunks.append(Hunk(current.path, tuple(current.old), tuple(current.new), changed))


def load_all(folder: Path = FOLDER) -> list[Mutant]:
    """Return every mutant of the folder, by name."""
    return [parse(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.diff"))]


def apply(mutant: Mutant, root: Path) -> list[str]:
    """Change the tree under `root`; returns the changed files. Raises MutantError when it no longer fits."""
    for hunk in mutant.hunks:
        path = root / hunk.path
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        count = len(hunk.old)
        places = [at for at in range(len(lines) - count + 1) if tuple(lines[at:at + count]) == hunk.old]
        if len(places) != 1:
            raise MutantError(
                f"{mutant.name}: its lines stand {len(places)} times in {hunk.path}, once expected")
        lines[places[0]:places[0] + count] = hunk.new
        path.write_text("\n".join(lines), encoding="utf-8")
    return sorted({hunk.path for hunk in mutant.hunks})


def reads(path: Path) -> set[Path]:
    """Return the native sources that building this one reads directly, itself and its .pxd included."""
    text, folder = path.read_text(encoding="utf-8"), path.parent
    names = {name for pattern in READS for name in pattern.findall(text)}
    names |= {f"{name}.pxd" for names_found in CIMPORTS.findall(text) for name in names_found if name}
    if path.suffix == ".pyx":
        names.add(path.with_suffix(".pxd").name)
    return {path} | {folder / name for name in names if (folder / name).is_file()}


def modules_of(changed: Iterable[str], root: Path) -> list[str]:
    """Return the native modules whose build reads one of the changed files."""
    touched = {root / name for name in changed if name.endswith(NATIVE_ENDINGS)}
    found = []
    for source in sorted((root / "pipeline").rglob("*.pyx")) if touched else ():
        seen: set[Path] = set()
        open_ones = {source}
        while open_ones:
            seen |= open_ones
            open_ones = {read for path in open_ones for read in reads(path)} - seen
        if seen & touched:
            found.append(".".join(source.relative_to(root).with_suffix("").parts))
    return found


def copy_tree(source: Path, target: Path) -> None:
    """Copy the project and its built modules; no links: no test of a mutant may write into the original."""
    def left_out(folder: str, names: list[str]) -> set[str]:
        is_top = Path(folder) == source
        return {name for name in names if name in NOT_COPIED or (is_top and name in NOT_COPIED_TOPS)}

    shutil.copytree(source, target, symlinks=True, ignore=left_out)
    shared = source.parent / "shared"
    if shared.is_dir():
        (target.parent / "shared").symlink_to(shared.resolve())


def run(arguments: Sequence[str], tree: Path, seconds_max: float = SECONDS_MAX) -> tuple[int, str]:
    """Run Python in the tree, against the tree's own code; returns (status, output); -1 = took too long."""
    environment = os.environ | {"PYTHONPATH": str(tree), "PM_TIER": "commit", "CFLAGS": "-g0"}
    process = subprocess.Popen([sys.executable, *arguments], cwd=tree, env=environment, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        words, _ = process.communicate(timeout=seconds_max)
        return process.returncode, words
    except subprocess.TimeoutExpired:
        return -1, f"still running after {seconds_max:.0f} s\n"
    finally:  # a test that was cut short leaves processes; so does an interrupted run
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def rebuild(changed: Iterable[str], tree: Path) -> None:
    """Build what reads a changed file, in place; raises MutantError when that fails."""
    modules = modules_of(changed, tree)
    for module in modules:
        for built in tree.glob(module.replace(".", "/") + ".*.so"):
            built.unlink()
    if modules:
        status, words = run(["-c", BUILD, *modules], tree)
        if status:
            raise MutantError(f"building {', '.join(modules)} failed:\n{_tail(words)}")


def tests_run(tests: Sequence[str], tree: Path, *more: str) -> tuple[int, str]:
    """Run pytest over `tests`; the tree must be the one that its tests import."""
    status, words = run(["-c", "import pipeline; print(pipeline.__file__)"], tree)
    if status or not Path(words.strip()).is_relative_to(tree):
        raise MutantError(f"tests would import another tree: {words.strip()}")
    return run(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", *more, *tests], tree)


def _tail(words: str, lines: int = 12) -> str:
    return "\n".join("    " + line for line in words.strip().splitlines()[-lines:])


def others_of(mutant: Mutant) -> list[str]:
    """Return pytest's arguments for every test beside the mutant's own."""
    folders = sorted({"/".join(test.partition("::")[0].split("/")[:-1]) for test in mutant.tests})
    return [*folders, *(f"--deselect={test}" for test in mutant.tests)]


def try_one(mutant: Mutant, root: Path, thorough: bool) -> Verdict:
    """Plant one mutant in a copy of `root` and see what its tests say."""
    began_s = time.monotonic()

    def verdict(outcome: str, detail: str = "", is_good: bool = False) -> Verdict:
        return Verdict(mutant.name, outcome, time.monotonic() - began_s, is_good, detail)

    with tempfile.TemporaryDirectory(prefix="pm-mutant-") as name:
        tree = Path(name).resolve() / "tree"
        copy_tree(root, tree)
        try:
            rebuild(apply(mutant, tree), tree)
            status, words = tests_run(mutant.tests, tree, "-x")
            if status == 0:
                return verdict("SURVIVED", f"{', '.join(mutant.tests)} passed\n{_tail(words)}")
            if status != 1:
                return verdict("BROKEN", f"pytest ended with {status}, no failed test\n{_tail(words)}")
            if thorough:
                status, words = tests_run(others_of(mutant), tree)
                if status not in (0, 5):  # 5: there are no others
                    return verdict("caught, others fail", _tail(words))
        except MutantError as error:
            return verdict("STALE", str(error))
    return verdict("caught, others pass" if thorough else "caught", is_good=True)


def clean_run(mutants: Sequence[Mutant], root: Path) -> Verdict:
    """Run the mutants' tests without any mutant: they must pass, or their failing would prove nothing."""
    began_s = time.monotonic()
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    with tempfile.TemporaryDirectory(prefix="pm-mutant-") as name:
        tree = Path(name).resolve() / "tree"
        copy_tree(root, tree)
        status, words = tests_run(tests, tree)
    outcome = "tests pass" if status == 0 else f"TESTS FAIL ({status})"
    detail = "" if status == 0 else _tail(words)
    return Verdict("(none planted)", outcome, time.monotonic() - began_s, status == 0, detail)


def note_others(path: Path, today: datetime.date) -> None:
    """Write into a mutant's head that every other test of its folder passed with it."""
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if not line.startswith("# others:")]
    place = max(at for at, line in enumerate(lines) if line.startswith("# thought:")) + 1
    lines.insert(place, f"# others: pass {today.isoformat()}")
    path.write_text("\n".join(lines), encoding="utf-8")


def choose(mutants: Sequence[Mutant], wanted: Sequence[str]) -> list[Mutant]:
    """Return the mutants of these rows or names, all without any; raises MutantError for a stranger."""
    for name in wanted:
        if not any(name in (mutant.row, mutant.name) for mutant in mutants):
            rows = ", ".join(sorted({mutant.row for mutant in mutants})) or "none"
            raise MutantError(f"no mutant for {name!r}; there are rows {rows}")
    return [one for one in mutants if not wanted or {one.row, one.name} & set(wanted)]


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Try the chosen mutants; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="./pm test --mutants", description="plant mistakes, see them caught")
    parser.add_argument("wanted", nargs="*", metavar="ROW", help="SH01 or SH01_name; all without any")
    parser.add_argument("--thorough", action="store_true", help="the other tests of the folder must pass")
    asked = parser.parse_args(arguments)
    try:
        chosen = choose(load_all(root / "tests" / "mutants"),
                        [name.rpartition("/")[2].removesuffix(".diff") for name in asked.wanted])
    except MutantError as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2
    verdicts: list[Verdict] = []
    for mutant in (None, *chosen) if chosen else ():
        found = clean_run(chosen, root) if mutant is None else try_one(mutant, root, asked.thorough)
        verdicts.append(found)
        print(f"{found.mutant:<40} {found.outcome:<22} {found.seconds:7.1f} s", flush=True)
        if mutant is not None and asked.thorough and found.is_good:
            today = datetime.datetime.now(datetime.UTC).date()
            note_others(root / "tests" / "mutants" / f"{mutant.name}.diff", today)
        if found.detail:
            print(found.detail, flush=True)
        if mutant is None and not found.is_good:
            break
    caught = sum(one.is_good for one in verdicts[1:])
    print(f"mutants: {caught} of {len(chosen)} caught in {sum(one.seconds for one in verdicts):.0f} s")
    return 0 if caught == len(chosen) and all(one.is_good for one in verdicts) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started ends, and copies go
    sys.exit(main(sys.argv[1:]))
