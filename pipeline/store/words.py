"""Records in words and as JSON, for `pm inspect`, `pm explain` and error messages.

Reads slots; writes text. Numbers keep their units: prices in USD, sizes in shares, times in UTC.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any

from pipeline import kinds, records
from pipeline.codec import unpack
from pipeline.units import NS_PER_S, TICKS_PER_USD, int_to_decimal, usd_text

_ENUMS: dict[str, type[IntEnum] | type[IntFlag]] = {
    "cause": kinds.Cause, "state": kinds.OrderState, "origin": kinds.Origin, "side": kinds.Side,
    "outcome": kinds.Outcome, "order_type": kinds.OrderType, "intent_class": kinds.IntentClass,
    "level": kinds.HaltLevel, "rules": kinds.Rule, "status": kinds.TradeStatus,
}
_ALWAYS = {"side", "outcome", "order_type"}  # their first member is 0 and says something
#: Fields for people; all other bytes are ids, hashes and signatures.
_TEXTS = {
    name for dtype in records.DTYPES.values() for name in dtype.names or () if dtype[name].kind == "S"
}
_TEXTS.add("bytes")  # a raw frame's: what the venue wrote
_HIDDEN = {"kind", "check", "part", "parts", "source_seq", "source", "recv_ns", "seq", "now_ns"}


def utc_text(ns: int) -> str:
    """Return a time for people: "2026-11-21 14:03:07.123456789Z"."""
    if ns <= 0:
        return "never"
    whole = datetime.datetime.fromtimestamp(ns // NS_PER_S, datetime.UTC)
    return f"{whole:%Y-%m-%d %H:%M:%S}.{ns % NS_PER_S:09d}Z"


def price_text(ticks: int) -> str:
    """Return a price in USD: 5500 ticks are "0.55"."""
    return int_to_decimal(ticks, len(str(TICKS_PER_USD)) - 1)


def share_text(size_micro: int) -> str:
    """Return a size in shares; sizes below zero appear only in damaged records."""
    return int_to_decimal(size_micro, 6) if size_micro >= 0 else f"{size_micro} micro"


def _bytes_text(name: str, value: bytes) -> str:
    if name not in _TEXTS:
        return value.hex()
    return (value.rstrip(b"\0") if name == "bytes" else value).decode("ascii", "backslashreplace")


def _scalar(name: str, value: Any) -> str:
    table = _ENUMS.get(name.removeprefix("leg_"))
    if table is not None and isinstance(value, int):
        try:
            member = table(value)
        except ValueError:
            return str(value)
        return str(member.name or value)
    if isinstance(value, bytes):
        shown_text = _bytes_text(name, value)
        return shown_text if shown_text.isprintable() else repr(shown_text)  # one line, whatever it says
    for suffix, shown in _SHOWN.items():
        if name.endswith(suffix):
            return shown(int(value))
    return str(value)


_SHOWN: dict[str, Callable[[int], str]] = {
    "usd_micro": usd_text, "usd_micro_max": usd_text, "usd_micro_min": usd_text,
    "_ticks": price_text, "size_micro": share_text, "matched_micro": share_text,
    "_micro": str, "deadline_ns": utc_text, "venue_ns": utc_text, "proof_ns": utc_text, "ends_ns": utc_text,
}


def fields(slot: bytes, offset: int = 0) -> dict[str, Any]:
    """Return a record's payload as plain values (ids and hashes as hex), for `--json`."""
    record = unpack(slot, offset)
    shown: dict[str, Any] = {"seq": record.seq, "now_ns": record.now_ns, "kind": kinds.Kind(record.kind).name}
    for name, value in zip(record._fields, record, strict=True):
        if name in ("seq", "now_ns", "kind", "check") or name.startswith("reserved"):
            continue
        shown[name] = _plain(name, value)
    return shown


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, bytes):
        return _bytes_text(name, value)
    table = _ENUMS.get(name)
    if table is not None and isinstance(value, int) and value in table._value2member_map_:
        return table(value).name or value
    return value


def describe(slot: bytes, offset: int = 0) -> str:
    """Return one line: place, time, kind, flags, market row, and every field that is not zero."""
    record = unpack(slot, offset)
    kind = kinds.Kind(record.kind)
    words = [f"{record.seq:>9}", utc_text(record.now_ns), kind.name.lower()]
    if record.instrument:
        words.append(f"row={record.instrument}")
    if record.flags:
        words.append("flags=" + str(kinds.Flag(record.flags).name or record.flags).lower())
    if record.parts > 1:
        words.append(f"part={record.part + 1}/{record.parts}")
    for name, value in zip(record._fields, record, strict=True):
        if name in _HIDDEN or name in ("instrument", "flags") or name.startswith("reserved"):
            continue
        if isinstance(value, tuple):
            if any(value):
                words.append(f"{name}=[{' '.join(_scalar(name, item) for item in value)}]")
        elif (value not in (0, b"") or name in _ALWAYS) and not (isinstance(value, bytes) and not any(value)):
            words.append(f"{name}={_scalar(name, value)}")
    return " ".join(words)
