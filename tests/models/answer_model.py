"""What mutated user frames and REST answers may say at most: read a second time with json and fractions.

Independent of the decoders: the standard library's json with every pair kept, `Fraction` for numbers. Each
check takes the bytes and what the product made of them, and fails where a value stands that the bytes do not
say, or where something final was read from what proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pipeline.codec import unpack
from pipeline.kinds import Kind, OrderState, Outcome, Side
from pipeline.records import SLOT_BYTES
from pipeline.venues.polymarket.decode_common import Decoded
from pipeline.venues.polymarket.universe import MarketInfo

ALIVE = {"live": OrderState.LIVE, "matched": OrderState.MATCHED, "delayed": OrderState.DELAYED}
REFUSING = (401, 403, 404, 425, 429, 503)  # before the order was looked at
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
ERRORS = ("error", "errorMsg", "error_msg")


class TwiceSaidError(ValueError):
    """An object has a key twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise TwiceSaidError("a key stands twice")
    return found


def parsed(data: bytes, once: bool = False) -> Any:
    """Return the JSON value, fractions as text; None for what is none. once: TwiceSaidError for repeats."""
    try:
        return json.loads(data, parse_float=str, object_pairs_hook=_once if once else None)
    except TwiceSaidError:
        raise
    except (ValueError, RecursionError):
        return None


def scaled(text: Any, factor: int) -> Fraction:
    """Return a decimal text times the factor."""
    assert isinstance(text, str), text
    assert text.isascii(), text
    return Fraction(text) * factor


def check_user_frame(data: bytes, said: Decoded) -> None:
    """A frame that was taken says each key once, and every record's values stand in one of its objects."""
    if said.reject is not None:
        assert said.text
        assert not said.records
        return
    if not said.records:
        return
    whole = parsed(data, once=True)
    objects = whole if isinstance(whole, list) else [whole]
    facts = [fact for item in objects for fact in _facts(item)]
    for run in said.records:
        record = unpack(run)
        assert SLOT_BYTES == len(run)
        if record.kind == Kind.REPORT:
            assert ("order", record.order_hash, record.matched_micro) in facts, data
        else:
            key = (record.order_hash, record.price_ticks, record.size_micro, record.side, record.is_maker)
            assert ("fill", *key) in facts, data


def _facts(item: Any) -> list[tuple[Any, ...]]:
    """Return what it says: ("order", hash, matched), and ("fill", hash, price, size, side, is_maker) each."""
    found = [_order(item), _fill(item, "taker_order_id", "size", _SIDES.get(str(item.get("side"))), 0)]
    makers = item.get("maker_orders")
    for maker in makers if isinstance(makers, list) else ():
        if not isinstance(maker, dict):
            continue
        side = _SIDES.get(str(maker.get("side")))
        if "side" not in maker:  # against the taker in one token, with it in the sister's
            taker = _SIDES.get(str(item.get("side")))
            is_against = maker.get("asset_id") == item.get("asset_id")
            side = taker if taker is None or not is_against else Side(1 - taker)
        found.append(_fill(maker, "order_id", "matched_amount", side, 1))
    return [fact for fact in found if fact is not None]


def _order(item: Any) -> tuple[Any, ...] | None:
    try:
        matched = item.get("size_matched")
        micro = scaled(matched, 10**6) if matched not in ("", None) else Fraction(-1)
        return "order", bytes.fromhex(item["id"][2:]), micro
    except (KeyError, ValueError, TypeError, AssertionError):
        return None  # no order


def _fill(item: Any, key: str, size_key: str, side: Side | None, is_maker: int) -> tuple[Any, ...] | None:
    try:
        order_hash = bytes.fromhex(item[key][2:])
        price, size = scaled(item["price"], 10_000), scaled(item[size_key], 10**6)
        return ("fill", order_hash, price, size, side, is_maker)
    except (KeyError, ValueError, TypeError, AssertionError, AttributeError):
        return None  # an order that is not ours may say anything


def check_order_answer(status: int, data: bytes, order_hash: bytes, slot: bytes) -> None:
    """Alive takes our id, success and no error; dead takes the venue's words or a status that refuses."""
    record, item = unpack(slot), parsed(data)
    if record.state in ALIVE.values() and not _errors(item):
        assert 200 <= status < 300
        assert item["success"] is True
        assert item["errorMsg"] == ""
        assert "0x" + order_hash.hex() == item["orderID"].lower()
        assert ALIVE[item["status"]] == record.state
        for name, micro in (("makingAmount", record.making_micro), ("takingAmount", record.taking_micro)):
            assert micro == -1 or scaled(item[name], 10**6) == micro, data
    elif record.state != OrderState.UNKNOWN:
        assert status in REFUSING or _errors(item), (status, data)


def _errors(item: Any) -> list[str]:
    return [item[name] for name in ERRORS if isinstance(item.get(name), str) and item[name]] if isinstance(
        item, dict) else []


def check_cancel_answer(status: int, data: bytes, order_hash: bytes, slot: bytes) -> None:
    """Cancelled is what the venue lists as such, and does not list as kept."""
    record, name = unpack(slot), "0x" + order_hash.hex()
    if record.state == OrderState.CANCELED:
        item = parsed(data)
        assert 200 <= status < 300
        assert name in [text.lower() for text in item["canceled"] if isinstance(text, str)]
        kept = item.get("not_canceled")
        assert not isinstance(kept, dict) or name not in [text.lower() for text in kept]


def check_balance(data: bytes, slot: bytes, spenders: Sequence[str]) -> None:
    """The balance is the venue's integer, the allowance one that a spender has; both cut to the record."""
    record, item = unpack(slot), parsed(data)
    most, asked = 2**63 - 1, [spender.lower() for spender in spenders]
    named = item["allowances"].items()
    known = [min(int(value), most) for name, value in named if not asked or name.lower() in asked]
    if len({name.lower() for name, _ in named} & set(asked)) < len(asked):
        known.append(0)  # a spender that is not named may spend nothing
    assert min(int(item["balance"]), most) == record.collateral_usd_micro
    assert record.allowance_usd_micro in known
    if len({name.lower() for name, _ in named}) == len(named):  # else one spender has two allowances
        assert min(known) == record.allowance_usd_micro


def check_markets(data: bytes, key: str, markets: Sequence[MarketInfo], records: Sequence[bytes]) -> None:
    """Each market that was taken has the ids, tick and minimum that its object says, and fits a record."""
    whole = parsed(data)
    listed = whole.get(key) if isinstance(whole, dict) else whole
    objects = listed if isinstance(listed, list) else [whole]
    if key == "events":
        found = [item["markets"] for item in objects if isinstance(item, dict) and "markets" in item]
        objects = [one for markets_of in found if isinstance(markets_of, list) for one in markets_of]
    said = [_market(item) for item in objects if isinstance(item, dict)]
    for info, slot in zip(markets, records, strict=True):
        record = unpack(slot)
        ids = tuple(str(int.from_bytes(token, "big")) for token in (info.token_yes, info.token_no))
        facts = (ids, Fraction(info.tick_step), Fraction(info.size_micro_min))
        assert facts in said or (ids[::-1], *facts[1:]) in said, data
        assert (info.token_yes, info.token_no) == (record.token_yes, record.token_no)
        assert (info.tick_step, info.size_micro_min) == (record.tick_step, record.size_micro_min)
        assert Outcome.YES < len(info.outcomes)


def _market(item: dict[str, Any]) -> Any:
    name = "positionIds" if item.get("version") == "v2" else "clobTokenIds"
    try:
        ids = item[name]
        ids = tuple(json.loads(ids) if isinstance(ids, str) else ids)
        return (ids, Fraction(str(item["orderPriceMinTickSize"])) * 10_000,
                Fraction(str(item["orderMinSize"])) * 10**6)
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
