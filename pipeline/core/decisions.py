"""Renders decisions: PACKAGE, INTENT, CANCEL, VERDICT, SUBSCRIBE, RESYNC, RECONCILE, BEAT slots.

Pure. Every decision carries the time and the stream position of the record that caused it (`now_ns`,
`source_seq`), so that recovery can apply a log of decisions beside the stream.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.core.ideas import Fields
from pipeline.core.order import Order
from pipeline.core.packing import Packer, picked
from pipeline.core.risk import Proposal, Verdict
from pipeline.records import CODECS, SLOT_BYTES, IntentClass, Kind, OrderType
from pipeline.units import NS_PER_MS

_HEAD = ("now_ns", "recv_ns", "source_seq", "instrument")


class Causing(NamedTuple):
    """Where a decision comes from: fields of the header of the record that caused it."""

    seq: int
    now_ns: int
    recv_ns: int


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
_CANCEL = Packer(Kind.CANCEL, *_HEAD, "order_no", "group_no", "cancel_no", "order_hash", "cause")
_VERDICT = Packer(
    Kind.VERDICT, *_HEAD, "idea_no", "basket", "event", "cause", "strategy", "value", "limit", "cause_seq",
    "count")
_SUBSCRIBE = Packer(Kind.SUBSCRIBE, *_HEAD, "request_no")
_RESYNC = Packer(Kind.RESYNC, *_HEAD, "request_no", "cause")
_RECONCILE = Packer(Kind.RECONCILE, *_HEAD, "request_no", "cause")
_BEAT = Packer(Kind.BEAT, *_HEAD, "beat_no", "open_orders")

_I64_MAX = (1 << 63) - 1


def package_run(
    causing: tuple[int, int, int], venue_ns: int, fields: Fields, paid: list[int], worst: list[int],
    group_no: int, order_no: int, salt: int, deadline_ns: int,
) -> bytes:
    """Return the run of an idea that passed the gate: its PACKAGE, then one INTENT for each of its BUYs.

    causing, fields, venue_ns: as `ideas.read_idea` returns them. An intent gives USD (`paid`) and wants
    shares, both in 1e-6 units; paid, worst: of each order, from the gate. order_no and salt are of the first
    intent, those of the others follow. `native.packages` is the compiled twin that the stage uses.
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


def cancel_slot(causing: Causing, order: Order, cancel_no: int, cause: int) -> bytes:
    """Return the CANCEL slot of an order; its hash is zero while nobody told it."""
    return _CANCEL(
        causing.now_ns, causing.recv_ns, causing.seq, order.row, order.order_no, order.group_no, cancel_no,
        order.order_hash, cause)


def verdict_slot(causing: Causing, proposal: Proposal, verdict: Verdict, count: int) -> bytes:
    """Return the VERDICT slot of a refusal that happened `count` times since it was last told."""
    value, limit = (max(-_I64_MAX, min(_I64_MAX, number)) for number in (verdict.value, verdict.limit))
    return _VERDICT(
        causing.now_ns, causing.recv_ns, causing.seq, 0, proposal.idea_no, proposal.basket, proposal.event,
        int(verdict.cause), proposal.strategy, value, limit, causing.seq, count)


def subscribe_slot(causing: Causing, row: int, request_no: int) -> bytes:
    """Return the SUBSCRIBE slot of a row."""
    return _SUBSCRIBE(causing.now_ns, causing.recv_ns, causing.seq, row, request_no)


def resync_slot(causing: Causing, row: int, request_no: int, cause: int) -> bytes:
    """Return the RESYNC slot of a row whose book is not to be trusted."""
    return _RESYNC(causing.now_ns, causing.recv_ns, causing.seq, row, request_no, cause)


def reconcile_slot(causing: Causing, request_no: int, cause: int) -> bytes:
    """Return the RECONCILE slot."""
    return _RECONCILE(causing.now_ns, causing.recv_ns, causing.seq, 0, request_no, cause)


def beat_slot(causing: Causing, beat_no: int, open_orders: int) -> bytes:
    """Return the BEAT slot: trade is alive and healthy."""
    return _BEAT(causing.now_ns, causing.recv_ns, causing.seq, 0, beat_no, open_orders)
