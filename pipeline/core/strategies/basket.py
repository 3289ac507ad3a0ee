"""Baskets: things to buy together whose payout is proven, and the strategy that watches them.

Builders make baskets when instruments change. Each basket has a running sum (`native/sums`, O(1) a top); the
strategy sizes a basket only while its sum is profitable. Reads books through `on_top`; returns ideas.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

from pipeline.core.fees import PICO_PER_USD
from pipeline.core.instruments import Instrument, Instruments
from pipeline.core.legbook import SHARE_LOT_MICRO
from pipeline.core.limits import BATCH_ORDERS_MAX, NO_LIMITS, Limits
from pipeline.core.proof import proven_payout
from pipeline.core.sizing import Order, Package
from pipeline.core.strategies.interface import Idea
from pipeline.core.tops import Book
from pipeline.kinds import Cause, OrderState, Outcome, Rule
from pipeline.native.sizing import LIMITS, NEVER_NS, Sized
from pipeline.native.sums import LEGS_MAX, Top
from pipeline.native.sums import PICO_PER_USD as NATIVE_PICO_PER_USD
from pipeline.units import MICRO

assert PICO_PER_USD == NATIVE_PICO_PER_USD
assert LIMITS == (BATCH_ORDERS_MAX, NEVER_NS)
#: An order that is over: its group may be, too. One that never left is no reason to hurry: what kept it here
#: (a halt, a ceiling, a lane that is away) mostly keeps the next one, too.
_ENDED = (
    int(OrderState.MATCHED), int(OrderState.CANCELED), int(OrderState.EXPIRED), int(OrderState.REJECTED),
    int(OrderState.DRY))
_EVENT_MAX = 1 << 29  # a basket number is event << 3 | strategy: the same after every restart


class StrategyId(enum.IntEnum):
    """Which builder made a basket; the numbers stand in records."""

    BUY_ALL = 1
    SELL_ALL = 2
    PAIR = 3


@dataclass(frozen=True, slots=True)
class Basket:
    """Tokens to buy in equal shares: (row, outcome) of each leg.

    is_subset: any subset of k legs is a basket as well and pays k - 1 (NO tokens of exclusive outcomes).
    """

    number: int
    strategy: StrategyId
    event: int
    legs: tuple[tuple[int, int], ...]
    is_subset: bool


def _basket(strategy: StrategyId, key: int, event: int, legs: tuple[tuple[int, int], ...]) -> Basket:
    """Number a basket by what it is made of, so that it has the same number after a restart."""
    return Basket(key << 3 | strategy, strategy, event, legs, strategy == StrategyId.SELL_ALL)


def buy_all(instruments: Instruments, instrument: Instrument) -> list[Basket]:
    """Return the basket of every YES of an exclusive and exhaustive event: pays 1 in every world."""
    rows = instruments.event_rows(instrument.event)
    structure = instruments.structure(instrument.event)
    if structure is None or not (structure.exclusive and structure.exhaustive):
        return []
    if len(rows) > BATCH_ORDERS_MAX:
        return []  # one order a leg does not fit into one batch
    legs = tuple((row, int(Outcome.YES)) for row in rows)
    if proven_payout(instruments, [(*leg, MICRO) for leg in legs]) != MICRO:
        return []
    return [_basket(StrategyId.BUY_ALL, instrument.event, instrument.event, legs)]


def sell_all(instruments: Instruments, instrument: Instrument) -> list[Basket]:
    """Return the basket of NO tokens of an exclusive event: k of them pay k - 1 in every world."""
    rows = instruments.event_rows(instrument.event)
    structure = instruments.structure(instrument.event)
    if structure is None or not structure.exclusive:
        return []
    legs = tuple((row, int(Outcome.NO)) for row in rows)
    if proven_payout(instruments, [(*leg, MICRO) for leg in legs]) != (len(legs) - 1) * MICRO:
        return []
    return [_basket(StrategyId.SELL_ALL, instrument.event, instrument.event, legs)]


def pair(instruments: Instruments, instrument: Instrument) -> list[Basket]:
    """Return the basket of both tokens of one condition that have books of their own: pays 1.

    Two rows of one condition, neither mirrored, the second's first token being the first's second. Within a
    mirrored book YES + NO below 1 is a crossed book: stale data first, never a trade.
    """
    rows = instruments.condition_rows(instrument.condition)
    members = [instruments.rows[row] for row in rows]
    if len(members) != 2 or any(member.has(Rule.MIRRORED) for member in members):
        return []
    legs = tuple((row, int(Outcome.YES)) for row in rows)
    if proven_payout(instruments, [(*leg, MICRO) for leg in legs]) != MICRO:
        return []
    return [_basket(StrategyId.PAIR, min(rows), 0, legs)]


#: Every way to make baskets; each returns the baskets of the events that the instrument belongs to.
BUILDERS: dict[str, Callable[[Instruments, Instrument], list[Basket]]] = {
    "buy_all": buy_all, "sell_all": sell_all, "pair": pair,
}


class Watch(Sized):
    """One basket under observation: the running sum of its best prices and its last answer."""

    __slots__ = ("basket", "books", "ideas", "instruments")

    def __new__(cls, basket: Basket, books: Sequence[Book], instruments: Instruments) -> Self:
        return super().__new__(cls, books, [outcome for _, outcome in basket.legs], basket.is_subset)

    def __init__(self, basket: Basket, books: Sequence[Book], instruments: Instruments) -> None:
        self.basket, self.books, self.instruments = basket, tuple(books), instruments
        self.ideas = 0

    def prove(self, legs: Sequence[int]) -> int | None:
        """Return what one lot of each of these legs pays in the worst world, None when that is not proven."""
        return proven_payout(
            self.instruments, [(*self.basket.legs[leg_no], SHARE_LOT_MICRO) for leg_no in legs])


class BasketStrategy:
    """Watches every basket that the builders can prove."""

    def __init__(self, builders: Sequence[str] = tuple(BUILDERS)) -> None:
        self._instruments = Instruments()
        self._builders = [BUILDERS[name] for name in builders]
        self.books: dict[int, Book] = {}  # of the rows in a basket
        self._watches: dict[int, Watch] = {}
        self._waiting: dict[int, tuple[Watch, int]] = {}  # profitable, to be looked at again at a time
        self._wake_ns = NEVER_NS
        self._limits, self._bounds = NO_LIMITS, NO_LIMITS.bounds
        self._is_ready = False
        self.version = 0  # grows whenever the rows in a basket change
        self.counts: dict[Cause, int] = {}  # why a profitable sum became no idea

    @property
    def instruments(self) -> Instruments:
        """The table that baskets are built from; the detector folds records into it."""
        return self._instruments

    @property
    def watches(self) -> Sequence[Watch]:
        """Every basket under observation, in order of building."""
        return tuple(self._watches.values())

    def book(self, row: int) -> Book | None:
        """Return the book of a row that is in a basket, None for all others."""
        return self.books.get(row)

    def on_limits(self, limits: Limits) -> None:
        """Take new limits and look at everything again."""
        self._limits, self._bounds, self._is_ready = limits, limits.bounds, not limits.missing
        for watch in self._watches.values():
            watch.forget()
            if watch.total > 0:
                self._wait(watch, 0)

    def on_instrument(self, instrument: Instrument) -> None:
        """Rebuild the baskets that a new or changed instrument belongs to."""
        rows = dict.fromkeys(self._instruments.event_rows(instrument.event))
        rows.update(dict.fromkeys(self._instruments.condition_rows(instrument.condition)))
        rows[instrument.row] = None
        known = self.books.get(instrument.row)
        if known is not None:
            known.follow(instrument)
        numbers = [
            number for number, watch in self._watches.items()
            if any(row in rows for row, _ in watch.basket.legs)] if self._touches(rows) else []
        for number in numbers:
            self._drop(number)
        for build in self._builders:
            for basket in build(self._instruments, instrument):
                if basket.number < _EVENT_MAX << 3 and len(basket.legs) <= LEGS_MAX:
                    self._watch(basket)

    def _touches(self, rows: dict[int, None]) -> bool:
        return any(row in self.books and self.books[row].links for row in rows)

    def _drop(self, number: int) -> None:
        watch = self._watches.pop(number)
        self.version += 1
        self._waiting.pop(number, None)
        for book in watch.books:
            book.unlink(watch)

    def _watch(self, basket: Basket) -> None:
        books = []
        for row, _ in basket.legs:
            if row not in self.books:
                self.books[row] = Book(self._instruments.rows[row])
            books.append(self.books[row])
        watch = self._watches[basket.number] = Watch(basket, books, self._instruments)
        self.version += 1
        for book in dict.fromkeys(books):
            book.link(watch)

    def on_top(self, top: Top, now_ns: int) -> Sequence[Idea]:
        """Size and return those of the row's baskets that are profitable now."""
        ideas: list[Idea] = []
        for watch in top.near_sums():
            idea = self._consider(watch, now_ns)  # type: ignore[arg-type]  # our sums are watches
            if idea is not None:
                ideas.append(idea)
        return ideas

    def on_report(self, row: int, state: int, now_ns: int) -> Sequence[Idea]:
        """An order is over: what its baskets told and trade refused as busy is due again, on a tick."""
        book = self.books.get(row)
        if book is not None and state in _ENDED:
            self.on_fill(book, now_ns)
        return ()

    def on_fill(self, book: Book, now_ns: int) -> None:
        """Let the book's baskets repeat their ideas after one cooldown, however often they did before."""
        cooldown_ns = self._limits.cooldown_ns
        for link in book.links:
            watch: Watch = link.sum  # type: ignore[assignment]
            if 0 < watch.retry_ns < NEVER_NS:
                watch.pause_ns = cooldown_ns
                watch.retry_ns = min(watch.retry_ns, max(now_ns, watch.told_ns + cooldown_ns))
                self._wait(watch, watch.retry_ns)

    def on_tick(self, now_ns: int) -> Sequence[Idea]:
        """Look again at baskets that stay profitable after a cooldown."""
        if now_ns < self._wake_ns:
            return ()
        waiting, self._waiting, self._wake_ns = self._waiting, {}, NEVER_NS
        ideas = []
        for watch, until_ns in waiting.values():
            if watch.total <= 0:
                continue  # its next good top brings it back
            if now_ns < until_ns:
                self._wait(watch, until_ns)
                continue
            idea = self._consider(watch, now_ns)
            if idea is not None:
                ideas.append(idea)
        return ideas

    def _consider(self, watch: Watch, now_ns: int) -> Idea | None:
        """Size a profitable basket; None with a counted cause when it may not or does not pay."""
        if not self._is_ready:
            self._count(Cause.MISSING_VALUE)
            return None
        limits, basket = self._limits, watch.basket
        package = watch.look(
            now_ns, limits.proof_age_ns_max, limits.cooldown_ns, self._bounds, Package, Order)
        if watch.wake_ns < NEVER_NS:
            self._wait(watch, watch.wake_ns)
        if package is not None:
            watch.ideas += 1
            return Idea(
                basket.number, basket.event, basket.strategy, watch.legs_priced, watch.venue_ns, package)
        if watch.is_refused:
            self._count(watch.cause)
        return None

    def _wait(self, watch: Watch, until_ns: int) -> None:
        number = watch.basket.number
        known = self._waiting.get(number)
        if known is not None and known[1] <= until_ns:
            return
        self._waiting[number] = watch, until_ns
        self._wake_ns = min(self._wake_ns, until_ns)

    def _count(self, cause: Cause) -> None:
        """Count why a profitable sum became no idea."""
        self.counts[cause] = self.counts.get(cause, 0) + 1
