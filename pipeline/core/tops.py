"""Latest tops of the instruments that a strategy watches.

A fold over TOP, STALE, GAP, FILL and RESOLVED records into one small mutable `Book` per instrument; reads
only the best levels on the hot path and unpacks a ladder when somebody asks for it.
"""

from __future__ import annotations

import struct
from typing import Any

from pipeline.core.fees import fee_table, unit_cost_pico
from pipeline.core.instruments import Instrument
from pipeline.core.legbook import LegBook
from pipeline.records import CODECS, HEADER_BYTES, SLOT_BYTES, TOP_DEPTH, Cause, Flag, Kind, Outcome, Rule
from pipeline.units import TICKS_PER_USD

#: All levels: bid prices, ask prices, bid sizes, ask sizes; behind the header.
_LEVELS = struct.Struct(f"<{2 * TOP_DEPTH}I{2 * TOP_DEPTH}q")
_BEST = struct.Struct("<I28xI28xq56xq")  # of the same, the best level each
assert TOP_DEPTH == 8
_D = TOP_DEPTH
_PRICE, _SIZE = HEADER_BYTES, HEADER_BYTES + 4 * 2 * _D
_SHOWN = (  # by outcome: where the prices and sizes begin that a buyer of the token would take
    (_PRICE + 4 * _D, _SIZE + 8 * _D),
    (_PRICE, _SIZE),
)
assert (int(Outcome.YES), int(Outcome.NO)) == (0, 1)
assert ("bid_ticks", "ask_ticks", "bid_micro", "ask_micro") == CODECS[Kind.TOP].names[11:15]

#: flags, best bid and ask price, best bid and ask size, venue_ns, proof_ns; from byte 34 of the slot.
HOT = struct.Struct("<H4x8xI28xI28xq56xq56xqq")
HOT_OFFSET = 34
assert HOT_OFFSET + HOT.size == SLOT_BYTES

UNTRADABLE = int(Flag.OPEN | Flag.STALE | Flag.CROSSED)
_NONE = Cause.NONE


class Book:
    """What detect knows of one instrument: its newest top and what we took from it since."""

    __slots__ = (
        "ask_ticks", "bid_ticks", "flags", "instrument", "is_resolved", "legs", "proof_ns", "slot",
        "touched_ns", "touched_until_ns", "unit_no", "unit_yes", "venue_ns", "watches",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        fee_table(instrument.fee_rate_ppm, instrument.fee_exponent).fill(instrument.tick_step)
        self.slot = b""  # newest TOP; "" before the first
        self.flags = int(Flag.STALE)
        self.bid_ticks = self.ask_ticks = 0  # 0 = no such side
        self.unit_yes = self.unit_no = 0  # cost of one share with fee, 1e-12 USD; 0 = cannot be bought
        self.venue_ns = self.proof_ns = 0
        self.touched_ns = self.touched_until_ns = 0  # our newest fill: venue time; when it no longer counts
        self.is_resolved = False
        self.legs: list[Any] = [None, None]  # by outcome: (slot, instrument, LegBook) of the last `leg`
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
        has_no = 0 < bid < TICKS_PER_USD and rules.has(_MIRRORED)
        self.unit_no = unit_cost_pico(TICKS_PER_USD - bid, rate, exponent) if has_no else 0

    def unit(self, outcome: int) -> int:
        """Return the cost of one share of the token with fee in 1e-12 USD; 0 = cannot be bought."""
        return self.unit_yes if outcome == 0 else self.unit_no

    def touch(self, venue_ns: int, until_ns: int) -> None:
        """Remember a fill of ours: depth shown by an older top is not used again before `until_ns`."""
        if venue_ns >= self.touched_ns:
            self.touched_ns, self.touched_until_ns = venue_ns, max(until_ns, self.touched_until_ns)

    def block(self, now_ns: int, proof_age_ns_max: int) -> Cause:
        """Return why no new package may use this book now, NONE when it may."""
        if (
            not (self.flags & UNTRADABLE or self.is_resolved)
            and self.proof_ns > 0
            and now_ns - self.proof_ns <= proof_age_ns_max
            and (self.venue_ns >= self.touched_ns or now_ns >= self.touched_until_ns)
            and self.instrument.is_tradable
            and self.slot
        ):
            return _NONE
        return self._blocked(now_ns, proof_age_ns_max)

    def _blocked(self, now_ns: int, proof_age_ns_max: int) -> Cause:
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
        return Cause.DEPTH_USED

    def shown(self, outcome: int) -> bytes:
        """Return the bytes of the levels that a buyer of the token would take: equal bytes, equal ladder."""
        price, size = _SHOWN[outcome]
        return self.slot[price:price + 4 * _D] + self.slot[size:size + 8 * _D]

    def leg(self, outcome: int) -> LegBook:
        """Return the token's ladders; a NO token is the mirror of the YES book where the venue mirrors.

        Unpacked once a top, when somebody asks; good until the next top.
        """
        held, rules, slot = self.legs[outcome], self.instrument, self.slot
        if held is not None and held[1] is rules:
            leg: LegBook = held[2]
            if held[0] is slot:
                return leg
        else:
            leg = LegBook(
                rules.row, outcome, [], [], rules.fee_rate_ppm, rules.fee_exponent, rules.tick_step,
                rules.size_micro_min, rules.usd_micro_min, False, _DEEPEN[outcome])
        if outcome == 0 or rules.has(_MIRRORED):
            bid, ask, bid_size, ask_size = _BEST.unpack_from(slot, HEADER_BYTES)
            if outcome:
                bid, bid_size, ask, ask_size = TICKS_PER_USD - ask, ask_size, TICKS_PER_USD - bid, bid_size
            leg.bids, leg.asks = [(bid, bid_size)], [(ask, ask_size)]
            leg.is_cut, leg.top = True, slot
        self.legs[outcome] = slot, rules, leg
        return leg


_MIRRORED = int(Rule.MIRRORED)


def _deepen_yes(leg: LegBook) -> None:
    """Levels that are not there have price and size 0: they end a ladder for whoever walks it."""
    values = _LEVELS.unpack_from(leg.top, HEADER_BYTES)
    leg.bids = list(zip(values[:_D], values[2 * _D:3 * _D], strict=True))
    leg.asks = list(zip(values[_D:2 * _D], values[3 * _D:], strict=True))


def _deepen_no(leg: LegBook) -> None:
    """The mirror: bids of YES are offers of NO."""
    values = _LEVELS.unpack_from(leg.top, HEADER_BYTES)
    prices = [TICKS_PER_USD - price for price in values[:2 * _D]]
    leg.asks = list(zip(prices[:_D], values[2 * _D:3 * _D], strict=True))
    leg.bids = list(zip(prices[_D:], values[3 * _D:], strict=True))


_DEEPEN = (_deepen_yes, _deepen_no)
