from collections.abc import Sequence

SCALES: tuple[int, ...]

class FeeTerms:
    def __new__(cls, *args: object) -> FeeTerms: ...
    def put(self, price_ticks: int, unit_pico: int, worst_pico: int, part: int, whole: int) -> None: ...

class Leg:
    row: int
    outcome: int
    fees: FeeTerms
    fee_rate_ppm: int
    fee_exponent: int
    tick_step: int
    size_micro_min: int
    usd_micro_min: int
    asks: Sequence[tuple[int, int]]
    bids: Sequence[tuple[int, int]]
    def __init__(
        self,
        row: int,
        outcome: int,
        asks: Sequence[tuple[int, int]],
        bids: Sequence[tuple[int, int]],
        fees: FeeTerms,
        fee_rate_ppm: int,
        fee_exponent: int,
        tick_step: int,
        size_micro_min: int,
        usd_micro_min: int,
    ) -> None: ...
