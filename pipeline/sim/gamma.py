"""Market metadata as the venue's Gamma service answers it: strings in strings, keyset cursors.

Reads: the exchange's markets. Source: venue sheet 3, clients sheet 2.2 (read 2026-11-20). Planted
events carry the tag `planted`. `next_cursor` is absent on the last page.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import orjson

from pipeline.sim import identity
from pipeline.sim.errors_text import Refusal
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.market import Market
from pipeline.sim.render import PRICE_TEXT
from pipeline.units import PPM, TICKS_PER_USD, int_to_decimal

PAGE_MAX = 100
PAGE_DEFAULT = 20
NOT_FOUND = Refusal("not found", 404)
START_DATE = "2026-01-01T00:00:00Z"
END_DATE = "2026-12-31T00:00:00Z"

T = TypeVar("T")
Query = dict[str, list[str]]
BestPrices = Callable[[Market], tuple[int | None, int | None]]


def market_number(market: Market) -> str:
    """Return the market's Gamma id."""
    return identity.number("market", market.condition)


def market_object(market: Market, best: tuple[int | None, int | None] = (None, None)) -> dict[str, Any]:
    """Return the Gamma market object; `best` = (bid, ask) of YES in ticks."""
    bid, ask = best
    resolved = market.payout_micro
    middle = TICKS_PER_USD // 2 if bid is None and ask is None else ((bid or 0) + (ask or TICKS_PER_USD)) // 2
    prices = (
        [PRICE_TEXT[middle], PRICE_TEXT[TICKS_PER_USD - middle]]
        if resolved is None
        else [int_to_decimal(payout, 6) for payout in resolved]
    )
    question_id = (
        identity.question_id(market.neg_risk_market_id, market.outcome_index)
        if market.neg_risk_market_id
        else "0x" + identity.digest("question", market.condition).hex()
    )
    row: dict[str, Any] = {
        "id": market_number(market),
        "version": market.version,
        "slug": market.slug,
        "question": market.question,
        "groupItemTitle": market.group_item_title,
        "conditionId": market.condition,
        "questionID": question_id,
        "outcomes": _text(list(market.outcomes)),
        "outcomePrices": _text(prices),
        "clobTokenIds": _text(list(market.tokens)),
        "positionIds": None if market.version == "v1" else list(market.tokens),
        "active": True,
        "closed": resolved is not None,
        "archived": False,
        "acceptingOrders": market.accepting and resolved is None,
        "acceptingOrdersTimestamp": START_DATE,
        "enableOrderBook": True,
        "negRisk": market.neg_risk,
        "startDate": START_DATE,
        "endDate": END_DATE,
        "orderPriceMinTickSize": market.tick_step / TICKS_PER_USD,
        "orderMinSize": _number(market.min_order_size),
        "secondsDelay": market.seconds_delay,
        "feesEnabled": market.fee_rate_ppm > 0,
        "feeType": "local_fees",
        "takerBaseFee": 1000,
        "makerBaseFee": 1000,
        "volume": "0",
        "volumeNum": 0,
        "volume24hr": 0,
        "liquidity": "0",
        "liquidityNum": 0,
        "umaResolutionStatus": "resolved" if resolved is not None else "",
        "resolutionSource": "",
        "lastTradePrice": _number(market.last_trade or "0"),
        "tags": [{"id": identity.number("tag", tag), "slug": tag, "label": tag} for tag in market.tags],
        "events": [{"id": market.event_id, "slug": market.event_slug}],
    }
    return row | _fee_part(market) | _neg_risk_part(market) | _quote_part(bid, ask)


def _fee_part(market: Market) -> dict[str, Any]:
    if not market.fee_rate_ppm:
        return {}
    schedule = {
        "rate": market.fee_rate_ppm / PPM,
        "exponent": market.fee_exponent,
        "takerOnly": True,
        "rebateRate": 0.25,
    }
    return {"feeSchedule": schedule}


def _neg_risk_part(market: Market) -> dict[str, Any]:
    if not market.neg_risk:
        return {}
    request = "0x" + identity.digest("request", market.condition).hex()
    return {"negRiskMarketID": market.neg_risk_market_id, "negRiskRequestID": request}


def _quote_part(bid: int | None, ask: int | None) -> dict[str, Any]:
    part: dict[str, Any] = {}
    if bid is not None:
        part["bestBid"] = bid / TICKS_PER_USD
    if ask is not None:
        part["bestAsk"] = ask / TICKS_PER_USD
    if bid is not None and ask is not None:
        part["spread"] = (ask - bid) / TICKS_PER_USD
    return part


def event_object(markets: Sequence[Market], best: BestPrices) -> dict[str, Any]:
    """Return the Gamma event object that holds these markets, in outcome order."""
    first = markets[0]
    rows = [market_object(market, best(market)) for market in markets]
    for row in rows:
        del row["events"]
    return {
        "id": first.event_id,
        "slug": first.event_slug,
        "ticker": first.event_slug,
        "title": first.event_title,
        "active": True,
        "closed": all(market.payout_micro is not None for market in markets),
        "archived": False,
        "enableOrderBook": True,
        "negRisk": first.neg_risk,
        "enableNegRisk": first.neg_risk,
        "negRiskMarketID": first.neg_risk_market_id,
        "negRiskFeeBips": 0,
        "negRiskAugmented": first.augmented,
        "cumulativeMarkets": False,
        "volume": 0,
        "volume24hr": 0,
        "liquidity": 0,
        "openInterest": 0,
        "startDate": START_DATE,
        "endDate": END_DATE,
        "tags": [{"id": identity.number("tag", tag), "slug": tag, "label": tag} for tag in first.tags],
        "series": [],
        "markets": rows,
    }


class Gamma:
    """Answers the metadata service's requests; a `Routes` of the exchange."""

    def __init__(self, markets: Mapping[str, Market], best: BestPrices) -> None:
        self._markets = markets  # by condition; grows with the exchange
        self._best = best

    def on_request(
        self, now_ns: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Answer one GET; anything else is refused."""
        if method != "GET":
            return refuse(Refusal("method not allowed", 405))
        path, _, text = target.partition("?")
        query: Query = {}
        for key, value in parse_qsl(text, keep_blank_values=True):
            query.setdefault(key, []).append(value)
        parts = path.strip("/").split("/")
        if parts[0] == "markets":
            return self._serve_markets(parts[1:], query)
        if parts[0] == "events":
            return self._serve_events(parts[1:], query)
        if path == "/tags":
            tags = {tag: None for market in self._markets.values() for tag in market.tags}
            return json_response(
                [{"id": identity.number("tag", tag), "slug": tag, "label": tag} for tag in tags]
            )
        return refuse(NOT_FOUND)

    def _serve_markets(self, parts: list[str], query: Query) -> Response:
        if not parts or parts == ["keyset"]:
            chosen = [market for market in self._markets.values() if _is_wanted_market(market, query)]
            return _page("markets", chosen, self._row, query, is_keyset=bool(parts))
        name = parts[-1]
        for market in self._markets.values():
            if name == (market.slug if parts[0] == "slug" else market_number(market)):
                return json_response(self._row(market))
        return refuse(NOT_FOUND)

    def _serve_events(self, parts: list[str], query: Query) -> Response:
        events = self._events()
        if not parts or parts == ["keyset"]:
            chosen = [event for event in events if _is_wanted_event(event, query)]
            return _page("events", chosen, self._event_row, query, is_keyset=bool(parts))
        name = parts[-1]
        for event in events:
            if name == (event[0].event_slug if parts[0] == "slug" else event[0].event_id):
                return json_response(self._event_row(event))
        return refuse(NOT_FOUND)

    def _row(self, market: Market) -> dict[str, Any]:
        return market_object(market, self._best(market))

    def _event_row(self, markets: list[Market]) -> dict[str, Any]:
        return event_object(markets, self._best)

    def _events(self) -> list[list[Market]]:
        """Return the markets by event, events in order of first appearance."""
        events: dict[str, list[Market]] = {}
        for market in self._markets.values():
            events.setdefault(market.event_id, []).append(market)
        return [sorted(markets, key=lambda market: market.outcome_index) for markets in events.values()]


def _is_wanted_market(market: Market, query: Query) -> bool:
    closed = _flag(query, "closed")
    tags = [identity.number("tag", tag) for tag in market.tags]
    return (
        (closed is None or closed == (market.payout_micro is not None))
        and _has(query, "id", [market_number(market)])
        and _has(query, "slug", [market.slug])
        and _has(query, "condition_ids", [market.condition])
        and _has(query, "clob_token_ids", market.tokens if market.version == "v1" else ())
        and _has(query, "position_ids", market.tokens if market.version != "v1" else ())
        and _has(query, "version", [market.version])
        and _has(query, "tag_id", tags)
    )


def _is_wanted_event(markets: list[Market], query: Query) -> bool:
    closed = _flag(query, "closed")
    first = markets[0]
    return (
        (closed is None or closed == all(market.payout_micro is not None for market in markets))
        and _has(query, "id", [first.event_id])
        and _has(query, "slug", [first.event_slug])
        and _has(query, "tag_id", [identity.number("tag", tag) for tag in first.tags])
        and _has(query, "tag_slug", first.tags)
        and _has(query, "version", [first.version])
    )


def _page(
    name: str, items: list[T], row: Callable[[T], dict[str, Any]], query: Query, is_keyset: bool
) -> Response:
    """Return one page: keyset form with a cursor, or the legacy list with limit and offset."""
    limit = _whole(query, "limit", PAGE_DEFAULT)
    if not is_keyset:
        start = _whole(query, "offset", 0)
        return json_response([row(item) for item in items[start : start + min(max(limit, 1), PAGE_MAX)]])
    if "offset" in query or not 1 <= limit <= PAGE_MAX:
        return refuse(Refusal("keyset pages take after_cursor and a limit from 1 to 100", 422))
    place = _place(query["after_cursor"][-1]) if "after_cursor" in query else 0
    if place is None:
        return refuse(Refusal("invalid cursor", 422))
    answer: dict[str, Any] = {name: [row(item) for item in items[place : place + limit]]}
    if place + limit < len(items):
        answer["next_cursor"] = _cursor(place + limit)
    return json_response(answer)


def _text(value: list[str]) -> str:
    return orjson.dumps(value).decode().replace('","', '", "')


def _number(text: str) -> float | int:
    """Return display metadata as the JSON number that the venue sends."""
    return float(text) if "." in text else int(text)


def _cursor(place: int) -> str:
    return base64.urlsafe_b64encode(str(place).encode()).decode()


def _place(cursor: str) -> int | None:
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        return None
    return int(text) if text.isascii() and text.isdigit() else None


def _flag(query: Query, name: str) -> bool | None:
    value = query.get(name, [""])[-1].lower()
    return True if value == "true" else False if value == "false" else None


def _whole(query: Query, name: str, default: int) -> int:
    value = query.get(name, [str(default)])[-1]
    return int(value) if value.isascii() and value.isdigit() else default


def _has(query: Query, name: str, values: Iterable[str]) -> bool:
    """Whether the filter is absent or names one of the values (repeated keys and comma lists)."""
    if name not in query:
        return True
    wanted = {part for text in query[name] for part in text.split(",")}
    return any(value in wanted for value in values)
