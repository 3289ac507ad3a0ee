"""The native scanner against the orjson decoder on a million mutated frames (faults IN03, MD11)."""

import json
import random
import resource
from collections import Counter

import pytest

from pipeline.native.framescan import Result
from tests.models.frame_model import Mutator, Rig, spelled, tokens_of
from tests.shared import SHARED, recording, scaled, seeds

SEEDS = 20
FRAMES_PER_SEED = scaled(2_500, 50_000)  # 1,000,000 in all at gate, 1/20 of them at commit
RSS_KIB_MAX = 32 * 1_024
MARKET = "0x" + "5f" * 32


def seed_frames() -> list[bytes]:
    """Return good frames of every kind the scanner takes: made here, and recorded if they are there."""
    pick = random.Random(0)
    yes = {"market": MARKET, "asset_id": "7132104567925221", "timestamp": "1790766966313"}
    no = yes | {"asset_id": "52114319501245915516055106046884209969926127482827954674443846427813813222426"}
    hash_yes, hash_no = {"hash": "0a" * 20}, {"hash": "fe" * 20}
    bids = [{"price": "0.01", "size": "92790"}, {"price": "0.49", "size": "634.49"}]
    first = {"asset_id": yes["asset_id"], "price": "0.46", "size": "918.34", "side": "BUY", **hash_yes,
             "best_bid": "0.5", "best_ask": "0.51"}
    second = {"asset_id": no["asset_id"], "price": "0.54", "size": "918.34", "side": "SELL", **hash_no,
              "best_bid": "0.49", "best_ask": "0.5"}
    bare = {k: v for k, v in first.items() if not k.startswith("best")} | {"price": "0.999", "size": "0"}
    delta = {"market": MARKET, "timestamp": "1790766981628", "event_type": "price_change"}
    made: list[object] = [
        delta | {"price_changes": [first, second]}, {"price_changes": [bare]} | delta,
        yes | hash_yes | {"bids": bids, "asks": [{"price": "0.99", "size": "92885"}], "tick_size": "0.01",
                          "event_type": "book", "last_trade_price": "", "version": "v2"},
        no | {"bids": [], "asks": []} | hash_no | {"event_type": "book"},
        {"event_type": "best_bid_ask"} | yes | {"best_bid": "", "best_ask": "1", "spread": "0.04"},
        no | {"price": "0.51", "size": "20", "fee_rate_bps": "0", "side": "BUY",
              "event_type": "last_trade_price", "transaction_hash": "0xe3c2"},
        {"event_type": "tick_size_change"} | yes | {"old_tick_size": "0.01", "new_tick_size": "0.001"},
        {"event_type": "market_resolved", "id": "1031769", "market": MARKET,
         "assets_ids": [no["asset_id"], yes["asset_id"]], "winning_asset_id": no["asset_id"],
         "winning_outcome": "Yes", "event_message": {"id": "7", "list": [{"a": 1}, {}]},
         "timestamp": "1790766415550", "tags": ["stocks", "up"]},
        {"winning_asset_id": yes["asset_id"], "assets_ids": [yes["asset_id"]], "market": MARKET,
         "timestamp": "1790766415550", "event_type": "market_resolved", "tags": []},
    ]
    made += [made[2:4], made[-2:]]
    frames = [json.dumps(frame, separators=(",", ":")).encode() for frame in made]
    if SHARED.is_dir():
        for name in ("pm_20260929_crossing_burst", "pm_btc5m_20260612_session", "pm_20260212_books_trades"):
            raw = [line["raw"].encode() for line in recording(f"polymarket/{name}.jsonl.zst")]
            frames += pick.sample([f for f in raw if len(f) < 1_000 and f != b"PONG"], 5)
            frames += [f for f in raw if 1_000 <= len(f) < 2_000][:1]
    return frames + [spelled(frame, seed) for seed, frame in enumerate(frames)]


FRAMES = seed_frames()


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_scanner_says_only_what_the_decoder_says(seed):
    """What the scanner publishes of a mutated frame equals the decoder's; else it publishes nothing."""
    tokens = tokens_of(FRAMES)
    rig, mutator = Rig(tokens), Mutator(seed, FRAMES, list(tokens))
    results: Counter[Result] = Counter()
    rejects = 0
    rss_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(FRAMES_PER_SEED):
        result, said = rig.compare(mutator.next())
        results[result] += 1
        rejects += said.reject is not None
    rss_grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss_before

    assert FRAMES_PER_SEED == rig.scanner.frame_count == rig.decoder.frame_count
    assert results[Result.OK] == rig.scanner.ok_count > FRAMES_PER_SEED // 5, results
    assert results[Result.FALLBACK] == rig.scanner.fallback_count > FRAMES_PER_SEED // 5, results
    assert results[Result.UNKNOWN] == rig.scanner.unknown_count > FRAMES_PER_SEED // 500, results
    assert rejects == rig.decoder.reject_count > FRAMES_PER_SEED // 5
    assert rss_grown <= RSS_KIB_MAX


@pytest.mark.parametrize("seed", range(5))
def test_good_frames_need_no_fallback_however_they_are_spelled(seed):
    """Key order and JSON whitespace never send a good frame to the decoder."""
    rig = Rig(tokens_of(FRAMES))
    for index, frame in enumerate(FRAMES):
        assert Result.OK is rig.compare(spelled(frame, 1_000 * seed + index))[0], (seed, frame)
