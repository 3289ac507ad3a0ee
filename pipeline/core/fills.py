"""The index of fills: each is applied once and reversed at most once (I8), and the quarantine of strangers.

Key = (order, trade id); one venue a run, so the venue is not part of it. The index is trade's and is
checkpointed with it: a trade that REST tells again after a restart changes nothing. While a trade may still
fail, what was booked for it is kept whole: exactly that is taken back, whatever the venue's last word says.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipeline.kinds import TradeStatus
from pipeline.records import HEADER_BYTES

FILLS_MAX = 4_000_000  # fills of remembered orders; the gate refuses new risk at the limit
QUARANTINE_MAX = 4_096  # fills that name an order we do not know (yet)

_NUMBER_BYTES = 8  # of a key; an order hash has 32
_FINAL = (TradeStatus.CONFIRMED, TradeStatus.FAILED)
_FOLLOWING = (TradeStatus.MINED, TradeStatus.RETRYING, TradeStatus.CONFIRMED)
_KNOWN = (TradeStatus.MATCHED, *_FOLLOWING, TradeStatus.FAILED)


class Change(enum.IntEnum):
    """What a report of a trade changes; BOOK and REVERSE are the signs of the booking."""

    NONE = 0
    BOOK = 1
    REVERSE = -1
    VOID = 2  # failed before we ever heard of it: nothing to take back
    SETTLE = 3  # booked before; from here on it cannot be taken back


class Booking(NamedTuple):
    """What one trade did to one token of ours; money without its sign, as `Positions.trade` takes it."""

    row: int
    outcome: int
    side: int
    size_micro: int
    usd_micro: int
    fee_usd_micro: int
    match_ns: int = 0  # venue time of the match


Key = tuple[bytes, bytes]  # order, trade id
NOTHING = Booking(0, 0, 0, 0, 0, 0)


def is_provisional(status: int) -> bool:
    """Tell whether a trade of this status may still be taken back."""
    return status not in _FINAL


def number_key(order_no: int) -> bytes:
    """Return the key of an order that is known by its number."""
    return order_no.to_bytes(_NUMBER_BYTES, "big")


class FillIndex:
    """Which trades of which orders were applied, and where each stands in its settlement walk.

    It lives as long as the orders: who forgets an order (`Orders`, after 65,536 newer closed ones) says so,
    and a report of it finds no order. So it grows with what is remembered, not with what was traded.
    """

    def __init__(self) -> None:
        self._fills: dict[bytes, dict[bytes, int]] = {}  # order -> trade id -> status
        self._count = 0
        self._open: OrderedDict[Key, tuple[Booking, int]] = OrderedDict()  # with when; longest silent first
        self.applied_count = 0  # applied and not reversed
        self.reversed_count = 0
        self.repeat_count = 0  # reports of a trade that changed nothing
        self.conflict_count = 0  # FAILED after CONFIRMED or the reverse: the venue contradicts itself
        self.unknown_count = 0  # reports with a status that we do not know

    def __len__(self) -> int:
        return self._count

    @property
    def is_full(self) -> bool:
        """Tell whether the limit of fills is reached; known trades are still followed."""
        return self._count >= FILLS_MAX

    def knows(self, order: bytes) -> bool:
        """Tell whether a trade of the order was ever told under this key."""
        return order in self._fills

    def apply(
        self, order: bytes, trade_id: bytes, status: int, booking: Booking = NOTHING, now_ns: int = 0,
    ) -> tuple[Change, Booking]:
        """Return what is to be done about the trade of an order, its `number_key` or hash, and with what.

        booking: what the trade means by this report; the first one counts and comes back until the walk ends.
        Any status but FAILED books a new trade: MATCHED may have been missed. An unknown one is provisional.
        """
        trades = self._fills.setdefault(order, {})
        before, key = trades.get(trade_id), (order, trade_id)
        self.unknown_count += status not in _KNOWN
        if before is None:
            trades[trade_id] = status
            self._count += 1
            if status == TradeStatus.FAILED:
                return Change.VOID, booking
            self.applied_count += 1
            if is_provisional(status):
                self._open[key] = booking, now_ns
            return Change.BOOK, booking
        if before in _FINAL:
            if status in _FINAL and status != before:
                self.conflict_count += 1
            else:
                self.repeat_count += 1
            return Change.NONE, booking
        if status == TradeStatus.FAILED:
            trades[trade_id] = status
            self.applied_count -= 1
            self.reversed_count += 1
            return Change.REVERSE, self._open.pop(key)[0]
        if status == before or status not in _FOLLOWING:
            self.repeat_count += 1
            return Change.NONE, booking
        trades[trade_id] = status
        if status == TradeStatus.CONFIRMED:
            return Change.SETTLE, self._open.pop(key)[0]
        self._open[key] = self._open[key][0], now_ns
        self._open.move_to_end(key)
        return Change.NONE, booking

    def unsettled(self) -> Iterator[Booking]:
        """Yield what was booked for each trade that may still be taken back."""
        for booking, _ in self._open.values():
            yield booking

    @property
    def unsettled_count(self) -> int:
        """Return how many trades may still be taken back."""
        return len(self._open)

    @property
    def silent_ns(self) -> int:
        """Return when the unsettled trade that was silent for longest was told; far in the future: none."""
        return next(iter(self._open.values()))[1] if self._open else 1 << 62

    @property
    def oldest_match_ns(self) -> int:
        """Return the earliest match of the trades that may still be taken back; 0 without one. O(those)."""
        return min((booking.match_ns for booking, _ in self._open.values()), default=0)

    def forget(self, order: bytes) -> list[Booking]:
        """Drop the trades of an order that nobody finds any more; the counts of what was booked stay.

        Returns what was booked for those whose end nobody told: it is taken as settled from here on.
        """
        trades = self._fills.pop(order, {})
        self._count -= len(trades)
        held = [self._open.pop((order, trade_id), None) for trade_id in trades]
        return [one[0] for one in held if one is not None]

    def state(self) -> list[Any]:
        """Return the index as JSON values, for a checkpoint."""
        counts = [self.applied_count, self.reversed_count, self.repeat_count, self.conflict_count,
                  self.unknown_count]
        fills = [
            [order.hex(), [[trade_id.hex(), status] for trade_id, status in trades.items()]]
            for order, trades in self._fills.items()]
        held = [[order.hex(), trade_id.hex(), list(booking), told]
                for (order, trade_id), (booking, told) in self._open.items()]
        return [fills, counts, held]

    def load(self, state: list[Any]) -> None:
        """Replace the index by what `state()` returned."""
        fills, counts, held = state
        self._fills = {
            bytes.fromhex(order): {bytes.fromhex(trade_id): status for trade_id, status in trades}
            for order, trades in fills}
        self._count = sum(map(len, self._fills.values()))
        (self.applied_count, self.reversed_count, self.repeat_count, self.conflict_count,
         self.unknown_count) = counts
        self._open = OrderedDict(
            ((bytes.fromhex(order), bytes.fromhex(trade_id)), (Booking(*booking), told))
            for order, trade_id, booking, told in held)


class Quarantine:
    """Fills of orders that nobody knows yet: kept whole, applied when a report names their hash (FL06)."""

    def __init__(self) -> None:
        self._slots: dict[bytes, list[bytes]] = {}  # order hash -> FILL slots, in order of arrival
        self._since_ns: dict[bytes, int] = {}  # order hash -> stream time of its first fill
        self.rows: dict[int, int] = {}  # row -> fills waiting; the gate asks `row in rows`
        self.count = 0
        self.lost_count = 0  # beyond the limit: trade halts, nothing is forgotten silently

    def keep(self, order_hash: bytes, row: int, slot: bytes, now_ns: int = 0) -> bool:
        """Keep one fill; False when there is no room (the caller halts)."""
        held = self._slots.setdefault(order_hash, [])
        if any(slot[HEADER_BYTES:] == known[HEADER_BYTES:] for known in held):
            return True  # told again: only its place in the stream differs
        if self.count >= QUARANTINE_MAX:
            self.lost_count += 1
            return False
        self._since_ns.setdefault(order_hash, now_ns)
        held.append(slot)
        self.count += 1
        self.rows[row] = self.rows.get(row, 0) + 1
        return True

    def older_than(self, when_ns: int) -> tuple[bytes, ...]:
        """Return the hashes whose first fill came before `when_ns`."""
        return tuple(order_hash for order_hash, since_ns in self._since_ns.items() if since_ns < when_ns)

    def release(self, order_hash: bytes) -> list[bytes]:
        """Return and forget the fills of an order that is known now."""
        slots = self._slots.pop(order_hash, [])
        self._since_ns.pop(order_hash, None)
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
        since = [[key.hex(), since_ns] for key, since_ns in self._since_ns.items()]
        return [held, list(self.rows.items()), self.count, self.lost_count, since]

    def load(self, state: list[Any]) -> None:
        """Replace the quarantine by what `state()` returned."""
        held, rows, self.count, self.lost_count, since = state
        self._slots = {bytes.fromhex(key): [bytes.fromhex(slot) for slot in slots] for key, slots in held}
        self._since_ns = {bytes.fromhex(key): since_ns for key, since_ns in since}
        self.rows = dict(rows)
