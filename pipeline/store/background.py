"""One thread for disk work, beside a lane that must never wait for a disk.

A job is a function without arguments; jobs run one by one in the order in which they were given, and what
they return, or the OSError or PipelineError that they raise, comes back through `results`. Any other error is
a mistake of ours: `Broken` comes back and the thread ends. A stalled disk stalls this thread alone.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from pipeline.errors import PipelineError

Job = Callable[[], object]


class Broken(Exception):
    """A job raised what it must not; the thread has said so on stderr and ended."""


class Worker(Protocol):
    """Where disk work is done."""

    def submit(self, job: Job) -> None:
        """Do this, sooner or later."""

    def results(self) -> list[object]:
        """Return what finished since the last call; an exception is returned, not raised."""

    @property
    def waiting(self) -> int:
        """Jobs that were given and whose result was not fetched."""

    def close(self, seconds_max: float) -> bool:
        """Take no more and wait that long for what was given; False when it is still not done."""


class Inline:
    """Does each job at once, in the caller's thread: for simulated time and for tools."""

    def __init__(self) -> None:
        self._results: list[object] = []

    def submit(self, job: Job) -> None:
        """Do it now."""
        self._results.append(_outcome(job))

    def results(self) -> list[object]:
        """Return what finished since the last call."""
        found, self._results = self._results, []
        return found

    @property
    def waiting(self) -> int:
        """Jobs whose result was not fetched."""
        return len(self._results)

    def close(self, seconds_max: float) -> bool:
        """Nothing waits here."""
        del seconds_max
        return True


class Background:
    """The thread; a daemon, so that a disk that never answers does not keep a dead lane's process alive."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._waiting = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            result: object = Broken("store.background: a job broke its thread; the traceback stands above")
            try:
                result = _outcome(job)
            finally:
                self._done.put(result)

    def submit(self, job: Job) -> None:
        """Do this after all that was given before."""
        self._waiting += 1
        self._jobs.put(job)

    def results(self) -> list[object]:
        """Return what finished since the last call."""
        found = []
        while not self._done.empty():
            found.append(self._done.get())
        self._waiting -= len(found)
        return found

    @property
    def waiting(self) -> int:
        """Jobs that were given and whose result was not fetched."""
        return self._waiting

    def close(self, seconds_max: float) -> bool:
        """End the thread when it has done what it was given; False: it was left to itself after that time."""
        self._jobs.put(None)
        self._thread.join(seconds_max)
        return not self._thread.is_alive()


def _outcome(job: Job) -> object:
    try:
        return job()
    except (OSError, PipelineError) as problem:
        return problem
