"""refdata.<venue>: the universe as `Instrument` records, each neg-risk market's `Question` behind its own.

Reads Gamma's event pages over REST and, at its start, the rows that the stream holds; writes its ring. Rows
are given from this stage's own range and never reused, not by a later start either; a changed market is
written again under its row. Asking again replaces nothing that the stream knows better: a live tick change
wins over an older page (the book stage judges that).

Gamma alone makes no market tradable: the order book's own word on it (`/clob-markets`) must name the same
tokens, labels and fee first (MD14). A market that the two contradict each other about is watched, not traded.

Beside that it samples books over REST (`stages/samples`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from pipeline.codec import CODECS, kind_of
from pipeline.native.flow import Sink
from pipeline.native.relay import Filter
from pipeline.net.edge import Ask, Outbox
from pipeline.records import HEADER, SLOT_BYTES, Cause, Flag, Kind, Rule
from pipeline.stages.samples import TAG, Sampler, SampleSettings
from pipeline.stages.stage import Clock, Counts, push_owed
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.clob_market import clob_market_path, merge_clob_market
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.universe import (
    EventInfo,
    MarketInfo,
    instrument_record,
    parse_events,
    parse_markets,
    question_record,
)
from pipeline.venues.polymarket.wire import PATH_CLOB_MARKET

PAGE_LIMIT = 100  # polymarket.md 3.1: keyset pages hold at most 100
_HEADER_FIELDS = len(HEADER)
ASSETS_PER_CONDITION = 2


@dataclass(frozen=True, slots=True)
class RefdataSettings:
    """`watch` marks events whose books prove their hash at each frame: those of enabled strategies."""

    gamma_url: str
    source: int
    row_first: int = 1  # row 0 means "no instrument"
    rows_max: int = 16_384
    refresh_ns: int = 60 * NS_PER_S
    retry_ns: int = NS_PER_S
    event_slugs: tuple[str, ...] = ()  # these, and those with one of `tags`; both empty: every event
    tags: tuple[str, ...] = ()
    exclude_slugs: tuple[str, ...] = ()  # of events and of markets
    volume_24h_micro_min: int = 0  # USD; of a market without a row yet
    assets_per_socket_max: int = 200
    clob_url: str = ""  # where markets are confirmed; "" = nowhere, Gamma is believed
    order_delay_ns: int = 250 * NS_PER_MS  # how long `itode` holds a taker order
    watch: bool = True
    source_seq: int = 0  # our count of records goes on from here


class RefdataMachine:
    """Sans-IO: pages in, Instrument records and the next question out."""

    def __init__(self, settings: RefdataSettings, sink: Sink, counts: Counts) -> None:
        self.outbox = Outbox()
        self._settings = settings
        self._sink = sink
        self._counts = counts
        self._rows: dict[bytes, int] = {}  # condition -> row
        self._row_next = settings.row_first
        self._switched: set[bytes] = set()  # conditions that got other tokens in this run, and another row
        self._events: dict[str, int] = {}  # event id -> event row, 1 first
        self._written: dict[int, MarketInfo] = {}
        self._listed: dict[int, MarketInfo] = {}  # what Gamma said last
        self._doubted: deque[int] = deque()  # rows that the order book has not confirmed as listed
        self._unheard_of: deque[tuple[int, int]] = deque()  # (when to ask again, row)
        self._confirm_ns = 0
        self._learned: dict[int, Any] = {}  # row -> its INSTRUMENT, written before our start
        self._questions: dict[int, tuple[bytes, int]] = {}  # row -> its question as written since our start
        self._owed: deque[bytes] = deque()
        self._tag = 0
        self._target = ""  # the question on the wire; "" = none
        self._ask_ns = 0
        self._source_seq = settings.source_seq
        self.is_held = False  # nothing is asked yet
        self.is_complete = False  # one whole walk over all pages was read
        self.samples: Sampler | None = None

    def sample(self, settings: SampleSettings) -> None:
        """Ask for books, too."""
        self.samples = Sampler(settings, self.outbox, self._counts, self._owe)

    def learn(self, record: Any) -> None:
        """Take an INSTRUMENT that stands in the stream: its row is given, its event has its number."""
        self._rows[bytes(record.condition)] = record.instrument
        self._row_next = max(self._row_next, record.instrument + 1)
        self._learned[record.instrument] = record

    def on_timer(self, now_ns: int) -> None:
        """Start a walk over the pages when one is due."""
        has_room = self.flush()
        if self.samples is not None and has_room and not self.is_held:
            self.samples.on_timer(now_ns)
        if self._target or self.is_held:
            return
        if now_ns >= self._ask_ns:
            self._ask(f"/events/keyset?closed=false&limit={PAGE_LIMIT}")
            return
        while self._unheard_of and now_ns >= self._unheard_of[0][0]:
            self._doubted.append(self._unheard_of.popleft()[1])
        if self._doubted and now_ns >= self._confirm_ns:
            self._ask(clob_market_path(self._listed[self._doubted[0]]), self._settings.clob_url)

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Take one page and ask for the next; behind the last, wait `refresh_ns`."""
        if tag == TAG and self.samples is not None:
            self.samples.on_answer(now_ns, status, headers, body)
            self.flush()
        if tag != self._tag or not self._target:
            return
        target, self._target = self._target, ""
        if target.startswith(PATH_CLOB_MARKET):
            self._on_confirmation(now_ns, status, body)
            return
        if status != 200:
            self._counts.add("refdata_errors", 1)
            self._ask_ns = now_ns + self._settings.retry_ns
            return
        is_events = target.startswith("/events")
        page = parse_events(body) if is_events else parse_markets(body)
        for event in page.events:
            if self._is_wanted(event):
                self._take_event(event, now_ns)
        if not is_events:
            # Only a market's event knows its place and what the set proves: such rows are left alone here.
            for market in page.markets:
                row = self._rows.get(market.condition)
                if row is None or not self._has_event(row):
                    self._take_market(market, now_ns)
        self._counts.add("markets_refused", len(page.refused))
        base = target.partition("&after_cursor=")[0]
        if page.next_cursor:
            self._ask(f"{base}&after_cursor={page.next_cursor}")
        elif is_events and not self._is_choosing:
            # Markets without an event exist; the events' own markets are known by then and change nothing.
            self._ask(f"/markets/keyset?closed=false&limit={PAGE_LIMIT}")
        else:
            self.is_complete = True
            self._ask_ns = now_ns + self._settings.refresh_ns
        self.flush()

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """Start the walk anew after `retry_ns`: a cursor may not outlive the failure."""
        del was_sent, cause
        if tag == TAG and self.samples is not None:
            self.samples.on_failure(now_ns)
        if tag == self._tag:
            is_confirmation, self._target = self._target.startswith(PATH_CLOB_MARKET), ""
            if is_confirmation:
                self._on_confirmation(now_ns, 0, b"")
                return
            self._counts.add("refdata_errors", 1)
            self._ask_ns = now_ns + self._settings.retry_ns

    def flush(self) -> bool:
        """Publish owed rows; True when none is left."""
        return push_owed(self._sink, self._owed)

    def _ask(self, target: str, base: str = "") -> None:
        self._tag += 1
        self._target = target
        self.outbox.put(Ask(self._tag, "GET", base or self._settings.gamma_url, target))

    @property
    def _is_choosing(self) -> bool:
        return bool(self._settings.event_slugs or self._settings.tags)

    def _is_wanted(self, event: EventInfo) -> bool:
        """Tell whether the filters let an event in."""
        settings = self._settings
        if event.slug in settings.exclude_slugs:
            return False
        return not self._is_choosing or event.slug in settings.event_slugs or any(
            tag in settings.tags for tag in event.tags)

    def _is_admitted(self, market: MarketInfo) -> bool:
        """Tell whether a market without a row gets one; a volume that nobody told is none."""
        settings = self._settings
        return market.slug not in settings.exclude_slugs and (
            not settings.volume_24h_micro_min
            or (market.volume_24h_micro or 0) >= settings.volume_24h_micro_min)

    def _take_event(self, event: EventInfo, now_ns: int) -> None:
        for market in event.markets:
            self._take_market(market, now_ns)

    def _on_confirmation(self, now_ns: int, status: int, body: bytes) -> None:
        """Take the order book's word on the oldest doubted row; without one it is asked again later."""
        if status not in (200, HTTPStatus.NOT_FOUND):
            self._counts.add("refdata_errors", 1)
            self._confirm_ns = now_ns + self._settings.retry_ns
            return
        row = self._doubted.popleft()
        if status == HTTPStatus.NOT_FOUND:  # for minutes, while the market is new (venue sheet 3.2)
            self._unheard_of.append((now_ns + self._settings.retry_ns, row))
            return
        listed = self._listed[row]
        merged = merge_clob_market(listed, body, self._settings.order_delay_ns)
        if isinstance(merged, MarketRefusal):
            self._counts.add("markets_disputed", 1)
            merged = replace(listed, accepting=False)
        self._write(row, merged, now_ns)
        self.on_timer(now_ns)  # the next question at once: nothing is traded before its answer

    def _has_event(self, row: int) -> bool:
        written = self._written.get(row)
        return bool(written.event_id) if written is not None else bool(self._learned[row].event)

    def _shares_of(self, row: int | None) -> tuple[bytes, bytes, bool, bool] | None:
        """Return what the stream says that the shares of a row are, None when it says nothing yet."""
        if row in self._written:
            return _shares(self._written[row])
        record = self._learned.get(row) if row is not None else None
        return None if record is None else (
            record.token_yes, record.token_no, bool(record.rules & Rule.NEG_RISK),
            bool(record.rules & Rule.V2))

    def _event_row(self, market: MarketInfo, row: int) -> int:
        """Return the number of the market's event: the one that the stream knows it by, else the next."""
        if not market.event_id:
            return 0
        known = self._learned.get(row)
        if known is not None and known.event:
            self._events.setdefault(market.event_id, known.event)
        if market.event_id not in self._events:
            given = (*self._events.values(), *(learned.event for learned in self._learned.values()))
            self._events[market.event_id] = max(given, default=0) + 1
        return self._events[market.event_id]

    def _take_market(self, market: MarketInfo, now_ns: int) -> None:
        row = self._rows.get(market.condition)
        if row is not None and self._listed.get(row) == market:
            return
        known = self._shares_of(row)
        if known is not None and known[:2] != _shares(market)[:2] and market.condition not in self._switched:
            self._switched.add(market.condition)
            self._write(self._rows[market.condition], market, now_ns)  # closes it
            row = None
        if row is None:
            if not self._is_admitted(market):
                self._counts.add("markets_filtered", 1)
                return
            if self._row_next - self._settings.row_first >= self._settings.rows_max:
                self._counts.add("instruments_over_limit", 1)
                return
            row, self._row_next = self._row_next, self._row_next + 1
            self._rows[market.condition] = row
        self._listed[row] = market
        if self._settings.clob_url and market.tradable:
            if row not in self._doubted and all(row != late for _, late in self._unheard_of):
                self._doubted.append(row)
            if row in self._written or row in self._learned:
                return  # what was confirmed before holds until the order book says otherwise
            market = replace(market, accepting=False)
        self._write(row, market, now_ns)

    def _write(self, row: int, market: MarketInfo, now_ns: int) -> None:
        """Owe the row's INSTRUMENT unless the stream says the same.

        What the shares of a row are never changes: where the venue says otherwise, the row is closed.
        """
        known_shares = self._shares_of(row)
        if known_shares is not None and known_shares != _shares(market):
            self._counts.add("markets_switched", 1)
            yes, no, neg_risk, v2 = known_shares
            market = replace(
                market, token_yes=yes, token_no=no, neg_risk=neg_risk, v2=v2, accepting=False, event_id="")
        event_row = self._event_row(market, row)
        self._written[row] = market
        index = row - self._settings.row_first
        record = bytearray(instrument_record(
            market, row, event_row, index // (self._settings.assets_per_socket_max // ASSETS_PER_CONDITION),
            watch=self._settings.watch and market.neg_risk, recv_ns=now_ns))
        self._counts.put("instruments", len(self._rows))
        known = self._learned.get(row)
        if known is None or not _says_the_same(CODECS[Kind.INSTRUMENT].unpack(record), known):
            self._learned.pop(row, None)
            self._owe(record)
        question = question_record(market, row, recv_ns=now_ns)
        if question and self._questions.get(row) != (market.question_id, market.fee_bips):
            self._questions[row] = market.question_id, market.fee_bips
            self._owe(bytearray(question))  # once a start: what stands in the stream of it is not learned

    def _owe(self, record: bytearray) -> None:
        self._source_seq += 1
        record[24:32] = self._source_seq.to_bytes(8, "little")
        record[40:42] = self._settings.source.to_bytes(2, "little")
        self._owed.append(bytes(record))


def _shares(market: MarketInfo) -> tuple[bytes, bytes, bool, bool]:
    """Return the tokens of a market and what chooses the exchange that they are signed for."""
    return market.token_yes, market.token_no, market.neg_risk, market.v2


def _says_the_same(found: Any, known: Any) -> bool:
    """Compare two INSTRUMENT records but for their headers, and the tick where the stream's own one holds."""
    fields = found._fields[_HEADER_FIELDS:]
    if known.flags & Flag.TICKED:
        fields = [name for name in fields if not name.startswith("tick_step")]
    return all(getattr(found, name) == getattr(known, name) for name in fields)


class RefdataStage:
    """Keeps the machine's time; the driver carries its questions.

    unread_count: of our ring. A row that an earlier start gave stands in the stream once that is 0.
    """

    def __init__(
        self, name: str, machine: RefdataMachine, rows: Filter, unread_count: Callable[[], int], clock: Clock,
    ) -> None:
        self.name = name
        self.machine = machine
        self._rows = rows
        self._unread_count = unread_count
        self._clock = clock
        self._is_learning = True
        machine.is_held = True

    def poll(self, budget: int) -> int:
        """Publish what waited for room; at the start, learn the rows that were given before."""
        is_whole = self._is_learning and not self._unread_count()  # asked before the stream is read
        data, now_ns = self._rows.read(budget), self._clock()
        for at in range(0, len(data), SLOT_BYTES):
            if self._is_learning and kind_of(data, at) == Kind.INSTRUMENT:
                self.machine.learn(CODECS[Kind.INSTRUMENT].unpack(data, at))
            if self.machine.samples is not None:
                self.machine.samples.follow(now_ns, data, at)
        if self._is_learning:
            if data or not is_whole:
                return len(data) // SLOT_BYTES
            self._is_learning = self.machine.is_held = False
        self.machine.on_timer(now_ns)
        return len(data) // SLOT_BYTES

    def close(self) -> None:
        """Nothing is held here."""
