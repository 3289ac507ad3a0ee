"""A process that asks a hostile venue over REST and says what its answer cost; for test_IN01_caps.

Prints one JSON object: what became of an ordinary compressed answer and of a bomb, and how much the largest
resident memory grew.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import zlib

from pipeline.kinds import Cause
from pipeline.net.edge import Ask, Outbox
from pipeline.net.rest import RestDriver

MIB = 1 << 20


def _bomb() -> bytes:
    """Return 512 MiB of blanks, compressed."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(squeeze.compress(b" " * MIB) for _ in range(512)) + squeeze.flush()


BODIES = {"good": gzip.compress(b'{"markets": []}' * 1_000), "bomb": _bomb()}


class Machine:
    """Remembers how each request ended."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.ends: dict[int, str] = {}

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        self.ends[tag] = "answered" if len(body) == 15_000 else f"answered {len(body)} bytes"

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        self.ends[tag] = "failed"

    def on_timer(self, now_ns: int) -> None:
        """Nothing is due."""


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    name = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode().strip("/")
    body = BODIES[name]
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
                 b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    try:
        await writer.drain()
    except ConnectionError:
        return
    writer.close()


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    driver, machine = RestDriver(lambda: 0, None, lambda: None), Machine()
    before_kib = 0
    for tag, name in enumerate(BODIES):
        if name == "bomb":
            before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        driver.start(machine, Ask(tag, "GET", base, f"/{name}"))
        async with asyncio.timeout(30):
            while tag not in machine.ends:
                await asyncio.sleep(0.005)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    await driver.close()
    server.close()
    print(json.dumps({**dict(zip(BODIES, machine.ends.values(), strict=True)), "grown_kib": grown_kib}))


if __name__ == "__main__":
    asyncio.run(main())
