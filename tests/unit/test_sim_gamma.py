"""Gamma's metadata: strings in strings, cursors, filters, events with their NegRisk fields."""

from __future__ import annotations

import json
from typing import Any

from pipeline.sim.exchange import Exchange
from pipeline.sim.gamma import Gamma, market_object
from pipeline.sim.planted import make_events
from pipeline.sim.rest_public import compact_market
from pipeline.sim.settings import ExchangeSettings
from tests.sim_trader import market

DAY = 86_400

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
    shown = [m.condition if m.version == "v1" else m.condition[:-2] for m in MARKETS]
    assert shown == seen
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
        assert event["negRiskAugmented"] is False
        if event["markets"][0]["version"] == "v1":
            assert event["negRiskMarketID"].endswith("00")
            indices = [int(row["questionID"][-2:], 16) for row in event["markets"]]
        else:
            indices = [int(row["conditionId"][-2:], 16) for row in event["markets"]]
        assert list(range(len(event["markets"]))) == indices
        assert event == get(f"/events/{event['id']}") == get(f"/events/slug/{event['slug']}")
    assert 10 == len(get("/events?limit=100"))
    assert ["lone"] == [event["slug"] for event in get("/events?slug=lone")]


def listed(query: str) -> list[str]:
    """Return the slugs of the markets that a listing gives."""
    return [row["slug"] for row in get(f"/markets/keyset?limit=100&{query}")["markets"]]


def test_a_v2_market_is_shown_as_the_venue_shows_it() -> None:
    """62 digits of the condition, ids in a real array, the event on chain; both forms of the id find it."""
    v2 = next(market for market in MARKETS if market.version == "v2")
    for condition in (v2.condition, v2.condition[:-2]):
        (row,) = get(f"/markets/keyset?condition_ids={condition}")["markets"]
        assert v2.condition[:-2] == row["conditionId"]
        assert list(v2.tokens) == row["positionIds"]
        assert v2.condition[:60] + "0" * 6 == row["onchainEventId"]
        assert "negRiskMarketID" not in row
    assert [v2.slug] == listed(f"position_ids={v2.tokens[1]}")
    assert [] == listed(f"clob_token_ids={v2.tokens[1]}")
    wanted = [market.slug for market in MARKETS if market.version == "v2"]
    assert wanted == listed("version=v2")
    siblings = [market.slug for market in MARKETS if market.event_id == v2.event_id]
    assert siblings == listed(f"onchain_event_ids={v2.condition[:60]}000000")


def test_listings_are_ordered_and_cut_by_dates_and_volume() -> None:
    """order, ascending and each min/max filter agree with the same rule over all markets."""
    rows = [market(number, event_id="1", ends_s=DAY * (number % 5 + 20_000), starts_s=DAY * 19_000,
                   volume_usd_micro=(number * 7 % 13) * 10**6) for number in range(1, 30)]
    gamma = Gamma({row.condition: row for row in rows}, lambda market: (None, None))

    def of(query: str, path: str = "/markets/keyset") -> list[Any]:
        answer = gamma.on_request(0, "GET", f"{path}?limit=100&{query}", {}, b"")
        assert 200 == answer.status, answer.body
        return [row["slug"] for row in json.loads(answer.body)[path.split("/")[1]]]

    def slugs(chosen: list[Any]) -> list[str]:
        return [row.slug for row in chosen]

    assert slugs(sorted(rows, key=lambda row: row.volume_usd_micro)) == of("order=volumeNum")
    falling = sorted(rows, key=lambda row: (row.ends_s, row.slug), reverse=True)
    assert slugs(falling) == of("order=endDate,slug&ascending=false")
    as_text = sorted(rows, key=lambda row: f"{row.volume_usd_micro / 10**6:.2f}")
    assert slugs(as_text) == of("order=volume")
    assert as_text != sorted(rows, key=lambda row: row.volume_usd_micro)
    limit = "2024-10-06T00:00:00Z"  # day 20,002
    assert slugs([row for row in rows if row.ends_s >= DAY * 20_002]) == of(f"end_date_min={limit}")
    assert slugs([row for row in rows if row.ends_s <= DAY * 20_002]) == of(f"end_date_max={limit}")
    assert [] == of(f"start_date_min={limit}")
    assert slugs([row for row in rows if row.volume_usd_micro >= 5 * 10**6]) == of("volume_num_min=5")
    assert slugs([row for row in rows if row.volume_usd_micro <= 4_500_000]) == of("volume_num_max=4.5")
    assert [] == of("game_id=1")
    assert 1 == len(of("title_search=", "/events/keyset"))


def test_dates_are_told_where_somebody_names_them() -> None:
    """A market's own dates and game stand in its metadata; one without any has none."""
    game = market(7, starts_s=DAY * 20_000, ends_s=DAY * 20_001, game_start_s=DAY * 20_001 - 3_600,
                  clears_on_start=True)
    row = market_object(game)
    assert ("2024-10-04T00:00:00Z", "2024-10-05T00:00:00Z", "2024-10-04 23:00:00+00") == (
        row["startDate"], row["endDate"], row["gameStartTime"])
    compact = compact_market(game)
    assert ("2024-10-04T23:00:00Z", True, "2024-10-04T00:00:00Z") == (
        compact["gst"], compact["cbos"], compact["aot"])
    bare = market_object(market(8))
    assert (None, None, None) == (bare["startDate"], bare["endDate"], bare["gameStartTime"])
    assert not {"gst", "cbos"} & compact_market(market(8)).keys()


def test_dates_follow_the_exchange_s_clock() -> None:
    """A market that names no end ends after the exchange was opened, whenever that was."""
    for opened_s in (DAY * 20_000, DAY * 30_000):
        exchange = Exchange(ExchangeSettings(opened_s=opened_s), [market()], [], seed=1)
        (of,) = exchange.engine.markets.values()
        assert of.starts_s < opened_s < of.ends_s


def test_tags_have_pages_of_their_own() -> None:
    """A tag is found by id and by slug, and a market's tags under its own path."""
    (planted,) = [tag for tag in get("/tags") if tag["slug"] == "planted"]
    assert planted == get(f"/tags/{planted['id']}") == get("/tags/slug/planted")
    number = get("/markets?limit=1")[0]["id"]
    assert [planted] == get(f"/markets/{number}/tags")
    assert [planted["id"]] * 2 == [
        tag["id"] for row in get(f"/markets?limit=2&tag_id={planted['id']}") for tag in row["tags"]]
    assert [] == get(f"/events?exclude_tag_id={planted['id']}&tag_id={planted['id']}")
    get("/tags/slug/none", 404)


def test_bad_requests_are_refused() -> None:
    """offset on keyset pages, a wrong cursor and unknown ids are refused as the venue does."""
    get("/markets/keyset?offset=3", 422)
    get("/markets/keyset?limit=101", 422)
    get("/markets/keyset?after_cursor=%21%21", 422)
    get("/markets/999", 404)
    get("/markets/keyset?order=whatever", 422)
    get("/markets/keyset?end_date_min=tomorrow", 422)
    get("/events/keyset?volume_min=much", 422)
    get("/markets/keyset?condition_ids=" + ",".join(f"0x{number:064x}" for number in range(101)), 422)
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
