"""The order book's own word on a market, compared with Gamma's.

Place in the stream: the refdata stage asks `GET /clob-markets/{condition}` for each market that it wants
to trade and passes the answer here before it writes the INSTRUMENT record. Gamma's cache lags, so tick,
minimum and state come from this answer; where the two contradict each other about what a share *is*
(tokens, outcomes, neg risk, version) the market is refused, and where they differ about the fee it
becomes unknown, which is not tradable. Source: venue sheet 4 and 14.1, read 2026-11-20.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.units import NS_PER_S
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.fields import (
    FieldError,
    MarketRefusal,
    flag_of,
    hex_bytes,
    loads,
    optional_flag_of,
    scaled_of,
    text_of,
)
from pipeline.venues.polymarket.identity import token_bytes
from pipeline.venues.polymarket.universe import MarketInfo


def clob_market_path(info: MarketInfo) -> str:
    """Return the path that asks about a market; a v2 condition stands in its padded form."""
    return f"{wire.PATH_CLOB_MARKET}0x{info.condition.hex()}"


def _tokens(obj: dict[str, Any]) -> dict[bytes, str]:
    listed = obj.get("t")
    if not isinstance(listed, list) or len(listed) != 2 or not all(isinstance(t, dict) for t in listed):
        raise FieldError("t", "an array of two tokens", listed)
    try:
        return {token_bytes(text_of(token, "t")): text_of(token, "o") for token in listed}
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError("t", "decimal token ids", str(error)) from None


def _fee_agrees(obj: dict[str, Any], info: MarketInfo) -> bool:
    curve = obj.get("fd")
    if curve is None:
        return info.fee_rate_ppm == 0
    if not isinstance(curve, dict):
        raise FieldError("fd", "an object", curve)
    rate_ppm, exponent = scaled_of(curve, "r", 6), scaled_of(curve, "e", 0)
    if rate_ppm == 0:
        return info.fee_rate_ppm == 0
    return curve.get("to") is True and (rate_ppm, exponent) == (info.fee_rate_ppm, info.fee_exponent)


def _merge(obj: dict[str, Any], info: MarketInfo, order_delay_ns: int) -> MarketInfo:
    condition = hex_bytes(text_of(obj, "c"), "c", (32,))
    if condition != info.condition:
        raise FieldError("c", f"0x{info.condition.hex()}", obj.get("c"))
    expected = {info.token_yes: info.outcomes[0], info.token_no: info.outcomes[1]}
    if _tokens(obj) != expected:
        raise FieldError("t", "the tokens and labels that Gamma names", obj.get("t"))
    if (optional_flag_of(obj, "nr") is True) != info.neg_risk:
        raise FieldError("nr", str(info.neg_risk), obj.get("nr"))
    if obj.get("v") is not None and obj.get("v") != ("v2" if info.v2 else "v1"):
        raise FieldError("v", "v2" if info.v2 else "v1", obj.get("v"))
    tick_step = scaled_of(obj, "mts", 4)
    if tick_step not in wire.ROUNDING:
        raise FieldError("mts", f"one of {sorted(wire.ROUNDING)} / 10000", obj.get("mts"))
    size_micro_min = scaled_of(obj, "mos", 6)
    if size_micro_min <= 0:
        raise FieldError("mos", "a size above zero", obj.get("mos"))
    delay_ns = scaled_of(obj, "sd", 0) * NS_PER_S if obj.get("sd") is not None else 0
    if optional_flag_of(obj, "itode") is True:
        delay_ns = max(delay_ns, order_delay_ns)
    return replace(
        info, tick_step=tick_step, size_micro_min=size_micro_min,
        taker_delay_ns=max(delay_ns, info.taker_delay_ns), accepting=info.accepting and flag_of(obj, "ao"),
        fee_rate_ppm=info.fee_rate_ppm if _fee_agrees(obj, info) else None)


def merge_clob_market(info: MarketInfo, data: bytes, order_delay_ns: int) -> MarketInfo | MarketRefusal:
    """Return the market with the order book's values, or why the two sources contradict each other.

    order_delay_ns: how long `itode` holds a taker order; sources differ (50, 150, 250 ms), so it is
    configuration.
    """
    try:
        parsed = loads(data)
        if not isinstance(parsed, dict):
            raise FieldError("market", "an object", parsed)
        return _merge(parsed, info, order_delay_ns)
    except FieldError as error:
        return MarketRefusal(info.market_id, f"clob-markets {error.field}", error.expected, error.found)
    except ValueError as error:
        return MarketRefusal(info.market_id, "clob-markets", "JSON", str(error)[:80])
