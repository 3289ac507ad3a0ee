from collections.abc import Mapping
from typing import Any

from pipeline.native.legs import Leg

Order = tuple[int, int, int, int, int, int, int]

SCALES: tuple[int, ...]
SIZE_MICRO_MAX: int

def price_orders(
    orders: tuple[Order, ...], rules: Mapping[int, Leg], leg_count: int, size_micro: int,
) -> tuple[Any, ...]: ...
