"""Typed reading of the venue's metadata objects: a value is of the expected type or a `FieldError`.

Reads and writes nothing; `universe` and `clob_market` build on it. Fractions keep their text, because a
binary float is neither a price nor a fee.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from pipeline.native.framescan import survey
from pipeline.units import NS_PER_S, decimal_to_int

INT64_MAX = 2**63 - 1  # what a field of a record holds
_VALUES_MAX = 4_000_000  # commas and containers of one page; its bytes are bounded by the driver


class NumberText(str):
    """A JSON number with a fraction, kept as the text that the venue sent."""

    __slots__ = ()


class FieldError(ValueError):
    """A required value is missing or of another type; becomes a `MarketRefusal`."""

    def __init__(self, field: str, expected: str, found: object) -> None:
        super().__init__(field, expected, found)
        self.field, self.expected, self.found = field, expected, repr(found)[:80]


@dataclass(frozen=True, slots=True)
class MarketRefusal:
    """Why an object is no instrument: which field, what was expected, what was found."""

    market_id: str
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (f"polymarket.universe: market {self.market_id}: {self.field} expected {self.expected}, "
                f"was {self.found}; market left out")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def loads(data: bytes | str) -> Any:
    """Return parsed JSON with fractions as `NumberText`; ValueError for anything that is no JSON.

    Depth is looked at before: how deep the parser itself may go is the process's to set, and a library that
    sets it high lets a page of brackets run over the stack. Text that says a key twice is refused as well.
    """
    wrong = survey(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"), _VALUES_MAX)
    if wrong:
        raise ValueError(f"text {wrong}")
    return json.loads(data, parse_float=NumberText, parse_constant=_no_constant)


def text_of(obj: dict[str, Any], name: str) -> str:
    value = obj.get(name)
    if type(value) is not str or not value:
        raise FieldError(name, "a text", value)
    return value


def flag_of(obj: dict[str, Any], name: str) -> bool:
    value = obj.get(name)
    if not isinstance(value, bool):
        raise FieldError(name, "true or false", value)
    return value


def optional_flag_of(obj: dict[str, Any], name: str) -> bool | None:
    """Return a flag, None when the key is absent or null; FieldError for another type."""
    return None if obj.get(name) is None else flag_of(obj, name)


def scaled_of(obj: dict[str, Any], name: str, digits: int) -> int:
    """Return a JSON number or decimal string as an integer of 10**-digits units that a record can hold."""
    value = obj.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise FieldError(name, "a decimal number", value)
    try:
        scaled = decimal_to_int(str(value), digits)
    except ValueError:
        raise FieldError(name, f"a decimal with at most {digits} digits after the point", value) from None
    if scaled > INT64_MAX:
        raise FieldError(name, f"at most {INT64_MAX // 10**digits}", value)
    return scaled


def pair_of(obj: dict[str, Any], name: str) -> tuple[str, str]:
    """Return two texts from a JSON array, also from one inside a string (Gamma writes both)."""
    value = obj.get(name)
    if type(value) is str:
        try:
            value = loads(value)
        except ValueError:
            raise FieldError(name, "a JSON array inside the text", value) from None
    if not isinstance(value, list) or len(value) != 2 or not all(type(v) is str and v for v in value):
        raise FieldError(name, "an array of two texts", value)
    return value[0], value[1]


def hex_bytes(text: str, name: str, sizes: tuple[int, ...]) -> bytes:
    try:
        raw = bytes.fromhex(text[2:]) if text.startswith("0x") and " " not in text else b""
    except ValueError:
        raw = b""
    if len(raw) not in sizes:
        raise FieldError(name, f"0x and {' or '.join(str(2 * size) for size in sizes)} hex digits", text)
    return raw


def ends_ns_of(obj: dict[str, Any]) -> int:
    return _time_ns_of(obj, "endDate")


def game_start_ns_of(obj: dict[str, Any]) -> int:
    """Return when the match of a market begins, 0 = the venue names none."""
    return _time_ns_of(obj, "gameStartTime")


def _time_ns_of(obj: dict[str, Any], name: str) -> int:
    value = obj.get(name)
    if value is None or value == "":
        return 0
    try:
        ends = datetime.fromisoformat(value) if type(value) is str else None
    except ValueError:
        ends = None
    if ends is None or ends.tzinfo is None:
        raise FieldError(name, "an ISO time with its zone", value)
    since = ends - datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    ends_ns = (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1_000
    if not 0 <= ends_ns <= INT64_MAX:
        raise FieldError("endDate", "a time from 1970 to 2262", value)
    return ends_ns
