"""The strict decimal parser accepts exactly its grammar (fault IN02)."""

import itertools
import random
import re
from fractions import Fraction

import pytest

from pipeline.native.numparse import DIGITS_MAX, SCALE_MAX, parse
from pipeline.units import decimal_to_int
from tests.shared import scaled

RANDOM_COUNT = scaled(50_000, 1_000_000)
GRAMMAR = re.compile(rb"([0-9]+)(?:\.([0-9]+))?")

WHOLE = [b"", b"0", b"00", b"7", b"12", b"999999999", b"123456789012345678", b"1234567890123456789", b"-1",
         b"+1",
         b"1e3", b"0x1", b"\xd9\xa3", b"1_0", b" 1", b"NaN", b"inf"]
DOTS = [b"", b".", b"..", b",", b". "]
FRACTION = [b"", b"0", b"5", b"50", b"1234", b"12345", b"1234567", b"0000", b"00000000000000000", b"1e-2",
            b"5 ", b"\x00",
            b"-5", b"5f"]
SPELLINGS = sorted({b"".join(parts) for parts in itertools.product(WHOLE, DOTS, FRACTION)})


def expected(text: bytes, scale: int) -> int | None:
    """Return the exact value by regular expression and rational arithmetic; None = refused."""
    match = GRAMMAR.fullmatch(text)
    if match is None or len(match[1] + (match[2] or b"")) > DIGITS_MAX:
        return None
    value = Fraction(text.decode()) * 10**scale
    return int(value) if value.denominator == 1 and value < 2**63 else None


def found(text: bytes, scale: int) -> int | None:
    try:
        return parse(text, scale)
    except ValueError:
        return None


def test_table_of_spellings():
    """Of over a thousand spellings exactly those of the grammar are accepted, with the exact value."""
    cases = [(text, scale) for text in SPELLINGS for scale in (0, 4, 6, 18)]
    accepted = 0

    for text, scale in cases:
        want = expected(text, scale)
        accepted += want is not None
        assert want == found(text, scale), (text, scale)
    assert len(SPELLINGS) >= 1_000
    assert 100 < accepted < len(cases) // 2


@pytest.mark.parametrize("text", [
    b"", b".", b"5.", b".5", b"-0", b"+1", b"0_5", b"1e400", b"NaN", b"Infinity", b" 1", b"1 ", b"1\n",
    b"\xef\xbb\xbf1",
    "\u0663".encode(), "\uff10".encode(), b"1" * 19, b"9" * 5_000, b"0.00001", b"1.2.3", b"0x10", b"1,5",
    b"\x00", b"1\x00",
])
def test_named_refusals(text):
    """Each spelling that IN02 names is refused at the price scale."""
    with pytest.raises(ValueError, match="not a plain decimal"):
        parse(text, 4)


def test_limits():
    """The largest results are exact and what does not fit 63 bits is refused, not wrapped."""
    assert 10**18 - 1 == parse(b"9" * 18, 0)
    assert 9_223_372_036_854_775_807 // 10 * 10 == parse(b"922337203685477580", 1)
    assert None is found(b"922337203685477581", 1)
    assert 10**18 == parse(b"1", 18)
    assert None is found(b"10", 18)
    with pytest.raises(ValueError, match=r"scale must be 0\.\.18"):
        parse(b"1", SCALE_MAX + 1)
    with pytest.raises(ValueError, match=r"scale must be 0\.\.18"):
        parse(b"1", -1)


@pytest.mark.parametrize("seed", range(10))
def test_random_text_equals_the_python_rule(seed):
    """Random text over a nasty alphabet gets the same verdict and value as `units.decimal_to_int`."""
    pick = random.Random(seed)
    accepted = 0
    for _ in range(RANDOM_COUNT // 10):
        alphabet = "0123456789" if pick.random() < 0.6 else "00123456789.-+eE_ \u0663"
        text = "".join(pick.choices(alphabet, k=pick.randrange(0, 12)))
        if pick.random() < 0.7:
            text += "." + "".join(pick.choices("0012345", k=pick.randrange(0, 9)))
        scale = pick.choice((4, 6))
        try:
            want: int | None = decimal_to_int(text, scale)
        except ValueError:
            want = None
        accepted += want is not None
        assert want == found(text.encode(), scale), (seed, text, scale)
    assert accepted > RANDOM_COUNT // 100
