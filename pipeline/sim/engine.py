"""The matching engine: orders in, fills, postings, trades and commits out.

Reads proven orders (sim.orders) and other participants' flow; writes the ledger, tells a `Listener`
about orders, trades and commits. Time is an argument. A refusal is a value with the venue's text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import InvariantError
from pipeline.sim import errors_text as texts
from pipeline.sim.book import (
    Fill,
    MatchedBook,
    Order,
    Status,
    Taking,
    TakingBook,
    crosses,
    taking,
    token_ticks,
    total,
)
from pipeline.sim.errors_text import Refusal
from pipeline.sim.funds import Funds
from pipeline.sim.holds import Holds
from pipeline.sim.ledger import COUNTERPARTY, Ledger, Side
from pipeline.sim.market import Commit, Market
from pipeline.sim.mode import VenueMode
from pipeline.sim.settings import ExchangeSettings, SelfTrade
from pipeline.sim.settlement import Settlement
from pipeline.sim.timers import Timers
from pipeline.sim.trades import Listener, Placed, Tally, Trade, last_trade_text
from pipeline.units import NS_PER_S


@dataclass(slots=True)
class _Commit:
    """What the action at hand has matched so far."""

    print_ticks: int = 0
    print_micro: int = 0
    is_buy: bool = False
    outcome: int = 0
    trades: list[Trade] = field(default_factory=list)


class Engine:
    """Matches for all markets. Orders it is given are proven; it checks funds, crossing and time in force."""

    def __init__(
        self, settings: ExchangeSettings, ledger: Ledger, timers: Timers, listener: Listener, seed: int
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.orders: dict[str, Order] = {}
        self.open: dict[str, dict[str, Order]] = {}  # account name -> id -> resting order
        self.held: dict[str, dict[str, Order]] = {}  # likewise, takers that wait out a delay
        self.funds = Funds(settings, ledger, self.open, self.held)
        self.holds = Holds(self, timers, listener)
        self.markets: dict[str, Market] = {}
        self.books: dict[str, TakingBook] = {}
        self.changed_ns: dict[str, int] = {}
        self.tally = Tally()
        self.mode = VenueMode()
        name = f"{seed}.{settings.life}" if settings.life else str(seed)
        self.settlement = Settlement(settings, ledger, timers, listener, self.tally, name)
        self.trades, self.trades_of = self.settlement.trades, self.settlement.trades_of
        self._timers = timers
        self._listener = listener

    def add_market(self, market: Market, book: TakingBook | None = None) -> None:
        """Open a market; without a book of its own it gets a `MatchedBook`."""
        self.markets[market.condition] = market
        self.books[market.condition] = book or MatchedBook(self.settings.dust_micro)
        self.changed_ns[market.condition] = 0

    def submit(self, now_ns: int, order: Order) -> Placed | Refusal:
        """Match the order and rest, or kill, what is left; or hold a taker where the market delays it."""
        refusal = self._refuse(now_ns, order) or self._refuse_own(now_ns, order)
        if refusal is not None:
            self.tally.refusals += 1
            return refusal
        plan = self.books[order.market.condition].plan(taking(order))
        hold_ns = self.holds.wait_ns(order) if plan.fills else 0
        refusal = self.funds.refuse(order, plan.fills, plan.is_complete or bool(hold_ns))
        if refusal is not None:
            return self.turn_down(now_ns, order, refusal)
        self.orders[order.order_id] = order
        self.tally.orders += 1
        if hold_ns:
            return self.holds.hold(now_ns, order, hold_ns)
        return self.match(now_ns, order, plan.fills, "PLACEMENT")

    def turn_down(self, now_ns: int, order: Order, refusal: Refusal) -> Refusal:
        """Count a refusal; one that kills ends an order that its owner hears of."""
        self.tally.refusals += 1
        if refusal.kills:
            order.status, order.status_text = Status.CANCELED, f"CANCELED_{refusal.text}"
            self.orders[order.order_id] = order
            self._listener.on_order(now_ns, order, "CANCELLATION")
        return refusal

    def match(self, now_ns: int, order: Order, fills: Sequence[Fill], change: str) -> Placed:
        """Carry out a plan that was just made; what is left of the order rests or is gone."""
        book = self.books[order.market.condition]
        commit = _Commit(is_buy=order.is_buy, outcome=order.outcome)
        is_resting = order.may_rest and order.size_micro - total(fills) >= self.settings.dust_micro
        book.take(order.is_bid, fills)
        self._settle_taker(now_ns, order, fills, commit)
        if is_resting:
            self._rest(now_ns, order, book)
        else:
            order.status, order.status_text = Status.MATCHED, "MATCHED"
        self._listener.on_order(now_ns, order, change)
        self._publish_trades(now_ns, commit)
        self._commit(now_ns, order.market, commit)
        return Placed(order, tuple(commit.trades), "matched" if commit.trades else "live")

    # -- what rests, and other participants ---------------------------------------------------

    def cancel(self, now_ns: int, orders: Iterable[Order], status_text: str = "CANCELED") -> None:
        """Take resting orders out; one commit per market."""
        touched: dict[str, Market] = {}
        for order in orders:
            self._take_out(order, status_text)
            touched[order.market.condition] = order.market
            self._listener.on_order(now_ns, order, "CANCELLATION")
        for market in touched.values():
            self._commit(now_ns, market, _Commit())

    def _take_out(self, order: Order, status_text: str) -> None:
        self.books[order.market.condition].cancel(order)
        del self.open[order.account.name][order.order_id]
        order.status, order.status_text = Status.CANCELED, status_text

    def foreign_changes(self, now_ns: int, market: Market, changes: Sequence[tuple[bool, int, int]]) -> None:
        """Apply other participants' (is_bid, price_ticks, delta_micro) as one commit: removals first.

        An addition that crosses takes what it crosses, ours too; a removal larger than what other
        participants have left is clipped and counted.
        """
        book = self._matched(market)
        commit = _Commit()
        for is_bid, price_ticks, delta_micro in changes:
            if delta_micro < 0:
                removed = book.remove_anonymous(is_bid, price_ticks, -delta_micro)
                self.tally.clipped += removed < -delta_micro
                self.tally.clipped_micro += -delta_micro - removed
        for is_bid, price_ticks, delta_micro in changes:
            if delta_micro > 0 and self._may_add(book, is_bid, price_ticks):
                left = self._foreign_take(now_ns, market, is_bid, price_ticks, delta_micro, commit)
                if left >= max(1, self.settings.dust_micro):
                    book.add_anonymous(is_bid, price_ticks, left)
        self._publish_trades(now_ns, commit)
        self._commit(now_ns, market, commit)

    def foreign_take(
        self, now_ns: int, market: Market, is_bid: bool, limit_ticks: int, size_micro: int
    ) -> int:
        """Let another participant take up to the limit (YES view), nothing rests; return what was matched."""
        if not self.mode.is_matching:
            return 0
        commit = _Commit()
        left = self._foreign_take(now_ns, market, is_bid, limit_ticks, size_micro, commit)
        self._publish_trades(now_ns, commit)
        self._commit(now_ns, market, commit)
        return size_micro - left

    def fill_resting(self, now_ns: int, market: Market, is_bid: bool, fills: Sequence[Fill]) -> None:
        """Book fills of our resting orders that a recording's trade or crossing implies.

        `is_bid` is the side of the recorded taker. The caller's book has removed them already.
        """
        commit = _Commit()
        for fill in fills:
            self._settle_foreign(now_ns, market, is_bid, fill, commit)
        self._publish_trades(now_ns, commit)

    def resolve(self, now_ns: int, market: Market, payout_micro: tuple[int, int]) -> None:
        """Cancel what rests, redeem every share, and close the market for good."""
        if market.payout_micro is not None:
            raise InvariantError(f"sim.engine: market {market.condition} expected open, was resolved")
        market.accepting = False
        self.cancel(now_ns, self.orders_in(market, self.open), "CANCELED_MARKET_RESOLVED")
        self.holds.drop(now_ns, self.orders_in(market, self.held), "CANCELED_MARKET_RESOLVED")
        self.settlement.finish(now_ns, market)
        market.payout_micro = payout_micro
        self.ledger.redeem(now_ns, market, payout_micro)

    def clear_book(self, now_ns: int, market: Market, status_text: str = "CANCELED") -> None:
        """Take out everything that rests, ours and other participants', as one commit."""
        book = self._matched(market)
        ours = self.orders_in(market, self.open)
        for order in ours:
            self._take_out(order, status_text)
        book.clear_anonymous()
        for order in ours:
            self._listener.on_order(now_ns, order, "CANCELLATION")
        self._commit(now_ns, market, _Commit())

    @staticmethod
    def orders_in(market: Market, kept: Mapping[str, Mapping[str, Order]]) -> list[Order]:
        """Return the market's orders out of `open` or `held`."""
        return [order for held in kept.values() for order in held.values() if order.market is market]

    def _refuse(self, now_ns: int, order: Order) -> Refusal | None:
        """Refuse for reasons that do not depend on what the order would match."""
        if order.order_id in self.orders:
            return texts.duplicated(order.order_id)
        if not order.market.accepting:
            return texts.NOT_READY
        full = len(self.orders) >= self.settings.orders_kept_max
        if full or len(self.open.get(order.account.name, ())) >= self.settings.open_orders_max:
            return texts.COULD_NOT_INSERT
        if order.expiration_s and self._expires_ns(order) <= now_ns:
            return texts.INVALID_EXPIRATION
        return None

    def _refuse_own(self, now_ns: int, order: Order) -> Refusal | None:
        """Apply the self-trade rule; behind resting orders that it cancels a taker may meet more."""
        rule = self.settings.self_trade
        while rule is not SelfTrade.MATCH:
            fills = self.books[order.market.condition].plan(taking(order)).fills
            own = {id(f.maker): f.maker for f in fills if f.maker and f.maker.account is order.account}
            if not own or order.post_only:  # a post-only order that crosses is refused as such
                return None
            if rule is SelfTrade.REFUSE:
                return texts.SELF_TRADE
            self.cancel(now_ns, list(own.values()))
        return None

    def _may_add(self, book: MatchedBook, is_bid: bool, price_ticks: int) -> bool:
        """Whether other participants may add there now; they too post only when that is the mode."""
        if self.mode.is_matching:
            return True
        best = book.best(not is_bid)
        if self.mode.is_resting and (best is None or not crosses(is_bid, price_ticks, best)):
            return True
        self.tally.posted_only += 1
        return False

    def _settle_taker(self, now_ns: int, order: Order, fills: Sequence[Fill], commit: _Commit) -> None:
        own = [(token_ticks(f.price_ticks, order.outcome), f.size_micro) for f in fills]
        taker = Side(order.account.name, order.outcome, order.is_buy)
        for fill, (own_ticks, size), fee in zip(fills, own, self.funds.fees(order.market, own), strict=True):
            trade = self.settlement.open(
                now_ns, order.market, order, fill, own_ticks, order.outcome, order.is_buy, fee
            )
            maker = _side_of(fill.maker, not order.is_bid)
            bid, ask = (taker, maker) if order.is_bid else (maker, taker)
            flows = self.ledger.match(now_ns, order.market, fill.price_ticks, size, bid, ask, trade.trade_id)
            self.ledger.fee(now_ns, order.account.name, fee, trade.trade_id)
            order.matched_micro += size
            trade.taker_usd_micro = abs(flows[not order.is_bid])
            order.usd_micro += trade.taker_usd_micro
            order.fee_micro += fee
            self._fill_maker(now_ns, fill, abs(flows[order.is_bid]), trade)
            commit.trades.append(trade)
            commit.print_ticks, commit.print_micro = own_ticks, commit.print_micro + size

    def _foreign_take(
        self, now_ns: int, market: Market, is_bid: bool, limit_ticks: int, size_micro: int, commit: _Commit
    ) -> int:
        """Match another participant's taker; return what is left of it."""
        book = self._matched(market)
        best = book.best(not is_bid)
        if best is None or not crosses(is_bid, limit_ticks, best):
            return size_micro
        plan = book.plan(Taking(is_bid, limit_ticks, 0, size_micro=size_micro))
        book.take(is_bid, plan.fills)
        for fill in plan.fills:
            self._settle_foreign(now_ns, market, is_bid, fill, commit)
        return size_micro - total(plan.fills)

    def _settle_foreign(self, now_ns: int, market: Market, is_bid: bool, fill: Fill, commit: _Commit) -> None:
        """Book what a foreign taker matched; among other participants nothing changes hands here."""
        outcome = 0 if is_bid else 1  # it buys YES, or NO: other participants never need shares to sell
        own_ticks = token_ticks(fill.price_ticks, outcome)
        commit.is_buy, commit.outcome = True, outcome
        commit.print_ticks, commit.print_micro = own_ticks, commit.print_micro + fill.size_micro
        if fill.maker is None:
            return
        fee = self.funds.fees(market, [(own_ticks, fill.size_micro)])[0]
        trade = self.settlement.open(now_ns, market, None, fill, own_ticks, outcome, True, fee)
        taker, maker = Side(COUNTERPARTY, outcome, True), _side_of(fill.maker, not is_bid)
        bid, ask = (taker, maker) if is_bid else (maker, taker)
        flows = self.ledger.match(now_ns, market, fill.price_ticks, fill.size_micro, bid, ask, trade.trade_id)
        self.ledger.fee(now_ns, COUNTERPARTY, fee, trade.trade_id)
        self._fill_maker(now_ns, fill, abs(flows[is_bid]), trade)
        commit.trades.append(trade)

    def _fill_maker(self, now_ns: int, fill: Fill, usd_micro: int, trade: Trade) -> None:
        maker = fill.maker
        if maker is None:
            return
        maker.matched_micro += fill.size_micro
        maker.usd_micro += usd_micro
        trade.maker_usd_micro = usd_micro
        if maker.left_micro < max(1, self.settings.dust_micro):
            maker.status, maker.status_text = Status.MATCHED, "MATCHED"
            del self.open[maker.account.name][maker.order_id]
        self._listener.on_order(now_ns, maker, "UPDATE")

    def _rest(self, now_ns: int, order: Order, book: TakingBook) -> None:
        book.rest(order)
        self.open.setdefault(order.account.name, {})[order.order_id] = order
        if order.expiration_s:
            self._timers.at(self._expires_ns(order), lambda due_ns: self._expire(due_ns, order))

    def _expire(self, now_ns: int, order: Order) -> None:
        if order.status is Status.LIVE:
            self.cancel(now_ns, [order], "CANCELED_EXPIRED_ORDER")

    def _expires_ns(self, order: Order) -> int:
        return order.expiration_s * NS_PER_S - self.settings.gtd_early_ns

    def _publish_trades(self, now_ns: int, commit: _Commit) -> None:
        for trade in commit.trades:
            self.settlement.publish(now_ns, trade)

    def _commit(self, now_ns: int, market: Market, commit: _Commit) -> None:
        """Publish what the action changed on display, and its print."""
        book = self.books[market.condition]
        if not book.shows_changes:
            return
        changes = book.take_changes()
        if not changes and not commit.print_micro:
            return
        traded = commit.print_micro > 0
        if traded:
            market.last_trade = last_trade_text(commit.print_ticks, commit.is_buy)
        self.changed_ns[market.condition] = now_ns
        self._listener.on_commit(
            Commit(
                market,
                now_ns,
                changes,
                traded,
                market.last_trade if traded else None,
                commit.print_ticks,
                commit.print_micro,
                commit.is_buy,
                commit.outcome,
            )
        )

    def _matched(self, market: Market) -> MatchedBook:
        book = self.books[market.condition]
        if not isinstance(book, MatchedBook):
            raise InvariantError(
                f"sim.engine: {market.condition} takes no foreign flow, its book is recorded"
            )
        return book


def _side_of(order: Order | None, is_bid: bool) -> Side:
    """Other participants always buy (YES as bid, NO as ask), so they never need shares that they lack."""
    if order is None:
        return Side(COUNTERPARTY, 0 if is_bid else 1, True)
    return Side(order.account.name, order.outcome, order.is_buy)
