"""Decode what Polymarket says about our own orders and trades: user channel frames and REST rows.

Reads: frames of the user channel, rows of `GET /data/orders` and `GET /data/trades`. Writes: Report and
Fill records for the report ring. Reports change order state only, fills change positions; a frame that is
refused must be followed by a reconcile. Source: venue sheet "User WebSocket" and "Account reads", read
2026-11-20.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.codec import CODECS
from pipeline.core.fees import taker_fee_usd_micro
from pipeline.kinds import Cause, Kind, OrderState, Origin, Side, TradeStatus
from pipeline.units import NS_PER_MS, NS_PER_S, cost_micro, proceeds_micro
from pipeline.venues.polymarket.decode_common import (
    Breach,
    Decoded,
    KnownToken,
    Refused,
    Shape,
    TokenLookup,
    list_field,
    lookup_of,
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
from pipeline.venues.polymarket.own_orders import OwnOrders

OBJECTS_MAX = 1_024  # of one frame
MAKERS_MAX = 4_096  # maker orders of one trade
TEXT_BYTES = 104  # `Report.text`
_ORDER_TYPES = ("PLACEMENT", "UPDATE", "CANCELLATION")
_TRADE_PREFIX = "TRADE_STATUS_"
_TRADE_STATUS = {s.name: s for s in TradeStatus if s is not TradeStatus.UNKNOWN} | {
    "MATCHED_NOT_BROADCASTED": TradeStatus.MATCHED}
STATUS_BYTES = 32  # `Fill.text`
_STATES = {
    "LIVE": OrderState.LIVE, "UNMATCHED": OrderState.LIVE, "DELAYED": OrderState.DELAYED,
    "INVALID": OrderState.REJECTED, "CANCELED_EXPIRED_ORDER": OrderState.EXPIRED,
}
_CAUSES = {
    "INVALID": Cause.VENUE_REJECT, "CANCELED_MARKET_RESOLVED": Cause.RESOLVED,
    "CANCELED_NOT_ENOUGH_BALANCE": Cause.VENUE_REJECT, "CANCELED_MARKET_NOT_FOUND": Cause.VENUE_REJECT,
    "CANCELED_EXPIRED_ORDER": Cause.DEADLINE, "CANCELED_ORDER_TIMED_OUT": Cause.DEADLINE,
}
_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_SECONDS_DIGITS, _MS_DIGITS = 10, 13


class UserDecoder:
    """Our orders and trades to records; `source_seq` counts the records and may be set."""

    def __init__(
        self, *, owner: str, maker_addresses: Iterable[str], token_lookup: TokenLookup,
        fee_of: Callable[[int], tuple[int, int]], account: int, source: int, own: OwnOrders | None = None,
    ) -> None:
        """owner: API key; maker_addresses: wallets whose orders are ours, any letter case.

        fee_of: row -> (rate in ppm, exponent) of the market's taker fee; account: number in the records.
        own: what our orders are, so that what cannot be true of them is refused.
        """
        self._owner = owner
        self._addresses = frozenset(a.lower() for a in maker_addresses)
        self._find = lookup_of(token_lookup)
        self._fee_of = fee_of
        self._own = own or OwnOrders()
        self.account = account
        self.source = source
        self.source_seq = 0
        self.reject_count = 0
        self.unknown_status_count = 0  # order or trade status that the sheet does not list
        self._recv_ns = 0
        self._origin = Origin.USER_CHANNEL
        self._records: list[bytes] = []
        self._unknown = 0
        self._ignored = 0

    def decode(self, data: bytes | memoryview, recv_ns: int) -> Decoded:
        """Return the records of one user channel frame, or its reject; never raises for what is in `data`."""
        self._start(recv_ns, Origin.USER_CHANNEL)
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
            return self._rejected(refusal_of(error), objects, seq_before)
        return self._decoded()

    def decode_order_row(self, row: object, recv_ns: int) -> Decoded:
        """Return the Report of one parsed row of `GET /data/orders` or `/data/order/{id}`."""
        return self._row(self._order, row, recv_ns)

    def decode_trade_row(self, row: object, recv_ns: int) -> Decoded:
        """Return the Fills of one parsed row of `GET /data/trades`."""
        return self._row(self._trade, row, recv_ns)

    def _row(self, handler: Callable[[dict[str, Any], str], None], row: object, recv_ns: int) -> Decoded:
        self._start(recv_ns, Origin.RECONCILE)
        seq_before = self.source_seq
        try:
            handler(object_item(row, "$"), "$")
        except (ValueError, RecursionError, MemoryError) as error:
            return self._rejected(refusal_of(error), [row], seq_before)
        return self._decoded()

    def _start(self, recv_ns: int, origin: Origin) -> None:
        self._recv_ns, self._origin = recv_ns, origin
        self._records = []
        self._unknown = self._ignored = 0

    def _decoded(self) -> Decoded:
        self._own.keep(self._recv_ns, self._origin is Origin.RECONCILE)
        return Decoded(self._records, None, "", self._unknown, self._ignored, (), [])

    def _rejected(self, refusal: Refused, objects: list[Any], seq_before: int) -> Decoded:
        self.source_seq = seq_before
        self.reject_count += 1
        self._own.drop(refusal, self._origin is Origin.RECONCILE)
        rows: dict[int, None] = {}
        name: object = None
        for obj in objects[:OBJECTS_MAX]:
            if isinstance(obj, dict):
                name = name or obj.get("id")
                found = self._find(obj["asset_id"]) if isinstance(obj.get("asset_id"), str) else None
                if found:
                    rows[found.row] = None
        text = f"polymarket.user: {refusal} (id {short_id(name)}); frame dropped, reconcile needed"
        return Decoded([], refusal.cause, text, 0, 0, tuple(rows), [], isinstance(refusal, Breach))

    def _objects(self, objects: list[Any], shape: Shape) -> None:
        if len(objects) > OBJECTS_MAX:
            raise Refused(f"frame has {len(objects)} objects, at most {OBJECTS_MAX} are read")
        for index, item in enumerate(objects):
            path = f"$[{index}]" if shape is Shape.ARRAY else "$"
            obj = object_item(item, path)
            kind = obj.get("event_type", obj.get("type"))
            if kind == "order" or kind in _ORDER_TYPES:
                self._order(obj, path)
            elif kind in ("trade", "TRADE"):
                self._trade(obj, path)
            else:
                text_field(obj, "event_type", path)
                self._ignored += 1

    def _emit(self, kind: Kind, token: KnownToken | None, **fields: Any) -> None:
        self.source_seq += 1
        self._records.append(CODECS[kind].pack(
            recv_ns=self._recv_ns, source_seq=self.source_seq, source=self.source,
            instrument=token.row if token else 0, account=self.account, **fields))

    def _order(self, obj: dict[str, Any], path: str) -> None:
        """One order of ours. A token that the table lacks still is reported: the hash finds the order."""
        order_hash = _order_hash(obj, "id", path)
        token = self._find(token_field(obj, "asset_id", path))
        status = text_field(obj, "status", path)
        matched_micro = size_field(obj, "size_matched", path) if obj.get("size_matched") not in ("",
            None) else -1
        self._own.check_order(
            order_hash, token, side_field(obj, path) if "side" in obj else None,
            price_field(obj, "price", path) if obj.get("price") else -1,
            (size_field(obj, "original_size", path) if obj.get("original_size") else -1, matched_micro), path)
        self._unknown += token is None
        self._emit(
            Kind.REPORT, token, **self._terms(obj, token, path),
            order_hash=order_hash, making_micro=-1, taking_micro=-1,
            venue_ns=_time(obj, ("timestamp",), path) if "timestamp" in obj else 0,
            matched_micro=matched_micro, state=self._order_state(obj, status, matched_micro, path),
            origin=self._origin, cause=_cause(status), text=_cut(status))

    def _terms(self, obj: dict[str, Any], token: KnownToken | None, path: str) -> dict[str, Any]:
        """What the order is, for one that nobody here intended; nothing where the event does not say it."""
        if token is None or not all(obj.get(key) for key in ("side", "price", "original_size")):
            return {}
        return {
            "outcome": token.outcome, "side": side_field(obj, path),
            "price_ticks": price_field(obj, "price", path),
            "size_micro": size_field(obj, "original_size", path)}

    def _order_state(self, obj: dict[str, Any], status: str, matched_micro: int, path: str) -> OrderState:
        """What a status means for exposure; anything not known to be final keeps it."""
        known = _STATES.get(status)
        if known is not None:
            is_cancel = obj.get("type") == "CANCELLATION" and known is OrderState.LIVE
            return OrderState.CANCELED if is_cancel else known
        if status.startswith("CANCELED") or obj.get("type") == "CANCELLATION":
            return OrderState.CANCELED
        if status == "MATCHED":
            # a resting order with a rest still holds exposure, whatever its status says
            is_rest = obj.get("order_type") not in ("FOK", "FAK") and (
                matched_micro < 0 or matched_micro < size_field(obj, "original_size", path))
            return OrderState.LIVE if is_rest else OrderState.MATCHED
        self.unknown_status_count += 1
        return OrderState.UNKNOWN

    def _trade(self, obj: dict[str, Any], path: str) -> None:
        """Our part of one trade: the taker order, or those of its maker orders that are ours."""
        status = text_field(obj, "status", path).removeprefix(_TRADE_PREFIX)
        if status not in _TRADE_STATUS:
            self.unknown_status_count += 1
        shared = {
            "trade_id": _trade_id(text_field(obj, "id", path), path),
            "venue_ns": _time(obj, ("timestamp", "match_time", "matchtime"), path),
            "status": _TRADE_STATUS.get(status, TradeStatus.UNKNOWN),  # provisional until CONFIRMED
            "text": b"" if status in _TRADE_STATUS else _cut(status, STATUS_BYTES),
        }
        makers = [
            (f"{path}.maker_orders[{index}]", entry)
            for index, entry in enumerate(_makers(obj, path))
            if self._is_ours(entry, "order_id", ("owner",))]
        is_taker = self._is_taker(obj, bool(makers))
        if not is_taker and not makers:
            raise Refused(f"trade at {path} names none of our orders")
        if is_taker:
            side, price_ticks = side_field(obj, path), price_field(obj, "price", path)
            size_micro, token = size_field(obj, "size", path), self._own_token(obj, path)
            rate_ppm, exponent = self._fee_of(token.row)
            self._fill(
                path, token, side, price_ticks, size_micro, shared, is_maker=0,
                order_hash=_order_hash(obj, "taker_order_id", path),
                fee_usd_micro=taker_fee_usd_micro(price_ticks, size_micro, rate_ppm, exponent))
        for entry_path, entry in makers:
            self._fill(
                entry_path, self._own_token(entry, entry_path), _maker_side(obj, path, entry, entry_path),
                price_field(entry, "price", entry_path), size_field(entry, "matched_amount", entry_path),
                shared,
                is_maker=1, order_hash=_order_hash(entry, "order_id", entry_path), fee_usd_micro=0)

    def _fill(
        self, path: str, token: KnownToken, side: Side, price_ticks: int, size_micro: int,
        shared: dict[str, Any], **fields: Any,
    ) -> None:
        self._own.check_fill(
            fields["order_hash"], shared["trade_id"], token, size_micro, price_ticks, shared["status"], path)
        money = cost_micro if side is Side.BUY else proceeds_micro
        self._emit(
            Kind.FILL, token, outcome=token.outcome, side=side, price_ticks=price_ticks,
            size_micro=size_micro,
            usd_micro=money(price_ticks, size_micro), **shared, **fields)

    def _own_token(self, obj: dict[str, Any], path: str) -> KnownToken:
        """Return the token of a fill; without its row neither outcome nor fee is known, so it is refused."""
        token = self._find(token_field(obj, "asset_id", path))
        if token is None:
            raise Refused(
                f"token {short_id(obj['asset_id'])} at {path}.asset_id is not in the instrument table",
                Cause.UNKNOWN_INSTRUMENT)
        return token

    def _is_ours(self, obj: dict[str, Any], hash_key: str, owner_keys: tuple[str, ...]) -> bool:
        """By the order's hash, else by its owner or the wallet that it names, in any letter case."""
        if self._is_sent(obj, hash_key):
            return True
        address = obj.get("maker_address")
        return any(obj.get(key) == self._owner for key in owner_keys) or (
            isinstance(address, str) and address.lower() in self._addresses)

    def _is_sent(self, obj: dict[str, Any], hash_key: str) -> bool:
        text = obj.get(hash_key)
        return isinstance(text, str) and bool(_HASH.fullmatch(text)) and self._own.knows(
            bytes.fromhex(text[2:]))

    def _is_taker(self, obj: dict[str, Any], is_maker: bool) -> bool:
        """The taker's hash decides, else `trader_side`; without both the owner does.

        `owner` may be the event's, not the order's. Both sides of one trade can be ours.
        """
        if self._is_sent(obj, "taker_order_id"):
            return True
        role = obj.get("trader_side")
        if role == "MAKER":
            return False
        if role == "TAKER":
            return self._is_ours(obj, "taker_order_id", ("trade_owner", "owner"))
        return self._is_ours(
            obj, "taker_order_id", ("trade_owner",) if is_maker else ("trade_owner", "owner"))


def _makers(obj: dict[str, Any], path: str) -> list[dict[str, Any]]:
    if obj.get("maker_orders") is None:
        return []
    items = list_field(obj, "maker_orders", path, MAKERS_MAX)
    return [object_item(item, f"{path}.maker_orders[{index}]") for index, item in enumerate(items)]


def _maker_side(obj: dict[str, Any], path: str, entry: dict[str, Any], entry_path: str) -> Side:
    """Return a maker's side; when it is silent: against the taker in one token, with it in the sister's."""
    if "side" in entry:
        return side_field(entry, entry_path)
    taker = side_field(obj, path)
    if entry.get("asset_id") != token_field(obj, "asset_id", path):
        return taker
    return Side.SELL if taker is Side.BUY else Side.BUY


def _order_hash(obj: dict[str, Any], key: str, path: str) -> bytes:
    text = text_field(obj, key, path)
    if not _HASH.fullmatch(text):
        raise Refused(f"{key} {shown(text)} at {path}.{key} is not an order hash of 32 bytes")
    return bytes.fromhex(text[2:])


def _trade_id(text: str, path: str) -> bytes:
    """Return 16 bytes that stand for the trade: the UUID itself, else the head of the text's SHA-256."""
    if not text:
        raise Refused(f"id at {path}.id must not be empty")
    if _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _time(obj: dict[str, Any], keys: tuple[str, ...], path: str) -> int:
    """Return the first of `keys` that is there in nanoseconds; 10 digits are seconds, 13 milliseconds."""
    for key in keys:
        if key in obj:
            value = obj[key]
            text = str(value) if type(value) is int else value
            if not (isinstance(text, str) and text.isascii() and text.isdigit()):
                raise Refused(f"{key} {shown(value)} at {path}.{key} is not a time")
            if len(text) == _SECONDS_DIGITS and text < "9":
                return int(text) * NS_PER_S
            if len(text) == _MS_DIGITS and text < "9":
                return int(text) * NS_PER_MS
            raise Refused(f"{key} {shown(text)} at {path}.{key} has neither 10 nor 13 digits")
    raise Refused(f"one of {', '.join(keys)} at {path} must be there")


def _cause(status: str) -> Cause:
    if "fully filled or killed" in status:
        return Cause.NO_MATCH
    return _CAUSES.get(status, Cause.NONE)


def _cut(text: str, bytes_max: int = TEXT_BYTES) -> bytes:
    """Return the venue's words in at most so many bytes, never half a character."""
    return text.encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore").encode()
