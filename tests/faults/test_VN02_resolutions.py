"""VN02: the resolution event does not come, flags lag by weeks, prices run ahead, a market ends as a void."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Kind, Rule
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.net.edge import Ask
from pipeline.records import SLOT_BYTES
from pipeline.stages.refdata import RefdataMachine, RefdataSettings
from pipeline.stages.stage import Counts
from pipeline.units import MICRO, NS_PER_S
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.resolution import OPEN, PENDING, clob_verdict, gamma_verdict
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

MARKETS = figure("VN02", "markets")
T0_NS = 1_790_000_000 * NS_PER_S
DAY_NS = 86_400 * NS_PER_S
GAMMA, CLOB = "https://gamma", "https://clob"
TURN_NS = 600 * NS_PER_S


@dataclass
class Truth:
    """One market: when trading ends, when each source says so, what it pays, and how its price runs ahead."""

    condition: str
    tokens: list[str]
    number: int
    is_swapped: bool  # the order book lists NO first
    payout: tuple[int, int]
    closed_ns: int  # both sources call it closed, and Gamma's open list drops it
    winner_ns: int  # the order book names the winner, or Gamma calls the void resolved
    bait: str  # outcomePrices before that

    def gamma(self, now_ns: int) -> dict[str, Any]:
        is_over = now_ns >= self.winner_ns
        prices = [str(paid / MICRO) for paid in self.payout] if is_over else json.loads(self.bait)
        return {
            "id": str(self.number), "version": "v1", "slug": f"m{self.number}", "question": "Will it?",
            "conditionId": self.condition, "outcomes": '["Yes", "No"]',
            "clobTokenIds": json.dumps(self.tokens), "active": True, "closed": now_ns >= self.closed_ns,
            "acceptingOrders": now_ns < self.closed_ns, "enableOrderBook": True, "negRisk": False,
            "orderPriceMinTickSize": 0.01, "orderMinSize": 5, "feesEnabled": False,
            "outcomePrices": json.dumps(prices),
            "umaResolutionStatus": "resolved" if is_over else "proposed" if now_ns >= self.closed_ns else ""}

    def compact(self, now_ns: int) -> dict[str, Any]:
        listed = [{"t": token, "o": name} for token, name in zip(self.tokens, ("Yes", "No"), strict=True)]
        is_open = now_ns < self.closed_ns
        return {"t": listed, "c": self.condition, "mos": 5, "mts": 0.01, "ao": is_open, "v": "v1"}

    def clob(self, now_ns: int) -> dict[str, Any]:
        is_won = now_ns >= self.winner_ns and MICRO in self.payout
        rows = [{"token_id": token, "outcome": name, "price": 1 if paid == MICRO else 0,
                 "winner": is_won and paid == MICRO}
                for token, name, paid in zip(self.tokens, ("Yes", "No"), self.payout, strict=True)]
        return {"condition_id": self.condition, "closed": now_ns >= self.closed_ns,
                "tokens": rows[::-1] if self.is_swapped else rows}


def draw(rng: random.Random, number: int) -> Truth:
    """Return a market that ends within a day; its winner is named up to 60 days later."""
    closed_ns = T0_NS + rng.randint(3_600, 86_400) * NS_PER_S
    lag_ns = rng.choice((0, rng.randint(0, 7_200), rng.randint(0, 60 * 86_400))) * NS_PER_S
    payout = rng.choice(((MICRO, 0), (0, MICRO), (MICRO // 2, MICRO // 2)))
    bait = rng.choice(('["1", "0"]', '["0", "1"]', '["0.9995", "0.0005"]', '["0.5", "0.5"]'))
    return Truth(f"0x{rng.getrandbits(256):064x}", [str(rng.getrandbits(255) | 1 << 254) for _ in range(2)],
                 number, rng.random() < 0.5, payout, closed_ns, closed_ns + lag_ns, bait)


class Desk:
    """A refdata machine between two sources that mostly answer at once; its records come back as a stream."""

    def __init__(self, truths: list[Truth], rng: random.Random, failing: float) -> None:
        ring = bytearray(Ring.bytes_for(8_192))
        Ring.format(ring, 8_192)
        self._reader = Reader(ring)
        self.machine = RefdataMachine(
            RefdataSettings(gamma_url=GAMMA, clob_url=CLOB, source=4, refresh_ns=DAY_NS // 4), Writer(ring),
            Counts())
        self.truths = {truth.condition: truth for truth in truths}
        self.rng, self.failing, self.now_ns = rng, failing, T0_NS
        self.rows: dict[int, Any] = {}
        self.resolved: dict[str, tuple[int, tuple[int, int]]] = {}  # condition -> (when, payout)
        self.asks = 0

    def turn(self) -> None:
        """One turn of the driver: ask, answer, and hand back what the stream got."""
        self.now_ns += TURN_NS
        self.machine.on_timer(self.now_ns)
        while (ask := self.machine.outbox.take()) is not None:
            assert isinstance(ask, Ask)
            self.asks += 1
            if self.rng.random() < self.failing:
                self.machine.on_answer(self.now_ns, ask.tag, 503, {}, b"busy")
            else:
                body = json.dumps(self._answer(ask)).encode()
                self.machine.on_answer(self.now_ns, ask.tag, 200, {}, body)
        data = self._reader.read(8_192)
        for at in range(0, len(data), SLOT_BYTES):
            slot = unpack(data, at)
            if slot.kind == Kind.INSTRUMENT:
                self.rows[slot.instrument] = slot
            else:
                assert Kind.RESOLVED == slot.kind
                condition = f"0x{self.rows[slot.instrument].condition.hex()}"
                assert condition not in self.resolved, "told twice"
                self.resolved[condition] = self.now_ns, (slot.payout_micro_yes, slot.payout_micro_no)
                self.machine.on_record(self.now_ns, slot)

    def _answer(self, ask: Ask) -> Any:
        now_ns = self.now_ns
        if ask.target.startswith("/clob-markets/"):
            return self.truths[ask.target.rpartition("/")[2]].compact(now_ns)
        if ask.base == CLOB:
            return self.truths[ask.target.rpartition("/")[2]].clob(now_ns)
        if ask.target.startswith("/events"):
            return {"events": []}
        condition = ask.target.partition("condition_ids=")[2]
        listed = [self.truths[condition]] if condition else [
            truth for truth in self.truths.values() if now_ns < truth.closed_ns]
        first = int(ask.target.partition("&after_cursor=")[2] or 0)
        more = {"next_cursor": str(first + 100)} if first + 100 < len(listed) else {}
        return {"markets": [truth.gamma(now_ns) for truth in listed[first:first + 100]], **more}


@pytest.mark.parametrize("seed", [2, fresh_seed()])
def test_VN02_each_market_settles_as_it_ended(seed: int, gate_record: Callable[..., None]) -> None:
    """No event ever comes, prices lie, winners are named up to 60 days late: each is paid right, and once.

    Never before the evidence; behind it within as long as the market was pending, at most an hour and a turn.
    """
    rng = random.Random(seed)
    truths = [draw(rng, number) for number in range(MARKETS // 2)]
    desk = Desk(truths, rng, failing=0.02)
    while len(desk.resolved) < len(truths) and desk.now_ns < T0_NS + 63 * DAY_NS:
        desk.turn()
    late_ns = 0
    for truth in truths:
        told_ns, payout = desk.resolved.get(truth.condition, (0, (-1, -1)))
        assert truth.payout == payout, f"seed {seed}: {truth}"
        assert told_ns >= truth.winner_ns, f"seed {seed}: paid without evidence: {truth}"
        late_ns = max(late_ns, told_ns - max(truth.winner_ns, truth.closed_ns + DAY_NS // 4 + TURN_NS))
    assert late_ns <= 3 * 3_600 * NS_PER_S, f"seed {seed}: {late_ns / NS_PER_S} s"  # two answers were lost
    assert all(row.rules & Rule.CLOSED and not row.rules & Rule.TRADABLE for row in desk.rows.values())
    assert desk.asks < len(truths) * 40 * 62  # an hour apart at most, and no faster at the end
    gate_record("VN02", "markets", len(truths), seed)


def answers(**changes: Any) -> tuple[bytes, dict[str, Any]]:
    """Return a market's condition, and what both sources say of it once YES won."""
    truth = Truth("0x" + "ab" * 32, ["7" * 70, "8" * 70], 1, False, (MICRO, 0), 0, 0, "[]")
    return bytes.fromhex("ab" * 32), {"clob": truth.clob(1) | changes, "gamma": truth.gamma(1) | changes}


TOKENS = (int("7" * 70).to_bytes(32, "big"), int("8" * 70).to_bytes(32, "big"))


def clob(**changes: Any) -> Any:
    """Return what the order book's answer with these changes proves."""
    condition, found = answers(**changes)
    return clob_verdict(json.dumps(found["clob"]).encode(), condition, TOKENS)


def gamma(**changes: Any) -> Any:
    """Return what Gamma's answer with these changes proves."""
    condition, found = answers(**changes)
    return gamma_verdict(json.dumps({"markets": [found["gamma"]]}).encode(), condition, TOKENS)


def winners(yes: Any, no: Any) -> list[dict[str, Any]]:
    return [{"token_id": "7" * 70, "winner": yes, "price": 1},
            {"token_id": "8" * 70, "winner": no, "price": 0}]


def test_VN02_a_winner_counts_on_a_closed_market_only() -> None:
    """Closed and one winner among the market's own tokens; a price of 1 proves nothing."""
    assert (MICRO, 0) == clob()
    assert (0, MICRO) == clob(tokens=winners(False, True))
    assert (0, MICRO) == clob(tokens=winners(False, True)[::-1])
    assert OPEN == clob(closed=False)
    assert PENDING == clob(tokens=winners(False, False))
    for wrong in (
        {"tokens": winners(True, True)}, {"tokens": winners(1, 0)}, {"tokens": winners("true", "false")},
        {"tokens": []}, {"tokens": winners(True, False)[:1]}, {"closed": "true"}, {"closed": None},
        {"condition_id": "0x" + "cd" * 32}, {"condition_id": None},
        {"tokens": [{**row, "token_id": "9" * 70} for row in winners(True, False)]},
    ):
        assert isinstance(clob(**wrong), MarketRefusal), wrong
    for data in (b"", b"[]", b"null", b"{"):
        assert isinstance(clob_verdict(data, bytes(32), TOKENS), MarketRefusal)


def test_VN02_a_void_is_closed_resolved_and_halves() -> None:
    """All three, from one row with the market's tokens; each of them alone, or a win, is no void."""
    halves = {"outcomePrices": '["0.5", "0.5"]'}
    assert (MICRO // 2, MICRO // 2) == gamma(**halves)
    assert (MICRO // 2, MICRO // 2) == gamma(**halves, umaResolutionStatus="", resolutionStatus="settled")
    for pending in (
        {}, halves | {"closed": False}, halves | {"closed": None},
        halves | {"umaResolutionStatus": "proposed"}, halves | {"umaResolutionStatus": "disputed"},
        halves | {"umaResolutionStatus": ""},
        {"outcomePrices": '["0.51", "0.49"]'}, {"outcomePrices": '["1", "0"]'},
        halves | {"conditionId": "0x" + "cd" * 32},
    ):
        assert PENDING == gamma(**pending), pending
    for wrong in (
        {"outcomePrices": '["0.5"]'}, {"outcomePrices": '["half", "half"]'}, halves | {"closed": "true"},
        halves | {"clobTokenIds": json.dumps(["7" * 70, "9" * 70])},
    ):
        assert isinstance(gamma(**wrong), MarketRefusal), wrong
    assert isinstance(gamma_verdict(b"{", bytes(32), TOKENS), MarketRefusal)
