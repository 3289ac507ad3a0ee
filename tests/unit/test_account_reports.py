"""stages.account: which reports in the stream make it ask the venue to look at our funds anew."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Kind, OrderState
from pipeline.sim.errors_text import not_enough
from pipeline.stages.account import FRESH_NS, AccountMachine, AccountSettings
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.auth import L2Auth, Secret

NOW_NS = 1_790_000_000 * 10**9
WORDS = not_enough(5_000_000, 0, 12_000_000).text  # as the local exchange words it, from the venue sheet


class Sink:
    """A ring that takes everything."""

    def push(self, run: bytes) -> bool:
        return True


def machine() -> AccountMachine:
    address = "0x" + "11" * 20
    settings = AccountSettings(
        user_ws_url="wss://x", clob_url="https://x", source=1, account=1, signature_type=0, source_seq=0,
        since_s=0, is_gentle=False, login=b"{}")
    auth = L2Auth(address, "key", Secret(b"s"), Secret(b"p"))
    return AccountMachine(settings, "key", (address,), auth, Sink(), Counts())  # type: ignore[arg-type]


def wants(**fields: Any) -> bool:
    """Tell whether a REPORT with these fields makes it want a refresh."""
    values: dict[str, Any] = {
        "now_ns": NOW_NS, "state": int(OrderState.REJECTED), "account": 1, "text": WORDS.encode()[:104]}
    found = machine()
    codec = CODECS[Kind.REPORT]
    found.on_report(NOW_NS + 1, codec.unpack(codec.pack(**values | fields)))
    return any(one.is_refresh for one in found.rest.wanted)


def test_a_refusal_for_want_of_funds_asks() -> None:
    """The venue's words, in any case and with anything behind them."""
    assert wants()
    assert wants(text=b"Not Enough Balance / Allowance")


@pytest.mark.parametrize("fields", [
    {"text": b"invalid signature"}, {"text": b""}, {"account": 0}, {"now_ns": NOW_NS - FRESH_NS},
    {"state": int(OrderState.UNKNOWN)}, {"state": int(OrderState.LIVE)}])
def test_anything_else_does_not(fields: dict[str, Any]) -> None:
    """Another reason, another account, an old report that a start reads again, an order that may stand."""
    assert not wants(**fields)
