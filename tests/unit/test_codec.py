"""`Codec.pack` against numpy's own view of the same dtypes."""

from __future__ import annotations

import random

import numpy as np
import pytest

from pipeline.codec import CODECS, struct_of
from pipeline.errors import InvariantError
from pipeline.kinds import Kind
from pipeline.records import DTYPES, SLOT_BYTES


def drawn(rng: random.Random, form: np.dtype) -> object:
    """Return a value of one field: bytes for byte arrays, a short tuple for other arrays, else an integer."""
    base, shape = (form.subdtype or (form, ()))[:2]
    if base.kind == "S":
        return rng.randbytes(rng.randrange(base.itemsize + 1)).replace(b"\0", b"x")
    low, high = int(np.iinfo(base).min), int(np.iinfo(base).max)
    if shape and base == np.uint8:
        return rng.randbytes(shape[0])
    if shape:
        return tuple(rng.randint(low, high) for _ in range(rng.randrange(shape[0] + 1)))
    return rng.randint(low, high)


@pytest.mark.parametrize("kind", list(DTYPES))
def test_pack_writes_what_numpy_reads(kind):
    """Whatever fields are given, in whatever number, numpy reads them back and zeros everywhere else."""
    rng = random.Random(int(kind))
    names = [name for name in DTYPES[kind].names if name != "kind"]
    for _ in range(50):
        chosen = rng.sample(names, rng.randrange(len(names)))
        fields = {name: drawn(rng, DTYPES[kind].fields[name][0]) for name in chosen}
        expected = np.zeros(1, DTYPES[kind])
        expected["kind"], expected["parts"] = int(kind), 1
        for name, value in fields.items():
            if expected[name].ndim == 1:
                expected[name] = value
            else:
                expected[name][0, :len(value)] = list(value)

        packed = CODECS[kind].pack(**fields)

        assert SLOT_BYTES == len(packed)
        assert expected.tobytes() == packed, f"kind {kind.name}, fields {fields}"


@pytest.mark.parametrize("kind", [Kind.TICK, Kind.SIGNED])
def test_an_unknown_field_is_named(kind):
    """A misspelt field is an error that names it, never a zero in a record."""
    with pytest.raises(InvariantError, match=r"no field.*'colour'"):
        CODECS[kind].pack(colour=3)


@pytest.mark.parametrize("kind", list(DTYPES))
def test_a_struct_of_some_fields_reads_and_writes_them(kind):
    """Any choice of fields, in the record's order: their values as numpy has them, and zeros elsewhere."""
    rng = random.Random(int(kind) + 1_000)
    names = DTYPES[kind].names
    for _ in range(20):
        chosen = tuple(name for name in names if rng.random() < 0.4)
        slot = rng.randbytes(SLOT_BYTES)
        some, written = struct_of(kind, chosen), np.zeros(1, DTYPES[kind])
        record = np.frombuffer(slot, DTYPES[kind])
        for name in chosen:
            written[name] = record[name]
        assert written.tobytes() == some.pack(*some.unpack_from(slot))


def test_a_struct_names_its_fields_in_order():
    """A field out of order, twice or unknown is an error, not another field's value."""
    for names in (("order_no", "recv_ns"), ("order_no", "order_no"), ("order_number",)):
        with pytest.raises(InvariantError, match="INTENT has"):
            struct_of(Kind.INTENT, names)
