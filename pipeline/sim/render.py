"""Market frames as the venue sends them, byte for byte in layout, from one book kept as text.

Reads: `LevelChange`s of one market in the YES view. Writes: frame bytes for every subscriber of both
tokens (one render is shared). Layouts are those of the recordings of 2026-06-12, 09-11 and 09-29:
snapshot arrays are compact and end with a newline, later frames separate by ", ".

The two tokens are one book: the NO side of a YES bid at p is a NO ask at 1 - p. In served order (bids
ascending, asks descending) the mirrored lists keep their order, so each level's text is made once for
both tokens when its size changes and a hash costs two joins and one SHA-1.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable

from pipeline.errors import InvariantError
from pipeline.sim.market import LevelChange, Market
from pipeline.units import MICRO, TICKS_PER_USD, int_to_decimal

PRICE_TEXT = [int_to_decimal(ticks, 4) for ticks in range(TICKS_PER_USD + 1)]
PRICE_BYTES = [text.encode() for text in PRICE_TEXT]


def size_text(size_micro: int) -> str:
    """Return the size as served: "92790", "634.49"."""
    whole, fraction = divmod(size_micro, MICRO)
    if not fraction:
        return str(whole)
    return f"{whole}.{fraction:06d}".rstrip("0")


class BookText:
    """One market's book with the served text of every level of both tokens.

    Lists are in served order: bids by ascending price, asks by descending price, best last. `sizes`
    holds size_micro by price for each side (index 0 asks, 1 bids).
    """

    __slots__ = ("_head", "_keys", "_no", "_tail", "_yes", "last_trade", "market", "sizes", "timestamp_ms")

    def __init__(self, market: Market, levels: Iterable[LevelChange] = (), timestamp_ms: int = 0) -> None:
        self.market = market
        self.sizes: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self._keys: tuple[list[int], list[int]] = ([], [])  # asks as -price, bids as price: both ascend
        self._yes: tuple[list[bytes], list[bytes]] = ([], [])
        self._no: tuple[list[bytes], list[bytes]] = ([], [])
        self.last_trade = market.last_trade
        self.timestamp_ms = timestamp_ms
        self._head = tuple(
            f'{{"market":"{market.condition}","asset_id":"{token}","timestamp":"'.encode()
            for token in market.tokens
        )
        self._tail = (-1, b"")
        for level in levels:
            self.apply(level)

    def apply(self, change: LevelChange) -> None:
        """Set one level's absolute size; 0 removes it, removing an absent level changes nothing."""
        self.set_level(change.is_bid, change.price_ticks, change.size_micro)

    def set_level(self, is_bid: bool, price_ticks: int, size_micro: int) -> None:
        side = 1 if is_bid else 0
        sizes, keys = self.sizes[side], self._keys[side]
        key = price_ticks if is_bid else -price_ticks
        place = bisect_left(keys, key)
        known = place < len(keys) and keys[place] == key
        if size_micro <= 0:
            if size_micro < 0:
                raise InvariantError(f"sim.render: expected a size >= 0, found {size_micro} at {price_ticks}")
            if known:
                del keys[place], self._yes[side][place], self._no[side][place], sizes[price_ticks]
            return
        size = size_text(size_micro).encode()
        yes = b'{"price":"%b","size":"%b"}' % (PRICE_BYTES[price_ticks], size)
        no = b'{"price":"%b","size":"%b"}' % (PRICE_BYTES[TICKS_PER_USD - price_ticks], size)
        if known:
            self._yes[side][place] = yes
            self._no[side][place] = no
        else:
            keys.insert(place, key)
            self._yes[side].insert(place, yes)
            self._no[side].insert(place, no)
        sizes[price_ticks] = size_micro

    def clear(self) -> None:
        """Remove every level."""
        for lists in (self._keys, self._yes, self._no, self.sizes):
            for item in lists:
                item.clear()

    def best(self) -> tuple[int, int]:
        """Return (best bid, best ask) of YES in ticks; 0 and 10,000 where a side is empty."""
        asks, bids = self._keys
        return (bids[-1] if bids else 0), (-asks[-1] if asks else TICKS_PER_USD)

    def levels(self) -> list[LevelChange]:
        """Return every level, asks then bids, each in served order."""
        asks, bids = self._keys
        return [LevelChange(False, -key, self.sizes[0][-key]) for key in asks] + [
            LevelChange(True, key, self.sizes[1][key]) for key in bids
        ]

    def sides(self, outcome: int) -> tuple[list[bytes], list[bytes]]:
        """Return (bids ascending, asks descending) of a token as compact level texts."""
        return (self._yes[1], self._yes[0]) if outcome == 0 else (self._no[0], self._no[1])

    def hash(self, outcome: int) -> str:
        """Return the announced hash of one token's book at `timestamp_ms` and `last_trade`."""
        market = self.market
        if self._tail[0] != market.tick_step:
            tail = (
                f'],"min_order_size":"{market.min_order_size}","tick_size":"{PRICE_TEXT[market.tick_step]}",'
                f'"neg_risk":{"true" if market.neg_risk else "false"},"last_trade_price":"'
            )
            self._tail = (market.tick_step, tail.encode())
        bids, asks = self.sides(outcome)
        preimage = b'%b%d","hash":"","bids":[%b],"asks":[%b%b%b%b' % (
            self._head[outcome],
            self.timestamp_ms,
            b",".join(bids),
            b",".join(asks),
            self._tail[1],
            self.last_trade.encode(),
            b'"}' if market.version == "v1" else b'","version":"%b"}' % market.version.encode(),
        )
        return hashlib.sha1(preimage, usedforsecurity=False).hexdigest()


def snapshot_object(book: BookText, outcome: int) -> bytes:
    """Return the compact initial `book` object of one token, as in a subscription's first array."""
    market = book.market
    bids, asks = book.sides(outcome)
    version = "" if market.version == "v1" else f',"version":"{market.version}"'
    return b'%b%d","hash":"%b","bids":[%b],"asks":[%b],%b' % (
        f'{{"market":"{market.condition}","asset_id":"{market.tokens[outcome]}","timestamp":"'.encode(),
        book.timestamp_ms,
        book.hash(outcome).encode(),
        b",".join(bids),
        b",".join(asks),
        f'"tick_size":"{PRICE_TEXT[market.tick_step]}","event_type":"book",'
        f'"last_trade_price":"{book.last_trade}"{version}}}'.encode(),
    )


def snapshot_array(objects: Iterable[bytes]) -> bytes:
    """Return the first frame of a subscription: a compact array that ends with a newline."""
    return b"[" + b",".join(objects) + b"]\n"


def refresh_frame(book: BookText, outcome: int, digest: str) -> bytes:
    """Return the `book` frame that follows a trade: no tick size, no last trade price."""
    bids, asks = book.sides(outcome)
    market = book.market
    return (
        f'{{"market":"{market.condition}", "asset_id":"{market.tokens[outcome]}", "bids":['.encode()
        + b", ".join(bids).replace(b'","', b'", "')
        + b'], "asks":['
        + b", ".join(asks).replace(b'","', b'", "')
        + f'], "hash":"{digest}", "timestamp":"{book.timestamp_ms}", "event_type":"book"}}'.encode()
    )


def price_change_frame(book: BookText, change: LevelChange, hashes: tuple[str, str], no_first: bool) -> bytes:
    """Return one frame: the level of both tokens, mirrored, each with its final hash and best prices."""
    market = book.market
    bid, ask = book.best()
    size = size_text(change.size_micro)
    yes = (
        f'{{"asset_id":"{market.tokens[0]}", "price":"{PRICE_TEXT[change.price_ticks]}", "size":"{size}", '
        f'"side":"{"BUY" if change.is_bid else "SELL"}", "hash":"{hashes[0]}", '
        f'"best_bid":"{PRICE_TEXT[bid]}", "best_ask":"{PRICE_TEXT[ask]}"}}'
    )
    no = (
        f'{{"asset_id":"{market.tokens[1]}", "price":"{PRICE_TEXT[TICKS_PER_USD - change.price_ticks]}", '
        f'"size":"{size}", "side":"{"SELL" if change.is_bid else "BUY"}", "hash":"{hashes[1]}", '
        f'"best_bid":"{PRICE_TEXT[TICKS_PER_USD - ask]}", "best_ask":"{PRICE_TEXT[TICKS_PER_USD - bid]}"}}'
    )
    first, second = (no, yes) if no_first else (yes, no)
    return (
        f'{{"market":"{market.condition}", "price_changes":[{first}, {second}], '
        f'"timestamp":"{book.timestamp_ms}", "event_type":"price_change"}}'
    ).encode()


def best_bid_ask_frames(book: BookText, timestamp_ms: int) -> tuple[bytes, bytes]:
    """Return the custom-feature frames of both tokens; they go before the changes that made them."""
    bid, ask = book.best()
    market = book.market
    spread = PRICE_TEXT[max(0, ask - bid)]
    pairs = ((bid, ask), (TICKS_PER_USD - ask, TICKS_PER_USD - bid))
    yes, no = (
        f'{{"market":"{market.condition}", "asset_id":"{token}", "best_bid":"{PRICE_TEXT[low]}", '
        f'"best_ask":"{PRICE_TEXT[high]}", "spread":"{spread}", "timestamp":"{timestamp_ms}", '
        f'"event_type":"best_bid_ask"}}'.encode()
        for token, (low, high) in zip(market.tokens, pairs, strict=True)
    )
    return yes, no


def last_trade_frame(
    market: Market,
    outcome: int,
    price_ticks: int,
    size_micro: int,
    is_buy: bool,
    timestamp_ms: int,
    tx_hash: str,
) -> bytes:
    """Return the trade print of the taker's token."""
    return (
        f'{{"market":"{market.condition}", "asset_id":"{market.tokens[outcome]}", '
        f'"price":"{PRICE_TEXT[price_ticks]}", "size":"{size_text(size_micro)}", "fee_rate_bps":"0", '
        f'"side":"{"BUY" if is_buy else "SELL"}", "timestamp":"{timestamp_ms}", '
        f'"event_type":"last_trade_price", "transaction_hash":"{tx_hash}"}}'
    ).encode()


def tick_size_frames(market: Market, old_step: int, new_step: int, timestamp_ms: int) -> tuple[bytes, bytes]:
    """Return `tick_size_change` of both tokens."""
    yes, no = (
        f'{{"event_type":"tick_size_change", "market":"{market.condition}", "asset_id":"{token}", '
        f'"old_tick_size":"{PRICE_TEXT[old_step]}", "new_tick_size":"{PRICE_TEXT[new_step]}", '
        f'"timestamp":"{timestamp_ms}"}}'.encode()
        for token in market.tokens
    )
    return yes, no


def new_market_frame(market: Market, market_id: str, timestamp_ms: int) -> bytes:
    """Return `new_market` as captured on 2026-07-28: numbers are texts, the order of sides means nothing."""
    fee = {"exponent": str(market.fee_exponent), "rate": int_to_decimal(market.fee_rate_ppm, 6),
           "taker_only": True, "rebate_rate": "0.25"}
    return json.dumps({
        "id": market_id, "question": market.question, "market": market.condition, "slug": market.slug,
        "description": "", "assets_ids": list(market.tokens), "outcomes": list(market.outcomes),
        "event_message": {
            "id": market.event_id, "ticker": market.event_slug, "slug": market.event_slug,
            "title": market.event_title, "description": ""},
        "timestamp": str(timestamp_ms), "event_type": "new_market", "tags": [],
        "condition_id": market.condition, "active": False, "clob_token_ids": list(market.tokens),
        "sports_market_type": "", "line": "", "game_start_time": "",
        "order_price_min_tick_size": int_to_decimal(market.tick_step, 4),
        "group_item_title": market.group_item_title, "taker_base_fee": "1000",
        "fees_enabled": market.fee_rate_ppm > 0, "fee_schedule": fee,
    }).encode()


def market_resolved_frame(market: Market, market_id: str, winner: int, timestamp_ms: int) -> bytes:
    """Return `market_resolved`; `winner` is the outcome that pays 1."""
    tags = ", ".join(f'"{tag}"' for tag in market.tags)
    return (
        f'{{"event_type":"market_resolved", "id":"{market_id}", "market":"{market.condition}", '
        f'"assets_ids":["{market.tokens[0]}", "{market.tokens[1]}"], '
        f'"winning_asset_id":"{market.tokens[winner]}", "winning_outcome":"{market.outcomes[winner]}", '
        f'"event_message":{{"id":"{market.event_id}"}}, "timestamp":"{timestamp_ms}", "tags":[{tags}]}}'
    ).encode()
