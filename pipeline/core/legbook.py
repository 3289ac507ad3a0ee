"""One token's ladders as sizing walks them: best level first, the levels behind it only when asked for.

Pure; made by `tops.Book` from a TOP, by tests by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.core.fees import FeeTable, fee_table
from pipeline.units import FEE_QUANTUM_USD_MICRO, TICKS_PER_USD

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
    top: bytes = b""  # whatever `deepen` fills in from
    fees: FeeTable = field(init=False)

    def __post_init__(self) -> None:
        self.fees = fee_table(self.fee_rate_ppm, self.fee_exponent)

    def whole(self) -> None:
        """Fill in the levels behind the best."""
        if self.is_cut and self.deepen is not None:
            self.deepen(self)
        self.is_cut = False


def next_level(leg: LegBook, place: int, levels_max: int) -> tuple[int, int, int]:
    """Return the first usable level from `place` on, floored to the lot: (price, size, place behind it).

    Price 0: there is none. A level off the market's grid, or without a size, ends the ladder.
    """
    asks, step = leg.asks, leg.tick_step
    while place < levels_max:
        if place >= len(asks):
            if not leg.is_cut:
                break
            leg.whole()
            asks = leg.asks
            continue
        price, size = asks[place]
        place += 1
        if not (0 < price < TICKS_PER_USD and price % step == 0 and size > 0):
            break
        if size >= SHARE_LOT_MICRO:
            return price, size - size % SHARE_LOT_MICRO, place
    return 0, 0, 0


def sale_usd_micro(leg: LegBook, size_micro: int) -> int:
    """Return what selling the size into the leg's known bids yields after fees; 0 beyond their depth."""
    yielded, rest = 0, size_micro
    fees = leg.fees
    if leg.is_cut and leg.bids[0][1] < size_micro:
        leg.whole()
    for price, depth in leg.bids:
        sold = depth if depth < rest else rest
        if not (sold > 0 and 0 < price < TICKS_PER_USD):
            break
        _, _, part, whole = fees.at[price] or fees.add(price)
        # Proceeds rounded down, fee rounded up; a fee above the proceeds would make the share worthless.
        gained = price * sold // TICKS_PER_USD + -sold * part // whole * FEE_QUANTUM_USD_MICRO
        if gained > 0:
            yielded += gained
        rest -= sold
        if not rest:
            break
    return yielded
