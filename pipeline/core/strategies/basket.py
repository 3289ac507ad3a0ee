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
from pipeline.core.sizing import Package, Refusal, price_package
from pipeline.core.strategies.interface import Idea
from pipeline.core.tops import Book
from pipeline.native.sums import LEGS_MAX, Sum
from pipeline.native.sums import PICO_PER_USD as NATIVE_PICO_PER_USD
from pipeline.records import Cause, OrderState, Outcome, Rule
from pipeline.units import MICRO, NS_PER_S

assert PICO_PER_USD == NATIVE_PICO_PER_USD
_NEVER_NS = 1 << 62
_SUBSETS_MAX = 4  # subsets of a sell-all basket that are priced, best outcomes first
_PROOFS_MAX = 64  # subsets of one basket whose proof is remembered
REPEAT_NS_MAX = NS_PER_S  # an unchanged opportunity is told again at least this often: verdicts change unseen
_NONE, _TAKEN, _DEPTH_USED = Cause.NONE, Cause.TAKEN, Cause.DEPTH_USED  # looked up once
_ENDED = (  # an order that is over: its group may be, too
    int(OrderState.MATCHED), int(OrderState.CANCELED), int(OrderState.EXPIRED), int(OrderState.REJECTED),
    int(OrderState.UNSENT), int(OrderState.DRY))
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


class Watch(Sum):
    """One basket under observation: the running sum of its best prices and its last answer."""

    __slots__ = (
        "basket", "books", "cause", "ideas", "limit", "pause_ns", "proofs", "retry_ns", "seen", "told_ns",
        "value")

    def __new__(cls, basket: Basket, books: Sequence[Book]) -> Self:
        return super().__new__(cls, books, [outcome for _, outcome in basket.legs], basket.is_subset)

    def __init__(self, basket: Basket, books: Sequence[Book]) -> None:
        self.basket, self.books = basket, tuple(books)
        self.seen = b""
        self.retry_ns = 0  # when the same levels may be told again
        self.told_ns = self.pause_ns = 0  # the last idea, and how long after it its levels are not repeated
        #: Legs -> what one lot of each pays. A changed instrument makes a new watch, so each proof is of the
        #: structure in force.
        self.proofs: dict[tuple[int, ...], int | None] = {}
        self.cause, self.value, self.limit = Cause.NONE, 0, 0
        self.ideas = 0


class BasketStrategy:
    """Watches every basket that the builders can prove."""

    def __init__(self, builders: Sequence[str] = tuple(BUILDERS)) -> None:
        self._instruments = Instruments()
        self._builders = [BUILDERS[name] for name in builders]
        self.books: dict[int, Book] = {}  # of the rows in a basket
        self._watches: dict[int, Watch] = {}
        self._waiting: dict[int, tuple[Watch, int]] = {}  # profitable, to be looked at again at a time
        self._wake_ns = _NEVER_NS
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
            watch.seen = b""
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
        watch = self._watches[basket.number] = Watch(basket, books)
        self.version += 1
        for book in dict.fromkeys(books):
            book.link(watch)

    def on_top(self, book: Book, now_ns: int) -> Sequence[Idea]:
        """Size and return those of the book's baskets that are profitable now."""
        ideas: list[Idea] | None = None
        for link in book.links:
            if link.sum.total > 0:
                idea = self._consider(link.sum, now_ns)  # type: ignore[arg-type]  # our links are of watches
                if idea is not None:
                    ideas = [*ideas, idea] if ideas else [idea]
        return ideas or ()

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
            if 0 < watch.retry_ns < _NEVER_NS:
                watch.pause_ns = cooldown_ns
                watch.retry_ns = min(watch.retry_ns, max(now_ns, watch.told_ns + cooldown_ns))
                self._wait(watch, watch.retry_ns)

    def on_tick(self, now_ns: int) -> Sequence[Idea]:
        """Look again at baskets that stay profitable after a cooldown."""
        if now_ns < self._wake_ns:
            return ()
        waiting, self._waiting, self._wake_ns = self._waiting, {}, _NEVER_NS
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
            return self._refuse(watch, Cause.MISSING_VALUE, 0, 0)
        cause, age_ns_max, rest = _NONE, self._limits.proof_age_ns_max, watch.total
        chosen, wanted = watch.free_legs(now_ns, age_ns_max), watch.wanted()
        if chosen != wanted:
            cause = self._blocked(watch, now_ns, wanted)
            rest = watch.gain_of(chosen) - PICO_PER_USD if watch.is_subset else 0
        if rest <= 0:
            return self._refuse(watch, cause, 0, 0)
        seen, pause_ns = watch.shown(chosen), self._limits.cooldown_ns
        if seen == watch.seen:
            if now_ns < watch.retry_ns:
                if watch.retry_ns < _NEVER_NS:
                    self._wait(watch, watch.retry_ns)
                return None
            # Told, and still there: tell it again after twice the time, unless an order ends before.
            pause_ns = max(pause_ns, min(2 * watch.pause_ns, REPEAT_NS_MAX))
        watch.seen, watch.retry_ns = seen, _NEVER_NS
        found = self._sized(watch, chosen)
        if isinstance(found, Refusal):
            return self._refuse(watch, found.cause, found.value, found.limit)
        legs, package = found
        watch.told_ns, watch.pause_ns, watch.retry_ns = now_ns, pause_ns, now_ns + pause_ns
        self._wait(watch, watch.retry_ns)
        watch.ideas += 1
        watch.cause = _TAKEN
        basket, venue_ns = watch.basket, watch.newest_venue_ns(legs)
        return Idea(basket.number, basket.event, int(basket.strategy), len(legs), venue_ns, package)

    def _blocked(self, watch: Watch, now_ns: int, legs: Sequence[int]) -> Cause:
        """Return the first cause why a book of these legs may not be used; look again when a fill is old."""
        cause, until_ns = _NONE, _NEVER_NS
        for leg_no in legs:
            book = watch.books[leg_no]
            blocked = book.block(now_ns, self._limits.proof_age_ns_max)
            cause = cause or blocked
            if blocked is _DEPTH_USED:
                until_ns = min(until_ns, book.touched_until_ns)
        if until_ns < _NEVER_NS:
            self._wait(watch, until_ns)
        return cause

    def _sized(self, watch: Watch, chosen: list[int]) -> tuple[Sequence[int], Package] | Refusal:
        """Return the legs and the priced package; a subset basket sheds its weakest legs until one fits."""
        if not watch.basket.is_subset:
            return self._priced(watch, chosen, 1)
        gain, refusal = watch.gain, Refusal(Cause.NOT_PROVEN, 0, 0)
        ranked: list[int] = []
        for number in range(_SUBSETS_MAX):
            if number == 0 and len(chosen) <= BATCH_ORDERS_MAX:
                legs = chosen  # all of them, already in order
            else:
                ranked = ranked or sorted(
                    chosen, key=lambda leg_no: (-gain(leg_no), leg_no))[:BATCH_ORDERS_MAX]
                legs = sorted(ranked[:len(ranked) - number])
            if not (len(legs) > 1 and watch.gain_of(legs) > PICO_PER_USD):
                break
            found = self._priced(watch, legs, len(legs) - 1)
            if not isinstance(found, Refusal) or found.cause == Cause.NOT_PROVEN:
                return found
            refusal = found if number == 0 else refusal
        return refusal

    def _priced(
        self, watch: Watch, legs: list[int], sets_paid: int,
    ) -> tuple[Sequence[int], Package] | Refusal:
        """Return the legs with their package once its payout is proven."""
        basket, books = watch.basket, watch.books
        ladders = [books[leg_no].leg(basket.legs[leg_no][1]) for leg_no in legs]
        priced = price_package(ladders, sets_paid, self._bounds, is_exclusive_no=basket.is_subset)
        if isinstance(priced, Refusal):
            return priced
        key = tuple(legs)
        if key not in watch.proofs:
            if len(watch.proofs) >= _PROOFS_MAX:
                watch.proofs.clear()
            watch.proofs[key] = proven_payout(
                self._instruments, [(*basket.legs[leg_no], SHARE_LOT_MICRO) for leg_no in legs])
        lots, odd = divmod(priced.size_micro, SHARE_LOT_MICRO)  # payouts of even sizes are proportional
        if odd or lots * (watch.proofs[key] or 0) != priced.payout_usd_micro:
            return Refusal(Cause.NOT_PROVEN, 0, priced.payout_usd_micro)
        return legs, priced

    def _wait(self, watch: Watch, until_ns: int) -> None:
        number = watch.basket.number
        known = self._waiting.get(number)
        if known is not None and known[1] <= until_ns:
            return
        self._waiting[number] = watch, until_ns
        self._wake_ns = min(self._wake_ns, until_ns)

    def _refuse(self, watch: Watch, cause: Cause, value: int, limit: int) -> Idea | None:
        """Count why a profitable sum became no idea; the answer is always None."""
        cause = cause or Cause.BELOW_EDGE
        watch.cause, watch.value, watch.limit = cause, value, limit
        self.counts[cause] = self.counts.get(cause, 0) + 1
        return None
