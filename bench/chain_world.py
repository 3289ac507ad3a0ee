"""All stages of the chain in one process, without sockets, in simulated time; answers are made here.

Uses the same builders as a lane (`run.build`), over private memory and logs in a temporary directory. What
a lane has and this has not are sockets and waits.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account

from pipeline.codec import CODECS, kind_of
from pipeline.config.load import config_record, load
from pipeline.kinds import Kind
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.relay import Filter
from pipeline.net.edge import Ask, OpenSocket, SendText, Submit
from pipeline.records import SLOT_BYTES
from pipeline.run import wiring
from pipeline.run.build import build_stage
from pipeline.run.channels import Channels, PrivateMemory, format_all, segment_sizes
from pipeline.run.env import Built, Env
from pipeline.shm import halt
from pipeline.shm.status import StatusPage
from pipeline.sim.gamma import Gamma
from pipeline.sim.http import json_response
from pipeline.sim.market import Market
from pipeline.sim.rest_public import compact_market
from pipeline.units import MICRO, NS_PER_MS

ROOT = Path(__file__).resolve().parent.parent
KEY = bytes(range(1, 33))  # of no account anywhere
STAGES = ["feed.polymarket.0", "refdata.polymarket", "sequencer", "book", "detect", "trade", "signer.main",
          "gateway.main"]
CHAIN = ("feed", "sequencer", "book", "detect", "trade", "signer", "gateway")
BUDGET = 256
COUNTERS = (
    "frames", "frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost", "fallbacks",
    "pauses", "gaps", "instruments", "ideas", "packages", "signed", "sign_refused", "orders_sent",
)
NO_MATCH = "no orders found to match with FAK order. FAK orders are partially filled or killed."


@dataclass(slots=True)
class SimClock:
    """Simulated time; every stage's clock."""

    now_ns: int

    def __call__(self) -> int:
        return self.now_ns


class ChainWorld:
    """The stages, wired; `frame`, `turn`, `answer` drive them."""

    def __init__(self, directory: Path, markets: list[Market], start_ns: int) -> None:
        self.clock = SimClock(start_ns)
        self._directory = directory
        self._write_secrets()
        self.config = load([ROOT / "config" / "demo.toml"], self._overrides(len(markets)))
        halt.create(directory)
        for log in wiring.LOGS:
            (directory / "logs" / log).mkdir(parents=True)
            LogWriter(directory / "logs" / log, log, self.config.shm.log_segment_slots, salt_epoch=1).close()
        rows_max = self.config.rows_end
        memory = PrivateMemory(segment_sizes(STAGES, ["all"], self.config.shm, rows_max))
        format_all(memory, STAGES, ["all"], self.config.shm)
        self.channels = Channels(memory, directory / "logs", self.config.shm.log_segment_slots, 1)
        self.page = StatusPage(memory.buffer("status.all"), pid=os.getpid(), now_ns=start_ns)
        book = self.page.counter("book_position")
        env = Env(
            config=self.config, mode="local", stages=STAGES, channels=self.channels, page=self.page,
            clock=self.clock, state_dir=directory, run_dir=directory, book_position=lambda: book.value)
        built = {wiring.split_name(name)[0]: build_stage(name, env) for name in STAGES}
        self._built: dict[str, Built] = built
        self.polls = [(name, built[name].stage.poll) for name in CHAIN]
        self._feed: Any = built["feed"].sockets
        self._refdata: Any = built["refdata"].rest
        self.gateway: Any = built["gateway"].orders
        self._markets = {market.condition: market for market in markets}
        self._gamma = Gamma(self._markets, lambda market: (None, None))
        self._control = self.channels.ring_writer(wiring.CONTROL)
        self._shards: dict[str, int] = {}
        self._pushed = 0
        self._introduce()

    def _write_secrets(self) -> None:
        files = {
            "wallet.key": KEY.hex(),
            "api.json": json.dumps({
                "api_key": "7f4d3c2b-0000-4000-8000-00000000be5c",
                "secret": "YmVuY2gtYmVuY2gtYmVuY2gtYmVuY2g=", "passphrase": "bench"}),
        }
        for name, text in files.items():
            path = self._directory / name
            path.touch(mode=0o600)
            path.write_text(text)

    def _overrides(self, markets_count: int) -> dict[str, object]:
        address = Account.from_key(KEY).address
        return {
            "state_dir": str(self._directory),
            "accounts.main.address": address, "accounts.main.maker": address,
            "accounts.main.key_file": str(self._directory / "wallet.key"),
            "accounts.main.api_file": str(self._directory / "api.json"),
            "universe.instruments_max": max(16, markets_count), "shm.ladders_1024": max(128, markets_count),
            "shm.ladders_128": max(128, markets_count), "strategies.basket.cooldown_ms": 1,
            "accounts.main.orders_per_s": 10_000, "accounts.main.orders_burst": 10_000,
            "accounts.main.cancels_per_s": 10_000, "accounts.main.cancels_burst": 10_000,
        }

    def _introduce(self) -> None:
        """Limits, money and the universe enter the stream; every socket opens."""
        self._push(Kind.CONFIG, **config_record(self.config, 1))
        self._push(Kind.LANE_UP, lane=1, epoch=1, stage_name=b"all")
        money, now_ns = 10_000_000 * MICRO, self.clock.now_ns
        self._push(Kind.BALANCE, collateral_usd_micro=money, allowance_usd_micro=money, venue_ns=now_ns)
        self._refdata.is_held = False  # a new log: no row was given before
        is_asking = True
        while is_asking:
            self.step(NS_PER_MS)
            self._refdata.on_timer(self.clock.now_ns)
            is_asking = False
            while isinstance(asked := self._refdata.outbox.take(), Ask):
                is_asking = True
                self._answer(asked)
        self.step(NS_PER_MS)
        self._reconcile()
        self.serve_feed()
        reader = self.channels.log_reader(wiring.STREAM, None)
        while data := reader.read(1):
            if kind_of(data) == Kind.INSTRUMENT:
                record = CODECS[Kind.INSTRUMENT].unpack(data)
                self._shards[str(int.from_bytes(record.token_yes, "big"))] = record.shard

    def _answer(self, asked: Ask) -> None:
        """Answer refdata: pages of metadata, or the order book's own word on one market."""
        path = asked.target
        if path.startswith("/clob-markets/"):
            found = json_response(compact_market(self._markets[path.rpartition("/")[2]]))
        else:
            found = self._gamma.on_request(self.clock.now_ns, "GET", path, {}, b"")
        self._refdata.on_answer(self.clock.now_ns, asked.tag, found.status, dict(found.headers), found.body)

    def _reconcile(self) -> None:
        """Answer what trade asks at its start: the venue knows of nothing open."""
        asked = Filter(self.channels.log_reader(wiring.DECISIONS, None), (Kind.RECONCILE,))
        while not (found := asked.read(1)):
            self.step(10 * NS_PER_MS)
        self._push(Kind.RECONCILED, ok=1, request_no=CODECS[Kind.RECONCILE].unpack(found).request_no)
        self.step(NS_PER_MS)

    def _push(self, kind: Kind, **fields: object) -> None:
        self._pushed += 1
        self._control.push(CODECS[kind].pack(
            source=1, source_seq=self._pushed, recv_ns=self.clock.now_ns, **fields))

    def serve_feed(self) -> int:
        """Carry out what the feed asks of its sockets; return the number of texts sent to the venue."""
        sent = 0
        while (command := self._feed.outbox.take()) is not None:
            if isinstance(command, OpenSocket):
                self._feed.on_open(self.clock.now_ns, command.conn)
            sent += isinstance(command, SendText)
        return sent

    def shard_of(self, market: Market) -> int:
        """Return the socket that carries a market."""
        return self._shards[market.tokens[0]]

    def frame(self, conn: int, data: bytes) -> bool:
        """Hand one frame to the feed."""
        return bool(self._feed.on_frame(self.clock.now_ns, conn, data))

    def turn(self) -> int:
        """Poll every stage once, in the lane's order."""
        return sum(poll(BUDGET) for _, poll in self.polls)

    def step(self, step_ns: int) -> None:
        """Let time pass, then turn until nothing is left to do."""
        self.clock.now_ns += step_ns
        while self.turn():
            pass

    def take_request(self) -> Submit | None:
        """Return the next order request, if one was rendered."""
        found = self.gateway.outbox.take()
        return found if isinstance(found, Submit) else None

    def answer(self, request: Submit) -> int:
        """Answer a request as a venue whose book has moved: nothing matched. Return its orders."""
        flight = self.gateway.in_flight[request.tag]
        count = len(flight.orders)
        item = {"errorMsg": NO_MATCH, "orderID": "", "success": False, "status": ""}
        body = json.dumps({"error": NO_MATCH} if count == 1 else [item] * count).encode()
        self.gateway.on_answer(self.clock.now_ns, request.tag, 400 if count == 1 else 200, {}, body)
        return count

    def counters(self) -> dict[str, int]:
        """Return the counters that say what became of frames, ideas and orders."""
        return {name: self.page.counter(name).value for name in COUNTERS}

    def log_checksum(self, log: str) -> tuple[int, int]:
        """Return (records, CRC-32) of a log without Config: its hash covers the paths of this run."""
        reader, count, checksum = LogReader(self._directory / "logs" / log, log), 0, 0
        while data := reader.read(1):
            if kind_of(data) != Kind.CONFIG:
                count += len(data) // SLOT_BYTES
                checksum = zlib.crc32(data, checksum)
        reader.close()
        return count, checksum

    def close(self) -> None:
        """Close stages, then channels."""
        for built in self._built.values():
            built.stage.close()
            for close in built.close:
                close()
        self.channels.close()

