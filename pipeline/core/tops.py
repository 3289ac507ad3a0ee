"""Latest tops of the instruments that a strategy watches.

A fold over TOP, STALE, GAP, FILL and RESOLVED records into one `Book` per instrument. Its prices and sums
are native (`native/sums`), and so are the ladders that sizing walks (`native/legs`).
"""

from __future__ import annotations

from pipeline.core.fees import fee_table
from pipeline.core.instruments import Instrument
from pipeline.core.legbook import LegBook, rules_of
from pipeline.kinds import Rule
from pipeline.native.sums import Top

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

    def make_leg(self, outcome: int) -> LegBook:
        """Return empty ladders under the rules in force; `leg` shows them the newest top."""
        return rules_of(self.instrument, outcome)
