"""Starts the two ends of a channel as pinned processes and gives what they print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def cpus() -> tuple[int, int]:
    """Return two CPUs we may use: distinct where there are two."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def start(task: dict) -> subprocess.Popen[str]:
    """Start one end."""
    command = [sys.executable, str(Path(__file__).with_name("channel_worker.py")), json.dumps(task)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def answers(processes: list[subprocess.Popen[str]], timeout_s: float) -> list[dict[str, int]]:
    """Return what each printed; an end that fails or hangs fails the test, and none is left running."""
    try:
        found = [process.communicate(timeout=timeout_s)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [0] * len(processes) == [process.returncode for process in processes]
    return [json.loads(text) for text in found]


def die_in_child(work: Callable[[], object]) -> None:
    """Run `work` in a forked child that must end by SIGKILL at its own hand."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(9)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert signal.SIGKILL == os.WTERMSIG(status)
