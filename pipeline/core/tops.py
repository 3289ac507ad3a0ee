"""Latest tops of the instruments that a strategy watches.

A fold over TOP, STALE, GAP, FILL and RESOLVED records into one `Book` per instrument. Its prices and sums
are native (`native/sums`); a ladder is unpacked when somebody asks for it.
"""

from __future__ import annotations

import struct

from pipeline.core.fees import fee_table
from pipeline.core.instruments import Instrument
from pipeline.core.legbook import LegBook
from pipeline.native.sums import Top
from pipeline.records import CODECS, HEADER_BYTES, TOP_DEPTH, Cause, Flag, Kind, Rule
from pipeline.units import TICKS_PER_USD

#: All levels: bid prices, ask prices, bid sizes, ask sizes; behind the header.
_LEVELS = struct.Struct(f"<{2 * TOP_DEPTH}I{2 * TOP_DEPTH}q")
assert TOP_DEPTH == 8
_D = TOP_DEPTH
assert ("bid_ticks", "ask_ticks", "bid_micro", "ask_micro") == CODECS[Kind.TOP].names[11:15]

_UNTRADABLE = int(Flag.OPEN | Flag.STALE | Flag.CROSSED)
_NONE = Cause.NONE
_MIRRORED = int(Rule.MIRRORED)


class Book(Top):
    """What detect knows of one instrument: its newest top and what we took from it since."""

    __slots__ = ("instrument",)

    def __init__(self, instrument: Instrument) -> None:
        self.follow(instrument)

    def follow(self, instrument: Instrument) -> None:
        """Take the changed instrument: its rules and fees hold for the prices that are known."""
        self.instrument = instrument
        fees = fee_table(instrument.fee_rate_ppm, instrument.fee_exponent)
        fees.fill(instrument.tick_step)
        self.set_rules(fees, instrument.is_tradable, instrument.has(_MIRRORED))

    def block(self, now_ns: int, proof_age_ns_max: int) -> Cause:
        """Return why no new package may use this book now, NONE when it may."""
        return _NONE if self.is_free(now_ns, proof_age_ns_max) else self._blocked(now_ns, proof_age_ns_max)

    def _blocked(self, now_ns: int, proof_age_ns_max: int) -> Cause:
        flags = self.flags
        if self.is_resolved:
            return Cause.RESOLVED
        if not self.taken_count:
            return Cause.NO_SNAPSHOT
        if flags & _UNTRADABLE:
            if flags & Flag.STALE:
                return Cause.BOOK_STALE
            return Cause.BOOK_OPEN if flags & Flag.OPEN else Cause.CROSSED_BOOK
        if not self.instrument.is_tradable:
            return Cause.NOT_TRADABLE
        if not (self.proof_ns > 0 and now_ns - self.proof_ns <= proof_age_ns_max):
            return Cause.PROOF_OLD
        return Cause.DEPTH_USED

    def make_leg(self, outcome: int) -> LegBook:
        """Return empty ladders under the rules in force; `leg` fills them in, top by top."""
        rules = self.instrument
        return LegBook(
            rules.row, outcome, [], [], rules.fee_rate_ppm, rules.fee_exponent, rules.tick_step,
            rules.size_micro_min, rules.usd_micro_min, False, _DEEPEN[outcome])


def _deepen_yes(leg: LegBook) -> None:
    """Levels that are not there have price and size 0: they end a ladder for whoever walks it."""
    values = _LEVELS.unpack_from(leg.top.slot, HEADER_BYTES)
    leg.bids = list(zip(values[:_D], values[2 * _D:3 * _D], strict=True))
    leg.asks = list(zip(values[_D:2 * _D], values[3 * _D:], strict=True))


def _deepen_no(leg: LegBook) -> None:
    """The mirror: bids of YES are offers of NO."""
    values = _LEVELS.unpack_from(leg.top.slot, HEADER_BYTES)
    prices = [TICKS_PER_USD - price for price in values[:2 * _D]]
    leg.asks = list(zip(prices[:_D], values[2 * _D:3 * _D], strict=True))
    leg.bids = list(zip(prices[_D:], values[3 * _D:], strict=True))


_DEEPEN = (_deepen_yes, _deepen_no)
