"""Placing and cancelling: POST /order(s), DELETE /order(s), /cancel-all, /cancel-market-orders.

Source: venue sheet 11.1 and 11.2, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from pipeline.sim import errors_text as texts
from pipeline.sim.accounts import Account
from pipeline.sim.book import Order, Status
from pipeline.sim.errors_text import Refusal
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.later import Later
from pipeline.sim.orders import Payload, parse, prove
from pipeline.sim.trades import OrderArrival, Placed
from pipeline.sim.views import size_text

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange

Answer = Response | Later[Response]
Handler = Callable[[int, Any, Account, str], Answer]


class OrderRoutes:
    """Handlers by (method, path); each takes (now_ns, decoded body, account, api_key)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._batches = 0
        self._handlers: dict[tuple[str, str], Handler] = {
            ("POST", "/order"): self._place_one,
            ("POST", "/orders"): self._place_many,
            ("DELETE", "/order"): self._cancel_one,
            ("DELETE", "/orders"): self._cancel_many,
            ("DELETE", "/cancel-all"): self._cancel_all,
            ("DELETE", "/cancel-market-orders"): self._cancel_market,
        }

    def handler(self, method: str, path: str) -> Handler | None:
        found = self._handlers.get((method, path))
        return self._unless_down(found) if found is not None and method == "DELETE" else found

    def _unless_down(self, cancel: Handler) -> Handler:
        def guarded(now_ns: int, value: Any, account: Account, api_key: str) -> Answer:
            refused = self._exchange.engine.mode.refuse_cancel(now_ns)
            return refuse(refused) if refused is not None else cancel(now_ns, value, account, api_key)

        return guarded

    def cancel_key(self, now_ns: int, account: Account, api_key: str) -> None:
        """Cancel every resting order of an API key (the dead man's switch)."""
        self._cancel(now_ns, [order for order in self._open(account) if order.api_key == api_key])

    def _place_one(self, now_ns: int, value: Any, account: Account, api_key: str) -> Answer:
        refused = self._exchange.engine.mode.refuse_order(now_ns, _is_post_only(value))
        if refused is not None:
            return refuse(refused)
        self._batches += 1
        placed = self._place(now_ns, value, account, api_key)
        return _when_matched([placed], lambda legs: _one_answer(legs[0]))

    def _place_many(self, now_ns: int, value: Any, account: Account, api_key: str) -> Answer:
        if not isinstance(value, list) or not value:
            return refuse(texts.INVALID_PAYLOAD)
        count_max = self._exchange.settings.batch_orders_max
        if len(value) > count_max:
            return refuse(texts.too_many(len(value), count_max))
        # Whether the venue refuses a batch whole for one leg that may take is unconfirmed; we do.
        refused = self._exchange.engine.mode.refuse_order(now_ns, all(map(_is_post_only, value)))
        if refused is not None:
            return refuse(refused)
        self._batches += 1
        legs = [self._place(now_ns, body, account, api_key) for body in value]
        return _when_matched(legs, lambda ended: json_response([_row(leg) for leg in ended]))

    def _place(self, now_ns: int, body: Any, account: Account, api_key: str) -> Placed | Refusal:
        payload = parse(body)
        if isinstance(payload, Refusal):
            return payload
        exchange = self._exchange
        order = prove(now_ns, payload, account, api_key, exchange.market_by_token, exchange.settings)
        if isinstance(order, Refusal):
            self._note(now_ns, payload, account, None, order)
            return order
        placed = exchange.engine.submit(now_ns, order)
        self._note(now_ns, payload, account, order, placed)
        return placed

    def _note(
        self, now_ns: int, payload: Payload, account: Account, order: Order | None, placed: Placed | Refusal
    ) -> None:
        fields = payload.fields
        account = account.purse(fields["signatureType"], fields["maker"]) or account
        found = self._exchange.market_by_token.get(str(fields["tokenId"]))
        if found is None:
            return
        self._exchange.note_arrival(
            OrderArrival(
                now_ns=now_ns,
                batch=self._batches,
                order_id=order.order_id if order else "",
                account=account.name,
                market=found[0],
                outcome=found[1],
                is_buy=payload.is_buy,
                order_type=payload.order_type.value,
                price_ticks=order.price_ticks if order else 0,
                maker_micro=fields["makerAmount"],
                taker_micro=fields["takerAmount"],
                error=placed.text if isinstance(placed, Refusal) else "",
                filled=()
                if isinstance(placed, Refusal)
                else tuple((t.price_ticks, t.size_micro) for t in placed.trades),
            )
        )

    def _cancel_one(self, now_ns: int, value: Any, account: Account, _api_key: str) -> Response:
        order_id = value.get("orderID") if isinstance(value, dict) else None
        if not isinstance(order_id, str):
            return refuse(texts.INVALID_PAYLOAD)
        return self._cancel_ids(now_ns, [order_id], account)

    def _cancel_many(self, now_ns: int, value: Any, account: Account, _api_key: str) -> Response:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return refuse(texts.INVALID_PAYLOAD)
        count_max = self._exchange.settings.batch_cancels_max
        if len(value) > count_max:
            return refuse(texts.too_many(len(value), count_max))
        return self._cancel_ids(now_ns, value, account)

    def _cancel_all(self, now_ns: int, _value: Any, account: Account, _api_key: str) -> Response:
        return self._cancel(now_ns, self._open(account))

    def _cancel_market(self, now_ns: int, value: Any, account: Account, _api_key: str) -> Response:
        market = value.get("market") if isinstance(value, dict) else None
        token = value.get("asset_id") if isinstance(value, dict) else None
        if not market and not token:
            return refuse(texts.INVALID_PAYLOAD)
        hit = [
            order
            for order in self._open(account)
            if market in (None, "", order.market.condition)
            and token in (None, "", order.market.tokens[order.outcome])
        ]
        return self._cancel(now_ns, hit)

    def _cancel_ids(self, now_ns: int, order_ids: Iterable[str], account: Account) -> Response:
        live, dead = [], {}
        for order_id in dict.fromkeys(order_ids):
            order = self._exchange.engine.orders.get(order_id)
            if order is None or order.account not in account.purses:
                dead[order_id] = texts.ORDER_UNKNOWN
            elif order.status is Status.DELAYED:
                dead[order_id] = texts.ORDER_HELD
            elif order.status is not Status.LIVE:
                dead[order_id] = texts.ALREADY_GONE
            else:
                live.append(order)
        return self._cancel(now_ns, live, dead)

    def _cancel(self, now_ns: int, orders: list[Order], dead: dict[str, str] | None = None) -> Response:
        self._exchange.engine.cancel(now_ns, orders)
        return json_response({"canceled": [order.order_id for order in orders], "not_canceled": dead or {}})

    def _open(self, account: Account) -> list[Order]:
        held = self._exchange.engine.open
        return [order for purse in account.purses for order in held.get(purse.name, {}).values()]


def _is_post_only(body: Any) -> bool:
    return isinstance(body, dict) and body.get("postOnly") is True


def _when_matched(
    legs: list[Placed | Refusal], render: Callable[[list[Placed | Refusal]], Response]
) -> Answer:
    """Render the answer once no leg waits out a hold any more."""
    waiting = {
        place: leg.after_hold
        for place, leg in enumerate(legs)
        if isinstance(leg, Placed) and leg.after_hold is not None
    }
    if not waiting:
        return render(legs)
    answer: Later[Response] = Later()

    def end(place: int, now_ns: int, ended: Placed | Refusal) -> None:
        legs[place] = ended
        del waiting[place]
        if not waiting:
            answer.give(now_ns, render(legs))

    for place, after in list(waiting.items()):
        after.then(partial(end, place))
    return answer


def _one_answer(placed: Placed | Refusal) -> Response:
    return refuse(placed) if isinstance(placed, Refusal) else json_response(_accepted(placed))


def _row(placed: Placed | Refusal) -> dict[str, Any]:
    return _rejected(placed) if isinstance(placed, Refusal) else _accepted(placed)


def _accepted(placed: Placed) -> dict[str, Any]:
    order = placed.order
    usd, shares = size_text(order.usd_micro), size_text(order.matched_micro)
    making, taking = (usd, shares) if order.is_buy else (shares, usd)
    return {
        "success": True,
        "errorMsg": "",
        "orderID": order.order_id,
        "status": placed.status,
        "makingAmount": making if placed.trades else "",
        "takingAmount": taking if placed.trades else "",
        "transactionsHashes": [],  # matches are committed later, as on the venue since 2026-07-24
        "tradeIDs": [trade.trade_id for trade in placed.trades if trade.is_named],
    }


def _rejected(refusal: Refusal) -> dict[str, Any]:
    """A refused leg keeps `success` true, as seen on the venue: only an empty errorMsg is an acceptance."""
    return {
        "success": True,
        "errorMsg": refusal.text,
        "orderID": "",
        "status": "",
        "makingAmount": "",
        "takingAmount": "",
        "transactionsHashes": [],
        "tradeIDs": [],
    }
