"""Two sources on one market: agreement keeps it, a contradiction refuses it, a disputed fee stops trading."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.venues.polymarket.clob_market import merge_clob_market
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.universe import MarketInfo, parse_markets

V1 = [
    "71321045679252212594626385532706912750332728571942532289631379312455583992563",
    "52114319501245915516055106046884209969926127482827954674443846427813813222426",
]
GAMMA = {
    "id": "512345", "version": "v1", "slug": "example", "question": "Will Alice win?",
    "conditionId": "0x" + "ab" * 32, "outcomes": '["Yes", "No"]', "clobTokenIds": json.dumps(V1),
    "active": True, "closed": False, "acceptingOrders": True, "enableOrderBook": True, "negRisk": True,
    "orderPriceMinTickSize": 0.01, "orderMinSize": 5, "feesEnabled": True,
    "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True},
}
CLOB = {
    "t": [{"t": V1[0], "o": "Yes"}, {"t": V1[1], "o": "No"}],
    "c": "0x" + "ab" * 32,
    "mos": 5,
    "mts": 0.01,
    "mbf": 1000,
    "tbf": 1000,
    "ao": True,
    "nr": True,
    "fd": {"r": 0.07, "e": 1, "to": True},
    "v": "v1",
}


def gamma() -> MarketInfo:
    page = parse_markets(json.dumps(GAMMA).encode())
    assert page.refused == ()
    return page.markets[0]


def merged(**change: Any) -> MarketInfo | MarketRefusal:
    return merge_clob_market(gamma(), json.dumps(CLOB | change).encode(), 150_000_000)


def test_the_order_book_agrees() -> None:
    """Agreeing sources leave the market as it was; the book's tick, minimum, delay and state win."""
    assert gamma() == merged()
    other = merged(mts=0.001, mos=15, itode=True, ao=False)
    assert isinstance(other, MarketInfo)
    assert (10, 15_000_000, 150_000_000, False) == (
        other.tick_step, other.size_micro_min, other.taker_delay_ns, other.tradable)


@pytest.mark.parametrize(
    "change",
    [
        {"c": "0x" + "ac" * 32},
        {"c": None},
        {"t": CLOB["t"][::-1] and [{"t": V1[1], "o": "Yes"}, {"t": V1[0], "o": "No"}]},
        {"t": [{"t": V1[0], "o": "Yes"}]},
        {"t": None},
        {"t": [{"t": "x", "o": "Yes"}, {"t": V1[1], "o": "No"}]},
        {"nr": None},
        {"nr": "true"},
        {"v": "v2"},
        {"mts": 0.02},
        {"mts": None},
        {"mos": 0},
        {"ao": None},
        {"ao": "yes"},
        {"fd": 5},
    ],
)
def test_contradictions_between_sources_refuse_the_market(change: dict[str, Any]) -> None:
    """Where the two sources disagree on what a share is, or a value is ill-typed, no market (MD14)."""
    found = merged(**change)

    assert isinstance(found, MarketRefusal)
    assert found.field.startswith("clob-markets")


@pytest.mark.parametrize("fee", [None, {"r": 0.05, "e": 1, "to": True}, {"r": 0.07, "e": 2, "to": True},
                                 {"r": 0.07, "e": 1, "to": False}, {"r": 0, "e": 1, "to": True}])
def test_a_disputed_fee_stops_trading(fee: object) -> None:
    """Sources that differ on the fee make it unknown: not tradable."""
    found = merged(fd=fee)

    assert isinstance(found, MarketInfo)
    assert found.fee_rate_ppm is None
    assert not found.tradable


def test_broken_clob_answers_are_refused() -> None:
    """No JSON or no object: a refusal, not an exception."""
    for data in (b"", b"<html>", b"[]", b"null", b"\xff"):
        assert isinstance(merge_clob_market(gamma(), data, 0), MarketRefusal)
