"""A feed socket's two listeners side by side: the driver's Python one, and the native one before it.

`call` is one frame handed to a listener in memory; `socket` is a child process that writes the same frames
to a real socket as fast as it goes, read by the driver on uvloop, with nothing behind the ring. Both
listeners must leave the same records and take every frame. `twins` are two native listeners of one shard
that bring the same frames: what the arbiter costs the first copy, and the second one, which is dropped.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import multiprocessing
import socket
import time
import zlib
from functools import partial
from typing import Any

import uvloop
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from bench import harness
from bench.frames import Feed, make
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.net.websocket import SocketDriver
from pipeline.records import SLOT_BYTES
from pipeline.run.spec import anchored_clock
from pipeline.shm.status import PAGE_BYTES, StatusPage, format_page
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.market_decode import MarketDecoder

SEED, SOURCE, SLOTS, SECONDS_MAX = 7, 3, 1 << 18, 60.0
RECV_AT = 16
ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
NAMES = ("python", "native")
TWIN_CONN, AHEAD = 1 << 16, 16  # the second socket of shard 0; by how many frames it is behind the first


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke plays a thirtieth of the frames."""
    feed = make(SEED, 20, 2_000) if is_smoke else make(SEED, 200, 60_000)
    runs = 1 if is_smoke else 7
    cpus = harness.best_cpus(2)
    figures: dict[str, Any] = {"input": feed.facts, "cpus": cpus}
    with harness.pinned(cpus[0]), harness.quiet_heap():
        figures["call"], by_call = _calls(feed, runs)
        figures["twins"] = _twins(feed, runs)
        figures["socket"], by_socket = _sockets(feed, runs, cpus[1])
    # The socket's runs end with the Gap that a closed socket leaves, so the two differ.
    figures |= {"checksum": f"{by_call:08x}", "socket_checksum": f"{by_socket:08x}"}
    figures["frames_per_s"] = figures["socket"]["native"]["frames_per_s"]["median"]
    return harness.record("listener", "python -m bench listener", figures, is_smoke)


class Client:
    """One feed machine with a ring that holds all the records of a run."""

    def __init__(self, feed: Feed, name: str, url: str, sockets: int = 1) -> None:
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "feed")
        self.page = StatusPage(page)
        self.turns = 0
        buffer = bytearray(b"\0") * Ring.bytes_for(SLOTS)  # multiplied: every page is there before the clock
        Ring.format(buffer, SLOTS)
        self._reader = Reader(buffer)
        mono_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        self._clock = anchored_clock(wall_ns, mono_ns)
        table = TokenTable()
        self.machine = FeedMachine(
            FeedSettings(ws_url=url, source=SOURCE, sockets=sockets), table, Scanner(table, SOURCE),
            MarketDecoder(table.get, SOURCE), Writer(buffer), Counts(self.page),
            Stamps(bytearray(65_536 * ENTRY_BYTES)), self._clock)
        native = partial(self.machine.listener, wall_ns - mono_ns)
        wrap = native if name == "native" else None
        self.driver = SocketDriver(self.machine, self._clock, self._turn, None, wrap)
        for row, market in enumerate(feed.markets, 1):
            self.machine.on_instrument(self._clock(), row, 0, market.tokens, market.condition)

    def _turn(self) -> None:
        self.turns += 1

    def result(self, frames: int, asked: int = 0) -> int:
        """Return a checksum of the records without their times of receipt; every frame must have come.

        asked: snapshots that a second socket may bring once more, since each socket asks for its own.
        """
        names = ("frames", "frames_twin", "fallbacks", "pauses")
        taken, twins, *others = counts = [self.page.counter(name).value for name in names]
        if any(others) or taken + twins != (2 * frames if asked else frames) or taken - frames > asked:
            raise SystemExit(
                f"bench listener: {frames} frames expected once, {asked} of them twice at most, no fallback "
                f"or pause, was {dict(zip(names, counts, strict=True))}")
        checksum = 0
        while data := self._reader.read(4_096):
            plain = bytearray(data)
            for at in range(RECV_AT, len(plain), SLOT_BYTES):
                plain[at:at + 8] = bytes(8)
            checksum = zlib.crc32(plain, checksum)
        return checksum

    async def play(self, frames: int) -> tuple[int, int]:
        """Take all frames from the socket; return (elapsed, CPU) ns, first command to last frame."""
        counter = self.page.counter("frames")
        deadline = time.monotonic() + SECONDS_MAX
        begun_ns, cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        while counter.value < frames and time.monotonic() < deadline:
            self.driver.pump()
            await asyncio.sleep(0.001)
        return time.monotonic_ns() - begun_ns, time.thread_time_ns() - cpu_ns


def _calls(feed: Feed, runs: int) -> tuple[dict[str, Any], object]:
    """Return ns a frame of each listener, and the CRC-32 of the records that all runs left."""
    frames = [_make_test_ws_frame(WSMsgType.TEXT, data, True, False) for data in feed.frames]
    elapsed: dict[str, list[int]] = {name: [] for name in NAMES}
    checksums = []
    for _ in range(runs):
        for name in NAMES:
            client = Client(feed, name, "ws://127.0.0.1:9/")
            client.machine.on_open(time.time_ns(), 0)
            hand_in = client.driver.listener(0).on_ws_frame
            begun_ns = time.perf_counter_ns()
            for frame in frames:
                hand_in(None, frame)
            elapsed[name].append(time.perf_counter_ns() - begun_ns)
            checksums.append(client.result(len(frames)))
    count = len(frames)
    middle = {name: int(harness.median(elapsed[name])) for name in NAMES}
    figures = {name: {"ns_per_frame": harness.ns_each(count, middle[name])} for name in NAMES}
    return figures, harness.checked("listener: records", checksums)


def _twins(feed: Feed, runs: int) -> dict[str, Any]:
    """Return ns of a frame's first copy and of its second one; every run must leave the same records."""
    frames = [_make_test_ws_frame(WSMsgType.TEXT, data, True, False) for data in feed.frames]
    spent: dict[str, list[int]] = {"first": [], "second": []}
    checksums = []
    for _ in range(runs):
        client = Client(feed, "native", "ws://127.0.0.1:9/", sockets=2)
        hands = {}
        for name, conn in zip(spent, (0, TWIN_CONN), strict=True):
            client.machine.on_open(time.time_ns(), conn)
            hands[name] = client.driver.listener(conn).on_ws_frame
            spent[name].append(0)
        for at in range(0, len(frames), AHEAD):
            block = frames[at:at + AHEAD]
            for name, hand_in in hands.items():
                begun_ns = time.perf_counter_ns()
                for frame in block:
                    hand_in(None, frame)
                spent[name][-1] += time.perf_counter_ns() - begun_ns
        checksums.append(client.result(len(frames), asked=2 * len(feed.markets)))
    harness.checked("listener: records of twins", checksums)
    return {name: {"ns_per_frame": harness.ns_each(len(frames), int(harness.median(elapsed)))}
            for name, elapsed in spent.items()}


def _sockets(feed: Feed, runs: int, cpu: int) -> tuple[dict[str, Any], object]:
    """Return rate and CPU time of each listener behind a socket, and the CRC-32 of the records."""
    elapsed: dict[str, list[tuple[int, int]]] = {name: [] for name in NAMES}
    checksums, turns = [], 0
    for _ in range(runs):
        for name in NAMES:
            listening = socket.create_server(("127.0.0.1", 0))
            forked = multiprocessing.get_context("fork")
            child = forked.Process(target=_serve, args=(listening, feed.frames, cpu))
            child.start()
            client = Client(feed, name, f"ws://127.0.0.1:{listening.getsockname()[1]}/")
            listening.close()
            elapsed[name].append(uvloop.run(_heard(client, len(feed.frames))))
            child.join(SECONDS_MAX)
            checksums.append(client.result(len(feed.frames)))
            turns = client.turns
    count = len(feed.frames)
    figures: dict[str, Any] = {"reads_last": turns}
    for name in NAMES:
        cpu_ns = int(harness.median([spent_ns for _, spent_ns in elapsed[name]]))
        figures[name] = {
            "frames_per_s": harness.rate_stats([harness.rate_of(count, wall) for wall, _ in elapsed[name]]),
            "cpu_ns_per_frame": harness.ns_each(count, cpu_ns)}
    return figures, harness.checked("listener: records", checksums)


async def _heard(client: Client, frames: int) -> tuple[int, int]:
    found = await client.play(frames)
    await client.driver.close()
    return found


def _serve(listening: socket.socket, frames: list[bytes], cpu: int) -> None:
    """Child: accept one websocket, wait for its subscription, write every frame, wait for the end."""
    with harness.pinned(cpu), listening:
        blob = b"".join(_header(len(data)) + data for data in frames)
        connection, _ = listening.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65_536)
            lines = (line.split(b": ", 1) for line in request.split(b"\r\n")[1:] if b": " in line)
            key = {name.lower(): value for name, value in lines}[b"sec-websocket-key"]
            accept = base64.b64encode(hashlib.sha1(key + ACCEPT_SALT, usedforsecurity=False).digest())
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
            connection.recv(1 << 20)
            connection.sendall(blob)
            while connection.recv(1 << 20):
                pass


def _header(size: int) -> bytes:
    """Return the head of an unmasked whole text frame."""
    if size < 126:
        return bytes((0x81, size))
    return b"\x81\x7e" + size.to_bytes(2, "big") if size < 1 << 16 else b"\x81\x7f" + size.to_bytes(8, "big")
