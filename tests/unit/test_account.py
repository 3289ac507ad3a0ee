"""Reconcile walks end complete or refused, never half and silent; balances become records."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind
from pipeline.venues.polymarket import account, wire
from pipeline.venues.polymarket.account import (
    Walk,
    balance_record,
    open_orders_walk,
    parse_order,
    trades_walk,
)
from pipeline.venues.polymarket.identity import Refusal
from tests.shared import SHARED, needs_shared


def page(rows: list[dict[str, Any]], cursor: object = "LTE=") -> bytes:
    return json.dumps({"limit": 100, "count": len(rows), "data": rows, "next_cursor": cursor}).encode()


@pytest.mark.parametrize("pages", [1, 2, 5, 100])
def test_a_walk_reads_every_page(pages: int) -> None:
    """Rows come in order, each cursor is asked once, LTE= ends it."""
    walk, asked = open_orders_walk(), []
    for number in range(pages):
        assert walk.path is not None
        asked.append(walk.path)
        walk.on_answer(200, page([{"id": str(number)}], f"MT{number}==" if number + 1 < pages else "LTE="))

    assert walk.is_complete
    assert [str(n) for n in range(pages)] == [row["id"] for row in walk.take()]
    assert ["/data/orders"] + [f"/data/orders?next_cursor=MT{n}%3D%3D" for n in range(pages - 1)] == asked


@pytest.mark.parametrize("cursor", [None, "LTE="])
def test_both_ends_end(cursor: object) -> None:
    """LTE= and an absent cursor are the last page."""
    walk = trades_walk(1_790_000_000, "t-1")
    assert walk.path == "/data/trades?id=t-1&after=1790000000"
    walk.on_answer(200, page([], cursor))

    assert walk.is_complete


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (200, page([], ""), Cause.BAD_ANSWER),
        (200, page([], 5), Cause.BAD_ANSWER),
        (200, page([], "a b"), Cause.BAD_ANSWER),
        (200, page([], "x\r\nHost: y"), Cause.BAD_ANSWER),
        (200, b'{"data":null}', Cause.BAD_ANSWER),
        (200, b'{"data":[1]}', Cause.BAD_ANSWER),
        (200, b"[]", Cause.BAD_ANSWER),
        (200, b"<html>", Cause.BAD_ANSWER),
        (429, b"", Cause.RATE_LIMIT),
        (500, b"", Cause.VENUE_ERROR),
        (401, b"{}", Cause.VENUE_ERROR),
    ],
)
def test_a_broken_page_ends_the_walk_as_not_ok(status: int, body: bytes, cause: Cause) -> None:
    """An answer that is not understood never looks like a complete reconcile."""
    walk = open_orders_walk("0x" + "ab" * 32)
    walk.on_answer(200, page([{"id": "1"}], "MQ=="))
    walk.on_answer(status, body)

    assert walk.path is None
    assert not walk.is_complete
    assert walk.refusal is not None
    assert cause == walk.refusal.cause


def test_a_loop_of_cursors_ends() -> None:
    """A repeated cursor, or pages without end, are refused."""
    walk = Walk("/data/orders")
    for _ in range(2):
        walk.on_answer(200, page([{"id": "1"}], "MQ=="))
    assert not walk.is_complete

    endless = Walk("/data/orders")
    for number in range(1_001):
        if endless.path is None:
            break
        endless.on_answer(200, page([{"id": "1"}], f"M{number}=="))
    assert endless.refusal is not None


@needs_shared
def test_the_recorded_open_orders_page() -> None:
    """The recorded page yields its two rows unaltered."""
    body = (SHARED / "feeds" / "fixtures" / "polymarket" / "nautilus_http_open_orders_page.json").read_bytes()
    walk = open_orders_walk()
    walk.on_answer(200, body)

    assert walk.is_complete
    assert json.loads(body)["data"] == walk.take()


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b'{"id":"0x1"}', {"id": "0x1"}),
        (404, b'{"error":"not found"}', None),
        (200, b"null", None),
        (404, b"<html>edge</html>", Cause.BAD_ANSWER),
        (200, b"", Cause.BAD_ANSWER),
        (500, b"{}", Cause.VENUE_ERROR),
        (429, b"", Cause.RATE_LIMIT),
        (200, b"[]", Cause.BAD_ANSWER),
    ],
)
def test_absence_takes_the_venues_own_word(status: int, body: bytes, found: object) -> None:
    """Only the venue's JSON says that it knows no such order; an edge page is no evidence."""
    answer = parse_order(status, body)

    assert found == (answer.cause if isinstance(answer, Refusal) else answer)


@pytest.mark.parametrize(("body", "spenders", "collateral", "allowance"), [
    ({"balance": "1000000", "allowances": {"0xA": "5", "0xB": "7"}}, (), 1_000_000, 5),
    ({"balance": "1000000", "allowances": {"0xA": "5", "0xB": "7"}}, ("0xb",), 1_000_000, 7),
    ({"balance": "1", "allowances": {"0xA": "5"}}, ("0xa", "0xC"), 1, 0),
    ({"balance": 12, "allowances": {"0xA": str(2**256 - 1)}}, (), 12, 2**63 - 1),
    ({"balance": str(2**200), "allowances": {"0xA": 0}}, (), 2**63 - 1, 0),
    ({"balance": "0", "allowances": {}}, ("0xa",), 0, 0)])
def test_balances(body: dict[str, Any], spenders: tuple[str, ...], collateral: int, allowance: int) -> None:
    """Base units become micro-USD; the smallest allowance that counts; a missing spender is 0."""
    slot = balance_record(200, json.dumps(body).encode(), 4, spenders, venue_ns=9)
    assert isinstance(slot, bytes)
    record = CODECS[Kind.BALANCE].unpack(slot)

    assert (4, collateral, allowance, 9) == (
        record.account, record.collateral_usd_micro, record.allowance_usd_micro, record.venue_ns)


@pytest.mark.parametrize("body", [
    {}, {"balance": "1"}, {"balance": "1", "allowance": "5"}, {"balance": "1", "allowances": {}},
    {"balance": "-1", "allowances": {"a": "1"}}, {"balance": "1.5", "allowances": {"a": "1"}},
    {"balance": True, "allowances": {"a": "1"}}, {"balance": "1", "allowances": {"a": "x"}},
    {"balance": "1", "allowances": {"a": None}}, {"balance": "٣", "allowances": {"a": "1"}}, []])
def test_odd_balances_are_refused(body: object) -> None:
    """A balance that is not exactly understood is no balance."""
    assert isinstance(balance_record(200, json.dumps(body).encode(), 1), Refusal)
    assert isinstance(balance_record(500, b"", 1), Refusal)


def test_paths() -> None:
    """Questions are the venue's paths; ids are escaped."""
    assert account.order_path(bytes([171]) * 32) == "/data/order/0x" + "ab" * 32
    assert account.balance_path(3) == "/balance-allowance?asset_type=COLLATERAL&signature_type=3"
    assert account.balance_path(0, "CONDITIONAL", "7") == (
        "/balance-allowance?asset_type=CONDITIONAL&token_id=7&signature_type=0")
    assert (
        account.balance_update_path(3) == "/balance-allowance/update?asset_type=COLLATERAL&signature_type=3"
    )
    assert trades_walk(0, "a&b=c").path == "/data/trades?id=a%26b%3Dc"
    assert wire.CURSOR_END == "LTE="


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_never_raise(seed: int) -> None:
    """Mutated answers end in a refusal or in rows, never in an exception."""
    rng = random.Random(seed)
    for _ in range(300):
        data = bytearray(page([{"id": "1"}], "MQ=="))
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        walk = open_orders_walk()
        walk.on_answer(200, bytes(data))
        assert walk.refusal is not None or all(isinstance(row, dict) for row in walk.take())
        parse_order(200, bytes(data))
        balance_record(200, bytes(data), 1)


@pytest.mark.parametrize("body", [
    b'{"data":[{"a":' + b"[" * 300 + b"]" * 300 + b'}],"next_cursor":"LTE="}',
    b'{"data":[],"next_cursor":' + b"[" * 1_000 + b"]" * 1_000 + b"}",
    b'{"data":[{"id":"1","id":"2"}],"next_cursor":"LTE="}',
    b'{"data":[],"data":[{"id":"1"}],"next_cursor":"LTE="}',
])
def test_a_page_that_two_readers_read_in_two_ways_is_refused(body: bytes) -> None:
    """A key that stands twice, or values nested beyond reason: no evidence, and no error."""
    walk = trades_walk()
    walk.on_answer(200, body)

    assert walk.refusal is not None
    assert Cause.BAD_ANSWER == walk.refusal.cause
    assert isinstance(parse_order(200, body), Refusal)
