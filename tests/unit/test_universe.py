"""Gamma objects become instruments exactly or are refused by field; recordings and mutants."""

from __future__ import annotations

import copy
import json
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Flag, Kind, Rule
from pipeline.venues.polymarket.clob_market import clob_market_path
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.universe import (
    MarketInfo,
    ascii_label,
    instrument_record,
    parse_events,
    parse_markets,
)
from tests.shared import SHARED, scaled

FIXTURES = SHARED / "feeds" / "fixtures" / "polymarket"
V1 = ["71321045679252212594626385532706912750332728571942532289631379312455583992563",
      "52114319501245915516055106046884209969926127482827954674443846427813813222426"]
V2 = ["484477317811713033941648914387987281664819049935968967509762756023379034112",
      "484477317811713033941648914387987281664819049935968967509762756023379034113"]
V2_CONDITION = "0x011234567890abcdef1234567890abcdef0001000000000000000000000000"


def market(**change: Any) -> dict[str, Any]:
    """Return a synthetic Gamma market in the shape of the venue sheet 3.2."""
    return {
        "id": "512345",
        "version": "v1",
        "slug": "example",
        "question": "Will Alice win?",
        "groupItemTitle": "Alice",
        "conditionId": "0x" + "ab" * 32,
        "questionID": "0x" + "cd" * 31 + "00",
        "outcomes": '["Yes", "No"]',
        "clobTokenIds": json.dumps(V1),
        "positionIds": None,
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "negRisk": True,
        "endDate": "2026-11-30T12:00:00Z",
        "orderPriceMinTickSize": 0.01,
        "orderMinSize": 5,
        "secondsDelay": 0,
        "feesEnabled": True,
        "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True, "rebateRate": 0.2},
        "events": [{"id": "9001", "slug": "e", "negRiskAugmented": False}],
    } | change


def event(count: int = 3, market_change: dict[str, Any] | None = None, **change: Any) -> dict[str, Any]:
    rng = random.Random(count)
    markets = [
        market(
            id=str(index),
            clobTokenIds=json.dumps([str(rng.getrandbits(255)), str(rng.getrandbits(255))]),
            questionID="0x" + "cd" * 31 + f"{index:02x}",
            conditionId="0x" + rng.randbytes(32).hex(),
            **(market_change or {}),
        )
        for index in range(count)
    ]
    return {"id": "9001", "slug": "e", "title": "Who wins?", "negRisk": True, "negRiskAugmented": False,
            "markets": markets} | change


def read(obj: Any) -> MarketInfo:
    page = parse_markets(json.dumps(obj).encode())
    assert page.refused == (), [str(r) for r in page.refused]
    return page.markets[0]


def refused(obj: Any) -> MarketRefusal:
    page = parse_markets(json.dumps([obj]).encode())
    assert page.markets == ()
    return page.refused[0]


def test_a_market_becomes_an_instrument() -> None:
    """Every value of the record is the venue's, in the record's units."""
    record = CODECS[Kind.INSTRUMENT].unpack(
        instrument_record(read(market()), 7, 3, 2, watch=True, planted=True)
    )

    assert (7, 3, 2, 1) == (record.instrument, record.event, record.shard, record.venue)
    assert (bytes.fromhex("ab" * 32), 32) == (record.condition, record.condition_bytes)
    assert V1 == [str(int.from_bytes(record.token_yes, "big")), str(int.from_bytes(record.token_no, "big"))]
    assert (100, 100, 70_000, 1) == (
        record.tick_step,
        record.tick_step_finest,
        record.fee_rate_ppm,
        record.fee_exponent,
    )
    assert (5_000_000, 1_000_000, 0) == (record.size_micro_min, record.usd_micro_min, record.taker_delay_ns)
    assert int(datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()) * 10**9 == record.ends_ns
    assert b"Alice" == record.label
    assert Flag.PLANTED == record.flags
    assert Rule.TRADABLE | Rule.NEG_RISK | Rule.WATCH | Rule.MIRRORED | Rule.HASHED == record.rules


def test_the_finest_step_of_a_run_is_kept() -> None:
    """A caller that saw a finer step keeps it; a coarser one never replaces the market's own."""
    for seen, expected in ((0, 100), (10, 10), (100, 100), (1000, 100)):
        slot = instrument_record(read(market()), 1, 0, 0, tick_step_finest=seen)
        assert expected == CODECS[Kind.INSTRUMENT].unpack(slot).tick_step_finest


def test_v2_markets_use_position_ids() -> None:
    """version v2 takes positionIds, a 31-byte condition in either form, and the V2 rule."""
    for condition in (V2_CONDITION, V2_CONDITION + "00"):
        info = read(market(version="v2", positionIds=V2, conditionId=condition))
        record = CODECS[Kind.INSTRUMENT].unpack(instrument_record(info, 1, 0, 0))
        assert V2 == [
            str(int.from_bytes(record.token_yes, "big")),
            str(int.from_bytes(record.token_no, "big")),
        ]
        assert (bytes.fromhex(V2_CONDITION[2:]) + b"\0", 31) == (record.condition, record.condition_bytes)
        assert record.rules & Rule.V2
        assert "/clob-markets/" + V2_CONDITION + "00" == clob_market_path(info)


@pytest.mark.parametrize(
    ("labels", "first"),
    [
        (["Yes", "No"], 0),
        (["No", "Yes"], 1),
        (["NO", "yes"], 1),
        (["Up", "Down"], 0),
        (["Lakers", "Celtics"], 0),
        (["No", "Maybe"], 0),
    ],
)
def test_outcomes_map_by_label_else_by_order(labels: list[str], first: int) -> None:
    """YES is the outcome labelled Yes wherever it stands; other labels keep the venue's order (MD14)."""
    info = read(market(outcomes=json.dumps(labels)))

    assert [V1[first], V1[1 - first]] == [
        str(int.from_bytes(t, "big")) for t in (info.token_yes, info.token_no)
    ]
    assert (labels[first], labels[1 - first]) == info.outcomes


@pytest.mark.parametrize(("tick", "step"), [(0.1, 1000), (0.01, 100), (0.005, 50), (0.0025, 25), (0.001, 10),
                                            (0.0001, 1), ("0.01", 100)])
def test_tick_steps(tick: object, step: int) -> None:
    """All six spacings are read from their text, never through a float."""
    assert step == read(market(orderPriceMinTickSize=tick)).tick_step


@pytest.mark.parametrize(
    ("change", "rate"),
    [
        ({"feesEnabled": False, "feeSchedule": None}, 0),
        ({"feesEnabled": False}, 0),
        ({"feesEnabled": None}, None),
        ({"feeSchedule": None}, None),
        ({"feeSchedule": {"rate": 0.05, "exponent": 1, "takerOnly": False}}, None),
        ({"feeSchedule": {"rate": 0.05, "exponent": 1}}, None),
        ({"feeSchedule": {"rate": 0.072, "exponent": 2, "takerOnly": True}}, 72_000),
        ({"feeSchedule": {"rate": "0.04", "exponent": "1", "takerOnly": True}}, 40_000),
        ({"feeSchedule": {"rate": 0, "exponent": 1, "takerOnly": True}}, 0),
    ],
)
def test_fees(change: dict[str, Any], rate: int | None) -> None:
    """A fee is known for certain or the market is not tradable; off means zero."""
    info = read(market(**change))

    assert rate == info.fee_rate_ppm
    assert (rate is not None) == info.tradable == bool(info.rules(watch=False) & Rule.TRADABLE)


@pytest.mark.parametrize("change", [
    {"active": False}, {"closed": True}, {"acceptingOrders": False}, {"acceptingOrders": None},
    {"enableOrderBook": False}, {"enableOrderBook": None}])
def test_a_market_that_takes_no_orders_is_not_tradable(change: dict[str, Any]) -> None:
    """Each of the four states closes it; it still becomes an instrument, for its book."""
    assert not read(market(**change)).tradable


def test_delays() -> None:
    """secondsDelay sets the delay and its rule."""
    info = read(market(secondsDelay=3))

    assert 3_000_000_000 == info.taker_delay_ns
    assert info.rules(watch=False) & Rule.TAKER_DELAY


WRONG: list[tuple[str, list[Any]]] = [
    ("id", [None, 5, ""]),
    ("version", [None, "v3", "V1", 1, ""]),
    ("slug", [None, ""]),
    ("question", [None, 7]),
    ("conditionId", [None, "", "0x", "ab" * 32, "0x" + "ab" * 31, "0x" + "zz" * 32, "0x" + "ab" * 33, 5]),
    ("outcomes", [None, "", "[]", '["Yes"]', '["a","b","c"]', "Yes,No", '["Yes", 1]', '["Yes", ""]']),
    (
        "clobTokenIds",
        [
            None,
            "",
            "[]",
            json.dumps([V1[0]]),
            json.dumps([V1[0], V1[0]]),
            json.dumps([V1[0], "0"]),
            json.dumps([int(V1[0]), int(V1[1])]),
            json.dumps(V2),
            '["1e5","2"]',
            json.dumps([V1[0], "-5"]),
            json.dumps([V1[0], str(2**256)]),
        ],
    ),
    ("active", [None, "true", 1]),
    ("closed", [None, "false"]),
    ("negRisk", [None, "true", 0]),
    ("acceptingOrders", ["true", 1]),
    ("feesEnabled", ["false", 0]),
    ("questionID", ["0x12", "zz"]),
    ("orderPriceMinTickSize", [None, 0, 0.02, 1, "x", True, 0.00001, -0.01, [0.01]]),
    ("orderMinSize", [None, 0, -5, "five", True]),
    ("secondsDelay", ["x", -1, 1.5, 10**6]),
    (
        "feeSchedule",
        [
            {"rate": "x", "exponent": 1, "takerOnly": True},
            {"rate": 7, "exponent": 1, "takerOnly": True},
            {"exponent": 1, "takerOnly": True},
            {"rate": 0.07, "takerOnly": True},
            {"rate": 0.07, "exponent": 3, "takerOnly": True},
            {"rate": 0.07, "exponent": 9, "takerOnly": True},
            {"rate": 0.07, "exponent": 1.5, "takerOnly": True},
        ],
    ),
    ("endDate", ["2026-11-30", "soon", 5, "2026-11-30T12:00:00"]),
]


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG for value in values])
def test_wrong_values_are_refused_by_name(field: str, value: Any) -> None:
    """A missing or ill-typed required value: a refusal, no default (MD11)."""
    refusal = refused(market(**{field: value}))

    assert refusal.field
    assert refusal.expected
    assert "expected" in str(refusal)
    if value is None:
        missing = market()
        del missing[field]
        assert refusal == refused(missing)


@pytest.mark.parametrize("change", [
    {"positionIds": V2[::-1]}, {"positionIds": [V2[0], V1[1]]}, {"positionIds": V1}, {"positionIds": None},
    {"positionIds": [V2[0], str(int(V2[0]) + 256)]}, {"conditionId": "0x" + "ab" * 31},
    {"conditionId": V2_CONDITION + "01"}, {"outcomes": '["No", "Yes"]'}])
def test_contradicting_v2_ids_are_refused(change: dict[str, Any]) -> None:
    """A v2 id pair must be complementary, of the condition, and in the order of its labels."""
    assert refused(market(version="v2", **({"positionIds": V2, "conditionId": V2_CONDITION} | change)))


def test_a_whole_event_is_exclusive_and_exhaustive() -> None:
    """Neg risk with every question 0..n-1 open and none augmented proves both; places count from 0."""
    page = parse_events(json.dumps(event(4)).encode())

    assert page.refused == ()
    assert [0, 1, 2, 3] == [m.outcome_index for m in page.markets]
    assert {4} == {m.outcome_count for m in page.markets}
    assert all(
        m.rules(watch=False) & Rule.EXCLUSIVE and m.rules(watch=False) & Rule.EXHAUSTIVE for m in page.markets
    )
    assert {"9001"} == {m.event_id for m in page.markets}


@pytest.mark.parametrize(("build", "exclusive"), [
    (lambda: event(4, negRiskAugmented=True), True), (lambda: event(4, negRiskAugmented=None), True),
    (lambda: event(4, negRisk=False), False), (lambda: event(4, {"negRisk": False}), False),
    (lambda: event(4, {"acceptingOrders": False}), True), (lambda: event(4, {"closed": True}), True),
    (lambda: event(1), True),
    (lambda: event(4) | {"markets": event(4)["markets"][:2] + event(4)["markets"][3:]}, True),
    (lambda: event(4) | {"markets": event(4)["markets"][1:]}, True),
    (lambda: event(4) | {"markets": [*event(4)["markets"][:3], market(slug=None)]}, True),
    (lambda: event(4) | {"markets": [{**m, "questionID": None} for m in event(4)["markets"]]}, True)])
def test_an_incomplete_event_is_never_exhaustive(build: Any, exclusive: bool) -> None:
    """Augmented, unlabelled, closed, missing, unreadable or gapped questions: buy-all would be a bet."""
    page = parse_events(json.dumps([build()]).encode())

    assert page.markets
    for info in page.markets:
        assert not info.rules(watch=False) & Rule.EXHAUSTIVE
        assert exclusive == bool(info.rules(watch=False) & Rule.EXCLUSIVE)


def test_augmented_events_say_so() -> None:
    """An augmented event carries its rule, also when a market is read alone."""
    page = parse_events(json.dumps(event(3, negRiskAugmented=True)).encode())
    alone = read(market(events=[{"id": "9001", "negRiskAugmented": True}]))

    assert all(m.rules(watch=False) & Rule.AUGMENTED for m in (*page.markets, alone))


@pytest.mark.parametrize(
    ("data", "count", "cursor"),
    [
        (json.dumps({"markets": [market()], "next_cursor": "abc"}), 1, "abc"),
        (json.dumps({"markets": [market()]}), 1, ""),
        (json.dumps({"markets": [market()], "next_cursor": None}), 1, ""),
        (json.dumps([market(), market()]), 2, ""),
        (json.dumps(market()), 1, ""),
        (json.dumps({"markets": []}), 0, ""),
        ("[]", 0, ""),
    ],
)
def test_pages(data: str, count: int, cursor: str) -> None:
    """Keyset pages, legacy arrays and single objects; the last page names no cursor."""
    page = parse_markets(data.encode())

    assert (count, cursor, ()) == (len(page.markets), page.next_cursor, page.refused)


@pytest.mark.parametrize("data", [
    b"", b"<html>", b"null", b"5", b'"x"', b"{}", b'{"markets":5}', b'{"markets":[],"next_cursor":""}',
    b'{"markets":[],"next_cursor":5}', b"[NaN]", b"\xff", b'{"error":"x"}'])
def test_broken_pages_are_refused(data: bytes) -> None:
    """A page that is none yields one refusal, no market and no exception."""
    for parse in (parse_markets, parse_events):
        page = parse(data.replace(b"markets", b"events") if parse is parse_events else data)
        assert () == page.markets
        assert 1 == len(page.refused)


@pytest.mark.parametrize("seed", range(10))
def test_mutated_schemas_never_crash_or_default(seed: int) -> None:
    """Renamed, removed and retyped values: refused, or equal to the original where unused (MD11)."""
    rng = random.Random(seed)
    original = read(market())
    for _ in range(scaled(100, 2000)):
        obj = copy.deepcopy(market())
        name = rng.choice(list(obj))
        action = rng.choice(["remove", "rename", "retype"])
        value = obj.pop(name)
        if action == "rename":
            obj[name + "_"] = value
        elif action == "retype":
            obj[name] = rng.choice([None, 5, "x", [], {}, True, 1e300, [None], {"a": 1}])
        page = parse_markets(json.dumps([obj]).encode())
        for info in page.markets:
            changed = {f for f in MarketInfo.__slots__ if getattr(info, f) != getattr(original, f)}
            assert changed <= {
                "label",
                "fee_rate_ppm",
                "fee_exponent",
                "accepting",
                "closed",
                "taker_delay_ns",
                "ends_ns",
                "event_id",
                "question_id",
                "augmented",
                "question",
                "slug",
                "market_id",
            }, (name, obj)
            if name in ("feesEnabled", "feeSchedule") and "fee_rate_ppm" in changed:
                assert not info.tradable


@pytest.mark.parametrize(("text", "label"), [
    ("Alice", b"Alice"), ("José Ñ", b"Jose N"), ("日本", b"??"), ("a\nb\x00", b"a?b?"), ("x" * 50, b"x" * 32),
    ("é" * 40, b"e" * 32), ("  padded ", b"padded"), ("…", b"...")])
def test_labels_are_ascii(text: str, label: bytes) -> None:
    """Labels are for people: printable ASCII, at most 32 bytes."""
    assert label == ascii_label(text)
