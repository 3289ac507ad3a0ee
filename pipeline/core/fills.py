"""The index of fills: each is applied once and reversed at most once (I8), and the quarantine of strangers.

Key = (order, trade id); one venue a run, so the venue is not part of it. The index is trade's and is
checkpointed with it: a trade that REST tells again after a restart changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

from pipeline.records import HEADER_BYTES, TradeStatus

FILLS_MAX = 4_000_000  # fills of remembered orders; the gate refuses new risk at the limit
QUARANTINE_MAX = 4_096  # fills that name an order we do not know (yet)

_NUMBER_BYTES = 8  # of a key; an order hash has 32
_FINAL = (TradeStatus.CONFIRMED, TradeStatus.FAILED)
_FOLLOWING = (TradeStatus.MINED, TradeStatus.RETRYING, TradeStatus.CONFIRMED)


class Change(enum.IntEnum):
    """What a report of a trade changes; BOOK and REVERSE are the signs of the booking."""

    NONE = 0
    BOOK = 1
    REVERSE = -1
    VOID = 2  # failed before we ever heard of it: nothing to take back


def order_key(record: Any) -> bytes:
    """Return by what a FILL record names its order: the order hash, or the number where no hash is told."""
    order_hash: bytes = record.order_hash
    return bytes(order_hash) if any(order_hash) else number_key(record.order_no)


def number_key(order_no: int) -> bytes:
    """Return the key of an order that is known by its number."""
    return order_no.to_bytes(_NUMBER_BYTES, "big")


def order_no_of(key: bytes) -> int:
    """Return the number in a key, 0 where the order is known by its hash alone."""
    return int.from_bytes(key, "big") if len(key) == _NUMBER_BYTES else 0


class FillIndex:
    """Which trades of which orders were applied, and where each stands in its settlement walk.

    It lives as long as the orders: who forgets an order (`Orders`, after 65,536 newer closed ones) says so,
    and a report of it finds no order. So it grows with what is remembered, not with what was traded.
    """

    def __init__(self) -> None:
        self._fills: dict[bytes, dict[bytes, int]] = {}  # order -> trade id -> status
        self._count = 0
        self.applied_count = 0  # applied and not reversed
        self.reversed_count = 0
        self.repeat_count = 0  # reports of a trade that changed nothing
        self.conflict_count = 0  # FAILED after CONFIRMED: the venue contradicts itself

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Tell whether the limit of fills is reached; known trades are still followed."""
        return self._count >= FILLS_MAX

    def apply(self, order: bytes, trade_id: bytes, status: int) -> Change:
        """Return what is to be done about the trade of an order (`order_key` or `number_key`).

        Any status but FAILED books a new trade: MATCHED may have been missed. An unknown one is provisional.
        """
        trades = self._fills.setdefault(order, {})
        before = trades.get(trade_id)
        if before is None:
            trades[trade_id] = status
            self._count += 1
            if status == TradeStatus.FAILED:
                return Change.VOID
            self.applied_count += 1
            return Change.BOOK
        if before in _FINAL:
            if before == TradeStatus.CONFIRMED and status == TradeStatus.FAILED:
                self.conflict_count += 1
            else:
                self.repeat_count += 1
            return Change.NONE
        if status == TradeStatus.FAILED:
            trades[trade_id] = status
            self.applied_count -= 1
            self.reversed_count += 1
            return Change.REVERSE
        if status != before and status in _FOLLOWING:
            trades[trade_id] = status
        else:
            self.repeat_count += 1
        return Change.NONE

    def unsettled(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the order's key and the id of each trade that may still be taken back. O(all trades)."""
        for order, trades in self._fills.items():
            for trade_id, status in trades.items():
                if status not in _FINAL:
                    yield order, trade_id

    def forget(self, order: bytes) -> None:
        """Drop the trades of an order that nobody finds any more; the counts of what was booked stay."""
        self._count -= len(self._fills.pop(order, ()))

    def state(self) -> list[Any]:
        """Return the index as JSON values, for a checkpoint."""
        counts = [self.applied_count, self.reversed_count, self.repeat_count, self.conflict_count]
        fills = [
            [order.hex(), [[trade_id.hex(), status] for trade_id, status in trades.items()]]
            for order, trades in self._fills.items()]
        return [fills, counts]

    def load(self, state: list[Any]) -> None:
        """Replace the index by what `state()` returned."""
        fills, counts = state
        self._fills = {
            bytes.fromhex(order): {bytes.fromhex(trade_id): status for trade_id, status in trades}
            for order, trades in fills}
        self._count = sum(map(len, self._fills.values()))
        self.applied_count, self.reversed_count, self.repeat_count, self.conflict_count = counts


class Quarantine:
    """Fills of orders that nobody knows yet: kept whole, applied when a report names their hash (FL06)."""

    def __init__(self) -> None:
        self._slots: dict[bytes, list[bytes]] = {}  # order hash -> FILL slots, in order of arrival
        self.rows: dict[int, int] = {}  # row -> fills waiting; the gate asks `row in rows`
        self.count = 0
        self.lost_count = 0  # beyond the limit: trade halts, nothing is forgotten silently

    def keep(self, order_hash: bytes, row: int, slot: bytes) -> bool:
        """Keep one fill; False when there is no room (the caller halts)."""
        held = self._slots.setdefault(order_hash, [])
        if any(slot[HEADER_BYTES:] == known[HEADER_BYTES:] for known in held):
            return True  # told again: only its place in the stream differs
        if self.count >= QUARANTINE_MAX:
            self.lost_count += 1
            return False
        held.append(slot)
        self.count += 1
        self.rows[row] = self.rows.get(row, 0) + 1
        return True

    def release(self, order_hash: bytes) -> list[bytes]:
        """Return and forget the fills of an order that is known now."""
        slots = self._slots.pop(order_hash, [])
        self.count -= len(slots)
        for slot in slots:
            row = int.from_bytes(slot[36:40], "little")
            self.rows[row] -= 1
            if not self.rows[row]:
                del self.rows[row]
        return slots

    def state(self) -> list[Any]:
        """Return the quarantine as JSON values, for a checkpoint."""
        held = [[key.hex(), [slot.hex() for slot in slots]] for key, slots in self._slots.items()]
        return [held, list(self.rows.items()), self.count, self.lost_count]

    def load(self, state: list[Any]) -> None:
        """Replace the quarantine by what `state()` returned."""
        held, rows, self.count, self.lost_count = state
        self._slots = {bytes.fromhex(key): [bytes.fromhex(slot) for slot in slots] for key, slots in held}
        self.rows = dict(rows)
