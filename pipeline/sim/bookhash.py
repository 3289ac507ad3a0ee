"""The venue's SHA-1 of a book, from its definition: `json.dumps` and hashlib, nothing incremental.

Source: docs sheet of 2026-11-20, verified there on 24 recorded books and 197 end-of-batch changes.
Slow (50-100 us for 100 levels) and plain on purpose: `render` makes the same preimage from cached
text, and `shadow` needs the hash only now and then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

Levels = Sequence[tuple[str, str]]  # (price text, size text)


def book_hash(
    market: str,
    asset: str,
    timestamp_ms: str,
    bids_ascending: Levels,
    asks_descending: Levels,
    min_order_size: str,
    tick_size: str,
    neg_risk: bool,
    last_trade: str,
    version: str = "",
) -> str:
    """Return the lower-case hex digest; texts exactly as served, best level last on both sides."""
    book: dict[str, object] = {
        "market": market,
        "asset_id": asset,
        "timestamp": timestamp_ms,
        "hash": "",
        "bids": [{"price": price, "size": size} for price, size in bids_ascending],
        "asks": [{"price": price, "size": size} for price, size in asks_descending],
        "min_order_size": min_order_size,
        "tick_size": tick_size,
        "neg_risk": neg_risk,
        "last_trade_price": last_trade,
    }
    if version:
        book["version"] = version
    text = json.dumps(book, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
