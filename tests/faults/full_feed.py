"""A feed machine whose ring nobody reads, and a venue that goes on sending to its two sockets (SH03)."""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field

from pipeline.codec import unpack
from pipeline.kinds import Cause, Kind
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.net.edge import CloseSocket, OpenSocket, PauseSocket
from pipeline.records import SLOT_BYTES
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.market_decode import MarketDecoder

STEP_NS = 20 * NS_PER_MS
SLOTS = 128


@dataclass
class Socket:
    """One shard's connection as venue and driver see it, and what the ring told of it."""

    number: int
    is_open: bool = True
    is_paused: bool = False
    opened: int = 0
    sent: int = 0  # frames that reached this host and were handed in, or wait to be
    next_size: int = 1
    recorded: list[int] = field(default_factory=list)
    told_lost: int = 0
    gaps: int = 0
    holes: int = 0
    holes_told: int = 0
    has_gap: bool = False


class FullFeed:
    """Runs machine, sockets and (when asked) a reader in simulated time."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "feed")
        self.view = StatusView(page)
        ring = bytearray(Ring.bytes_for(SLOTS))
        Ring.format(ring, SLOTS)
        self._reader = Reader(ring)
        self.now_ns = 1_790_000_000 * NS_PER_S
        table = TokenTable()
        self.machine = FeedMachine(
            FeedSettings(ws_url="ws://x", source=3), table, Scanner(table, 3), MarketDecoder(table.get, 3),
            Writer(ring), Counts(StatusPage(page)), Stamps(bytearray(ENTRY_BYTES)), lambda: self.now_ns)
        self.shards = [Socket(0), Socket(1)]
        self.waiting: deque[tuple[int, bytes]] = deque()  # the driver's backlog: one order for all sockets
        for shard in self.shards:
            tokens = (str(70 + shard.number), str(80 + shard.number))
            self.machine.on_instrument(
                self.now_ns, shard.number + 1, shard.number, tokens, market(shard.number))
            self.machine.on_open(self.now_ns, shard.number)
        self._carry()

    def run(self, duration_ns: int, *, is_read: bool) -> None:
        """Go on for so long; the reader takes some of the ring each step, or nothing at all."""
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self.now_ns += STEP_NS
            for shard in self.shards:
                if shard.is_open and not shard.is_paused:
                    self._arrive(shard)
            while self.waiting and self.machine.on_frame(self.now_ns, *self.waiting[0]):
                self.waiting.popleft()
            self.machine.on_timer(self.now_ns)
            self._carry()
            if is_read:
                self._read()

    def _arrive(self, shard: Socket) -> None:
        draw = self._rng.random()
        if draw < 0.6:
            self.waiting.append((shard.number, frame(shard.number, shard.next_size)))
            shard.next_size += 1
        elif draw < 0.61:
            self.waiting.append((shard.number, b"PONG"))
        else:
            return
        shard.sent += 1

    def _carry(self) -> None:
        while (command := self.machine.outbox.take()) is not None:
            if isinstance(command, PauseSocket):
                self.shards[command.conn].is_paused = command.paused
            elif isinstance(command, CloseSocket):
                shard = self.shards[command.conn]
                # what was read and not taken dies with its connection, as the frames never read do
                kept = [entry for entry in self.waiting if entry[0] != command.conn]
                shard.sent -= len(self.waiting) - len(kept)
                self.waiting = deque(kept)
                shard.is_open = shard.is_paused = False
                self.machine.on_close(self.now_ns, command.conn, Cause.DISCONNECT)
            elif isinstance(command, OpenSocket):
                shard = self.shards[command.conn]
                if not shard.is_open:
                    shard.is_open, shard.opened = True, shard.opened + 1
                    shard.next_size += 1_000  # the venue went on meanwhile
                    self.machine.on_open(self.now_ns, command.conn)

    def _read(self) -> None:
        data = self._reader.read(100)
        for at in range(0, len(data), SLOT_BYTES):
            record = unpack(data, at)
            if record.kind == Kind.GAP:
                shard = self.shards[record.shard]
                shard.gaps, shard.has_gap = shard.gaps + 1, True
                shard.told_lost += record.lost_count
                continue
            shard = self.shards[record.instrument - 1]
            size = record.size_micro[0] // 1_000_000
            if shard.recorded and size != shard.recorded[-1] + 1:
                shard.holes += 1
                shard.holes_told += shard.has_gap
            shard.has_gap = False
            shard.recorded.append(size)


def market(shard: int) -> str:
    """Return the shard's only market."""
    return "0x" + str(shard) * 64


def frame(shard: int, size: int) -> bytes:
    """Return one change of the shard's market; `size` numbers it."""
    item = {"asset_id": str(70 + shard), "price": "0.5", "size": str(size), "side": "BUY", "hash": "0a" * 20}
    return json.dumps({"market": market(shard), "price_changes": [item], "timestamp": "1790766981628",
                       "event_type": "price_change"}).encode()
