"""What an HTTP answer proves: definitive only where the venue's words or status say so, else UNKNOWN."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderState, Origin, Side
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.answers import (
    Sent,
    batch_answer,
    cancel_answer,
    error_text,
    order_answer,
    venue_condition,
)
from tests.shared import scaled

U, R, C, LIVE = OrderState.UNKNOWN, OrderState.REJECTED, OrderState.CANCELED, OrderState.LIVE


def sent(number: int = 1, side: int = Side.BUY) -> Sent:
    return Sent(order_no=number, group_no=number + 100, order_hash=bytes([number]) * 32, side=side,
                instrument=number + 10, account=3)


def accepted(order: Sent, **change: Any) -> dict[str, Any]:
    return {"success": True, "errorMsg": "", "orderID": "0x" + order.order_hash.hex(), "status": "live",
            "makingAmount": "", "takingAmount": "", "transactionsHashes": [], "tradeIDs": []} | change


def judge(status: int, body: object, order: Sent | None = None) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    reports = order_answer(status, data, order or sent(), 77)
    assert 1 == len(reports)
    return CODECS[Kind.REPORT].unpack(reports[0])


@pytest.mark.parametrize(("status", "state"), [
    ("live", OrderState.LIVE), ("matched", OrderState.MATCHED), ("delayed", OrderState.DELAYED)])
def test_the_three_acceptances(status: str, state: OrderState) -> None:
    """success, no error, our id and a known status: the state that the venue names."""
    found = judge(200, accepted(sent(), status=status))

    assert (state, Cause.NONE, Origin.HTTP) == (found.state, found.cause, found.origin)
    assert (1, 101, bytes([1]) * 32, 11, 3, 200, 77) == (
        found.order_no, found.group_no, found.order_hash, found.instrument, found.account, found.http_status,
        found.recv_ns)
    assert (-1, -1, -1) == (found.making_micro, found.taking_micro, found.matched_micro)


@pytest.mark.parametrize(("side", "matched"), [(Side.BUY, 100_500_000), (Side.SELL, 52_260_001)])
def test_matched_amounts_are_micro_units(side: Side, matched: int) -> None:
    """Human decimals become 1e-6 units; the shares are what a BUY takes and a SELL makes."""
    found = judge(
        200,
        accepted(sent(1, side), status="matched", makingAmount="52.260001", takingAmount="100.5"),
        sent(1, side),
    )

    assert (52_260_001, 100_500_000, matched) == (found.making_micro, found.taking_micro, found.matched_micro)


@pytest.mark.parametrize("text", ["1e5", "-1", "0.0000001", "x", " 1", None, 5, 1.5, [], "9" * 30])
def test_odd_amounts_are_silent_not_guessed(text: object) -> None:
    """An amount that is no plain decimal is -1; the acceptance itself still stands."""
    found = judge(200, accepted(sent(), status="matched", makingAmount=text))

    assert (OrderState.MATCHED, -1) == (found.state, found.making_micro)


NOT_ACCEPTED = [
    ({"status": "unmatched"}, U),
    ({"status": "LIVE"}, U),
    ({"status": ""}, U),
    ({"status": None}, U),
    ({"status": ["live"]}, U),
    ({"success": False}, U),
    ({"success": "true"}, U),
    ({"success": 1}, U),
    ({"errorMsg": None}, U),
    ({"orderID": ""}, U),
    ({"orderID": None}, U),
    ({"orderID": "0x" + "ee" * 32}, U),
    ({"orderID": 7}, U),
    ({"errorMsg": "no reason known to us"}, U),
    ({"errorMsg": "no reason known to us", "orderID": ""}, R),
    ({"errorMsg": "x", "orderID": "", "success": False}, R),
    ({"success": False, "orderID": ""}, U),
    ({"errorMsg": "Rate limit exceeded for tokenId 7", "status": "delayed", "orderID": ""}, R),
]


@pytest.mark.parametrize(("change", "state"), NOT_ACCEPTED)
def test_anything_less_is_no_acceptance(change: dict[str, Any], state: OrderState) -> None:
    """One wrong part: UNKNOWN without a reason, REJECTED with a reason and no id."""
    found = judge(200, accepted(sent(), **change))

    assert state == found.state
    assert Cause.NONE != found.cause


#: Sheet 11.3, each text with the status it comes with, the state and the cause that it proves.
TEXTS: list[tuple[int, str, OrderState, Cause]] = [
    (400, "Invalid order payload", R, Cause.VENUE_REJECT),
    (400, "order_version_mismatch", R, Cause.VENUE_REJECT),
    (400, "invalid order version", R, Cause.VENUE_REJECT),
    (400, "invalid signature", R, Cause.VENUE_REJECT),
    (400, "the order owner has to be the owner of the API KEY", R, Cause.VENUE_REJECT),
    (400, "the order signer address has to be the address of the API KEY", R, Cause.VENUE_REJECT),
    (400, "maker address not allowed, please use the deposit wallet flow", R, Cause.VENUE_REJECT),
    (400, "address 0xab banned", R, Cause.VENUE_REJECT),
    (400, "address 0xab in closed only mode", R, Cause.VENUE_REJECT),
    (400, "Too many orders in payload: 16, max allowed: 15", R, Cause.VENUE_REJECT),
    (400, "invalid post-only order: order crosses book", R, Cause.VENUE_REJECT),
    (400, "order 0xab is invalid. Price (0.525) breaks minimum tick size rule: 0.01", R, Cause.VENUE_REJECT),
    (400, "order 0xab is invalid. Size (1) lower than the minimum: 5", R, Cause.VENUE_REJECT),
    (400, "order 0xab is invalid. Duplicated.", U, Cause.VENUE_REJECT),
    (400, "order 0xab crosses the book", R, Cause.VENUE_REJECT),
    (
        400,
        "not enough balance / allowance: the balance is not enough -> balance: 0, order amount: 1",
        R,
        Cause.VENUE_REJECT,
    ),
    (400, "invalid amount for a marketable BUY order ($0.9), min size: $1", R, Cause.VENUE_REJECT),
    (400, "invalid nonce", R, Cause.VENUE_REJECT),
    (400, "invalid expiration", R, Cause.VENUE_REJECT),
    (
        400,
        "invalid amounts, the market buy orders maker amount supports a max accuracy of 2 decimals",
        R,
        Cause.VENUE_REJECT,
    ),
    (400, "order canceled in the CTF exchange contract", R, Cause.VENUE_REJECT),
    (400, "order match delayed due to market conditions", OrderState.DELAYED, Cause.NONE),
    (400, "order couldn't be fully filled. FOK orders are fully filled or killed.", C, Cause.NO_MATCH),
    (
        400,
        "no orders found to match with FAK order. FAK orders are partially filled or killed if no match",
        C,
        Cause.NO_MATCH,
    ),
    (400, "the market is not yet ready to process new orders", R, Cause.VENUE_REJECT),
    (400, "order timed out", R, Cause.VENUE_REJECT),
    (500, "there are no matching orders", U, Cause.VENUE_ERROR),
    (500, "the trade contains rounding issues", U, Cause.VENUE_ERROR),
    (
        500,
        "the price of the taker's order has a discrepancy greater than allowed with the worst maker order",
        U,
        Cause.VENUE_ERROR,
    ),
    (500, "could not insert order", U, Cause.VENUE_ERROR),
    (400, "could not insert order", U, Cause.VENUE_ERROR),
    (500, "could not run the execution", U, Cause.VENUE_ERROR),
    (500, "order 0xab is invalid. Duplicated.", U, Cause.VENUE_ERROR),
    (401, "Unauthorized/Invalid api key", R, Cause.VENUE_REJECT),
    (403, "Trading restricted in your region", R, Cause.VENUE_REJECT),
    (404, "No orderbook exists for the requested token id", R, Cause.VENUE_REJECT),
    (425, "engine restarting", R, Cause.VENUE_ERROR),
    (429, "rate limit", R, Cause.RATE_LIMIT),
    (503, "trading is disabled", R, Cause.VENUE_ERROR),
    (503, "trading is in cancel-only mode", R, Cause.VENUE_ERROR),
    (503, "post-only mode: only post-only orders and cancels are allowed", R, Cause.VENUE_ERROR),
    (503, "service unavailable", U, Cause.VENUE_ERROR),
    (502, "bad gateway", U, Cause.VENUE_ERROR),
]


@pytest.mark.parametrize(("status", "text", "state", "cause"), TEXTS)
def test_every_text_of_the_sheet(status: int, text: str, state: OrderState, cause: Cause) -> None:
    """Each published text ends in its state; the words travel in the report, cut to 104 bytes."""
    found = judge(status, {"error": text})

    assert (state, cause) == (found.state, found.cause)
    assert text[:104].encode() == found.text


@pytest.mark.parametrize(("status", "text", "state", "cause"), [t for t in TEXTS if t[0] == 400])
def test_the_same_texts_inside_http_200(status: int, text: str, state: OrderState, cause: Cause) -> None:
    """A text means the same as `errorMsg` of a 200 answer without an id."""
    found = judge(200, accepted(sent(), errorMsg=text, orderID="", success=False))

    assert (state, cause) == (found.state, found.cause)


@pytest.mark.parametrize(
    "status", [100, 204, 301, 302, 307, 408, 500, 501, 502, 503, 504, *range(520, 527), 599]
)
@pytest.mark.parametrize(
    "body", [b"", b"<html>error</html>", b"{", b"null", b"[]", b'{"error":""}', b"\xff\xfe"]
)
def test_unreadable_answers_are_unknown(status: int, body: bytes) -> None:
    """No words and no refusing status: nothing is proven, so the order stays exposed (OR05)."""
    assert U == judge(status, body).state


@pytest.mark.parametrize("status", [401, 403, 404, 425, 429])
@pytest.mark.parametrize("body", [b"", b"<html>blocked</html>", b"{", b"\xff"])
def test_refusing_statuses_need_no_words(status: int, body: bytes) -> None:
    """An edge page of HTML is judged by its status alone (OR04)."""
    found = judge(status, body)

    assert R == found.state
    assert f"http {status}".encode() == found.text


def test_a_bare_400_proves_nothing() -> None:
    """A 400 without the venue's words may come from anywhere: UNKNOWN."""
    assert U == judge(400, b"<html>").state


def one_leg(order: Sent, outcome: str) -> dict[str, Any]:
    return {
        "accepted": accepted(order),
        "rejected": accepted(order, success=False, errorMsg="invalid signature", orderID=""),
        "empty id with reason": accepted(order, errorMsg="some reason", orderID="", status=""),
        "empty id": accepted(order, orderID=""),
        "other id": accepted(order, orderID="0x" + "ee" * 32),
        "no match": accepted(
            order, success=False, orderID="", errorMsg="no orders found to match with FAK order."
        ),
    }[outcome]


LEG_STATES = {
    "accepted": LIVE,
    "rejected": R,
    "empty id with reason": R,
    "empty id": U,
    "other id": U,
    "no match": C,
}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_leg_of_a_batch_is_judged_alone(count: int) -> None:
    """All outcome patterns of up to four legs: each leg's state is its own (OR10)."""
    patterns = list(itertools.product(LEG_STATES, repeat=count))
    assert len(LEG_STATES) ** count == len(patterns)
    for pattern in patterns:
        orders = [sent(number + 1) for number in range(count)]
        body = json.dumps(
            [one_leg(order, name) for order, name in zip(orders, pattern, strict=True)]
        ).encode()
        found = [CODECS[Kind.REPORT].unpack(slot) for slot in batch_answer(200, body, orders)]
        assert [LEG_STATES[name] for name in pattern] == [OrderState(r.state) for r in found]
        assert [order.order_no for order in orders] == [r.order_no for r in found]


@pytest.mark.parametrize("seed", range(10))
def test_random_batches(seed: int) -> None:
    """Batches of 1 to 15 with random legs, statuses and lengths never prove more than they say (OR10)."""
    rng = random.Random(seed)
    for _ in range(scaled(20, 200)):
        orders = [sent(number + 1) for number in range(rng.randrange(1, 16))]
        names = [rng.choice(list(LEG_STATES)) for _ in orders]
        items = [one_leg(order, name) for order, name in zip(orders, names, strict=True)]
        change = rng.choice(["none", "none", "short", "long", "status"])
        items = items[:-1] if change == "short" else [*items, items[0]] if change == "long" else items
        status = rng.choice([500, 502, 504]) if change == "status" else 200
        found = [
            CODECS[Kind.REPORT].unpack(slot)
            for slot in batch_answer(status, json.dumps(items).encode(), orders)
        ]
        expected = [LEG_STATES[name] if change == "none" else U for name in names]
        assert expected == [OrderState(r.state) for r in found]


@pytest.mark.parametrize(("status", "body", "state"), [
    (400, {"error": "Too many orders in payload: 16, max allowed: 15"}, R),
    (400, {"error": "Invalid order payload"}, R),
    (400, {"error": "the order owner has to be the owner of the API KEY"}, R),
    (400, {"error": "order 0xab is invalid. Price (0.525) breaks minimum tick size rule: 0.01"}, U),
    (400, {"error": "not enough balance / allowance"}, U), (400, {"error": "some new text"}, U),
    (400, {}, U), (401, {}, R), (403, {}, R), (425, {}, R), (429, {}, R), (500, {}, U),
    (503, {"error": "trading is disabled"}, R), (503, {}, U),
    (200, {"error": "Too many orders in payload"}, R), (200, {"error": "some new text"}, U), (200, {}, U),
    (200, [], U), (200, [1], U), (200, [1, 2], U), (200, [1, 2, 3], U), (200, "x", U), (200, None, U)])
def test_whole_batches(status: int, body: object, state: OrderState) -> None:
    """An error for the whole request rejects its legs only when no leg can have been placed."""
    orders = [sent(1), sent(2)]
    found = [
        CODECS[Kind.REPORT].unpack(slot) for slot in batch_answer(status, json.dumps(body).encode(), orders)
    ]

    assert [state, state] == [r.state for r in found]
    assert [1, 2] == [r.order_no for r in found]


def test_words_are_printable() -> None:
    """A hostile text cannot bring control characters, non-ASCII or more than 104 bytes into a record."""
    found = judge(400, {"error": "a\n\x1b[31mé" + "x" * 500})

    assert (b"a??[31m?" + b"x" * 500)[:104] == found.text
    assert "bad" == error_text(b'{"errorMsg":"bad"}')


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_never_raise_and_never_accept(seed: int) -> None:
    """Mutated answers end in a report; they are accepted only when our own order id still stands there."""
    rng = random.Random(seed)
    good = json.dumps(accepted(sent())).encode()
    for _ in range(scaled(300, 6000)):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        data = data[:rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data
        found = judge(rng.choice([200, 200, 400, 500]), bytes(data))
        if found.state in (LIVE, OrderState.MATCHED, OrderState.DELAYED):
            assert ("0x" + sent().order_hash.hex()).encode() in bytes(data).lower()
        cancel_answer(200, bytes(data), [sent()])
        batch_answer(200, bytes(data), [sent(), sent(2)])
        venue_condition(503, bytes(data), "1")
    assert wire.BATCH_ORDERS_MAX == 15


def test_an_amount_beyond_the_record_is_silent() -> None:
    """An accepted order stays accepted when its amounts are impossible; they are not told."""
    found = judge(200, accepted(sent(), makingAmount="9" * 18, takingAmount="9223372036854.77"))

    assert OrderState.LIVE == found.state
    assert (-1, 9_223_372_036_854_770_000) == (found.making_micro, found.taking_micro)


@pytest.mark.parametrize("depth", [100, 1_000, 1_020])
def test_a_nested_value_is_told_by_its_type(depth: int) -> None:
    """Where a text belongs, brackets as deep as the parser goes prove nothing and end nothing."""
    nest = b"[" * depth + b"]" * depth
    for body in (b'{"success":true,"errorMsg":"","orderID":%b}' % nest,
                 b'{"success":true,"errorMsg":"","orderID":"0x%b","status":%b}' % (b"01" * 32, nest)):
        assert (U, Cause.BAD_ANSWER) == (judge(200, body).state, judge(200, body).cause)
    body = b'{"canceled":[],"not_canceled":{"0x%b":%b}}' % (b"01" * 32, nest)
    found = CODECS[Kind.REPORT].unpack(cancel_answer(200, body, [sent()])[0])
    assert (OrderState.CANCEL_REFUSED, b"list") == (found.state, found.text)
