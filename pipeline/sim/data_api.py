"""The data API: positions, trades, value and approvals of a wallet, as an indexer of the chain sees them.

Reads the exchange's ledger and trades. A trade counts here from the moment that it has a transaction.
Source: venue sheet 13 and 2.3, clients sheet 2.5, read 2026-11-20. Numbers are JSON doubles as on the venue:
for display, never for risk. Not served: activity, combos, leaderboards, series of profit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pipeline.sim import contracts
from pipeline.sim.accounts import Account
from pipeline.sim.book import Order
from pipeline.sim.errors_text import NOT_FOUND, Refusal
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.market import Market
from pipeline.sim.paging import cursor_of, page_of, place_of
from pipeline.sim.rest_markets import shown_ticks
from pipeline.sim.trades import Trade
from pipeline.units import MICRO, NS_PER_S, TICKS_PER_USD, cost_micro, proceeds_micro

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
DUST_MICRO = 100_000  # positions below 0.1 share are not listed
CONDITIONS_MAX = 20
STATUSES = ("OPEN", "REDEEMABLE", "REDEEMABLE_LOST", "MERGEABLE", "CLOSED")
Query = dict[str, str]


@dataclass(slots=True)
class Holding:
    """What an account's trades made of one token; sizes 1e-6 share, money 1e-6 USD."""

    size_micro: int = 0
    cost_micro: int = 0  # of what is still held, at average price, without fees
    bought_micro: int = 0
    spent_micro: int = 0
    realized_micro: int = 0
    first_ns: int = 0
    last_ns: int = 0

    def add(self, now_ns: int, is_buy: bool, price_ticks: int, size_micro: int) -> None:
        """Count one fill; a sale realises its part of the average cost."""
        self.first_ns, self.last_ns = self.first_ns or now_ns, now_ns
        if is_buy:
            spent = cost_micro(price_ticks, size_micro)
            self.bought_micro, self.spent_micro = self.bought_micro + size_micro, self.spent_micro + spent
            self.size_micro, self.cost_micro = self.size_micro + size_micro, self.cost_micro + spent
            return
        part = self.cost_micro * min(size_micro, self.size_micro) // (self.size_micro or 1)
        self.realized_micro += proceeds_micro(price_ticks, size_micro) - part
        self.size_micro, self.cost_micro = max(0, self.size_micro - size_micro), self.cost_micro - part


class DataApi:
    """Answers the data service's requests; a `Routes` of the exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._routes: dict[str, Callable[[Query, Account | None], Response]] = {
            "/v2/positions": self._positions,
            "/v2/trades": self._trades,
            "/v2/value": self._value,
            "/v2/approvals": self._approvals,
        }

    def on_request(
        self, now_ns: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Answer one GET; anything else is refused."""
        path, _, text = target.partition("?")
        query = dict(parse_qsl(text, keep_blank_values=True))
        route = self._routes.get(path)
        if method != "GET" or route is None:
            return refuse(NOT_FOUND if method == "GET" else Refusal("method not allowed", 405))
        user = query.get("user", "")
        if not user and path != "/v2/trades":
            return refuse(Refusal("user expected: the address of a wallet"))
        account = self._exchange.account_of_wallet(user)
        if len(_conditions(query)) > CONDITIONS_MAX:
            count = len(_conditions(query))
            return refuse(Refusal(f"at most {CONDITIONS_MAX} conditions expected, was {count}"))
        return route(query, account)

    # -- positions ----------------------------------------------------------------------------

    def _positions(self, query: Query, account: Account | None) -> Response:
        status = query.get("status", "OPEN")
        if status not in STATUSES:
            return refuse(Refusal(f"status out of {', '.join(STATUSES)} expected, was {status}"))
        if account is None or status.startswith("REDEEMABLE"):  # here a resolution redeems at once
            return _page(query, [])
        held = self._exchange.ledger.positions(account.name)
        conditions, rows = _conditions(query), []
        for token, holding in self._holdings(account, held).items():
            market, outcome = self._exchange.market_by_token[token]
            size = held.get(token, 0)
            is_whole = size >= DUST_MICRO and held.get(market.tokens[1 - outcome], 0) >= DUST_MICRO
            is_wanted = {"OPEN": size >= DUST_MICRO, "CLOSED": not size, "MERGEABLE": is_whole}[status]
            if is_wanted and (not conditions or market.condition.lower() in conditions):
                ticks = shown_ticks(self._exchange, market, outcome)
                row = _position(account, market, outcome, size, ticks, holding)
                rows.append(row | {"status": "OPEN" if size else "CLOSED", "mergeable": is_whole})
        return _page(query, rows)

    def _holdings(self, account: Account, held: Mapping[str, int]) -> dict[str, Holding]:
        """Return every token that the account trades or holds."""
        found: dict[str, Holding] = {}
        for trade in self._exchange.engine.trades_of.get(account.name, []):
            for order in _own_orders(trade, account):
                token = trade.market.tokens[order.outcome]
                holding = found.setdefault(token, Holding())
                holding.add(trade.now_ns, order.is_buy, _own_ticks(trade, order), trade.size_micro)
        for token in held:
            found.setdefault(token, Holding())
        return found

    def _value(self, query: Query, account: Account | None) -> Response:
        total = 0
        for token, size in self._exchange.ledger.positions(account.name).items() if account else ():
            market, outcome = self._exchange.market_by_token[token]
            if not _conditions(query) or market.condition.lower() in _conditions(query):
                total += proceeds_micro(shown_ticks(self._exchange, market, outcome), size)
        return json_response({"data": {"proxy_wallet": query["user"], "value": total / MICRO}})

    # -- trades -------------------------------------------------------------------------------

    def _trades(self, query: Query, account: Account | None) -> Response:
        if query.get("user") and account is None:
            return _page(query, [])
        engine = self._exchange.engine
        newest: Iterable[Trade] = reversed(list(engine.trades_of.get(account.name, []) if account else
                                                engine.trades.values()))
        bounds = [query.get("start", "0"), query.get("end", str(1 << 40))]
        if not all(text.isascii() and text.isdigit() for text in bounds):
            return refuse(Refusal("start and end expected in seconds"))
        start_s, end_s = (int(text) for text in bounds)
        rows = (
            _trade(trade, order)
            for trade in newest
            if trade.transaction_hash and start_s <= trade.now_ns // NS_PER_S <= end_s
            for order in _own_orders(trade, account)
            if (query.get("taker_only", "").lower() != "true" or order is trade.taker)
            and (not _conditions(query) or trade.market.condition.lower() in _conditions(query))
            and query.get("side", "") in ("", "BUY" if order.is_buy else "SELL")
        )
        return _page(query, rows)

    # -- approvals ----------------------------------------------------------------------------

    def _approvals(self, query: Query, account: Account | None) -> Response:
        """Answer every pair that trading needs; a wallet that nobody knows has approved nothing."""
        rows: list[dict[str, Any]] = []
        catalog = (("ERC20", contracts.ERC20_APPROVALS), ("ERC1155", contracts.ERC1155_APPROVALS))
        for standard, pairs in catalog:
            for token, spender in pairs:
                amount = account.allowance(token, spender) if account else 0
                row = {"token": token, "spender": spender, "standard": standard, "approved": amount > 0}
                if standard == "ERC20":
                    row["amount"] = "max" if amount == contracts.UNLIMITED else str(amount)
                rows.append(row)
        chain_id = self._exchange.settings.chain_id
        return json_response({"data": {"address": query["user"], "chain_id": chain_id, "contracts": rows}})


def _own_orders(trade: Trade, account: Account | None) -> list[Order]:
    """Return the account's orders in a trade, or those of all accounts."""
    return [
        order for order in (trade.taker, trade.maker)
        if order is not None and (account is None or order.account is account)
    ]


def _own_ticks(trade: Trade, order: Order) -> int:
    return trade.price_ticks if order.outcome == trade.outcome else TICKS_PER_USD - trade.price_ticks


def _conditions(query: Query) -> set[str]:
    text = query.get("condition_id") or query.get("condition") or ""
    return {part.lower() for part in text.split(",") if part}


def _position(
    account: Account, market: Market, outcome: int, size: int, price_ticks: int, holding: Holding
) -> dict[str, Any]:
    value = proceeds_micro(price_ticks, size)
    gain = value - holding.cost_micro if size else 0
    average = holding.spent_micro / holding.bought_micro if holding.bought_micro else 0.0
    spent = holding.spent_micro or 1
    return {
        "proxy_wallet": account.wallet,
        "token_id": market.tokens[outcome],
        "condition_id": market.condition,
        "current_size": size / MICRO,
        "avg_price": average,
        "entry_cost_usdc": holding.cost_micro / MICRO,
        "entry_fees_usdc": 0,
        "total_cost_usdc": holding.spent_micro / MICRO,
        "current_price": price_ticks / TICKS_PER_USD,
        "current_value": value / MICRO,
        "total_size": holding.bought_micro / MICRO,
        "realized_pnl": holding.realized_micro / MICRO,
        "unrealized_pnl": gain / MICRO,
        "total_pnl": (gain + holding.realized_micro) / MICRO,
        "percent_pnl": 100 * gain / spent,
        "percent_realized_pnl": 100 * holding.realized_micro / spent,
        "redeemable": False,
        "negative_risk": market.neg_risk,
        "archived": False,
        "verified": True,
        "title": market.question,
        "slug": market.slug,
        "icon": "",
        "event_id": market.event_id,
        "event_slug": market.event_slug,
        "outcome": market.outcomes[outcome],
        "outcome_index": outcome,
        "opposite_outcome": market.outcomes[1 - outcome],
        "opposite_token_id": market.tokens[1 - outcome],
        "end_date": "",
        "first_entry_at": holding.first_ns // NS_PER_S,
        "last_event_at": holding.last_ns // NS_PER_S,
    }


def _trade(trade: Trade, order: Order) -> dict[str, Any]:
    market, outcome = trade.market, order.outcome
    return {
        "proxy_wallet": order.account.wallet,
        "token_id": market.tokens[outcome],
        "condition_id": market.condition,
        "side": "BUY" if order.is_buy else "SELL",
        "size": trade.size_micro / MICRO,
        "price": _own_ticks(trade, order) / TICKS_PER_USD,
        "timestamp": trade.now_ns // NS_PER_S,
        "transaction_hash": trade.transaction_hash,
        "title": market.question,
        "slug": market.slug,
        "event_slug": market.event_slug,
        "outcome": market.outcomes[outcome],
        "outcome_index": outcome,
    }


def _page(query: Query, rows: Iterable[dict[str, Any]]) -> Response:
    """Answer one page: `has_more` and `next_cursor` agree, a null cursor is the end."""
    text = query.get("limit", str(PAGE_DEFAULT))
    limit = int(text) if text.isascii() and text.isdigit() else 0
    start = place_of(query.get("cursor", ""))
    if start is None or not 1 <= limit <= PAGE_MAX:
        return refuse(Refusal(f"a limit from 1 to {PAGE_MAX} and a cursor of the page before expected"))
    page, has_more = page_of(rows, start, limit)
    cursor = cursor_of(start + limit) if has_more else None
    pagination = {"limit": limit, "has_more": has_more, "next_cursor": cursor}
    return json_response({"data": page, "pagination": pagination})
