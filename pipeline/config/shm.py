"""`[shm]`: sizes of rings, logs and ladder arenas; all memory is reserved at start."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pipeline.config.section import PowerOfTwo, Section, setting
from pipeline.records import SLOT_BYTES


class Shm(Section):
    """Shared memory and logs. A slot is 256 bytes."""

    ring_slots: PowerOfTwo = setting(
        "slots", "Capacity of each ring between two stages; a power of two.", 4_096, ge=128, le=1 << 20
    )
    log_segment_slots: PowerOfTwo = setting(
        "slots", "Size of one log segment file; a power of two.", 65_536, ge=128, le=1 << 24
    )
    log_bytes_max: int = setting(
        "bytes", "All log segments together; reached means halt H1.", 2 << 30, ge=1 << 20, le=1 << 44
    )
    ladders_128: int = setting("ladders", "Books of at most 128 price levels.", 1_024, ge=1, le=65_536)
    ladders_1024: int = setting("ladders", "Books of at most 1,024 price levels.", 1_024, ge=0, le=16_384)
    ladders_16384: int = setting("ladders", "Books of at most 16,384 price levels.", 16, ge=0, le=1_024)

    @model_validator(mode="after")
    def segments_fit(self) -> Self:
        """Two segments must fit: the one written and the next."""
        needed = 2 * self.log_segment_slots * SLOT_BYTES
        if needed > self.log_bytes_max:
            raise ValueError(
                f"log_bytes_max must hold two segments ({needed} bytes with log_segment_slots = "
                f"{self.log_segment_slots}), was {self.log_bytes_max}"
            )
        return self
