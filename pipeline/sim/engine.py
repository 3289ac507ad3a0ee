"""The matching engine: orders in, fills, postings, trades and commits out.

Reads proven orders (sim.orders) and other participants' flow; writes the ledger, tells a `Listener`
about orders, trades and commits. Time is an argument. A refusal is a value with the venue's text.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from pipeline.errors import InvariantError
from pipeline.sim import errors_text as texts
from pipeline.sim.accounts import Account
from pipeline.sim.book import (
    Fill,
    MatchedBook,
    Order,
    OrderType,
    Status,
    Taking,
    TakingBook,
    crosses,
    token_ticks,
)
from pipeline.sim.errors_text import Refusal
from pipeline.sim.fees import fees_micro
from pipeline.sim.ledger import COUNTERPARTY, USD, Ledger, Side
from pipeline.sim.market import Commit, Market
from pipeline.sim.orders import refuse_allowance
from pipeline.sim.settings import ExchangeSettings, FeePer
from pipeline.sim.timers import Timers
from pipeline.sim.trades import Listener, Placed, Tally, Trade, last_trade_text
from pipeline.units import MICRO, NS_PER_S, cost_micro


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
        self.trades: dict[str, Trade] = {}
        self.trades_of: dict[str, list[Trade]] = {}  # account name -> as taker or maker, oldest first
        self.open: dict[str, dict[str, Order]] = {}  # account name -> id -> resting order
        self.markets: dict[str, Market] = {}
        self.books: dict[str, TakingBook] = {}
        self.changed_ns: dict[str, int] = {}
        self.tally = Tally()
        self._timers = timers
        self._listener = listener
        self._name = f"{seed}.{settings.life}" if settings.life else str(seed)

    def add_market(self, market: Market, book: TakingBook | None = None) -> None:
        """Open a market; without a book of its own it gets a `MatchedBook`."""
        self.markets[market.condition] = market
        self.books[market.condition] = book or MatchedBook(self.settings.dust_micro)
        self.changed_ns[market.condition] = 0

    def submit(self, now_ns: int, order: Order) -> Placed | Refusal:
        """Match the order and rest, or kill, what is left."""
        refusal = self._refuse(now_ns, order)
        if refusal is not None:
            self.tally.refusals += 1
            return refusal
        book = self.books[order.market.condition]
        plan = book.plan(_taking(order))
        refusal = self._refuse_plan(order, plan.fills, plan.is_complete)
        if refusal is not None:
            self.tally.refusals += 1
            if refusal.kills:
                order.status, order.status_text = Status.CANCELED, f"CANCELED_{refusal.text}"
                self.orders[order.order_id] = order
                self._listener.on_order(now_ns, order, "CANCELLATION")
            return refusal
        self.orders[order.order_id] = order
        self.tally.orders += 1
        commit = _Commit(is_buy=order.is_buy, outcome=order.outcome)
        is_resting = order.may_rest and order.size_micro - _total(plan.fills) >= self.settings.dust_micro
        book.take(order.is_bid, plan.fills)
        self._settle_taker(now_ns, order, plan.fills, commit)
        if is_resting:
            self._rest(now_ns, order, book)
        else:
            order.status, order.status_text = Status.MATCHED, "MATCHED"
        self._listener.on_order(now_ns, order, "PLACEMENT")
        self._publish_trades(now_ns, commit)
        self._commit(now_ns, order.market, commit)
        return Placed(order, tuple(commit.trades), "matched" if commit.trades else "live")

    def cancel(self, now_ns: int, orders: Iterable[Order], status_text: str = "CANCELED") -> None:
        """Take resting orders out; one commit per market."""
        touched: dict[str, Market] = {}
        for order in orders:
            self.books[order.market.condition].cancel(order)
            del self.open[order.account.name][order.order_id]
            order.status, order.status_text = Status.CANCELED, status_text
            touched[order.market.condition] = order.market
            self._listener.on_order(now_ns, order, "CANCELLATION")
        for market in touched.values():
            self._commit(now_ns, market, _Commit())

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
            if delta_micro > 0:
                left = self._foreign_take(now_ns, market, is_bid, price_ticks, delta_micro, commit)
                if left >= max(1, self.settings.dust_micro):
                    book.add_anonymous(is_bid, price_ticks, left)
        self._publish_trades(now_ns, commit)
        self._commit(now_ns, market, commit)

    def foreign_take(
        self, now_ns: int, market: Market, is_bid: bool, limit_ticks: int, size_micro: int
    ) -> int:
        """Let another participant take up to the limit (YES view), nothing rests; return what was matched."""
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
        resting = [o for held in self.open.values() for o in held.values() if o.market is market]
        market.accepting = False
        self.cancel(now_ns, resting, "CANCELED_MARKET_RESOLVED")
        market.payout_micro = payout_micro
        self.ledger.redeem(now_ns, market, payout_micro)

    def reserved_micro(self, account: Account, asset: str) -> int:
        """Return what the account's resting orders hold of "usd" or of a token."""
        total = 0
        for order in self.open.get(account.name, {}).values():
            if order.is_buy and asset == USD:
                total += cost_micro(order.price_ticks, order.left_micro)
            elif not order.is_buy and asset == order.market.tokens[order.outcome]:
                total += order.left_micro
        return total

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

    def _refuse_plan(self, order: Order, fills: Sequence[Fill], is_complete: bool) -> Refusal | None:
        if order.post_only and fills:
            return texts.POST_ONLY_CROSSES
        if order.is_buy and (fills or not order.may_rest) and order.maker_micro < MICRO:
            return texts.marketable_min(order.maker_micro)
        held = order.market.tokens[order.outcome] if not order.is_buy else USD
        needed = self._needed_micro(order, fills)
        refusal = refuse_allowance(order, needed)
        if refusal is not None:
            return refusal
        balance = self.ledger.balance(order.account.name, held)
        reserved = self.reserved_micro(order.account, held)
        if needed > balance - reserved:
            return texts.not_enough(balance, reserved, order.maker_micro)
        if order.order_type is OrderType.FOK and not is_complete:
            return texts.FOK_KILLED
        if order.order_type is OrderType.FAK and not fills:
            return texts.FAK_KILLED
        return None

    def _needed_micro(self, order: Order, fills: Sequence[Fill]) -> int:
        """Return what the order may cost: shares if selling, else money with fees on top."""
        if not order.is_buy:
            return order.maker_micro
        own = [(token_ticks(f.price_ticks, order.outcome), f.size_micro) for f in fills]
        spent = sum(cost_micro(price, size) for price, size in own)
        rest = cost_micro(order.price_ticks, order.size_micro - _total(fills)) if order.may_rest else 0
        return max(order.maker_micro, spent + rest) + sum(self._fees(order.market, own))

    def _fees(self, market: Market, fills: Iterable[tuple[int, int]]) -> list[int]:
        return fees_micro(market, fills, self.settings.fee_per is FeePer.ORDER)

    def _settle_taker(self, now_ns: int, order: Order, fills: Sequence[Fill], commit: _Commit) -> None:
        own = [(token_ticks(f.price_ticks, order.outcome), f.size_micro) for f in fills]
        taker = Side(order.account.name, order.outcome, order.is_buy)
        for fill, (own_ticks, size), fee in zip(fills, own, self._fees(order.market, own), strict=True):
            trade = self._trade(
                now_ns, order.market, order, fill, own_ticks, order.outcome, order.is_buy, fee
            )
            maker = _side_of(fill.maker, not order.is_bid)
            bid, ask = (taker, maker) if order.is_bid else (maker, taker)
            flows = self.ledger.match(now_ns, order.market, fill.price_ticks, size, bid, ask, trade.trade_id)
            self.ledger.fee(now_ns, order.account.name, fee, trade.trade_id)
            order.matched_micro += size
            order.usd_micro += abs(flows[not order.is_bid])
            order.fee_micro += fee
            order.trade_ids.append(trade.trade_id)
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
        return size_micro - _total(plan.fills)

    def _settle_foreign(self, now_ns: int, market: Market, is_bid: bool, fill: Fill, commit: _Commit) -> None:
        """Book what a foreign taker matched; among other participants nothing changes hands here."""
        outcome = 0 if is_bid else 1  # it buys YES, or NO: other participants never need shares to sell
        own_ticks = token_ticks(fill.price_ticks, outcome)
        commit.is_buy, commit.outcome = True, outcome
        commit.print_ticks, commit.print_micro = own_ticks, commit.print_micro + fill.size_micro
        if fill.maker is None:
            return
        fee = self._fees(market, [(own_ticks, fill.size_micro)])[0]
        trade = self._trade(now_ns, market, None, fill, own_ticks, outcome, True, fee)
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
        maker.trade_ids.append(trade.trade_id)
        if maker.left_micro < max(1, self.settings.dust_micro):
            maker.status, maker.status_text = Status.MATCHED, "MATCHED"
            del self.open[maker.account.name][maker.order_id]
        self._listener.on_order(now_ns, maker, "UPDATE")

    def _trade(
        self,
        now_ns: int,
        market: Market,
        taker: Order | None,
        fill: Fill,
        own_ticks: int,
        outcome: int,
        is_buy: bool,
        fee_micro: int,
    ) -> Trade:
        self.tally.trades += 1
        drawn = hashlib.sha256(f"{self._name}:trade:{self.tally.trades}".encode()).digest()
        trade_id = str(uuid.UUID(bytes=drawn[:16], version=4))
        trade = Trade(
            trade_id,
            market,
            now_ns,
            own_ticks,
            fill.size_micro,
            outcome,
            is_buy,
            taker,
            fill.maker,
            fee_micro,
            updated_ns=now_ns,
        )
        self.trades[trade_id] = trade
        for name in dict.fromkeys(o.account.name for o in (taker, fill.maker) if o is not None):
            self.trades_of.setdefault(name, []).append(trade)
        chain_hash = "0x" + hashlib.sha256(drawn).hexdigest()
        self._timers.at(now_ns + self.settings.mined_after_ns, self._advance(trade, "MINED", chain_hash))
        self._timers.at(
            now_ns + self.settings.confirmed_after_ns, self._advance(trade, "CONFIRMED", chain_hash)
        )
        return trade

    def _advance(self, trade: Trade, status: str, chain_hash: str) -> Callable[[int], None]:
        def action(now_ns: int) -> None:
            trade.status, trade.transaction_hash, trade.updated_ns = status, chain_hash, now_ns
            self._listener.on_trade(now_ns, trade)

        return action

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
            self._listener.on_trade(now_ns, trade)

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


def _taking(order: Order) -> Taking:
    """A FAK or FOK buy spends its collateral; everything else counts shares (venue sheet 10.5)."""
    if order.is_buy and not order.may_rest:
        return Taking(order.is_bid, order.yes_ticks, order.outcome, budget_micro=order.maker_micro)
    return Taking(order.is_bid, order.yes_ticks, order.outcome, size_micro=order.size_micro)


def _side_of(order: Order | None, is_bid: bool) -> Side:
    """Other participants always buy (YES as bid, NO as ask), so they never need shares that they lack."""
    if order is None:
        return Side(COUNTERPARTY, 0 if is_bid else 1, True)
    return Side(order.account.name, order.outcome, order.is_buy)


def _total(fills: Sequence[Fill]) -> int:
    return sum(fill.size_micro for fill in fills)
