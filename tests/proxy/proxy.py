"""A userspace fault proxy on loopback: TCP lines that carry HTTP/1.1 and websockets, spoilt by a seeded plan.

Terminates TLS with a certificate of the exchange's authority and opens its own to the exchange, or runs plain
on both sides. Acts on whole messages: data can freeze while PONG goes on, an answered request can end in a
reset. Reads no faster than its client does, so a slow client's backpressure reaches the exchange. One thread
with its own event loop; a test drives it from outside.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from tests.proxy.plan import Dice, Fate, Plan, Shuffle
from tests.proxy.wire import Http, Message, MessageReader, read_http

CHUNK_BYTES = 65_536
HOLD_S_MAX = 0.2  # a message that waits for a next one goes alone after this
HEAD_BYTES_MAX = 1 << 20
BUFFER_BYTES = 64 * 1024  # of each of our sockets: backpressure must not hide in the kernel
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER, no time: close sends RST


@dataclass(frozen=True, slots=True)
class Happened:
    """One fault: which line, which message of it, what became of it."""

    line: int
    message: int
    fate: Fate


class _Line:
    """One client connection and the exchange's end of it."""

    def __init__(self, proxy: FaultProxy, number: int, reader: asyncio.StreamReader,
                 writer: asyncio.StreamWriter) -> None:
        self.proxy, self.number = proxy, number
        self.reader, self.writer = reader, writer
        self.up_reader: asyncio.StreamReader
        self.up_writer: asyncio.StreamWriter
        self._http = Dice(proxy.plan, number, "http")
        self._messages = Dice(proxy.plan, number, "ws")
        self._shuffle: Shuffle[Message] = Shuffle()
        self._waiting: list[Message] = []  # data that came while frozen

    async def run(self) -> None:
        """Carry the line until either end closes it."""
        try:
            self.up_reader, self.up_writer = await self.proxy.connect()
        except OSError:
            self.reset()
            return
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while (request := await read_http(self.reader)) is not None:
                if not await self._exchange(request):
                    break
        self.close()

    async def _exchange(self, request: Http) -> bool:
        """Carry one request and its answer; False = the line is over."""
        method, is_upgrade = request.first.split(" ")[0], "upgrade" in request.headers
        fate, detail = (Fate.PASS, 0.0) if is_upgrade else self._http.next()
        if fate is not Fate.PASS:
            self.proxy.note(Happened(self.number, self._http.count, fate))
        if fate in (Fate.RESET, Fate.DROP):
            self.reset()
            return False
        await self.proxy.gate.wait()
        self.up_writer.write(request.raw)
        answer = await read_http(self.up_reader, method)
        if answer is None:
            return False
        self.proxy.count("answers")
        if fate is Fate.CUT:
            self.reset()
            return False
        if fate is Fate.TRUNCATE:
            await self._send(answer.raw[:1 + int(detail * (len(answer.raw) - 1))])
            return False
        if fate is Fate.DELAY:
            await asyncio.sleep(self._http.wait_s(detail))
        await self.proxy.gate.wait()
        await self._send(answer.raw)
        if answer.status == 101:
            await self._websocket()
            return False
        return True

    async def _websocket(self) -> None:
        up = asyncio.create_task(self._upstream())
        try:
            await self._downstream()
        finally:
            up.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await up

    async def _upstream(self) -> None:
        while data := await self.reader.read(CHUNK_BYTES):
            await self.proxy.gate.wait()
            self.up_writer.write(data)
            await self.up_writer.drain()
        self.up_writer.close()

    async def _downstream(self) -> None:
        frames = MessageReader()
        while True:
            is_short = self._shuffle.is_holding or bool(self._waiting)
            try:
                data = await asyncio.wait_for(
                    self.up_reader.read(CHUNK_BYTES), HOLD_S_MAX if is_short else None)
            except TimeoutError:
                if not await self._pass_on(self._shuffle.flush()):
                    return
                continue
            await self.proxy.gate.wait()
            if not data:
                await self._pass_on(self._shuffle.flush())
                return
            for message in frames.feed(data):
                if not await self._message(message):
                    return

    async def _message(self, message: Message) -> bool:
        """Do to one message of the exchange what the plan says; False = the line is over."""
        if not message.is_data:
            await self._send(message.raw)
            return True
        self.proxy.count("messages")
        fate, detail = self._messages.next()
        if fate is not Fate.PASS:
            self.proxy.note(Happened(self.number, self._messages.count, fate))
        if fate is Fate.RESET:
            self.reset()
            return False
        if fate is Fate.TRUNCATE:
            await self._send(message.raw[:1 + int(detail * (len(message.raw) - 1))])
            return False
        if fate is Fate.DELAY:
            await asyncio.sleep(self._messages.wait_s(detail))
        return await self._pass_on(self._shuffle.feed(message, fate))

    async def _pass_on(self, messages: list[Message]) -> bool:
        self._waiting += messages
        if not self.proxy.is_data_frozen:
            waiting, self._waiting = self._waiting, []
            for message in waiting:
                await self._send(message.raw)
        return True

    async def _send(self, data: bytes) -> None:
        rate = self.proxy.bytes_per_s
        if rate:
            await asyncio.sleep(len(data) / rate)
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the client's side with RST."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()

    def close(self) -> None:
        """End both sides."""
        self.writer.close()
        if hasattr(self, "up_writer"):
            self.up_writer.close()


class FaultProxy:
    """Listens on a free loopback port and carries lines to `target`, a (host, port).

    server_tls: what clients meet, None = plain; target_tls: how the exchange is met, None = plain. Counters
    and faults are read from any thread.
    """

    def __init__(self, target: tuple[str, int], plan: Plan, *, server_tls: ssl.SSLContext | None = None,
                 target_tls: ssl.SSLContext | None = None) -> None:
        self.plan = plan
        self.counts: Counter[str] = Counter()
        self.happened: list[Happened] = []
        self.is_data_frozen = False
        self.bytes_per_s = 0  # 0 = as fast as it goes
        self.port = 0
        self._target, self._server_tls, self._target_tls = target, server_tls, target_tls
        self._lines: dict[asyncio.Task[None], _Line] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._is_up = threading.Event()

    # -- from the test's thread ----------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._is_up.wait(10):
            raise TimeoutError("the proxy did not begin to listen within 10 s")
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def freeze_data(self) -> None:
        """Hold market data back; PONG and HTTP go on, the sockets stay open."""
        self.is_data_frozen = True

    def thaw_data(self) -> None:
        """Let data go on, what was held first."""
        self.is_data_frozen = False

    def freeze(self) -> None:
        """Let nothing pass in either direction, and read nothing: a line that is dead and open."""
        self._loop.call_soon_threadsafe(self.gate.clear)

    def thaw(self) -> None:
        """Let everything pass again."""
        self._loop.call_soon_threadsafe(self.gate.set)

    def cut(self) -> int:
        """Reset every line; return how many there were."""
        async def cut() -> int:
            lines = list(self._lines.values())
            for line in lines:
                line.reset()
            return len(lines)

        return self._call(cut())

    @property
    def line_count(self) -> int:
        """Return how many lines are open."""
        return len(self._lines)

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    # -- in the proxy's thread -----------------------------------------------------------------------

    def note(self, fault: Happened) -> None:
        """Keep what was done."""
        self.happened.append(fault)
        self.counts[fault.fate.value] += 1

    def count(self, name: str) -> None:
        self.counts[name] += 1

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open the exchange's end of a line."""
        host, port = self._target
        return await asyncio.open_connection(
            host, port, ssl=self._target_tls, limit=HEAD_BYTES_MAX,
            server_hostname="localhost" if self._target_tls else None)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self.gate = asyncio.Event()
        self.gate.set()
        self._server = self._loop.run_until_complete(self._listen())
        self._is_up.set()
        self._loop.run_forever()

    async def _listen(self) -> asyncio.Server:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self.port = listener.getsockname()[1]
        return await asyncio.start_server(
            self._accept, sock=listener, ssl=self._server_tls, limit=HEAD_BYTES_MAX)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio calls its handlers in tasks")
        self.counts["lines"] += 1
        line = self._lines[task] = _Line(self, self.counts["lines"], reader, writer)
        try:
            await line.run()
        finally:
            line.close()
            del self._lines[task]

    async def _end(self) -> None:
        self._server.close()
        tasks = list(self._lines)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
