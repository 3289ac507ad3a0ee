"""One walk over what Gamma lists: which of it the filters let in, what is carried already, what waits.

The refdata machine hands pages in and, at the end of a walk, carries what was chosen; nothing is asked and
nothing is written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from pipeline.stages.refchoice import Choice, Unit
from pipeline.stages.refrows import Rows
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.universe import EventInfo, MarketInfo, Page
from pipeline.venues.polymarket.wire import PATH_GAMMA_EVENTS, PATH_GAMMA_MARKETS

PAGE_LIMIT = 100  # polymarket.md 3.1: keyset pages hold at most 100
SLUGS_MAX = 20  # in one question
ASSETS_PER_CONDITION = 2
Update = tuple[int, MarketInfo]  # a row that is carried, and what Gamma says of it now
Taken = tuple[Unit, tuple[MarketInfo, ...]]  # what is carried from now on


@dataclass(frozen=True, slots=True)
class RefdataSettings:
    """`watch` marks events whose books prove their hash at each frame: those of enabled strategies."""

    gamma_url: str
    source: int
    row_first: int = 1  # row 0 means "no instrument"
    places_max: int = 16_384  # markets that are carried at once
    rows_max: int = 65_536  # all markets of a run
    refresh_ns: int = 60 * NS_PER_S
    retry_ns: int = NS_PER_S
    event_slugs: tuple[str, ...] = ()  # these, and those with one of `tags`; both empty: every event
    tags: tuple[str, ...] = ()
    exclude_slugs: tuple[str, ...] = ()  # of events and of markets
    prefer_tags: tuple[str, ...] = ()  # best first
    replace_percent: int = 0  # how much better a market must be to take another's place; 0 = never
    volume_24h_micro_min: int = 0  # USD; of a market that is newly carried
    assets_per_socket_max: int = 200
    clob_url: str = ""  # where markets are confirmed; "" = nowhere, Gamma is believed
    order_delay_ns: int = 250 * NS_PER_MS  # how long `itode` holds a taker order
    watch: bool = True
    source_seq: int = 0  # our count of records goes on from here

    @property
    def is_choosing(self) -> bool:
        """Tell whether events are named, by slug or by tag."""
        return bool(self.event_slugs or self.tags)


def listings(settings: RefdataSettings) -> list[str]:
    """Return the first pages of a walk: of what is named, else of every event and then of every market."""
    head = f"{PATH_GAMMA_EVENTS}?closed=false&limit={PAGE_LIMIT}"
    if not settings.is_choosing:
        return [head, f"{PATH_GAMMA_MARKETS}?closed=false&limit={PAGE_LIMIT}"]
    slugs = settings.event_slugs
    return [
        *(head + "".join(f"&slug={quote(slug, safe='')}" for slug in slugs[first:first + SLUGS_MAX])
          for first in range(0, len(slugs), SLUGS_MAX)),
        *(f"{head}&tag_slug={quote(tag, safe='')}" for tag in settings.tags)]


def lookup_path(condition: bytes, event_id: str) -> str:
    """Return the question about a new market: its whole event, which alone knows its place in it."""
    if event_id.isascii() and event_id.isdigit():
        return f"/events/{event_id}"
    return f"{PATH_GAMMA_MARKETS}?condition_ids=0x{condition.hex()}"


@dataclass(slots=True)
class _Walk:
    """What one walk has read so far."""

    units: dict[str, Unit] = field(default_factory=dict)
    infos: dict[bytes, MarketInfo] = field(default_factory=dict)  # what is not carried
    in_events: set[bytes] = field(default_factory=set)  # conditions that some event lists
    lone: dict[bytes, MarketInfo] = field(default_factory=dict)  # listed by themselves; most have an event
    seen: set[int] = field(default_factory=set)  # rows


@dataclass(frozen=True, slots=True)
class Ended:
    """What the end of a walk brings."""

    updates: list[Update]
    taken: list[Taken]  # best first
    retired: list[int]  # rows that give their places
    missing: list[int]  # rows that are listed no more
    waiting_count: int  # units that found no place


class Universe:
    """Filters, candidates and the choice among them."""

    def __init__(self, settings: RefdataSettings, rows: Rows) -> None:
        self.filtered_count = 0  # markets that the filters kept out, over all walks
        self._settings, self._rows = settings, rows
        self._choice = Choice(settings.places_max, settings.replace_percent)
        self._walk = _Walk()
        self._is_first = True  # no walk of this start has ended
        self._units: dict[int, str] = {}  # active row -> what it was taken with

    def begin(self) -> None:
        """Forget a walk that did not end."""
        self._walk = _Walk()

    def take_page(self, page: Page, *, is_events: bool) -> tuple[list[Update], list[Taken]]:
        """Take a page of a walk; return what it says of rows, and what is carried at once.

        That is what there are places for, while a start's first walk goes on; its end chooses among all.
        """
        if not is_events:
            self._walk.lone.update((market.condition, market) for market in page.markets)
            return [], []
        for event in page.events:
            self._walk.in_events.update(market.condition for market in event.markets)
        updates, taken = self._list_units(self._units_of(page))
        return updates, taken if self._is_first else []

    def end(self) -> Ended:
        """End a walk and choose."""
        updates = list[Update]()
        for market in self._walk.lone.values():
            # only a market's event knows its place and what the set proves: its rows are left alone here
            if market.condition not in self._walk.in_events:
                updates += self._list(self._unit(market.condition.hex(), (market,), ()), (market,))
        walk, self._walk = self._walk, _Walk()
        held: dict[str, int] = {}
        for row in self._rows.active:
            ident = self._units.setdefault(row, f"row {row}")
            held[ident] = held.get(ident, 0) + 1
        kept = {self._units[row] for row in self._rows.pinned if row in self._rows.active}
        # a new market may have been carried since its page was read
        units = {ident: replace(unit, conditions=tuple(
            one for one in unit.conditions if self._rows.of.get(one, 0) not in self._rows.active))
            for ident, unit in walk.units.items()}
        chosen = self._choice.choose(units, held, kept, is_first=self._is_first)
        self._is_first = False
        left = frozenset(chosen.left)
        retired = [row for row in self._rows.active if self._units[row] in left]
        missing = [row for row in self._rows.active if row not in walk.seen and self._units[row] not in left]
        taken = [(unit, tuple(walk.infos[condition] for condition in unit.conditions))
                 for unit in chosen.taken]
        return Ended(updates, taken, retired, missing, chosen.waiting_count)

    def take_lookup(self, page: Page) -> tuple[list[Update], list[Taken]]:
        """Take the answer about a new market: what it says of rows, and what there is a place for now.

        Between two walks nothing is replaced: what finds no place waits for the next walk.
        """
        return self._list_units(self._units_of(page))

    def _list_units(
        self, units: Iterable[tuple[Unit, Sequence[MarketInfo]]],
    ) -> tuple[list[Update], list[Taken]]:
        """Note what is listed; return the rows of it that are carried, and what fits into free places."""
        updates, taken = list[Update](), list[Taken]()
        free = self._settings.places_max - len(self._rows.active)
        for unit, markets in sorted(units, key=lambda found: found[0].priority):
            updates += self._list(unit, markets)
            if unit.conditions and len(unit.conditions) <= free:
                free -= len(unit.conditions)
                wanted = frozenset(unit.conditions)
                taken.append((unit, tuple(one for one in markets if one.condition in wanted)))
        return updates, taken

    def carry(self, row: int, unit: Unit) -> None:
        """A row is carried from now on, together with its unit."""
        self._units[row] = unit.ident
        self._walk.seen.add(row)

    def forget(self, row: int) -> None:
        """A row is carried no more."""
        self._units.pop(row, None)

    def _units_of(self, page: Page) -> Iterator[tuple[Unit, Sequence[MarketInfo]]]:
        for event in page.events:
            if self._is_wanted(event):
                yield self._unit(event.event_id, event.markets, event.tags), event.markets
        if not page.events and not self._settings.is_choosing:
            for market in page.markets:
                yield self._unit(market.condition.hex(), (market,), ()), (market,)

    def _is_wanted(self, event: EventInfo) -> bool:
        """Tell whether the filters let an event in."""
        settings = self._settings
        if event.slug in settings.exclude_slugs:
            return False
        return not settings.is_choosing or event.slug in settings.event_slugs or any(
            tag in settings.tags for tag in event.tags)

    def _is_admitted(self, market: MarketInfo) -> bool:
        """Tell whether a market that is not carried may be; a volume that nobody told is none."""
        settings = self._settings
        is_in = market.slug not in settings.exclude_slugs and (
            not settings.volume_24h_micro_min
            or (market.volume_24h_micro or 0) >= settings.volume_24h_micro_min)
        self.filtered_count += not is_in
        return is_in

    def _unit(self, ident: str, markets: Sequence[MarketInfo], tags: Sequence[str]) -> Unit:
        """Return what is to be taken together: none of it while nothing of it accepts orders."""
        of, carried, over = self._rows.of, self._rows.active, self._rows.resolved
        rows = ((market, of.get(market.condition, 0)) for market in markets)
        new = [market for market, row in rows
               if row not in carried and row not in over and self._is_admitted(market)]
        preferred = self._settings.prefer_tags
        rank = min((preferred.index(tag) for tag in tags if tag in preferred), default=len(preferred))
        conditions = tuple(market.condition for market in new)
        return Unit(ident, rank, sum(market.volume_24h_micro or 0 for market in markets),
                    conditions if any(market.accepting for market in markets) else ())

    def _list(self, unit: Unit, markets: Sequence[MarketInfo]) -> list[Update]:
        """Note what is listed; return the rows of it that are carried."""
        updates = []
        for market in markets:
            row = self._rows.of.get(market.condition, 0)
            if row in self._rows.active:
                self._walk.seen.add(row)
                self._units[row] = unit.ident
                updates.append((row, market))
            else:
                self._walk.infos[market.condition] = market
        if any(market.accepting for market in markets):
            self._walk.units[unit.ident] = unit
        return updates
