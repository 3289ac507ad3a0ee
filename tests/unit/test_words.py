"""Records in words: what people and `--json` see of a record's bytes, enums and units."""

from __future__ import annotations

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind
from pipeline.store.words import describe, fields


@pytest.mark.parametrize("words", ["not enough", "a" * 16, "price out of bounds.", "b" * 32, "c" * 65])
def test_text_is_shown_as_text_at_every_length(words: str) -> None:
    """The venue's words stay readable, also when they are as long as an id, a hash or a signature."""
    slot = CODECS[Kind.REPORT].pack(text=words.encode(), cause=Cause.VENUE_REJECT)

    assert words == fields(slot)["text"]
    assert f"text={words}" in describe(slot)
    assert "VENUE_REJECT" == fields(slot)["cause"]


def test_hash_is_shown_as_hex() -> None:
    """A hash whose bytes happen to be letters is still a hash."""
    slot = CODECS[Kind.REPORT].pack(order_hash=b"A" * 32)

    assert "41" * 32 == fields(slot)["order_hash"]
    assert "order_hash=" + "41" * 32 in describe(slot)


def test_text_cannot_steer_a_terminal() -> None:
    """A record is one line of printable ASCII, whatever the venue or a label says."""
    slot = CODECS[Kind.REPORT].pack(text="\x1b[2J5 €\n".encode())

    assert "text='\\x1b[2J5 \\\\xe2\\\\x82\\\\xac\\n'" in describe(slot)
    assert describe(slot).isascii()
    assert describe(slot).isprintable()
    assert "\x1b[2J5 \\xe2\\x82\\xac\n" == fields(slot)["text"]
