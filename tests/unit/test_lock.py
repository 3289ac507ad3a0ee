"""Locking memory: the kernel's own count says whether it was done; a refusal changes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.shm.lock import locked_bytes
from tests.shared import ROOT

LOCK = "from pipeline.shm.lock import *; why = lock_memory(); print(locked_bytes() >> 20, why)"
WITHOUT_RIGHT = """
import ctypes, os, resource
PR_CAPBSET_DROP, CAP_IPC_LOCK = 24, 14
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit}, {limit}))
if os.getuid() == 0:
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK)
os.execv({python!r}, [{python!r}, "-c", {code!r}])
"""


def locked(code: str) -> tuple[int, str]:
    """Return MiB locked, and why not more, as a process of its own says."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    mib, _, why = done.stdout.strip().partition(" ")
    return int(mib), why


def test_refusal_is_said_and_nothing_is_locked() -> None:
    """Under a finite limit that binds us, memory stays as it is and the limit is named."""
    code = WITHOUT_RIGHT.format(limit=65_536, python=sys.executable, code=LOCK)
    mib, why = locked(code)
    assert 0 == mib
    assert why.startswith("RLIMIT_MEMLOCK is 65536 bytes; set LimitMEMLOCK=infinity")


def test_locked_memory_is_locked_also_later() -> None:
    """With the right to, everything touched before and after is locked; else the refusal says why."""
    more = "; data = bytearray(64 << 20); print(locked_bytes() >> 20)"
    done = subprocess.run(
        [sys.executable, "-c", LOCK + more], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    mib, _, why = first.partition(" ")
    if why:
        assert (0, 0) == (int(mib), int(second))
        assert "LimitMEMLOCK" in why or "refused" in why
    else:
        assert int(mib) > 5
        assert int(second) >= int(mib) + 64


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_nothing_is_locked_unasked(pid: int | None) -> None:
    """This process never asked; one that does not exist has nothing locked."""
    assert 0 == locked_bytes(pid)
