"""The loop of a lane with sockets: asyncio waits, doorbells wake, and what breaks anywhere ends the lane.

Used by `run/lane` alone. Drivers and their machines come from the lane's stages.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.errors import EnvironmentProblem
from pipeline.net.orders import OrderConnections
from pipeline.net.rest import RestDriver
from pipeline.net.websocket import SocketDriver
from pipeline.run.latency import PackageLatency
from pipeline.run.tls import tls_context
from pipeline.shm.wait import SPIN_COUNT_YIELD, Doorbell
from pipeline.stages.gateway_stage import GatewayStage
from pipeline.stages.reconcile import Reconcile
from pipeline.store.events import EventLog
from pipeline.units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from pipeline.run.lane import Lane

TIMER_NS = 2 * NS_PER_MS  # how often machines look at their timers
AWAKE_NS = 150_000  # a rung lane looks on for this long: a signal comes before the work it announces
TURNS_PER_LOOP = 64  # turns without giving the event loop a chance


class LoopLane:
    """Loop of a lane with sockets: asyncio waits, the doorbell wakes, callbacks turn at once."""

    def __init__(self, lane: Lane, should_stop: Callable[[], bool]) -> None:
        self._lane = lane
        self._should_stop = should_stop
        self._loop = asyncio.get_running_loop()
        self._doorbell = Doorbell(lane.page, lane.spec.doorbells[lane.lane.name])
        self._woken = asyncio.Event()
        self._timed_ns = 0
        self._is_timed_out = False
        self._awake_until_ns = 0
        self._failure: BaseException | None = None
        self._loop.set_exception_handler(self._on_loop_error)
        tls = tls_context(lane.config)
        self._rest = RestDriver(lane.clock, tls, self.turn)
        self._sockets: list[SocketDriver] = []
        self._orders: list[OrderConnections] = []
        self._paced = [built.rest for built in lane.built if isinstance(built.rest, Reconcile)]
        for built in lane.built:
            if built.sockets is not None:
                wrap = built.listener and partial(built.listener, lane.spec.clock_offset_ns)
                self._sockets.append(
                    SocketDriver(built.sockets, lane.clock, self.turn, tls, wrap, self._fail))
            if built.orders is not None:
                latency = PackageLatency(lane, built.orders)
                orders = OrderConnections(
                    built.orders, built.orders_url, lane.clock, self.turn, tls, latency.on_written,
                    proxy=built.proxy, on_trouble=partial(_log_trouble, lane.env.log))
                self._orders.append(orders)
                if isinstance(built.stage, GatewayStage):
                    built.stage.carry = partial(self._carry, orders)
        self._loop.add_reader(self._doorbell.fd, self._ring)

    async def run(self) -> None:
        """Turn until told to stop; then close sockets in order."""
        for orders in self._orders:
            orders.warm()
        if self._lane.lane.wait == "block":
            await self._run_blocking()
        else:
            await self._run_busy()
        if self._failure is not None:
            raise self._failure  # at once, as a crash: the supervisor knows what to do then
        self._loop.remove_reader(self._doorbell.fd)
        for driver in [*self._sockets, *self._orders, self._rest]:
            await driver.close()
        self._doorbell.close()

    async def _run_blocking(self) -> None:
        turns = 0
        while not self._is_over():
            done = self.turn()
            if done:
                self._doorbell.bound.worked(done)
                turns += 1
                if turns % TURNS_PER_LOOP:
                    await asyncio.sleep(0)
                    continue
            if self._lane.clock() < self._awake_until_ns:
                await asyncio.sleep(0)
            elif self._doorbell.arm(lambda: self.turn() > 0):
                await self._sleep()

    async def _run_busy(self) -> None:
        """Never sleep: the sockets are looked at without waiting, and wakers find nobody asleep."""
        idle, is_yielding = 0, self._lane.lane.wait == "yield"
        while not self._is_over():
            idle = 0 if self.turn() else idle + 1
            if is_yielding and idle > SPIN_COUNT_YIELD:
                os.sched_yield()
            await asyncio.sleep(0)

    async def _sleep(self) -> None:
        self._woken.clear()
        self._is_timed_out = False
        longest_ns = self._doorbell.bound.ns
        if any(rest.has_work for rest in self._paced):
            longest_ns = TIMER_NS
        handle = self._loop.call_later(longest_ns / NS_PER_S, self._time_out)
        await self._woken.wait()
        handle.cancel()
        if not self._is_timed_out:
            self._doorbell.bound.woken()

    def _ring(self) -> None:
        self._awake_until_ns = self._lane.clock() + AWAKE_NS
        self.turn()  # at once: what we were woken for is on the order path; whoever rang did so once
        self._doorbell.answer()
        self._woken.set()

    def _carry(self, orders: OrderConnections) -> None:
        """Send at once; what a ring announced is then on its way, and others want the CPU."""
        if orders.pump():
            self._awake_until_ns = 0

    def _time_out(self) -> None:
        self._is_timed_out = True
        self._doorbell.timed_out()
        self._woken.set()

    def _is_over(self) -> bool:
        return self._failure is not None or self._should_stop()

    def _fail(self, error: BaseException) -> None:
        """Something broke where nobody waits for it: the lane ends, so that its supervisor sees it."""
        self._failure = self._failure or error
        self._woken.set()

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what broke in a task or a callback; a connection that broke is its driver's own matter."""
        error = context.get("exception")
        if not isinstance(error, OSError):
            self._fail(error or EnvironmentProblem(f"run.lane: the event loop says: {context['message']}"))

    def turn(self) -> int:
        """Poll stages, drivers and timers once; sockets call this behind the last frame of each read.

        Whoever calls may swallow what is raised here (a socket's library does): it is kept for the loop.
        """
        if self._failure is not None:
            return 0
        try:
            return self._turn()
        except Exception as error:
            self._fail(error)
            raise

    def _turn(self) -> int:
        """Timers come last: after a sleep they are always due, and what woke us cannot wait for them."""
        done = self._lane.turn()
        for driver in self._sockets:
            done += driver.pump()
        for orders in self._orders:
            done += orders.pump()
        now_ns = self._lane.clock()
        if now_ns - self._timed_ns >= TIMER_NS:
            self._timed_ns = now_ns
            self._on_timers(now_ns)
        if done:
            self._woken.set()
        return done

    def _on_timers(self, now_ns: int) -> None:
        for built in self._lane.built:
            for machine in (built.sockets, built.rest, built.orders):
                if machine is not None:
                    machine.on_timer(now_ns)
            if built.rest is not None:
                self._rest.pump(built.rest)
        for orders in self._orders:
            orders.check(now_ns)


def _log_trouble(log: EventLog, words: str) -> None:
    log.warning("no_connection", words=words)
