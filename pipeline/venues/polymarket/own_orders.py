"""What the venue may say of our orders: only what fits their own terms, and of one trade always the same.

Fed by trade's INTENT records and by the REPORT that names an order's hash; asked by the decoder of the user
channel and of REST rows. Good JSON can still mean what cannot have happened: another market, more than the
order has, a trade that grows, a final word taken back. Such a frame is refused like one that cannot be read,
and a reconcile asks. A price is not judged here: the core books by our own order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pipeline.kinds import OrderType, Side, TradeStatus
from pipeline.units import TICKS_PER_USD
from pipeline.venues.polymarket.decode_common import KnownToken, Refused

ORDERS_MAX: Final = 65_536  # remembered; of older ones anything is believed
WAITING_MAX: Final = 4_096  # intents whose hash is not known yet, and trades of hashes that nobody knows yet
UNLISTED_MAX: Final = 65_536
DUST_MICRO: Final = 10_000  # 0.01 share, the venue's own dust; as much in USD of a budget
_FINAL: Final = (TradeStatus.CONFIRMED, TradeStatus.FAILED)
Key = tuple[bytes, bytes]  # order hash, trade id


class Contradiction(Refused):
    """A frame or row says of one of our orders or trades what cannot be true."""


class Word(NamedTuple):
    """What was said of one trade of one order; price in ticks of the order's own token."""

    size_micro: int
    price_ticks: int
    status: int


class Early(NamedTuple):
    """What was said of a trade before its order's hash was known here."""

    token: KnownToken
    word: Word
    told_ns: int
    is_listed: bool


@dataclass(slots=True)
class Terms:
    """One order as we made it, and the trades that were told of it."""

    row: int
    outcome: int
    side: int
    price_ticks: int
    size_micro: int
    budget_usd_micro: int  # of a BUY that spends an amount; 0 = it stops at its shares
    is_exact: bool  # price and size are shown as we sent them: what may rest
    trades: dict[bytes, Word] = field(default_factory=dict)


class OwnOrders:
    """Our orders by hash. A frame's words count when the whole frame was taken: `keep`, else `drop`."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Terms] = OrderedDict()  # by order number, hash not known
        self._orders: OrderedDict[bytes, Terms | None] = OrderedDict()  # None: of a run before
        self._early: OrderedDict[Key, Early] = OrderedDict()
        self._said: list[tuple[Key, KnownToken, Word]] = []  # of the frame at hand
        self._unlisted: OrderedDict[Key, int] = OrderedDict()  # told by the channel alone -> when
        self.contradictions = self.listed_contradictions = 0  # of the channel; of the venue's lists

    # -- what we know ------------------------------------------------------------------------------

    def on_intent(self, record: Any) -> None:
        """Learn one INTENT of trade."""
        is_budget = record.order_type in (OrderType.FAK, OrderType.FOK)
        self._waiting[record.order_no] = Terms(
            record.instrument, record.outcome, record.side, record.price_ticks, record.size_micro,
            record.maker_amount if is_budget and record.side == Side.BUY else 0, not is_budget)
        if len(self._waiting) > WAITING_MAX:
            self._waiting.popitem(last=False)

    def on_report(self, record: Any) -> None:
        """Learn an order's hash from the first REPORT that names both."""
        order_hash = bytes(record.order_hash)
        if not record.order_no or not any(order_hash):
            return
        terms = self._waiting.pop(record.order_no, None)
        if terms is not None or order_hash not in self._orders:
            self._orders[order_hash] = terms
        if len(self._orders) > ORDERS_MAX:
            self._orders.popitem(last=False)
        if terms is None:
            return
        for key in [key for key in self._early if key[0] == order_hash]:
            early = self._early.pop(key)
            self._note(key, terms, _own(early.word, early.token, terms), early.told_ns, early.is_listed)

    def knows(self, order_hash: bytes) -> bool:
        """Tell whether an order of this hash was sent from here: then it is ours, whoever a row names."""
        return order_hash in self._orders

    # -- what is said --------------------------------------------------------------------------------

    def check_order(
        self, order_hash: bytes, token: KnownToken | None, side: Side | None, price_ticks: int,
        sizes_micro: tuple[int, int], path: str,
    ) -> None:
        """Raise Contradiction for a row of ours with other terms. sizes: original, matched; -1 = silent."""
        terms = self._orders.get(order_hash)
        if terms is None:
            return
        size_max = terms.size_micro + DUST_MICRO
        what = ""
        if token is not None and (token.row, token.outcome) != (terms.row, terms.outcome):
            what = f"is of row {token.row} outcome {token.outcome}, ours is of {terms.row} {terms.outcome}"
        elif side is not None and side != terms.side:
            what = f"has side {side.name}, ours has {Side(terms.side).name}"
        elif terms.is_exact and price_ticks >= 0 and price_ticks != terms.price_ticks:
            what = f"has price {price_ticks} ticks, ours has {terms.price_ticks}"
        elif not terms.budget_usd_micro and max(sizes_micro) > size_max:
            what = f"has {max(sizes_micro)} of 1e-6 share, ours has {terms.size_micro}"
        if what:
            raise Contradiction(f"order at {path} {what}")

    def check_fill(
        self, order_hash: bytes, trade_id: bytes, token: KnownToken, size_micro: int, price_ticks: int,
        status: int, path: str,
    ) -> None:
        """Raise Contradiction for a trade that an order of ours cannot have had; else note its words."""
        terms = self._orders.get(order_hash)
        if terms is None:
            self._said.append(((order_hash, trade_id), token, Word(size_micro, price_ticks, status)))
            return
        word = _own(Word(size_micro, price_ticks, status), token, terms)
        before, all_trades = terms.trades.get(trade_id), [word[:2]]
        all_trades += [one[:2] for name, one in terms.trades.items() if name != trade_id]
        what = ""
        if token.row != terms.row:
            what = f"is of row {token.row}, our order of {terms.row}"
        elif before is not None and before[:2] != word[:2]:
            told = f"{before.size_micro} at {before.price_ticks} ticks"
            what = f"was told as {told}, is {word.size_micro} at {word.price_ticks}"
        elif before is not None and before.status in _FINAL and status in _FINAL and status != before.status:
            what = f"was {TradeStatus(before.status).name}, is {TradeStatus(status).name}: both are final"
        elif not _has_room(terms, all_trades):
            found = sum(size for size, _ in all_trades)
            what = f"makes {found} of 1e-6 share, our order has {terms.size_micro}"
        if what:
            raise Contradiction(f"trade at {path} {what}")
        self._said.append(((order_hash, trade_id), token, word))

    def keep(self, now_ns: int, is_listed: bool) -> None:
        """The frame or row was taken. is_listed: the venue's list said it, not the channel."""
        for key, token, word in self._said:
            terms, early = self._orders.get(key[0]), self._early.get(key)
            if terms is not None:
                self._note(key, terms, word, now_ns, is_listed)
                continue
            told_ns, was_listed = (early.told_ns, early.is_listed) if early else (now_ns, False)
            self._early[key] = Early(token, word, told_ns, is_listed or was_listed)
            if len(self._early) > WAITING_MAX:
                self._early.popitem(last=False)
        self._said.clear()

    def _note(self, key: Key, terms: Terms, word: Word, told_ns: int, is_listed: bool) -> None:
        """Remember the words of a trade of ours. What only the channel told has to be listed some time."""
        before = terms.trades.get(key[1])
        if before is None or before.status not in _FINAL:
            terms.trades[key[1]] = word
        if is_listed:
            self._unlisted.pop(key, None)
        elif before is None:
            self._unlisted[key] = told_ns
            if len(self._unlisted) > UNLISTED_MAX:
                self._unlisted.popitem(last=False)

    def drop(self, error: Refused, is_listed: bool) -> None:
        """The frame or row was refused: nothing of it was said."""
        self._said.clear()
        if isinstance(error, Contradiction) and is_listed:
            self.listed_contradictions += 1
        elif isinstance(error, Contradiction):
            self.contradictions += 1

    def unlisted_before(self, told_ns: int) -> int:
        """Return how many trades the channel told before `told_ns` that no list has shown since."""
        return sum(at_ns < told_ns for at_ns in self._unlisted.values())


def _own(word: Word, token: KnownToken, terms: Terms) -> Word:
    """Return the words with the price in the order's own token."""
    if token.outcome == terms.outcome:
        return word
    return word._replace(price_ticks=TICKS_PER_USD - word.price_ticks)


def _has_room(terms: Terms, trades: Iterable[tuple[int, int]]) -> bool:
    """Return whether an order has room for all these (size, price) together."""
    if terms.budget_usd_micro:
        spent = sum(size * price for size, price in trades) // TICKS_PER_USD
        return spent <= terms.budget_usd_micro + DUST_MICRO
    return sum(size for size, _ in trades) <= terms.size_micro + DUST_MICRO
