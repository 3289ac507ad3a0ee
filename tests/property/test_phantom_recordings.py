"""Recorded frames with YES and NO as books of their own through detect: no opportunity inside a batch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import CODECS, unpack
from tests.models.core_rig import config
from tests.models.frame_chain import FrameChain, Watched, flags_of
from tests.models.market_frames import TokenBook
from tests.property.test_books_recordings import FILES, is_batch_end, messages_of, tokens_of
from tests.shared import SHARED, needs_shared, recording

RULES = r.Rule.HASHED | r.Rule.TRADABLE | r.Rule.WATCH
START_NS = 1_800_000_000 * 10**9  # behind all recordings: what is dated ahead of us is not believed
#: Recordings in which a naive reader sees YES + NO below 1 between the frames of a batch.
PHANTOMS = ("pm_20260929_crossing_burst",)


def sister_book(first: dict[str, Any], sister: str, tick: str) -> bytes:
    """Return the other token's first book, which some recordings lack: mirrored, with the venue's hash."""
    book = TokenBook(first["market"], first["asset_id"], tick, timestamp=first["timestamp"],
                     digest=first["hash"], bids=_levels(first["bids"]), asks=_levels(first["asks"]))
    trade = first.get("last_trade_price", book.searched(False))
    assert trade is not None, "the recorded hash is explained by no last trade price"
    other = TokenBook(first["market"], sister, tick, timestamp=first["timestamp"], bids=_mirrored(book.asks),
                      asks=_mirrored(book.bids))
    return json.dumps({
        "market": other.market, "asset_id": sister, "timestamp": other.timestamp, "event_type": "book",
        "hash": other.computed(False, trade), "tick_size": tick, "last_trade_price": trade,
        "bids": [{"price": p, "size": s} for p, s in other.bids.items()],
        "asks": [{"price": p, "size": s} for p, s in other.asks.items()]}).encode()


def _levels(levels: list[dict[str, str]]) -> dict[str, str]:
    return {level["price"]: level["size"] for level in levels}


def _mirrored(side: dict[str, str]) -> dict[str, str]:
    return {f"{(10_000 - round(float(price) * 10_000)) / 10_000:.4f}".rstrip("0"): size
            for price, size in side.items()}


def played(path: str, clear_flags: int = 0) -> Watched:
    """Return the chain after the whole recording; each token is a row, so that a pair of them is a basket."""
    messages = messages_of(path)
    tokens, market = tokens_of(messages), messages[0]["market"]
    tick = 100 if "btc5m" in path else 10
    chain, now_ns = Watched(), START_NS
    chain.clear_flags = clear_flags
    chain.control(config(edge_usd_micro_min=1, proof_age_ns_max=10**12), now_ns)
    ids = [int(token).to_bytes(32, "big") for token in tokens]
    for row, pair in ((1, ids), (2, ids[::-1])):
        chain.table.add(tokens[row - 1], row, 0, market)
        chain.control(CODECS[r.Kind.INSTRUMENT].pack(
            instrument=row, condition=bytes.fromhex(market[2:]), token_yes=pair[0], token_no=pair[1],
            rules=RULES, tick_step=tick, tick_step_finest=tick, size_micro_min=5_000_000, usd_micro_min=1,
            condition_bytes=32, fee_exponent=1), now_ns)
    assert 1 == len(chain.detector.watches)
    if tokens[1] not in [message["asset_id"] for message in messages[:2] if message["event_type"] == "book"]:
        chain.feed(sister_book(messages[0], tokens[1], "0.01" if tick == 100 else "0.001"), now_ns)
    for number, line in enumerate(recording(SHARED / "feeds/polymarket" / f"{path}.jsonl.zst")):
        now_ns += 50_000
        chain.feed(line["raw"].encode(), now_ns)
        if number < 2:
            for _ in range(25):  # no last trade price in some first books: the search finds it
                now_ns += 10**6
                chain.tick(now_ns)
    return chain


@needs_shared
@pytest.mark.parametrize("path", FILES)
def test_no_phantom_inside_a_batch(path: str) -> None:
    """Detect, asked to buy YES + NO, has no idea from the first frame to the last; both books stand then."""
    chain = played(path)
    assert 0 == chain.ideas
    for row in (1, 2):
        book = chain.books.snapshot_row(row)
        assert book is not None
        assert not (book["is_stale"] or book["is_open"]), (path, row)
        assert book["bids"] or book["asks"]


@needs_shared
@pytest.mark.parametrize("path", PHANTOMS)
def test_a_reader_without_proofs_sees_one(path: str) -> None:
    """The same frames without the flags give an idea: the phantom is there, and OPEN keeps it out."""
    chain = played(path, clear_flags=int(r.Flag.OPEN | r.Flag.CROSSED))
    assert chain.ideas > 0
    asks: dict[int, int] = {}
    cheap = 0
    for run in chain.tops_seen:
        top = unpack(run)
        asks[top.instrument] = top.ask_ticks[0]
        is_phantom = len(asks) == 2 and all(asks.values()) and sum(asks.values()) < 10_000
        assert not is_phantom or flags_of(run) & r.Flag.OPEN
        cheap += is_phantom
    assert cheap > 0


@needs_shared
@pytest.mark.parametrize("path", FILES)
def test_each_batch_is_proven_from_its_bytes(path: str) -> None:
    """As one mirrored book, from the recorded bytes on: proven by hash after each batch, never stale."""
    messages = messages_of(path)
    tokens, market = tokens_of(messages), messages[0]["market"]
    tick, chain, now_ns, at, batches = 100 if "btc5m" in path else 10, FrameChain(), START_NS, 0, 0
    for outcome, token in enumerate(tokens):
        chain.table.add(token, 1, outcome, market)
    ids = [int(token).to_bytes(32, "big") for token in tokens]
    chain.control(CODECS[r.Kind.INSTRUMENT].pack(
        instrument=1, condition=bytes.fromhex(market[2:]), token_yes=ids[0], token_no=ids[1], tick_step=tick,
        rules=RULES | r.Rule.MIRRORED, tick_step_finest=tick, size_micro_min=5_000_000), now_ns)
    for number, line in enumerate(recording(SHARED / "feeds/polymarket" / f"{path}.jsonl.zst")):
        now_ns += 50_000
        chain.feed(line["raw"].encode(), now_ns)
        if number < 2:
            for _ in range(25):
                now_ns += 10**6
                chain.tick(now_ns)
        frame = json.loads(line["raw"]) if line["raw"].strip() != "PONG" else []
        at += len(frame) if isinstance(frame, list) else 1
        if at and is_batch_end(messages, at - 1):
            book = chain.books.snapshot_row(1)
            assert book is not None
            assert not (book["is_open"] or book["is_stale"] or book["is_crossed"]), f"message {at - 1}"
            batches += 1
        chain.tops.read(1_024)
    assert len(messages) == at
    assert batches > 0
    assert 0 == chain.fallbacks
    assert 0 == chain.books.stats()["stales"]
