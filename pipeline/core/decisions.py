"""Renders decisions: PACKAGE, INTENT, CANCEL, VERDICT, SUBSCRIBE, RESYNC, RECONCILE, BEAT slots.

Pure. Every decision carries the time and the stream position of the record that caused it (`now_ns`,
`source_seq`), so that recovery can apply a log of decisions beside the stream.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.core.limits import salt_of
from pipeline.core.order import Order
from pipeline.core.packing import Packer
from pipeline.core.risk import Proposal, Verdict, WantedOrder
from pipeline.records import CODECS, IntentClass, Kind, OrderType
from pipeline.units import NS_PER_MS, cost_micro

_HEAD = ("now_ns", "recv_ns", "source_seq", "instrument")


class Causing(NamedTuple):
    """Where a decision comes from: fields of the header of the record that caused it."""

    seq: int
    now_ns: int
    recv_ns: int


_PACKAGE = Packer(
    Kind.PACKAGE, *_HEAD, "group_no", "idea_no", "basket", "event", "payout_usd_micro", "cost_usd_micro",
    "fee_usd_micro", "size_micro", "cause_seq", "cause_venue_ns", "strategy", "leg_count", "order_count")
_INTENT = CODECS[Kind.INTENT].struct.pack
assert (
    "order_no", "group_no", "cause_seq", "deadline_ns", "timestamp_ms", "salt", "maker_amount",
    "taker_amount", "size_micro", "expiration_s", "worst_usd_micro", "price_ticks", "leg_no", "leg_count",
    "batch_index", "batch_count", "outcome", "side", "order_type", "intent_class", "post_only", "account",
    "cancel_rest", "reserved0", "reserved",
) == CODECS[Kind.INTENT].names[11:]
_REST = (0,) * 14  # reserved
_INTENT_KIND, _NEW_RISK, _GTC = int(Kind.INTENT), int(IntentClass.NEW_RISK), int(OrderType.GTC)
_CANCEL = Packer(Kind.CANCEL, *_HEAD, "order_no", "group_no", "cancel_no", "order_hash", "cause")
_VERDICT = Packer(
    Kind.VERDICT, *_HEAD, "idea_no", "basket", "event", "cause", "strategy", "value", "limit", "cause_seq",
    "count")
_SUBSCRIBE = Packer(Kind.SUBSCRIBE, *_HEAD, "request_no")
_RESYNC = Packer(Kind.RESYNC, *_HEAD, "request_no", "cause")
_RECONCILE = Packer(Kind.RECONCILE, *_HEAD, "request_no", "cause")
_BEAT = Packer(Kind.BEAT, *_HEAD, "beat_no", "open_orders")

_I64_MAX = (1 << 63) - 1


def package_slot(causing: Causing, proposal: Proposal, group_no: int, venue_ns: int) -> bytes:
    """Return the PACKAGE slot of a proposal that passed the gate."""
    return _PACKAGE(
        causing.now_ns, causing.recv_ns, causing.seq, 0, group_no, proposal.idea_no, proposal.basket,
        proposal.event, proposal.payout_usd_micro, proposal.cost_usd_micro, proposal.fee_usd_micro,
        proposal.size_micro, causing.seq, venue_ns, proposal.strategy, proposal.leg_count,
        len(proposal.orders))


class Numbers(NamedTuple):
    """What the intents of one package take from counters and limits."""

    order_no: int  # of the first
    group_no: int
    salt_epoch: int
    deadline_ns: int
    leg_count: int
    batch_count: int


def intent_slot(
    causing: Causing, order: WantedOrder, numbers: Numbers, place: int, worst_usd_micro: int,
) -> bytes:
    """Return the INTENT slot of the package's BUY at `place`: gives USD, wants shares, both in 1e-6 units."""
    seq, now_ns, recv_ns = causing
    order_no, group_no, salt_epoch, deadline_ns, leg_count, batch_count = numbers
    order_no += place
    size, price, order_type = order.size_micro, order.price_ticks, order.order_type
    return _INTENT(
        0, now_ns, recv_ns, seq, _INTENT_KIND, 0, order.row, 0, 0, 1, 0, order_no, group_no, seq, deadline_ns,
        now_ns // NS_PER_MS, salt_of(salt_epoch, order_no), cost_micro(price, size), size, size, 0,
        worst_usd_micro, price, order.leg_no, leg_count, place, batch_count, order.outcome, order.side,
        order_type, _NEW_RISK, 0, 0, order_type == _GTC, *_REST)


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
