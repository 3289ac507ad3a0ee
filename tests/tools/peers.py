"""An environment of their own for the venue's official clients, made from tests/peers/requirements.lock.

It stands outside the project, in the user's cache, under a name that depends on the lock and the interpreter,
and is made once. Hashes are checked; the machine's own package index serves the files. Where none can be
reached the tests are skipped ("servers: ..."), and the session's closing line counts them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.tools.lock import PEERS

LOCK = PEERS / "requirements.lock"
INSTALL_S_MAX = 280


def cache_folder() -> Path:
    """Return where this user keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pm-pipeline"


def environment_folder(cache: Path, lock: bytes) -> Path:
    """Return the environment's folder: another lock or interpreter is another environment."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}-{sys.base_prefix}"
    name = hashlib.sha256(lock + version.encode()).hexdigest()[:16]
    return cache / f"peers-{name}"


def peers_python() -> Path:
    """Return the interpreter that has the official clients; skips the test when they cannot be had."""
    folder = environment_folder(cache_folder(), LOCK.read_bytes())
    python, stamp = folder / "bin" / "python", folder / "stamp"
    if stamp.exists():
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / "lock", "w") as guard:  # one session installs, another waits for it
        fcntl.flock(guard, fcntl.LOCK_EX)
        if stamp.exists():
            return python
        why = _install(folder)
        if why:
            pytest.skip(f"servers: the official clients cannot be installed from {LOCK.name}: {why}")
        stamp.touch()  # last, so that an interrupted install is simply not there
    return python


def _install(folder: Path) -> str:
    """Make the environment; return why it could not be, "" = done."""
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=False, symlinks=True)
    command = [
        sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet",
        "--disable-pip-version-check", "--no-input", "--require-hashes", "--only-binary", ":all:",
        "-r", str(LOCK),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S_MAX)
    except subprocess.TimeoutExpired:
        return f"no end after {INSTALL_S_MAX} s"
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]


def clean_environment(**values: str) -> dict[str, str]:
    """Return the variables of a client's process: nothing of the project, no proxy of this machine."""
    dropped = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {
        name: value for name, value in os.environ.items()
        if name not in dropped and not name.lower().endswith("_proxy") and not name.startswith("SSL_CERT")
    }
    return {**kept, **values}
