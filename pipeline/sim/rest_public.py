"""CLOB routes that need no key: time, books, prices, order metadata.

Source: venue sheet 4 and clients sheet 2.2, 2.3, read 2026-11-20. Decimals are strings except where the
venue serves numbers (tick size, fee curve).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.sim import errors_text as texts
from pipeline.sim import geoblock
from pipeline.sim.errors_text import Refusal
from pipeline.sim.gamma import iso_text
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.market import Market
from pipeline.sim.views import book_object, price_text
from pipeline.units import NS_PER_S, PPM, TICKS_PER_USD, decimal_to_int, int_to_decimal

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange

_BUILDER_CODE = re.compile(r"0x[0-9a-fA-F]{64}")
BASE_FEE_BPS = 1000  # cap-like legacy value; the charged fee follows from `fd`


class PublicRoutes:
    """Answers GETs by exact path or prefix, and the POST forms of the price routes."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._token_routes: dict[str, Callable[[Market, int, str], Any]] = {
            "/book": self._book,
            "/price": self._price,
            "/midpoint": lambda market, outcome, _: {"mid": self._mid(market, outcome)},
            "/spread": lambda market, outcome, _: {"spread": self._spread(market, outcome)},
            "/last-trade-price": lambda market, outcome, _: self._last_trade(market, outcome),
            "/tick-size": lambda market, *_: {"minimum_tick_size": market.tick_step / TICKS_PER_USD},
            "/neg-risk": lambda market, *_: {"neg_risk": market.neg_risk},
            "/fee-rate": lambda *_: {"base_fee": BASE_FEE_BPS},
        }

    def get(self, now_ns: int, path: str, query: dict[str, str]) -> Response | None:
        """Answer a public GET; None if the path is not one."""
        if path == geoblock.PATH:
            return self._exchange.geoblock.answer()
        if path == "/time":
            return json_response(now_ns // NS_PER_S)
        if path in ("/", "/ok"):
            return json_response("OK")
        if path == "/version":
            return json_response({"version": 2})
        if path.startswith("/markets-by-token/"):
            return self._by_token(path.rpartition("/")[2])
        if path.startswith("/clob-markets/"):
            return self._clob_market(path.rpartition("/")[2])
        if path.startswith("/fees/builder-fees/"):
            return _builder_fees(path.rpartition("/")[2])
        route = self._token_routes.get(path)
        if route is None:
            return None
        found = self._exchange.market_by_token.get(query.get("token_id", ""))
        if found is None:
            return refuse(texts.NO_ORDERBOOK)
        return _answer(route(*found, query.get("side", "")))

    def post(self, path: str, body: Any) -> Response | None:
        """Answer POST /books and its like; None if the path is not one."""
        if path not in ("/books", "/prices", "/midpoints", "/spreads", "/last-trades-prices"):
            return None
        if not isinstance(body, list) or len(body) > self._exchange.settings.books_max:
            return refuse(texts.INVALID_PAYLOAD)
        rows = []
        for item in body:
            token = item.get("token_id") if isinstance(item, dict) else None
            if not isinstance(token, str):
                return refuse(texts.INVALID_PAYLOAD)
            if token in self._exchange.market_by_token:
                rows.append((token, *self._exchange.market_by_token[token]))
        if path == "/books":
            return json_response([self._book(market, outcome, "") for _, market, outcome in rows])
        if path == "/midpoints":
            return json_response({token: self._mid(market, outcome) for token, market, outcome in rows})
        if path == "/spreads":
            return json_response({token: self._spread(market, outcome) for token, market, outcome in rows})
        if path == "/last-trades-prices":
            return json_response(
                [{"token_id": token, **self._last_trade(m, outcome)} for token, m, outcome in rows]
            )
        return json_response({token: self._both_prices(market, outcome) for token, market, outcome in rows})

    def _book(self, market: Market, outcome: int, _side: str) -> dict[str, Any]:
        bids, asks = self._exchange.levels(market, True), self._exchange.levels(market, False)
        return book_object(market, outcome, bids, asks, self._exchange.engine.changed_ns[market.condition])

    def _best(self, market: Market, outcome: int) -> tuple[int | None, int | None]:
        """Return the best bid and ask of the token in ticks."""
        sides = [self._exchange.levels(market, is_bid) for is_bid in (True, False)]
        bid, ask = (side[0][0] if side else None for side in sides)
        if outcome == 0:
            return bid, ask
        return (None if ask is None else TICKS_PER_USD - ask), (None if bid is None else TICKS_PER_USD - bid)

    def _price(self, market: Market, outcome: int, side: str) -> dict[str, str] | Refusal:
        prices = self._both_prices(market, outcome)
        return {"price": prices[side]} if side in prices else texts.INVALID_PAYLOAD

    def _both_prices(self, market: Market, outcome: int) -> dict[str, str]:
        bid, ask = self._best(market, outcome)
        return {"BUY": price_text(bid or 0), "SELL": price_text(TICKS_PER_USD if ask is None else ask)}

    def _mid(self, market: Market, outcome: int) -> str:
        bid, ask = self._best(market, outcome)
        return int_to_decimal(((bid or 0) + (TICKS_PER_USD if ask is None else ask)) * 5, 5)

    def _spread(self, market: Market, outcome: int) -> str:
        bid, ask = self._best(market, outcome)
        return price_text((TICKS_PER_USD if ask is None else ask) - (bid or 0))

    def _last_trade(self, market: Market, _outcome: int) -> dict[str, str]:
        return {"price": market.last_trade or "0.5", "side": "BUY" if market.last_trade else ""}

    def _by_token(self, token: str) -> Response:
        found = self._exchange.market_by_token.get(token)
        if found is None:
            return refuse(texts.MARKET_NOT_FOUND)
        first, second = sorted(found[0].tokens, key=int)  # by number, not by outcome (venue sheet 4)
        row = {"condition_id": found[0].condition, "primary_token_id": first, "secondary_token_id": second}
        return json_response(row)

    def _clob_market(self, condition: str) -> Response:
        market = self._exchange.engine.markets.get(condition)
        return refuse(texts.MARKET_NOT_FOUND) if market is None else json_response(compact_market(market))


def compact_market(market: Market) -> dict[str, Any]:
    """Return what `/clob-markets` says of a market (venue sheet 4)."""
    minimum = decimal_to_int(market.min_order_size, 2)
    row: dict[str, Any] = {
        "t": [{"t": token, "o": name} for token, name in zip(market.tokens, market.outcomes, strict=True)],
        "c": market.condition,
        "mos": minimum // 100 if minimum % 100 == 0 else minimum / 100,
        "mts": market.told_tick_step / TICKS_PER_USD,
        "mbf": BASE_FEE_BPS,
        "tbf": BASE_FEE_BPS,
        "ao": market.accepting,
        "v": market.version,
    }
    if market.neg_risk:
        row["nr"] = True
    if market.seconds_delay:
        row["sd"] = market.seconds_delay
    if market.delays_takers:
        row["itode"] = True
    if market.starts_s:
        row["aot"] = iso_text(market.starts_s)
    if market.game_start_s:
        row["gst"] = iso_text(market.game_start_s)
    if market.clears_on_start:
        row["cbos"] = True
    if market.fee_rate_ppm:
        row["fd"] = {"r": market.fee_rate_ppm / PPM, "e": market.fee_exponent, "to": True}
    return row


def _builder_fees(code: str) -> Response:
    """No builder takes a fee here; what is no code is not found."""
    if _BUILDER_CODE.fullmatch(code) is None:
        return refuse(texts.NOT_FOUND)
    return json_response({"builder_maker_fee_rate_bps": 0, "builder_taker_fee_rate_bps": 0})


def _answer(value: Any) -> Response:
    return refuse(value) if isinstance(value, Refusal) else json_response(value)
