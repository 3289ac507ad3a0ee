"""Books as REST shows them, read for comparison with the stream's.

Reads answers of `POST /books`, writes SAMPLE records: time, hash, best prices and one number of all levels.
REST is known to show books of living markets as 0.01 against 0.99, and states of long ago (venue sheet 4 and
19, read 2026-11-20), so nothing here ever becomes a book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from pipeline.codec import CODECS
from pipeline.kinds import Kind
from pipeline.native.books import levels_mix
from pipeline.units import TICKS_PER_USD
from pipeline.venues.polymarket.decode_common import (
    Refused,
    Shape,
    list_field,
    ms_field,
    object_item,
    parse,
    price_field,
    size_field,
    text_field,
)

LEVELS_MAX = TICKS_PER_USD - 1  # of one side; there are no more prices
_HEX = frozenset("0123456789abcdef")


class Sample(NamedTuple):
    """One token's book as REST showed it: venue time in ns, best prices in ticks with 0 for no such side."""

    row: int
    venue_ns: int
    hash: bytes
    bid_ticks: int
    ask_ticks: int
    level_count: int
    levels_mix: int

    def record(self, recv_ns: int) -> bytes:
        """Return the SAMPLE slot; source and its count are the caller's to write."""
        return CODECS[Kind.SAMPLE].pack(
            recv_ns=recv_ns, instrument=self.row, venue_ns=self.venue_ns, hash=self.hash,
            bid_ticks=self.bid_ticks, ask_ticks=self.ask_ticks, level_count=self.level_count,
            levels_mix=self.levels_mix)


def books_question(tokens: Sequence[str]) -> bytes:
    """Return the body of `POST /books` for tokens, at most `wire.BOOKS_MAX`."""
    return orjson.dumps([{"token_id": token} for token in tokens])


def parse_books(body: bytes, rows: Mapping[str, int]) -> tuple[list[Sample], int]:
    """Return the books of an answer that were asked for, and how many of its objects are no books.

    rows: first outcome's token to row. A body that is no list of objects counts as one.
    """
    try:
        if body[:1] != b"[":
            raise Refused(f"books start with {bytes(body[:16])!r}, expected a JSON array")
        objects = parse(body, Shape.ARRAY)
    except (ValueError, RecursionError, MemoryError):
        return [], 1
    samples, refused_count = [], 0
    for index, value in enumerate(objects):
        try:
            sample = _sample(object_item(value, f"$[{index}]"), f"$[{index}]", rows)
        except (ValueError, RecursionError):
            refused_count += 1
            continue
        if sample is not None:
            samples.append(sample)
    return samples, refused_count


def _sample(obj: dict[str, Any], path: str, rows: Mapping[str, int]) -> Sample | None:
    row = rows.get(text_field(obj, "asset_id", path))
    if row is None:
        return None
    text = text_field(obj, "hash", path)
    if len(text) != 40 or not _HEX.issuperset(text):
        raise Refused(f"hash at {path}.hash is not 40 hex digits")
    bids, asks = _levels(obj, "bids", path), _levels(obj, "asks", path)
    return Sample(
        row, ms_field(obj, "timestamp", path), bytes.fromhex(text),
        max((price for price, _ in bids), default=0), min((price for price, _ in asks), default=0),
        len(bids) + len(asks), levels_mix(bids, asks))


def _levels(obj: dict[str, Any], key: str, path: str) -> list[tuple[int, int]]:
    levels = []
    for index, value in enumerate(list_field(obj, key, path, LEVELS_MAX)):
        place = f"{path}.{key}[{index}]"
        level = object_item(value, place)
        size_micro = size_field(level, "size", place)
        if size_micro:
            levels.append((price_field(level, "price", place), size_micro))
    return levels
