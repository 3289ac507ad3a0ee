"""The user channel: order and trade events of one account, in the venue's text forms.

Source: venue sheet 7 and clients sheet 2.6: `created_at`, `match_time`, `last_update` in seconds, frame
`timestamp` in milliseconds, sizes and prices as decimal strings. No snapshot, no replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from pipeline.sim.auth import Auth
from pipeline.sim.book import Order, Status
from pipeline.sim.settings import ExchangeSettings
from pipeline.sim.trades import Trade
from pipeline.sim.views import order_row, trade_row
from pipeline.units import NS_PER_MS


class UserChannel:
    """Sockets that named an account, and the conditions that each asked for."""

    def __init__(
        self, send: Callable[[int, bytes], None], close: Callable[[int], None], settings: ExchangeSettings
    ) -> None:
        self._send = send
        self._close = close
        self._settings = settings
        self._owners: dict[int, str | None] = {}
        self._markets: dict[int, set[str] | None] = {}  # None = all
        self.bad_texts = 0  # ignored, as on the venue

    def open(self, socket: int) -> None:
        self._owners[socket] = None
        self._markets[socket] = None

    def close(self, socket: int) -> None:
        self._owners.pop(socket, None)
        self._markets.pop(socket, None)

    def on_text(self, socket: int, text: bytes, auth: Auth) -> None:
        """Take a subscribe message; a wrong login closes the socket, anything else unknown is ignored."""
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            self.bad_texts += 1
            return
        markets = message.get("markets") or []
        if not isinstance(markets, list) or not all(isinstance(item, str) for item in markets):
            self.bad_texts += 1
            return
        names = {item.lower() for item in markets}
        if message.get("type") == "user":
            account = auth.account_of(message.get("auth"))
            if account is None:
                self._close(socket)
                return
            self._owners[socket], self._markets[socket] = account.owner, names or None
        elif message.get("operation") == "subscribe":
            self._markets[socket] = (self._markets[socket] or set()) | names
        elif message.get("operation") == "unsubscribe":
            self._markets[socket] = (self._markets[socket] or set()) - names
        else:
            self.bad_texts += 1

    def on_order(self, now_ns: int, order: Order, change: str) -> None:
        if not self._owners:
            return
        event: dict[str, Any] = {"event_type": "order", "type": change, **order_row(order)}
        event |= {"order_owner": order.api_key, "timestamp": str(now_ns // NS_PER_MS)}
        event["created_at"] = str(event["created_at"])
        event["associate_trades"] = list(order.trade_ids) or None
        if order.status is Status.CANCELED and not order.may_rest:
            event["size_matched"] = ""  # a killed order, as captured on the venue
        self._publish(order.account.owner, order.market.condition, event)

    def on_trade(self, now_ns: int, trade: Trade) -> None:
        if not self._owners:
            return
        parties = {o.account.owner: o for o in (trade.maker, trade.taker) if o is not None}
        for owner, order in parties.items():
            event: dict[str, Any] = {"event_type": "trade", "type": "TRADE"}
            event |= trade_row(trade, order.account, order.api_key)
            event |= {"trade_owner": order.api_key, "timestamp": str(now_ns // NS_PER_MS)}
            self._publish(owner, trade.market.condition, event)

    def _publish(self, owner: str, condition: str, event: dict[str, Any]) -> None:
        frame = orjson.dumps(event)
        for socket, listener in self._owners.items():
            wanted = self._markets[socket]
            if listener == owner and (wanted is None or condition.lower() in wanted):
                self._send(socket, frame)
