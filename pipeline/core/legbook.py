"""One token's ladders as sizing walks them: best level first, the levels behind it only when asked for.

Pure; made by `tops.Book` from a TOP, by tests by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.fees import FeeTable, fee_table

Ladder = Sequence[tuple[int, int]]  # (price_ticks, size_micro), best first
SHARE_LOT_MICRO = 10_000  # 2 decimals of a share, on every tick size (venue sheet 10.3)


@dataclass(slots=True)
class LegBook:
    """One token to buy: its ladders (own view: NO levels for a NO token) and the market's rules.

    A level without a size ends a ladder. While `is_cut`, asks and bids hold the best level only and `deepen`
    fills in the rest: most packages never look behind the best level.
    """

    row: int
    outcome: int
    asks: Ladder
    bids: Ladder
    fee_rate_ppm: int
    fee_exponent: int
    tick_step: int
    size_micro_min: int
    usd_micro_min: int
    is_cut: bool = False
    deepen: Callable[[LegBook], None] | None = None
    top: Any = None  # whatever `deepen` fills in from
    fees: FeeTable = field(init=False)

    def __post_init__(self) -> None:
        self.fees = fee_table(self.fee_rate_ppm, self.fee_exponent)

    def whole(self) -> None:
        """Fill in the levels behind the best."""
        if self.is_cut and self.deepen is not None:
            self.deepen(self)
        self.is_cut = False
