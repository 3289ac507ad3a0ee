"""Packs and unpacks shared records in Python: off the native path, by the tables of `pipeline.records`.

`CODECS` reads and writes whole records; `struct_of` serves a path that needs some fields and no more. A
slot's kind and parts stand at fixed places, so that `kind_of` and `runs` need no table.
"""

from __future__ import annotations

import collections
import struct
from collections.abc import Iterator
from typing import Any

from pipeline.errors import InvariantError
from pipeline.kinds import Kind
from pipeline.records import (
    DTYPES,
    HEADER,
    HEADER_BYTES,
    HEADER_DTYPE,
    LAYOUT_VERSION,
    SLOT_BYTES,
    payload_fields,
)

_CODES = {"u1": "B", "<u2": "H", "<u4": "I", "<u8": "Q", "<i8": "q"}


class Codec:
    """Packs and unpacks one kind of record; off the native path only.

    `unpack` returns a named tuple: scalars as `int`, byte arrays (`S…`, and `u1` arrays) as `bytes`
    (text is cut at its first NUL), other arrays as tuples. `struct` and `at` serve loops that want one
    field without building the tuple: `codec.struct.unpack_from(slot)[codec.at["price_ticks"]]`.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.at: dict[str, int] = {}
        self._places: dict[str, tuple[int, int]] = {}  # field -> first place in the struct, places
        self._template: list[Any] = []
        code, parts, names, place = "<", [], [], 0
        for field in HEADER + payload_fields(kind):
            name, form = field[0], field[1]
            count = field[2] if len(field) == 3 else 1
            self.at[name] = place
            if form.startswith("S"):
                code, width = code + f"{form[1:]}s", 1
                parts.append(f"t[{place}].rstrip(b'\\0')")
                self._template.append(b"")
            elif form == "u1" and count > 1:
                code, width = code + f"{count}s", 1
                parts.append(f"t[{place}]")
                self._template.append(bytes(count))
            else:
                code, width = code + f"{count}{_CODES[form]}", count
                parts.append(f"t[{place}]" if count == 1 else f"t[{place}:{place + count}]")
                self._template += [0] * count
            names.append(name)
            self._places[name] = (place, width)
            place += width
        self._template[self.at["kind"]] = int(kind)
        self._template[self.at["parts"]] = 1
        self.struct = struct.Struct(code)
        self.names = tuple(names)
        title = kind.name.title().replace("_", "")
        self.tuple_type: Any = collections.namedtuple(title, names)  # type: ignore[misc]
        source = f"lambda t, new: new(({', '.join(parts)}))"
        self._build = eval(source)  # noqa: S307 - built from the tables above
        if self.struct.size != SLOT_BYTES:
            raise InvariantError(f"codec: {kind.name} packs {self.struct.size} bytes, not {SLOT_BYTES}")

    def unpack(self, data: bytes | bytearray | memoryview, offset: int = 0) -> Any:
        """Return the record at `offset` bytes as a named tuple."""
        return self._build(self.struct.unpack_from(data, offset), self.tuple_type._make)

    def pack(self, **fields: Any) -> bytes:
        """Return the 256 bytes of a record; `kind` is set, `parts` defaults to 1, all else to zero."""
        values = self._template.copy()
        try:
            for name, value in fields.items():
                place, width = self._places[name]
                if width == 1:
                    values[place] = value
                elif len(value) > width:
                    raise InvariantError(
                        f"codec: {self.kind.name}.{name} holds {width} values, was {len(value)}")
                else:
                    values[place : place + len(value)] = value
        except KeyError:
            unknown = sorted(fields.keys() - self._places.keys())
            raise InvariantError(f"codec: {self.kind.name} has no field {unknown}") from None
        return self.struct.pack(*values)


def offset_of(kind: Kind, name: str) -> int:
    """Return the byte at which a field begins."""
    fields = DTYPES[kind].fields
    if fields is None or name not in fields:
        raise InvariantError(f"codec: {kind.name} has no field {name}")
    return int(fields[name][1])


def struct_of(kind: Kind, names: tuple[str, ...]) -> struct.Struct:
    """Return a struct of these fields alone, named in the record's order; padding stands for the others.

    One call reads, or writes, what a path needs of a record. What is packed has zeros between its fields, so
    `kind` and `parts` have to be among them. `u1` arrays are bytes, other arrays take several places.
    """
    code, found = "<", []
    for field in HEADER + payload_fields(kind):
        name, form = field[0], field[1]
        count = field[2] if len(field) == 3 else 1
        if form.startswith("S"):
            one, count = "s", int(form[1:])
        else:
            one = "s" if form == "u1" and count > 1 else _CODES[form]
        if name in names:
            found.append(name)
            code += f"{count}{one}"
        else:
            code += f"{count * struct.calcsize('<' + one)}x"
    if tuple(found) != names:
        raise InvariantError(f"codec: {kind.name} has {found} in this order, was asked for {names}")
    made = struct.Struct(code)
    if made.size != SLOT_BYTES:
        raise InvariantError(f"codec: {code} is {made.size} bytes, not {SLOT_BYTES}")
    return made


CODECS: dict[Kind, Codec] = {kind: Codec(kind) for kind in DTYPES}
HEADER_STRUCT = struct.Struct("<QqqQHHIHBBI")  # fields in the order of HEADER
KIND_OFFSET = 32  # byte offset of `kind`, little-endian u16
PARTS_OFFSET = 43  # byte offset of `parts`
assert HEADER_STRUCT.size == HEADER_BYTES
assert HEADER_DTYPE.fields is not None
assert (KIND_OFFSET, PARTS_OFFSET) == (HEADER_DTYPE.fields["kind"][1], HEADER_DTYPE.fields["parts"][1])


def kind_of(data: bytes | bytearray | memoryview, offset: int = 0) -> int:
    """Return the kind number of the record at `offset`."""
    return data[offset + KIND_OFFSET] | data[offset + KIND_OFFSET + 1] << 8


def runs(data: bytes) -> Iterator[bytes]:
    """Yield the runs of whole slots that `data` holds, in order."""
    at = 0
    while at < len(data):
        end = at + (data[at + PARTS_OFFSET] or 1) * SLOT_BYTES
        yield data[at:end]
        at = end


def unpack(slot: bytes | bytearray | memoryview, offset: int = 0) -> Any:
    """Return the record at `offset` by its own kind; raises InvariantError for an unknown kind."""
    number = kind_of(slot, offset)
    codec = CODECS.get(number)  # type: ignore[call-overload]
    if codec is None:
        raise InvariantError(f"codec: kind {number} is not known to layout {LAYOUT_VERSION}")
    return codec.unpack(slot, offset)
