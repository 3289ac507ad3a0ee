"""What the venue says of itself and of an account before anybody trades: answers to values.

Pure: `pm doctor` and the account stage ask. A value that is missing or of another type is a Refusal that
says what was expected; nothing is defaulted. Source: venue sheet 2.3, 9.1, 13, 15.3, 16, read 2026-11-20.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from pipeline.kinds import Cause
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.identity import Refusal

VERSION: Final = 2  # V: the order version that this build signs by default; sheet 1
_WORDS_MAX: Final = 100
_UINT: Final = re.compile(r"[0-9]{1,78}")
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")
_COUNTRY: Final = re.compile(r"[A-Za-z0-9-]{0,10}")


@dataclass(frozen=True, slots=True)
class Geo:
    """Whether the venue serves this machine; country and region as it names them, for the message alone."""

    is_blocked: bool
    country: str
    region: str


@dataclass(frozen=True, slots=True)
class Money:
    """Collateral and what each spender may take of it, in 1e-6 pUSD; spenders in lower case."""

    balance_micro: int
    allowances_micro: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rate:
    """Rate tier and what is left of a bucket, as the answer's headers say; "" and -1 where they do not."""

    tier: str
    remaining: int
    warning: str


def plain(text: str) -> str:
    """Return a venue's text for one line of a terminal: bounded, without control characters."""
    return "".join(one if one.isprintable() else "?" for one in text[:_WORDS_MAX])


def _json(http_status: int, body: bytes) -> Any | Refusal:
    if http_status != 200:
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            said = None
        text = said.get("error") if isinstance(said, dict) else None
        return Refusal(Cause.VENUE_REJECT, f"http {http_status}" + (
            f": {plain(text)}" if isinstance(text, str) else ""))
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return Refusal(Cause.BAD_ANSWER, "the answer is not JSON")


def _bad(what: str) -> Refusal:
    return Refusal(Cause.BAD_ANSWER, f"{what} expected, was something else")


def parse_version(http_status: int, body: bytes) -> int | Refusal:
    """Return the default order version of `GET /version`."""
    found = _json(http_status, body)
    if isinstance(found, Refusal):
        return found
    version = found.get("version") if isinstance(found, dict) else None
    return version if isinstance(version, int) and not isinstance(version, bool) else _bad("version")


def parse_geoblock(http_status: int, body: bytes) -> Geo | Refusal:
    """Return the verdict of `GET /api/geoblock`; only a plain boolean is one."""
    found = _json(http_status, body)
    if isinstance(found, Refusal):
        return found
    blocked = found.get("blocked") if isinstance(found, dict) else None
    if not isinstance(blocked, bool):
        return _bad("blocked as true or false")
    places = [found.get(name) for name in ("country", "region")]
    country, region = (
        place if isinstance(place, str) and _COUNTRY.fullmatch(place) else "?" for place in places)
    return Geo(blocked, country, region)


def parse_closed_only(http_status: int, body: bytes) -> bool | Refusal:
    """Return whether the account may only close positions."""
    found = _json(http_status, body)
    if isinstance(found, Refusal):
        return found
    closed = found.get("closed_only") if isinstance(found, dict) else None
    return closed if isinstance(closed, bool) else _bad("closed_only as true or false")


def _units(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return int(value) if isinstance(value, str) and _UINT.fullmatch(value) else None


def parse_money(http_status: int, body: bytes) -> Money | Refusal:
    """Return balance and allowances of `GET /balance-allowance`, by each spender that the venue names."""
    found = _json(http_status, body)
    if isinstance(found, Refusal):
        return found
    balance = _units(found.get("balance")) if isinstance(found, dict) else None
    named = found.get("allowances") if isinstance(found, dict) else None
    if balance is None or not isinstance(named, dict):
        return _bad("balance and a map of allowances")
    allowances = {spender.lower(): _units(value) for spender, value in named.items()}
    if not all(_ADDRESS.fullmatch(spender) for spender in allowances) or None in allowances.values():
        return _bad("allowances as amounts by address")
    return Money(balance, {spender: value or 0 for spender, value in allowances.items()})


def parse_approvals(http_status: int, body: bytes) -> dict[tuple[str, str], bool] | Refusal:
    """Return (token, spender) -> approved of data-api's `GET /v2/approvals`, addresses in lower case."""
    found = _json(http_status, body)
    if isinstance(found, Refusal):
        return found
    data = found.get("data") if isinstance(found, dict) else None
    rows = data.get("contracts") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        return _bad("data.contracts as an array")
    approvals: dict[tuple[str, str], bool] = {}
    for row in rows:
        values = [row.get(name) for name in ("token", "spender", "approved")] if isinstance(row, dict) else []
        if len(values) != 3 or not isinstance(values[0], str) or not isinstance(values[1], str) or not (
                isinstance(values[2], bool)):
            return _bad("rows of token, spender and approved")
        approvals[values[0].lower(), values[1].lower()] = values[2]
    return approvals


def parse_rate(headers: Mapping[str, str]) -> Rate | None:
    """Return what the rate headers of an answer say; None when it has none. Names are lower case."""
    tier = headers.get(wire.HEADER_TIER, "")
    remaining = headers.get(wire.HEADER_REMAINING, "")
    warning = headers.get(wire.HEADER_WARNING, "")
    if not (tier or remaining or warning):
        return None
    return Rate(plain(tier), int(remaining) if _UINT.fullmatch(remaining) else -1, plain(warning))
