"""Decode every frame of the Polymarket market channel with orjson: the slow path and the reference.

Reads: what `native/framescan` handed back, or any market frame. Writes: runs of Snapshot, Delta, Bbo,
TradePrint, TickStep and Resolved records, flagged FALLBACK, for the feed ring. A frame is taken whole or
not at all. Source of the wire: venue sheet "Market WebSocket", read 2026-11-20, checked on recordings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipeline.codec import CODECS
from pipeline.kinds import Flag, Kind, Outcome
from pipeline.records import DELTA_CHANGES, NOT_ANNOUNCED, RUN_SLOTS_MAX, SNAPSHOT_LEVELS
from pipeline.units import MICRO, NS_PER_MS, TICKS_PER_USD
from pipeline.venues.polymarket.decode_common import (
    Breach,
    Decoded,
    KnownToken,
    Refused,
    Shape,
    TokenLookup,
    decimal_field,
    list_field,
    lookup_of,
    ms_field,
    object_item,
    parse,
    price_field,
    refusal_of,
    shape_of,
    short_id,
    shown,
    side_field,
    size_field,
    text_field,
    token_field,
)

OBJECTS_MAX = 4_096  # of one array
CHANGES_MAX = 10_000  # of one price_change
LEVELS_MAX = TICKS_PER_USD - 1  # of one side; there are no more prices
SPENT_NS_MAX = 5 * NS_PER_MS  # work on one object of a frame; the parse before it is bounded by the caps
EVENT_ID_MAX = 20  # digits
_LOOK_EVERY = 256  # items between two looks at the work done
_NO_HASH = bytes(20)
_HEX = frozenset("0123456789abcdef")
_RUN_LEVELS = RUN_SLOTS_MAX * SNAPSHOT_LEVELS
_RUN_CHANGES = RUN_SLOTS_MAX * DELTA_CHANGES

_Level = tuple[int, int]  # price_ticks, size_micro
_Change = tuple[int, int, int, int]  # price_ticks, size_micro, side, outcome
_Facts = tuple[bytes, int, int]  # hash, best bid, best ask of one token


class MarketDecoder:
    """Frames to runs of records; `source_seq` counts runs as the scanner's does, and either may be set.

    worked_ns: processor time of this thread so far, for the bound on the work that one object may cause;
    without it there is none.
    """

    def __init__(
        self, token_lookup: TokenLookup, source: int, worked_ns: Callable[[], int] | None = None,
    ) -> None:
        self._find = lookup_of(token_lookup)
        self._worked_ns = worked_ns
        self._until_ns = 0
        self.source = source
        self.source_seq = 0
        self.frame_count = 0
        self.reject_count = 0
        self.unknown_count = 0
        self.ignored_count = 0
        self.legacy_count = 0  # price_change frames of the schema before September 2025
        self._recv_ns = 0
        self._records: list[bytes] = []
        self._announced: list[dict[str, Any]] = []
        self._unknown = 0
        self._ignored = 0
        self._handlers = {
            "book": self._book, "price_change": self._price_change, "last_trade_price": self._trade,
            "tick_size_change": self._tick_step, "best_bid_ask": self._bbo, "market_resolved": self._resolved,
            "new_market": self._new_market,
        }

    def decode(self, data: bytes | memoryview, recv_ns: int) -> Decoded:
        """Return the records of one frame, or its reject; never raises for what is in `data`.

        recv_ns: nanoseconds since the epoch. On a reject no record is returned and `source_seq` is unchanged.
        """
        self.frame_count += 1
        self._recv_ns = recv_ns
        self._records, self._announced = [], []
        self._unknown = self._ignored = 0
        seq_before = self.source_seq
        objects: list[Any] = []
        try:
            shape = shape_of(data)
            if shape is Shape.IGNORED:
                self._ignored = 1
            else:
                objects = parse(data, shape)
                self._objects(objects, shape)
        except (ValueError, RecursionError, MemoryError) as error:
            self.source_seq = seq_before
            return self._rejected(refusal_of(error), objects)
        self.unknown_count += self._unknown
        self.ignored_count += self._ignored
        return Decoded(self._records, None, "", self._unknown, self._ignored, (), self._announced)

    def _rejected(self, refusal: Refused, objects: list[Any]) -> Decoded:
        self.reject_count += 1
        rows: dict[int, None] = {}
        market: object = None
        for obj in objects[:OBJECTS_MAX]:
            if isinstance(obj, dict):
                market = market or obj.get("market")
                items = obj.get("price_changes")
                for item in [obj, *(items[:CHANGES_MAX] if isinstance(items, list) else ())]:
                    token = item.get("asset_id") if isinstance(item, dict) else None
                    found = self._find(token) if isinstance(token, str) else None
                    if found:
                        rows[found.row] = None
        text = f"polymarket.decode: {refusal} (market {short_id(market)}); frame dropped, book marked stale"
        is_breach = isinstance(refusal, Breach)
        return Decoded([], refusal.cause, text, 0, 0, tuple(rows), [], is_breach)

    def _look(self, index: int) -> None:
        """Refuse to work on at an item of an object that has cost too much already."""
        if index % _LOOK_EVERY == 0 and self._worked_ns is not None and self._worked_ns() > self._until_ns:
            raise Breach(f"an object of the frame takes more than {SPENT_NS_MAX // NS_PER_MS} ms")

    def _objects(self, objects: list[Any], shape: Shape) -> None:
        if len(objects) > OBJECTS_MAX:
            raise Breach(f"frame has {len(objects)} objects, at most {OBJECTS_MAX} are read")
        if not objects:
            self._ignored += 1
        for index, item in enumerate(objects):
            path = f"$[{index}]" if shape is Shape.ARRAY else "$"
            obj = object_item(item, path)
            if self._worked_ns is not None:
                self._until_ns = self._worked_ns() + SPENT_NS_MAX
            handler = self._handlers.get(text_field(obj, "event_type", path))
            if handler is None:
                self._ignored += 1
            else:
                handler(obj, path)

    def _token(self, obj: dict[str, Any], key: str, path: str, market: str) -> KnownToken | None:
        found = self._find(token_field(obj, key, path))
        if found is not None and found.market and found.market != market:
            raise Refused(
                f"token {short_id(obj[key])} at {path}.{key} belongs to market {short_id(found.market)}")
        return found

    def _head(self, obj: dict[str, Any], path: str) -> tuple[KnownToken | None, int]:
        """Return the token and the venue time of a one-token object."""
        token = self._token(obj, "asset_id", path, _market(obj, path))
        return token, ms_field(obj, "timestamp", path)

    def _emit(self, kind: Kind, token: KnownToken | None, slots: list[dict[str, Any]],
              flags: int = 0) -> None:
        """Append one run; an unknown token is counted instead."""
        if token is None:
            self._unknown += 1
            return
        self.source_seq += 1
        codec = CODECS[kind]
        self._records.append(b"".join(
            codec.pack(
                recv_ns=self._recv_ns, source_seq=self.source_seq, flags=int(Flag.FALLBACK) | flags,
                instrument=token.row, source=self.source, part=part, parts=len(slots), **fields)
            for part, fields in enumerate(slots)))

    def _book(self, obj: dict[str, Any], path: str) -> None:
        token, venue_ns = self._head(obj, path)
        bids, asks = self._levels(obj, "bids", path), self._levels(obj, "asks", path)
        state, last_ticks = _last_trade(obj, path)
        shared = {
            "venue_ns": venue_ns, "hash": _hash(obj, path) if "hash" in obj else _NO_HASH,
            "tick_step": _step(obj, "tick_size", path) if obj.get("tick_size", "") != "" else 0,
            "last_trade_state": state, "last_trade_ticks": last_ticks,
            "outcome": token.outcome if token else 0,
        }
        if token is None:
            self._unknown += 1
            return
        levels = bids + asks
        for first in range(0, len(levels) or 1, _RUN_LEVELS):
            slots = []
            for start in range(first, max(min(first + _RUN_LEVELS, len(levels)), first + 1), SNAPSHOT_LEVELS):
                part = levels[start:start + SNAPSHOT_LEVELS]
                bid_count = min(max(len(bids) - start, 0), len(part))
                slots.append({
                    **shared, "bid_count": bid_count, "ask_count": len(part) - bid_count,
                    "price_ticks": tuple(p for p, _ in part), "size_micro": tuple(s for _, s in part)})
            self._emit(Kind.SNAPSHOT, token, slots,
                       int(Flag.MORE) if first + _RUN_LEVELS < len(levels) else 0)

    def _levels(self, obj: dict[str, Any], key: str, path: str) -> list[_Level]:
        levels = []
        for index, value in enumerate(list_field(obj, key, path, LEVELS_MAX)):
            self._look(index)
            level_path = f"{path}.{key}[{index}]"
            level = object_item(value, level_path)
            levels.append((price_field(level, "price", level_path), size_field(level, "size", level_path)))
        return levels

    def _price_change(self, obj: dict[str, Any], path: str) -> None:
        if "price_changes" not in obj and isinstance(obj.get("changes"), list):
            self.legacy_count += 1
            self._ignored += 1
            return
        market, venue_ns = _market(obj, path), ms_field(obj, "timestamp", path)
        items = list_field(obj, "price_changes", path, CHANGES_MAX)
        group: list[_Change] = []
        facts: dict[int, _Facts] = {}  # by outcome
        group_token: KnownToken | None = None
        is_unknown = False
        for index, value in enumerate(items):
            self._look(index)
            item_path = f"{path}.price_changes[{index}]"
            item = object_item(value, item_path)
            token = self._token(item, "asset_id", item_path, market)
            price_ticks, size_micro = price_field(item, "price", item_path), size_field(item, "size",
                item_path)
            side = side_field(item, item_path)
            fact = (_hash(item, item_path), _best(item, "best_bid", item_path), _best(item, "best_ask",
                item_path))
            if token is None:
                is_unknown = True
                continue
            # a record holds one instrument, and one (hash, best prices) of each of its tokens
            if group_token and (group_token.row != token.row or facts.get(token.outcome, fact) != fact):
                self._delta(group_token, venue_ns, group, facts)
                group, facts = [], {}
            group_token = token
            facts[token.outcome] = fact
            group.append((price_ticks, size_micro, side, token.outcome))
        if group_token:
            self._delta(group_token, venue_ns, group, facts)
        self._unknown += is_unknown
        self._ignored += not items

    def _delta(self, token: KnownToken, venue_ns: int, changes: list[_Change], facts: dict[int,
        _Facts]) -> None:
        absent = (_NO_HASH, NOT_ANNOUNCED, NOT_ANNOUNCED)
        hash_yes, bid_yes, ask_yes = facts.get(Outcome.YES, absent)
        hash_no, bid_no, ask_no = facts.get(Outcome.NO, absent)
        shared = {
            "venue_ns": venue_ns, "hash_yes": hash_yes, "hash_no": hash_no, "best_bid_yes": bid_yes,
            "best_ask_yes": ask_yes, "best_bid_no": bid_no, "best_ask_no": ask_no,
        }
        for first in range(0, len(changes), _RUN_CHANGES):
            run = changes[first:first + _RUN_CHANGES]
            slots = []
            for start in range(0, len(run), DELTA_CHANGES):
                part = run[start:start + DELTA_CHANGES]
                slots.append({
                    **shared, "change_count": len(part),
                    "price_ticks": tuple(c[0] for c in part), "size_micro": tuple(c[1] for c in part),
                    "side": bytes(c[2] for c in part), "outcome": bytes(c[3] for c in part)})
            self._emit(Kind.DELTA, token, slots)

    def _trade(self, obj: dict[str, Any], path: str) -> None:
        token, venue_ns = self._head(obj, path)
        self._emit(Kind.TRADE_PRINT, token, [{
            "venue_ns": venue_ns, "price_ticks": price_field(obj, "price", path),
            "size_micro": size_field(obj, "size", path), "side": side_field(obj, path),
            "outcome": token.outcome if token else 0}])

    def _tick_step(self, obj: dict[str, Any], path: str) -> None:
        token, venue_ns = self._head(obj, path)
        self._emit(Kind.TICK_STEP, token, [{
            "venue_ns": venue_ns, "old_step": _step(obj, "old_tick_size", path),
            "new_step": _step(obj, "new_tick_size", path), "outcome": token.outcome if token else 0}])

    def _bbo(self, obj: dict[str, Any], path: str) -> None:
        token, venue_ns = self._head(obj, path)
        text_field(obj, "best_bid", path)
        text_field(obj, "best_ask", path)
        self._emit(Kind.BBO, token, [{
            "venue_ns": venue_ns, "bid_ticks": _best(obj, "best_bid", path),
            "ask_ticks": _best(obj, "best_ask", path), "outcome": token.outcome if token else 0}])

    def _resolved(self, obj: dict[str, Any], path: str) -> None:
        """The winner pays 1; a frame without a winner among its tokens (a void) is for refdata to settle."""
        market, venue_ns = _market(obj, path), ms_field(obj, "timestamp", path)
        assets = list_field(obj, "assets_ids", path, 2)
        token = self._token(obj, "winning_asset_id", path, market)
        if obj["winning_asset_id"] not in assets:
            winner = short_id(obj["winning_asset_id"])
            raise Refused(f"winning_asset_id {winner} at {path}.winning_asset_id is not in assets_ids")
        is_yes = token is not None and token.outcome == Outcome.YES
        self._emit(Kind.RESOLVED, token, [{
            "venue_ns": venue_ns, "payout_micro_yes": MICRO if is_yes else 0,
            "payout_micro_no": 0 if is_yes else MICRO}])

    def _new_market(self, obj: dict[str, Any], path: str) -> None:
        self._ignored += 1
        self._announced.append(obj)


def announced_of(obj: dict[str, Any]) -> tuple[bytes, str, int] | None:
    """Return (condition, event id or "", venue ns) of a `new_market` object; None when it names no market.

    Nothing else of it is believed: sides, fees and ids come from Gamma and the order book.
    """
    text = obj.get("condition_id") or obj.get("market")
    event, stamp = obj.get("event_message"), obj.get("timestamp")
    try:
        condition = bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        return None
    if len(condition) not in (31, 32):
        return None
    ident = event.get("id") if isinstance(event, dict) else None
    is_number = isinstance(ident, str) and ident.isascii() and ident.isdigit() and len(ident) <= EVENT_ID_MAX
    venue_ms = int(stamp) if isinstance(stamp, str) and stamp.isascii() and stamp.isdigit() else 0
    venue_ns = venue_ms * NS_PER_MS if venue_ms < 1 << 43 else 0
    return condition.ljust(32, b"\0"), str(ident) if is_number else "", venue_ns


def _market(obj: dict[str, Any], path: str) -> str:
    market = text_field(obj, "market", path)
    if not market:
        raise Refused(f"market at {path}.market must not be empty")
    return market


def _hash(obj: dict[str, Any], path: str) -> bytes:
    text = text_field(obj, "hash", path)
    if len(text) != 40 or not _HEX.issuperset(text):
        raise Refused(f"hash {shown(text)} at {path}.hash is not 40 hex digits")
    return bytes.fromhex(text)


def _step(obj: dict[str, Any], key: str, path: str) -> int:
    """Return a tick size in ticks; it must divide 1, else prices and their mirrors share no grid."""
    step = decimal_field(obj, key, path, 4)
    if not 0 < step <= TICKS_PER_USD // 2 or TICKS_PER_USD % step:
        raise Refused(f"{key} {shown(obj[key])} at {path}.{key} does not divide 1")
    return step


def _best(obj: dict[str, Any], key: str, path: str) -> int:
    """Return a best price in ticks; 0 = the side is empty ("", "0" or "1"), NOT_ANNOUNCED = no such key."""
    if key not in obj:
        return NOT_ANNOUNCED
    if text_field(obj, key, path) == "":
        return 0
    ticks = decimal_field(obj, key, path, 4)
    if ticks > TICKS_PER_USD:
        raise Refused(f"{key} {shown(obj[key])} at {path}.{key} must lie between 0 and 1")
    return ticks % TICKS_PER_USD


def _last_trade(obj: dict[str, Any], path: str) -> tuple[int, int]:
    """Return (state, ticks): 0 absent, 1 never traded (""), 2 a price."""
    if "last_trade_price" not in obj:
        return 0, 0
    if text_field(obj, "last_trade_price", path) == "":
        return 1, 0
    ticks = decimal_field(obj, "last_trade_price", path, 4)
    if ticks > TICKS_PER_USD:
        raise Refused(f"last_trade_price {shown(obj['last_trade_price'])} at {path} must lie between 0 and 1")
    return 2, ticks
