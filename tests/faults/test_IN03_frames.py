"""IN03: a million broken frames into feed, sequencer, book and trade: counted rejects that move no book."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.kinds import Cause
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.faults.test_MD03_books import markets
from tests.models.chain import Chain
from tests.models.frame_model import Mutator
from tests.models.text_venue import text_of
from tests.models.venue_model import Market, runs_of
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

FRAMES = figure("IN03", "frames")
HEAL_EVERY = 100  # frames; between them the venue tells the truth and the books stand again
BROKEN = {
    "html": b"<html><body>502</body></html>", "bom": b"\xef\xbb\xbf{}", "nul": b"\x00", "half": b'{"a',
    "bad utf-8": b'{"event_type":"\xff\xfe"}', "lone surrogate": b'{"event_type":"book","market":"\\ud800"}',
    "trailing": b'{"event_type":"x"} 1', "nan": b'{"event_type":NaN}', "wrong type": b"[1]", "number": b"17",
    "deep": b"[" * 100_000,
}


def frames_of(market: Market) -> list[bytes]:
    """Return good frames of each kind, true or not any more."""
    runs = [*market.commit(), *market.commit(), market.snapshot(0), market.snapshot(1),
            *market.change_tick(10)]
    return [text_of(part, market) for run in runs for part in runs_of(run)]


def opened(rng: random.Random) -> Chain:
    chain = Chain(markets(rng, 2), blocks=(3, 3, 0), backoff_ns_min=10**6, backoff_ns_max=10**6)
    chain.opening_ns = 0
    assert chain.run(20_000, until=chain.is_settled)
    return chain


@pytest.mark.parametrize("seed", [0, fresh_seed()])
def test_IN03_a_reject_moves_no_book(seed: int, gate_record: Callable[..., None]) -> None:
    """Whatever a mutated frame is, no stage fails; one that is refused leaves the bytes of books alone."""
    rng = random.Random(seed)
    chain = opened(rng)
    rows = list(chain.venue.markets.values())
    rejects = rejected = stood = 0
    for number in range(FRAMES // 2):
        if number % 2_000 == 0:
            seen = [frame for market in rows for frame in frames_of(market)]
            mutator = Mutator(rng.randrange(1 << 30), seen, [t for m in rows for t in m.ids["tokens"]])
        if number % HEAL_EVERY == 0:
            chain.run(1_200, 200)
            stood += any(chain.is_believed(market.row) for market in rows)
        if 0 not in chain.venue.lines:
            chain.run(100, 3, until=lambda: 0 in chain.venue.lines)
        frame = mutator.next()
        before = chain.ladders
        chain.feed(frame)
        if (now_rejected := chain.counters().get("frames_rejected", 0)) > rejected:
            rejects, rejected = rejects + 1, now_rejected
            assert before == chain.ladders, f"seed {seed}, frame {number}: {frame!r}"
    assert rejects > FRAMES // 20, f"seed {seed}"
    assert stood > FRAMES // 2 // HEAL_EVERY // 2, f"seed {seed}: {stood}"
    gate_record("IN03", "frames", FRAMES // 2, seed)


@pytest.mark.parametrize("name", BROKEN)
def test_IN03_a_frame_that_names_no_book_ends_its_socket(name: str) -> None:
    """Garbage is one counted reject and one Gap; the next socket brings the books back."""
    chain = opened(random.Random(1))
    before = chain.ladders
    chain.feed(BROKEN[name])
    assert before == chain.ladders
    assert 1 == chain.counters()["frames_rejected"]
    assert not any(map(chain.is_believed, chain.venue.markets))
    causes = {gap.cause for gap in chain.passed if hasattr(gap, "lost_count")}
    assert {Cause.DECODE, Cause.DISCONNECT} >= causes
    assert chain.run(30_000, until=chain.is_settled)
    assert 1 == chain.counters()["disconnects"]


OWNER, WALLET = "00000000-0000-0000-0000-000000000001", "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
ORDER: dict[str, Any] = {
    "event_type": "order", "type": "PLACEMENT", "id": "0x" + "1a" * 32, "owner": OWNER, "order_owner": OWNER,
    "market": "0x5f", "asset_id": "11", "side": "BUY", "outcome": "Yes", "original_size": "100",
    "size_matched": "0", "price": "0.5", "order_type": "GTC", "status": "LIVE", "maker_address": WALLET,
    "associate_trades": None, "created_at": "1790000000", "expiration": "0", "timestamp": "1790000000123"}
TRADE: dict[str, Any] = {
    "event_type": "trade", "type": "TRADE", "id": "12345678-9abc-def0-1234-56789abcdef0",
    "taker_order_id": "0x" + "1a" * 32, "market": "0x5f", "asset_id": "11", "side": "BUY", "outcome": "Yes",
    "size": "25", "price": "0.5", "fee_rate_bps": "0", "status": "MATCHED", "match_time": "1790000000",
    "last_update": "1790000001", "timestamp": "1790000000123", "owner": OWNER, "trade_owner": OWNER,
    "maker_address": WALLET, "transaction_hash": "", "bucket_index": 0, "trader_side": "TAKER",
    "maker_orders": []}


@pytest.mark.parametrize("frame", [ORDER, TRADE], ids=["order", "trade"])
def test_IN03_a_repeated_key_of_an_order_or_trade_is_refused(frame: dict[str, Any]) -> None:
    """Each key twice, with equal or other value, before and behind: two readers must not see two frames."""
    decoder = UserDecoder(owner=OWNER, maker_addresses=[WALLET], token_lookup={"11": (3, 0)},
                          fee_of={3: (70_000, 1)}.__getitem__, account=2, source=5)
    whole = json.dumps(frame)
    assert decoder.decode(whole.encode(), 88).records
    for key, value in frame.items():
        for other in (value, "0", None):
            pair = f"{json.dumps(key)}: {json.dumps(other)}"
            for text in (f"{{{pair}, {whole[1:]}", f"{whole[:-1]}, {pair}}}"):
                said = decoder.decode(text.encode(), 88)
                assert (Cause.DECODE, []) == (said.reject, said.records), text
                assert "repeats a key" in said.text
