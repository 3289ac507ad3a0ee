"""Which markets and events a metadata request asks for, in which order, and the page that it gets.

Source: venue sheet 3.1, read 2026-11-20. Filters that the venue has and no market here can meet (games,
series, rewards) leave nothing; names that the venue does not have are passed over, as there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pipeline.sim import identity
from pipeline.sim.errors_text import Refusal
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.market import Market
from pipeline.units import MICRO, TICKS_PER_USD, decimal_to_int

PAGE_MAX = 100
PAGE_DEFAULT = 20
IDS_MAX = 100  # of one list of conditions, events or requests
LISTS = ("condition_ids", "onchain_event_ids", "request_ids")

T = TypeVar("T")
Query = dict[str, list[str]]
Key = Callable[[Market], Any]

def volume_text(market: Market) -> str:
    """Return what was traded here in USD, in cents."""
    cents = market.volume_usd_micro * 100 // MICRO
    return f"{cents // 100}.{cents % 100:02d}"


#: By what a listing can be ordered. As on the venue, the text field `volume` orders as text.
ORDERS: dict[str, Key] = {
    "id": lambda market: int(identity.number("market", market.condition)),
    "slug": lambda market: market.slug,
    "question": lambda market: market.question,
    "title": lambda market: market.event_title,
    "startDate": lambda market: market.starts_s,
    "endDate": lambda market: market.ends_s,
    "volume": volume_text,
    "volumeNum": lambda market: market.volume_usd_micro,
    "volume24hr": lambda market: market.volume_usd_micro,
    "orderPriceMinTickSize": lambda market: market.told_tick_step,
    "lastTradePrice": lambda market: decimal_to_int(market.last_trade or "0", 4),
}
_TIMES: dict[str, Key] = {"start_date": ORDERS["startDate"], "end_date": ORDERS["endDate"]}
_NEVER = ("series_id", "game_id", "sports_market_types", "parent_event_id", "rewards_min_size")
_FALSE_ONLY = ("live", "featured", "rfq_enabled")


def question_id(market: Market) -> str:
    """Return the id of its question; in a v1 neg-risk market its last byte is the question's index."""
    if market.neg_risk_market_id:
        return identity.question_id(market.neg_risk_market_id, market.outcome_index)
    return "0x" + identity.digest("question", market.condition).hex()


def problem_of(query: Query) -> Refusal | None:
    """Return why a listing cannot be given: lists that are too long, words that are no times or numbers."""
    for name in LISTS:
        if len(_words(query, name)) > IDS_MAX:
            return Refusal(f"{name}: at most {IDS_MAX} expected, was {len(_words(query, name))}", 422)
    for name in _words(query, "order"):
        if name not in ORDERS:
            return Refusal(f"order: one of {', '.join(ORDERS)} expected, was {name[:40]!r}", 422)
    for name in _TIMES:
        for bound in ("min", "max"):
            if f"{name}_{bound}" in query and _time_s(query[f"{name}_{bound}"][-1]) is None:
                return Refusal(f"{name}_{bound}: an ISO time expected", 422)
    for name in ("volume_num_min", "volume_num_max", "volume_min", "volume_max"):
        if name in query and _number(query[name][-1]) is None:
            return Refusal(f"{name}: a number expected", 422)
    return None


def is_wanted(market: Market, query: Query) -> bool:
    """Return whether a market passes every filter; `problem_of` found nothing wrong with the query."""
    is_resolved = market.payout_micro is not None
    status = "resolved" if is_resolved else "active"
    return (
        _is(query, "closed", is_resolved)
        and _has(query, "id", [identity.number("market", market.condition)])
        and _has(query, "slug", [market.slug])
        and _has(query, "condition_ids", _conditions(market))
        and _has(query, "clob_token_ids", market.tokens if market.version == "v1" else ())
        and _has(query, "position_ids", market.tokens if market.version != "v1" else ())
        and _has(query, "question_ids", [question_id(market)])
        and _has(query, "onchain_event_ids", _onchain(market))
        and _has(query, "version", [market.version])
        and _has(query, "uma_resolution_status", ["resolved" if is_resolved else ""])
        and _has(query, "resolution_status", [status] if market.version != "v1" else ())
        and _is_tagged(market, query)
        and _is_between(market, query)
        and _is_possible(query)
    )


def is_event_wanted(markets: Sequence[Market], query: Query) -> bool:
    """Return whether an event passes every filter."""
    first = markets[0]
    title = query.get("title_search", [""])[-1].lower()
    is_over = all(market.payout_micro is not None for market in markets)
    return (
        _is(query, "closed", is_over)
        and _is(query, "ended", is_over)
        and _has(query, "id", [first.event_id])
        and _has(query, "slug", [first.event_slug])
        and _has(query, "tag_slug", first.tags)
        and _has(query, "version", [first.version])
        and title in first.event_title.lower()
        and _is_tagged(first, query)
        and _is_between(first, query, sum(market.volume_usd_micro for market in markets))
        and _is_possible(query)
    )


def ordered(items: list[T], first: Callable[[T], Market], query: Query) -> list[T]:
    """Return the items as `order` and `ascending` (true unless said) say; without `order` as they are."""
    names = _words(query, "order")
    if not names:
        return items
    is_falling = query.get("ascending", ["true"])[-1].lower() == "false"
    return sorted(items, key=lambda item: [ORDERS[name](first(item)) for name in names], reverse=is_falling)


def page(
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
        answer["next_cursor"] = base64.urlsafe_b64encode(str(place + limit).encode()).decode()
    return json_response(answer)


def _conditions(market: Market) -> list[str]:
    """Return the forms of its condition: a v2 one is shown with 62 digits here, with 64 by the order book."""
    if market.version == "v1":
        return [market.condition]
    return [market.condition, identity.short_condition(market.condition)]


def _onchain(market: Market) -> list[str]:
    return [] if market.version == "v1" else [identity.onchain_event_id(market.condition)]


def _is_tagged(market: Market, query: Query) -> bool:
    tags = {identity.number("tag", tag) for tag in market.tags}
    wanted = set(_words(query, "tag_id"))
    if not wanted.isdisjoint(tags):
        has_tags = query.get("tag_match", ["any"])[-1] != "all" or wanted <= tags
    else:
        has_tags = not wanted
    return has_tags and tags.isdisjoint(_words(query, "exclude_tag_id"))


def _is_between(market: Market, query: Query, volume_micro: int | None = None) -> bool:
    volume = market.volume_usd_micro if volume_micro is None else volume_micro
    found: dict[str, int] = {name: key(market) for name, key in _TIMES.items()}
    bounds = [(found[name], f"{name}_{bound}", bound, _time_s) for name in _TIMES for bound in ("min", "max")]
    bounds += [
        (volume, f"{name}_{bound}", bound, _number)
        for name in ("volume_num", "volume") for bound in ("min", "max")
    ]
    for value, name, bound, read in bounds:
        limit = read(query[name][-1]) if name in query else None
        if limit is not None and (value < limit if bound == "min" else value > limit):
            return False
    return True


def _is_possible(query: Query) -> bool:
    """Return whether the query asks for nothing that no market here has."""
    is_false = all(_is(query, name, False) for name in _FALSE_ONLY)
    return is_false and not any(query.get(name) for name in _NEVER)


def _is(query: Query, name: str, value: bool) -> bool:
    asked = query.get(name, [""])[-1].lower()
    return asked not in ("true", "false") or (asked == "true") == value


def _has(query: Query, name: str, values: Iterable[str]) -> bool:
    """Return whether the filter is absent or names one of the values (repeated keys and comma lists)."""
    return name not in query or not set(_words(query, name)).isdisjoint(values)


def _words(query: Query, name: str) -> list[str]:
    return [part for text in query.get(name, ()) for part in text.split(",") if part]


def _time_s(text: str) -> int | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _number(text: str) -> int | None:
    """Return a number of USD in 1e-6."""
    try:
        return decimal_to_int(text, 6)
    except ValueError:
        return None


def _place(cursor: str) -> int | None:
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
    except ValueError:
        return None
    return int(text) if text.isascii() and text.isdigit() else None


def _whole(query: Query, name: str, default: int) -> int:
    value = query.get(name, [str(default)])[-1]
    return int(value) if value.isascii() and value.isdigit() else default


def price_number(price_ticks: int) -> float:
    """Return a price as the JSON number that the metadata service sends."""
    return price_ticks / TICKS_PER_USD
