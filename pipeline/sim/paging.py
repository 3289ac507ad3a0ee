"""Offsets as opaque cursors: what every list of the exchange gives out and takes back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, TypeVar

from pipeline.sim.errors_text import Refusal
from pipeline.sim.http import Response, json_response, refuse

END_CURSOR = "LTE="  # the CLOB's word for "no more": -1

T = TypeVar("T")


def cursor_of(place: int) -> str:
    """Return the cursor that names an offset."""
    return base64.b64encode(str(place).encode()).decode()


def place_of(cursor: str) -> int | None:
    """Return the offset that a cursor names; 0 for none, -1 at the end, None if it is no cursor."""
    if not cursor:
        return 0
    try:
        text = base64.b64decode(cursor, validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    if text == "-1":
        return -1
    return int(text) if text.isdigit() and len(text) < 12 else None


def page_of(rows: Iterable[T], start: int, limit: int) -> tuple[list[T], bool]:
    """Return a page from `start` (-1 = past the end) and whether more follows; looks at nothing behind it."""
    found = list(islice(rows, start, start + limit + 1)) if start >= 0 else []
    return found[:limit], len(found) > limit


def clob_page(
    query: dict[str, str], rows: Iterable[T], render: Callable[[T], dict[str, Any]], limit: int
) -> Response:
    """Answer one page in the CLOB's envelope; "MA==" or no cursor is the first."""
    start = place_of(query.get("next_cursor", ""))
    if start is None:
        return refuse(Refusal("invalid next_cursor"))
    page, has_more = page_of(rows, start, limit)
    follow = cursor_of(start + limit) if has_more else END_CURSOR
    data = [render(row) for row in page]
    return json_response({"limit": limit, "next_cursor": follow, "count": len(data), "data": data})
