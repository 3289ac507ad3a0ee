"""refdata.<venue>: the universe as `Instrument` records, each neg-risk market's `Question` behind its own.

Reads Gamma's pages over REST and, in `stream`, the rows that were given before our start, new markets that a
feed heard of, resolutions and which rows we traded; writes its ring. Rows are never reused, not by a later
start either; a changed market is written again under its row. Asking again replaces nothing that the stream
knows better: a live tick change wins over an older page (the book stage judges that).

Gamma alone makes no market tradable: the order book's own word on it (`/clob-markets`) must name the same
tokens, labels and fee first (MD14). A market that the two contradict each other about is watched, not traded.
A market that closes, or is listed no more, is asked about until strict evidence says what it pays (VN02).
What the shares of a row are never changes: a market that gets other tokens closes its row and finds another.

Beside that it samples books over REST (`stages/samples`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pipeline.codec import unpack
from pipeline.kinds import Cause, Kind
from pipeline.native.flow import Sink
from pipeline.native.relay import Filter
from pipeline.net.edge import Ask, Outbox
from pipeline.records import SLOT_BYTES
from pipeline.stages.agenda import Agenda
from pipeline.stages.refchoice import Unit
from pipeline.stages.refrows import Rows
from pipeline.stages.refuniverse import ASSETS_PER_CONDITION, RefdataSettings, Universe, listings, lookup_path
from pipeline.stages.refwrite import RowWriter
from pipeline.stages.samples import TAG, Sampler, SampleSettings
from pipeline.stages.stage import Clock, Counts
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.budgets import Window
from pipeline.venues.polymarket.clob_market import clob_market_path, merge_clob_market
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.resolution import OPEN, PENDING, clob_verdict, gamma_verdict
from pipeline.venues.polymarket.universe import MarketInfo, parse_events, parse_markets
from pipeline.venues.polymarket.wire import META_ASKS_10S, PATH_GAMMA_EVENTS, PATH_GAMMA_MARKETS

CONFIRMING_MAX = 8  # markets that the order book is asked about at once
PAGING_MAX = 2  # pages of Gamma's listings
LOOKUP_NS_MIN, LOOKUP_NS_MAX = NS_PER_S // 2, 30 * NS_PER_S  # between two questions about a new market
LOOKUP_TRIES_MAX = 40  # a quarter of an hour: then the walks find it
END_NS_MIN, END_NS_MAX = 2 * NS_PER_S, 3_600 * NS_PER_S  # between two questions about one that ended
STREAM_KINDS = (Kind.INSTRUMENT, Kind.RESOLVED, Kind.FILL, Kind.ANNOUNCED, Kind.REPORT)
Answer = Callable[[int, Any, str, int, bytes], None]  # (now_ns, about what, target, status, body)


class RefdataMachine:
    """Sans-IO: pages in, Instrument records and the next questions out."""

    def __init__(self, settings: RefdataSettings, sink: Sink, counts: Counts) -> None:
        self.outbox = Outbox()
        self._settings = settings
        self._counts = counts
        self._rows = Rows(
            settings.row_first, settings.rows_max, settings.assets_per_socket_max // ASSETS_PER_CONDITION)
        self._writer = RowWriter(
            self._rows, sink, counts, settings.source, settings.source_seq, settings.watch)
        self._universe = Universe(settings, self._rows)
        self._walk_no = 0
        self._walking = 0  # listings of this walk whose last page was not read; they are read side by side
        self._pages: deque[str] = deque()  # of them, what is to be asked next
        self._walk_ns = self._page_ns = 0  # before these no walk begins, no page is asked for
        self._listed: dict[int, MarketInfo] = {}  # what Gamma said last
        self._doubted: OrderedDict[int, None] = OrderedDict()  # rows that the order book has not confirmed
        self._unheard_of = Agenda[int](settings.retry_ns, settings.retry_ns)
        self._announced = Agenda[bytes](LOOKUP_NS_MIN, LOOKUP_NS_MAX, LOOKUP_TRIES_MAX)
        self._event_of: dict[bytes, str] = {}  # announced condition -> its event
        self._ended = Agenda[int](END_NS_MIN, END_NS_MAX)
        self._switched: set[bytes] = set()  # conditions that got other tokens in this run
        self._confirm_ns = 0
        self._tag = 0
        self._asked: dict[int, tuple[Answer, Any, str]] = {}  # tag -> (who hears it, about what, target)
        self._confirming = self._paging = 0  # of those
        self._budgets = {base: Window(limit, 10 * NS_PER_S) for base, limit in (
            (settings.clob_url, META_ASKS_10S["clob"]), (settings.gamma_url, META_ASKS_10S["gamma"]))}
        self.is_held = False  # nothing is asked yet
        self.samples: Sampler | None = None

    def sample(self, settings: SampleSettings) -> None:
        """Ask for books, too."""
        self.samples = Sampler(settings, self.outbox, self._counts, self._writer.owe)

    # ------------------------------------------------------------------ what the stream tells us

    def learn(self, record: Any) -> None:
        """Take an INSTRUMENT of the stream from before our start."""
        self._rows.learn(record)

    def on_record(self, now_ns: int, slot: Any) -> None:
        """Take a resolution, a trade of ours, or a new market that a feed heard of."""
        if slot.kind == Kind.RESOLVED:
            self._rows.resolve(slot.instrument)
            self._forget(slot.instrument)
        elif slot.kind == Kind.FILL:
            self._rows.pinned[slot.instrument] = None
        elif slot.kind == Kind.ANNOUNCED and not self.is_held:
            condition = bytes(slot.condition)
            if condition not in self._rows.of and condition not in self._announced:
                self._counts.add("markets_announced")
                self._event_of[condition] = slot.event_id.decode("ascii", "replace")
                self._announced.add(condition, now_ns)
                self._pump(now_ns)

    def _forget(self, row: int) -> None:
        """Nobody asks about a row any more."""
        self._unheard_of.drop(row)
        self._ended.drop(row)
        self._doubted.pop(row, None)
        self._universe.forget(row)

    # ------------------------------------------------------------------ what is asked, and when

    def on_timer(self, now_ns: int) -> None:
        """Ask what is due."""
        has_room = self.flush()
        if not self.is_held:
            self._pump(now_ns)
            if self.samples is not None and has_room:
                self.samples.on_timer(now_ns)

    def _pump(self, now_ns: int) -> None:
        gamma, clob = self._settings.gamma_url, self._settings.clob_url
        if not self._walking and now_ns >= self._walk_ns:
            self._universe.begin()
            self._walk_no += 1
            self._pages = deque(listings(self._settings))
            self._walking = len(self._pages)
        while self._has_room(now_ns, gamma) and (condition := self._announced.due(now_ns)) is not None:
            path = lookup_path(condition, self._event_of[condition])
            self._ask(now_ns, self._on_lookup, condition, path, gamma)
        while (self._pages and now_ns >= self._page_ns and self._paging < PAGING_MAX
               and self._has_room(now_ns, gamma)):
            self._paging += 1
            self._ask(now_ns, self._on_page, self._walk_no, self._pages.popleft(), gamma)
        while (late := self._unheard_of.due(now_ns)) is not None:
            self._unheard_of.drop(late)
            self._doubted[late] = None
        while (self._doubted and self._confirming < CONFIRMING_MAX and now_ns >= self._confirm_ns
               and self._has_room(now_ns, clob)):
            row, _ = self._doubted.popitem(last=False)
            self._confirming += 1
            self._ask(now_ns, self._on_confirmation, row, clob_market_path(self._listed[row]), clob)
        while clob and self._has_room(now_ns, clob) and (over := self._ended.due(now_ns)) is not None:
            self._ask(now_ns, self._on_end, over, f"/markets/0x{self._rows.condition[over].hex()}", clob)

    def _has_room(self, now_ns: int, base: str) -> bool:
        return self._budgets[base].room(now_ns) > 0

    def _ask(self, now_ns: int, hears: Answer, about: Any, target: str, base: str) -> None:
        self._tag += 1
        self._asked[self._tag] = hears, about, target
        self._budgets[base].take(now_ns, 1)
        self.outbox.put(Ask(self._tag, "GET", base, target))

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Take one answer, and ask what it leads to."""
        if tag == TAG and self.samples is not None:
            self.samples.on_answer(now_ns, status, headers, body)
            self.flush()
        asked = self._asked.pop(tag, None)
        if asked is None:
            return
        hears, about, target = asked
        if status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            self._counts.add("refdata_errors", 1)
        hears(now_ns, about, target, status, body)
        self.on_timer(now_ns)

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """No answer comes; each question has its own way to be asked again."""
        del was_sent, cause
        if tag == TAG and self.samples is not None:
            self.samples.on_failure(now_ns)
        else:
            self.on_answer(now_ns, tag, 0, {}, b"")

    def flush(self) -> bool:
        """Publish owed rows; True when none is left."""
        return self._writer.flush()

    # ------------------------------------------------------------------ what Gamma lists

    def _on_page(self, now_ns: int, about: int, target: str, status: int, body: bytes) -> None:
        """Take one page and ask for the next; behind the last ones, choose, and wait `refresh_ns`.

        A page without an answer is asked again; one that is refused begins the walk anew: so ends a cursor.
        """
        self._paging -= 1
        if about != self._walk_no or not self._walking:
            return  # of a walk that was given up
        if status != HTTPStatus.OK:
            self._page_ns = now_ns + self._settings.retry_ns // 4
            if 400 <= status < 500 and status != HTTPStatus.TOO_MANY_REQUESTS:
                self._pages.clear()
                self._walking, self._walk_ns = 0, now_ns + self._settings.retry_ns
            else:
                self._pages.append(target)
            return
        is_events = target.startswith(PATH_GAMMA_EVENTS)
        page = parse_events(body) if is_events else parse_markets(body)
        self._counts.add("markets_refused", len(page.refused))
        updates, taken = self._universe.take_page(page, is_events=is_events)
        for row, market in updates:
            self._take(now_ns, row, market)
        for unit, markets in taken:
            self._carry(now_ns, unit, markets)
        if page.next_cursor:
            base = target.partition("&after_cursor=")[0]
            self._pages.append(f"{base}&after_cursor={quote(page.next_cursor, safe='=')}")
            return
        self._walking -= 1
        if not self._walking:
            self._end_walk(now_ns)

    def _end_walk(self, now_ns: int) -> None:
        ended = self._universe.end()
        for row, market in ended.updates:
            if not self._writer.has_event(row):
                self._take(now_ns, row, market)
        for row in ended.retired:
            self._writer.retire(now_ns, row)
            self._forget(row)
        for unit, markets in ended.taken:
            self._carry(now_ns, unit, markets)
        for row in ended.missing:
            self._ended.add(row, now_ns)
        self._counts.put("markets_waiting", ended.waiting_count)
        self._counts.put("markets_filtered", self._universe.filtered_count)
        self._walk_ns = now_ns + self._settings.refresh_ns

    def _on_lookup(self, now_ns: int, about: bytes, target: str, status: int, body: bytes) -> None:
        """Take the event of a new market; what Gamma does not know yet is asked again (venue sheet 3.2)."""
        page = parse_markets(body) if target.startswith(PATH_GAMMA_MARKETS) else parse_events(body)
        if status != HTTPStatus.OK or about not in [market.condition for market in page.markets]:
            self._announced.again(about, now_ns)
        else:
            self._announced.drop(about)
            updates, taken = self._universe.take_lookup(page)
            for row, market in updates:
                self._take(now_ns, row, market)
            for unit, markets in taken:
                self._carry(now_ns, unit, markets)
        if about not in self._announced:
            self._event_of.pop(about, None)

    def _carry(self, now_ns: int, unit: Unit, markets: tuple[MarketInfo, ...]) -> None:
        """Give markets their rows and places."""
        for market in markets:
            row = self._rows.give(market.condition)
            if not row:
                self._counts.add("instruments_over_limit")
                continue
            self._rows.activate(row)
            self._universe.carry(row, unit)
            self._listed.pop(row, None)
            self._take(now_ns, row, market, is_new=True)

    def _take(self, now_ns: int, row: int, market: MarketInfo, *, is_new: bool = False) -> None:
        """Take what Gamma says of a row that is carried."""
        if market.closed or (not market.accepting and self._writer.is_tradable(row)):
            self._ended.add(row, now_ns)
        elif market.accepting:
            self._ended.drop(row)
        if self._listed.get(row) == market:
            return
        if self._writer.has_other_tokens(row, market) and market.condition not in self._switched:
            self._switched.add(market.condition)
            self._writer.write(now_ns, row, market)  # closes it
            self._rows.release(row)
            self._listed.pop(row, None)
            self._doubted.pop(row, None)
            self._unheard_of.drop(row)
            return
        self._listed[row] = market
        if self._settings.clob_url and market.tradable:
            if row not in self._unheard_of:
                self._doubted[row] = None
            if self._writer.is_known(row) and not is_new:
                return  # what was confirmed before holds until the order book says otherwise
            market = replace(market, accepting=False)
        self._writer.write(now_ns, row, market)

    # ------------------------------------------------------------------ what the order book says

    def _on_confirmation(self, now_ns: int, row: int, target: str, status: int, body: bytes) -> None:
        """Take the order book's word on a doubted row; without one it is asked again later."""
        del target
        self._confirming -= 1
        if row not in self._rows.active or row not in self._listed:
            return
        if status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            self._doubted[row] = None
            self._doubted.move_to_end(row, last=False)
            self._confirm_ns = now_ns + self._settings.retry_ns
        elif status == HTTPStatus.NOT_FOUND:  # for minutes, while the market is new (venue sheet 3.2)
            self._unheard_of.add(row, now_ns + self._settings.retry_ns)
        else:
            listed = self._listed[row]
            merged = merge_clob_market(listed, body, self._settings.order_delay_ns)
            if isinstance(merged, MarketRefusal):
                self._counts.add("markets_disputed", 1)
                merged = replace(listed, accepting=False)
            self._writer.write(now_ns, row, merged)

    def _on_end(self, now_ns: int, row: int, target: str, status: int, body: bytes) -> None:
        """Take what is said of a market that ended without a word: strict evidence settles it (VN02)."""
        if row not in self._rows.active or row not in self._ended:
            return
        condition, tokens = self._rows.condition[row], self._writer.tokens(row)
        is_gamma = target.startswith(PATH_GAMMA_MARKETS)
        read = gamma_verdict if is_gamma else clob_verdict
        verdict = read(body, condition, tokens) if status == HTTPStatus.OK else OPEN
        if verdict == PENDING and not is_gamma:
            self._writer.close(now_ns, row)
            path = f"{PATH_GAMMA_MARKETS}?closed=true&condition_ids=0x{condition.hex()}"
            self._ask(now_ns, self._on_end, row, path, self._settings.gamma_url)
            return
        self._ended.again(row, now_ns)
        if isinstance(verdict, MarketRefusal):
            self._counts.add("markets_disputed", 1)
        elif isinstance(verdict, tuple):
            self._writer.close(now_ns, row)
            self._writer.resolve(now_ns, row, verdict)
            self._ended.drop(row)


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
            slot = unpack(data, at)
            if slot.kind != Kind.INSTRUMENT:
                self.machine.on_record(now_ns, slot)
            elif self._is_learning:
                self.machine.learn(slot)
            if self.machine.samples is not None:
                self.machine.samples.follow(now_ns, slot)
        if self._is_learning:
            if data or not is_whole:
                return len(data) // SLOT_BYTES
            self._is_learning = self.machine.is_held = False
        self.machine.on_timer(now_ns)
        return len(data) // SLOT_BYTES

    def close(self) -> None:
        """Nothing is held here."""
