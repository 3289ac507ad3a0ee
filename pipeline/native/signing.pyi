from collections.abc import Callable

from pipeline.native.brake import BrakeCore
from pipeline.native.haltwords import HaltWords
from pipeline.native.orderhash import OrderSealer

AHEAD_MAX: int

class IntentSigner:
    brake: BrakeCore
    cause: int
    was_ahead: bool
    order_no: int
    group_no: int
    cause_seq: int
    salt: int
    is_last: bool
    ahead_salts: list[int]
    def __init__(
        self, sealer: OrderSealer, brake: BrakeCore, words: HaltWords, clock: Callable[[], int],
    ) -> None: ...
    def set_market(
        self, row: int, token_yes: bytes, token_no: bytes, yes_cause: int, no_cause: int, domain: bytes,
        tick_step: int, fine_micro: int,
    ) -> None: ...
    def make(self, intents: bytes, offset: int = 0) -> bytes: ...
    def sign_ahead(self, foreseen: tuple[int, int, int, int, int, int, int, int]) -> None: ...
