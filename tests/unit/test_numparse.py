"""The strict decimal parser: named refusals and its limits; its whole grammar is in tests/faults (IN02)."""

import pytest

from pipeline.native.numparse import SCALE_MAX, parse


def found(text: bytes, scale: int) -> int | None:
    try:
        return parse(text, scale)
    except ValueError:
        return None


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
