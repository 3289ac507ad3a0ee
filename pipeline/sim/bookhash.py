"""The venue's SHA-1 of a book, from its definition: `json.dumps` and hashlib, nothing incremental.

Source: docs sheet of 2026-11-20, verified there on 24 recorded books and 197 end-of-batch changes.
Slow (50-100 us for 100 levels) and plain on purpose: `render` makes the same preimage from cached
text, and `shadow` needs the hash only now and then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pipeline.units import int_to_decimal

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


def solve_hash(
    book: dict[str, Any], min_order_size: str, tick_steps: Sequence[int], neg_risks: Sequence[bool]
) -> tuple[bool, str, int] | None:
    """Return (neg_risk, last trade price, tick step) that reproduce a recorded book's hash, or None.

    Tries the given ticks and neg_risk values and, where the frame has no last_trade_price, "" and
    every price of three decimals. One hash state per prefix, so a try costs about 1 us.
    """
    head = {
        "market": book["market"],
        "asset_id": book["asset_id"],
        "timestamp": book["timestamp"],
        "hash": "",
        "bids": [{"price": level["price"], "size": level["size"]} for level in book["bids"]],
        "asks": [{"price": level["price"], "size": level["size"]} for level in book["asks"]],
    }
    start = json.dumps(head, separators=(",", ":"), ensure_ascii=False)[:-1]
    base = hashlib.sha1(start.encode(), usedforsecurity=False)
    trades = ["", *(f"0.{thousandths:03d}" for thousandths in range(1, 1000))]
    if "last_trade_price" in book:
        trades = [book["last_trade_price"]]
    for step in dict.fromkeys(tick_steps):
        for neg_risk in neg_risks:
            prefix = base.copy()
            prefix.update(
                f',"min_order_size":"{min_order_size}","tick_size":"{int_to_decimal(step, 4)}",'
                f'"neg_risk":{"true" if neg_risk else "false"},"last_trade_price":"'.encode()
            )
            for trade in trades:
                attempt = prefix.copy()
                attempt.update(f'{trade}"}}'.encode())
                if attempt.hexdigest() == book["hash"]:
                    return neg_risk, trade, step
    return None
