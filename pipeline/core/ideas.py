"""Reads IDEA runs by position: what one idea proposes, as plain tuples.

Pure; `native.packages` is the compiled twin that the stage uses.
"""

from __future__ import annotations

from typing import Any

from pipeline.core.packing import picked
from pipeline.records import CODECS, IDEA_LEGS, SLOT_BYTES, Kind

Wanted = tuple[int, int, int, int, int, int, int]  # one order: the fields of `risk.WantedOrder`
Fields = tuple[  # the fields of `risk.Proposal`
    int, int, int, int, int, int, int, int, int, int, int, tuple[Wanted, ...]]

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
