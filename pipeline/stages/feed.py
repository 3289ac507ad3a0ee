"""feed.<venue>.<k>: websocket frames in, market records out.

Reads `stream` (Instrument rows: a row is subscribed only after it stands there) and `decisions`
(Subscribe, Resync). Writes its feed ring. A shard is one socket, or two that tell the same (`native/arbiter`
takes what comes first); when none is left that tells it all, that is one `Gap` record of that shard, or of
the rows concerned, and their books are stale until a fresh snapshot. `feedwatch` owns the sockets.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sized
from typing import Any

from picows import WSListener

from pipeline.codec import CODECS, kind_of
from pipeline.kinds import Cause, Kind, Rule
from pipeline.native.arbiter import Arbiter
from pipeline.native.flow import Sink
from pipeline.native.framescan import Result, Scanner, TokenTable
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.native.wslistener import FeedListener, ShortCut
from pipeline.net.edge import CloseSocket, Outbox, PauseSocket
from pipeline.records import SLOT_BYTES
from pipeline.stages.feedlines import FeedSettings, Line
from pipeline.stages.feedwatch import Watch
from pipeline.stages.stage import Clock, Counts, push_owed
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.market_decode import MarketDecoder, announced_of

_HEARD_MAX = 4_096  # new markets that are remembered: every socket of the venue tells of each
_PONG = b"PONG"


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
        self._arbiter = Arbiter(settings.rows_max)
        scanner.judge_by(self._arbiter)
        self._watch = Watch(settings, self._arbiter, self.outbox, counts)
        self._lines = self._watch.lines
        self._heard: OrderedDict[bytes, None] = OrderedDict()  # new markets that were told, oldest first
        self._owed: deque[bytes] = deque()  # decoded runs and gaps that wait for room, oldest first
        self._waiting_conn = -1  # whose frame the scanner holds since it found no room
        self._resync_tokens = settings.resync_per_s_max
        self._resync_ns = 0
        # For a socket's listener: what it takes there, `on_frame` would have taken with the same effect.
        self.short_cut = ShortCut(
            scanner, sink, counts.counter("frames"), counts.counter("frames_twin"), stamps)

    def listener(
        self, offset_ns: int, conn: int, behind: WSListener, backlog: Sized, turn: Callable[[], object],
    ) -> FeedListener:
        """Return what stands before the driver's listener; offset_ns: wall minus monotonic time."""
        return FeedListener(self.short_cut, offset_ns, self._lines[conn].pulse, behind, backlog, turn)

    # ------------------------------------------------------------------ what the core tells us

    def on_instrument(
        self, now_ns: int, row: int, shard_number: int, tokens: tuple[str, str], market: str,
    ) -> None:
        """A row stands in `stream`: carry it when its shard is ours; a repeat changes nothing."""
        if shard_number % self._settings.feed_count != self._settings.feed_index:
            return
        shard = self._watch.shard(shard_number)
        if row in shard.rows:
            return
        shard.add(row, tokens)
        for outcome, token in enumerate(tokens):
            self._table.add(token, row, outcome, market)
        for line in shard.lines:
            if line.is_open:
                self._watch.subscribe(now_ns, line, [row], "subscribe")
        first = shard.lines[shard.first]
        if not first.is_active and not first.opens:
            self._watch.open(now_ns, first)

    def on_resolved(self, now_ns: int, row: int) -> None:
        """The market is over, or retired: nobody tells of it any more, and nobody shall wait for it."""
        for shard in self._watch.shards.values():
            if row in shard.rows:
                for line in shard.lines:
                    if line.is_open:
                        self._watch.subscribe(now_ns, line, [row], "unsubscribe")
                for token in shard.rows[row]:
                    self._table.remove(token)
                shard.drop(row)  # an empty shard's socket stays: closing it would lose what is on it

    def on_resume(self, now_ns: int) -> None:
        """The core began anew with empty books: ask for a snapshot of each, on the sockets that stand."""
        for shard in self._watch.shards.values():
            standing = [line for line in shard.lines if line.is_open]
            if standing and shard.rows:
                self._watch.renew(now_ns, standing[0], list(shard.rows))

    def on_resync(self, now_ns: int, row: int) -> None:
        """The core asks for a fresh snapshot: on each socket in turn, under a rate budget."""
        if now_ns - self._resync_ns >= NS_PER_S:
            self._resync_ns, self._resync_tokens = now_ns, self._settings.resync_per_s_max
        for shard in self._watch.shards.values():
            standing = [line for line in shard.lines if line.is_open]
            if row in shard.rows and standing:
                if self._resync_tokens <= 0:
                    self._counts.add("resyncs_refused", 1)
                    return
                self._resync_tokens -= 1
                shard.resync_slot ^= 1
                line = standing[shard.resync_slot % len(standing)]
                self._watch.renew(now_ns, line, [row])
                self._counts.add("resyncs", 1)

    # ------------------------------------------------------------------ what the driver tells us

    def on_open(self, now_ns: int, conn: int) -> None:
        self._watch.opened(now_ns, self._lines[conn])

    def on_close(self, now_ns: int, conn: int, cause: Cause) -> None:
        line = self._lines[conn]
        if self._waiting_conn == conn:
            self._scanner.reset()
            self._waiting_conn = -1
        was_open, cause = line.is_open, line.why or cause
        uncovered = self._watch.closed(now_ns, line)
        if was_open and uncovered is None:
            self._gap(line, cause)
        for row in uncovered or ():
            self._gap(line, cause, row)

    def on_frame(self, now_ns: int, conn: int, data: memoryview | bytes) -> bool:
        """Turn one frame into records; False = no room, the driver hands it in again later."""
        line = self._lines[conn]
        if line.is_given_up:
            line.lost_count += 1
            self._counts.add("frames_lost", 1)
            return True
        if self._waiting_conn not in (-1, conn) or (self._owed and not self.flush()):
            return self._pause(now_ns, line)
        is_again = self._waiting_conn == conn
        if is_again:
            # The driver keeps frames in order, so the frame handed in first is the one that waits.
            result = self._scanner.resume_into(self._sink)
        else:
            # Behind a pause a frame may have waited since the pause began: no younger than that, it is said.
            result = self._scanner.scan_bytes(data, line.late_ns or now_ns, self._sink, line.pulse)
        if result == Result.NO_ROOM:
            self._waiting_conn = conn
            return self._pause(now_ns, line)
        self._waiting_conn = -1
        if is_again:
            self.flush()
        if result == Result.OK:
            self._counts.add("frames", 1)
            self._stamps.mark(now_ns, now_ns + 1, self._clock())
        elif result == Result.TWIN:
            self._counts.add("frames_twin", 1)
        elif result == Result.FALLBACK:
            self._decode_slowly(now_ns, line, data)
        elif result == Result.UNKNOWN:
            self._counts.add("frames_unknown_token", 1)
        elif bytes(data[:4]) == _PONG:
            self._on_pong(now_ns, line)
        else:
            self._counts.add("frames_ignored", 1)
        return True

    def on_timer(self, now_ns: int) -> None:
        """Retry, ping, and give up on what stayed silent; call every few milliseconds."""
        for line, cause, row in list(self._watch.turn(now_ns, self.flush())):
            if row:
                self._gap(line, cause, row)
            else:
                self._counts.add("sockets_frozen" if cause == Cause.FREEZE else "sockets_silent", 1)
                line.why = cause
                self._give_up(line)
        for line in self._lines.values():
            if line.late_ns and line.is_open:
                self._watch_lateness(now_ns, line)

    def flush(self) -> bool:
        """Publish what is owed; True when nothing is left."""
        if not push_owed(self._sink, self._owed):
            self.short_cut.is_held = True
            return False
        if self._waiting_conn < 0:
            self._go_on()
        return True

    # ------------------------------------------------------------------ helpers

    def _decode_slowly(self, now_ns: int, line: Line, data: memoryview | bytes) -> None:
        self._decoder.source_seq = self._scanner.source_seq
        decoded = self._decoder.decode(data, line.late_ns or now_ns)
        self._scanner.source_seq = self._decoder.source_seq
        self._counts.add("fallbacks", 1)
        for obj in decoded.announced:
            self._announce(now_ns, obj)
        if decoded.reject is not None:
            self._counts.add("frames_rejected", 1)
            for row in decoded.rows or [0]:
                self._gap(line, decoded.reject, row)
            if decoded.is_breach:
                self._counts.add("frames_breaching", 1)
            if decoded.is_breach or not decoded.rows:
                line.give_ups += 1  # what came is at fault: do not hurry back; after our own load, do
                self._give_up(line)  # no book of it is right any more: a new socket brings them all
        elif decoded.records:
            kept = self._arbiter.keep(decoded.records, line.pulse, now_ns)
            self._counts.add("frames" if kept else "frames_twin", 1)
            self._owed.extend(kept)
        else:
            self._counts.add("frames_unknown_token" if decoded.unknown_count else "frames_ignored", 1)
        self.flush()

    def _announce(self, now_ns: int, obj: dict[str, Any]) -> None:
        """Owe one Announced for each new market, however many sockets tell of it: refdata looks it up."""
        found = announced_of(obj)
        if found is None or found[0] in self._heard:
            return
        self._heard[found[0]] = None
        if len(self._heard) > _HEARD_MAX:
            self._heard.popitem(last=False)
        self._scanner.source_seq += 1
        self._owed.append(CODECS[Kind.ANNOUNCED].pack(
            source=self._settings.source, source_seq=self._scanner.source_seq, recv_ns=now_ns,
            condition=found[0], event_id=found[1].encode(), venue_ns=found[2]))

    def _gap(self, line: Line, cause: Cause, row: int = 0) -> None:
        """Owe one Gap: of one row, or with row 0 of the whole shard."""
        self._scanner.source_seq += 1
        self._owed.append(CODECS[Kind.GAP].pack(
            source=self._settings.source, source_seq=self._scanner.source_seq, instrument=row,
            cause=int(cause), shard=line.shard.number, lost_count=line.lost_count))
        self._counts.add("gaps", 1)
        self.flush()

    def _go_on(self) -> None:
        """Nothing waits any more: read on from every socket whose frames are not thrown away."""
        for line in self._lines.values():
            if line.paused_ns and not line.is_given_up:
                self.outbox.put(PauseSocket(line.conn, paused=False))
            line.paused_ns = 0
        self._release()

    def _release(self) -> None:
        """Let the short cut take frames again, unless those of some socket are lost or late."""
        self.short_cut.is_held = any(line.is_given_up or line.late_ns for line in self._lines.values())

    def _pause(self, now_ns: int, line: Line) -> bool:
        self.short_cut.is_held = True
        if not line.paused_ns:
            line.paused_ns = line.last_paused_ns = now_ns
            line.late_ns = line.late_ns or now_ns
            self.outbox.put(PauseSocket(line.conn, paused=True))
            self._counts.add("pauses", 1)
        elif now_ns - line.paused_ns > self._settings.pause_ns_max:
            # The venue would drop us; better a counted gap and a fresh snapshot than a silent queue.
            line.lost_count = 1
            self._counts.add("frames_lost", 1)
            self._give_up(line)
            return True
        return False

    def _give_up(self, line: Line) -> None:
        """Close a socket and throw away what it still brings: `on_close` tells it as one Gap."""
        line.is_given_up = self.short_cut.is_held = True
        if self._waiting_conn == line.conn:
            self._scanner.reset()
            self._waiting_conn = -1
        self.outbox.put(CloseSocket(line.conn))

    def _watch_lateness(self, now_ns: int, line: Line) -> None:
        """Pauses that each end in time may still never let us read a socket to its end: data gets ever older.

        The PONG of a PING that we send behind a pause stands behind all that waited in the socket.
        """
        if not line.late_ns or line.is_given_up:
            return
        if now_ns - line.late_ns > self._settings.late_ns_max:
            self._counts.add("sockets_late", 1)
            self._give_up(line)
        elif not line.probe_count and not line.paused_ns:
            self._watch.ping(now_ns, line)
            line.probe_count, line.probe_ns = line.ping_count, now_ns

    def _on_pong(self, now_ns: int, line: Line) -> None:
        line.ponged_ns = now_ns
        line.pong_count += 1
        self._counts.add("pongs", 1)
        if line.probe_count and line.pong_count >= line.probe_count:
            line.probe_count = 0
            line.late_ns = line.probe_ns if line.last_paused_ns > line.probe_ns else 0
        if not line.late_ns:
            line.give_ups = 0
            if not self._owed and self._waiting_conn < 0:
                self._release()


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
                if record.rules & Rule.RETIRED:
                    self.machine.on_resolved(now_ns, record.instrument)
                    continue
                yes, no = (str(int.from_bytes(token, "big")) for token in (record.token_yes, record.token_no))
                market = "0x" + record.condition.hex()
                self.machine.on_instrument(now_ns, record.instrument, record.shard, (yes, no), market)
            elif kind == Kind.RESUME:
                self.machine.on_resume(now_ns)
            elif kind == Kind.RESOLVED:
                self.machine.on_resolved(now_ns, CODECS[Kind.RESOLVED].unpack(data, at).instrument)
            elif kind == Kind.RESYNC:
                self.machine.on_resync(now_ns, CODECS[Kind.RESYNC].unpack(data, at).instrument)
        return len(data) // SLOT_BYTES

    def close(self) -> None:
        """Nothing is held here: channels belong to the lane, sockets to the driver."""
