"""`./pm` with a pretended machine: what it installs, what it prints, what it never does twice.

PATH holds links to the few tools that every Linux has, and stand-ins for Python, the compiler, apt and id
that write down how they were called. The real thing runs on a bare Debian before each release (README).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.shared import ROOT

TOOLS = (
    "sh",
    "cat",
    "sha256sum",
    "find",
    "sort",
    "xargs",
    "dirname",
    "readlink",
    "tail",
    "mkdir",
    "rm",
    "cp",
    "chmod",
    "flock",
    "env",
    "basename",
)
PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >>"$CALLS"
case "$*" in
    -) cat >/dev/null; printf '%s\\n' "${PYTHON_LACKS:-}" ;;
    --version) echo "Python 3.11.9" ;;
    "-m venv "*)
        mkdir -p "$3/bin"; cp "$0" "$3/bin/python"
        printf '#!/bin/sh\\necho "ran $*"\\n' >"$3/bin/pm-pipeline"; chmod +x "$3/bin/pm-pipeline" ;;
    *--require-hashes*) [ -z "${PIP_FAILS:-}" ] || { echo "no index"; exit 1; } ;;
    "-m pytest"*) echo "tier $PM_TIER: $*" ;;
    "-m tests.tools.mutants"*) echo "in $(basename "$PWD"): $*"; exit 1 ;;
esac
"""
APT = """#!/bin/sh
printf 'apt %s\\n' "$*" >>"$CALLS"
case "$*" in *" install "*) cp "$PARTS/python3" "$PARTS/gcc" "$BIN" ;; esac
"""


class Machine:
    """A folder with a project and a PATH of its own."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.parts = folder / "project", folder / "bin", folder / "parts"
        for made in (self.root / "pipeline", self.bin, self.parts):
            made.mkdir(parents=True)
        shutil.copy(ROOT / "pm", self.root / "pm")
        for name in ("requirements.lock", "pyproject.toml", "pipeline/ring.pyx"):
            (self.root / name).write_text(name)
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found, tool
            (self.bin / tool).symlink_to(found)
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.script(self.parts / "python3", PYTHON)
        self.script(self.parts / "gcc", "#!/bin/sh\ncat >/dev/null\n")
        self.script(self.bin / "id", "#!/bin/sh\necho 0\n")

    @staticmethod
    def script(path: Path, text: str) -> None:
        """Make an executable."""
        path.write_text(text)
        path.chmod(0o755)

    def has(self, *names: str) -> None:
        """Put Python or the compiler on the machine."""
        for name in names:
            shutil.copy(self.parts / name, self.bin / name)

    def pm(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ./pm."""
        return subprocess.run(
            [str(self.root / "pm"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={
                "PATH": str(self.bin),
                "CALLS": str(self.calls_file),
                "PARTS": str(self.parts),
                "BIN": str(self.bin),
                **environment,
            },
        )

    def calls(self) -> list[str]:
        """Return what was called since the last look."""
        lines = self.calls_file.read_text().splitlines()
        self.calls_file.write_text("")
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine with nothing but the tools of every Linux."""
    return Machine(tmp_path)


def installs(calls: list[str]) -> list[str]:
    """Return the installing calls by name, in order."""
    names = {"-m venv": "venv", "--require-hashes": "packages", "-e .": "project", "build_ext": "native"}
    return [name for call in calls for mark, name in names.items() if mark in call]


def test_first_start_installs_and_later_ones_only_run(machine: Machine) -> None:
    """The first start makes .venv, installs hashed packages, builds; the second calls only the program."""
    machine.has("python3", "gcc")
    first = machine.pm("demo", "--seconds", "5")
    assert (0, "ran demo --seconds 5\n") == (first.returncode, first.stdout)
    assert ["venv", "packages", "project"] == installs(machine.calls())
    assert "making .venv with Python 3.11.9 (once, about a minute)" in first.stderr
    second = machine.pm("--help")
    assert (0, "ran --help\n", "") == (second.returncode, second.stdout, second.stderr)
    assert [] == machine.calls()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("requirements.lock", ["venv", "packages", "project"]),
        ("pyproject.toml", ["project"]),
        ("pipeline/ring.pyx", ["native"]),
        ("pipeline/new.pxd", ["native"]),
        ("pipeline/part.pxi", ["native"]),
        ("pipeline/plain.py", []),
    ],
)
def test_a_change_redoes_only_what_it_touches(machine: Machine, name: str, expected: list[str]) -> None:
    """New packages make .venv anew; native sources alone are rebuilt; Python sources need nothing."""
    machine.has("python3", "gcc")
    machine.pm("--help")
    machine.calls()
    (machine.root / name).write_text("changed")
    assert 0 == machine.pm("--help").returncode
    assert expected == installs(machine.calls())


def test_a_failed_install_leaves_nothing_behind(machine: Machine) -> None:
    """A package that cannot be had is one line with exit 4; the next start begins again from nothing."""
    machine.has("python3", "gcc")
    failed = machine.pm("--help", PIP_FAILS="1")
    assert 4 == failed.returncode
    assert "no index\npm: installing requirements.lock failed (all of it: " in failed.stderr
    assert ["venv", "packages"] == installs(machine.calls())
    assert 0 == machine.pm("--help").returncode
    assert ["venv", "packages", "project"] == installs(machine.calls())


def test_starts_at_the_same_time_install_once(machine: Machine) -> None:
    """Four first starts together: one installs, all run."""
    machine.has("python3", "gcc")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: machine.pm(f"c{n}"), range(4)))
    assert [(0, f"ran c{n}\n") for n in range(4)] == [(run.returncode, run.stdout) for run in done]
    assert ["venv", "packages", "project"] == installs(machine.calls())


def test_root_on_debian_gets_what_is_missing_from_apt(machine: Machine) -> None:
    """With neither Python nor compiler, root's apt is called once and the start goes on."""
    machine.script(machine.bin / "apt-get", APT)
    run = machine.pm("--help")
    assert (0, "ran --help\n") == (run.returncode, run.stdout)
    assert "installing python3 python3-venv python3-dev gcc libc6-dev with apt (once)" in run.stderr
    apt = [call for call in machine.calls() if call.startswith("apt ")]
    assert ["update", "install"] == [
        next(w for w in call.split() if w in ("update", "install")) for call in apt
    ]
    assert apt[1].endswith("--no-install-recommends python3 python3-venv python3-dev gcc libc6-dev")


@pytest.mark.parametrize(
    ("has", "lacks", "expected"),
    [
        ((), "", "python3 python3-venv python3-dev gcc libc6-dev"),
        (("gcc",), "", "python3 python3-venv python3-dev"),
        (("python3",), "", "gcc libc6-dev"),
        (("python3", "gcc"), "venv", "python3-venv"),
        (("python3", "gcc"), "venv dev", "python3-venv python3-dev"),
    ],
)
def test_others_get_the_one_command_to_run(
    machine: Machine, has: tuple[str, ...], lacks: str, expected: str
) -> None:
    """Who is not root reads exactly what to run, and nothing was touched: exit 4."""
    machine.has(*has)
    machine.script(machine.bin / "apt-get", APT)
    machine.script(machine.bin / "id", "#!/bin/sh\necho 1000\n")
    run = machine.pm("--help", PYTHON_LACKS=lacks)
    assert 4 == run.returncode
    assert (
        f"pm: this machine lacks {expected}; run: sudo apt-get update && sudo apt-get install -y {expected}\n"
        == run.stderr
    )
    assert not (machine.root / ".venv").exists()
    assert [] == [call for call in machine.calls() if call.startswith("apt ")]


def test_without_apt_the_line_says_what_is_needed(machine: Machine) -> None:
    """On a machine of another kind the line names what must be there: exit 4."""
    run = machine.pm("--help")
    assert 4 == run.returncode
    assert run.stderr.startswith(
        "pm: this machine lacks Python >= 3.11 with venv and headers, or a C compiler; "
    )
    assert 1 == run.stderr.count("\n")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), (
            "tier commit: -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 "
            "-o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true")),
        (("-k", "vectors"), "tier commit: -m pytest -k vectors"),
        (("--tier", "gate", "-x"), "tier gate: -m pytest -x"),
        (("--tier=soak",), "tier soak: -m pytest"),
    ],
)
def test_test_passes_arguments_to_pytest(machine: Machine, arguments: tuple[str, ...], expected: str) -> None:
    """`./pm test` sets the tier and gives everything else to pytest."""
    machine.has("python3", "gcc")
    run = machine.pm("test", *arguments)
    assert (0, expected) == (run.returncode, run.stdout.strip())


def test_mutants_are_no_test_tier(machine: Machine) -> None:
    """`./pm test --mutants ROW` starts their runner in the project's folder; its exit code counts."""
    machine.has("python3", "gcc")
    run = machine.pm("test", "--mutants", "--thorough", "SH01")
    assert (1, "in project: -m tests.tools.mutants --thorough SH01") == (run.returncode, run.stdout.strip())


@pytest.mark.parametrize("arguments", [("--tier", "gates"), ("--tier",), ("--tier=",)])
def test_an_unknown_tier_is_a_usage_error(machine: Machine, arguments: tuple[str, ...]) -> None:
    """A typo in the tier is exit 2 and runs nothing."""
    machine.has("python3", "gcc")
    run = machine.pm("test", *arguments)
    assert 2 == run.returncode
    assert "--tier is commit, gate or soak" in run.stderr
    assert "" == run.stdout


def test_it_works_through_a_link_and_from_elsewhere(machine: Machine, tmp_path: Path) -> None:
    """A link to ./pm in another folder finds the project, and the caller's folder stays the current one."""
    machine.has("python3", "gcc")
    machine.pm("--help")
    machine.script(machine.root / ".venv" / "bin" / "pm-pipeline", "#!/bin/sh\npwd\n")
    link = tmp_path / "elsewhere" / "pm"
    link.parent.mkdir()
    link.symlink_to(machine.root / "pm")
    done = subprocess.run(
        [str(link)],
        cwd=link.parent,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PATH": os.fspath(machine.bin), "CALLS": os.fspath(machine.calls_file)},
    )
    assert f"{link.parent}\n" == done.stdout
