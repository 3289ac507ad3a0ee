"""Each rule against planted violations and against its nearest innocent neighbour."""

from __future__ import annotations

import pytest

from tests.shared import ROOT
from tests.tidy import rules, whole

DOC = '"""Job."""\n'
LONG_BODY = "    x = 1\n" * 71
#: rule, path, a text that breaks it, a text like it that does not
PLANTED = [
    (rules.imports_point_down, "pipeline/core/a.py", "import pipeline.native.ring", "import pipeline.units"),
    (
        rules.imports_point_down,
        "pipeline/core/a.py",
        "from pipeline import config",
        "from pipeline import records",
    ),
    (
        rules.imports_point_down,
        "pipeline/core/a.py",
        "from pipeline.native.sizings import x",
        "from pipeline.native.sizing import x",
    ),
    (rules.imports_point_down, "pipeline/core/a.py", "from . import b", "from pipeline.core import b"),
    (
        rules.imports_point_down,
        "pipeline/venues/a.py",
        "from pipeline.net import x",
        "from pipeline.core import x",
    ),
    (
        rules.imports_point_down,
        "pipeline/venues/a.py",
        "from pipeline.shm import x",
        "from pipeline.native import x",
    ),
    (
        rules.imports_point_down,
        "pipeline/stages/a.py",
        "from pipeline.run import x",
        "from pipeline.store import x",
    ),
    (
        rules.imports_point_down,
        "pipeline/stages/a.py",
        "from pipeline.sim import x",
        "from pipeline.venues import x",
    ),
    (
        rules.imports_point_down,
        "pipeline/net/a.py",
        "from pipeline.store import x",
        "from pipeline.net import x",
    ),
    (
        rules.imports_point_down,
        "pipeline/units.py",
        "from pipeline.config import x",
        "from pipeline.errors import x",
    ),
    (rules.imports_point_down, "pipeline/errors.py", "from pipeline.units import x", "import enum"),
    (
        rules.imports_point_down,
        "pipeline/native/a.pyx",
        "from pipeline.shm.m cimport x",
        "from pipeline.records import x",
    ),
    (
        rules.imports_point_down,
        "pipeline/native/a.pxd",
        "cimport pipeline.core.x",
        "cimport pipeline.native.x",
    ),
    (
        rules.imports_point_down,
        "pipeline/run/a.py",
        "def f():\n    import pipeline.cli",
        "import pipeline.sim",
    ),
    (
        rules.imports_point_down,
        "pipeline/sim/a.py",
        "from pipeline.core import x",
        "from pipeline.records import x",
    ),
    (
        rules.imports_point_down,
        "pipeline/sim/a.py",
        "import pipeline.native.ring",
        "import pipeline.sim.book",
    ),
    (rules.imports_point_down, "pipeline/sim/a.py", "import coincurve", "from eth_account import Account"),
    (rules.imports_point_down, "pipeline/sim/a.py", "from py_clob_client import x", "import hashlib, orjson"),
    (rules.file_fits_a_head, "pipeline/a.py", "x = 1\n" * 401, "x = 1\n" * 400),
    (rules.file_fits_a_head, "pipeline/native/a.h", "int x;\n" * 401, "int x;\n" * 400),
    (
        rules.function_fits_a_screen,
        "a.py",
        "def f():\n" + "    x = 1\n" * 70,
        "def f():\n" + "    x = 1\n" * 69,
    ),
    (
        rules.function_fits_a_screen,
        "a.py",
        f"class A:\n  async def f():\n{LONG_BODY}",
        f"class A:\n{LONG_BODY}",
    ),
    (
        rules.function_fits_a_screen,
        "a.pyx",
        f"cdef int f(int a,\n    int b) nogil:\n{LONG_BODY}",
        f"cdef int f(int a)\n{LONG_BODY}",
    ),
    (
        rules.function_fits_a_screen,
        "a.pyx",
        f"    cpdef f(self):  # fast\n{LONG_BODY}".replace("    x", "        x"),
        f"cdef class F(Base):\n{LONG_BODY}",
    ),
    (rules.line_fits, "a.pyx", "x" * 111, "x" * 110),
    (rules.module_says_its_job, "pipeline/a.py", "x = 1", ""),
    (rules.module_says_its_job, "pipeline/a.pyx", "# cython: x\nx = 1", '# cython: x\n"""Job."""'),
    (rules.test_states_its_promise, "tests/test_a.py", "def test_a(): pass", "def helper(): pass"),
    (
        rules.test_states_its_promise,
        "tests/test_a.py",
        "class TestA:\n  async def test_a(): pass",
        'def test_a():\n    "Promise."',
    ),
    (rules.tests_do_not_sleep, "tests/a.py", "import time\ntime.sleep(1)", "import time\ntime.monotonic()"),
    (rules.tests_do_not_sleep, "tests/a.py", "from time import sleep", "from time import monotonic"),
    (
        rules.errors_are_named,
        "pipeline/a.py",
        "try: x\nexcept Exception: pass",
        "try: x\nexcept OSError: pass",
    ),
    (
        rules.errors_are_named,
        "pipeline/a.py",
        "try: x\nexcept: pass",
        "try: x\nexcept BaseException:\n    raise",
    ),
    (
        rules.errors_are_named,
        "pipeline/a.py",
        "try: x\nexcept (OSError, Exception): pass",
        "try: x\nfinally: pass",
    ),
    (
        rules.errors_are_named,
        "pipeline/a.pyx",
        "try:\n    x\nexcept Exception as e:\n    pass",
        "cdef int f() except -1:\n    pass\nexcept OSError:",
    ),
    (rules.asserts_stand_at_import, "pipeline/a.py", "def f():\n    assert x", "assert x"),
    (rules.core_is_pure, "pipeline/core/a.py", "x = 1 / 2", "x = 1 // 2"),
    (rules.core_is_pure, "pipeline/core/a.py", "x /= 2", "x //= 2"),
    (rules.core_is_pure, "pipeline/core/a.py", "x = 0.5", "x = 5"),
    (rules.core_is_pure, "pipeline/core/a.py", "x = float(y)", "x: float"),
    (rules.core_is_pure, "pipeline/core/a.py", "x = hash(y)", "x = y.hash"),
    (rules.core_is_pure, "pipeline/core/a.py", "x = id(y)", "x = y.id"),
    (rules.core_is_pure, "pipeline/core/a.py", "def f():\n    import time", "import enum"),
    (rules.core_is_pure, "pipeline/core/a.py", "from random import Random", "from bisect import insort"),
    (rules.core_is_pure, "pipeline/core/a.py", "for x in {1, 2}: pass", "for x in (1, 2): pass"),
    (
        rules.core_is_pure,
        "pipeline/core/a.py",
        "s = set()\nfor x in s: pass",
        "s = set()\nfor x in sorted(s): pass",
    ),
    (
        rules.core_is_pure,
        "pipeline/core/a.py",
        "class A:\n  s: set[int]\n  def f(self): return [x for x in self.s]",
        "class A:\n  s: set[int]\n  def f(self, x): return x in self.s",
    ),
    (
        rules.core_is_pure,
        "pipeline/core/a.py",
        "s = frozenset(y)\nz = list(s)",
        "s = frozenset(y)\nz = len(s)",
    ),
    (
        rules.core_is_pure,
        "pipeline/core/a.py",
        "def f(s: set[int]): return tuple(s | t)",
        "def f(s: list[int]): return tuple(s)",
    ),
    (
        rules.oldest_goes_by_popitem,
        "pipeline/stages/a.py",
        "del known[next(iter(known))]",
        "known.popitem(last=False)",
    ),
    (rules.ids_are_no_numbers, "pipeline/venues/a.py", "row = int(float(token_id))", "row = float(price)"),
    (
        rules.ids_are_no_numbers,
        "pipeline/store/a.py",
        "np.int64(record.asset_id)",
        "np.int64(record.asset_count)",
    ),
    (
        rules.ids_are_no_numbers,
        "pipeline/records.py",
        '("token_yes", "<u8"),',
        '("token_yes", "u1", 32), ("condition_bytes", "u1"),',
    ),
    (rules.ids_are_no_numbers, "pipeline/native/a.h", "uint64_t token_id;", "const char* token_id;"),
    (
        rules.units_are_made_at_the_edge,
        "pipeline/stages/a.py",
        "from pipeline.units import decimal_to_int",
        "from pipeline.units import cost_micro",
    ),
    (rules.units_are_made_at_the_edge, "pipeline/core/a.py", "from decimal import Decimal", "import enum"),
    (rules.names_no_machine, "README.md", f"see {rules.MACHINE_WORDS[0]}x", "see ../shared/x"),
    (rules.names_no_machine, "requirements.lock", f"--index-url {rules.MACHINE_WORDS[2]}/simple", "numpy==2"),
]


@pytest.mark.parametrize(
    ("rule", "path", "bad", "good"), PLANTED, ids=[f"{row[0].__name__}-{i}" for i, row in enumerate(PLANTED)]
)
def test_rule_finds_the_plant_and_spares_its_neighbour(
    rule: rules.Rule, path: str, bad: str, good: str
) -> None:
    """A rule reports what breaks it, with the place, and nothing beside it."""
    problems = rule(path, bad)
    assert problems
    assert all(problem.startswith(f"{path}:") for problem in problems)
    assert [] == rule(path, good)


def test_a_lane_top_may_catch_everything() -> None:
    """The one place where an unexpected error ends a process in order."""
    assert [] == rules.errors_are_named("pipeline/run/lane.py", "try: x\nexcept Exception: pass")


PAIR = {
    "pipeline/native/a.pyx": "store_release(w, 1)  # SYNC done -> b",
    "pipeline/native/b.h": "load_acquire(w); /* SYNC done <- a */",
}
BAD_SYNC = [
    {"pipeline/native/a.pyx": PAIR["pipeline/native/a.pyx"]},
    {**PAIR, "pipeline/native/c.pyx": "load_acquire(w)  # SYNC done <- a"},
    {**PAIR, "pipeline/native/b.h": "store_release(w); /* SYNC done <- a */"},
    {**PAIR, "pipeline/native/b.h": "x = w[0]; /* SYNC done <- a */"},
    {**PAIR, "pipeline/native/b.h": "load_acquire(w); /* SYNC donne <- a */"},
]


@pytest.mark.parametrize("sources", BAD_SYNC)
def test_broken_sync_pairs_are_found(sources: dict[str, str]) -> None:
    """A label alone, thrice, misspelt, or without release and acquire is a problem."""
    assert whole.sync_labels_pair(sources)


def test_good_sync_pairs_pass() -> None:
    """Release with acquire, and full fence with full fence, are pairs; prose about labels is not counted."""
    fences = {
        "a": "fence_full()  # SYNC wake -> b",
        "b": "fence_full()  # SYNC wake <- a\nthe SYNC wake label",
    }
    assert [] == whole.sync_labels_pair({**PAIR, **fences})


LOCK = (ROOT / "requirements.lock").read_text()
PYPROJECT = (ROOT / "pyproject.toml").read_text()
BAD_LOCKS = [
    (PYPROJECT.replace('"orjson>=3.10"', '"orjson>=3.10", "flask>=1"'), LOCK, "flask is missing"),
    (PYPROJECT.replace("picows==2.3.1", "picows==2.3.0"), LOCK, "picows==2.3.0 is not met by 2.3.1"),
    (
        PYPROJECT.replace('"setuptools==80.9.0"', '"setuptools>=80"'),
        LOCK,
        "build requirement setuptools>=80 is not an exact",
    ),
    (PYPROJECT, LOCK.replace("orjson==", "orjsonn=="), "orjson is missing"),
    (PYPROJECT, LOCK + "flask==1.0\n", "flask has no hash"),
    (PYPROJECT, LOCK + "--index-url https://example.com\n", "neither a pin nor a hash: '--index-url"),
    (PYPROJECT, LOCK + "orjson==3.0 \\\n    --hash=sha256:" + "0" * 64 + "\n", "orjson is pinned twice"),
]


@pytest.mark.parametrize(("pyproject", "lock", "expected"), BAD_LOCKS, ids=[row[2][:24] for row in BAD_LOCKS])
def test_broken_locks_are_found(pyproject: str, lock: str, expected: str) -> None:
    """A package missing, of another version, unhashed, doubled, or an address in the lock is a problem."""
    assert any(expected in problem for problem in whole.lock_agrees(pyproject, lock))
