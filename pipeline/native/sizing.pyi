from collections.abc import Sequence
from typing import Any, Self, TypeVar

from pipeline.kinds import Cause
from pipeline.native.legs import Leg
from pipeline.native.sums import Sum, Top

_Package = TypeVar("_Package")
_Refusal = TypeVar("_Refusal")

SCALES: tuple[int, ...]
SIZE_MICRO_MAX: int
NEVER_NS: int
REPEAT_NS_MAX: int
LIMITS: tuple[int, ...]

def price_legs(
    legs: Sequence[Leg],
    sets_paid: int,
    bounds: Any,
    is_exclusive_no: bool,
    order_type: type[Any],
    package_type: type[_Package],
    refusal_type: type[_Refusal],
) -> _Package | _Refusal: ...

class Sized(Sum):
    retry_ns: int
    pause_ns: int
    told_ns: int
    wake_ns: int
    venue_ns: int
    legs_priced: int
    is_refused: bool
    cause: Cause
    value: int
    limit: int
    def __new__(cls, tops: Sequence[Top], outcomes: Sequence[int], is_subset: bool) -> Self: ...
    def forget(self) -> None: ...
    def look(
        self, now_ns: int, proof_age_ns_max: int, cooldown_ns: int, bounds: Any, package_type: type[_Package],
        order_type: type[Any],
    ) -> _Package | None: ...
