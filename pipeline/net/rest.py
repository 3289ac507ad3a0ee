"""REST driver for everything off the order path: refdata, account reads, keys. One aiohttp session.

Redirects are not followed, the environment's proxies are ignored, TLS is verified, sizes and times are
bounded.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import aiohttp

from pipeline.kinds import Cause
from pipeline.net.edge import Ask, RestMachine

BODY_BYTES_MAX = 16 * 1024 * 1024  # after decompression; a page of metadata has some 2 MB
TIMEOUT_S = 10.0
IN_FLIGHT_MAX = 16


class RestDriver:
    """Serves one or more machines inside a lane's event loop; `turn` runs behind each answer."""

    def __init__(
        self, clock: Callable[[], int], tls: ssl.SSLContext | None, turn: Callable[[], object],
    ) -> None:
        self._clock = clock
        self._turn = turn
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)

    def pump(self, machine: RestMachine) -> int:
        """Start the requests a machine asks for."""
        done = 0
        while (command := machine.outbox.take()) is not None:
            done += 1
            self.start(machine, command)  # type: ignore[arg-type]
        return done

    def start(self, machine: RestMachine, ask: Ask) -> None:
        """Send one request in the background; its end reaches the machine exactly once."""
        task = asyncio.get_running_loop().create_task(self._ask(machine, ask))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is in flight, without an answer to its machine, and close the session."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _ask(self, machine: RestMachine, ask: Ask) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False, auto_decompress=True,
                connector=aiohttp.TCPConnector(limit=IN_FLIGHT_MAX, ssl=self._tls if self._tls else True),
            )
        try:
            async with self._slots, self._session.request(
                ask.method, ask.base + ask.target, data=ask.body or None, headers=dict(ask.headers),
                allow_redirects=False,
            ) as answer:
                body = await read_bounded(answer, BODY_BYTES_MAX)
                if body is None:
                    raise aiohttp.ClientPayloadError(f"net.rest: a body exceeds {BODY_BYTES_MAX} bytes")
                headers = {name.lower(): value for name, value in answer.headers.items()}
        except aiohttp.ClientConnectorError:
            machine.on_failure(self._clock(), ask.tag, False, Cause.NO_CONNECTION)
        except (TimeoutError, aiohttp.ClientError, OSError):
            machine.on_failure(self._clock(), ask.tag, True, Cause.TIMEOUT)
        else:
            machine.on_answer(self._clock(), ask.tag, answer.status, headers, body)
        self.pump(machine)  # a walk goes on at once: the lane may sleep for long behind an answer
        self._turn()


async def read_bounded(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes | None:
    """Return an answer's body, decompressed; None as soon as it exceeds bytes_max."""
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65_536):
        body += chunk
        if len(body) > bytes_max:
            return None
    return bytes(body)
