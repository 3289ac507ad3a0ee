from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pipeline.native.brake import BrakeCore

_Sent = TypeVar("_Sent")

BATCH_ORDERS_MAX: int
PIECES_COUNT: int

def glance(slots: bytes, offset: int) -> tuple[int, int, bool]: ...
def sent_of(slots: bytes, offset: int, sent_type: Callable[..., _Sent]) -> _Sent: ...

class SignedBatch:
    count: int
    head: tuple[int, int, int]
    bounds: tuple[int, bytes, bool]
    slots: bytes
    order_no_max: int
    def add(self, slots: bytes, offset: int) -> None: ...
    def clear(self) -> None: ...
    def sent(self, sent_type: Callable[..., _Sent]) -> tuple[_Sent, ...]: ...
    def ask(
        self, brake: BrakeCore, now_ns: int, level: int, overtaking: dict[int, Any],
        sent_type: Callable[..., _Sent],
    ) -> list[tuple[_Sent, int]]: ...

class OrderBodies:
    def __init__(self, pieces: Sequence[bytes], tail: bytes) -> None: ...
    def set_row(self, row: int, token_yes: bytes, token_no: bytes, domain: bytes) -> None: ...
    def render(self, slots: bytes) -> bytes | int: ...

def hmac_text(inner: Any, outer: Any, signed: bytes, body: bytes) -> bytes: ...
def signed_request(
    head: bytes, before: bytes, between: bytes, behind: bytes, target: bytes, timestamp_s: int, inner: Any,
    outer: Any, body: bytes,
) -> bytes: ...
