"""The slow model of native.packages: IDEA runs in, PACKAGE + INTENT runs out, with Python's struct."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

from pipeline.codec import CODECS
from pipeline.core.risk import Fields
from pipeline.core.selfmatch import Wanted
from pipeline.core.strategies.interface import Idea
from pipeline.errors import InvariantError
from pipeline.kinds import IntentClass, Kind, OrderType
from pipeline.records import IDEA_LEGS, SLOT_BYTES
from pipeline.units import NS_PER_MS


def picked(kind: Kind, counts: Mapping[str, int]) -> struct.Struct:
    """Return a Struct of the named fields only, in the order of the layout: `count` first elements of each.

    Everything else is pad: skipped when it reads, zero when it packs. Byte arrays are one value.
    """
    codec, code = CODECS[kind], "<"
    for name, form in zip(codec.names, re.findall(r"\d+[A-Za-z]", codec.struct.format), strict=True):
        bytes_whole, count = struct.calcsize("<" + form), counts.get(name)
        if count is None:
            code += f"{bytes_whole}x"
            continue
        part = f"{count}{form[-1]}"
        code += f"{part}{bytes_whole - struct.calcsize('<' + part)}x"
    found = struct.Struct(code)
    if found.size != SLOT_BYTES or not counts.keys() <= set(codec.names):
        raise InvariantError(f"core.packing: {kind.name} has no such fields: {', '.join(counts)}")
    return found


_IN_PART_OFFSET = 99  # `in_part`: orders in this slot
_IDEA_HEAD = (
    "seq", "now_ns", "recv_ns", "source_seq", "idea_no", "basket", "event", "payout_usd_micro",
    "cost_usd_micro", "fee_usd_micro", "size_micro", "strategy", "leg_count")
_IDEA_LEG = (
    "leg_instrument", "leg_price_ticks", "leg_size_micro", "leg_no", "leg_outcome", "leg_side", "leg_type")
_LEGS_AT = len(_IDEA_HEAD)
#: By the number of orders in the slot: reads the head, each leg field of so many orders, the partial loss.
_IDEA_OF = tuple(
    picked(Kind.IDEA, dict.fromkeys(_IDEA_HEAD, 1) | dict.fromkeys(_IDEA_LEG, count) | {
        "partial_loss_usd_micro": 1}).unpack_from
    for count in range(IDEA_LEGS + 1))
assert CODECS[Kind.IDEA].pack(in_part=9)[_IN_PART_OFFSET] == 9
assert (*_IDEA_HEAD, *_IDEA_LEG, "partial_loss_usd_micro") == tuple(
    name for name in CODECS[Kind.IDEA].names
    if name in (*_IDEA_HEAD, *_IDEA_LEG, "partial_loss_usd_micro"))


def read_idea(run: bytes, offset: int, parts: int) -> tuple[Fields, tuple[int, int, int], int]:
    """Return (fields of a Proposal, (seq, now_ns, recv_ns) of the last slot, its source_seq).

    run: holds `parts` slots of one idea from `offset` on. source_seq: the newest venue time.
    """
    orders: tuple[Wanted, ...] = ()
    head: tuple[Any, ...] = ()
    for place in range(offset, offset + parts * SLOT_BYTES, SLOT_BYTES):
        count = min(run[place + _IN_PART_OFFSET], IDEA_LEGS)
        values = _IDEA_OF[count](run, place)
        head = head or values
        prices_at, sizes_at = _LEGS_AT + count, _LEGS_AT + count + count
        leg_nos, outcomes, sides, types, _ = values[-5:]
        orders += tuple(zip(
            leg_nos, values[_LEGS_AT:prices_at], outcomes, sides, types, values[prices_at:sizes_at],
            values[sizes_at:-5], strict=True))
    _, now_ns, _, _, idea_no, basket, event, payout, cost, fee, size, strategy, leg_count = head[:_LEGS_AT]
    return (
        idea_no, basket, event, strategy, leg_count, size, payout, cost, fee, head[-1], now_ns, orders,
    ), values[:3], values[3]


_STAMPS = ("now_ns", "recv_ns", "source_seq", "kind")
_PARTS = ("part", "parts")
#: Whole slots by position, in the order of the layout: a package is packed straight into its run.
_PACKAGE_FIELDS = (
    *_STAMPS, *_PARTS, "group_no", "idea_no", "basket", "event", "payout_usd_micro", "cost_usd_micro",
    "fee_usd_micro", "size_micro", "cause_seq", "cause_venue_ns", "strategy", "leg_count", "order_count")
_INTENT_FIELDS = (
    *_STAMPS, "instrument", *_PARTS, "order_no", "group_no", "cause_seq", "deadline_ns", "timestamp_ms",
    "salt", "maker_amount", "taker_amount", "size_micro", "worst_usd_micro", "price_ticks", "leg_no",
    "leg_count", "batch_index", "batch_count", "outcome", "side", "order_type", "intent_class", "cancel_rest")
_PACKAGE_INTO = picked(Kind.PACKAGE, dict.fromkeys(_PACKAGE_FIELDS, 1)).pack_into
_INTENT_INTO = picked(Kind.INTENT, dict.fromkeys(_INTENT_FIELDS, 1)).pack_into
assert _PACKAGE_FIELDS == tuple(name for name in CODECS[Kind.PACKAGE].names if name in _PACKAGE_FIELDS)
assert _INTENT_FIELDS == tuple(name for name in CODECS[Kind.INTENT].names if name in _INTENT_FIELDS)
_PACKAGE_KIND, _INTENT_KIND = int(Kind.PACKAGE), int(Kind.INTENT)
_NEW_RISK, _GTC = int(IntentClass.NEW_RISK), int(OrderType.GTC)


def package_run(
    causing: tuple[int, int, int], venue_ns: int, fields: Fields, paid: list[int], worst: list[int],
    group_no: int, order_no: int, salt: int, deadline_ns: int,
) -> bytes:
    """Return the run of an idea that passed the gate: its PACKAGE, then one INTENT for each of its BUYs.

    causing, fields, venue_ns: as `read_idea` returns them. An intent gives USD (`paid`) and wants
    shares, both in 1e-6 units; paid, worst: of each order, from the gate. order_no and salt are of the first
    intent, those of the others follow.
    """
    seq, now_ns, recv_ns = causing
    idea_no, basket, event, strategy, leg_count, size, payout, cost, fee, _, _, orders = fields
    count = len(orders)
    parts, timestamp_ms = count + 1, now_ns // NS_PER_MS
    run = bytearray(parts * SLOT_BYTES)
    _PACKAGE_INTO(
        run, 0, now_ns, recv_ns, seq, _PACKAGE_KIND, 0, parts, group_no, idea_no, basket, event, payout, cost,
        fee, size, seq, venue_ns, strategy, leg_count, count)
    for place, (leg_no, row, outcome, side, order_type, price_ticks, size_micro) in enumerate(orders):
        part = place + 1
        _INTENT_INTO(
            run, part * SLOT_BYTES, now_ns, recv_ns, seq, _INTENT_KIND, row, part, parts, order_no + place,
            group_no, seq, deadline_ns, timestamp_ms, salt + place, paid[place], size_micro, size_micro,
            worst[place], price_ticks, leg_no, leg_count, place, count, outcome, side, order_type, _NEW_RISK,
            order_type == _GTC)
    return bytes(run)


_IDEA = CODECS[Kind.IDEA]
assert (
    "idea_no", "basket", "event", "payout_usd_micro", "cost_usd_micro", "fee_usd_micro", "size_micro",
    "strategy", "leg_count", "order_count", "in_part", "reserved0", "leg_instrument", "leg_price_ticks",
    "leg_size_micro", "leg_no", "leg_outcome", "leg_side", "leg_type", "partial_loss_usd_micro", "reserved",
) == _IDEA.names[11:]
_PAD = tuple((0,) * count for count in range(IDEA_LEGS + 1))


def idea_run(idea: Idea, idea_no: int, seq: int, now_ns: int, recv_ns: int) -> bytes:
    """Return the IDEA run: six orders a slot, every slot repeats the head; `leg_side` 0 is BUY."""
    basket, event, strategy, leg_count, venue_ns, package = idea
    size, payout, cost, fee, loss, orders = package
    count = len(orders)
    parts = -(-count // IDEA_LEGS)
    slots = []
    for part in range(parts):
        shown = orders[part * IDEA_LEGS:(part + 1) * IDEA_LEGS]
        pad = _PAD[IDEA_LEGS - len(shown)]
        leg_no, row, outcome, price, sizes, types = zip(*shown, strict=True)
        slots.append(_IDEA.struct.pack(
            seq, now_ns, recv_ns, venue_ns if venue_ns > 0 else 0, int(Kind.IDEA), 0, 0, 0, part, parts, 0,
            idea_no, basket, event, payout, cost, fee, size, strategy, leg_count, count, len(shown), 0,
            *row, *pad, *price, *pad, *sizes, *pad, bytes(leg_no), bytes(outcome), b"", bytes(types), loss,
            0, 0, 0))
    return slots[0] if parts == 1 else b"".join(slots)
