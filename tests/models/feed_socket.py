"""A market channel made of a script, and a feed machine that hears it over a real socket.

Used to compare the driver's Python listener with the native one: `hear` plays the same script to either.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.net.websocket import SocketDriver
from pipeline.run.spec import anchored_clock
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.market_decode import MarketDecoder

MARKET, YES, NO = "0x" + "5f" * 32, "7" * 77, "8" * 76
SOURCE, ROW, SHARD = 3, 41, 0
STAMPS = 65_536
HANDSHAKE_S_MAX = 0.5  # after which picows closes the socket of a try that was given up
SECONDS_MAX = 20.0


def change(size: str, token: str = YES, **extra: object) -> bytes:
    item = {"asset_id": token, "price": "0.46", "size": size, "side": "BUY", "hash": "0a" * 20, **extra}
    return json.dumps({"market": MARKET, "price_changes": [item], "timestamp": "1790766981628",
                       "event_type": "price_change"}).encode()


@dataclass(frozen=True)
class Send:
    """One step of the script: a message in `parts` fragments, the last of them kept back with `is_cut`."""

    data: bytes
    parts: int = 1
    is_cut: bool = False
    kind: WSMsgType = WSMsgType.TEXT


class _Player(WSListener):  # type: ignore[misc]
    """Plays one part of the script to each connection, once it has subscribed."""

    def __init__(self, script: list[Send]) -> None:
        self._script = script

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT and frame.get_payload_as_bytes() == b"PING":
            transport.send(WSMsgType.TEXT, b"PONG")
        if frame.msg_type != WSMsgType.TEXT or b"assets_ids" not in frame.get_payload_as_bytes():
            return
        for send in self._script:
            if send.kind == WSMsgType.CLOSE:
                transport.send_close()
                continue
            size = -(-len(send.data) // send.parts)
            for part in range(send.parts - send.is_cut):
                kind = WSMsgType.CONTINUATION if part else send.kind
                transport.send(kind, send.data[part * size:(part + 1) * size], fin=part + 1 == send.parts)
        self._script = []


class Watched(FeedMachine):
    """Keeps what went through the machine."""

    def watch(self) -> None:
        self.seen: list[bytes] = []

    def on_frame(self, now_ns: int, conn: int, data: memoryview | bytes) -> bool:
        is_taken = super().on_frame(now_ns, conn, data)
        if is_taken:
            self.seen.append(bytes(data))
        return is_taken


@dataclass
class Heard:
    """What one run left behind."""

    records: bytes = b""
    counts: dict[str, int] = field(default_factory=dict)
    seen: list[bytes] = field(default_factory=list)
    turns: int = 0
    began_ns: int = 0
    ended_ns: int = 0
    stamped: Callable[[int], int] = lambda _: 0
    scanner: Any = None


class Rig:
    """A feed machine with a ring of its own behind a driver; `is_native` chooses the listener."""

    def __init__(self, url: str, is_native: bool, slots: int, heard: Heard, **settings: int) -> None:
        mono_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        self.clock = anchored_clock(wall_ns, mono_ns)
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "feed")
        self.view = StatusView(page)
        ring = bytearray(Ring.bytes_for(slots))
        Ring.format(ring, slots)
        self.reader = Reader(ring)
        table, stamps = TokenTable(), Stamps(bytearray(STAMPS * ENTRY_BYTES))
        self.scanner = Scanner(table, SOURCE)
        self.machine = Watched(
            FeedSettings(ws_url=url, source=SOURCE, **{
                "backoff_ns_min": 1_000_000, "pause_ns_max": 10**12, "snapshot_ns_max": 10**12, **settings}),
            table,
            self.scanner, MarketDecoder(table.get, SOURCE), Writer(ring), Counts(StatusPage(page)), stamps,
            self.clock)
        self.machine.watch()
        wrap = partial(self.machine.listener, wall_ns - mono_ns) if is_native else None
        self.driver = SocketDriver(
            self.machine, self.clock, self._turn, None, wrap, handshake_s_max=HANDSHAKE_S_MAX)
        self.heard = heard
        heard.stamped, heard.scanner = stamps.get, self.scanner

    def _turn(self) -> None:
        self.heard.turns += 1
        self.driver.pump()

    async def play(self, is_done: Callable[[dict[str, int]], bool], drain_when_held: bool) -> None:
        """Run until the counters say so; with `drain_when_held` the ring is read only while it is full."""
        heard, machine = self.heard, self.machine
        heard.began_ns = self.clock()
        machine.on_instrument(self.clock(), ROW, SHARD, (YES, NO), MARKET)
        deadline = time.monotonic() + SECONDS_MAX
        while time.monotonic() < deadline and not is_done(self.view.counters()):
            machine.on_timer(self.clock())
            self.driver.pump()
            if machine.short_cut.is_held or not drain_when_held:
                heard.records += self.reader.read(4_096)
            await asyncio.sleep(0.001)
        heard.records += self.reader.read(4_096)
        heard.ended_ns, heard.counts = self.clock(), self.view.counters()
        heard.seen = list(machine.seen)
        await self.driver.close()


@asynccontextmanager
async def venue_of(script: list[Send], every_s: float) -> AsyncIterator[int]:
    """Serve a market channel that says the script to each subscriber, again and again; yield its port."""
    class Teller(_Player):
        def on_ws_connected(self, transport: WSTransport) -> None:
            self._task = asyncio.get_running_loop().create_task(self._tell(transport))

        async def _tell(self, transport: WSTransport) -> None:
            while True:
                for send in script:
                    transport.send(send.kind, send.data)
                    await asyncio.sleep(every_s)

        def on_ws_disconnected(self, transport: WSTransport) -> None:
            self._task.cancel()

    server = await ws_create_server(lambda _: Teller([]), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def hear(
    scripts: list[list[Send]], is_done: Callable[[dict[str, int]], bool], is_native: bool, slots: int = 4_096,
    drain_when_held: bool = False,
) -> Heard:
    """Return what a machine made of the scripts, one a connection, in turn."""
    heard = Heard()

    async def main() -> None:
        left = list(scripts)
        server = await ws_create_server(
            lambda _: _Player(left.pop(0) if left else []), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            await Rig(f"ws://127.0.0.1:{port}/", is_native, slots, heard).play(is_done, drain_when_held)
        finally:
            server.close()

    asyncio.run(main())
    return heard
