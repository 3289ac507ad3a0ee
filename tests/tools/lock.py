"""Writes a lock: `python tests/tools/lock.py [project|peers]` from the project's folder.

`project` (the default) writes `requirements.lock`, `peers` writes `tests/peers/requirements.lock`: the
venue's official clients, which live in an environment of their own.

Reads the run, test and build requirements of `pyproject.toml`, lets `uv` choose versions that fit every
supported Python, and keeps the SHA-256 of each source archive and of each wheel that a supported Linux
machine can install. Addresses are dropped: the machine's own package index serves the files, the hashes
decide. Stops when a package has neither a wheel for each machine nor a source archive.

`python tests/tools/lock.py --upgrade` takes the newest versions; without it the versions stay.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = ROOT / "requirements.lock"
PEERS = ROOT / "tests" / "peers"
PYTHONS = ("3.11", "3.12", "3.13")  # what the project promises; wheels of 3.14 are kept when there are any
PYTHONS_ALLOWED = (*PYTHONS, "3.14")
MACHINES = ("x86_64", "aarch64")
GLIBC_MINOR_MAX = 35  # Ubuntu 22.04; a wheel that asks for a newer C library is not counted on

PIN = r"^([^#\s][^\s;]*==[^\s;]+)"  # one pinned package at the start of a line
PEERS_HEADER = """\
# Exact versions and SHA-256 of the venue's official clients and of what they need, for Linux on x86-64 and
# aarch64 and CPython 3.11 to 3.13; never part of the project's own environment: tests/tools/peers.py makes
# theirs. No addresses. Made by: python tests/tools/lock.py peers   (keeps versions; --upgrade: new ones)
"""
HEADER = """\
# Exact versions and SHA-256 of every package that ./pm installs: run, test and build requirements of
# pyproject.toml, for Linux on x86-64 and aarch64 and CPython 3.11 to 3.13. No addresses: the machine's own
# package index serves them. Made by: python tests/tools/lock.py   (keeps versions; --upgrade takes new ones)
"""


def requirements(project: dict[str, Any]) -> list[str]:
    """Return every requirement that the lock must cover: run, test, build."""
    own: dict[str, Any] = project["project"]
    return [*own["dependencies"], *own["optional-dependencies"]["test"], *project["build-system"]["requires"]]


def _fits(platform: str, machine: str) -> bool:
    if platform == "any":
        return True
    if not platform.endswith("_" + machine) or not platform.startswith(("manylinux", "linux")):
        return False
    newest = re.match(r"manylinux_2_(\d+)_", platform)
    return newest is None or int(newest[1]) <= GLIBC_MINOR_MAX


def _runs(tag: Tag, python: str) -> bool:
    """Tell whether a wheel's tag suits this CPython: its own, abi3 of an older one, or pure Python."""
    own = "cp" + python.replace(".", "")
    if tag.interpreter == own:
        return tag.abi in (own, "abi3", "none")
    if tag.abi == "abi3" and tag.interpreter.startswith("cp3"):
        return int(tag.interpreter[3:]) <= int(own[3:])
    return tag.abi == "none" and tag.interpreter in ("py3", "py2.py3", "py" + own[2:])


def wheel_targets(filename: str) -> set[tuple[str, str]]:
    """Return the (machine, python) pairs that can install this wheel; empty for Windows, macOS, musl."""
    tags = parse_wheel_filename(filename)[3]
    return {
        (machine, python)
        for machine in MACHINES for python in PYTHONS_ALLOWED
        for tag in tags if _fits(tag.platform, machine) and _runs(tag, python)
    }


def _environments() -> list[tuple[str, str, dict[str, str]]]:
    base = {
        "sys_platform": "linux", "platform_system": "Linux", "os_name": "posix",
        "implementation_name": "cpython", "platform_python_implementation": "CPython", "extra": "",
    }
    return [
        (machine, python, {**base, "platform_machine": machine, "python_version": python,
                           "python_full_version": python + ".9"})
        for machine in MACHINES for python in PYTHONS_ALLOWED
    ]


def package_lines(package: dict[str, Any]) -> list[str]:
    """Return the lock's lines of one package of a pylock file; [] when no supported machine needs it.

    Raises SystemExit when a supported machine could not install it.
    """
    name, marker = f'{package["name"]}=={package["version"]}', package.get("marker")
    needed = {
        (machine, python) for machine, python, environment in _environments()
        if marker is None or Marker(marker).evaluate(environment)
    }
    if not needed:
        return []
    everywhere = len(needed) == len(MACHINES) * len(PYTHONS_ALLOWED)
    hashes, covered = set(), set()
    for wheel in package.get("wheels", []):
        targets = wheel_targets(wheel.get("name") or wheel["url"].rpartition("/")[2]) & needed
        if targets:
            covered |= targets
            hashes.add(wheel["hashes"]["sha256"])
    if source := package.get("sdist"):
        hashes.add(source["hashes"]["sha256"])
    missing = {target for target in needed - covered if target[1] in PYTHONS}
    if missing and not source:
        raise SystemExit(
            f"lock: {name} has no wheel for {sorted(missing)} and no source archive; choose another")
    if missing:
        print(f"lock: {name} is built from source on {sorted(missing)}", file=sys.stderr)
    head = name if everywhere else f"{name} ; {marker}"
    return [head + " \\", *(f"    --hash=sha256:{value} \\" for value in sorted(hashes)[:-1]),
            f"    --hash=sha256:{max(hashes)}"]


def _uv(folder: Path) -> list[str]:
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", "uv"], check=True)
    return [python, "-m", "uv"]


def main(arguments: list[str]) -> None:
    """Write the lock that the arguments name."""
    if "peers" in arguments:
        lines = (PEERS / "requirements.in").read_text().splitlines()
        wanted = [line for line in lines if line and not line.startswith("#")]
        lock, header = PEERS / "requirements.lock", PEERS_HEADER
    else:
        wanted = requirements(tomllib.loads((ROOT / "pyproject.toml").read_text()))
        lock, header = LOCK, HEADER
    write(lock, header, wanted, keeps="--upgrade" not in arguments)


def write(lock: Path, header: str, wanted: list[str], keeps: bool) -> None:
    """Resolve the requirements and write one lock; `keeps` leaves versions that it holds already."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.txt").write_text("\n".join(wanted) + "\n")
        held = re.findall(PIN, lock.read_text() if keeps and lock.exists() else "", re.MULTILINE)
        (folder / "held.txt").write_text("\n".join(held) + "\n")
        subprocess.run(
            [*_uv(folder), "pip", "compile", "-q", "in.txt", "-c", "held.txt",
             "--universal", "--fork-strategy", "fewest", "--python-version", PYTHONS[0],
             "--format", "pylock.toml", "-o", "pylock.toml"],
            cwd=folder, check=True)
        packages = tomllib.loads((folder / "pylock.toml").read_text())["packages"]
    blocks = [lines for package in packages if (lines := package_lines(package))]
    lock.write_text(header + "".join("\n".join(lines) + "\n" for lines in blocks))
    print(f"lock: {len(blocks)} packages in {lock.relative_to(ROOT)}")


if __name__ == "__main__":
    main(sys.argv[1:])
