"""How a lane spends a turn in which nothing happened: spin, yield or block; reads and writes `asleep` words.

A lane calls `wait.after(done, has_input)` after each turn. `block` sleeps at most 20 ms; whoever writes to
one of the lane's inputs calls its `Waker` after publishing. The 20 ms bound is the handshake's safety net,
and a sleep that ends by it is counted (`wait_timeouts`): with traffic it must stay rare.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.native.counters import Counter
from pipeline.native.futex import Sleeper, Waker
from pipeline.shm.status import StatusPage, asleep_place

SLEEP_NS_MAX = 20_000_000
SPIN_COUNT_YIELD = 100
SPIN_COUNT_BLOCK = 200
WOKEN, TIMED_OUT, NOT_ASLEEP = 0, 1, 2


class Wait(Protocol):
    """What `run_lane` needs."""

    def after(self, done: int, has_input: Callable[[], bool]) -> None:
        """Spend the time until the next turn; `done` > 0 starts anew."""

    def close(self) -> None:
        """Release the lane's page."""


class Spin:
    """For a lane with a core of its own: the next turn comes at once."""

    def after(self, done: int, has_input: Callable[[], bool]) -> None:
        """Return at once."""

    def close(self) -> None:
        """Nothing to release."""


class Yield:
    """Spin `spin_count` idle turns, then give the core away before each further one."""

    def __init__(self, spin_count: int = SPIN_COUNT_YIELD) -> None:
        self._spin_count = spin_count
        self._idle = 0

    def after(self, done: int, has_input: Callable[[], bool]) -> None:
        """Yield when nothing was done for `spin_count` turns."""
        self._idle = 0 if done else self._idle + 1
        if self._idle > self._spin_count:
            os.sched_yield()

    def close(self) -> None:
        """Nothing to release."""


class Block:
    """Spin `spin_count` idle turns, then sleep on the lane's `asleep` word until woken, at most 20 ms."""

    def __init__(self, status: StatusPage, spin_count: int = SPIN_COUNT_BLOCK) -> None:
        self._sleeper = Sleeper(*status.asleep)
        self._spin_count = spin_count
        self._idle = 0
        self._sleeps, self._timeouts, self._wakes = _counters(status)

    def after(self, done: int, has_input: Callable[[], bool]) -> None:
        """Sleep when nothing was done for `spin_count` turns and, after announcing it, nothing is there."""
        if done:
            self._idle = 0
            return
        self._idle += 1
        if self._idle <= self._spin_count:
            return
        self._sleeper.announce()
        if has_input():
            self._sleeper.cancel()
            return
        self._sleeps.add(1)
        ended = self._sleeper.sleep(SLEEP_NS_MAX)
        (self._timeouts if ended == TIMED_OUT else self._wakes).add(1)
        if ended == WOKEN:
            self._idle = 0  # what we were woken for may be announced before it is there

    def close(self) -> None:
        """Release the lane's page."""
        self._sleeper.close()


class Doorbell:
    """The sleeping end of an event-loop lane: its loop watches `fd`, wakers ring it.

    Before the loop would wait: `if doorbell.arm(has_input): wait, else: poll at once`. When `fd` is readable:
    poll and `doorbell.answer()`, in any order: whoever rings does so once. The lane's own timer of at most
    20 ms calls `timed_out()` first.
    """

    def __init__(self, status: StatusPage, fd: int) -> None:
        self.fd = fd
        self._sleeper = Sleeper(*status.asleep)
        self._sleeps, self._timeouts, self._wakes = _counters(status)

    def arm(self, has_input: Callable[[], bool]) -> bool:
        """Announce the sleep and look again; False = there is input, do not wait."""
        self._sleeper.announce()
        if has_input():
            self._sleeper.cancel()
            return False
        self._sleeps.add(1)
        return True

    def answer(self) -> None:
        """Take the ring off the eventfd; the lane is awake."""
        self._sleeper.cancel()
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return  # rung before, already taken
        self._wakes.add(1)

    def timed_out(self) -> None:
        """Count a sleep that ended by the 20 ms bound; the lane is awake."""
        if self._sleeper.is_asleep:
            self._sleeper.cancel()
            self._timeouts.add(1)

    def close(self) -> None:
        """Release the lane's page; the eventfd belongs to the supervisor."""
        self._sleeper.close()


def _counters(status: StatusPage) -> tuple[Counter, Counter, Counter]:
    return status.counter("wait_sleeps"), status.counter("wait_timeouts"), status.counter("wait_wakes")


def make_doorbell_fd() -> int:
    """Return a new inheritable eventfd of an event-loop lane; the supervisor passes it to all who wake it."""
    try:
        fd = os.eventfd(0, os.EFD_NONBLOCK)
        os.set_inheritable(fd, True)
    except OSError as error:
        raise EnvironmentProblem(
            f"shm.wait: no eventfd: {error.strerror}; raise the limit of open files") from error
    return fd


def make_wait(kind: str, status: StatusPage, spin_count: int | None = None) -> Wait:
    """Return the wait named by the topology: `spin`, `yield` or `block`."""
    if kind == "spin":
        return Spin()
    if kind == "yield":
        return Yield(SPIN_COUNT_YIELD if spin_count is None else spin_count)
    if kind == "block":
        return Block(status, SPIN_COUNT_BLOCK if spin_count is None else spin_count)
    raise ConfigError(f"shm.wait: wait must be spin, yield or block, was {kind!r}; correct the topology file")


def make_waker(page: memoryview, fd: int = -1) -> Waker:
    """Return the waker of the lane that owns the status `page` (writable); fd: its eventfd, -1 = futex."""
    return Waker(page, asleep_place(page), fd)
