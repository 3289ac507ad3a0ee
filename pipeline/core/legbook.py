"""One token's ladders and rules, as sizing reads them.

Pure; made by `tops.Book` for the newest TOP, by tests by hand.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.fees import fee_table
from pipeline.core.instruments import Instrument
from pipeline.native.legs import Leg

Ladder = Sequence[tuple[int, int]]  # (price_ticks, size_micro), best first
SHARE_LOT_MICRO = 10_000  # 2 decimals of a share, on every tick size (venue sheet 10.3)


class LegBook(Leg):
    """One token to buy: its ladders (own view: NO levels for a NO token) and the market's rules."""

    __slots__ = ()

    def __init__(
        self, row: int, outcome: int, asks: Ladder, bids: Ladder, fee_rate_ppm: int, fee_exponent: int,
        tick_step: int, size_micro_min: int, usd_micro_min: int,
    ) -> None:
        super().__init__(
            row, outcome, asks, bids, fee_table(fee_rate_ppm, fee_exponent), fee_rate_ppm, fee_exponent,
            tick_step, size_micro_min, usd_micro_min)


def rules_of(instrument: Instrument, outcome: int = 0) -> LegBook:
    """Return the rules of an instrument with empty ladders: what sizing and gate ask natively."""
    return LegBook(
        instrument.row, outcome, (), (), instrument.fee_rate_ppm, instrument.fee_exponent,
        instrument.tick_step, instrument.size_micro_min, instrument.usd_micro_min)
