"""Gamma's markets and events as instruments; the only reader of the venue's metadata.

Place in the stream: the refdata stage hands the bytes of a Gamma page to `parse_markets` or
`parse_events`, gives each market a row and pushes `instrument_record` into its ring. A required value
that is missing or of another type makes a `MarketRefusal` that says so; nothing is ever defaulted.
Numbers keep their text (no binary float), ids stay decimal strings until they are 32 bytes.
Source: venue sheet 3, docs /market-data and Gamma OpenAPI, read 2026-11-20.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pipeline.codec import CODECS
from pipeline.kinds import Flag, Kind, Rule
from pipeline.records import FEE_NOT_TOLD
from pipeline.units import MICRO, NS_PER_S, TICKS_PER_USD
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.fields import (
    FieldError,
    MarketRefusal,
    ends_ns_of,
    flag_of,
    game_start_ns_of,
    hex_bytes,
    loads,
    optional_flag_of,
    pair_of,
    scaled_of,
    text_of,
)
from pipeline.venues.polymarket.identity import complement, is_v2_token, token_bytes, v2_condition

VENUE_POLYMARKET: Final = 1
_LABEL_BYTES: Final = 32
_RATE_PPM_MAX: Final = 1_000_000  # 100 %: more is a unit mistake
_EXPONENT_MAX: Final = 2  # 1 today; core.fees takes no larger one
_DELAY_SECONDS_MAX: Final = 3600
_EVENT_MARKETS_MAX: Final = 4_096  # of one event; the largest seen has some hundreds
_FEE_BIPS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class MarketInfo:
    """One condition as a book: everything an INSTRUMENT record needs except rows and shard."""

    market_id: str
    condition: bytes  # 32 bytes; v2: 31 and one zero
    token_yes: bytes  # 32 bytes, of the outcome labelled Yes, else of the first
    token_no: bytes
    outcomes: tuple[str, str]  # labels in the order of the tokens
    v2: bool
    question: str
    label: str  # for people: group item title or question
    slug: str
    tick_step: int
    size_micro_min: int
    fee_rate_ppm: int | None  # None = not known: never tradable
    fee_exponent: int
    accepting: bool  # active, not closed, accepting orders, order book on
    neg_risk: bool
    taker_delay_ns: int
    ends_ns: int  # 0 = the venue names none
    event_id: str  # "" = none
    question_id: bytes  # 32 bytes; b"" = none
    fee_bips: int = FEE_NOT_TOLD  # of a neg-risk conversion
    outcome_index: int = 0  # place in its event
    outcome_count: int = 1
    exclusive: bool = False
    exhaustive: bool = False
    augmented: bool = False
    volume_24h_micro: int | None = field(default=None, compare=False)  # USD; None = unknown
    game_start_ns: int = 0  # of a match; 0 = none named
    closed: bool = False  # takes no orders any more, says the venue: not a market that is still to open

    @property
    def question_index(self) -> int:
        """The index of its question on chain: the last byte of questionID (venue sheet 3.3); -1 = none."""
        return self.question_id[31] if self.question_id else -1

    @property
    def tradable(self) -> bool:
        """Accepting orders, fee known; ids are known or there would be no MarketInfo."""
        return self.accepting and self.fee_rate_ppm is not None

    def rules(self, watch: bool) -> Rule:
        """Return the rule bits of its INSTRUMENT."""
        bits = Rule.MIRRORED | Rule.HASHED  # V: both tokens of a condition are one book; venue sheet 5, 6
        for is_set, bit in ((self.tradable, Rule.TRADABLE), (self.neg_risk, Rule.NEG_RISK),
                            (self.v2, Rule.V2), (watch, Rule.WATCH), (self.exclusive, Rule.EXCLUSIVE),
                            (self.exhaustive, Rule.EXHAUSTIVE), (self.augmented, Rule.AUGMENTED),
                            (self.taker_delay_ns > 0, Rule.TAKER_DELAY), (self.closed, Rule.CLOSED)):
            if is_set:
                bits |= bit
        return bits


@dataclass(frozen=True, slots=True)
class EventInfo:
    """One event with the markets that could be read, in the order of the venue."""

    event_id: str
    slug: str
    title: str
    neg_risk: bool
    augmented: bool
    markets: tuple[MarketInfo, ...]
    refused: tuple[MarketRefusal, ...]
    tags: tuple[str, ...] = ()  # slugs


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a Gamma listing; next_cursor "" = the last one."""

    markets: tuple[MarketInfo, ...]
    events: tuple[EventInfo, ...]
    refused: tuple[MarketRefusal, ...]
    next_cursor: str


def _fee(obj: dict[str, Any]) -> tuple[int | None, int]:
    """Return (rate in ppm, exponent); rate None when the fee is not known for certain."""
    enabled = optional_flag_of(obj, "feesEnabled")
    if enabled is None:
        return None, 1
    if not enabled:
        return 0, 1
    schedule = obj.get("feeSchedule")
    if not isinstance(schedule, dict):
        return None, 1
    rate_ppm, exponent = scaled_of(schedule, "rate", 6), scaled_of(schedule, "exponent", 0)
    if rate_ppm > _RATE_PPM_MAX or not 0 <= exponent <= _EXPONENT_MAX:
        raise FieldError("feeSchedule", f"a rate up to 1, an exponent of 0..{_EXPONENT_MAX}", schedule)
    if schedule.get("takerOnly") is not True:
        return None, exponent  # makers pay too: no fee model here covers that
    return rate_ppm, exponent


def _is_v2(obj: dict[str, Any], version_if_missing: str | None) -> bool:
    version = obj.get("version")
    if version is None and version_if_missing is not None:
        version = version_if_missing
    if version not in ("v1", "v2"):
        raise FieldError("version", '"v1" or "v2"', version)
    return bool(version == "v2")


def _ids(obj: dict[str, Any], v2: bool) -> tuple[bytes, tuple[bytes, bytes]]:
    """Return (condition in 32 bytes, both tokens in the venue's order); every contradiction is an error."""
    name = "positionIds" if v2 else "clobTokenIds"
    texts = pair_of(obj, name)
    try:
        tokens = (token_bytes(texts[0]), token_bytes(texts[1]))
    except ValueError as error:
        raise FieldError(name, "two decimal ids", str(error)) from None
    if tokens[0] == tokens[1] or any(is_v2_token(token) != v2 for token in tokens):
        raise FieldError(name, f"two different {'v2' if v2 else 'v1'} ids", texts)
    condition = hex_bytes(text_of(obj, "conditionId"), "conditionId", (31, 32) if v2 else (32,))
    if v2:
        condition = condition.ljust(32, b"\0")
        if tokens[1] != complement(tokens[0]) or condition != v2_condition(tokens[0]) + b"\0":
            raise FieldError(name, "a complementary pair of the condition", texts)
    return condition, tokens


def _tick_step(obj: dict[str, Any]) -> int:
    step = scaled_of(obj, "orderPriceMinTickSize", 4)
    if step not in wire.ROUNDING:
        raise FieldError("orderPriceMinTickSize", f"one of {sorted(wire.ROUNDING)} / {TICKS_PER_USD}", step)
    return step


def _question_id(obj: dict[str, Any]) -> bytes:
    """Return the 32 bytes of questionID, b"" where there is none; it belongs to the neg-risk market named."""
    value, named = obj.get("questionID"), obj.get("negRiskMarketID")
    question = hex_bytes(value, "questionID", (32,)) if type(value) is str and value else b""
    is_named = question and obj.get("negRisk") is True and type(named) is str and named
    if is_named and hex_bytes(str(named), "negRiskMarketID", (32,)) != question[:31] + b"\0":
        raise FieldError("questionID", f"a question of the neg-risk market {named}", value)
    return question


def _fee_bips(event: dict[str, Any]) -> int:
    """Return the fee of a neg-risk conversion in 1e-4; recorded events do not carry it."""
    if event.get("negRiskFeeBips") is None:
        return FEE_NOT_TOLD
    bips = scaled_of(event, "negRiskFeeBips", 0)
    if not 0 <= bips <= _FEE_BIPS_MAX:
        raise FieldError("negRiskFeeBips", f"0..{_FEE_BIPS_MAX}", bips)
    return bips


def _volume(obj: dict[str, Any]) -> int | None:
    """Return the volume of a day in USD micro, rounded down; None when the venue names none: never 0."""
    value = obj.get("volume24hr")
    whole, _, digits = str(value).partition(".")
    if isinstance(value, bool) or not isinstance(value, int | str) or not (whole + digits).isdigit():
        return None
    return int(whole or "0") * MICRO + int(digits[:6].ljust(6, "0"))


def _tags(obj: dict[str, Any]) -> tuple[str, ...]:
    listed = obj.get("tags")
    slugs = [tag.get("slug") for tag in listed if isinstance(tag, dict)] if isinstance(listed, list) else []
    return tuple(slug for slug in slugs if isinstance(slug, str))


def _label(obj: dict[str, Any]) -> str:
    title = obj.get("groupItemTitle")
    return title.strip() if isinstance(title, str) and title.strip() else text_of(obj, "question")


def ascii_label(text: str) -> bytes:
    """Return at most 32 printable ASCII bytes for people; accents are dropped, the rest becomes "?"."""
    plain = unicodedata.normalize("NFKD", text)
    kept = (c if " " <= c <= "~" else "?" for c in plain if not unicodedata.combining(c))
    return "".join(kept).strip()[:_LABEL_BYTES].encode("ascii")


def _read_market(obj: dict[str, Any], version_if_missing: str | None) -> MarketInfo:
    v2 = _is_v2(obj, version_if_missing)
    outcomes = pair_of(obj, "outcomes")
    if outcomes[0].lower() == outcomes[1].lower():
        raise FieldError("outcomes", "two different labels", outcomes)
    condition, tokens = _ids(obj, v2)
    if tuple(outcome.lower() for outcome in outcomes) == ("no", "yes"):
        outcomes, tokens = (outcomes[1], outcomes[0]), (tokens[1], tokens[0])
    if v2 and tokens[0][31] & 1:
        raise FieldError("outcomes", "the first outcome at index 0 of its v2 id", outcomes)
    size_micro_min = scaled_of(obj, "orderMinSize", 6)
    if size_micro_min <= 0:
        raise FieldError("orderMinSize", "a size above zero", obj.get("orderMinSize"))
    rate_ppm, exponent = _fee(obj)
    delay_s = scaled_of(obj, "secondsDelay", 0) if obj.get("secondsDelay") is not None else 0
    if delay_s > _DELAY_SECONDS_MAX:
        raise FieldError("secondsDelay", f"at most {_DELAY_SECONDS_MAX} s", delay_s)
    events = obj.get("events")
    first = events[0] if isinstance(events, list) and len(events) == 1 and isinstance(events[0], dict) else {}
    event_id = first.get("id")
    accepting = (flag_of(obj, "active") and not flag_of(obj, "closed")
                 and optional_flag_of(obj, "acceptingOrders") is True
                 and optional_flag_of(obj, "enableOrderBook") is True)
    return MarketInfo(
        market_id=text_of(obj, "id"), condition=condition, token_yes=tokens[0], token_no=tokens[1],
        outcomes=outcomes, v2=v2, question=text_of(obj, "question"), label=_label(obj),
        slug=text_of(obj, "slug"), tick_step=_tick_step(obj), size_micro_min=size_micro_min,
        fee_rate_ppm=rate_ppm, fee_exponent=exponent, accepting=accepting, neg_risk=flag_of(obj, "negRisk"),
        taker_delay_ns=delay_s * NS_PER_S, ends_ns=ends_ns_of(obj),
        event_id=event_id if isinstance(event_id, str) else "", question_id=_question_id(obj),
        augmented=first.get("negRiskAugmented") is True, volume_24h_micro=_volume(obj),
        game_start_ns=game_start_ns_of(obj), closed=flag_of(obj, "closed"))


def parse_market(obj: Any, version_if_missing: str | None = None) -> MarketInfo | MarketRefusal:
    """Return the market of one parsed Gamma object (`loads`), or why it is none.

    version_if_missing: "v1" for data older than the `version` field (before September 2026) only.
    """
    market_id = obj.get("id") if isinstance(obj, dict) else None
    name = market_id if isinstance(market_id, str) else "?"
    if not isinstance(obj, dict):
        return MarketRefusal(name, "market", "an object", repr(obj)[:80])
    try:
        return _read_market(obj, version_if_missing)
    except FieldError as error:
        return MarketRefusal(name, error.field, error.expected, error.found)


def _is_placeholder(market: MarketInfo) -> bool:
    """Tell whether a market of an augmented event has no name of its own yet (venue sheet 3.3)."""
    return market.label == market.question


def _place(event: dict[str, Any], markets: list[MarketInfo], listed_count: int) -> list[MarketInfo]:
    """Return the markets with their place in the event and what their set proves.

    EXCLUSIVE: the venue says neg risk. EXHAUSTIVE only when every listed market was read and is open,
    their on-chain question indices are 0..n-1 without a gap, and neither placeholders (augmented) nor
    the synthetic Other of a v2 event exist.
    """
    neg_risk = event.get("negRisk") is True and all(market.neg_risk for market in markets)
    augmented, fee_bips = event.get("negRiskAugmented") is True, _fee_bips(event)
    indices = sorted(market.question_index for market in markets)
    exhaustive = (neg_risk and event.get("negRiskAugmented") is False and len(markets) == listed_count > 1
                  and indices == list(range(listed_count))
                  and all(market.accepting and not market.v2 for market in markets))
    event_id = text_of(event, "id")
    return [replace(market, event_id=event_id, outcome_index=place, outcome_count=listed_count,
                    exclusive=neg_risk, exhaustive=exhaustive, augmented=augmented, fee_bips=fee_bips,
                    accepting=market.accepting and not (augmented and _is_placeholder(market)))
            for place, market in enumerate(markets)]


def parse_event(obj: Any, version_if_missing: str | None = None) -> EventInfo | MarketRefusal:
    """Return the event of one parsed Gamma object with its markets, or why it is none."""
    if not isinstance(obj, dict):
        return MarketRefusal("?", "event", "an object", repr(obj)[:80])
    name = str(obj.get("id"))[:20]
    listed = obj.get("markets")
    if not isinstance(listed, list):
        return MarketRefusal(f"event {name}", "markets", "an array", repr(listed)[:80])
    if len(listed) > _EVENT_MARKETS_MAX:
        return MarketRefusal(f"event {name}", "markets", f"at most {_EVENT_MARKETS_MAX}", f"{len(listed)}")
    read = [parse_market(market, version_if_missing) for market in listed]
    markets = [market for market in read if isinstance(market, MarketInfo)]
    refused = tuple(market for market in read if isinstance(market, MarketRefusal))
    try:
        placed = _place(obj, markets, len(listed))
        return EventInfo(text_of(obj, "id"), text_of(obj, "slug"), text_of(obj, "title"),
                         obj.get("negRisk") is True, obj.get("negRiskAugmented") is True,
                         tuple(placed), refused, _tags(obj))
    except FieldError as error:
        return MarketRefusal(f"event {name}", error.field, error.expected, error.found)


def _listing(data: bytes, name: str) -> tuple[list[Any], str] | MarketRefusal:
    """Return (objects, next cursor) of a keyset page, a legacy array or a single object."""
    try:
        parsed = loads(data)
    except ValueError as error:
        return MarketRefusal("page", name, "JSON", str(error)[:80])
    if isinstance(parsed, list):
        return parsed, ""
    if isinstance(parsed, dict) and name in parsed and "conditionId" not in parsed and "slug" not in parsed:
        objects, cursor = parsed[name], parsed.get("next_cursor")
        if not isinstance(objects, list) or not (cursor is None or (type(cursor) is str and cursor)):
            return MarketRefusal("page", name, "an array, and a text or no cursor", repr(cursor)[:80])
        return objects, cursor or ""
    if isinstance(parsed, dict) and "id" in parsed:
        return [parsed], ""
    return MarketRefusal("page", name, "a keyset page, an array or one object", repr(parsed)[:80])


def parse_markets(data: bytes, version_if_missing: str | None = None) -> Page:
    """Return the page of `GET /markets/keyset`, `/markets` or `/markets/{id}`; never raises for content."""
    listing = _listing(data, "markets")
    if isinstance(listing, MarketRefusal):
        return Page((), (), (listing,), "")
    read = [parse_market(obj, version_if_missing) for obj in listing[0]]
    return Page(tuple(m for m in read if isinstance(m, MarketInfo)), (),
                tuple(m for m in read if isinstance(m, MarketRefusal)), listing[1])


def parse_events(data: bytes, version_if_missing: str | None = None) -> Page:
    """Return the page of `GET /events/keyset`, `/events` or `/events/{id}`; `markets` holds all of them."""
    listing = _listing(data, "events")
    if isinstance(listing, MarketRefusal):
        return Page((), (), (listing,), "")
    read = [parse_event(obj, version_if_missing) for obj in listing[0]]
    events = tuple(e for e in read if isinstance(e, EventInfo))
    refused = tuple(e for e in read if isinstance(e, MarketRefusal))
    return Page(tuple(m for e in events for m in e.markets), events,
                refused + tuple(r for e in events for r in e.refused), listing[1])


def instrument_record(info: MarketInfo, row: int, event_row: int, shard: int, *, watch: bool = False,
                      planted: bool = False, tick_step_finest: int = 0, recv_ns: int = 0,
                      is_retired: bool = False) -> bytes:
    """Return the INSTRUMENT slot of a market at a row.

    watch: prove its book's hash at each frame. tick_step_finest: the finest step seen in this run,
    0 = the market's own. is_retired: nobody carries the market now, so nobody proves or trades it.
    """
    rules = info.rules(watch)
    if is_retired:
        rules = rules & ~(Rule.TRADABLE | Rule.HASHED) | Rule.RETIRED
    return CODECS[Kind.INSTRUMENT].pack(
        recv_ns=recv_ns, instrument=row, flags=int(Flag.PLANTED) if planted else 0,
        condition=info.condition, token_yes=info.token_yes, token_no=info.token_no,
        rules=int(rules), event=event_row, outcome_index=info.outcome_index,
        outcome_count=info.outcome_count, venue=VENUE_POLYMARKET, condition_bytes=31 if info.v2 else 32,
        tick_step=info.tick_step, shard=shard,
        tick_step_finest=min(tick_step_finest, info.tick_step) or info.tick_step,
        fee_rate_ppm=info.fee_rate_ppm or 0, fee_exponent=info.fee_exponent,
        size_micro_min=info.size_micro_min, usd_micro_min=wire.MARKETABLE_USD_MICRO_MIN,
        taker_delay_ns=info.taker_delay_ns, ends_ns=info.ends_ns, label=ascii_label(info.label),
        game_start_ns=info.game_start_ns)


def question_record(info: MarketInfo, row: int, *, recv_ns: int = 0) -> bytes:
    """Return the QUESTION slot of a market at a row, b"" for one that has none: v2, or no neg risk."""
    if info.v2 or not info.neg_risk or not info.question_id:
        return b""
    return CODECS[Kind.QUESTION].pack(
        recv_ns=recv_ns, instrument=row, question_id=info.question_id, fee_bips=info.fee_bips)
