"""MD14: the outcomes of a market stand in any order and under any label; two sources must agree on them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Rule
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.net.edge import Ask
from pipeline.records import SLOT_BYTES
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.refdata import RefdataMachine, RefdataSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_S
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

MARKETS = figure("MD14", "markets")
T0_NS = 1_790_000_000 * NS_PER_S
GAMMA, CLOB = "https://gamma", "https://clob"
LABELS = (("Yes", "No"), ("No", "Yes"), ("YES", "no"), ("no", "YES"), ("Up", "Down"), ("Down", "Up"),
          ("Lakers", "Celtics"), ("Over", "Under"), ("Yes", "Yes"), ("No", "No"), ("Nein", "Yes"))


@dataclass
class Truth:
    """One market of the venue: which token stands for which label, and what each source says of it."""

    gamma: dict[str, Any]
    clob: dict[str, Any] | None
    label_of: dict[str, str]  # by token, as the order book means it
    agrees: bool


def draw(rng: random.Random, number: int) -> Truth:
    """Return a market; some sources lie, are late or say nothing."""
    tokens = [str(rng.getrandbits(255) | 1 << 254) for _ in range(2)]
    labels = rng.choice(LABELS)
    condition = f"0x{rng.getrandbits(256):064x}"
    gamma = {
        "id": str(number), "version": "v1", "slug": f"m{number}", "question": f"Question {number}?",
        "conditionId": condition, "outcomes": json.dumps(labels), "clobTokenIds": json.dumps(tokens),
        "active": True, "closed": False, "acceptingOrders": True, "enableOrderBook": True, "negRisk": False,
        "orderPriceMinTickSize": rng.choice((0.1, 0.01, 0.005, 0.0025, 0.001, 0.0001)), "orderMinSize": 5,
        "feesEnabled": False,
    }
    label_of = dict(zip(tokens, labels, strict=True))
    listed = [{"t": token, "o": label_of[token]} for token in rng.sample(tokens, 2)]  # any order is fine
    clob: dict[str, Any] | None = {
        "t": listed, "c": condition, "mos": 5, "mts": gamma["orderPriceMinTickSize"], "ao": True, "v": "v1"}
    lie = rng.random()
    if lie < 0.15:  # the labels are the other way round there
        for entry, label in zip(listed, [entry["o"] for entry in reversed(listed)], strict=True):
            entry["o"] = label
        label_of = {entry["t"]: entry["o"] for entry in listed}
    elif lie < 0.2:
        listed[0]["t"] = str(rng.getrandbits(255) | 1 << 254)
    elif lie < 0.25:
        clob = {**clob, "c": f"0x{rng.getrandbits(256):064x}"}
    elif lie < 0.3:
        clob = None  # not found yet
    elif lie < 0.35:
        listed[1]["o"] = "Something else"
    is_same = labels[0] != labels[1] and lie >= 0.35
    return Truth(gamma, clob, label_of, is_same)


class Desk:
    """A refdata machine between two sources that answer at once."""

    def __init__(self, truths: list[Truth], **settings: Any) -> None:
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "refdata")
        self.view = StatusView(page)
        ring = bytearray(Ring.bytes_for(8_192))
        Ring.format(ring, 8_192)
        self._reader = Reader(ring)
        self.machine = RefdataMachine(
            RefdataSettings(gamma_url=GAMMA, clob_url=CLOB, source=4, **settings), Writer(ring),
            Counts(StatusPage(page)))
        self.truths = truths
        self.now_ns = T0_NS
        self.rows: dict[int, Any] = {}  # newest INSTRUMENT by row
        self.was_tradable: dict[int, bool] = {}

    def run(self, seconds: float) -> None:
        """Answer whatever is asked for so long."""
        until_ns = self.now_ns + int(seconds * NS_PER_S)
        while self.now_ns < until_ns:
            self.now_ns += NS_PER_S // 100
            self.machine.on_timer(self.now_ns)
            while (ask := self.machine.outbox.take()) is not None:
                assert isinstance(ask, Ask)
                status, body = self._answer(ask)
                self.machine.on_answer(self.now_ns, ask.tag, status, {}, json.dumps(body).encode())
            data = self._reader.read(8_192)
            for at in range(0, len(data), SLOT_BYTES):
                slot = unpack(data, at)
                self.rows[slot.instrument] = slot
                self.was_tradable[slot.instrument] = bool(slot.rules & Rule.TRADABLE)

    def _answer(self, ask: Ask) -> tuple[int, Any]:
        if ask.base == CLOB:
            condition = ask.target.rpartition("/")[2]
            truth = next(truth for truth in self.truths if truth.gamma["conditionId"] == condition)
            return (200, truth.clob) if truth.clob else (404, {"error": "market not found"})
        if ask.target.startswith("/events"):
            return 200, {"events": []}
        first = int(ask.target.partition("&after_cursor=")[2] or 0)
        page = self.truths[first:first + 100]
        more = {"next_cursor": str(first + 100)} if first + 100 < len(self.truths) else {}
        return 200, {"markets": [truth.gamma for truth in page], **more}

    def by_condition(self) -> dict[str, Any]:
        return {"0x" + slot.condition.hex(): slot for slot in self.rows.values()}


@pytest.mark.parametrize("seed", [14, fresh_seed()])
def test_MD14_no_side_is_ever_wrong(seed: int, gate_record: Callable[..., None]) -> None:
    """500 shuffled or odd markets: tradable only where both sources agree, YES is what both call so."""
    rng = random.Random(seed)
    truths = [draw(rng, number) for number in range(MARKETS // 2)]
    desk = Desk(truths)
    desk.run(len(truths) / 100 + 3)
    rows, tradable = desk.by_condition(), 0
    for truth in truths:
        row = rows.get(truth.gamma["conditionId"])
        if row is None:
            assert not truth.agrees, f"seed {seed}: {truth}"
            continue
        is_tradable = bool(row.rules & Rule.TRADABLE)
        assert is_tradable <= truth.agrees, f"seed {seed}: {truth}"
        assert is_tradable or not truth.agrees, f"seed {seed}: agreed and not tradable: {truth}"
        if is_tradable:
            tradable += 1
            yes, no = (truth.label_of[str(int.from_bytes(token, "big"))].lower()
                       for token in (row.token_yes, row.token_no))
            assert {yes, no} != {"yes", "no"} or yes == "yes", f"seed {seed}: {truth}"
            assert row.tick_step == round(truth.gamma["orderPriceMinTickSize"] * 10_000)
    assert tradable > len(truths) // 3
    assert desk.view.counters()["markets_disputed"] > len(truths) // 20
    gate_record("MD14", "markets", len(truths), seed)


def test_MD14_a_market_is_not_traded_before_the_order_book_confirms_it() -> None:
    """A new market: watched at once, tradable only behind the second source's word, asked until it comes."""
    rng = random.Random(1)
    truth = next(one for one in (draw(rng, number) for number in range(99)) if one.agrees)
    clob, truth.clob = truth.clob, None
    desk = Desk([truth], retry_ns=NS_PER_S)
    desk.run(4)
    (row,) = desk.rows.values()
    assert not row.rules & Rule.TRADABLE
    truth.clob = clob
    desk.run(2)
    (row,) = desk.rows.values()
    assert row.rules & Rule.TRADABLE


def test_MD14_a_market_that_closes_is_closed_without_asking() -> None:
    """What Gamma takes back is taken back at once; what it changes waits for the order book."""
    rng = random.Random(1)
    truth = next(one for one in (draw(rng, number) for number in range(99)) if one.agrees)
    desk = Desk([truth], refresh_ns=NS_PER_S)
    desk.run(2)
    assert [True] == list(desk.was_tradable.values())
    truth.gamma["acceptingOrders"] = False
    desk.run(2)
    assert [False] == list(desk.was_tradable.values())


def test_MD14_filters_choose_what_is_watched() -> None:
    """A day's volume, slugs that are left out: no row for the rest, and an untold volume is none."""
    rng = random.Random(2)
    truths = [one for one in (draw(rng, number) for number in range(200)) if one.agrees][:4]
    for truth, volume in zip(truths, (5_000.25, 999.99, None, 80_000), strict=True):
        truth.gamma["volume24hr"] = volume
    desk = Desk(truths, volume_24h_micro_min=1_000_000_000, exclude_slugs=(truths[3].gamma["slug"],))
    desk.run(3)
    assert [truths[0].gamma["conditionId"]] == list(desk.by_condition())
    assert 3 == desk.view.counters()["markets_filtered"]
