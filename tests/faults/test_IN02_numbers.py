"""IN02: the numbers that we take are exactly those of one strict ASCII grammar, with their exact value.

Every reader is held against a regular expression and rational arithmetic: `native/numparse`,
`units.decimal_to_int`, and prices and sizes as the scanner and the decoder take them out of a frame.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Callable
from fractions import Fraction

import pytest

from pipeline.codec import unpack
from pipeline.native.framescan import Result
from pipeline.native.numparse import DIGITS_MAX, parse
from pipeline.units import decimal_to_int
from tests.models.frame_model import Rig
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

RANDOM_COUNT = figure("IN02", "random")
GRAMMAR = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)
MARKET, TOKEN = "0x" + "5f" * 32, "7132104567925221"
PRICE_SCALE, SIZE_SCALE = 4, 6
PRICE_MAX, SIZE_MAX = 10**4 - 1, 10**15

WHOLE = ["", "0", "00", "7", "12", "999999999", "123456789012345678", "1234567890123456789", "-1", "+1", "-0",
         "1e3", "0x1", "\u0663", "1_0", " 1", "NaN", "inf", "Infinity", "1e400", "\uff10", "9" * 5_000]
DOTS = ["", ".", "..", ",", ". "]
FRACTION = ["", "0", "5", "50", "1234", "12345", "1234567", "0000", "00000000000000000", "1e-2", "5 ", "\x00",
            "-5", "5f", "5\n", "\u0660"]
SPELLINGS = sorted({"".join(parts) for parts in itertools.product(WHOLE, DOTS, FRACTION)})


def exact(text: str, scale: int) -> int | None:
    """Return the value times 10**scale; None = no number of the grammar, or not exact, or too large."""
    match = GRAMMAR.fullmatch(text)
    if match is None or len(match[1] + (match[2] or "")) > DIGITS_MAX:
        return None
    value = Fraction(text) * 10**scale
    return int(value) if value.denominator == 1 and value < 2**63 else None


def native(text: str, scale: int) -> int | None:
    try:
        return parse(text.encode(), scale)
    except ValueError:
        return None


def python(text: str, scale: int) -> int | None:
    try:
        return decimal_to_int(text, scale)
    except ValueError:
        return None


class Frames:
    """Says what scanner and decoder make of a spelling as a price and as a size."""

    def __init__(self) -> None:
        self.rig = Rig({TOKEN: (1, 0, MARKET)})

    def said(self, price: str, size: str) -> tuple[int, int] | None:
        """Return (price_ticks, size_micro) as published; None = refused, with nothing published."""
        change = {"asset_id": TOKEN, "price": price, "size": size, "side": "BUY", "hash": "0a" * 20}
        frame = {"market": MARKET, "timestamp": "1790766981628", "event_type": "price_change",
                 "price_changes": [change]}
        result, decoded = self.rig.compare(json.dumps(frame).encode())
        if decoded.reject is not None:
            assert result is not Result.OK
            return None
        record = unpack(decoded.records[0])
        return record.price_ticks[0], record.size_micro[0]


def test_IN02_a_table_of_spellings(gate_record: Callable[..., None]) -> None:
    """Of over a thousand spellings each reader takes those of the grammar alone, with the exact value."""
    frames, accepted = Frames(), 0
    for text in SPELLINGS:
        for scale in (0, 4, 6, 18):
            assert exact(text, scale) == native(text, scale), (text[:40], scale)
            want = exact(text, scale)
            # Python's has no bound of 63 bits of its own: its callers have ranges
            found = python(text, scale)
            assert want == found or (want is None and (found or 0) >= 2**63), (text[:40], scale)
        price, size = exact(text, PRICE_SCALE), exact(text, SIZE_SCALE)
        wanted = (price, 5_000_000) if price is not None and 0 < price <= PRICE_MAX else None
        assert wanted == frames.said(text, "5"), text[:40]
        accepted += wanted is not None
        wanted = (5_000, size) if size is not None and 0 <= size <= SIZE_MAX else None
        assert wanted == frames.said("0.5", text), text[:40]
        accepted += wanted is not None
    assert len(SPELLINGS) >= figure("IN02", "spellings")
    assert 50 < accepted < len(SPELLINGS)
    gate_record("IN02", "spellings", len(SPELLINGS))


@pytest.mark.parametrize("seed", [0, fresh_seed()])
def test_IN02_random_numbers(seed: int, gate_record: Callable[..., None]) -> None:
    """Random text over a nasty alphabet gets one verdict and one value from every reader."""
    pick, frames, accepted = random.Random(seed), Frames(), 0
    for _ in range(RANDOM_COUNT // 2):
        alphabet = "0123456789" if pick.random() < 0.6 else "00123456789.-+eE_ \u0663"
        whole = pick.choice(("0", "0", "00", "")) if pick.random() < 0.5 else None
        text = "".join(pick.choices(alphabet, k=pick.randrange(0, 12))) if whole is None else whole
        if pick.random() < 0.7:
            text += "." + "".join(pick.choices("0012345", k=pick.randrange(0, 9)))
        price, size = exact(text, PRICE_SCALE), exact(text, SIZE_SCALE)
        assert (price, size) == (native(text, 4), native(text, 6)) == (python(text, 4), python(text, 6)), (
            seed, text)
        wanted = None
        if price is not None and size is not None and 0 < price <= PRICE_MAX:
            wanted = (price, size) if size <= SIZE_MAX else None
        assert wanted == frames.said(text, text), (seed, text)
        accepted += wanted is not None
    assert accepted > RANDOM_COUNT // 200, f"seed {seed}"
    gate_record("IN02", "random", RANDOM_COUNT // 2, seed)
