"""What a market pays, by strict evidence alone: never by a price, however near to 1 it stands (VN02).

Place in the stream: the refdata stage asks the order book about markets that closed without a word, and Gamma
about those that it calls closed without a winner. A winner is one of the market's own tokens, named by the
order book on a closed market; a void is closed and resolved by Gamma's own words, with both outcomes at 0.5.
Source: venue sheet 3.2, 4 and 6.7, clients sheet 2.2, read 2026-11-20. How a void is shown is unconfirmed.
"""

from __future__ import annotations

from typing import Any, Final

from pipeline.units import MICRO, decimal_to_int
from pipeline.venues.polymarket.fields import (
    FieldError,
    MarketRefusal,
    flag_of,
    hex_bytes,
    loads,
    optional_flag_of,
    pair_of,
    text_of,
)
from pipeline.venues.polymarket.identity import token_bytes

RESOLVED: Final = ("resolved", "settled")  # umaResolutionStatus, or resolutionStatus of v2
Payout = tuple[int, int]  # USD micro a share of YES, of NO
OPEN, PENDING = "open", "pending"  # takes orders, or may again; closed, and nobody says what it pays
Verdict = Payout | str | MarketRefusal


def _winners(obj: dict[str, Any], tokens: tuple[bytes, bytes]) -> list[int]:
    """Return the outcomes (0 YES, 1 NO) that are called winners; the tokens must be the market's own."""
    listed = obj.get("tokens")
    if not isinstance(listed, list) or len(listed) != 2 or not all(isinstance(one, dict) for one in listed):
        raise FieldError("tokens", "an array of two tokens", listed)
    try:
        found = {token_bytes(text_of(one, "token_id")): flag_of(one, "winner") for one in listed}
    except FieldError:
        raise
    except ValueError as error:
        raise FieldError("tokens", "decimal token ids", str(error)) from None
    if found.keys() != set(tokens):
        raise FieldError("tokens", "the market's two tokens", listed)
    return [outcome for outcome, token in enumerate(tokens) if found[token]]


def clob_verdict(data: bytes, condition: bytes, tokens: tuple[bytes, bytes]) -> Verdict:
    """Return what the order book's `GET /markets/{condition}` proves: a payout, OPEN, PENDING or a refusal.

    tokens: of YES and NO. One winner of a closed market pays 1 USD; two, or none, prove nothing here.
    """
    try:
        obj = loads(data)
        if not isinstance(obj, dict):
            raise FieldError("market", "an object", obj)
        if hex_bytes(text_of(obj, "condition_id"), "condition_id", (32,)) != condition:
            raise FieldError("condition_id", f"0x{condition.hex()}", obj.get("condition_id"))
        winners = _winners(obj, tokens)
        if not flag_of(obj, "closed"):
            return OPEN
        if len(winners) > 1:
            raise FieldError("tokens", "at most one winner", obj.get("tokens"))
    except FieldError as error:
        return MarketRefusal(condition.hex(), f"markets {error.field}", error.expected, error.found)
    except ValueError as error:
        return MarketRefusal(condition.hex(), "markets", "JSON", str(error)[:80])
    if not winners:
        return PENDING
    return (MICRO, 0) if winners[0] == 0 else (0, MICRO)


def gamma_verdict(data: bytes, condition: bytes, tokens: tuple[bytes, bytes]) -> Verdict:
    """Return what Gamma's market proves where the order book names no winner: a void, else PENDING.

    data: a keyset page with that one market. Only closed, resolved by name and two halves are a void.
    """
    try:
        page = loads(data)
        rows = page.get("markets") if isinstance(page, dict) else None
        if not isinstance(rows, list):
            raise FieldError("markets", "an array", page)
        found = [row for row in rows if isinstance(row, dict) and _is_it(row, condition)]
        if len(found) != 1:
            return PENDING
        (obj,) = found
        names = pair_of(obj, "positionIds" if obj.get("version") == "v2" else "clobTokenIds")
        if {token_bytes(name) for name in names} != set(tokens):
            raise FieldError("clobTokenIds", "the market's two tokens", names)
        told = obj.get("umaResolutionStatus") or obj.get("resolutionStatus")
        is_void = all(decimal_to_int(price, 6) == MICRO // 2 for price in pair_of(obj, "outcomePrices"))
        if optional_flag_of(obj, "closed") is True and told in RESOLVED and is_void:
            return MICRO // 2, MICRO // 2
    except FieldError as error:
        return MarketRefusal(condition.hex(), f"gamma {error.field}", error.expected, error.found)
    except ValueError as error:
        return MarketRefusal(condition.hex(), "gamma", "JSON", str(error)[:80])
    return PENDING


def _is_it(row: dict[str, Any], condition: bytes) -> bool:
    """Tell whether a row is the market's; Gamma may write a v2 condition without its padding."""
    text = row.get("conditionId")
    return isinstance(text, str) and text.removeprefix("0x").ljust(64, "0") == condition.hex()
