"""When a feed's sockets are opened, asked, doubted and replaced: the one owner of every reconnect.

PONG proves a socket, not its data (MD01). What proves data is data: a market frame, or the snapshot that a
silent socket brings when its busiest row, the canary, is subscribed anew; and of two sockets, what the other
one told. A socket that owes either is frozen. Reads no clock; `turn` says what is to be given up.
"""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from pipeline.kinds import Cause
from pipeline.native.arbiter import Arbiter
from pipeline.net.edge import CloseSocket, OpenSocket, Outbox, SendText
from pipeline.stages.feedlines import FeedSettings, Line, Shard
from pipeline.stages.stage import Counts, backoff_ns
from pipeline.units import NS_PER_S

LOOK_NS = NS_PER_S // 4  # how often sockets are compared and snapshots counted
AWAY_NS = NS_PER_S  # a timer that comes so late was stopped itself: what is silent then may be us
AGAIN_NS = NS_PER_S  # a canary that showed something new is asked once more
BUSY_GAPS = 10  # so many mean gaps of silence on a busy socket are no accident
ASK_TRIES_MAX = 5  # doublings of the time between two questions for one snapshot
SLICE_ROWS = 25  # of one subscription: its snapshots are one frame, and a socket's buffer stays as large
MOVE_NS_MAX = 15 * NS_PER_S  # a planned reconnect that takes longer is tried again later
Finding = tuple[Line, Cause, int]  # a socket that is to be given up (row 0), or one of its rows


class Watch:
    """Keeps the sockets of all shards of a feed."""

    def __init__(self, settings: FeedSettings, arbiter: Arbiter, outbox: Outbox, counts: Counts) -> None:
        self.shards: dict[int, Shard] = {}
        self.lines: dict[int, Line] = {}  # by connection
        self._settings = settings
        self._arbiter = arbiter
        self._outbox = outbox
        self._counts = counts
        self._reopen_ns = 0  # before this no socket is opened again
        self._look_ns = self._turned_ns = self._excused_ns = 0

    def shard(self, number: int) -> Shard:
        """Return a shard, made when it is new."""
        shard = self.shards.get(number)
        if shard is None:
            shard = self.shards[number] = Shard(number)
            self.lines |= {line.conn: line for line in shard.lines}
        return shard

    # ------------------------------------------------------------------ what happens to a socket

    def open(self, now_ns: int, line: Line) -> None:
        """Ask for a socket."""
        line.is_opening, line.is_given_up, line.lost_count, line.begun_ns = True, False, 0, now_ns
        line.why = Cause.NONE
        if line.opens:
            self._reopen_ns = now_ns + self._settings.reopen_ns * self._settings.feed_count
        line.opens += 1
        self._see_twins()
        self._outbox.put(OpenSocket(line.conn, self._settings.ws_url))

    def opened(self, now_ns: int, line: Line) -> None:
        """The socket stands: ask for all rows."""
        line.is_open, line.is_opening, line.is_leaving = True, False, False
        line.attempts = max(line.give_ups, line.unheard)
        line.opened_ns = line.pinged_ns = line.ponged_ns = now_ns
        line.ping_count = line.pong_count = line.probe_count = line.late_ns = line.probed_ns = 0
        quarter = self._settings.age_ns_max // 4
        line.until_ns = now_ns + 3 * quarter + quarter * line.spread(line.opens) // 1_000
        line.pulse.restart()
        line.asked.clear()
        self._see_twins()
        rows = list(line.shard.rows)
        for first in range(0, len(rows), SLICE_ROWS):
            self.subscribe(now_ns, line, rows[first:first + SLICE_ROWS], "subscribe" if first else None)

    def closed(self, now_ns: int, line: Line) -> list[int] | None:
        """The socket is gone. Return the rows that no other socket tells of; None = all of its shard's."""
        shard, sibling = line.shard, line.sibling
        uncovered: list[int] | None = []
        if line.is_open:
            if not line.pulse.data_ns:
                line.unheard += 1
            is_covering = sibling.is_open and not sibling.is_given_up
            uncovered = self._arbiter.missing(shard.numbers, sibling.slot) if is_covering else None
            if uncovered and len(uncovered) == len(shard.rows):
                uncovered = None
            if uncovered == []:
                self._counts.add("sockets_covered", 1)
        self._arbiter.forget(shard.numbers, line.slot)
        line.is_open = line.is_opening = line.is_leaving = False
        line.paused_ns = line.late_ns = 0
        line.attempts += 1
        line.retry_ns = now_ns + backoff_ns(
            line.attempts, self._settings.backoff_ns_min, self._settings.backoff_ns_max,
            line.spread(line.attempts))
        if shard.is_moving:
            shard.is_moving = False
            shard.first = sibling.slot if sibling.is_active else line.slot
        self._see_twins()
        self._counts.add("disconnects", 1)
        return uncovered

    def subscribe(self, now_ns: int, line: Line, rows: list[int], operation: str | None) -> None:
        """Send a subscription of rows, or its end; None = the first one of a socket."""
        tokens = line.shard.rows
        message: dict[str, object] = {"assets_ids": [token for row in rows for token in tokens[row]]}
        if operation is None:
            message |= {"type": "market", "initial_dump": True, "level": 2}
        else:
            message["operation"] = operation
        if operation != "unsubscribe":
            message["custom_feature_enabled"] = True
            for row in rows:
                self._arbiter.ask(row, line.slot)
                line.asked[row] = now_ns, line.asked.get(row, (0, 0))[1]
        self._outbox.put(SendText(line.conn, orjson.dumps(message)))

    def renew(self, now_ns: int, line: Line, rows: list[int]) -> None:
        """Ask for fresh snapshots: subscribing again brings none without leaving first (polymarket.md 6)."""
        self.subscribe(now_ns, line, rows, "unsubscribe")
        self.subscribe(now_ns, line, rows, "subscribe")

    def ping(self, now_ns: int, line: Line) -> None:
        """Send a PING and count it."""
        line.pinged_ns = now_ns
        line.ping_count += 1
        self._outbox.put(SendText(line.conn, b"PING"))

    # ------------------------------------------------------------------ time

    def turn(self, now_ns: int, has_room: bool) -> Iterator[Finding]:
        """Open what is due, ping, and yield what is to be given up; has_room: our ring takes records."""
        if now_ns - self._turned_ns > AWAY_NS:
            self._excused_ns = now_ns
        self._turned_ns = now_ns
        is_look = now_ns - self._look_ns >= LOOK_NS
        if is_look:
            self._look_ns = now_ns
        for shard in self.shards.values():
            for line in shard.lines:
                if line.is_open:
                    if not line.is_given_up:
                        yield from self._doubts(now_ns, line, is_look)
                elif line.is_opening:
                    if now_ns - line.begun_ns > self._settings.opening_ns_max:
                        line.begun_ns = now_ns
                        self._outbox.put(CloseSocket(line.conn))
                elif has_room and now_ns >= line.retry_ns and self._is_wanted(now_ns, line):
                    # without room its snapshot would only be thrown away, once a second, a Gap each
                    self.open(now_ns, line)
            if is_look and shard.rows:
                self._move(now_ns, shard)

    def _is_wanted(self, now_ns: int, line: Line) -> bool:
        """Tell whether a socket belongs here now."""
        shard, sibling = line.shard, line.sibling
        if not shard.rows or (line.opens and now_ns < self._reopen_ns):
            return False
        if line.slot == shard.first or shard.is_moving:
            return True
        if self._settings.sockets < 2:
            return False
        is_time = now_ns - sibling.opened_ns >= self._settings.stagger_ns
        return line.opens > 0 or (sibling.is_open and is_time)

    def _doubts(self, now_ns: int, line: Line, is_look: bool) -> Iterator[Finding]:
        """Yield why an open socket is to be given up, or rows of it that have no book."""
        settings, pulse = self._settings, line.pulse
        heard_ns = max(pulse.data_ns, line.opened_ns)
        if pulse.data_ns:
            line.unheard = 0
        if now_ns - line.pinged_ns >= (
                settings.ping_ns if now_ns - heard_ns < settings.dead_ns // 3 else settings.dead_ns // 3):
            self.ping(now_ns, line)
        if now_ns - line.ponged_ns > settings.pong_ns_max or (
                now_ns - max(line.ponged_ns, heard_ns, self._excused_ns) > settings.dead_ns):
            yield line, Cause.DISCONNECT, 0
        elif is_look and line.shard.rows and not line.paused_ns and not line.late_ns:
            cause = self._frozen(now_ns, line, heard_ns)
            if cause:
                yield line, cause, 0
            elif line.asked:
                yield from self._withheld(now_ns, line)

    def _frozen(self, now_ns: int, line: Line, heard_ns: int) -> Cause:
        """Say why the socket is not to be relied on, NONE when it is. Asks the canary on the way."""
        settings, pulse, shard = self._settings, line.pulse, line.shard
        late = self._arbiter.behind(shard.numbers, line.slot, now_ns - settings.freeze_busy_ns)
        if late or pulse.missed > 1:
            return Cause.FREEZE
        quiet_ns = now_ns - max(heard_ns, line.last_paused_ns, self._excused_ns)
        if not pulse.data_ns:
            return Cause.NO_SNAPSHOT if quiet_ns >= settings.snapshot_ns_max else Cause.NONE
        is_busy = pulse.gap_ns * BUSY_GAPS <= settings.freeze_busy_ns
        limit_ns = settings.freeze_busy_ns if is_busy else settings.freeze_quiet_ns
        is_unanswered = line.probed_ns > heard_ns and now_ns - line.probed_ns >= settings.snapshot_ns_max
        if is_unanswered or quiet_ns >= limit_ns - LOOK_NS:
            return Cause.FREEZE
        is_due = quiet_ns >= (AGAIN_NS if pulse.missed else limit_ns // 2)
        if is_due and line.probed_ns <= heard_ns and not line.sibling.is_leaving:
            line.probed_ns = now_ns
            canary = self._arbiter.busiest(shard.numbers) or shard.numbers[0]
            self._counts.add("canaries", 1)
            self.renew(now_ns, line, [canary])
            self._arbiter.ask(canary, line.slot, True)
        return Cause.NONE

    def _withheld(self, now_ns: int, line: Line) -> Iterator[Finding]:
        """Ask again for snapshots that do not come; a row without one is told once."""
        missing = set(self._arbiter.missing(line.shard.numbers, line.slot))
        due = []
        for row, (asked_ns, tries) in list(line.asked.items()):
            if row not in missing:
                del line.asked[row]
            elif now_ns - asked_ns >= self._settings.snapshot_ns_max << tries:
                due.append(row)
                line.asked[row] = asked_ns, min(tries + 1, ASK_TRIES_MAX)
                if not tries:
                    self._counts.add("snapshots_withheld", 1)
                    sibling = line.sibling
                    if not sibling.is_open or row in self._arbiter.missing(line.shard.numbers, sibling.slot):
                        yield line, Cause.NO_SNAPSHOT, row
        if due:
            self.renew(now_ns, line, due)

    def _move(self, now_ns: int, shard: Shard) -> None:
        """Replace a socket that has served its time: the next one stands before it goes, so no Gap."""
        for line in shard.lines:
            sibling = line.sibling
            if not line.is_open or now_ns < line.until_ns or sibling.is_given_up or sibling.is_probed:
                continue
            standing = set(self._arbiter.missing(shard.numbers, line.slot))
            if sibling.is_open and standing.issuperset(self._arbiter.missing(shard.numbers, sibling.slot)):
                line.until_ns, line.is_leaving = now_ns + MOVE_NS_MAX, True
                self._counts.add("sockets_moved", 1)
                self._outbox.put(CloseSocket(line.conn))
                return
            if not shard.is_moving and not sibling.is_active and self._settings.sockets < 2:
                shard.is_moving = True
            elif shard.is_moving and sibling.is_open and now_ns - sibling.opened_ns > MOVE_NS_MAX:
                line.until_ns = now_ns + 4 * MOVE_NS_MAX
                self._outbox.put(CloseSocket(sibling.conn))

    def _see_twins(self) -> None:
        """Judge events only while some shard has two sockets: only then are there copies."""
        self._arbiter.is_on = any(
            shard.lines[0].is_active and shard.lines[1].is_active for shard in self.shards.values())
