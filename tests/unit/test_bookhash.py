"""The venue's SHA-1 of a book: its own vectors, and random books against json and hashlib."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import CODECS, unpack
from pipeline.native.bookhash import book_digest
from pipeline.native.ladder import Arena, LadderBook, arena_bytes
from pipeline.units import decimal_to_int
from tests.models.book_state import announced_hash, identity, trade_text
from tests.shared import SHARED, needs_shared, scaled, seeds

BLOCKS = (1, 1, 1)


def vectors() -> dict[str, Any]:
    path = Path(os.environ.get("PM_VECTORS") or SHARED / "venues/polymarket-vectors.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def instrument(market: str, tokens: tuple[str, str], minimum: str, neg_risk: bool, is_v2: bool) -> bytes:
    yes, no = (int(token).to_bytes(32, "big") for token in tokens)
    return CODECS[r.Kind.INSTRUMENT].pack(
        condition=bytes.fromhex(market[2:]),
        token_yes=yes,
        token_no=no,
        size_micro_min=decimal_to_int(minimum, 6),
        rules=r.Rule.NEG_RISK * neg_risk | r.Rule.V2 * is_v2,
    )


def ladder_of(bids: list[dict[str, str]], asks: list[dict[str, str]]) -> LadderBook:
    """On the grid of 0.0001: a synthetic vector may stand off its own tick."""
    ladder = LadderBook(Arena(bytearray(arena_bytes(BLOCKS)), BLOCKS), 1)
    for side, levels in ((0, bids), (1, asks)):
        for level in levels:
            ladder.set(side, decimal_to_int(level["price"], 4), decimal_to_int(level["size"], 6))
    return ladder


def trade_of(text: str) -> tuple[int, int]:
    return (decimal_to_int(text, 4), len(text) - 2) if text else (0, 0)


@needs_shared
def test_vectors_of_whole_books() -> None:
    """Each `book_hash` vector reproduces: REST, websocket, V2, a synthetic one of each tick."""
    cases = vectors()["book_hash"]
    assert cases
    for case in cases:
        book = case["book"]
        slot = instrument(
            book["market"],
            (book["asset_id"], "0"),
            book["min_order_size"],
            book["neg_risk"],
            "version" in book,
        )
        digest = book_digest(
            ladder_of(book["bids"], book["asks"]),
            slot,
            0,
            int(book["timestamp"]) * 10**6,
            decimal_to_int(book["tick_size"], 4),
            *trade_of(book["last_trade_price"]),
        )
        assert case["sha1"] == digest.hex(), case["provenance"]


@needs_shared
def test_vectors_seen_from_the_other_token() -> None:
    """A book given as NO hashes the same through the mirror of the YES ladder."""
    for case in vectors()["book_hash"]:
        book = case["book"]
        mirror = [
            [{"price": str(10_000 - decimal_to_int(x["price"], 4)), "size": x["size"]} for x in book[n]]
            for n in ("asks", "bids")
        ]
        ladder = LadderBook(Arena(bytearray(arena_bytes(BLOCKS)), BLOCKS), 1)
        for side, levels in enumerate(mirror):
            for level in levels:
                ladder.set(side, int(level["price"]), decimal_to_int(level["size"], 6))
        slot = instrument(
            book["market"],
            ("0", book["asset_id"]),
            book["min_order_size"],
            book["neg_risk"],
            "version" in book,
        )
        digest = book_digest(
            ladder,
            slot,
            1,
            int(book["timestamp"]) * 10**6,
            decimal_to_int(book["tick_size"], 4),
            *trade_of(book["last_trade_price"]),
        )
        assert case["sha1"] == digest.hex(), case["provenance"]


@needs_shared
@pytest.mark.parametrize("name", ["book_replay", "book_replay_batch"])
def test_vectors_of_replays(name: str) -> None:
    """Every end of a batch verifies for both tokens; inside a batch the book does not."""
    case = vectors()[name]
    slot = instrument(
        case["market"],
        (case["yes_asset_id"], case["no_asset_id"]),
        case["min_order_size"],
        case["neg_risk"],
        False,
    )
    first = case["initial_yes_book"]
    ladder, step = ladder_of(first["bids"], first["asks"]), decimal_to_int(case["tick_size"], 4)
    trade = trade_of(case.get("last_trade_price_before_burst", case.get("last_trade_price", "")))
    assert first["hash"] == book_digest(ladder, slot, 0, int(first["timestamp"]) * 10**6, step, *trade).hex()
    updates, verified, inside = case["updates"], 0, 0
    for at, (time_ms, price, side, size, *hashes) in enumerate(updates):
        ladder.set(side == "SELL", decimal_to_int(price, 4), decimal_to_int(size, 6))
        is_end = at + 1 == len(updates) or [time_ms, *hashes] != [updates[at + 1][0], *updates[at + 1][4:]]
        if at + 1 == len(updates) and "last_trade_price_after_burst" in case:
            trade = trade_of(case["last_trade_price_after_burst"])
        found = [book_digest(ladder, slot, o, int(time_ms) * 10**6, step, *trade).hex() for o in (0, 1)]
        assert (hashes == found) == is_end
        verified, inside = verified + is_end, inside + (not is_end)
    assert verified >= 8
    assert inside >= 2


@pytest.mark.parametrize("seed", seeds(scaled(200, 5_000)))
def test_random_books(seed: int) -> None:
    """Any book, id, minimum, tick and last trade price equals json and hashlib, for both tokens."""
    rng = random.Random(seed)
    step = rng.choice((1000, 100, 50, 25, 10, 1))
    slot = CODECS[r.Kind.INSTRUMENT].pack(
        condition=rng.randbytes(32),
        token_yes=rng.randbytes(rng.randrange(33)).rjust(32, b"\0"),
        token_no=rng.randbytes(32),
        size_micro_min=rng.choice((0, 1, 5_000_000, 15_500_000)),
        rules=rng.randrange(8),
    )
    sides: list[dict[int, int]] = [{}, {}]
    ladder = LadderBook(Arena(bytearray(arena_bytes(BLOCKS)), BLOCKS), step)
    for _ in range(rng.choice((0, 1, 5, 200))):
        side, price = rng.randrange(2), step * rng.randrange(1, 10_000 // step)
        sides[side][price] = rng.choice((1, 10, 10**6, 10**15, rng.randrange(1, 10**12)))
        ladder.set(side, price, sides[side][price])
    venue_ns = 10**6 * rng.randrange(2 * 10**12)
    digits = rng.choice((0, 3, 4))
    ticks = rng.randrange(10_001) if digits == 4 else 10 * rng.randrange(1_001) if digits else 0
    for outcome in (0, 1):
        expected = announced_hash(
            identity(unpack(slot)), outcome, venue_ns, *sides, step, trade_text(ticks, digits)
        )
        assert expected == book_digest(ladder, slot, outcome, venue_ns, step, ticks, digits)
