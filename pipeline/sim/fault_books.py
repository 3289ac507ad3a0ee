"""Ghost books: REST shows books of living markets as 0.01 against 0.99. The book itself does not change.

Seen on the venue by several bots; with which time and hash, nobody wrote down, so the worst is served: a hash
that fits what is shown, and the book's own time or this moment (`dated`).
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from pipeline.sim.http import Response, json_response
from pipeline.units import NS_PER_MS

SIDES = {"bids": [{"price": "0.01", "size": "100000"}], "asks": [{"price": "0.99", "size": "100000"}]}


def ghosts_of(answer: Response | None, dated: str, now_ns: int) -> Response | None:
    """Return the answer with a ghost in place of each book; what holds no books stays as it is."""
    if answer is None or answer.status != 200:
        return answer
    value = orjson.loads(answer.body)
    if isinstance(value, list):
        return json_response([_ghost(one, dated, now_ns) for one in value])
    return json_response(_ghost(value, dated, now_ns))


def _ghost(book: dict[str, Any], dated: str, now_ns: int) -> dict[str, Any]:
    if "bids" not in book:
        return book
    ghost = {**book, **SIDES, "hash": ""}  # the order of the keys is the hash's
    if dated == "now":
        ghost["timestamp"] = str(now_ns // NS_PER_MS)
    ghost["hash"] = hashlib.sha1(orjson.dumps(ghost), usedforsecurity=False).hexdigest()
    return ghost
