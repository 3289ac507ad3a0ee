"""How a lane spends a turn in which nothing happened: spin, yield or block; reads and writes `asleep` words.

A lane calls `wait.after(done, has_input)` after each turn. `block` sleeps at most 20 ms, in a long silence at
most 200 ms (`SleepBound`); whoever writes to one of the lane's inputs calls its `Waker` after publishing. The
bound is the handshake's safety net, and a sleep that ends by it is counted (`wait_timeouts`): with traffic it
must stay rare.
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
QUIET_SLEEP_NS_MAX = 200_000_000
QUIET_SLEEPS = 8  # sleeps in a row that brought nothing: 160 ms
QUIET_RECORDS = 8  # a silent pipeline's own ticks and beats pass without ending the silence
SPIN_COUNT_YIELD = 100
SPIN_COUNT_BLOCK = 200
WOKEN, TIMED_OUT, NOT_ASLEEP = 0, 1, 2


class SleepBound:
    """How long the next sleep may last: 20 ms, and 200 ms once 8 sleeps in a row brought nothing.

    What a blocking lane costs without traffic is the number of its wakes (`bench/README.md`, Idle).
    """

    def __init__(self) -> None:
        self._quiet = 0
        self._done = 0

    @property
    def is_quiet(self) -> bool:
        """Tell whether the last sleeps brought nothing."""
        return self._quiet >= QUIET_SLEEPS

    @property
    def ns(self) -> int:
        """The longest time to sleep now."""
        return QUIET_SLEEP_NS_MAX if self.is_quiet else SLEEP_NS_MAX

    def worked(self, done: int) -> None:
        """Take note of what a turn did since the last sleep."""
        self._done += done
        if self._done > QUIET_RECORDS:
            self._quiet = 0

    def timed_out(self) -> None:
        """A sleep ended by its bound."""
        self._quiet += 1
        self._done = 0

    def woken(self) -> None:
        """A socket or a ring ended a sleep: there is traffic, whoever counts it."""
        self._quiet = self._done = 0


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
    """Spin `spin_count` idle turns, then sleep on the lane's `asleep` word, at most `SleepBound.ns`."""

    def __init__(self, status: StatusPage, spin_count: int = SPIN_COUNT_BLOCK) -> None:
        self._bound = SleepBound()
        self._sleeper = Sleeper(*status.asleep)
        self._spin_count = spin_count
        self._idle = 0
        self._sleeps, self._timeouts, self._wakes = _counters(status)

    def after(self, done: int, has_input: Callable[[], bool]) -> None:
        """Sleep when nothing was done for `spin_count` turns and, after announcing it, nothing is there."""
        if done:
            self._bound.worked(done)
            if not self._bound.is_quiet:  # a tick in a silence is no reason to spin
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
        ended = self._sleeper.sleep(self._bound.ns)
        if ended == TIMED_OUT:
            self._timeouts.add(1)
            self._bound.timed_out()
        else:
            self._wakes.add(1)
        if ended == WOKEN:
            self._idle = 0  # what we were woken for may be announced before it is there

    def close(self) -> None:
        """Release the lane's page."""
        self._sleeper.close()


class Doorbell:
    """The sleeping end of an event-loop lane: its loop watches `fd`, wakers ring it.

    Before the loop would wait: `if doorbell.arm(has_input): wait, else: poll at once`. When `fd` is readable:
    poll and `doorbell.answer()`, in any order: whoever rings does so once. The lane's own timer of at most
    `bound.ns` calls `timed_out()` first. Who ends a sleep by other means calls `bound.woken()`.
    """

    def __init__(self, status: StatusPage, fd: int) -> None:
        self.fd = fd
        self.bound = SleepBound()
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
        """Count a sleep that ended by its bound; the lane is awake."""
        if self._sleeper.is_asleep:
            self._sleeper.cancel()
            self._timeouts.add(1)
            self.bound.timed_out()

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
