"""stages.samples and what it reads: which books are asked for when, and what an answer becomes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.codec import CODECS, unpack
from pipeline.kinds import Kind
from pipeline.net.edge import Ask, Outbox
from pipeline.stages.samples import TAG, Sampler, SampleSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.rest_books import books_question, parse_books
from tests.models.book_state import mix_of
from tests.models.core_rig import T0_NS, instrument

BOOK = {
    "market": "0x5f", "asset_id": "1000002", "timestamp": "1790766966313", "hash": "e3" * 20,
    "bids": [{"price": "0.01", "size": "92790"}, {"price": "0.49", "size": "634.49"}],
    "asks": [
        {"price": "0.99", "size": "92885"}, {"price": "0.5", "size": "45.2"}, {"price": "0.6", "size": "0"}],
    "min_order_size": "5", "tick_size": "0.01", "neg_risk": False, "last_trade_price": ""}


class Bench:
    """A sampler of ten rows and what it asks and owes."""

    def __init__(self, rows: int = 10, per_s: int = 3) -> None:
        self.outbox, self.owed, self.counts = Outbox(), list[Any](), Counts()
        self.sampler = Sampler(
            SampleSettings("http://x", per_s), self.outbox, self.counts,
            lambda record: self.owed.append(unpack(record)))
        self.now_ns = T0_NS
        for row in range(1, rows + 1):
            self.sampler.follow(self.now_ns, unpack(instrument(row), 0))

    def ask(self, seconds: float = 1.0) -> list[int] | None:
        """Let time pass; return the rows of the question, if one is asked."""
        self.now_ns += round(seconds * NS_PER_S)
        self.sampler.on_timer(self.now_ns)
        ask = self.outbox.take()
        if ask is None:
            return None
        assert isinstance(ask, Ask)
        assert (TAG, "POST", "http://x", "/books") == (ask.tag, ask.method, ask.base, ask.target)
        return [(int(item["token_id"]) - 1_000_000) // 2 for item in json.loads(ask.body)]

    def answer(self, *books: dict[str, Any], status: int = 200, **headers: str) -> None:
        self.sampler.on_answer(self.now_ns, status, headers, json.dumps(books).encode())

    def turn(self) -> list[int] | None:
        asked = self.ask()
        self.answer()
        return asked

    def count(self, name: str) -> int:
        return self.counts.counter(name).get()


def test_books_are_asked_for_in_turn_and_traded_ones_first() -> None:
    """Three a second in turn; rows with an order come at once, each again in 4 s, and leave one place."""
    bench = Bench()
    assert [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 1, 2]] == [bench.turn() for _ in range(4)]
    for row in (8, 9, 77):
        bench.sampler.follow(bench.now_ns, unpack(CODECS[Kind.REPORT].pack(instrument=row), 0))
    found = [bench.turn() for _ in range(6)]
    assert [[8, 9, 3], [4, 5, 6], [7, 8, 9], [10, 1, 2], [8, 9, 3], [4, 5, 6]] == found
    bench.sampler.follow(bench.now_ns, unpack(CODECS[Kind.RESOLVED].pack(instrument=7), 0))
    assert [8, 9, 10] == bench.turn()
    bench.now_ns += 600 * NS_PER_S
    assert [1, 2, 3] == bench.turn(), "ten minutes behind the last order a row is as any other"


def test_one_question_a_second_whatever_comes() -> None:
    """None while one is on its way; behind failures 2, 4 ... 60 s, or what the venue asks for."""
    bench = Bench()
    assert bench.ask() is not None
    assert bench.ask(30) is None
    bench.answer()
    assert bench.ask(0) is not None
    bench.answer()
    assert bench.ask(0.9) is None
    waits = []
    for _ in range(8):
        seconds = 0
        while bench.ask() is None:
            seconds += 1
        waits.append(seconds + 1)
        bench.sampler.on_failure(bench.now_ns)
    assert [1, 2, 4, 8, 16, 32, 60, 60] == waits
    assert bench.ask(60) is not None
    bench.answer()
    assert bench.ask(1) is not None
    bench.answer(status=429, **{"retry-after": "17"})
    assert bench.ask(16) is None
    assert bench.ask(1) is not None
    assert 9 == bench.count("samples_failed")
    assert Bench(rows=0).ask() is None


def test_an_answer_becomes_samples() -> None:
    """Time, hash, best prices, and the mix of all levels that count; what was not asked for is nothing."""
    bench = Bench()
    assert [1, 2, 3] == bench.ask()
    bench.answer(BOOK, {**BOOK, "asset_id": "1000099"}, {**BOOK, "asset_id": "1000004", "timestamp": 5}, {})
    (found,) = bench.owed
    sides = [{100: 92_790 * 10**6, 4_900: 634_490_000}, {9_900: 92_885 * 10**6, 5_000: 45_200_000}]
    assert (Kind.SAMPLE, 1, bench.now_ns) == (found.kind, found.instrument, found.recv_ns)
    assert (1_790_766_966_313 * 10**6, b"\xe3" * 20) == (found.venue_ns, found.hash)
    assert (4_900, 5_000, 4, mix_of(sides)) == (
        found.bid_ticks, found.ask_ticks, found.level_count, found.levels_mix)
    assert (3, 1, 2, 2) == tuple(
        bench.count(name) for name in ("samples_asked", "samples", "samples_unreadable", "samples_missing"))


@pytest.mark.parametrize("body", [
    b"", b"{}", b"null", b"[", b"<html>", b"[" * 10_000, b'[{"asset_id":"7","asset_id":"7"}]', b"[1,2]",
    json.dumps([{**BOOK, "asset_id": "7", "bids": [{"price": "1.0", "size": "1"}]}]).encode(),
    json.dumps([{**BOOK, "asset_id": "7", "hash": "E3" * 20}]).encode(),
    json.dumps([{**BOOK, "asset_id": "7", "asks": None}]).encode(),
])  # fmt: skip
def test_what_is_no_book_is_counted(body: bytes) -> None:
    """Wrong JSON, types, prices and hashes are refused, each object alone; nothing is defaulted."""
    samples, refused = parse_books(body, {"7": 1})
    assert [] == samples
    assert refused >= 1


def test_the_question_is_the_venues() -> None:
    """A list of token_id, as in the venue sheet's section 4."""
    assert [{"token_id": "7"}, {"token_id": "8"}] == json.loads(books_question(["7", "8"]))
