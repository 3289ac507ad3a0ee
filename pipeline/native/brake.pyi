from mmap import mmap

MAGIC: bytes
STATE_BYTES: int

class BrakeCore:
    order_no: int
    def __init__(
        self, mapped: mmap | memoryview, order_usd_micro_max: int, day_usd_micro_max: int,
        minute_orders_max: int, new_state: bool,
    ) -> None: ...
    def refuse(
        self, now_ns: int, deadline_ns: int, intent_class: int, usd_micro: int, level: int
    ) -> int: ...
    def commit(self, order_no: int) -> None: ...
    def release(self) -> None: ...

def is_allowed(level: int, intent_class: int) -> bool: ...
