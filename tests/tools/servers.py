"""Real programs of other projects that tests need: found here, or fetched from the Debian archive.

A package is unpacked into the cache of pytest, so no service starts and no right of root is needed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(cache: Path) -> Path:
    """Return Prometheus's own checker; skips the test ("servers: ...") when there is no way to have it."""
    return program("promtool", "prometheus", cache)


def program(name: str, package: str, cache: Path) -> Path:
    """Return the program: of this machine, of an earlier session, or of the Debian package."""
    if found := shutil.which(name):
        return Path(found)
    unpacked = cache / package / "usr" / "bin" / name
    if not unpacked.exists():
        why = _fetch(package, cache)
        if why or not unpacked.exists():
            pytest.skip(f"servers: {name} is absent and {package} cannot be fetched: {why or 'not in it'}")
    return unpacked


def _fetch(package: str, cache: Path) -> str:
    """Unpack the package into `cache/package`; return why it could not be, "" = done."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        return "this is no Debian; install it by hand"
    cache.mkdir(parents=True, exist_ok=True)
    if words := _run(["apt-get", "download", package], cache):
        if _run(["apt-get", "update"], cache):
            return words
        if words := _run(["apt-get", "download", package], cache):
            return words
    newest = max(cache.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)
    words = _run(["dpkg-deb", "-x", str(newest), str(cache / package)], cache)
    newest.unlink()
    return words


def _run(command: list[str], folder: Path) -> str:
    """Return the last words of a command that failed, "" of one that did not."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"])[-1]
