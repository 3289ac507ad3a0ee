"""A feed through real sockets: the local exchange as a process of its own, the feed lane's parts here.

At 1x, 10x and as fast as it goes, over TLS; the last also without. Every frame is scanned into the ring and
folded into the books behind the last frame of each read, as in a lane. Nothing may be dropped: what the
exchange's kernel accepted is what arrived here.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import uvloop

from bench import harness
from bench.rigs import BookRig
from pipeline.codec import CODECS
from pipeline.kinds import Kind
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.net.websocket import SocketDriver
from pipeline.run.exchange import ExchangeProcess
from pipeline.shm.status import PAGE_BYTES, StatusPage, format_page
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.market_decode import MarketDecoder
from pipeline.venues.polymarket.universe import instrument_record, parse_markets

SEED, SOURCE = 19, 3
SHARD_MARKETS = 100
START_S_MAX = 60.0
COUNTED = (
    "frames", "frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost", "fallbacks", "gaps",
    "pauses", "disconnects", "pongs",
)


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke plays a fraction of a second at full speed only."""
    cases = (("max", "max", True),) if is_smoke else (
        ("x1", 1.0, True), ("x10", 10.0, True), ("max", "max", True), ("max_plain", "max", False))
    seconds, markets = (0.1, 5) if is_smoke else (10.0, 100)
    cpus = harness.best_cpus(2)
    figures: dict[str, Any] = {"markets": markets, "seconds": seconds, "cpus": cpus}
    with harness.pinned(cpus[0]):
        for name, speed, has_tls in cases:
            settings = {
                "seed": SEED, "speed": speed, "seconds": seconds, "markets": markets, "planted_events": 0,
                "quiet_ms": 100, "cpu": cpus[1]}
            figures[name] = _case(settings, has_tls)
    figures["frames_per_s"] = figures["max"]["frames_per_s"]
    return harness.record("loopback", "python -m bench loopback", figures, is_smoke)


def _case(settings: dict[str, Any], has_tls: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pm-bench-") as directory:
        exchange = ExchangeProcess(Path(directory) / "exchange", settings)
        try:
            exchange.start(lambda what, done, total: None)
            client = Client(exchange, has_tls, settings["speed"] != "max")
            found = uvloop.run(client.play(float(settings["seconds"])))
        finally:
            exchange.stop()
    if found["dropped"] or found["frames_lost"] or found["frames_rejected"] or found["disconnects"]:
        raise SystemExit(f"bench loopback: every frame expected to arrive, was {found}")
    return found


class TimedMachine(FeedMachine):
    """The feed's machine with a clock around each frame; latencies are of this call alone."""

    def prepare(self) -> None:
        """Start with empty lists."""
        self.times_ns: list[int] = []
        self.first_ns = self.last_ns = 0
        self.bytes_count = 0

    def on_frame(self, now_ns: int, conn: int, data: memoryview | bytes) -> bool:
        """Time the frame's way from the driver into the ring."""
        begun = time.perf_counter_ns()
        is_taken = super().on_frame(now_ns, conn, data)
        ended = time.perf_counter_ns()
        if is_taken:
            self.first_ns = self.first_ns or begun
            self.last_ns = ended
            self.times_ns.append(ended - begun)
            self.bytes_count += len(data)
        return is_taken


class Client:
    """A feed lane with books and nothing behind them."""

    def __init__(self, exchange: ExchangeProcess, has_tls: bool, has_end: bool) -> None:
        self._exchange = exchange
        self._has_end = has_end  # the flow ends by the clock, not by its last frame
        self._tls = ssl.create_default_context(cafile=str(exchange.ca_file))
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "feed")
        self._page = StatusPage(page)
        self._rows = [
            instrument_record(info, row, 0, (row - 1) // SHARD_MARKETS)
            for row, info in enumerate(self._markets(), 1)]
        self._rig = BookRig(b"".join(self._rows))
        table = TokenTable()
        url = exchange.urls["ws_market_tls" if has_tls else "ws_market"]
        self.machine = TimedMachine(
            FeedSettings(ws_url=url, source=SOURCE), table, Scanner(table, SOURCE),
            MarketDecoder(table.get, SOURCE), self._rig.feed, Counts(self._page),
            Stamps(bytearray(1_024 * ENTRY_BYTES)), time.time_ns)
        self.machine.prepare()
        self._driver: SocketDriver | None = None
        self._turns = 0
        self._accepted = 0
        self._flow_ns = 0

    def _markets(self) -> list[Any]:
        found, cursor = [], ""
        while True:
            query = f"?limit=100&after_cursor={cursor}" if cursor else "?limit=100"
            url = f"{self._exchange.urls['gamma']}/markets/keyset{query}"
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own exchange, http
                page = parse_markets(answer.read())
            found += page.markets
            if not page.next_cursor:
                return found
            cursor = page.next_cursor

    def _turn(self) -> None:
        """Behind the last frame of a read: fold, then hand in what found no room, as a lane's turn does."""
        self._turns += 1
        self._rig.drain()
        while self._driver is not None and self._driver.pump():
            self._rig.drain()

    async def play(self, seconds: float) -> dict[str, Any]:
        """Subscribe, let the flow play to its end (at most `seconds`, when it has a speed), count."""
        driver = self._driver = SocketDriver(self.machine, time.time_ns, self._turn, self._tls)
        for row in self._rows:
            record = CODECS[Kind.INSTRUMENT].unpack(row)
            yes, no = (str(int.from_bytes(token, "big")) for token in (record.token_yes, record.token_no))
            market = "0x" + record.condition.hex()
            self.machine.on_instrument(time.time_ns(), record.instrument, record.shard, (yes, no), market)
        with harness.quiet_heap():
            await self._until_done(driver, seconds)
        found = self.figures()  # before our own goodbye counts as a disconnect
        await driver.close()
        return found

    async def _until_done(self, driver: SocketDriver, seconds: float) -> None:
        deadline = time.monotonic() + START_S_MAX + 10 * seconds
        is_stopped = False
        while time.monotonic() < deadline:
            self.machine.on_timer(time.time_ns())
            driver.pump()
            await asyncio.sleep(0.05)
            status = await asyncio.to_thread(self._exchange.control, "GET", "/control/status")
            begun_ns = status["flow_started_ns"]
            is_over = self._has_end and begun_ns and status["now_ns"] - begun_ns > seconds * 1e9
            is_played = bool(begun_ns) and (status["flow_done"] or is_over)
            if is_played and not is_stopped:
                is_stopped = True
                status = await asyncio.to_thread(self._exchange.control, "POST", "/control/stop-flow")
            is_sent = status["frames_accepted"] == status["frames_queued"]
            if is_stopped and is_sent and len(self.machine.times_ns) >= status["frames_accepted"]:
                self._accepted, self._flow_ns = status["frames_accepted"], status["flow_ns"]
                return
        self._accepted, self._flow_ns = status["frames_accepted"], status["flow_ns"]

    def figures(self) -> dict[str, Any]:
        """Return what arrived, how fast, and what became of it."""
        machine = self.machine
        count, elapsed_ns = len(machine.times_ns), machine.last_ns - machine.first_ns
        counts = {name: self._page.counter(name).value for name in COUNTED}
        stats = self._rig.books.stats()
        return {
            "frames_delivered": count, "frames_accepted": self._accepted, "dropped": self._accepted - count,
            "frames_per_s": round(harness.rate_of(count, elapsed_ns)),
            "megabytes": round(machine.bytes_count / 1e6, 2),
            "flow_s": round(self._flow_ns / 1e9, 2), "reads": self._turns,
            "decode_latency_ns": harness.percentiles(machine.times_ns), **counts, "tops": stats["tops"],
            "stales": stats["stales_by_cause"],
        }
