"""Judges HTTP answers to orders and cancels and writes what they prove as REPORT records.

Place in the stream: the gateway hands each answer (or its absence) to a function here and pushes the
returned slots into the report ring; `source` and `source_seq` are the gateway's to stamp. A report
changes the state of one order, never a position.

The rule: definitive only where the venue's words or status prove it. Everything else is UNKNOWN, which
is fully exposed until venue evidence, and nothing here ever asks for a resend. Source: venue sheet 11
and 15.2, docs /resources/error-codes, read 2026-11-20.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderState, Origin, Side
from pipeline.units import decimal_to_int
from pipeline.venues.polymarket import wire

_REPORT = CODECS[Kind.REPORT]
_TEXT_BYTES = 104
_ACCEPTED: Final = {"live": OrderState.LIVE, "matched": OrderState.MATCHED, "delayed": OrderState.DELAYED}
_SILENT: Final = -1
_AMOUNT_MAX: Final = 2**63 - 1  # what a record holds
_HEARTBEAT_ID: Final = re.compile(r"[0-9a-zA-Z-]{1,64}")  # as `encode` sends it back
#: Statuses that refuse a request before it is looked at, whatever the body says.
_REFUSING: Final = {401: Cause.VENUE_REJECT, 403: Cause.VENUE_REJECT, 404: Cause.VENUE_REJECT,
                    425: Cause.VENUE_ERROR, 429: Cause.RATE_LIMIT}


class Sent(NamedTuple):
    """What the gateway knows about an order that it sent; a batch is a list of these in body order."""

    order_no: int
    group_no: int
    order_hash: bytes
    side: int
    instrument: int = 0
    account: int = 0


class Verdict(NamedTuple):
    """What an answer proves about one order. Amounts in 1e-6 units, -1 = the answer is silent."""

    state: OrderState
    cause: Cause
    text: str = ""
    making_micro: int = _SILENT
    taking_micro: int = _SILENT


class VenueState(enum.IntEnum):
    """What an answer says about the venue as a whole; the gateway throttles or asks for a halt."""

    NORMAL = 0
    RATE_LIMITED = 1  # 429: nothing before retry_after
    RESTARTING = 2  # 425: engine restart, about 90 s
    POST_ONLY = 3  # 503 after a restart: post-only orders and cancels
    CANCEL_ONLY = 4
    DISABLED = 5  # 503 trading is disabled
    UNAUTHORIZED = 6  # 401
    BLOCKED = 7  # 403: edge or geographic refusal; a halt, never routed around
    CLOSED_ONLY = 8  # the account may only reduce
    FAILING = 9  # 5xx without a known reason
    MISVERSIONED = 10  # it takes orders of another version or contract than ours


def report(
    sent: Sent, verdict: Verdict, http_status: int, recv_ns: int, origin: Origin = Origin.HTTP
) -> bytes:
    """Return the REPORT slot of one order; origin HTTP = the venue itself said so."""
    taking_is_shares = sent.side == Side.BUY
    return _REPORT.pack(
        recv_ns=recv_ns, instrument=sent.instrument, order_no=sent.order_no, group_no=sent.group_no,
        order_hash=sent.order_hash, making_micro=verdict.making_micro, taking_micro=verdict.taking_micro,
        matched_micro=verdict.taking_micro if taking_is_shares else verdict.making_micro,
        state=int(verdict.state), origin=int(origin), cause=int(verdict.cause),
        http_status=http_status if 0 <= http_status < 1000 else 0, account=sent.account,
        text=plain(verdict.text))


def plain(text: str) -> bytes:
    """Return text for people: printable ASCII, cut to the record."""
    return "".join(c if " " <= c <= "~" else "?" for c in text[:_TEXT_BYTES]).encode("ascii")


def _parse(body: bytes) -> Any:
    """Return the JSON value, or None when it is none (HTML, cut, empty)."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def error_text(body: bytes) -> str:
    """Return the error words of an answer: `error`, `errorMsg` or `error_msg`; "" when it names none."""
    return _error_of(_parse(body))


def _error_of(parsed: Any) -> str:
    if isinstance(parsed, dict):
        for name in ("error", "errorMsg", "error_msg"):
            text = parsed.get(name)
            if isinstance(text, str) and text:
                return text
    return ""


def _shown(value: object) -> str:
    """Return a text as it is, of another value its type alone: what is nested deeply has no repr."""
    return value if isinstance(value, str) else type(value).__name__


def _has(text: str, words: tuple[str, ...]) -> bool:
    return any(word in text for word in words)


def _judge_text(text: str) -> Verdict | None:
    """Return what the words alone prove, wherever they stand; None when they prove nothing special."""
    lower = text.lower()
    if _has(lower, wire.TEXTS_EXISTS):
        return Verdict(OrderState.UNKNOWN, Cause.VENUE_REJECT, text)  # exists: look it up by hash
    if _has(lower, wire.TEXTS_NO_MATCH):
        return Verdict(OrderState.CANCELED, Cause.NO_MATCH, text, 0, 0)
    if _has(lower, wire.TEXTS_DELAYED):
        return Verdict(OrderState.DELAYED, Cause.NONE, text)
    if _has(lower, wire.TEXTS_AMBIGUOUS):
        return Verdict(OrderState.UNKNOWN, Cause.VENUE_ERROR, text)
    if _has(lower, wire.TEXTS_RATE_LIMIT):
        return Verdict(OrderState.REJECTED, Cause.RATE_LIMIT, text)
    return None


def _amount(value: object) -> int:
    """Return a decimal string in 1e-6 units; -1 when it is absent, empty, no plain decimal or too large."""
    if not isinstance(value, str) or not value:
        return _SILENT
    try:
        amount = decimal_to_int(value, 6)
    except ValueError:
        return _SILENT
    return amount if amount <= _AMOUNT_MAX else _SILENT


def _judge_item(item: Any, sent: Sent) -> Verdict:
    """Judge one order's object of a 2xx answer. Accept only what is wholly an acceptance."""
    if not isinstance(item, dict):
        return Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, "the answer is not an object")
    order_id, text = item.get("orderID"), _error_of(item)
    if text:
        known = _judge_text(text)
        if known is not None:
            return known
        if not order_id:
            return Verdict(OrderState.REJECTED, Cause.VENUE_REJECT, text)
        return Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, f"an id and an error: {text}")
    if item.get("success") is not True or item.get("errorMsg") != "":
        return Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, "neither an acceptance nor a reason")
    if not isinstance(order_id, str) or order_id.lower() != "0x" + sent.order_hash.hex():
        return Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, f"another order id: {_shown(order_id)[:70]}")
    status = item.get("status")
    state = _ACCEPTED.get(status) if isinstance(status, str) else None
    if state is None:
        return Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, f"status {_shown(status)[:60]!r} is not known")
    making, taking = _amount(item.get("makingAmount")), _amount(item.get("takingAmount"))
    return Verdict(state, Cause.NONE, "", making, taking)


def _judge_status(http_status: int, body: bytes, is_whole: bool) -> Verdict:
    """Judge an answer whose status is not 2xx.

    is_whole: several orders were sent, and the batch is evaluated in order, so an error about one of
    them does not prove that those before it were not placed.
    """
    text = error_text(body)
    shown = text or f"http {http_status}"
    if http_status in _REFUSING:
        return Verdict(OrderState.REJECTED, _REFUSING[http_status], shown)
    if http_status == 503 and venue_condition(503, body).state in _REFUSING_STATES:
        return Verdict(OrderState.REJECTED, Cause.VENUE_ERROR, shown)
    if http_status >= 500:
        return Verdict(OrderState.UNKNOWN, Cause.VENUE_ERROR, shown)
    if http_status < 400 or http_status == 408 or not text:
        return Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, shown)
    if is_whole and not _has(text.lower(), wire.TEXTS_WHOLE_REQUEST):
        return Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, shown)
    return _judge_text(text) or Verdict(OrderState.REJECTED, Cause.VENUE_REJECT, shown)


def order_answer(http_status: int, body: bytes, sent: Sent, recv_ns: int = 0) -> list[bytes]:
    """Return the one REPORT of an answer to `POST /order`."""
    if 200 <= http_status < 300:
        parsed = _parse(body)
        verdict = (Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, "the answer is not JSON") if parsed is None
                   else _judge_item(parsed, sent))
    else:
        verdict = _judge_status(http_status, body, is_whole=False)
    return [report(sent, verdict, http_status, recv_ns)]


def batch_answer(http_status: int, body: bytes, batch: Sequence[Sent], recv_ns: int = 0
                 ) -> list[bytes]:
    """Return one REPORT per order of a `POST /orders`, in body order; each leg is judged alone.

    An array of another length proves nothing about any leg: all UNKNOWN. An error for the whole request
    rejects its legs only when the words or the status say that no order was looked at.
    """
    if 200 <= http_status < 300:
        parsed = _parse(body)
        if isinstance(parsed, list) and len(parsed) == len(batch):
            return [report(sent, _judge_item(item, sent), http_status, recv_ns)
                    for item, sent in zip(parsed, batch, strict=True)]
        text = _error_of(parsed)
        if text and (_has(text.lower(), wire.TEXTS_WHOLE_REQUEST + wire.TEXTS_RATE_LIMIT)):
            verdict = _judge_text(text) or Verdict(OrderState.REJECTED, Cause.VENUE_REJECT, text)
        else:
            found = f"an array of {len(parsed)}" if isinstance(parsed, list) else "no array"
            verdict = Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER,
                              text or f"an array of {len(batch)} was expected, was {found}")
    else:
        verdict = _judge_status(http_status, body, is_whole=len(batch) > 1)
    return [report(sent, verdict, http_status, recv_ns) for sent in batch]


def cancel_answer(http_status: int, body: bytes, cancels: Sequence[Sent], recv_ns: int = 0
                  ) -> list[bytes]:
    """Return one REPORT per cancel of `DELETE /order` or `/orders`.

    CANCELED when the venue lists it so, CANCEL_REFUSED with the venue's words or a refusing status,
    UNKNOWN (still exposed) when the answer proves nothing.
    """
    if not 200 <= http_status < 300:
        verdict = _judge_status(http_status, body, is_whole=False)
        if verdict.state != OrderState.UNKNOWN:
            verdict = Verdict(OrderState.CANCEL_REFUSED, verdict.cause, verdict.text)
        return [report(sent, verdict, http_status, recv_ns) for sent in cancels]
    canceled, refused = _cancel_lists(_parse(body))
    reports = []
    for sent in cancels:
        name = "0x" + sent.order_hash.hex()
        if name in refused and name not in canceled:
            verdict = Verdict(OrderState.CANCEL_REFUSED, Cause.VENUE_REJECT, refused[name])
        elif name in canceled and name not in refused:
            verdict = Verdict(OrderState.CANCELED, Cause.NONE)
        else:
            verdict = Verdict(OrderState.UNKNOWN, Cause.BAD_ANSWER, "not listed exactly once")
        reports.append(report(sent, verdict, http_status, recv_ns))
    return reports


def _cancel_lists(parsed: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return (canceled, not canceled -> reason) with lower-case ids; empty where the answer is ill-typed."""
    if not isinstance(parsed, dict):
        return {}, {}
    canceled, refused = parsed.get("canceled"), parsed.get("not_canceled")
    listed = ({item.lower(): "" for item in canceled if isinstance(item, str)}
              if isinstance(canceled, list) else {})
    reasons = ({name.lower(): _shown(reason) for name, reason in refused.items()}
               if isinstance(refused, dict) else {})
    return listed, reasons


def no_answer(batch: Sequence[Sent], cause: Cause, recv_ns: int = 0) -> list[bytes]:
    """Return UNKNOWN for each order that may have left unanswered (TIMEOUT, CONNECTION_LOST)."""
    verdict = Verdict(OrderState.UNKNOWN, cause)
    return [report(sent, verdict, 0, recv_ns, Origin.GATEWAY) for sent in batch]


def not_sent(batch: Sequence[Sent], cause: Cause, recv_ns: int = 0, text: str = "") -> list[bytes]:
    """Return UNSENT for each order of which provably no byte left (NO_CONNECTION, DEADLINE, HALT_LEVEL).

    The gateway knows that and the venue cannot: core refuses the claim from any venue origin.
    """
    verdict = Verdict(OrderState.UNSENT, cause, text)
    return [report(sent, verdict, 0, recv_ns, Origin.GATEWAY) for sent in batch]


class VenueCondition(NamedTuple):
    """State of the venue by one answer; retry_after_ms 0 = it named no time."""

    state: VenueState
    retry_after_ms: int
    text: str


_CONDITION_TEXTS: Final = (
    (wire.TEXTS_POST_ONLY, VenueState.POST_ONLY), (wire.TEXTS_CANCEL_ONLY, VenueState.CANCEL_ONLY),
    (wire.TEXTS_DISABLED, VenueState.DISABLED), (wire.TEXTS_CLOSED_ONLY, VenueState.CLOSED_ONLY),
    (wire.TEXTS_VERSION, VenueState.MISVERSIONED),
)
_VERSION_BYTES: Final = tuple(text.encode() for text in wire.TEXTS_VERSION)
_CONDITION_STATUS: Final = {401: VenueState.UNAUTHORIZED, 403: VenueState.BLOCKED,
                            425: VenueState.RESTARTING, 429: VenueState.RATE_LIMITED}
#: A 503 that names one of these was refused before the order was looked at.
_REFUSING_STATES: Final = (VenueState.POST_ONLY, VenueState.CANCEL_ONLY, VenueState.DISABLED)
_SECONDS: Final = re.compile(r"[0-9]{1,5}")


def venue_condition(http_status: int, body: bytes, retry_after: str = "") -> VenueCondition:
    """Return what an answer says about the venue; retry_after: that header's text, seconds.

    A body that is no JSON is judged by its status alone. `retry_after_seconds` of the body counts too;
    the longer of the two wins. Of a 2xx only one thing is read: that our version of orders is refused.
    """
    if 200 <= http_status < 300:
        said = body.lower()
        text = next((text for text, found in zip(wire.TEXTS_VERSION, _VERSION_BYTES, strict=True)
                     if found in said), "")
        return VenueCondition(VenueState.MISVERSIONED if text else VenueState.NORMAL, 0, text)
    parsed = _parse(body)
    text = _error_of(parsed)
    code = parsed.get("code") if isinstance(parsed, dict) else None
    words = f"{text} {code if isinstance(code, str) else ''}".lower()
    state = _CONDITION_STATUS.get(http_status, VenueState.NORMAL)
    if state == VenueState.NORMAL:
        state = next((found for names, found in _CONDITION_TEXTS if _has(words, names)),
                     VenueState.FAILING if http_status >= 500 else VenueState.NORMAL)
    named = parsed.get("retry_after_seconds") if isinstance(parsed, dict) else None
    in_body = named if isinstance(named, int) and not isinstance(named, bool) and 0 <= named < 86_400 else 0
    in_header = int(retry_after) if _SECONDS.fullmatch(retry_after) else 0
    return VenueCondition(state, 1000 * max(in_body, in_header), text)


def heartbeat_answer(http_status: int, body: bytes) -> str | None:
    """Return the next heartbeat id; also from a 400 that corrects ours. None when the answer names none."""
    parsed = _parse(body)
    found = parsed.get("heartbeat_id") if isinstance(parsed, dict) else None
    is_told = isinstance(found, str) and _HEARTBEAT_ID.fullmatch(found) is not None
    return found if is_told and (200 <= http_status < 300 or http_status == 400) else None
