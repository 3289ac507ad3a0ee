"""The shadow of a recording: each displayed share fills once, resting orders only when passed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import InvariantError
from pipeline.sim import replay
from pipeline.sim.book import Fill, Taking
from pipeline.sim.shadow import ShadowBook
from tests.shared import SHARED, needs_shared
from tests.sim_orders import order
from tests.sim_trader import Trader, market

RECORDINGS = [
    "pm_20260911_batch_ask_cancel",
    "pm_20260911_batch_bid_cancel",
    "pm_20260911_batch_crossed_fill",
    "pm_20260929_crossing_burst",
    "pm_btc5m_20260612_session",
]
SHARE = 1_000_000


def change(price: str, size: str, side: str, stamp: int = 5) -> dict[str, Any]:
    of = market()
    entry = {"asset_id": of.tokens[0], "price": price, "size": size, "side": side}
    return {
        "event_type": "price_change",
        "market": of.condition,
        "timestamp": str(stamp),
        "price_changes": [entry],
    }


def trade(price: str, size: str, side: str) -> dict[str, Any]:
    of = market()
    return {
        "event_type": "last_trade_price",
        "market": of.condition,
        "asset_id": of.tokens[0],
        "price": price,
        "size": size,
        "side": side,
        "timestamp": "9",
    }


def shadow() -> ShadowBook:
    book = ShadowBook(market())
    of = book.market
    book.apply(
        {
            "event_type": "book",
            "market": of.condition,
            "asset_id": of.tokens[0],
            "timestamp": "4",
            "bids": [{"price": "0.4", "size": "100"}],
            "asks": [{"price": "0.5", "size": "60"}, {"price": "0.45", "size": "40"}],
        }
    )
    return book


@needs_shared
@pytest.mark.parametrize("name", RECORDINGS)
def test_follows_recordings_and_their_hashes(name: str) -> None:
    """After the whole file both tokens' books reproduce the last announced hash."""
    loaded = replay.load(SHARED / "feeds" / "polymarket" / f"{name}.jsonl.zst")
    (book,) = loaded.books.values()
    last: dict[str, str] = {}
    for items in loaded.items:
        for item in items:
            book.apply(item)
            for entry in [item, *item.get("price_changes", [])]:
                if entry.get("hash"):
                    last[entry["asset_id"]] = entry["hash"]
    for outcome, token in enumerate(book.market.tokens):
        assert last[token] == book.text.hash(outcome)
    assert f"recorded-{book.market.condition[2:14]}" == book.market.slug
    assert {"pm_btc5m_20260612_session": 100}.get(name, 10) == book.market.tick_step


@needs_shared
def test_texts_are_the_recorded_bytes() -> None:
    """What is played is the recorded text, frame for frame."""
    from tests.shared import recording

    for name in RECORDINGS:
        loaded = replay.load(SHARED / "feeds" / "polymarket" / f"{name}.jsonl.zst")
        assert [line["raw"].encode() for line in recording(f"polymarket/{name}.jsonl.zst")] == loaded.texts


@needs_shared
def test_side_file_describes_the_market(tmp_path: Any) -> None:
    """FILE.meta.json wins over what frames tell: token order, fee, minimum, negRisk."""
    source = SHARED / "feeds" / "polymarket" / f"{RECORDINGS[-1]}.jsonl.zst"
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes())
    plain = replay.load(path).markets[0]
    assert (50_000, "5", False) == (plain.fee_rate_ppm, plain.min_order_size, plain.neg_risk)
    meta = [
        {
            "conditionId": plain.condition,
            "clobTokenIds": json.dumps([plain.tokens[1], plain.tokens[0]]),
            "outcomes": '["Up", "Down"]',
            "orderPriceMinTickSize": 0.001,
            "orderMinSize": 15,
            "negRisk": True,
            "feeSchedule": {"rate": 0.07, "exponent": 1},
            "slug": "btc",
            "question": "Up?",
        }
    ]
    path.with_name(path.name + ".meta.json").write_text(json.dumps(meta))
    described = replay.load(path).markets[0]
    assert (plain.tokens[1], plain.tokens[0]) == described.tokens
    assert (70_000, "15", True, 10, ("Up", "Down")) == (
        described.fee_rate_ppm,
        described.min_order_size,
        described.neg_risk,
        described.tick_step,
        described.outcomes,
    )


def test_displayed_shares_fill_once_until_the_level_grows() -> None:
    """Taken shares do not come back when the same size is shown again; growth brings exactly its own."""
    book = shadow()
    taking = Taking(True, 4_500, 0, size_micro=100 * SHARE)
    plan = book.plan(taking)
    assert ((Fill(4_500, 40 * SHARE),), False) == (plan.fills, plan.is_complete)
    book.take(True, plan.fills)
    assert () == book.plan(taking).fills
    book.apply(change("0.45", "40", "SELL"))
    assert () == book.plan(taking).fills
    book.apply(change("0.45", "55", "SELL"))
    assert (Fill(4_500, 15 * SHARE),) == book.plan(taking).fills
    book.apply(change("0.45", "10", "SELL"))
    assert () == book.plan(taking).fills
    book.apply(change("0.45", "0", "SELL"))
    book.apply(change("0.45", "7", "SELL"))
    assert (Fill(4_500, 7 * SHARE),) == book.plan(taking).fills
    assert [(4_500, 7 * SHARE), (5_000, 60 * SHARE)] == book.levels(False)
    with pytest.raises(InvariantError):
        book.take(True, [Fill(4_500, 8 * SHARE)])


def test_resting_orders_fill_only_when_passed() -> None:
    """A print or a quote at our price does nothing; one strictly through it fills us up to its size."""
    book = shadow()
    ours = order(Trader().account(), book.market, True, 4_200, 30 * SHARE)
    book.rest(ours)
    assert [] == book.apply(trade("0.42", "50", "SELL"))
    assert [(False, (Fill(4_200, 20 * SHARE, ours),))] == book.apply(trade("0.41", "20", "SELL"))
    ours.matched_micro += 20 * SHARE
    assert [] == book.apply(change("0.42", "5", "SELL"))
    assert [(False, (Fill(4_200, 4 * SHARE, ours),))] == book.apply(change("0.4", "0", "BUY")) + book.apply(
        change("0.41", "4", "SELL")
    )
    ours.matched_micro += 4 * SHARE
    assert [(False, (Fill(4_200, 6 * SHARE, ours),))] == book.apply(trade("0.4", "100", "SELL"))
    with pytest.raises(InvariantError):
        book.cancel(ours)


def test_stale_changes_are_dropped() -> None:
    """A change older than the last snapshot changes nothing; an equal one is applied."""
    book = shadow()
    book.apply(change("0.45", "1", "SELL", stamp=3))
    assert (4_500, 40 * SHARE) == book.levels(False)[0]
    book.apply(change("0.45", "1", "SELL", stamp=4))
    assert (4_500, SHARE) == book.levels(False)[0]
