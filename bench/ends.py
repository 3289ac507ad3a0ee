"""Runs the two ends of a channel at once on two CPUs: one forked child and this process, both pinned."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any


def two_cpus() -> tuple[int, int]:
    """Return two CPUs we may use: distinct where there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def together(here: Callable[[], Any], there: Callable[[], dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
    """Return what `here` returns in this process and `there` in a child; the native loops hold no GIL."""
    before = os.sched_getaffinity(0)
    own_cpu, other_cpu = two_cpus()
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        os.sched_setaffinity(0, {other_cpu})
        os.write(write_fd, json.dumps(there()).encode())
        os._exit(0)
    os.close(write_fd)
    try:
        os.sched_setaffinity(0, {own_cpu})
        found = here()
    finally:
        os.sched_setaffinity(0, before)
        with os.fdopen(read_fd) as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
    return found, json.loads(answer)
