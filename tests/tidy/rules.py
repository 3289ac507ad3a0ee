"""The rules of the house as functions: path and text in, violations out. tests/tidy/test_*.py applies them.

Each rule is itself tested against planted violations (tests/tidy/test_planted.py), so none can rot into a
check that never fails. A violation reads `path:line: what is wrong; what to do`.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
LINE_COLUMNS_MAX = 110
GENERATED = ("pipeline/native/records.pxd",)

#: Imports point down only; units of one level import each other only where BESIDE says so.
LEVELS = {
    "cli": 7,
    "run": 6,
    "stages": 5,
    "ui": 4,
    "net": 4,
    "store": 4,
    "venues": 3,
    "core": 2,
    "native": 2,
    "shm": 2,
    "config": 1,
    "codec": 1,
    "records": 1,
    "kinds": 1,
    "units": 1,
    "errors": 1,
}
BESIDE = {
    ("shm", "native"),  # futex, atomics and counters are native; the pages are laid out in shm
    ("config", "records"),
    ("config", "kinds"),
    ("config", "units"),
    ("config", "errors"),
    ("codec", "records"),
    ("codec", "kinds"),
    ("codec", "errors"),
    ("records", "kinds"),
    ("records", "units"),
    ("records", "errors"),
    ("units", "errors"),
}
BOTTOM = {"codec", "records", "kinds", "units", "errors"}
#: Stricter than the levels.
ONLY = {"core": BOTTOM, "venues": BOTTOM | {"core", "native"}, "sim": BOTTOM - {"codec"}}
#: Native modules that are arithmetic and nothing else (no clock, file or shared memory): core may call them.
NATIVE_OF_CORE = tuple(
    f"pipeline.native.{name}" for name in ("gate", "legs", "packages", "sizing", "sums"))
SIM_USERS = {"run", "cli", "sim"}
SIM_LIBRARIES = {
    "aiohttp",
    "eth_abi",
    "eth_account",
    "eth_keys",
    "eth_utils",
    "hexbytes",
    "numpy",
    "orjson",
    "picows",
}
SIM_LIBRARIES |= {"cryptography", "uvloop", "zstandard"}  # certificates, event loop, recordings

CORE_IMPORTS_BANNED = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "socket",
    "threading",
    "time",
    "uuid",
}
CORE_CALLS_BANNED = {"float", "hash", "id", "input", "open", "print"}
# In halves, so that this file does not name them itself.
MACHINE_WORDS = tuple("".join(halves) for halves in (
    ("/wo", "rk/"), ("/op", "t/pmdev"), ("pypi", ".org"), ("python", "hosted"), ("sub", "agent"),
))

Rule = Callable[[str, str], list[str]]


def unit_of(path: str) -> str:
    """Return the part of the pipeline that a file belongs to: "core", "records", ...; "" outside."""
    parts = path.split("/")
    if parts[0] != "pipeline" or len(parts) < 2:
        return ""
    return parts[1].partition(".")[0]


def _imports(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import and cimport; `from a import b` gives "a.b"."""
    if path.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"\s*from\s+([\w.]+)\s+c?import\s+(.+)", line):
            names = re.findall(r"\w+", found[2].partition("#")[0]) or ["*"]
            yield from ((number, f"{found[1]}.{name}") for name in names)
        elif found := re.match(r"\s*c?import\s+([\w.]+)", line):
            yield number, found[1]


def imports_point_down(path: str, text: str) -> list[str]:
    """cli > run > stages > ui, net, store > venues > core, native, shm > config, records, units, errors."""
    own = unit_of(path)
    if own in ("", "__init__"):
        return []
    found = []
    for line, name in _imports(path, text):
        where = f"{path}:{line}"
        if name.startswith("."):
            found.append(f"{where}: relative import {name}; write it from pipeline. on")
        if own == "sim" and name.partition(".")[0] != "pipeline":
            found += _sim_library(where, name)
        target = name.split(".")[1] if name.startswith("pipeline.") else ""
        if target in ("", own) or target.startswith("_"):
            continue
        if target == "sim":
            allowed = own in SIM_USERS
        elif own in ONLY:
            allowed = target in ONLY[own] or (own == "core" and _is_pure_native(name))
        else:
            allowed = LEVELS[target] < LEVELS[own] or (own, target) in BESIDE
        if not allowed:
            found.append(f"{where}: {own} imports {target}; imports point down only")
    return found


def _is_pure_native(name: str) -> bool:
    return any(name == pure or name.startswith(pure + ".") for pure in NATIVE_OF_CORE)


def _sim_library(where: str, name: str) -> list[str]:
    """The exchange judges with libraries of its own choice; none of them is on the trading path."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in SIM_LIBRARIES or not top:
        return []
    return [f"{where}: sim imports {top}; it shares no code with what it judges"]


def file_fits_a_head(path: str, text: str) -> list[str]:
    """At most 400 lines a source file."""
    count = len(text.splitlines())
    if path in GENERATED or count <= FILE_LINES_MAX:
        return []
    return [
        f"{path}:{count}: {count} lines, at most {FILE_LINES_MAX}; is there a second reason to change in it?"]


def function_fits_a_screen(path: str, text: str) -> list[str]:
    """At most 70 lines a function, Python or Cython."""
    found = []
    for line, name, count in _functions(path, text):
        if count > FUNCTION_LINES_MAX:
            found.append(f"{path}:{line}: {name} has {count} lines, at most {FUNCTION_LINES_MAX}; split it")
    return found


def _functions(path: str, text: str) -> Iterator[tuple[int, str, int]]:
    if path.endswith(".py"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1
        return
    lines = text.splitlines()
    for index, line in enumerate(lines):
        start = re.match(r"(\s*)(?:async\s+)?(?:def|cpdef|cdef(?!\s+class\b))\s[^=]*?(\w+)\s*\(", line)
        if not start:
            continue
        header, head_end = line, index
        while header.count("(") > header.count(")") and head_end + 1 < len(lines):
            head_end += 1
            header += lines[head_end]
        if not header.partition("#")[0].rstrip().endswith(":"):
            continue  # a declaration or a local variable
        last = head_end
        for number in range(head_end + 1, len(lines)):
            body = lines[number]
            if body.strip() and len(body) - len(body.lstrip()) <= len(start[1]):
                break
            last = number if body.strip() else last
        yield index + 1, start[2], last - index + 1


def line_fits(path: str, text: str) -> list[str]:
    """At most 110 columns."""
    return [
        f"{path}:{number}: {len(line)} columns, at most {LINE_COLUMNS_MAX}"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > LINE_COLUMNS_MAX and path not in GENERATED
    ]


def module_says_its_job(path: str, text: str) -> list[str]:
    """A module with code opens with a docstring."""
    if path.endswith(".pyx"):
        body = re.sub(r"\A(?:\s*#[^\n]*\n)*\s*", "", text)
        has = not body or body.startswith(('"""', 'r"""'))
    else:
        tree = ast.parse(text)
        has = not tree.body or ast.get_docstring(tree) is not None
    return [] if has else [f"{path}:1: no module docstring; say its job and what it reads and writes"]


def test_states_its_promise(path: str, text: str) -> list[str]:
    """Every test function has a docstring: the promise that it guards."""
    return [
        f"{path}:{node.lineno}: {node.name} has no docstring; state the promise it guards"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]


test_states_its_promise.__test__ = False  # type: ignore[attr-defined]  # a rule, not a test


def tests_do_not_sleep(path: str, text: str) -> list[str]:
    """A test polls a condition with a deadline (tests.shared.wait_until); it never sleeps."""
    found = []
    for node in ast.walk(ast.parse(text)):
        is_call = isinstance(node, ast.Attribute) and node.attr == "sleep" and _name(node.value) == "time"
        is_import = (
            isinstance(node, ast.ImportFrom)
            and node.module == "time"
            and any(alias.name == "sleep" for alias in node.names)
        )
        if is_call or is_import:
            found.append(f"{path}:{node.lineno}: time.sleep; use tests.shared.wait_until")
    return found


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def errors_are_named(path: str, text: str) -> list[str]:
    """`except Exception` (or wider) stands at a lane's top only; a clean-up that raises on is no catch."""
    if path == "pipeline/run/lane.py":
        return []
    if not path.endswith(".py"):
        wide = re.compile(r"^\s*except\s*(?:\(?[^:]*\b(?:Base)?Exception\b[^:]*)?:")
        return [
            f"{path}:{number}: catches everything; name the error"
            for number, line in enumerate(text.splitlines(), 1)
            if wide.match(line)
        ]
    found = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        is_wide = any(kind is None or _name(kind) in ("Exception", "BaseException") for kind in kinds)
        raises_on = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if is_wide and not raises_on:
            found.append(f"{path}:{node.lineno}: catches everything; name the error")
    return found


def asserts_stand_at_import(path: str, text: str) -> list[str]:
    """`python -O` removes asserts, so inside a function an `if` raises InvariantError."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [
                f"{path}:{inner.lineno}: assert in a function; raise InvariantError"
                for inner in ast.walk(node)
                if isinstance(inner, ast.Assert)
            ]
    return sorted(set(found))


def core_is_pure(path: str, text: str) -> list[str]:
    """core does integer arithmetic on records: no clock, chance, file, float, address or order of a set."""
    tree, found = ast.parse(text), []
    sets = _set_names(tree)
    for node in ast.walk(tree):
        line = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            found.append(f"{line}: true division; use // and name the rounding")
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            found.append(f"{line}: float {node.value}; use integer units")
        elif isinstance(node, ast.Call) and _name(node.func) in CORE_CALLS_BANNED:
            found.append(f"{line}: {_name(node.func)}() is banned in core")
        elif isinstance(node, ast.Call) and _name(node.func) in (
            "list",
            "tuple",
            "iter",
            "enumerate",
            "next",
        ):
            found += [f"{line}: iterates a set; sort it" for inner in node.args[:1] if _is_set(inner, sets)]
        elif isinstance(node, ast.For | ast.comprehension) and _is_set(node.iter, sets):
            found.append(f"{path}:{node.iter.lineno}: iterates a set; sort it")
    found += [
        f"{path}:{line}: imports {name.partition('.')[0]}; core reads nothing but records"
        for line, name in _imports(path, text)
        if name.partition(".")[0] in CORE_IMPORTS_BANNED
    ]
    return found


def _set_names(tree: ast.AST) -> set[str]:
    """Return what is assigned or annotated as a set, as it is written ("seen", "self.seen")."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_set(node.value, set()):
            names |= {ast.unparse(target) for target in node.targets}
        elif isinstance(node, ast.AnnAssign) and re.match(r"(frozen)?set\b", ast.unparse(node.annotation)):
            names |= {ast.unparse(node.target), "self." + ast.unparse(node.target)}
        elif isinstance(node, ast.arg) and node.annotation is not None:
            names |= {node.arg} if re.match(r"(frozen)?set\b", ast.unparse(node.annotation)) else set()
    return names


def _is_set(node: ast.AST, names: set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Call) and _name(node.func) in ("set", "frozenset"):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        return _is_set(node.left, names) or _is_set(node.right, names)
    return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in names


def oldest_goes_by_popitem(path: str, text: str) -> list[str]:
    """What forgets its oldest entry is an OrderedDict: a dict looks past all that was deleted before it."""
    return [
        f"{path}:{number}: next(iter(...)) of what loses its oldest entry; OrderedDict.popitem(last=False)"
        for number, line in enumerate(text.splitlines(), 1)
        if re.search(r"(\bdel |\.pop\().*next\(iter\(", line)
    ]


_ID = r"(?:token|asset|condition|position)(?:_ids?|_yes|_no)?"
_ID_NUMBERS = (
    re.compile(rf"\b(?:float|int64|uint64|float64)\([^()]*\b{_ID}\b"),  # a call on it
    re.compile(rf'\("{_ID}",\s*"<?[iuf]\d"\)'),  # a number of a record
    re.compile(
        r"\b(?:u?int\d+_t|long|float|double|size_t|Py_ssize_t)\s+(?:token|asset|condition|position)_id\b"),
)


def ids_are_no_numbers(path: str, text: str) -> list[str]:
    """A 256-bit id is text or 32 bytes: a float rounds it, 64 bits cut it (fault MD15)."""
    return [
        f"{path}:{number}: an id as a number; keep its text or its 32 bytes"
        for number, line in enumerate(text.splitlines(), 1)
        if any(pattern.search(line) for pattern in _ID_NUMBERS)
    ]


_TEXT_TO_UNITS = {"decimal", "fractions", "pipeline.units.decimal_to_int", "pipeline.units.int_to_decimal"}


def units_are_made_at_the_edge(path: str, text: str) -> list[str]:
    """Decimal text becomes integers of a unit at the venue's or the user's edge, nowhere between (OR17)."""
    return [
        f"{path}:{line}: imports {name}; units are made in venues, config, store, ui and cli alone"
        for line, name in _imports(path, text)
        if name in _TEXT_TO_UNITS or name.partition(".")[0] in _TEXT_TO_UNITS
    ]


def names_no_machine(path: str, text: str) -> list[str]:
    """The project names no path or index host of a machine that it was made on."""
    return [
        f"{path}:{number}: names {word!r}; reword it"
        for number, line in enumerate(text.splitlines(), 1)
        for word in MACHINE_WORDS
        if word in line
    ]
