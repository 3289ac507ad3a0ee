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

from pipeline.records import OrderType, Side, TradeStatus
from pipeline.units import TICKS_PER_USD
from pipeline.venues.polymarket.decode_common import KnownToken, Refused

ORDERS_MAX: Final = 65_536  # remembered; of older ones anything is believed
WAITING_MAX: Final = 4_096  # intents whose hash is not known yet
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
        self._said: list[tuple[Key, Word]] = []  # of the frame at hand
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
            self._said.append(((order_hash, trade_id), Word(size_micro, price_ticks, status)))
            return
        own_ticks = price_ticks if token.outcome == terms.outcome else TICKS_PER_USD - price_ticks
        word, before = Word(size_micro, own_ticks, status), terms.trades.get(trade_id)
        all_trades = [(size_micro, own_ticks)]
        all_trades += [one[:2] for name, one in terms.trades.items() if name != trade_id]
        what = ""
        if token.row != terms.row:
            what = f"is of row {token.row}, our order of {terms.row}"
        elif before is not None and before[:2] != word[:2]:
            told = f"{before.size_micro} at {before.price_ticks} ticks"
            what = f"was told as {told}, is {word.size_micro} at {own_ticks}"
        elif before is not None and before.status in _FINAL and status in _FINAL and status != before.status:
            what = f"was {TradeStatus(before.status).name}, is {TradeStatus(status).name}: both are final"
        elif not _has_room(terms, all_trades):
            found = sum(size for size, _ in all_trades)
            what = f"makes {found} of 1e-6 share, our order has {terms.size_micro}"
        if what:
            raise Contradiction(f"trade at {path} {what}")
        self._said.append(((order_hash, trade_id), word))

    def keep(self, now_ns: int, is_listed: bool) -> None:
        """The frame or row was taken. is_listed: the venue's list said it, not the channel."""
        for key, word in self._said:
            terms = self._orders.get(key[0])
            is_known = terms is not None and key[1] in terms.trades
            if terms is not None and not (is_known and terms.trades[key[1]].status in _FINAL):
                terms.trades[key[1]] = word
            if is_listed:
                self._unlisted.pop(key, None)
            elif terms is not None and not is_known:
                self._unlisted[key] = now_ns
                if len(self._unlisted) > UNLISTED_MAX:
                    self._unlisted.popitem(last=False)
        self._said.clear()

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


def _has_room(terms: Terms, trades: Iterable[tuple[int, int]]) -> bool:
    """Return whether an order has room for all these (size, price) together."""
    if terms.budget_usd_micro:
        spent = sum(size * price for size, price in trades) // TICKS_PER_USD
        return spent <= terms.budget_usd_micro + DUST_MICRO
    return sum(size for size, _ in trades) <= terms.size_micro + DUST_MICRO
