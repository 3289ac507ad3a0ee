from collections.abc import Sequence
from typing import Any, TypeVar

_Package = TypeVar("_Package")
_Refusal = TypeVar("_Refusal")

SCALES: tuple[int, ...]
SIZE_MICRO_MAX: int

def price_legs(
    legs: Sequence[Any],
    sets_paid: int,
    bounds: Any,
    is_exclusive_no: bool,
    order_type: type[Any],
    package_type: type[_Package],
    refusal_type: type[_Refusal],
) -> _Package | _Refusal: ...
