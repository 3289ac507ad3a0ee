"""Keeps a process's memory out of the reach of the pager: a page that was touched once stays.

A lane that waits for a page from disk misses what it runs for. Called once by each lane, before its loop.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # Linux: include/uapi/asm-generic/mman.h
_CAP_IPC_LOCK = 14


def lock_memory() -> str:
    """Lock all memory of this process, now and later, page by page as it is touched; "" = done.

    Otherwise returns why not, for one warning: the caller goes on. Not even tried under a finite limit:
    memory mapped later would then fail in the middle of a run instead of a lock at its start.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != resource.RLIM_INFINITY and not _may_lock_all():
        return f"RLIMIT_MEMLOCK is {soft} bytes; set LimitMEMLOCK=infinity in the unit"
    libc = ctypes.CDLL(None, use_errno=True)
    # On fault: arenas and rings are reserved for their worst case, and whoever writes a page populates it.
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return f"mlockall was refused ({os.strerror(ctypes.get_errno())})"
    return ""


def locked_bytes(pid: int | None = None) -> int:
    """Return how much memory of a process is locked, as the kernel counts it; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmLck:"):
            return int(line.split()[1]) * 1024
    return 0


def _may_lock_all() -> bool:
    """Tell whether the limit does not bind us: the kernel asks for CAP_IPC_LOCK."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False
