"""What the venue says while we trade: its clock, its version, whether the account may open, where we are.

Part of account.<id>: it has the API key and a REST driver. Each answer becomes a gauge on the lane's page;
the supervisor's guard halts by them (`run/venue_watch.py`). Nothing of it enters the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from pipeline.config.load import Config
from pipeline.config.section import LOOPBACK_HOSTS
from pipeline.net.edge import Ask, Outbox
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import L2Auth
from pipeline.venues.polymarket.clock import ClockOffset, parse_time
from pipeline.venues.polymarket.health import VERSION as ORDER_VERSION
from pipeline.venues.polymarket.health import Geo, parse_closed_only, parse_geoblock, parse_version
from pipeline.venues.polymarket.keys import header_pairs

TIME, CLOSED_ONLY, GEO, VERSION = -1, -2, -3, -4  # tags: below 0, a reconcile's are above
UNKNOWN, FINE, BAD = 0, 1, 2  # what a gauge says; 0 is also what a page begins with
ASKS_MAX = 10  # of one measurement of the clock
ERROR_NS_WANTED, ERROR_NS_MAX = 60 * NS_PER_MS, 250 * NS_PER_MS
RETRY_NS = 5 * NS_PER_S

#: Counters on the page of an account's lane.
CLOCK_OFFSET_US, CLOCK_COUNT = "venue_clock_offset_us", "venue_clock_count"
GEO_GAUGE, VERSION_GAUGE = "venue_geo", "venue_version"


def closed_only_gauge(ident: str) -> str:
    """Return the name of an account's gauge: a lane may carry several accounts."""
    return f"closed_only.{ident}"


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Where to ask, and how often, in ns; geoblock_url "" = not asked (orders stay on this machine)."""

    ident: str
    clob_url: str
    geoblock_url: str
    every_ns: int


class VenueHealth:
    """Sans-IO: puts questions into an outbox that it shares, takes the answers with tags below 0."""

    def __init__(self, settings: HealthSettings, auth: L2Auth, outbox: Outbox, counts: Counts) -> None:
        self._settings = settings
        self._auth = auth
        self._outbox = outbox
        self._counts = counts
        tags = (TIME, CLOSED_ONLY, VERSION, *((GEO,) if settings.geoblock_url else ()))
        self._due_ns = dict.fromkeys(tags, 0)
        self._asked_ns: dict[int, int] = {}  # tag -> when; on its way
        self._offset = ClockOffset()
        self._asks = 0  # of the measurement that goes on
        names = CLOCK_OFFSET_US, CLOCK_COUNT, GEO_GAUGE, VERSION_GAUGE, closed_only_gauge(settings.ident)
        for name in names:
            counts.counter(name)

    def on_timer(self, now_ns: int) -> None:
        """Ask what is due."""
        for tag, due_ns in self._due_ns.items():
            if now_ns >= due_ns and tag not in self._asked_ns:
                self._asked_ns[tag] = now_ns
                self._outbox.put(self._question(tag, now_ns))

    def on_answer(self, now_ns: int, tag: int, status: int, body: bytes) -> None:
        """Take an answer; one that cannot be read is as none."""
        sent_ns = self._asked_ns.pop(tag, None)
        if sent_ns is None:
            return
        if tag == TIME:
            self._take_time(now_ns, sent_ns, parse_time(status, body))
            return
        if tag == CLOSED_ONLY:
            closed = parse_closed_only(status, body)
            name, verdict = closed_only_gauge(self._settings.ident), closed
        elif tag == VERSION:
            version = parse_version(status, body)
            name, verdict = VERSION_GAUGE, version != ORDER_VERSION if isinstance(version, int) else version
        else:
            geo = parse_geoblock(status, body)
            name, verdict = GEO_GAUGE, geo.is_blocked if isinstance(geo, Geo) else geo
        if not isinstance(verdict, bool):
            self._again(now_ns, tag)
            return
        self._counts.put(name, BAD if verdict else FINE)
        self._due_ns[tag] = now_ns + self._settings.every_ns

    def on_failure(self, now_ns: int, tag: int) -> None:
        """Ask again soon: what was known before stays."""
        if self._asked_ns.pop(tag, None) is not None:
            self._again(now_ns, tag)

    def _again(self, now_ns: int, tag: int) -> None:
        self._counts.add("venue_health_errors", 1)
        self._due_ns[tag] = now_ns + min(RETRY_NS, self._settings.every_ns)
        if tag == TIME:
            self._begin_clock()

    def _begin_clock(self) -> None:
        self._offset, self._asks = ClockOffset(), 0

    def _take_time(self, now_ns: int, sent_ns: int, venue_s: int | None) -> None:
        """Narrow the offset, question by question, each when the venue's second is about to turn."""
        if venue_s is None:
            self._again(now_ns, TIME)
            return
        self._asks += 1
        self._offset.add(sent_ns, now_ns, venue_s)
        is_good = self._offset.error_ns <= ERROR_NS_WANTED
        if not is_good and self._asks < ASKS_MAX:
            self._due_ns[TIME] = now_ns + self._offset.wait_ns(now_ns)
        elif self._offset.error_ns > ERROR_NS_MAX:
            self._again(now_ns, TIME)
        else:
            self._counts.put(CLOCK_OFFSET_US, self._offset.offset_ns // 1_000)
            self._counts.add(CLOCK_COUNT, 1)
            self._due_ns[TIME] = now_ns + self._settings.every_ns
            self._begin_clock()

    def _question(self, tag: int, now_ns: int) -> Ask:
        if tag == TIME:
            return Ask(TIME, "GET", self._settings.clob_url, wire.PATH_TIME)
        if tag == GEO:
            return Ask(GEO, "GET", self._settings.geoblock_url, "")
        if tag == VERSION:
            return Ask(VERSION, "GET", self._settings.clob_url, wire.PATH_VERSION)
        block = self._auth.headers("GET", wire.PATH_CLOSED_ONLY, b"", now_ns // NS_PER_S)
        return Ask(CLOSED_ONLY, "GET", self._settings.clob_url, wire.PATH_CLOSED_ONLY, header_pairs(block))


def make(
    ident: str, config: Config, mode: str, auth: L2Auth, outbox: Outbox, counts: Counts,
) -> VenueHealth | None:
    """Return what asks for an account in this mode; orders that stay on this machine need no country.

    None in mode dry: there the key may be anybody's, and nothing is sent that an answer could halt.
    """
    if mode == "dry":
        return None
    venue = config.venues.polymarket
    is_asked = mode == "live" or (urlsplit(venue.geoblock_url).hostname or "") in LOOPBACK_HOSTS
    settings = HealthSettings(
        ident, venue.clob_url, venue.geoblock_url if is_asked else "",
        config.supervision.venue_check_s * NS_PER_S)
    return VenueHealth(settings, auth, outbox, counts)
