"""Latest tops of the instruments that a strategy watches.

A fold over TOP, STALE, GAP, FILL and RESOLVED records into one small mutable `Book` per instrument; reads
only the best levels on the hot path and unpacks a ladder when somebody asks for it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from pipeline.core.fees import unit_cost_pico
from pipeline.core.instruments import Instrument
from pipeline.core.sizing import LegBook
from pipeline.records import CODECS, SLOT_BYTES, TOP_DEPTH, Cause, Flag, Kind, Outcome, Rule
from pipeline.units import TICKS_PER_USD

_TOP = CODECS[Kind.TOP]
_BID, _ASK = _TOP.at["bid_ticks"], _TOP.at["ask_ticks"]
_BID_MICRO, _ASK_MICRO = _TOP.at["bid_micro"], _TOP.at["ask_micro"]

#: flags, best bid and ask price, best bid and ask size, venue_ns, proof_ns; from byte 34 of the slot.
HOT = struct.Struct("<H4x8xI28xI28xq56xq56xqq")
HOT_OFFSET = 34
assert HOT_OFFSET + HOT.size == SLOT_BYTES

UNTRADABLE = int(Flag.OPEN | Flag.STALE | Flag.CROSSED)


class Book:
    """What detect knows of one instrument: its newest top and what we took from it since."""

    __slots__ = (
        "ask_ticks", "bid_ticks", "flags", "instrument", "is_resolved", "proof_ns", "slot", "touched_ns",
        "touched_until_ns", "unit_no", "unit_yes", "venue_ns", "watches",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.slot = b""  # newest TOP; "" before the first
        self.flags = int(Flag.STALE)
        self.bid_ticks = self.ask_ticks = 0  # 0 = no such side
        self.unit_yes = self.unit_no = 0  # cost of one share with fee, 1e-12 USD; 0 = cannot be bought
        self.venue_ns = self.proof_ns = 0
        self.touched_ns = self.touched_until_ns = 0  # our newest fill: venue time; when it no longer counts
        self.is_resolved = False
        self.watches: list[Any] = []  # whoever wants to hear about it; owned by the strategy

    def take(self, slot: bytes | bytearray | memoryview, offset: int) -> int:
        """Store the newest TOP; return which best prices changed: 1 the ask (cost of YES), 2 the bid (NO)."""
        self.flags, bid, ask, bid_micro, ask_micro, self.venue_ns, self.proof_ns = HOT.unpack_from(
            slot, offset + HOT_OFFSET)
        self.slot = bytes(slot[offset:offset + SLOT_BYTES])
        bid, ask = bid if bid_micro > 0 else 0, ask if ask_micro > 0 else 0
        changed = (ask != self.ask_ticks) + (bid != self.bid_ticks) * 2
        if changed:
            self.bid_ticks, self.ask_ticks = bid, ask
            self.price()
        return changed

    def price(self) -> None:
        """Derive the unit costs from the best prices; also after the instrument's fee changed."""
        rules, ask, bid = self.instrument, self.ask_ticks, self.bid_ticks
        rate, exponent = rules.fee_rate_ppm, rules.fee_exponent
        self.unit_yes = unit_cost_pico(ask, rate, exponent) if 0 < ask < TICKS_PER_USD else 0
        has_no = 0 < bid < TICKS_PER_USD and rules.has(Rule.MIRRORED)
        self.unit_no = unit_cost_pico(TICKS_PER_USD - bid, rate, exponent) if has_no else 0

    def unit(self, outcome: int) -> int:
        """Return the cost of one share of the token with fee in 1e-12 USD; 0 = cannot be bought."""
        return self.unit_yes if outcome == Outcome.YES else self.unit_no

    def touch(self, venue_ns: int, until_ns: int) -> None:
        """Remember a fill of ours: depth shown by an older top is not used again before `until_ns`."""
        if venue_ns >= self.touched_ns:
            self.touched_ns, self.touched_until_ns = venue_ns, max(until_ns, self.touched_until_ns)

    def block(self, now_ns: int, proof_age_ns_max: int) -> Cause:
        """Return why no new package may use this book now, NONE when it may."""
        flags = self.flags
        if self.is_resolved:
            return Cause.RESOLVED
        if not self.slot:
            return Cause.NO_SNAPSHOT
        if flags & UNTRADABLE:
            if flags & Flag.STALE:
                return Cause.BOOK_STALE
            return Cause.BOOK_OPEN if flags & Flag.OPEN else Cause.CROSSED_BOOK
        if not self.instrument.is_tradable:
            return Cause.NOT_TRADABLE
        if not (self.proof_ns > 0 and now_ns - self.proof_ns <= proof_age_ns_max):
            return Cause.PROOF_OLD
        if self.venue_ns < self.touched_ns and now_ns < self.touched_until_ns:
            return Cause.DEPTH_USED
        return Cause.NONE

    def shown(self, outcome: int) -> bytes:
        """Return the bytes of the levels that a buyer of the token would take: equal bytes, equal ladder."""
        price, size = (_ASK, _ASK_MICRO) if outcome == Outcome.YES else (_BID, _BID_MICRO)
        return self.slot[_BYTE[price]:_BYTE[price] + 4 * TOP_DEPTH] + self.slot[
            _BYTE[size]:_BYTE[size] + 8 * TOP_DEPTH]

    def leg(self, outcome: int) -> LegBook:
        """Return the token's ladders; a NO token is the mirror of the YES book where the venue mirrors."""
        values, rules = _TOP.struct.unpack_from(self.slot), self.instrument
        bids = _ladder(values[_BID:_BID + TOP_DEPTH], values[_BID_MICRO:_BID_MICRO + TOP_DEPTH])
        asks = _ladder(values[_ASK:_ASK + TOP_DEPTH], values[_ASK_MICRO:_ASK_MICRO + TOP_DEPTH])
        if outcome == Outcome.NO:
            mirrored = rules.has(Rule.MIRRORED)
            bids, asks = (_mirror(asks), _mirror(bids)) if mirrored else ([], [])
        return LegBook(
            row=rules.row, outcome=outcome, asks=asks, bids=bids, fee_rate_ppm=rules.fee_rate_ppm,
            fee_exponent=rules.fee_exponent, tick_step=rules.tick_step, size_micro_min=rules.size_micro_min,
            usd_micro_min=rules.usd_micro_min)


assert _TOP.struct.size == SLOT_BYTES
_BYTE = {_BID: 48, _ASK: 48 + 4 * TOP_DEPTH, _BID_MICRO: 48 + 8 * TOP_DEPTH, _ASK_MICRO: 48 + 16 * TOP_DEPTH}


def _ladder(prices: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, int]]:
    levels = []
    for price, size in zip(prices, sizes, strict=True):
        if size <= 0:
            break
        levels.append((price, size))
    return levels


def _mirror(levels: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(TICKS_PER_USD - price, size) for price, size in levels]
