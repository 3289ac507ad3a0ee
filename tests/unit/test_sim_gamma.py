"""Gamma's metadata: strings in strings, cursors, filters, events with their NegRisk fields."""

from __future__ import annotations

import json
from typing import Any

from pipeline.sim.gamma import Gamma
from pipeline.sim.planted import make_events
from tests.sim_trader import market

MARKETS = [market for event in make_events(3, 9) for market in event.markets] + [
    market(900, event_id="7", event_slug="lone", event_title="Lone", tags=("generated",))
]
GAMMA = Gamma({market.condition: market for market in MARKETS}, lambda market: (4_900, 5_100))


def get(target: str, status: int = 200) -> Any:
    answer = GAMMA.on_request(0, "GET", target, {}, b"")
    assert status == answer.status
    return json.loads(answer.body)


def test_keyset_pages_visit_every_market_once() -> None:
    """Following next_cursor gives every market once, in order; the last page has no cursor."""
    seen: list[str] = []
    target, pages = "/markets/keyset?limit=7", 0
    while True:
        page = get(target)
        seen += [row["conditionId"] for row in page["markets"]]
        pages += 1
        if "next_cursor" not in page:
            break
        target = f"/markets/keyset?limit=7&after_cursor={page['next_cursor']}"
    assert [market.condition for market in MARKETS] == seen
    assert -(-len(MARKETS) // 7) == pages


def test_market_object_has_strings_in_strings() -> None:
    """outcomes, outcomePrices and clobTokenIds are JSON inside strings; fee, tick and minimum are numbers."""
    row = get(f"/markets/keyset?condition_ids={MARKETS[0].condition}")["markets"][0]
    assert ["Yes", "No"] == json.loads(row["outcomes"])
    assert list(MARKETS[0].tokens) == json.loads(row["clobTokenIds"])
    assert ["0.5", "0.5"] == json.loads(row["outcomePrices"])
    assert MARKETS[0].tick_step / 10_000 == row["orderPriceMinTickSize"]
    assert 5 == row["orderMinSize"]
    assert isinstance(row["id"], str)
    assert row["negRisk"] is True
    assert ["planted"] == [tag["label"] for tag in row["tags"]]
    assert row == get(f"/markets/{row['id']}") == get(f"/markets/slug/{row['slug']}")
    if MARKETS[0].fee_rate_ppm:
        assert {"rate", "exponent", "takerOnly", "rebateRate"} == set(row["feeSchedule"])


def test_events_carry_their_markets_and_ids() -> None:
    """Each event lists its markets in outcome order; question ids end in the outcome index."""
    events = get("/events/keyset?limit=100&tag_slug=planted")["events"]
    assert 9 == len(events)
    for event in events:
        assert event["negRisk"] is True
        assert event["negRiskMarketID"].endswith("00")
        assert event["negRiskAugmented"] is False
        indices = [int(row["questionID"][-2:], 16) for row in event["markets"]]
        assert list(range(len(event["markets"]))) == indices
        assert event == get(f"/events/{event['id']}") == get(f"/events/slug/{event['slug']}")
    assert 10 == len(get("/events?limit=100"))
    assert ["lone"] == [event["slug"] for event in get("/events?slug=lone")]


def test_bad_requests_are_refused() -> None:
    """offset on keyset pages, a wrong cursor and unknown ids are refused as the venue does."""
    get("/markets/keyset?offset=3", 422)
    get("/markets/keyset?limit=101", 422)
    get("/markets/keyset?after_cursor=%21%21", 422)
    get("/markets/999", 404)
    get("/nothing", 404)
    assert 405 == GAMMA.on_request(0, "POST", "/markets", {}, b"").status


def test_closed_filter_follows_resolution() -> None:
    """A resolved market leaves closed=false and shows its payouts as prices."""
    one = market(901, event_id="8")
    gamma = Gamma({one.condition: one}, lambda market: (None, None))
    one.payout_micro = (0, 1_000_000)
    assert [] == json.loads(gamma.on_request(0, "GET", "/markets?closed=false", {}, b"").body)
    (row,) = json.loads(gamma.on_request(0, "GET", "/markets?closed=true", {}, b"").body)
    assert ["0", "1"] == json.loads(row["outcomePrices"])
    assert row["acceptingOrders"] is False
