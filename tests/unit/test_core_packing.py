"""core.packing: the fast way packs what `Codec.pack` packs; runs are numbered."""

from __future__ import annotations

import random

import pytest

from pipeline.codec import CODECS, unpack
from pipeline.core.packing import Packer, run_of
from pipeline.errors import InvariantError
from pipeline.kinds import Kind
from pipeline.records import HEADER, RUN_SLOTS_MAX, payload_fields
from tests.models.core_rig import pack
from tests.shared import seeds


@pytest.mark.parametrize("seed", seeds(50))
def test_packer_equals_the_codec(seed: int) -> None:
    """Any choice of fields of any kind: the same 256 bytes by position as by name."""
    rng = random.Random(seed)
    for kind in CODECS:
        declared = [field for field in HEADER + payload_fields(kind) if field[0] not in ("kind", "parts")]
        chosen = rng.sample(declared, rng.randint(1, min(8, len(declared))))
        values: dict[str, object] = {}
        for name, form, *count in chosen:
            if form.startswith("S") or (form == "u1" and count):
                width = int(form[1:]) if form.startswith("S") else count[0]
                values[name] = rng.randbytes(width - 1).replace(b"\0", b"\1") + b"\1"
            elif count:
                values[name] = [rng.randint(0, 255) for _ in range(rng.randint(0, count[0]))]
            else:
                values[name] = rng.randint(0, 255)
        assert CODECS[kind].pack(**values) == Packer(kind, *values)(*values.values())


def test_packer_wants_every_value() -> None:
    """A value too few is an error, not a zero."""
    with pytest.raises(ValueError, match="shorter"):
        Packer(Kind.BEAT, "beat_no", "open_orders")(1)


def test_runs_are_numbered() -> None:
    """Each slot of a run knows its place and the count; 1..64 slots."""
    run = run_of([pack(Kind.BEAT, beat_no=number) for number in range(3)])
    assert [(0, 3, 0), (1, 3, 1), (2, 3, 2)] == [
        (record.part, record.parts, record.beat_no) for record in (unpack(run, at) for at in (0, 256, 512))
    ]
    for count in (0, RUN_SLOTS_MAX + 1):
        with pytest.raises(InvariantError, match=r"1\.\.64"):
            run_of([pack(Kind.BEAT)] * count)
