"""Packs records by position: the fast way for stages that write many records of few kinds.

Pure; `Codec.pack` takes names and is meant for tests and tools.
"""

from __future__ import annotations

from typing import Any

from pipeline.codec import CODECS
from pipeline.errors import InvariantError
from pipeline.kinds import Kind
from pipeline.records import RUN_SLOTS_MAX, SLOT_BYTES

_PART_OFFSET = 42  # `part`, then `parts`, one byte each


class Packer:
    """Packs one kind from the named fields, in the order given; all else is zero.

    A tuple or list sets the first elements of an array field.
    """

    def __init__(self, kind: Kind, *names: str) -> None:
        codec = CODECS[kind]
        self._template = list(codec.struct.unpack(codec.pack()))
        self._places = [codec.at[name] for name in names]
        empty = codec.unpack(codec.pack())
        self._has_arrays = any(isinstance(getattr(empty, name), tuple) for name in names)
        self._pack = codec.struct.pack

    def __call__(self, *values: Any) -> bytes:
        row = self._template.copy()
        if not self._has_arrays:
            for place, value in zip(self._places, values, strict=True):
                row[place] = value
            return self._pack(*row)
        for place, value in zip(self._places, values, strict=True):
            if isinstance(value, (tuple, list)):
                row[place:place + len(value)] = value
            else:
                row[place] = value
        return self._pack(*row)


def run_of(slots: list[bytes]) -> bytes:
    """Return the slots as one run: `part` and `parts` numbered, 1..64 slots."""
    count = len(slots)
    if not 1 <= count <= RUN_SLOTS_MAX:
        raise InvariantError(f"core.packing: a run is 1..{RUN_SLOTS_MAX} slots, was {count}")
    if count == 1:
        return slots[0]
    run = bytearray(b"".join(slots))
    run[_PART_OFFSET::SLOT_BYTES] = bytes(range(count))
    run[_PART_OFFSET + 1::SLOT_BYTES] = bytes([count]) * count
    return bytes(run)
