"""A plain reader of market frames for tests: books by token, and the venue's hash from the sheet.

Independent of pipeline.sim and of the pipeline's own decoder: json, hashlib, Decimal strings as keys.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


def venue_hash(
    market: str,
    asset: str,
    timestamp: str,
    bids: dict[str, str],
    asks: dict[str, str],
    min_order_size: str,
    tick: str,
    neg_risk: bool,
    last_trade: str,
    version: str = "",
) -> str:
    """Return SHA-1 of the compact JSON (venue sheet 5)."""
    text = venue_text(
        market, asset, timestamp, bids, asks, min_order_size, tick, neg_risk, last_trade, version
    )
    return hashlib.sha1(text.encode()).hexdigest()


def venue_text(
    market: str,
    asset: str,
    timestamp: str,
    bids: dict[str, str],
    asks: dict[str, str],
    min_order_size: str,
    tick: str,
    neg_risk: bool,
    last_trade: str,
    version: str = "",
) -> str:
    """Return what is hashed: bids ascending, asks descending, the best level last."""
    book = {
        "market": market,
        "asset_id": asset,
        "timestamp": timestamp,
        "hash": "",
        "bids": [{"price": p, "size": bids[p]} for p in sorted(bids, key=Decimal)],
        "asks": [{"price": p, "size": asks[p]} for p in sorted(asks, key=Decimal, reverse=True)],
        "min_order_size": min_order_size,
        "tick_size": tick,
        "neg_risk": neg_risk,
        "last_trade_price": last_trade,
    }
    if version:  # of v2 markets alone, and last
        book["version"] = version
    return json.dumps(book, separators=(",", ":"), ensure_ascii=False)


@dataclass
class TokenBook:
    """One token's book as a subscriber keeps it."""

    market: str
    asset: str
    tick: str = "0.01"
    last_trade: str = ""
    timestamp: str = "0"
    digest: str = ""
    version: str = ""
    best: tuple[str, str] = ("0", "1")
    bids: dict[str, str] = field(default_factory=dict)
    asks: dict[str, str] = field(default_factory=dict)

    def computed(self, neg_risk: bool, last_trade: str | None = None) -> str:
        trade = self.last_trade if last_trade is None else last_trade
        return venue_hash(*self._told(neg_risk, trade))

    def _told(self, neg_risk: bool, last_trade: str) -> tuple[Any, ...]:
        ours = (self.market, self.asset, self.timestamp, self.bids, self.asks, "5", self.tick)
        return *ours, neg_risk, last_trade, self.version

    def searched(self, neg_risk: bool) -> str | None:
        """Return the last trade price (three decimals) that explains the announced hash, or None."""
        marker = "0.LTP"
        head, _, tail = venue_text(*self._told(neg_risk, marker)).rpartition(marker)
        prefix = hashlib.sha1(head.encode())
        for trade in ("", *(f"0.{n:03d}" for n in range(1, 1000))):
            attempt = prefix.copy()
            attempt.update(f"{trade}{tail}".encode())
            if attempt.hexdigest() == self.digest:
                return trade
        return None


@dataclass
class Follower:
    """Follows frames; `check` proves every book that a run of frames finished."""

    neg_risk: dict[str, bool]  # by market
    books: dict[str, TokenBook] = field(default_factory=dict)
    dirty: dict[str, None] = field(default_factory=dict)
    proven: int = 0
    wrong: list[str] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    prints: list[dict[str, Any]] = field(default_factory=list)
    resolved: list[dict[str, Any]] = field(default_factory=list)

    def on_text(self, text: str) -> None:
        if text == "PONG":
            return
        items = json.loads(text)
        for item in items if isinstance(items, list) else [items]:
            kind = item["event_type"]
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if kind == "book":
                self._on_book(item)
            elif kind == "price_change":
                self._on_change(item)
            elif kind == "tick_size_change":
                if item["asset_id"] in self.dirty:
                    self.check(item["asset_id"])  # what came before was hashed with the old tick
                self.books[item["asset_id"]].tick = item["new_tick_size"]
            elif kind == "last_trade_price":
                self.prints.append(item)
            elif kind == "market_resolved":
                self.resolved.append(item)

    def _on_book(self, item: dict[str, Any]) -> None:
        self._finish(item["asset_id"], item["timestamp"], item["hash"])
        book = self.books.setdefault(item["asset_id"], TokenBook(item["market"], item["asset_id"]))
        book.bids = {level["price"]: level["size"] for level in item["bids"]}
        book.asks = {level["price"]: level["size"] for level in item["asks"]}
        book.timestamp, book.digest = item["timestamp"], item["hash"]
        if "tick_size" in item:
            book.tick, book.last_trade = item["tick_size"], item["last_trade_price"]
            book.version = item.get("version", "")
        self.dirty[book.asset] = None

    def _on_change(self, item: dict[str, Any]) -> None:
        for change in item["price_changes"]:
            self._finish(change["asset_id"], item["timestamp"], change["hash"])
            book = self.books[change["asset_id"]]
            side = book.bids if change["side"] == "BUY" else book.asks
            if change["size"] == "0":
                side.pop(change["price"], None)
            else:
                side[change["price"]] = change["size"]
            book.timestamp, book.digest = item["timestamp"], change["hash"]
            book.best = (change["best_bid"], change["best_ask"])
            self.dirty[book.asset] = None

    def _finish(self, asset: str, timestamp: str, digest: str) -> None:
        """A new (timestamp, hash) means that the batch before it is complete: prove it now."""
        book = self.books.get(asset)
        if book is not None and asset in self.dirty and (book.timestamp, book.digest) != (timestamp, digest):
            self.check(asset)

    def check(self, asset: str) -> None:
        """Compare one token's book with its announced hash; learn the last trade price as clients must."""
        del self.dirty[asset]
        book = self.books[asset]
        neg_risk = self.neg_risk[book.market]
        if book.computed(neg_risk) != book.digest:
            found = book.searched(neg_risk)
            if found is None:
                self.wrong.append(f"{asset} at {book.timestamp}")
                return
            for other in self.books.values():
                if other.market == book.market:
                    other.last_trade = found
        self.proven += 1

    def check_all(self) -> None:
        for asset in list(self.dirty):
            self.check(asset)
