"""Order path driver: prebuilt request bytes, one write each, on warm keep-alive connections.

HTTP/1.1, TLS verified, no redirects, environment proxies ignored. One request in flight a connection;
a lost connection with a request in flight is UNKNOWN for that request, never a resend. A request of which no
byte left goes out on another connection while it may. An old connection is given back when a younger one
stands in its place. The transports are aiofastnet's (picows brings it): a write reaches the kernel inside the
call, not at the end of the loop's turn.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import aiofastnet

from pipeline.errors import PipelineError
from pipeline.kinds import Cause
from pipeline.net.edge import OrderMachine, Submit
from pipeline.net.egress import Proxy, connect
from pipeline.net.http1 import Answer, AnswerParser, BadAnswer
from pipeline.units import NS_PER_S

RECONNECT_S = 0.5
CONNECT_S_MAX = 10.0
WAITING_MAX = 64
WAITING_NS_MAX = NS_PER_S  # of a request that has no deadline of its own


def nobody_hears(words: str) -> None:
    """The `on_trouble` of a driver whose lane keeps no event log."""


class _Connection(asyncio.Protocol):
    """One warm connection; `tag` is the request in flight."""

    def __init__(self, pool: OrderConnections) -> None:
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.tag: int | None = None
        self.sent_ns = 0
        self.opened_ns = 0
        self._parser = AnswerParser()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the pool; the loop calls it after the TLS handshake."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own transports are no subclass
        self.pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a whole answer, or one that is none of HTTP/1.1, goes to the pool."""
        try:
            answer = self._parser.feed(data)
        except BadAnswer:
            self.pool.failed(self, Cause.BAD_ANSWER)
            return
        if answer is not None:
            self.pool.answered(self, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the pool; a request in flight becomes unknown."""
        self.transport = None
        self.pool.lost(self)


class OrderConnections:
    """A small pool for one host. `on_written(tag, now_ns)` runs right behind the write."""

    def __init__(
        self, machine: OrderMachine, base_url: str, clock: Callable[[], int], turn: Callable[[], None],
        tls: ssl.SSLContext | None, on_written: Callable[[int, int], None],
        connections: int = 4, timeout_ns: int = 3 * NS_PER_S, age_ns_max: int = 240 * NS_PER_S,
        proxy: Proxy | None = None, on_trouble: Callable[[str], object] = nobody_hears,
        reconnect_s: float = RECONNECT_S,
    ) -> None:
        """on_trouble: hears in one line why no connection can be made, once for each new reason."""
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = tls if parts.scheme == "https" else None
        self._machine = machine
        self._clock = clock
        self._turn = turn
        self._on_written = on_written
        self._connections_max = connections
        self._timeout_ns = timeout_ns
        self._age_ns_max = age_ns_max
        self._idle: deque[_Connection] = deque()
        self._busy: dict[int, _Connection] = {}
        self._waiting: deque[tuple[int, Submit]] = deque()  # since when, what
        self._opening = 0
        self._proxy, self._reconnect_s = proxy, reconnect_s
        self._on_trouble = on_trouble
        self._trouble = ""  # why the last attempt failed; "" = it did not
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def warm(self) -> None:
        """Open connections up to the configured number, in the background."""
        self._fill(self._connections_max)

    def _fill(self, count: int) -> None:
        if self._is_closing:
            return
        while len(self._idle) + len(self._busy) + self._opening < count:
            self._opening += 1
            task = asyncio.get_running_loop().create_task(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def pump(self) -> int:
        """Send what the machine asks for; with no idle connection it waits, bounded."""
        done = 0
        while (command := self._machine.outbox.take()) is not None:
            done += 1
            if not isinstance(command, Submit):
                raise TypeError(f"net.orders: expected a submit, found {command}")
            if self._idle:
                self._waiting.append((0, command))
                self._release(self._idle.popleft())
            elif len(self._waiting) < WAITING_MAX:
                self._waiting.append((self._clock(), command))
            else:
                self._machine.on_failure(self._clock(), command.tag, False, Cause.NO_CONNECTION)
        if done:
            self._machine.flush()  # SENT is told before the venue's word on the order can be read
        return done

    def check(self, now_ns: int) -> None:
        """Time out requests, rotate old idle connections, fail what waited in vain; call each few ms."""
        for connection in [c for c in self._busy.values() if now_ns - c.sent_ns > self._timeout_ns]:
            self.failed(connection, Cause.TIMEOUT)
        if self._waiting:
            self._end_waiting(now_ns)
        is_old = any(self._is_old(one, now_ns) for one in [*self._idle, *self._busy.values()])
        self._fill(self._connections_max + is_old)

    def _is_old(self, connection: _Connection, now_ns: int) -> bool:
        return now_ns - connection.opened_ns > self._age_ns_max

    def _end_waiting(self, now_ns: int) -> None:
        """End what waited too long for a connection: nothing of it left."""
        is_cut_off = not self._busy and not self._idle
        still: deque[tuple[int, Submit]] = deque()
        for since_ns, command in self._waiting:
            cause = self._machine.refuses(now_ns, command.tag)
            if not cause and since_ns and now_ns - since_ns > WAITING_NS_MAX:
                cause = Cause.NO_CONNECTION
            if cause:
                # Its time ran out for lack of a connection: that says something of the venue.
                cause = Cause.NO_CONNECTION if is_cut_off and cause == Cause.DEADLINE else cause
                self._machine.on_failure(now_ns, command.tag, False, cause)
            else:
                still.append((since_ns, command))
        self._waiting = still

    def _retire(self) -> None:
        """Give back the oldest idle connection whose younger one stands now."""
        if len(self._idle) + len(self._busy) <= self._connections_max:
            return
        now_ns = self._clock()
        old = min(self._idle, key=lambda one: one.opened_ns, default=None)
        if old is not None and self._is_old(old, now_ns):
            self._idle.remove(old)
            if old.transport is not None:
                old.transport.close()

    def opened(self, connection: _Connection) -> None:
        """Take a connection that is warm now; the request that waited longest goes out on it."""
        connection.opened_ns = self._clock()
        self._trouble = ""
        self._release(connection)

    def answered(self, connection: _Connection, answer: Answer) -> None:
        """Hand the machine its answer; the connection is free again, or closed when the venue says so."""
        tag, connection.tag = connection.tag, None
        if tag is None:
            # Bytes that nobody asked for: this connection's state is not ours any more.
            self._drop(connection)
            return
        self._busy.pop(tag, None)
        self._machine.on_answer(self._clock(), tag, answer.status, answer.headers, answer.body)
        if answer.keep_alive:
            self._release(connection)
        else:
            self._drop(connection)
        self._turn()

    def failed(self, connection: _Connection, cause: Cause) -> None:
        """A request's fate is unknown: say so once and never use its connection again."""
        tag, connection.tag = connection.tag, None
        if tag is not None:
            self._busy.pop(tag, None)
            self._machine.on_failure(self._clock(), tag, True, cause)
            self._turn()
        self._drop(connection)

    def lost(self, connection: _Connection) -> None:
        """Forget a connection that ended; what was in flight on it has failed without an answer."""
        if connection in self._idle:
            self._idle.remove(connection)
        if connection.tag is not None:
            self.failed(connection, Cause.CONNECTION_LOST)

    async def close(self) -> None:
        """Close all connections; requests in flight stay unknown to the caller."""
        self._is_closing = True
        for task in list(self._tasks):
            task.cancel()
        for connection in [*self._idle, *self._busy.values()]:
            self._drop(connection)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await self._connect()
        except (TimeoutError, OSError, PipelineError) as error:
            self._tell(error)
            await asyncio.sleep(self._reconnect_s)
        finally:
            self._opening -= 1

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        name = self._host if self._tls else None
        if self._proxy is None:
            await aiofastnet.create_connection(
                loop, lambda: _Connection(self), self._host, self._port, ssl=self._tls, server_hostname=name)
            return
        sock = await connect(self._proxy, self._host, self._port)
        try:
            await aiofastnet.create_connection(
                loop, lambda: _Connection(self), sock=sock, ssl=self._tls, server_hostname=name)
        except BaseException:
            sock.close()
            raise

    def _tell(self, error: Exception) -> None:
        words = str(error) or type(error).__name__
        if words != self._trouble:
            self._trouble = words
            self._on_trouble(f"net.orders: no connection to {self._host}:{self._port}: {words}")

    def _release(self, connection: _Connection) -> None:
        """Let a free connection carry the next request that waits and still may go."""
        while self._waiting:
            if connection.transport is None or connection.transport.is_closing():
                self._go_elsewhere()
                return
            if not self._write(connection, self._waiting.popleft()[1]):
                return
        self._idle.append(connection)
        self._retire()

    def _go_elsewhere(self) -> None:
        """A connection ended while it was idle: what waits goes out on another, now or when one stands."""
        now_ns = self._clock()
        self._waiting = deque((since_ns or now_ns, command) for since_ns, command in self._waiting)
        if self._idle:
            self._release(self._idle.popleft())

    def _write(self, connection: _Connection, command: Submit) -> bool:
        """Write the request unless its time is over; tell whether the connection is free still."""
        now_ns = self._clock()
        cause = self._machine.refuses(now_ns, command.tag)
        if cause:
            self._machine.on_failure(now_ns, command.tag, False, cause)
            return True
        connection.tag, connection.sent_ns = command.tag, now_ns
        self._busy[command.tag] = connection
        cast(asyncio.Transport, connection.transport).write(command.data)
        self._on_written(command.tag, self._clock())
        return False

    @staticmethod
    def _drop(connection: _Connection) -> None:
        if connection.transport is not None:
            connection.transport.abort()
