"""Every recorded Gamma object becomes an instrument with the values that json and Decimal read from it."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.codec import CODECS
from pipeline.kinds import Kind, Rule
from pipeline.native.orderhash import keccak256
from pipeline.venues.polymarket.universe import MarketInfo, instrument_record, parse_events, parse_markets
from tests.shared import SHARED, needs_shared, recording

FIXTURES = SHARED / "feeds" / "fixtures" / "polymarket"
LEGACY_ADAPTER = bytes.fromhex("d91e80cf2e7be2e162c6513ced06f1dd0da35296")  # venue sheet 2.2


def gamma_files() -> list[Path]:
    return sorted(FIXTURES.glob("*gamma*.json")) if FIXTURES.is_dir() else []


def check_against_fixture(info: MarketInfo, obj: dict[str, Any]) -> None:
    """Compare with the object read a second way: json and Decimal."""
    assert json.loads(obj["clobTokenIds"]) == [
        str(int.from_bytes(t, "big")) for t in (info.token_yes, info.token_no)
    ]
    assert obj["conditionId"] == "0x" + info.condition.hex()
    assert Decimal(str(obj["orderPriceMinTickSize"])) * 10_000 == info.tick_step
    assert Decimal(str(obj["orderMinSize"])) * 10**6 == info.size_micro_min
    schedule = obj.get("feeSchedule")
    expected = (
        0
        if obj["feesEnabled"] is False
        else int(Decimal(str(schedule["rate"])) * 10**6)
        if schedule
        else None
    )
    assert expected == info.fee_rate_ppm
    assert obj["negRisk"] is info.neg_risk
    ends = datetime.fromisoformat(obj["endDate"])
    assert int(ends.timestamp()) == info.ends_ns // 10**9
    assert info.tradable == (obj["active"] and not obj["closed"] and obj.get("acceptingOrders", False)
                             and obj["enableOrderBook"] and expected is not None)
    record = CODECS[Kind.INSTRUMENT].unpack(instrument_record(info, 1, 1, 0))
    assert (obj.get("groupItemTitle") or obj["question"]).strip().startswith(record.label[:7].decode())


@needs_shared
def test_every_gamma_fixture() -> None:
    """All recorded markets and events are read; without the version field they are refused by that name."""
    total = 0
    for path in gamma_files():
        data = path.read_bytes()
        parsed = json.loads(data)
        objects = parsed if isinstance(parsed, list) else [parsed]
        is_event = "markets" in objects[0]
        parse = parse_events if is_event else parse_markets
        markets = [m for o in objects for m in o["markets"]] if is_event else objects
        found, unversioned = parse(data, "v1"), parse(data)
        assert () == found.refused, [str(r) for r in found.refused]
        assert len(markets) == len(found.markets)
        for info, obj in zip(found.markets, markets, strict=True):
            check_against_fixture(info, obj)
        assert () == unversioned.markets
        assert {"version"} == {refusal.field for refusal in unversioned.refused}
        total += len(markets)
    assert total >= 20

    augmented = parse_events((FIXTURES / "nautilus_gamma_event.json").read_bytes(), "v1")
    assert all(m.rules(False) & Rule.AUGMENTED and m.rules(False) & Rule.EXCLUSIVE
               and not m.rules(False) & Rule.EXHAUSTIVE for m in augmented.markets)
    assert [5, 7] == [m.question_index for m in augmented.markets]
    for info in augmented.markets:  # the legacy adapter is the oracle: the condition proves the question id
        hashed = keccak256(LEGACY_ADAPTER + info.question_id + (2).to_bytes(32, "big"))
        assert info.condition == hashed


@needs_shared
def test_the_recorded_btc_markets() -> None:
    """146 of 146 recorded five-minute markets are read: 0.07 fee, closed, Up before Down."""
    count = 0
    for line in recording("polymarket/gamma_btc5m_20260724_a.jsonl.zst"):
        page = parse_markets(line["raw"].encode(), "v1")
        assert () == page.refused, [str(r) for r in page.refused]
        info, obj = page.markets[0], json.loads(line["raw"])
        assert (70_000, ("Up", "Down"), False) == (info.fee_rate_ppm, info.outcomes, info.tradable)
        check_against_fixture(info, obj)
        assert line["end_sec"] == info.ends_ns // 10**9
        count += 1

    assert 146 == count
