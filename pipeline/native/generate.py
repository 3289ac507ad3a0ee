"""Writes `records.pxd`, the C side of `pipeline/records.py`.

Run `python -m pipeline.native.generate` after a layout change; `tests/tidy` fails when they differ.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from pipeline import kinds, records

TARGET = Path(__file__).with_name("records.pxd")
_TYPES = {"u1": "uint8_t", "<u2": "uint16_t", "<u4": "uint32_t", "<u8": "uint64_t", "<i8": "int64_t"}


def _field(field: tuple[object, ...]) -> str:
    name, form = str(field[0]), str(field[1])
    if form.startswith("S"):
        return f"        uint8_t {name}[{form[1:]}]"
    suffix = f"[{field[2]}]" if len(field) == 3 else ""
    return f"        {_TYPES[form]} {name}{suffix}"


def _enum(table: type[Enum]) -> list[str]:
    prefix = {"Kind": "KIND", "Flag": "FLAG", "Rule": "RULE", "Cause": "CAUSE"}[table.__name__]
    return ["cdef enum:", *(f"    {prefix}_{member.name} = {member.value}" for member in table), ""]


def render() -> str:
    """Return the text that `records.pxd` must have."""
    lines = [
        "# Generated from pipeline/records.py by `python -m pipeline.native.generate`; do not edit.",
        "from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t",
        "",
        "cdef enum:",
        f"    SLOT_BYTES = {records.SLOT_BYTES}",
        f"    HEADER_BYTES = {records.HEADER_BYTES}",
        f"    RUN_SLOTS_MAX = {records.RUN_SLOTS_MAX}",
        f"    TOP_DEPTH = {records.TOP_DEPTH}",
        f"    SNAPSHOT_LEVELS = {records.SNAPSHOT_LEVELS}",
        f"    DELTA_CHANGES = {records.DELTA_CHANGES}",
        f"    NOT_ANNOUNCED = {records.NOT_ANNOUNCED}",
        "",
    ]
    for table in (kinds.Kind, kinds.Flag, kinds.Rule, kinds.Cause):
        lines += _enum(table)
    # Packed: every dtype is packed and has no implicit padding; the sizes are asserted there.
    header = [_field(f)[4:] for f in records.HEADER]
    lines += ["cdef packed struct Slot:", *header, "    uint8_t payload[208]", ""]
    for kind in records.DTYPES:
        name = kind.name.title().replace("_", "") + "Slot"
        lines += [f"cdef packed struct {name}:"]
        lines += [_field(f)[4:] for f in records.HEADER + records.payload_fields(kind)] + [""]
    return "\n".join(lines)


if __name__ == "__main__":
    TARGET.write_text(render())
    print(f"wrote {TARGET}")
