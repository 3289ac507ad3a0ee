"""The venue's list of what a wallet holds: questions, pages and rows of the data API.

An index of the chain: seconds behind, without positions below 0.1 share, with sizes as binary floats. So it
says where to look, never what we hold. Source: venue sheet 13, clients sheet 2.5, read 2026-11-20.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pipeline.kinds import Cause
from pipeline.units import MICRO
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.decode_common import shown
from pipeline.venues.polymarket.fields import INT64_MAX, NumberText, loads
from pipeline.venues.polymarket.identity import Refusal

PAGE_ROWS: Final = 500
_PAGES_MAX: Final = 200
_UINT: Final = re.compile(r"[0-9]{1,78}")
_CURSOR_CHARS_MAX: Final = 4_096
_DIGITS_MAX: Final = 40  # of a size; a double has 17


class Position(NamedTuple):
    """One row of the list."""

    token: str  # decimal id
    size_micro: int  # rounded to 1e-6 share


class PositionsWalk:
    """Reads the list page by page: ask `path`, hand the answer to `on_answer`, until `path` is None.

    A page or row that cannot be read ends the walk with a `refusal`: half a list is no evidence (FL08).
    """

    def __init__(self, wallet: str) -> None:
        self._base = f"{wire.PATH_POSITIONS}?user={wallet}&status=OPEN&limit={PAGE_ROWS}"
        self._seen: set[str] = set()
        self._pages = 0
        self.refusal: Refusal | None = None
        self.path: str | None = self._base

    @property
    def is_complete(self) -> bool:
        """True when every page was read."""
        return self.path is None and self.refusal is None

    def on_answer(self, http_status: int, body: bytes) -> list[Position]:
        """Take one page and return its rows; sets `path` to the next question, or None at the end."""
        self._pages += 1
        self.path, base = None, self._base
        try:
            rows, cursor = _page(http_status, body)
            found = [_position(row) for row in rows]
            if cursor and (cursor in self._seen or self._pages >= _PAGES_MAX):
                raise ValueError(f"cursor {shown(cursor)} was seen before, or stands on page {_PAGES_MAX}")
        except ValueError as problem:
            self.refusal = Refusal(Cause.BAD_ANSWER, f"{wire.PATH_POSITIONS}: {problem}")
            return []
        if cursor:
            self._seen.add(cursor)
            self.path = f"{base}&cursor={quote(cursor, safe='')}"
        return found


def _page(http_status: int, body: bytes) -> tuple[list[Any], str]:
    """Return the rows and the cursor of the next page, "" at the end; ValueError when it is no such page."""
    if http_status != 200:
        raise ValueError(f"http {http_status}")
    page = loads(body)
    rows, turn = (page.get("data"), page.get("pagination")) if isinstance(page, dict) else (None, None)
    if not isinstance(rows, list) or not isinstance(turn, dict):
        raise ValueError("data as an array and pagination as an object expected")
    has_more, cursor = turn.get("has_more"), turn.get("next_cursor")
    if has_more is False and cursor is None:
        return rows, ""
    if has_more is not True or not isinstance(cursor, str) or not 0 < len(cursor) <= _CURSOR_CHARS_MAX:
        raise ValueError("has_more and next_cursor must agree: nobody knows whether this is all")
    return rows, cursor


def _position(row: Any) -> Position:
    """Return a row's token and size; ValueError for one that cannot be read."""
    token, size = (row.get("token_id"), row.get("current_size")) if isinstance(row, dict) else (None, None)
    if not isinstance(token, str) or not _UINT.fullmatch(token):
        raise ValueError(f"token_id as a decimal text expected, was {shown(token)}")
    if isinstance(size, bool) or not isinstance(size, int | NumberText) or len(str(size)) > _DIGITS_MAX:
        raise ValueError(f"current_size as a number expected, was {shown(size)}")
    micro = Decimal(size) * MICRO
    if not 0 <= micro <= INT64_MAX:
        raise ValueError(f"current_size from 0 to {INT64_MAX // MICRO} expected, was {shown(size)}")
    return Position(token, int(micro.to_integral_value()))
