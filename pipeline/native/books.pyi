from collections.abc import Sequence
from typing import Any

from _typeshed import ReadableBuffer as Buffer

from pipeline.native.flow import Sink, Source

def levels_mix(bids: Sequence[tuple[int, int]], asks: Sequence[tuple[int, int]]) -> int: ...

class Books:
    def __init__(
        self,
        instruments_max: int,
        arena: Buffer,
        rows: Buffer,
        blocks: Sequence[int],
        *,
        batch_ns_max: int = 20_000_000,
        hash_rows_max: int = 64,
        desync_ns_max: int = 250_000_000,
        tick_ns_max: int = 1_000_000_000,
    ) -> None: ...
    def poll(self, source: Source, sink: Sink, budget: int) -> int: ...
    def stats(self) -> dict[str, Any]: ...
    def usage(self) -> dict[int, tuple[int, int, int]]: ...
    def snapshot_row(self, number: int) -> dict[str, Any] | None: ...
