"""feed.<venue>.<k>: websocket frames in, market records out.

Reads `stream` (Instrument rows: a row is subscribed only after it stands there) and `decisions`
(Subscribe, Resync). Writes its feed ring. A shard is one socket; whatever breaks its continuity ends
in one `Gap` record of that shard, and its books are stale until a fresh snapshot.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import orjson

from pipeline.codec import CODECS, kind_of
from pipeline.native.flow import Sink
from pipeline.native.framescan import Result, Scanner, TokenTable
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.native.wslistener import ShortCut
from pipeline.net.edge import CloseSocket, OpenSocket, Outbox, PauseSocket, SendText
from pipeline.records import SLOT_BYTES, Cause, Kind
from pipeline.stages.stage import Clock, Counts, push_owed
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.market_decode import MarketDecoder

ASSETS_PER_CONDITION = 2
_PONG = b"PONG"


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Where and how one feed stage listens; `source` names its ring in every record."""

    ws_url: str
    source: int
    feed_index: int = 0  # this stage carries the shards with shard % feed_count == feed_index
    feed_count: int = 1
    ping_ns: int = 10 * NS_PER_S  # polymarket.md 6: text PING every 10 s
    pong_ns_max: int = 30 * NS_PER_S
    pause_ns_max: int = 500 * NS_PER_MS
    late_ns_max: int = NS_PER_S  # how old the data of a socket may get that we do not read to its end
    backoff_ns_min: int = 250 * NS_PER_MS
    backoff_ns_max: int = 30 * NS_PER_S
    resync_per_s_max: int = 50


@dataclass(slots=True)
class Shard:
    """One socket and the instruments that it carries."""

    number: int
    rows: dict[int, tuple[str, str]] = field(default_factory=dict)  # row -> token ids
    is_open: bool = False
    is_opening: bool = False
    retry_ns: int = 0
    attempts: int = 0
    pinged_ns: int = 0
    ponged_ns: int = 0
    paused_ns: int = 0  # since when our ring has been full; 0 = not paused
    lost_count: int = 0  # frames thrown away since we gave up on the socket
    is_given_up: bool = False  # nothing more is taken from this socket; it is being closed
    give_ups: int = 0  # for what came, in a row, without a sign that the next socket does better
    late_ns: int = 0  # since when the socket may hold data that we have not read; 0 = it was read to its end
    last_paused_ns: int = 0
    ping_count: int = 0  # sent on this socket
    pong_count: int = 0
    probe_count: int = 0  # its PONG, of this number, stands behind all that the socket held; 0 = no probe
    probe_ns: int = 0


class FeedMachine:
    """Sans-IO: frames and times in; records, subscriptions and reconnects out."""

    def __init__(
        self, settings: FeedSettings, table: TokenTable, scanner: Scanner, decoder: MarketDecoder,
        sink: Sink, counts: Counts, stamps: Stamps, clock: Clock,
    ) -> None:
        self.outbox = Outbox()
        self._settings = settings
        self._table = table
        self._scanner = scanner
        self._decoder = decoder
        self._sink = sink
        self._counts = counts
        self._stamps = stamps  # by receive time: the only name that a frame has before it is sequenced
        self._clock = clock
        self._shards: dict[int, Shard] = {}
        self._owed: deque[bytes] = deque()  # decoded runs and gaps that wait for room, oldest first
        self._waiting_conn = -1  # whose frame the scanner holds since it found no room
        self._resync_tokens = settings.resync_per_s_max
        self._resync_ns = 0
        # For a socket's listener: what it takes there, `on_frame` would have taken with the same effect.
        self.short_cut = ShortCut(scanner, sink, counts.counter("frames"), stamps)

    # ------------------------------------------------------------------ what the core tells us

    def on_instrument(
        self, now_ns: int, row: int, shard_number: int, tokens: tuple[str, str], market: str,
    ) -> None:
        """A row stands in `stream`: carry it when its shard is ours; a repeat changes nothing."""
        if shard_number % self._settings.feed_count != self._settings.feed_index:
            return
        shard = self._shards.setdefault(shard_number, Shard(shard_number))
        if row in shard.rows:
            return
        shard.rows[row] = tokens
        for outcome, token in enumerate(tokens):
            self._table.add(token, row, outcome, market)
        if shard.is_open:
            self._subscribe(shard, [row], "subscribe")
        elif not shard.is_opening and now_ns >= shard.retry_ns:
            self._open(shard)

    def on_resume(self) -> None:
        """The core began anew with empty books: ask for a snapshot of each, on the sockets that stand."""
        for shard in self._shards.values():
            if shard.is_open and shard.rows:
                self._subscribe(shard, list(shard.rows), "unsubscribe")
                self._subscribe(shard, list(shard.rows), "subscribe")

    def on_resync(self, now_ns: int, row: int) -> None:
        """The core asks for a fresh snapshot: unsubscribe and subscribe, under a rate budget."""
        if now_ns - self._resync_ns >= NS_PER_S:
            self._resync_ns, self._resync_tokens = now_ns, self._settings.resync_per_s_max
        for shard in self._shards.values():
            if row in shard.rows and shard.is_open:
                if self._resync_tokens <= 0:
                    self._counts.add("resyncs_refused", 1)
                    return
                self._resync_tokens -= 1
                self._subscribe(shard, [row], "unsubscribe")
                self._subscribe(shard, [row], "subscribe")
                self._counts.add("resyncs", 1)

    # ------------------------------------------------------------------ what the driver tells us

    def on_open(self, now_ns: int, conn: int) -> None:
        shard = self._shards[conn]
        shard.is_open, shard.is_opening, shard.attempts = True, False, shard.give_ups
        shard.pinged_ns = shard.ponged_ns = now_ns
        shard.ping_count = shard.pong_count = shard.probe_count = shard.late_ns = 0
        self._subscribe(shard, list(shard.rows), None)

    def on_close(self, now_ns: int, conn: int, cause: Cause) -> None:
        shard = self._shards[conn]
        if self._waiting_conn == conn:
            self._scanner.reset()
            self._waiting_conn = -1
        if shard.is_open:
            self._gap(shard, cause)
        shard.is_open = shard.is_opening = False
        shard.paused_ns = shard.late_ns = 0
        shard.attempts += 1
        shard.retry_ns = now_ns + self._backoff_ns(shard)
        self._counts.add("disconnects", 1)

    def on_frame(self, now_ns: int, conn: int, data: memoryview | bytes) -> bool:
        """Turn one frame into records; False = no room, the driver hands it in again later."""
        shard = self._shards[conn]
        if shard.is_given_up:
            shard.lost_count += 1
            self._counts.add("frames_lost", 1)
            return True
        if self._waiting_conn not in (-1, conn) or (self._owed and not self.flush()):
            return self._pause(now_ns, shard)
        is_again = self._waiting_conn == conn
        if is_again:
            # The driver keeps frames in order, so the frame handed in first is the one that waits.
            result = self._scanner.resume_into(self._sink)
        else:
            # Behind a pause a frame may have waited since the pause began: no younger than that, it is said.
            result = self._scanner.scan_bytes(data, shard.late_ns or now_ns, self._sink)
        if result == Result.NO_ROOM:
            self._waiting_conn = conn
            return self._pause(now_ns, shard)
        self._waiting_conn = -1
        if is_again:
            self.flush()
        if result == Result.OK:
            self._counts.add("frames", 1)
            self._stamps.mark(now_ns, now_ns + 1, self._clock())
        elif result == Result.FALLBACK:
            self._decode_slowly(now_ns, shard, data)
        elif result == Result.UNKNOWN:
            self._counts.add("frames_unknown_token", 1)
        elif bytes(data[:4]) == _PONG:
            self._on_pong(now_ns, shard)
        else:
            self._counts.add("frames_ignored", 1)
        return True

    def on_timer(self, now_ns: int) -> None:
        """Retry, ping, and give up on what stayed silent; call every few milliseconds."""
        has_room = self.flush()
        for shard in self._shards.values():
            if shard.is_open:
                self._keep_alive(now_ns, shard)
            elif has_room and not shard.is_opening and shard.rows and now_ns >= shard.retry_ns:
                # without room its snapshot would only be thrown away, once a second, a Gap each
                self._open(shard)

    def flush(self) -> bool:
        """Publish what is owed; True when nothing is left."""
        if not push_owed(self._sink, self._owed):
            self.short_cut.is_held = True
            return False
        if self._waiting_conn < 0:
            self._go_on()
        return True

    # ------------------------------------------------------------------ helpers

    def _decode_slowly(self, now_ns: int, shard: Shard, data: memoryview | bytes) -> None:
        self._decoder.source_seq = self._scanner.source_seq
        decoded = self._decoder.decode(data, shard.late_ns or now_ns)
        self._scanner.source_seq = self._decoder.source_seq
        self._counts.add("fallbacks", 1)
        if decoded.reject is not None:
            self._counts.add("frames_rejected", 1)
            for row in decoded.rows or [0]:
                self._gap(shard, decoded.reject, row)
            if decoded.is_breach:
                self._counts.add("frames_breaching", 1)
            if decoded.is_breach or not decoded.rows:
                shard.give_ups += 1  # what came is at fault: do not hurry back; after our own load, do
                self._give_up(shard)  # no book of it is right any more: a new socket brings them all
        elif decoded.records:
            self._counts.add("frames", 1)
        else:
            self._counts.add("frames_unknown_token" if decoded.unknown_count else "frames_ignored", 1)
        self._owed.extend(decoded.records)
        self.flush()

    def _gap(self, shard: Shard, cause: Cause, row: int = 0) -> None:
        """Owe one Gap: of one row, or with row 0 of the whole shard."""
        self._scanner.source_seq += 1
        self._owed.append(CODECS[Kind.GAP].pack(
            source=self._settings.source, source_seq=self._scanner.source_seq, instrument=row,
            cause=int(cause), shard=shard.number, lost_count=shard.lost_count))
        self._counts.add("gaps", 1)
        self.flush()

    def _go_on(self) -> None:
        """Nothing waits any more: read on from every socket whose frames are not thrown away."""
        for shard in self._shards.values():
            if shard.paused_ns and not shard.is_given_up:
                self.outbox.put(PauseSocket(shard.number, paused=False))
            shard.paused_ns = 0
        self._release()

    def _release(self) -> None:
        """Let the short cut take frames again, unless those of some socket are lost or late."""
        self.short_cut.is_held = any(shard.is_given_up or shard.late_ns for shard in self._shards.values())

    def _pause(self, now_ns: int, shard: Shard) -> bool:
        self.short_cut.is_held = True
        if not shard.paused_ns:
            shard.paused_ns = shard.last_paused_ns = now_ns
            shard.late_ns = shard.late_ns or now_ns
            self.outbox.put(PauseSocket(shard.number, paused=True))
            self._counts.add("pauses", 1)
        elif now_ns - shard.paused_ns > self._settings.pause_ns_max:
            # The venue would drop us; better a counted gap and a fresh snapshot than a silent queue.
            shard.lost_count = 1
            self._counts.add("frames_lost", 1)
            self._give_up(shard)
            return True
        return False

    def _give_up(self, shard: Shard) -> None:
        """Close a socket and throw away what it still brings: `on_close` tells it as one Gap."""
        shard.is_given_up = self.short_cut.is_held = True
        if self._waiting_conn == shard.number:
            self._scanner.reset()
            self._waiting_conn = -1
        self.outbox.put(CloseSocket(shard.number))

    def _watch_lateness(self, now_ns: int, shard: Shard) -> None:
        """Pauses that each end in time may still never let us read a socket to its end: data gets ever older.

        The PONG of a PING that we send behind a pause stands behind all that waited in the socket.
        """
        if not shard.late_ns or shard.is_given_up:
            return
        if now_ns - shard.late_ns > self._settings.late_ns_max:
            self._counts.add("sockets_late", 1)
            self._give_up(shard)
        elif not shard.probe_count and not shard.paused_ns:
            self._ping(now_ns, shard)
            shard.probe_count, shard.probe_ns = shard.ping_count, now_ns

    def _on_pong(self, now_ns: int, shard: Shard) -> None:
        shard.ponged_ns = now_ns
        shard.pong_count += 1
        self._counts.add("pongs", 1)
        if shard.probe_count and shard.pong_count >= shard.probe_count:
            shard.probe_count = 0
            shard.late_ns = shard.probe_ns if shard.last_paused_ns > shard.probe_ns else 0
        if not shard.late_ns:
            shard.give_ups = 0
            if not self._owed and self._waiting_conn < 0:
                self._release()

    def _ping(self, now_ns: int, shard: Shard) -> None:
        shard.pinged_ns = now_ns
        shard.ping_count += 1
        self.outbox.put(SendText(shard.number, b"PING"))

    def _keep_alive(self, now_ns: int, shard: Shard) -> None:
        if now_ns - shard.pinged_ns >= self._settings.ping_ns:
            self._ping(now_ns, shard)
        self._watch_lateness(now_ns, shard)
        if now_ns - shard.ponged_ns > self._settings.pong_ns_max:
            self.outbox.put(CloseSocket(shard.number))
            shard.ponged_ns = now_ns

    def _open(self, shard: Shard) -> None:
        shard.is_opening, shard.is_given_up, shard.lost_count = True, False, 0
        self.outbox.put(OpenSocket(shard.number, self._settings.ws_url))

    def _subscribe(self, shard: Shard, rows: list[int], operation: str | None) -> None:
        message: dict[str, object] = {"assets_ids": [token for row in rows for token in shard.rows[row]]}
        if operation is None:
            message |= {"type": "market", "initial_dump": True, "level": 2}
        else:
            message["operation"] = operation
        if operation != "unsubscribe":
            message["custom_feature_enabled"] = True
        self.outbox.put(SendText(shard.number, orjson.dumps(message)))

    def _backoff_ns(self, shard: Shard) -> int:
        """Exponential, capped, spread by shard and attempt: no two sockets retry together."""
        step = min(self._settings.backoff_ns_min << min(shard.attempts, 10), self._settings.backoff_ns_max)
        spread = (shard.attempts * 2_654_435_761 ^ shard.number * 40_503) % 1_000
        return step // 2 + step * spread // 2_000


class FeedStage:
    """Follows `stream` and `decisions` for its machine; the driver brings the frames."""

    def __init__(self, name: str, machine: FeedMachine, rows: Filter, requests: Filter, clock: Clock) -> None:
        self.name = name
        self.machine = machine
        self._rows = rows
        self._requests = requests
        self._clock = clock

    def poll(self, budget: int) -> int:
        """Serve new rows, snapshots seen and resync requests; frames come through the machine."""
        data = self._rows.read(budget) + self._requests.read(budget)
        if not data:
            return 0
        now_ns = self._clock()
        for at in range(0, len(data), SLOT_BYTES):
            kind = kind_of(data, at)
            if kind == Kind.INSTRUMENT:
                record = CODECS[Kind.INSTRUMENT].unpack(data, at)
                yes, no = (str(int.from_bytes(token, "big")) for token in (record.token_yes, record.token_no))
                market = "0x" + record.condition.hex()
                self.machine.on_instrument(now_ns, record.instrument, record.shard, (yes, no), market)
            elif kind == Kind.RESUME:
                self.machine.on_resume()
            elif kind == Kind.RESYNC:
                self.machine.on_resync(now_ns, CODECS[Kind.RESYNC].unpack(data, at).instrument)
        return len(data) // SLOT_BYTES

    def close(self) -> None:
        """Nothing is held here: channels belong to the lane, sockets to the driver."""
