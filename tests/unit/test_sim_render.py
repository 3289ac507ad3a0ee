"""Rendered market frames: bytes as recorded, hashes as the venue computes them."""

from __future__ import annotations

import json
import random
from itertools import groupby
from typing import Any

import pytest

from pipeline.sim import bookhash, render
from pipeline.sim.market import Commit, LevelChange, Market
from pipeline.sim.market_channel import MarketChannel, render_commit
from pipeline.sim.render import BookText
from pipeline.sim.timers import Timers
from tests.models.market_frames import Follower, venue_hash
from tests.shared import needs_shared, recording
from tests.sim_trader import market

MS = 1_000_000


def levels_of(item: dict[str, Any], outcome: int) -> list[LevelChange]:
    """Return a recorded book's levels in the YES view."""
    out = []
    for name, is_bid in (("bids", True), ("asks", False)):
        for level in item[name]:
            ticks = round(float(level["price"]) * 10_000)
            out.append(
                LevelChange(
                    is_bid == (outcome == 0),
                    ticks if outcome == 0 else 10_000 - ticks,
                    round(float(level["size"]) * 1_000_000),
                )
            )
    return out


def recorded_book(name: str) -> tuple[BookText, list[str]]:
    """Return the book of a recording's first frame and the texts that follow."""
    texts = [line["raw"] for line in recording(f"polymarket/{name}.jsonl.zst")]
    first = json.loads(texts[0])[0]
    changes = next(json.loads(t)["price_changes"] for t in texts[1:] if "price_changes" in t)
    other = next(c["asset_id"] for c in changes if c["asset_id"] != first["asset_id"])
    of = market(
        condition=first["market"],
        tokens=(first["asset_id"], other),
        tick_step=round(float(first["tick_size"]) * 10_000),
        last_trade=first["last_trade_price"],
    )
    return BookText(of, levels_of(first, 0), int(first["timestamp"])), texts


@needs_shared
@pytest.mark.parametrize(
    "name,expected", [("pm_20260929_crossing_burst", 46), ("pm_btc5m_20260612_session", 40)]
)
def test_frames_equal_recorded_bytes(name: str, expected: int) -> None:
    """A recorded batch rendered from its level changes gives the recorded frames, byte for byte."""
    book, texts = recorded_book(name)
    frames = [json.loads(text) for text in texts[1:] if '"price_changes"' in text]
    raw = {
        id(frame): text
        for frame, text in zip(frames, (t for t in texts[1:] if '"price_changes"' in t), strict=True)
    }
    equal = 0
    hash_of = {}
    for frame in frames:
        hash_of[id(frame)] = sorted(change["hash"] for change in frame["price_changes"])
    for (stamp, _), batch in groupby(frames, key=lambda frame: (frame["timestamp"], hash_of[id(frame)])):
        group = list(batch)
        if int(stamp) < book.timestamp_ms:
            continue  # a stale change, older than the snapshot
        changes = []
        for frame in group:
            yes = next(c for c in frame["price_changes"] if c["asset_id"] == book.market.tokens[0])
            changes.append(
                LevelChange(
                    yes["side"] == "BUY",
                    round(float(yes["price"]) * 10_000),
                    round(float(yes["size"]) * 1_000_000),
                )
            )
        if name == "pm_20260929_crossing_burst" and stamp == "1790658827000":
            book.last_trade = "0.301"  # the fill's print (venue sheet 5)
        for change in changes:
            book.apply(change)
        book.timestamp_ms = int(stamp)
        hashes = (book.hash(0), book.hash(1))
        for frame, change in zip(group, changes, strict=True):
            no_first = frame["price_changes"][0]["asset_id"] == book.market.tokens[1]
            assert raw[id(frame)] == render.price_change_frame(book, change, hashes, no_first).decode()
            equal += 1
    assert expected <= equal
    if name == "pm_20260929_crossing_burst":
        assert texts[-1] == render.refresh_frame(book, 0, book.hash(0)).decode()


@needs_shared
def test_snapshot_array_equals_recorded_bytes() -> None:
    """The first frame of the June session, both tokens, newline included, is reproduced."""
    text = next(iter(recording("polymarket/pm_btc5m_20260612_session.jsonl.zst")))["raw"]
    items = json.loads(text)
    of = market(
        condition=items[0]["market"], tokens=(items[0]["asset_id"], items[1]["asset_id"]), last_trade="0.540"
    )
    parts = []
    for outcome, item in enumerate(items):
        book = BookText(of, levels_of(item, outcome), int(item["timestamp"]))
        parts.append(render.snapshot_object(book, outcome))
    assert text == render.snapshot_array(parts).decode()


@needs_shared
def test_best_bid_ask_equals_recorded_bytes() -> None:
    """Both best_bid_ask frames of the recorded fill are reproduced from the book after it."""
    texts = [line["raw"] for line in recording("polymarket/pm_20260911_batch_crossed_fill.jsonl.zst")]
    yes = json.loads(texts[5])
    first = json.loads(texts[1])
    of = market(
        condition=yes["market"], tokens=(yes["asset_id"], json.loads(texts[6])["asset_id"]), tick_step=10
    )
    book = BookText(of, levels_of(yes, 0), int(yes["timestamp"]))
    expected = (texts[1].encode(), texts[2].encode())
    assert expected == render.best_bid_ask_frames(book, int(first["timestamp"]))


class Collector:
    """Frames by socket."""

    def __init__(self) -> None:
        self.frames: dict[int, list[bytes]] = {}

    def send(self, socket: int, frame: bytes) -> None:
        self.frames.setdefault(socket, []).append(frame)


def channel_with(of: Market) -> tuple[MarketChannel, Collector, Timers]:
    out, timers = Collector(), Timers()
    channel = MarketChannel(out.send, timers, seed=3)
    channel.add_live(of)
    channel.open(0, 1)
    return channel, out, timers


def subscribe(channel: MarketChannel, socket: int, of: Market, **more: Any) -> None:
    message = {"assets_ids": list(of.tokens), "type": "market"} | more
    channel.on_text(0, socket, json.dumps(message).encode())


@pytest.mark.parametrize("seed", range(4))
def test_random_commits_verify(seed: int) -> None:
    """400 random commits (batches, trades, tick change): every finished batch proves both hashes."""
    draw = random.Random(seed)
    of = market(tick_step=100, neg_risk=bool(seed % 2))
    channel, out, timers = channel_with(of)
    subscribe(channel, 1, of, custom_feature_enabled=True)
    commits = 0
    for number in range(400):
        if number == 200:
            channel.change_tick(of, 10, number * 10 * MS)
        changes = []
        for _ in range(draw.choice((1, 1, 1, 2, 4))):
            is_bid = draw.random() < 0.5
            price = (draw.randint(1, 49) if is_bid else draw.randint(50, 99)) * 100 + (number > 200) * 10
            changes.append(LevelChange(is_bid, price, draw.choice((0, draw.randint(1, 10**7) * 10_000))))
        traded = draw.random() < 0.1
        channel.on_commit(
            Commit(
                of,
                (1_000 + number * 10) * MS,
                tuple(changes),
                traded,
                "0.510" if traded else None,
                4_900,
                20_000_000 * traded,
                True,
                0,
            )
        )
        commits += 1
    timers.run(10**12)
    follower = Follower({of.condition: of.neg_risk})
    for frame in out.frames[1]:
        follower.on_text(frame.decode())
    follower.check_all()
    assert [] == follower.wrong
    assert 2 * commits <= follower.proven
    assert len(follower.prints) > 10
    yes, no = (follower.books[token] for token in of.tokens)
    mirrored = {f"{(10_000 - round(float(p) * 10_000)) / 10_000:.4f}": s for p, s in yes.bids.items()}
    assert mirrored == {f"{float(p):.4f}": s for p, s in no.asks.items()}


def test_batch_frames_share_time_hash_and_best() -> None:
    """Every frame of one commit carries the same timestamp, final hash and final best prices."""
    of = market()
    book = BookText(
        of, [LevelChange(True, 4_000 + 100 * n, 10**7) for n in range(5)] + [LevelChange(False, 5_000, 10**7)]
    )
    commit = Commit(of, 5 * MS, tuple(LevelChange(True, 4_000 + 100 * n, 0) for n in (2, 3, 4)))
    frames = [json.loads(frame) for frame in render_commit(book, commit, random.Random(1)).changes]
    assert 3 == len(frames)
    by_token = {
        (c["asset_id"], frame["timestamp"], c["hash"], c["best_bid"], c["best_ask"])
        for frame in frames
        for c in frame["price_changes"]
    }
    assert 2 == len(by_token)
    assert {("0.41", "0.5"), ("0.5", "0.59")} == {entry[3:] for entry in by_token}


def test_wrong_subscriptions_get_nothing() -> None:
    """A wrong key, a wrong type, unknown assets and non-JSON are accepted in silence."""
    of = market()
    channel, out, _ = channel_with(of)
    for text in (
        b'{"asset_ids":["11"],"type":"market"}',
        b'{"assets_ids":["11"],"type":"book"}',
        b'{"assets_ids":["999"],"type":"market"}',
        b"nonsense",
        b"[]",
    ):
        channel.on_text(0, 1, text)
    channel.on_commit(Commit(of, MS, (LevelChange(True, 4_000, 10**7),)))
    assert {} == out.frames


def test_resubscribing_gives_no_second_snapshot() -> None:
    """An asset already subscribed only toggles the custom flag; unsubscribe and subscribe dumps again."""
    of = market()
    channel, out, _ = channel_with(of)
    subscribe(channel, 1, of)
    subscribe(channel, 1, of, custom_feature_enabled=True)
    assert 1 == len(out.frames[1])
    operation = {"operation": "unsubscribe", "assets_ids": list(of.tokens)}
    channel.on_text(0, 1, json.dumps(operation).encode())
    channel.on_commit(Commit(of, MS, (LevelChange(True, 4_000, 10**7),)))
    assert 1 == len(out.frames[1])
    channel.on_text(0, 1, json.dumps(operation | {"operation": "subscribe"}).encode())
    assert 2 == len(out.frames[1])
    assert 2 == len(json.loads(out.frames[1][1]))


def test_custom_frames_only_for_those_who_asked() -> None:
    """best_bid_ask and market_resolved reach custom subscribers alone; best prices come before the change."""
    of = market()
    channel, out, _ = channel_with(of)
    channel.open(0, 2)
    subscribe(channel, 1, of, custom_feature_enabled=True)
    subscribe(channel, 2, of)
    channel.on_commit(Commit(of, MS, (LevelChange(True, 4_000, 10**7),)))
    of.payout_micro = (0, 1_000_000)
    channel.on_resolved(2 * MS, of)
    kinds = {
        socket: [json.loads(f).get("event_type") for f in frames[1:]] for socket, frames in out.frames.items()
    }
    assert ["best_bid_ask", "best_bid_ask", "price_change", "market_resolved"] == kinds[1]
    assert ["price_change"] == kinds[2]
    assert of.tokens[1] == json.loads(out.frames[1][-1])["winning_asset_id"]


def test_book_hash_equals_the_sheet() -> None:
    """The plain hash and the incremental one equal the sheet's definition, V2 markets included."""
    of = market(neg_risk=True)
    book = BookText(
        of, [LevelChange(True, 4_900, 634_490_000), LevelChange(False, 5_000, 45_200_000)], 1_790_766_966_313
    )
    book.last_trade = "0.490"
    expected = venue_hash(
        of.condition,
        of.tokens[0],
        "1790766966313",
        {"0.49": "634.49"},
        {"0.5": "45.2"},
        "5",
        "0.01",
        True,
        "0.490",
    )
    assert expected == book.hash(0)
    plain = (
        of.condition,
        of.tokens[0],
        "1790766966313",
        [("0.49", "634.49")],
        [("0.5", "45.2")],
        "5",
        "0.01",
        True,
    )
    assert expected == bookhash.book_hash(*plain, "0.490")
    v2 = market(neg_risk=True, version="v2")
    second = BookText(v2, book.levels(), 1_790_766_966_313)
    second.last_trade = "0.490"
    assert bookhash.book_hash(*plain, "0.490", "v2") == second.hash(0)
