"""What an account may read, and its heartbeat.

Source: venue sheet 12 and 13, clients sheet 2.5, read 2026-11-20. Lists end with the cursor "LTE=".
"""

from __future__ import annotations

import hashlib
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import merge
from typing import TYPE_CHECKING, Any

from pipeline.sim import errors_text as texts
from pipeline.sim.accounts import Account
from pipeline.sim.book import Order
from pipeline.sim.contracts import SPENDERS, TOKENS
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.ledger import USD
from pipeline.sim.paging import clob_page
from pipeline.sim.rest_orders import OrderRoutes
from pipeline.sim.views import order_row, trade_row
from pipeline.units import NS_PER_S

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange
    from pipeline.sim.trades import Trade



@dataclass(slots=True)
class Pulse:
    """The armed heartbeat of one API key."""

    heartbeat_id: str
    beat_ns: int


class AccountRoutes:
    def __init__(self, exchange: Exchange, orders: OrderRoutes, seed: int) -> None:
        self._exchange = exchange
        self._orders = orders
        self._seed = seed
        self._beats = 0
        self._pulses: dict[str, Pulse] = {}

    def answer(
        self,
        now_ns: int,
        method: str,
        path: str,
        query: dict[str, str],
        value: Any,
        account: Account,
        api_key: str,
    ) -> Response | None:
        """Answer an authenticated request that places or cancels nothing; None if no such route."""
        if method == "POST" and path == "/orders-scoring":
            return _scoring(value)
        if method == "POST":
            return self._heartbeat(now_ns, path, value, account, api_key)
        if method == "DELETE":
            return json_response("OK") if path == "/notifications" else None
        if path == "/data/orders":
            return self._open_orders(query, account)
        if path == "/data/trades":
            return self._trades(query, account)
        if path.startswith("/data/order/"):
            order = self._exchange.engine.orders.get(path.removeprefix("/data/order/"))
            is_own = order is not None and order.account in account.purses
            return json_response(order_row(order)) if order and is_own else refuse(texts.NOT_FOUND)
        if path in ("/balance-allowance", "/balance-allowance/update"):
            return self._balance(query, account, is_anew=path.endswith("/update"))
        if path == "/auth/ban-status/closed-only":
            return json_response({"closed_only": account.closed_only})
        if path == "/order-scoring":  # without rewards no order scores
            return json_response({"scoring": False})
        if path == "/data/pre-migration-orders":
            return self._page(query, [], order_row)
        return json_response([]) if path == "/notifications" else None

    def _open_orders(self, query: dict[str, str], account: Account) -> Response:
        rows = [
            order
            for purse in account.purses
            for order in self._exchange.engine.open.get(purse.name, {}).values()
            if query.get("id") in (None, "", order.order_id)
            and query.get("market") in (None, "", order.market.condition)
            and query.get("asset_id") in (None, "", order.market.tokens[order.outcome])
        ]
        return self._page(query, rows, order_row)

    def _trades(self, query: dict[str, str], account: Account) -> Response:
        """Newest first, as clients expect of the first page."""
        mine = self._trades_of(account)
        if query.get("id"):
            mine = [trade for trade in mine if trade.trade_id == query["id"]]
        after = query.get("after", "")
        since_s = int(after) if after.isdigit() else -1
        newest = mine[bisect_right(mine, since_s, key=lambda trade: trade.now_ns // NS_PER_S):][::-1]
        filters = _trade_filters(query, account)
        # without filters islice steps over the pages before at C speed: a walk over all stays quick
        rows = (trade for trade in newest if all(one(trade) for one in filters)) if filters else newest
        return self._page(query, rows, lambda trade: _row(trade, account))

    def _trades_of(self, account: Account) -> list[Trade]:
        """Return the owner's trades, oldest first; one between two of its wallets comes once."""
        found = [self._exchange.engine.trades_of.get(purse.name, []) for purse in account.purses]
        if len(found) == 1:
            return found[0]
        return list(dict.fromkeys(merge(*found, key=lambda trade: trade.now_ns)))

    def _page(
        self, query: dict[str, str], rows: Iterable[Any], render: Callable[[Any], dict[str, Any]]
    ) -> Response:
        """Answer with one page; what lies behind it is not looked at."""
        return clob_page(query, rows, render, self._exchange.settings.page_rows_max)

    def _balance(self, query: dict[str, str], account: Account, is_anew: bool) -> Response:
        """Answer what is settled; what moved without a trade stays as remembered until somebody asks anew."""
        kind = query.get("asset_type", "")
        asset = USD if kind == "COLLATERAL" else query.get("token_id", "")
        if kind not in SPENDERS:
            return refuse(texts.INVALID_PAYLOAD)
        if asset != USD and asset not in self._exchange.market_by_token:
            return refuse(texts.MARKET_NOT_FOUND)
        named = query.get("signature_type", "")
        purse = (account.purse(int(named)) if named.isascii() and named.isdigit() else None) or account
        balance = self._exchange.engine.funds.settled_micro(purse, asset)
        if is_anew:
            self._exchange.moved_micro.pop((purse.name, asset), None)
        balance = max(0, balance - self._exchange.moved_micro.get((purse.name, asset), 0))
        allowances = {spender: str(purse.allowance(TOKENS[kind], spender)) for spender in SPENDERS[kind]}
        return json_response({"balance": str(balance), "allowances": allowances})

    def _heartbeat(
        self, now_ns: int, path: str, value: Any, account: Account, api_key: str
    ) -> Response | None:
        """Take a beat: "" arms it; later each beat names the id of the answer before."""
        if path == "/heartbeats":
            self._beat(now_ns, account, api_key)
            return json_response({"status": "ok"})
        if path != "/v1/heartbeats":
            return None
        given = value.get("heartbeat_id") if isinstance(value, dict) else None
        pulse = self._pulses.get(api_key)
        if not isinstance(given, str):
            return refuse(texts.INVALID_PAYLOAD)
        expected = pulse.heartbeat_id if pulse else ""
        if given != expected:
            text = "Invalid Heartbeat ID"
            return json_response({"error": text, "error_msg": text, "heartbeat_id": expected}, 400)
        return json_response({"heartbeat_id": self._beat(now_ns, account, api_key)})

    def _beat(self, now_ns: int, account: Account, api_key: str) -> str:
        self._beats += 1
        drawn = hashlib.sha256(f"{self._seed}:heartbeat:{self._beats}".encode()).digest()
        pulse = Pulse(str(uuid.UUID(bytes=drawn[:16], version=4)), now_ns)
        self._pulses[api_key] = pulse
        due_ns = now_ns + self._exchange.settings.heartbeat_silence_ns
        self._exchange.timers.at(due_ns, lambda at_ns: self._check_pulse(at_ns, pulse, account, api_key))
        return pulse.heartbeat_id

    def _check_pulse(self, now_ns: int, pulse: Pulse, account: Account, api_key: str) -> None:
        """Fire once if no beat followed this one; afterwards the key is not armed any more."""
        if self._pulses.get(api_key) is pulse:
            del self._pulses[api_key]
            self._orders.cancel_key(now_ns, account, api_key)


def _scoring(value: Any) -> Response:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return refuse(texts.INVALID_PAYLOAD)
    return json_response(dict.fromkeys(value, False))


def _trade_filters(query: dict[str, str], account: Account) -> list[Callable[[Trade], bool]]:
    """Return what the query asks of each trade, `id` and `after` apart."""
    found: list[Callable[[Trade], bool]] = []
    market, token = query.get("market"), query.get("asset_id")
    maker, before = query.get("maker_address", ""), query.get("before", "")
    if market:
        found.append(lambda trade: trade.market.condition == market)
    if token:
        found.append(lambda trade: token in _tokens_of(trade, account))
    if maker:
        found.append(lambda trade: _viewer(trade, account).wallet.lower() == maker.lower())
    if before.isdigit():
        found.append(lambda trade: trade.now_ns // NS_PER_S < int(before))
    return found


def _tokens_of(trade: Trade, account: Account) -> list[str]:
    """Return the tokens under which the account may look for the trade."""
    return [trade.market.tokens[order.outcome] for order in _own_orders(trade, account)]


def _own_orders(trade: Trade, account: Account) -> list[Order]:
    """Return the owner's orders in the trade, the taker's first."""
    return [order for order in (trade.taker, trade.maker) if order and order.account in account.purses]


def _viewer(trade: Trade, account: Account) -> Account:
    own = _own_orders(trade, account)
    return own[0].account if own else account


def _row(trade: Trade, account: Account) -> dict[str, Any]:
    own = _own_orders(trade, account)
    return trade_row(trade, _viewer(trade, account), own[0].api_key if own else "")
