"""Renders decisions: CANCEL, VERDICT, SUBSCRIBE, RESYNC, RECONCILE, BEAT slots.

Pure; packages with their intents are rendered by `native/packages`. Every decision carries the time and the
stream position of the record that caused it (`now_ns`, `source_seq`), so that recovery can apply a log of
decisions beside the stream.
"""

from __future__ import annotations

from typing import NamedTuple

from pipeline.core.order import NO_HASH
from pipeline.core.packing import Packer
from pipeline.core.risk import Proposal, Verdict
from pipeline.kinds import Kind

_HEAD = ("now_ns", "recv_ns", "source_seq", "instrument")


class Causing(NamedTuple):
    """Where a decision comes from: fields of the header of the record that caused it."""

    seq: int
    now_ns: int
    recv_ns: int


_CANCEL = Packer(Kind.CANCEL, *_HEAD, "order_no", "group_no", "cancel_no", "order_hash", "cause")
_VERDICT = Packer(
    Kind.VERDICT, *_HEAD, "idea_no", "basket", "event", "cause", "strategy", "value", "limit", "cause_seq",
    "count")
_SUBSCRIBE = Packer(Kind.SUBSCRIBE, *_HEAD, "request_no")
_RESYNC = Packer(Kind.RESYNC, *_HEAD, "request_no", "cause")
_RECONCILE = Packer(Kind.RECONCILE, *_HEAD, "request_no", "order_no", "order_hash", "cause", "since_ns")
_BEAT = Packer(Kind.BEAT, *_HEAD, "beat_no", "open_orders", "fence_order_no", "fence_epoch")

_I64_MAX = (1 << 63) - 1


def cancel_slot(
    causing: Causing, row: int, order_no: int, group_no: int, order_hash: bytes, cancel_no: int, cause: int,
) -> bytes:
    """Return the CANCEL slot of an order; its hash is zero while nobody told it.

    order_no 0: an order of a run whose logs are not here, known by its hash alone.
    """
    return _CANCEL(
        causing.now_ns, causing.recv_ns, causing.seq, row, order_no, group_no, cancel_no, order_hash, cause)


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


def reconcile_slot(
    causing: Causing, request_no: int, cause: int, order_no: int = 0, order_hash: bytes = NO_HASH,
    since_ns: int = 0, row: int = 0,
) -> bytes:
    """Return the RECONCILE slot: about everything, and about one order or one market where it is named.

    since_ns: the earliest match that may still be taken back; 0 = none.
    """
    return _RECONCILE(
        causing.now_ns, causing.recv_ns, causing.seq, row, request_no, order_no, order_hash, cause,
        since_ns)


def beat_slot(
    causing: Causing, beat_no: int, open_orders: int, fence_order_no: int, fence_epoch: int,
) -> bytes:
    """Return the BEAT slot: trade is alive and healthy, and what it fenced when a gateway came up."""
    return _BEAT(
        causing.now_ns, causing.recv_ns, causing.seq, 0, beat_no, open_orders, fence_order_no, fence_epoch)
