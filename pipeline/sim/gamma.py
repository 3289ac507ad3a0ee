"""Market metadata as the venue's Gamma service answers it: strings in strings, keyset cursors.

Reads: the exchange's markets. Source: venue sheet 3, clients sheet 2.2 (read 2026-11-20). Planted
events carry the tag `planted`. Volumes are of what was traded here since the start; liquidity is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from pipeline.sim import identity
from pipeline.sim.errors_text import Refusal
from pipeline.sim.gamma_query import (
    Query,
    is_event_wanted,
    is_wanted,
    ordered,
    page,
    price_number,
    problem_of,
    question_id,
    volume_text,
)
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.market import Market
from pipeline.sim.render import PRICE_TEXT
from pipeline.units import MICRO, PPM, TICKS_PER_USD, int_to_decimal

NOT_FOUND = Refusal("not found", 404)

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
    row: dict[str, Any] = {
        "id": market_number(market),
        "version": market.version,
        "slug": market.slug,
        "question": market.question,
        "groupItemTitle": market.group_item_title,
        "conditionId": market.condition,
        "questionID": question_id(market),
        "outcomes": _text(list(market.outcomes)),
        "outcomePrices": _text(prices),
        "clobTokenIds": _text(list(market.tokens)),
        "positionIds": None if market.version == "v1" else list(market.tokens),
        "active": True,
        "closed": resolved is not None,
        "archived": False,
        "acceptingOrders": market.accepting and resolved is None,
        "acceptingOrdersTimestamp": iso_text(market.starts_s),
        "enableOrderBook": True,
        "negRisk": market.neg_risk,
        "startDate": iso_text(market.starts_s),
        "endDate": iso_text(market.ends_s),
        "gameStartTime": game_text(market.game_start_s),
        "clearBookOnStart": market.clears_on_start,
        "orderPriceMinTickSize": market.told_tick_step / TICKS_PER_USD,
        "orderMinSize": _number(market.min_order_size),
        "secondsDelay": market.seconds_delay,
        "feesEnabled": market.fee_rate_ppm > 0,
        "feeType": "local_fees",
        "takerBaseFee": 1000,
        "makerBaseFee": 1000,
        "volume": volume_text(market),
        "volumeNum": market.volume_usd_micro / MICRO,
        "volume24hr": market.volume_usd_micro / MICRO,
        "liquidity": "0",
        "liquidityNum": 0,
        "umaResolutionStatus": "resolved" if resolved is not None else "",
        "resolutionSource": "",
        "lastTradePrice": _number(market.last_trade or "0"),
        "tags": [_tag(tag) for tag in market.tags],
        "events": [{"id": market.event_id, "slug": market.event_slug}],
    }
    return row | _fee_part(market) | _version_part(market) | _neg_risk_part(market) | _quote_part(bid, ask)


def iso_text(at_s: int) -> str | None:
    """Return a time in the metadata service's form; None for 0, a time that nobody names."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at_s else None


def game_text(at_s: int) -> str | None:
    """Return when a game starts, in the other form that this one field has."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S+00") if at_s else None


def _version_part(market: Market) -> dict[str, Any]:
    """Return what a v2 market has beside or in another form; its id is shown without the padding."""
    if market.version == "v1":
        return {}
    return {
        "conditionId": identity.short_condition(market.condition),
        "onchainEventId": identity.onchain_event_id(market.condition),
        "resolutionStatus": "active" if market.payout_micro is None else "resolved",
    }


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
    if market.version != "v1":
        return {}
    request = "0x" + identity.digest("request", market.condition).hex()
    return {"negRiskMarketID": market.neg_risk_market_id, "negRiskRequestID": request}


def _quote_part(bid: int | None, ask: int | None) -> dict[str, Any]:
    part: dict[str, Any] = {}
    if bid is not None:
        part["bestBid"] = price_number(bid)
    if ask is not None:
        part["bestAsk"] = price_number(ask)
    if bid is not None and ask is not None:
        part["spread"] = price_number(ask - bid)
    return part


def event_object(markets: Sequence[Market], best: BestPrices) -> dict[str, Any]:
    """Return the Gamma event object that holds these markets, in outcome order."""
    first = markets[0]
    rows = [market_object(market, best(market)) for market in markets]
    for row in rows:
        del row["events"]
    volume = sum(market.volume_usd_micro for market in markets) / MICRO
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
        "volume": volume,
        "volume24hr": volume,
        "liquidity": 0,
        "openInterest": 0,
        "startDate": iso_text(first.starts_s),
        "endDate": iso_text(first.ends_s),
        "tags": [_tag(tag) for tag in first.tags],
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
        if path in ("/series", "/sports"):
            return json_response([])
        return self._serve_tags(parts) if parts[0] == "tags" else refuse(NOT_FOUND)

    def _serve_tags(self, parts: list[str]) -> Response:
        tags = {tag: None for market in self._markets.values() for tag in market.tags}
        rows = [_tag(tag) for tag in tags]
        if len(parts) == 1:
            return json_response(rows)
        key = {2: "id", 3: "slug"}.get(len(parts), "")
        is_path = len(parts) == 2 or parts[1:2] == ["slug"]
        found = next((row for row in rows if is_path and row.get(key) == parts[-1]), None)
        return refuse(NOT_FOUND) if found is None else json_response(found)

    def _serve_markets(self, parts: list[str], query: Query) -> Response:
        if not parts or parts == ["keyset"]:
            problem = problem_of(query)
            if problem is not None:
                return refuse(problem)
            chosen = [market for market in self._markets.values() if is_wanted(market, query)]
            chosen = ordered(chosen, lambda market: market, query)
            return page("markets", chosen, self._row, query, is_keyset=bool(parts))
        is_tags = parts[1:] == ["tags"]
        name = parts[0] if is_tags else parts[-1]
        for market in self._markets.values():
            if name == (market.slug if parts[0] == "slug" else market_number(market)):
                tags = [_tag(tag) for tag in market.tags]
                return json_response(tags if is_tags else self._row(market))
        return refuse(NOT_FOUND)

    def _serve_events(self, parts: list[str], query: Query) -> Response:
        events = self._events()
        if not parts or parts == ["keyset"]:
            problem = problem_of(query)
            if problem is not None:
                return refuse(problem)
            chosen = [event for event in events if is_event_wanted(event, query)]
            chosen = ordered(chosen, lambda event: event[0], query)
            return page("events", chosen, self._event_row, query, is_keyset=bool(parts))
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


def _tag(tag: str) -> dict[str, str]:
    return {"id": identity.number("tag", tag), "slug": tag, "label": tag}


def _text(value: list[str]) -> str:
    return orjson.dumps(value).decode().replace('","', '", "')


def _number(text: str) -> float | int:
    """Return display metadata as the JSON number that the venue sends."""
    return float(text) if "." in text else int(text)
