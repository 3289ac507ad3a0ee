"""One order book per condition, in the YES view, matched by price and then time.

A bid for NO at p stands as an ask for YES at 1 - p, and an offer of NO as a bid for YES, as on the
venue. Other participants stand as anonymous queue entries. `TakingBook` is what the engine needs of a
book; `MatchedBook` is ours, the shadow of a recording is another.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pipeline.errors import InvariantError
from pipeline.sim.accounts import Account
from pipeline.sim.market import LevelChange, Market
from pipeline.units import TICKS_PER_USD, cost_micro


class OrderType(StrEnum):
    GTC = "GTC"
    GTD = "GTD"
    FOK = "FOK"
    FAK = "FAK"


class Status(StrEnum):
    """Stem of the venue's order status; the exact text of a dead order is in `Order.status_text`."""

    LIVE = "LIVE"
    DELAYED = "DELAYED"  # a taker that is held
    MATCHED = "MATCHED"
    CANCELED = "CANCELED"


@dataclass(slots=True, eq=False)
class Order:
    """An order whose signature, amounts and owner are proven. Prices are of the token that it names."""

    order_id: str  # 0x digest
    account: Account
    api_key: str
    market: Market
    outcome: int  # 0 YES, 1 NO
    is_buy: bool
    order_type: OrderType
    post_only: bool
    price_ticks: int
    maker_micro: int  # what it gives: USD if buying, shares if selling
    taker_micro: int
    expiration_s: int  # as stated; 0 = none
    created_ns: int
    status: Status = Status.LIVE
    status_text: str = "LIVE"
    matched_micro: int = 0  # shares
    usd_micro: int = 0  # paid or received, without fees
    fee_micro: int = 0
    trade_ids: list[str] = field(default_factory=list)
    # What failed settlements took back; whether the venue's `size_matched` shrinks with it is unconfirmed.
    void_micro: int = 0
    void_usd_micro: int = 0
    void_fee_micro: int = 0

    @property
    def size_micro(self) -> int:
        """Shares that it asks for, or offers."""
        return self.taker_micro if self.is_buy else self.maker_micro

    @property
    def left_micro(self) -> int:
        return max(0, self.size_micro - self.matched_micro)

    @property
    def is_bid(self) -> bool:
        """Whether it stands on the bid side of the YES view."""
        return self.is_buy == (self.outcome == 0)

    @property
    def yes_ticks(self) -> int:
        return token_ticks(self.price_ticks, self.outcome)

    @property
    def may_rest(self) -> bool:
        return self.order_type in (OrderType.GTC, OrderType.GTD)


@dataclass(frozen=True, slots=True)
class Taking:
    """What a taker wants now: `size_micro` shares, or shares for `budget_micro` USD (one of the two).

    `limit_ticks` is in the YES view; `outcome` says in which token the budget pays.
    """

    is_bid: bool
    limit_ticks: int
    outcome: int
    size_micro: int | None = None
    budget_micro: int | None = None


@dataclass(frozen=True, slots=True)
class Fill:
    """One match at the maker's price (YES view); `maker` None = other participants."""

    price_ticks: int
    size_micro: int
    maker: Order | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a taking would match, best price and oldest first; `is_complete` if nothing stays unfilled."""

    fills: tuple[Fill, ...]
    is_complete: bool


class TakingBook(Protocol):
    """What the engine needs of a book."""

    shows_changes: bool  # False: its frames come from elsewhere, and nothing that we do alters them

    def plan(self, taking: Taking) -> Plan:
        """Return what would match now, changing nothing."""

    def take(self, is_bid: bool, fills: Sequence[Fill]) -> None:
        """Remove the fills of a plan that was just made; `is_bid` is the taker's side."""

    def rest(self, order: Order) -> None:
        """Put what is left of the order behind all that stands at its price."""

    def cancel(self, order: Order) -> None:
        """Take a resting order out."""

    def levels(self, is_bid: bool) -> list[tuple[int, int]]:
        """Return (price_ticks, size_micro) as displayed, best first."""

    def take_changes(self) -> tuple[LevelChange, ...]:
        """Return what changed on display since the last call."""


def token_ticks(price_ticks: int, outcome: int) -> int:
    """Turn a YES price into one of the given token, or back."""
    return price_ticks if outcome == 0 else TICKS_PER_USD - price_ticks


@dataclass(slots=True)
class _Entry:
    order: Order | None
    size_micro: int


def _runs(queue: Iterable[_Entry]) -> list[tuple[Order | None, int]]:
    """Return (maker, size) in time order; neighbouring entries of other participants count as one."""
    runs: list[tuple[Order | None, int]] = []
    for entry in queue:
        if entry.order is None and runs and runs[-1][0] is None:
            runs[-1] = (None, runs[-1][1] + entry.size_micro)
        else:
            runs.append((entry.order, entry.size_micro))
    return runs


class MatchedBook:
    """Price-time priority over our orders and other participants' anonymous liquidity."""

    shows_changes = True

    def __init__(self, dust_micro: int = 0) -> None:
        self._dust_micro = dust_micro
        self._queues: tuple[dict[int, deque[_Entry]], dict[int, deque[_Entry]]] = ({}, {})  # ask, bid
        self._prices: tuple[list[int], list[int]] = ([], [])  # ascending
        self._shown: dict[tuple[bool, int], int] = {}
        self._touched: dict[tuple[bool, int], None] = {}

    def plan(self, taking: Taking) -> Plan:
        fills: list[Fill] = []
        walk = Remaining(taking)
        for price_ticks in self._best_first(not taking.is_bid):
            if not crosses(taking.is_bid, taking.limit_ticks, price_ticks) or walk.is_done:
                break
            for maker, offered in _runs(self._queues[not taking.is_bid][price_ticks]):
                size = walk.take(price_ticks, offered)
                if size:
                    fills.append(Fill(price_ticks, size, maker))
        return Plan(tuple(fills), walk.is_done)

    def take(self, is_bid: bool, fills: Sequence[Fill]) -> None:
        for fill in fills:
            self._take_one(not is_bid, fill)

    def rest(self, order: Order) -> None:
        self._push(order.is_bid, order.yes_ticks, _Entry(order, order.left_micro))

    def cancel(self, order: Order) -> None:
        queue = self._queues[order.is_bid].get(order.yes_ticks, deque())
        for index, entry in enumerate(queue):
            if entry.order is order:
                del queue[index]
                self._touch(order.is_bid, order.yes_ticks)
                return
        raise InvariantError(f"sim.book: order {order.order_id} expected in its queue, was not found")

    def add_anonymous(self, is_bid: bool, price_ticks: int, size_micro: int) -> None:
        """Put other participants' liquidity behind all that stands at the price."""
        self._push(is_bid, price_ticks, _Entry(None, size_micro))

    def remove_anonymous(self, is_bid: bool, price_ticks: int, size_micro: int) -> int:
        """Take out up to `size_micro`, newest first, so our queue place never improves; return how much."""
        queue = self._queues[is_bid].get(price_ticks)
        if queue is None:
            return 0
        left = size_micro
        for entry in reversed(queue):
            if entry.order is None and left:
                step = min(left, entry.size_micro)
                entry.size_micro -= step
                left -= step
        kept = [entry for entry in queue if entry.size_micro]
        queue.clear()
        queue.extend(kept)
        self._touch(is_bid, price_ticks)
        return size_micro - left

    def clear_anonymous(self) -> None:
        """Take out all that other participants have."""
        for is_bid in (True, False):
            for price_ticks in list(self._prices[is_bid]):
                self.remove_anonymous(is_bid, price_ticks, self.anonymous_micro(is_bid, price_ticks))

    def anonymous_micro(self, is_bid: bool, price_ticks: int) -> int:
        """Return what other participants have at the price."""
        queue = self._queues[is_bid].get(price_ticks, ())
        return sum(entry.size_micro for entry in queue if entry.order is None)

    def levels(self, is_bid: bool) -> list[tuple[int, int]]:
        return [(price, self._total(is_bid, price)) for price in self._best_first(is_bid)]

    def best(self, is_bid: bool) -> int | None:
        prices = self._prices[is_bid]
        return (prices[-1] if is_bid else prices[0]) if prices else None

    def take_changes(self) -> tuple[LevelChange, ...]:
        changes = []
        for is_bid, price_ticks in self._touched:
            size = self._total(is_bid, price_ticks)
            if size != self._shown.get((is_bid, price_ticks), 0):
                changes.append(LevelChange(is_bid, price_ticks, size))
                if size:
                    self._shown[is_bid, price_ticks] = size
                else:
                    del self._shown[is_bid, price_ticks]
        self._touched.clear()
        return tuple(changes)

    def _take_one(self, is_bid: bool, fill: Fill) -> None:
        queue = self._queues[is_bid].get(fill.price_ticks, deque())
        left = fill.size_micro
        while left:
            if not queue or queue[0].order is not fill.maker:
                raise InvariantError(f"sim.book: {fill} expected at the head of its level, was not there")
            step = min(left, queue[0].size_micro)
            queue[0].size_micro -= step
            left -= step
            if queue[0].size_micro < max(1, self._dust_micro):
                queue.popleft()
        self._touch(is_bid, fill.price_ticks)

    def _push(self, is_bid: bool, price_ticks: int, entry: _Entry) -> None:
        if entry.size_micro <= 0:
            raise InvariantError(f"sim.book: size > 0 expected to rest, was {entry.size_micro}")
        if price_ticks not in self._queues[is_bid]:
            self._queues[is_bid][price_ticks] = deque()
            insort(self._prices[is_bid], price_ticks)
        self._queues[is_bid][price_ticks].append(entry)
        self._touch(is_bid, price_ticks)

    def _touch(self, is_bid: bool, price_ticks: int) -> None:
        self._touched[is_bid, price_ticks] = None
        if price_ticks in self._queues[is_bid] and not self._queues[is_bid][price_ticks]:
            del self._queues[is_bid][price_ticks]
            prices = self._prices[is_bid]
            del prices[bisect_left(prices, price_ticks)]

    def _total(self, is_bid: bool, price_ticks: int) -> int:
        return sum(entry.size_micro for entry in self._queues[is_bid].get(price_ticks, ()))

    def _best_first(self, is_bid: bool) -> Iterator[int]:
        prices = self._prices[is_bid]
        return reversed(prices) if is_bid else iter(prices)


class Remaining:
    """What a taker still wants while a book is walked; both book kinds use it."""

    def __init__(self, taking: Taking) -> None:
        if (taking.size_micro is None) == (taking.budget_micro is None):
            raise InvariantError(f"sim.book: a size or a budget expected, was {taking}")
        self._outcome = taking.outcome
        self._is_budget = taking.budget_micro is not None
        self._size_micro = taking.size_micro or 0
        self._budget_micro = taking.budget_micro or 0
        self.is_done = (taking.size_micro or taking.budget_micro or 0) <= 0

    def take(self, price_ticks: int, offered_micro: int) -> int:
        """Return how many of the offered shares it takes at the YES price.

        A budget buys floor(budget / price) shares and pays ceil(shares * price), never more than is left.
        """
        if self.is_done:
            return 0
        if not self._is_budget:
            size = min(offered_micro, self._size_micro)
            self._size_micro -= size
            self.is_done = self._size_micro == 0
            return size
        own_ticks = token_ticks(price_ticks, self._outcome)
        affordable = self._budget_micro * TICKS_PER_USD // own_ticks
        size = min(offered_micro, affordable)
        self._budget_micro -= cost_micro(own_ticks, size)
        self.is_done = affordable <= offered_micro
        return size


def crosses(is_bid: bool, limit_ticks: int, price_ticks: int) -> bool:
    """Whether a taker of that side and limit accepts the YES price."""
    return price_ticks <= limit_ticks if is_bid else price_ticks >= limit_ticks


def taking(order: Order) -> Taking:
    """A FAK or FOK buy spends its collateral; everything else counts shares (venue sheet 10.5)."""
    if order.is_buy and not order.may_rest:
        return Taking(order.is_bid, order.yes_ticks, order.outcome, budget_micro=order.maker_micro)
    return Taking(order.is_bid, order.yes_ticks, order.outcome, size_micro=order.size_micro)


def total(fills: Sequence[Fill]) -> int:
    """Return the shares of the fills together."""
    return sum(fill.size_micro for fill in fills)
