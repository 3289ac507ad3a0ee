"""Ids that the exchange makes up: v2 position ids field by field, as the venue's layout says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.sim import generate, identity, planted
from pipeline.sim.market import Market
from pipeline.venues.polymarket.identity import complement, is_v2_token, token_bytes, v2_condition
from tests.shared import SHARED, needs_shared

PATH = SHARED / "venues" / "polymarket-vectors.json"
#: (name, bits) of a position id, most significant first.
LAYOUT = (("moduleId", 8), ("baseHash", 128), ("arity", 16), ("reserved", 64), ("resolutionChain", 16),
          ("conditionIndex", 16), ("outcomeIndex", 8))


def fields_of(position_id: str) -> dict[str, int]:
    """Take a position id apart."""
    found, number, left = {}, int(position_id), 256
    for name, bits in LAYOUT:
        left -= bits
        found[name] = number >> left & (1 << bits) - 1
    return found


@needs_shared
def test_the_layout_is_the_official_one() -> None:
    """The official position ids come apart into the fields that their vectors name."""
    for vector in json.loads(PATH.read_text())["position_ids"]:
        if not vector["is_v2"]:
            continue
        found = fields_of(vector["position_id"])
        assert {name: found[name] for name in ("moduleId", "arity", "conditionIndex", "outcomeIndex")} == {
            name: vector[name] for name in ("moduleId", "arity", "conditionIndex", "outcomeIndex")}
        assert int(vector["baseHash"], 16) == found["baseHash"]
        assert 0 == found["reserved"]


def markets(version: str) -> list[Market]:
    """Return made-up markets of a version: binary ones and whole events."""
    binary = [flow.market for flow in generate.generate(3, 8, 0)]
    events = [market for event in planted.make_events(3, 8) for market in event.markets]
    return [market for market in (*binary, *events) if market.version == version]


def test_v2_markets_have_the_ids_of_v2() -> None:
    """Module, arity, index and outcome are right; one event shares 29 bytes; no two tokens are equal."""
    made, events = markets("v2"), {}
    assert {1, 2} == {fields_of(market.tokens[0])["moduleId"] for market in made}
    for market in made:
        yes, no = (fields_of(token) for token in market.tokens)
        is_binary = market.outcome_count == 1
        assert (1 if is_binary else 2, 0 if is_binary else market.outcome_count) == (
            yes["moduleId"], yes["arity"])
        assert (market.outcome_index, 0, 1) == (
            yes["conditionIndex"], yes["outcomeIndex"], no["outcomeIndex"])
        assert {0} == {side[name] for side in (yes, no) for name in ("reserved", "resolutionChain")}
        assert {"outcomeIndex": 1} == {name: no[name] for name in no if no[name] != yes[name]}
        assert market.condition == f"0x{int(market.tokens[0]):064x}"
        shared = identity.onchain_event_id(market.condition)
        assert (2 + 64, "000000") == (len(shared), shared[-6:])
        assert market.event_id == events.setdefault(shared, market.event_id)
    tokens = [token for market in (*made, *markets("v1")) for token in market.tokens]
    assert len(tokens) == len(set(tokens))


def test_the_pipeline_takes_them_for_what_they_are() -> None:
    """The product's own reading of ids, written without this one, agrees on version, pair and condition."""
    for version in ("v1", "v2"):
        for market in markets(version):
            yes, no = (token_bytes(token) for token in market.tokens)
            assert (version == "v2",) * 2 == (is_v2_token(yes), is_v2_token(no))
            if version == "v2":
                assert no == complement(yes)
                assert identity.short_condition(market.condition) == "0x" + v2_condition(yes).hex()


def test_categories_have_the_fee_of_their_kind() -> None:
    """Each generated market is of one category, by the venue's table of fees."""
    rates = {"crypto": 70_000, **dict.fromkeys(("sports", "economics", "culture", "weather"), 50_000),
             **dict.fromkeys(("politics", "finance", "mentions", "tech"), 40_000)}
    made = [flow.market for flow in generate.generate(5, 60, 0)]
    assert all(rates[market.tags[1]] == market.fee_rate_ppm for market in made)
    assert 7 <= len({market.tags[1] for market in made})


@pytest.mark.parametrize("count", [8, 40])
def test_a_quarter_is_v2(count: int) -> None:
    """One in four of the binary markets and of the events, so that each run of some size has both."""
    flows = generate.generate(1, count, 0)
    events: list[Any] = planted.make_events(1, count)
    assert count // 4 == sum(flow.market.version == "v2" for flow in flows)
    assert count // 4 == sum(event.markets[0].version == "v2" for event in events)
    assert {("v1", "Yes"), ("v2", "Up")} == {(f.market.version, f.market.outcomes[0]) for f in flows}
