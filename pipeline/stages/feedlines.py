"""The sockets of a feed: what is known of each, and the settings by which they are judged."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from pipeline.kinds import Cause
from pipeline.native.arbiter import Pulse
from pipeline.units import NS_PER_MS, NS_PER_S

SLOTS = 2  # places for sockets in a shard; the second one stands by, or takes over


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """Where and how one feed stage listens; `source` names its ring in every record."""

    ws_url: str
    source: int
    feed_index: int = 0  # this stage carries the shards with shard % feed_count == feed_index
    feed_count: int = 1
    sockets: int = 1  # of each shard: 2 = redundant ones, whose first copy is taken
    rows_max: int = 65_537
    ping_ns: int = 10 * NS_PER_S  # polymarket.md 6: text PING every 10 s
    pong_ns_max: int = 30 * NS_PER_S
    pause_ns_max: int = 500 * NS_PER_MS
    late_ns_max: int = NS_PER_S  # how old the data of a socket may get that we do not read to its end
    backoff_ns_min: int = 250 * NS_PER_MS
    backoff_ns_max: int = 30 * NS_PER_S
    resync_per_s_max: int = 50
    # MD01: told nothing for so long, a socket is frozen; a probe is sent at half of it
    freeze_busy_ns: int = 4_500 * NS_PER_MS
    freeze_quiet_ns: int = 14 * NS_PER_S
    # MD02: each step ends, and one endpoint sees at most one reconnect in `reopen_ns`
    opening_ns_max: int = 12 * NS_PER_S  # the driver's own limit is 10 s
    dead_ns: int = 8 * NS_PER_S  # neither data nor PONG
    reopen_ns: int = NS_PER_S
    snapshot_ns_max: int = 5 * NS_PER_S  # MD04: asked for and not there
    stagger_ns: int = 2 * NS_PER_S  # between a shard's first socket and its second
    age_ns_max: int = 3_600 * NS_PER_S  # planned reconnect, spread over the last quarter


@dataclass(slots=True)
class Line:
    """One socket of a shard, or the place where one will stand."""

    shard: Shard
    slot: int
    pulse: Pulse
    is_open: bool = False
    is_opening: bool = False
    is_leaving: bool = False  # a planned end: until it comes, the other one must not leave a row for a moment
    begun_ns: int = 0  # when it was asked to open
    opened_ns: int = 0
    until_ns: int = 0  # planned end
    retry_ns: int = 0
    attempts: int = 0
    opens: int = 0
    unheard: int = 0  # sockets in a row that told nothing at all
    why: Cause = Cause.NONE  # why we close it
    pinged_ns: int = 0
    ponged_ns: int = 0
    probed_ns: int = 0  # when the canary was asked for in this silence; 0 = not yet
    asked: dict[int, tuple[int, int]] = field(default_factory=dict)  # row -> (when, tries) without snapshot
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

    @property
    def conn(self) -> int:
        """Number of the connection: the first socket's is its shard's."""
        return self.shard.number | self.slot << 16

    @property
    def is_probed(self) -> bool:
        """Tell whether the canary was asked for and nothing came since."""
        return self.probed_ns > max(self.pulse.data_ns, self.opened_ns)

    @property
    def is_active(self) -> bool:
        """Tell whether a socket stands here, or is about to."""
        return self.is_open or self.is_opening

    @property
    def sibling(self) -> Line:
        """The shard's other socket."""
        return self.shard.lines[self.slot ^ 1]

    def spread(self, count: int) -> int:
        """Return 0..999 by shard, place and a count: no two sockets do the same at the same time."""
        return (count * 2_654_435_761 ^ self.conn * 40_503) % 1_000


class Shard:
    """The instruments that one socket carries, and the places of its sockets."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: dict[int, tuple[str, str]] = {}  # row -> token ids
        self.numbers = array("I")  # of the rows, for the arbiter
        self.lines = tuple(Line(self, slot, Pulse(slot)) for slot in range(SLOTS))
        self.first = 0  # the place that is always used; the other is for redundancy or moving
        self.is_moving = False  # a planned reconnect is under way on the other place
        self.resync_slot = 0  # where the last resync went

    def add(self, row: int, tokens: tuple[str, str]) -> None:
        """Carry a row."""
        self.rows[row] = tokens
        self.numbers.append(row)

    def drop(self, row: int) -> None:
        """Carry a row no more."""
        del self.rows[row]
        self.numbers.remove(row)
        for line in self.lines:
            line.asked.pop(row, None)
