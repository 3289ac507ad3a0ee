"""Kalshi recordings as order flow: the same books, mirrored into the YES view, on our wire."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pipeline.errors import IntegrityError
from pipeline.sim import foreign
from pipeline.sim.book import Taking
from pipeline.sim.flow import Delta, FlowEvent, FlowMarket, LevelBook
from pipeline.sim.track import LazyBook, Track
from tests.models.market_frames import Follower
from tests.shared import SHARED, needs_shared, recording, scaled
from tests.sim_trader import market

GOLD = SHARED / "feeds" / "kalshi" / "kx_gold15m_20260805_3windows.jsonl.zst"


@needs_shared
def test_books_equal_a_plain_replay() -> None:
    """At every 500th event the YES-view book equals a dict replay of the raw Kalshi messages."""
    truth: dict[str, dict[tuple[str, str], float]] = {}
    states: dict[str, list[dict[tuple[bool, int], int]]] = {}
    counts: dict[str, int] = {}
    for line in recording(GOLD):
        item = json.loads(line["raw"])
        message, kind = item["msg"], item["type"]
        name = message["market_ticker"]
        if kind == "trade":
            continue
        book = truth.setdefault(name, {})
        if kind == "orderbook_snapshot":
            is_first = name not in counts
            book.clear()
            for side in ("yes", "no"):
                book.update({(side, p): float(s) for p, s in message.get(f"{side}_dollars_fp", [])})
            if is_first:
                counts[name] = 0
                continue
        else:
            key = (message["side"], message["price_dollars"])
            book[key] = round(book.get(key, 0.0) + float(message["delta_fp"]), 2)
        counts[name] += 1
        if counts[name] % 500 == 0:
            states.setdefault(name, []).append(
                {
                    (
                        side == "yes",
                        round(float(p) * 10_000) if side == "yes" else 10_000 - round(float(p) * 10_000),
                    ): round(size * 1_000_000)
                    for (side, p), size in book.items()
                    if size
                }
            )
    flows = foreign.load([GOLD])
    assert 3 == len(flows)
    compared = 0
    for flow, name in zip(flows, states, strict=True):
        levels = LevelBook(flow.opening)
        for number, event in enumerate(flow.events, 1):
            for delta in event.deltas:
                levels.apply(delta)
            if number % 500 == 0:
                assert states[name][number // 500 - 1] == levels.sizes
                compared += 1
        assert {} == levels.sizes  # the settlement snapshot empties the book
        assert 0 == levels.clipped_micro
    assert compared > 190


@needs_shared
def test_rendered_track_verifies_and_keeps_sizes() -> None:
    """Frames of a rendered window prove their hashes; prints and refreshed books are among them."""
    flow = foreign.load([GOLD])[0]
    track = Track(flow)
    frames_max = scaled(commit=4_000, gate=40_000)
    made = track.render(1 << 62, frames_max, random.Random(5))
    assert frames_max <= made <= frames_max + 200
    follower = Follower({flow.market.condition: False})
    opening = track.book()
    from pipeline.sim.render import snapshot_array, snapshot_object

    follower.on_text(snapshot_array(snapshot_object(opening, outcome) for outcome in (0, 1)).decode())
    data, at = bytes(track.buffer), 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        follower.on_text(data[start : start + size].decode())
        at = start + size
    follower.check_all()
    assert [] == follower.wrong
    assert follower.proven > made // 2
    assert follower.kinds["last_trade_price"] > 10
    assert sum(follower.kinds.values()) == made + 2
    assert b"best_bid_ask" not in track.without_bbo(0, track.count)
    assert track.tally(0, track.count, True)["best_bid_ask"] == follower.kinds["best_bid_ask"]


@needs_shared
def test_same_ticker_in_two_files_is_two_markets() -> None:
    """The dense copy of a window gets its own condition and tokens; ids are the same every time."""
    dense = GOLD.with_name("kx_gold15m_26AUG101815_denseseq.jsonl.zst")
    once = foreign.load([dense, dense], seconds_max=5)
    again = foreign.load([dense, dense], seconds_max=5)
    assert 4 == len({token for flow in once for token in flow.market.tokens})
    assert [flow.market.condition for flow in again] == [flow.market.condition for flow in once]


def flow_of(events: list[FlowEvent]) -> FlowMarket:
    opening = (Delta(True, 4_000, 100_000_000), Delta(False, 4_200, 50_000_000))
    return FlowMarket(market(), opening, 1_000, iter(events))


def test_track_goes_live_with_the_displayed_book() -> None:
    """The first order moves a track's market into the engine, at the position that was played."""
    events = [FlowEvent(n * 1_000_000, (Delta(True, 3_900 - 100 * n, 10_000_000),)) for n in range(1, 5)]
    track = Track(flow_of(events))
    track.render(1 << 62, 1_000, random.Random(1))
    track.position = 2
    shown: list[tuple[str, int]] = []
    rest: list[FlowEvent] = []
    book = LazyBook(track, lambda t: rest.extend(t.go_live()), lambda c, ns: shown.append((c, ns)))
    assert [(4_000, 100_000_000), (3_800, 10_000_000), (3_700, 10_000_000)] == book.levels(True)
    assert [(track.market.condition, 1_002_000_000)] == shown
    assert not book.shows_changes
    plan = book.plan(Taking(True, 4_200, 0, size_micro=60_000_000))
    assert [(4_200, 50_000_000)] == [(fill.price_ticks, fill.size_micro) for fill in plan.fills]
    assert book.shows_changes
    assert events[2:] == rest
    assert () == book.take_changes()


def test_bad_message_names_file_and_line(tmp_path: Path) -> None:
    """A Kalshi line without its fields is refused with its place."""
    import orjson
    import zstandard

    raw = '{"type":"orderbook_delta","msg":{"market_ticker":"A"}}'
    snapshot = '{"type":"orderbook_snapshot","msg":{"market_ticker":"A"}}'
    lines = [orjson.dumps({"t_ns": 1, "venue": "kalshi", "channel": "c", "raw": r}) for r in (snapshot, raw)]
    path = tmp_path / "k.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor().compress(b"\n".join(lines)))
    with pytest.raises(IntegrityError, match="line 2"):
        foreign.load([path])
