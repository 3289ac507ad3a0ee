"""What answers to cancels, silence, venue states and heartbeats prove."""

from __future__ import annotations

import json

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderState, Origin, Side
from pipeline.venues.polymarket.answers import (
    Sent,
    VenueState,
    cancel_answer,
    heartbeat_answer,
    no_answer,
    not_sent,
    venue_condition,
)

U, C = OrderState.UNKNOWN, OrderState.CANCELED


def sent(number: int = 1) -> Sent:
    return Sent(order_no=number, group_no=0, order_hash=bytes([number]) * 32, side=Side.BUY)


def test_cancels_are_judged_by_name() -> None:
    """canceled, refused with words, in neither list, in both."""
    orders = [sent(number) for number in (1, 2, 3, 4)]
    names = ["0x" + order.order_hash.hex() for order in orders]
    body = {"canceled": [names[0].upper().replace("0X", "0x"), names[3]],
            "not_canceled": {names[1]: "already canceled or matched", names[3]: "both"}}
    found = [
        CODECS[Kind.REPORT].unpack(slot) for slot in cancel_answer(200, json.dumps(body).encode(), orders, 5)
    ]

    assert [C, OrderState.CANCEL_REFUSED, U, U] == [r.state for r in found]
    assert b"already canceled or matched" == found[1].text


@pytest.mark.parametrize(
    ("status", "body", "state", "cause"),
    [
        (429, b"", OrderState.CANCEL_REFUSED, Cause.RATE_LIMIT),
        (401, b"", OrderState.CANCEL_REFUSED, Cause.VENUE_REJECT),
        (400, b'{"error":"Invalid order payload"}', OrderState.CANCEL_REFUSED, Cause.VENUE_REJECT),
        (503, b'{"error":"trading is disabled"}', OrderState.CANCEL_REFUSED, Cause.VENUE_ERROR),
        (500, b"", U, Cause.VENUE_ERROR),
        (502, b"<html>", U, Cause.VENUE_ERROR),
        (200, b"<html>", U, Cause.BAD_ANSWER),
        (200, b"{}", U, Cause.BAD_ANSWER),
        (200, b'{"canceled":null,"not_canceled":[]}', U, Cause.BAD_ANSWER),
    ],
)
def test_cancels_that_prove_nothing_stay_exposed(
    status: int, body: bytes, state: OrderState, cause: Cause
) -> None:
    """A cancel that the venue did not confirm never frees the order (OR13)."""
    found = CODECS[Kind.REPORT].unpack(cancel_answer(status, body, [sent()])[0])

    assert (state, cause) == (found.state, found.cause)


def test_silence() -> None:
    """Unanswered is UNKNOWN, provably unsent is UNSENT, each with its cause."""
    lost = [CODECS[Kind.REPORT].unpack(slot) for slot in no_answer([sent(1), sent(2)], Cause.TIMEOUT)]
    kept = [
        CODECS[Kind.REPORT].unpack(slot) for slot in not_sent([sent(3)], Cause.NO_CONNECTION, 9, "refused")
    ]

    assert [(U, Cause.TIMEOUT, 1), (U, Cause.TIMEOUT, 2)] == [(r.state, r.cause, r.order_no) for r in lost]
    assert [(OrderState.UNSENT, Cause.NO_CONNECTION, b"refused")] == [
        (r.state, r.cause, r.text) for r in kept
    ]
    assert {Origin.GATEWAY} == {r.origin for r in [*lost, *kept]}


@pytest.mark.parametrize(
    ("status", "body", "header", "state", "retry_ms"),
    [
        (200, b"{}", "", VenueState.NORMAL, 0),
        (400, b'{"error":"invalid signature"}', "", VenueState.NORMAL, 0),
        (429, b"<html>", "3", VenueState.RATE_LIMITED, 3000),
        (429, b"", "soon", VenueState.RATE_LIMITED, 0),
        (425, b"", "", VenueState.RESTARTING, 0),
        (401, b"", "", VenueState.UNAUTHORIZED, 0),
        (403, b"<html>", "", VenueState.BLOCKED, 0),
        (
            503,
            b'{"error":"x","code":"post_only_mode","retry_after_seconds":79}',
            "3",
            VenueState.POST_ONLY,
            79_000,
        ),
        (503, b'{"error":"trading is in cancel-only mode"}', "", VenueState.CANCEL_ONLY, 0),
        (503, b'{"error":"trading is disabled"}', "", VenueState.DISABLED, 0),
        (503, b"", "", VenueState.FAILING, 0),
        (400, b'{"error":"address 0xab in closed only mode"}', "", VenueState.CLOSED_ONLY, 0),
        (400, b'{"error":"address 0xab banned"}', "", VenueState.CLOSED_ONLY, 0),
        (502, b"", "-1", VenueState.FAILING, 0),
        (429, b'{"retry_after_seconds":true}', "٣", VenueState.RATE_LIMITED, 0),
    ],
)
def test_venue_conditions(status: int, body: bytes, header: str, state: VenueState, retry_ms: int) -> None:
    """The venue's own state is read from status first, words second; the longer retry time wins."""
    found = venue_condition(status, body, header)

    assert (state, retry_ms) == (found.state, found.retry_after_ms)


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b'{"heartbeat_id":"a-1"}', "a-1"),
        (400, b'{"error_msg":"Invalid Heartbeat ID","heartbeat_id":"b"}', "b"),
        (200, b'{"heartbeat_id":""}', None),
        (200, b"<html>", None),
        (500, b'{"heartbeat_id":"a"}', None),
        (200, b'{"status":"ok"}', None),
        (200, b'{"heartbeat_id":7}', None),
        (200, b'{"heartbeat_id":"a b"}', None),  # `encode` would refuse to send it back
    ],
)
def test_heartbeats(status: int, body: bytes, found: str | None) -> None:
    """The next id is adopted also from the 400 that corrects ours; never guessed."""
    assert found == heartbeat_answer(status, body)
