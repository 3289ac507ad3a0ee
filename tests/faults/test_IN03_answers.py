"""IN03: broken user frames and REST answers: only counted rejects, and no value that the bytes do not say."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.kinds import OrderState
from pipeline.net.http1 import Answer, AnswerParser, BadAnswer
from pipeline.venues.polymarket import account, answers
from pipeline.venues.polymarket.clob_market import merge_clob_market
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.universe import (
    MarketInfo,
    instrument_record,
    parse_events,
    parse_markets,
)
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.models import answer_model
from tests.models.frame_model import Mutator
from tests.shared import fresh_seed
from tests.tools.faultrows import figure
from tests.unit.test_clob_market import CLOB, gamma
from tests.unit.test_universe import event, market
from tests.unit.test_user_decode import FEES, MAKER, ORDER, OWNER, TOKENS, TRADE, WALLET

USER_FRAMES = figure("IN03", "user_frames")
ANSWERS = figure("IN03", "rest_answers")
SEEDS = (0, fresh_seed())
OUR_MAKER = MAKER | {"owner": OWNER, "maker_address": WALLET}
MADE = TRADE | {"trader_side": "MAKER", "owner": "x", "trade_owner": "x", "maker_address": "0x70",
                "maker_orders": [MAKER, OUR_MAKER, {k: v for k, v in OUR_MAKER.items() if k != "side"}]}
USER_SEEDS = [ORDER, ORDER | {"type": "UPDATE", "size_matched": "40.5"}, TRADE, MADE, [ORDER, TRADE]]
SENT = [answers.Sent(n, n, bytes([n]) * 32, n % 2, n, 2) for n in (1, 2, 3)]
TAKEN: dict[str, Any] = {
    "success": True, "errorMsg": "", "orderID": "0x" + "01" * 32, "status": "matched",
    "makingAmount": "12.5", "takingAmount": "25", "transactionsHashes": [], "tradeIDs": ["a"]}
NUMBERS = [b"0", b"1e400", b"-1", b"9" * 18, b"9" * 5_000, b"0.1", b"true", b"null", b"[" * 2_000,
           b'"9999-12-31T00:00:00Z"', b'"0001-01-01T00:00:00Z"', b'"' + b"9" * 18 + b'"',
           *(b"[" * depth + b"]" * depth for depth in (17, 300, 800))]
STATUSES = (200, 200, 200, 200, 201, 400, 401, 404, 408, 425, 429, 500, 503, 520, 0)


def encoded(*seeds: Any) -> list[bytes]:
    return [json.dumps(seed, separators=(",", ":")).encode() for seed in seeds]


def keys_of(frames: list[bytes]) -> list[bytes]:
    """Return every key in the frames, so that a mutator puts keys where they mean something."""
    found: dict[bytes, None] = {}
    for frame in frames:
        json.loads(frame, object_pairs_hook=lambda pairs: found.update((k.encode(), None) for k, _ in pairs))
    return [*found, b"", b"\\u0069d"]


class Broken(Mutator):
    """The frames' mutator, with numbers that are too much for a record among its ways."""

    def __init__(self, seed: int, frames: list[bytes]) -> None:
        super().__init__(seed, frames, ["11", "12", "21", "99"], keys_of(frames))
        self._ways = (*self._ways, self._number, self._number)

    def _number(self, frame: bytes) -> bytes:
        """Put a number where some value stands."""
        at = self._around(frame, b'":') + 2
        end = min(place for place in (frame.find(b",", at), frame.find(b"}", at), len(frame)) if place >= 0)
        return frame[:at] + self._random.choice(NUMBERS) + frame[end:] if at > 1 else frame


@pytest.mark.parametrize("seed", SEEDS)
def test_IN03_user_frames(seed: int, gate_record: Callable[..., None]) -> None:
    """Of each mutated order or trade: a reject without records, or only what the bytes say, each key once."""
    decoder = UserDecoder(owner=OWNER, maker_addresses=[WALLET], token_lookup=TOKENS,
                          fee_of=FEES.__getitem__, account=2, source=5)
    mutator, taken = Broken(seed, encoded(*USER_SEEDS)), 0
    for number in range(USER_FRAMES // 2):
        frame, seq = mutator.next(), decoder.source_seq
        said = decoder.decode(frame, 88)
        assert seq + len(said.records) == decoder.source_seq, f"seed {seed}, frame {number}: {frame!r}"
        answer_model.check_user_frame(frame, said)
        taken += bool(said.records)
    assert USER_FRAMES // 40 < taken < USER_FRAMES // 2 - USER_FRAMES // 40, f"seed {seed}"
    assert decoder.reject_count > USER_FRAMES // 40, f"seed {seed}"
    gate_record("IN03", "user_frames", USER_FRAMES // 2, seed)


def order(rng: random.Random, data: bytes) -> bool:
    """Judge it as the answer to one order; tell whether it proves something."""
    status = rng.choice(STATUSES)
    (slot,) = answers.order_answer(status, data, SENT[0], 88)
    answer_model.check_order_answer(status, data, SENT[0].order_hash, slot)
    answers.venue_condition(status, data, rng.choice(("", "3", "x")))
    answers.heartbeat_answer(status, data)
    return bool(answer_model.unpack(slot).state != OrderState.UNKNOWN)


def batch(rng: random.Random, data: bytes) -> bool:
    status = rng.choice(STATUSES)
    slots = answers.batch_answer(status, data, SENT, 88)
    items = answer_model.parsed(data)
    is_each = 200 <= status < 300 and isinstance(items, list)
    for at, (sent, slot) in enumerate(zip(SENT, slots, strict=True)):
        item = items[at] if is_each and len(items) == len(SENT) else items
        answer_model.check_order_answer(status, json.dumps(item).encode(), sent.order_hash, slot)
    return is_each


def cancel(rng: random.Random, data: bytes) -> bool:
    status = rng.choice(STATUSES)
    slots = answers.cancel_answer(status, data, SENT, 88)
    for sent, slot in zip(SENT, slots, strict=True):
        answer_model.check_cancel_answer(status, data, sent.order_hash, slot)
    return any(answer_model.unpack(slot).state == OrderState.CANCELED for slot in slots)


def rows(rng: random.Random, data: bytes) -> bool:
    """Read it as a page of orders or trades, and each row of the page."""
    walk = account.open_orders_walk() if rng.random() < 0.5 else account.trades_walk(5)
    walk.on_answer(200, data)
    decoder = UserDecoder(owner=OWNER, maker_addresses=[WALLET], token_lookup=TOKENS,
                          fee_of=FEES.__getitem__, account=2, source=5)
    for row in walk.take():
        decode = decoder.decode_trade_row if "taker_order_id" in row else decoder.decode_order_row
        said = decode(row, 9)
        answer_model.check_user_frame(json.dumps(row).encode(), said)
    account.parse_order(rng.choice((200, 404)), data)
    return walk.refusal is None


def balance(rng: random.Random, data: bytes) -> bool:
    spenders = rng.choice(((), ("0xe1", "0xE2")))
    found = account.balance_record(200, data, 2, spenders)
    if isinstance(found, Refusal):
        return False
    answer_model.check_balance(data, found, spenders)
    return True


def markets(rng: random.Random, data: bytes) -> bool:
    """Read it as pages of Gamma; what is taken fits the record of an instrument."""
    key = rng.choice(("markets", "events"))
    page = (parse_markets if key == "markets" else parse_events)(data)
    slots = [instrument_record(info, 1, 1, 0) for info in page.markets]
    answer_model.check_markets(data, key, page.markets, slots)
    return bool(page.markets)


BOOK_SAYS = gamma()


def clob(rng: random.Random, data: bytes) -> bool:
    found = merge_clob_market(BOOK_SAYS, data, 150_000_000)
    if isinstance(found, MarketRefusal):
        return False
    assert isinstance(found, MarketInfo)
    instrument_record(found, 1, 1, 0)
    item = answer_model.parsed(data)
    assert answer_model.Fraction(str(item["mts"])) * 10_000 == found.tick_step
    assert {one["t"] for one in item["t"]} == {
        str(int.from_bytes(token, "big")) for token in (found.token_yes, found.token_no)}
    return True


def http(rng: random.Random, data: bytes) -> bool:
    """Feed it as the bytes of answers, in two pieces; the parser stops, with an answer or without."""
    parser, cut = AnswerParser(), rng.randrange(len(data) + 1)
    try:
        found = [parser.feed(data[:cut]), parser.feed(data[cut:])]
    except BadAnswer:
        return False
    return any(isinstance(one, Answer) for one in found)


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n%b"
KINDS: dict[str, tuple[Callable[[random.Random, bytes], bool], list[bytes]]] = {
    "order": (order, encoded(
        TAKEN, TAKEN | {"status": "live", "makingAmount": ""}, {"error": "not enough balance / allowance"},
        {"heartbeat_id": "ab-12"}, {"error": "x", "code": "y", "retry_after_seconds": 3})),
    "batch": (batch, encoded([TAKEN | {"orderID": "0x" + sent.order_hash.hex()} for sent in SENT],
                             [TAKEN, {"errorMsg": "no", "orderID": ""}, TAKEN], {"error": "too many"})),
    "cancel": (cancel, encoded({"canceled": ["0x" + sent.order_hash.hex() for sent in SENT],
                                "not_canceled": {}},
                               {"canceled": ["0x" + "01" * 32],
                                "not_canceled": {"0x" + "02" * 32: "matched"}})),
    "rows": (rows, encoded({"data": [ORDER, ORDER], "next_cursor": "LTE="},
                           {"data": [TRADE, MADE], "next_cursor": "MTAw"}, ORDER)),
    "balance": (balance, encoded({"balance": "1250000", "allowances": {"0xe1": "99", "0xE2": "1000000"}})),
    "markets": (markets, encoded(market(), {"markets": [market()], "next_cursor": "x"}, event(2),
                                 {"events": [event(2)]})),
    "clob": (clob, encoded(CLOB)),
    "http": (http, [LENGTH % (2, b"{}"), b"HTTP/1.1 100 Continue\r\n\r\n" + LENGTH % (4, b"null"),
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1f\r\n" + b"x" * 31
                    + b"\r\n0\r\n\r\n"]),
}


@pytest.mark.parametrize("seed", SEEDS)
def test_IN03_rest_answers(seed: int, gate_record: Callable[..., None]) -> None:
    """Each mutated answer is refused or says what its bytes say; nothing is final unsaid."""
    rng, taken, tried = random.Random(seed), Counter[str](), Counter[str]()
    mutators = {
        name: Mutator(seed + at, seeds, ["1"], [b"1", b"-6"]) if name == "http" else Broken(seed + at, seeds)
        for at, (name, (_, seeds)) in enumerate(KINDS.items())}
    for number in range(ANSWERS // 2):
        name = rng.choice(tuple(KINDS))
        data = mutators[name].next()
        try:
            taken[name] += KINDS[name][0](rng, data)
        except BaseException as error:
            error.add_note(f"seed {seed}, answer {number} of {name}: {data[:500]!r}")
            raise
        tried[name] += 1
    for name in KINDS:  # neither does everything pass nor nothing
        assert tried[name] // 50 < taken[name] < tried[name], f"seed {seed}: {name} {taken} {tried}"
    gate_record("IN03", "rest_answers", ANSWERS // 2, seed)
