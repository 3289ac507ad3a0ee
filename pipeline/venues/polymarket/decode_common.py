"""What the market and the user channel decoders share: reading JSON safely, fields, refusals.

Reads bytes, writes nothing. Every way in which a frame can be wrong ends in one `Refused`, which
`refusal_of` turns into a counted reject; nothing is guessed and no missing field is defaulted.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from pipeline.kinds import Cause, Side
from pipeline.native.framescan import survey
from pipeline.units import TICKS_PER_USD, decimal_to_int

FRAME_BYTES_MAX = 1 << 20  # one object
# An array: the first snapshots of many books. Half of what IN01 allows: the parser copies the text, and
# VALUES_MAX holds some 2 MB of levels already.
ARRAY_BYTES_MAX = 8 << 20
VALUES_MAX = 200_000  # commas and containers of one frame; bounds the memory of the parsed objects
SIZE_MICRO_MAX = 10**15  # a billion shares
_MS_MIN, _MS_MAX = 10**12, 9 * 10**12  # 13 digits; nanoseconds must fit 63 bits
_BLANKS = b" \t\n\r"
_NO_BREACH = ("repeats a key", "has an escape in a key")  # of what `survey` finds: wrong, and not too much
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}

Token = tuple[int, int] | tuple[int, int, str]  # row, outcome, and the market text to check if there is one
TokenLookup = Callable[[str], Token | None] | Mapping[str, Token]


class Shape(enum.Enum):
    """What a frame is before it is parsed."""

    OBJECT = 1
    ARRAY = 2
    IGNORED = 3  # PONG or blank


class Refused(ValueError):
    """A frame or a row is not what the venue's description says; the text says where and what."""

    def __init__(self, text: str, cause: Cause = Cause.DECODE) -> None:
        super().__init__(text)
        self.cause = cause


class Breach(Refused):
    """A frame is beyond a cap of size, depth, count or time: its socket is not to be listened to further."""


class Decoded(NamedTuple):
    """What became of one frame or row; `records` is empty whenever `reject` is set."""

    records: list[bytes]  # runs of 256-byte slots, in the order of the frame
    reject: Cause | None  # why the whole frame was dropped
    text: str  # the reject in words, one line
    unknown_count: int  # objects whose token is not in the table
    ignored_count: int  # objects that are none of our business (event types, the 2025 schema, PONG)
    rows: tuple[int, ...]  # of a reject: instruments that the frame names; empty = any may be meant
    announced: list[dict[str, Any]]  # parsed `new_market` objects, for refdata
    is_breach: bool = False  # of a reject: a cap was broken, so the socket should be closed


class KnownToken(NamedTuple):
    """A token found in the table."""

    row: int
    outcome: int
    market: str


def lookup_of(table: TokenLookup) -> Callable[[str], KnownToken | None]:
    """Return one lookup for a dict, a function or `TokenTable.get`."""
    find = table.get if isinstance(table, Mapping) else table

    def token(text: str) -> KnownToken | None:
        found = find(text)
        if found is None:
            return None
        return KnownToken(found[0], found[1], found[2] if len(found) == 3 else "")

    return token


def shape_of(data: bytes | memoryview) -> Shape:
    """Tell what a frame is from its first byte; raises Refused when it is no JSON object or array.

    What is larger than one object may be is a Breach then.
    """
    head = bytes(data[:64]).lstrip(_BLANKS) or bytes(data[:FRAME_BYTES_MAX]).lstrip(_BLANKS)
    is_small = len(data) <= FRAME_BYTES_MAX
    if not head and is_small:
        return Shape.IGNORED
    if head[:1] == b"{":
        return Shape.OBJECT
    if head[:1] == b"[":
        return Shape.ARRAY
    if head.startswith(b"PONG") and is_small and bytes(data).strip(_BLANKS) == b"PONG":
        return Shape.IGNORED
    raise (Refused if is_small else Breach)(
        f"frame starts with {head[:16]!r}, expected a JSON object or array")


def parse(data: bytes | memoryview, shape: Shape) -> list[Any]:
    """Return the frame's objects; raises Refused for a breach of a cap and ValueError for what is no JSON."""
    bytes_max = ARRAY_BYTES_MAX if shape is Shape.ARRAY else FRAME_BYTES_MAX
    if len(data) > bytes_max:
        raise Breach(f"frame has {len(data)} bytes, at most {bytes_max} are read")
    wrong = survey(data, VALUES_MAX)
    if wrong:
        raise (Refused if wrong in _NO_BREACH else Breach)(f"frame {wrong}")
    parsed = orjson.loads(data)
    return parsed if shape is Shape.ARRAY else [parsed]


def refusal_of(error: BaseException) -> Refused:
    """Return the one form that every decoding error ends in."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, RecursionError | MemoryError):
        return Breach(f"frame cannot be decoded: {type(error).__name__}")
    if isinstance(error, orjson.JSONDecodeError):
        return Refused(f"frame is not JSON: {error.msg[:80]} at byte {error.pos}")
    return Refused(f"frame cannot be decoded: {type(error).__name__}")


def shown(value: object) -> str:
    """Return a foreign value for a message: quoted, one line, at most 42 characters."""
    text = value if isinstance(value, str) else repr(value) if isinstance(value, int | float | bool) else ""
    if not isinstance(value, str):
        return text[:42] or type(value).__name__
    safe = "".join(c if c.isprintable() and c not in '"\\' else "?" for c in text[:40])
    return f'"{safe}{"…" if len(text) > len(safe) else ""}"'


def short_id(text: object) -> str:
    """Return a long id as people write it: 0x5f…a1."""
    if not isinstance(text, str) or not text.isascii() or not text.isalnum():
        return "?"
    return text if len(text) <= 8 else f"{text[:4]}…{text[-2:]}"


def text_field(obj: dict[str, Any], key: str, path: str) -> str:
    """Return a required string."""
    value = obj.get(key)
    if not isinstance(value, str):
        found = shown(value) if key in obj else "absent"
        raise Refused(f"{key} at {path}.{key} must be a string, was {found}")
    return value


def decimal_field(obj: dict[str, Any], key: str, path: str, scale: int) -> int:
    """Return a required decimal string times 10**scale."""
    text = text_field(obj, key, path)
    try:
        return decimal_to_int(text, scale)
    except ValueError:
        raise Refused(f"{key} {shown(text)} at {path}.{key} is not a decimal") from None


def price_field(obj: dict[str, Any], key: str, path: str) -> int:
    """Return a required price in ticks, above 0 and below 1 USD."""
    ticks = decimal_field(obj, key, path, 4)
    if not 0 < ticks < TICKS_PER_USD:
        raise Refused(f"{key} {shown(obj[key])} at {path}.{key} must lie between 0 and 1")
    return ticks


def size_field(obj: dict[str, Any], key: str, path: str) -> int:
    """Return a required size in 1e-6 share, 0..1e15."""
    size_micro = decimal_field(obj, key, path, 6)
    if size_micro > SIZE_MICRO_MAX:
        raise Refused(f"{key} {shown(obj[key])} at {path}.{key} is beyond {SIZE_MICRO_MAX // 10**6} shares")
    return size_micro


def side_field(obj: dict[str, Any], path: str) -> Side:
    """Return the required side."""
    side = _SIDES.get(text_field(obj, "side", path))
    if side is None:
        raise Refused(f"side {shown(obj['side'])} at {path}.side must be BUY or SELL")
    return side


def token_field(obj: dict[str, Any], key: str, path: str) -> str:
    """Return a required token id: 1..78 ASCII digits, kept as text."""
    text = text_field(obj, key, path)
    if not (text.isascii() and text.isdigit() and len(text) <= 78):
        raise Refused(f"{key} {shown(text)} at {path}.{key} is not a token id")
    return text


def ms_field(obj: dict[str, Any], key: str, path: str) -> int:
    """Return a required time in nanoseconds from milliseconds since the epoch as 13 digits."""
    text = text_field(obj, key, path)
    if not (text.isascii() and text.isdigit() and len(text) == 13 and _MS_MIN <= int(text) < _MS_MAX):
        raise Refused(f"{key} {shown(text)} at {path}.{key} is not milliseconds since the epoch")
    return int(text) * 1_000_000


def list_field(obj: dict[str, Any], key: str, path: str, count_max: int) -> list[Any]:
    """Return a required array of at most `count_max` items; more are a breach."""
    value = obj.get(key)
    if not isinstance(value, list):
        found = shown(value) if key in obj else "absent"
        raise Refused(f"{key} at {path}.{key} must be an array, was {found}")
    if len(value) > count_max:
        raise Breach(f"{key} at {path}.{key} has {len(value)} items, at most {count_max} are read")
    return value


def object_item(value: object, path: str) -> dict[str, Any]:
    """Return an item that must be an object."""
    if not isinstance(value, dict):
        raise Refused(f"{path} must be an object, was {shown(value)}")
    return value
