"""Recorded Polymarket frames through `Books`, decoded here by plain json: hashes verify, books are right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline import records as r
from pipeline.codec import CODECS
from pipeline.units import decimal_to_int
from tests.models.fold import Fold
from tests.models.venue_model import runs_of, stamped
from tests.shared import SHARED, needs_shared, recording

FULL = 10_000
RULES = r.Rule.MIRRORED | r.Rule.HASHED | r.Rule.TRADABLE
FILES = [
    "pm_btc5m_20260612_session",
    "pm_20260911_batch_ask_cancel",
    "pm_20260911_batch_bid_cancel",
    "pm_20260911_batch_crossed_fill",
    "pm_20260929_crossing_burst",
]


def ticks(text: str) -> int:
    return decimal_to_int(text, 4)


def best(text: str) -> int:
    """A best price; "0", "1" and "" say that there is no such side."""
    return 0 if text in ("", "0", "1") else ticks(text)


class Decoder:
    """Frames of one market to records; the first token of the file is YES."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def records(self, message: dict[str, Any]) -> bytes:
        kind = message["event_type"]
        head = {"instrument": 1, "source": 1, "venue_ns": int(message["timestamp"]) * 10**6}
        if kind == "book":
            return self.book(message, head)
        if kind == "price_change":
            return self.delta(message, head)
        if kind == "last_trade_price":
            return CODECS[r.Kind.TRADE_PRINT].pack(**head, price_ticks=ticks(message["price"]))
        assert kind == "best_bid_ask"
        return CODECS[r.Kind.BBO].pack(
            **head,
            bid_ticks=best(message["best_bid"]),
            ask_ticks=best(message["best_ask"]),
            outcome=self.tokens.index(message["asset_id"]),
        )

    def book(self, message: dict[str, Any], head: dict[str, int]) -> bytes:
        levels = [
            (ticks(x["price"]), decimal_to_int(x["size"], 6), side)
            for side, name in ((0, "bids"), (1, "asks"))
            for x in message[name]
        ]
        trade = message.get("last_trade_price")
        parts = [levels[at : at + 14] for at in range(0, len(levels), 14)] or [[]]
        return b"".join(
            CODECS[r.Kind.SNAPSHOT].pack(
                **head,
                part=at,
                parts=len(parts),
                hash=bytes.fromhex(message["hash"]),
                outcome=self.tokens.index(message["asset_id"]),
                tick_step=ticks(message.get("tick_size", "0")),
                last_trade_state=0 if trade is None else 1 if trade == "" else 2,
                last_trade_ticks=ticks(trade) if trade else 0,
                bid_count=sum(s == 0 for *_, s in part),
                ask_count=sum(s == 1 for *_, s in part),
                price_ticks=tuple(p for p, _, _ in part),
                size_micro=tuple(s for _, s, _ in part),
            )
            for at, part in enumerate(parts)
        )

    def delta(self, message: dict[str, Any], head: dict[str, int]) -> bytes:
        changes = message["price_changes"]
        assert len(changes) <= 8
        fields: dict[str, Any] = {
            "best_bid_yes": r.NOT_ANNOUNCED,
            "best_ask_yes": r.NOT_ANNOUNCED,
            "best_bid_no": r.NOT_ANNOUNCED,
            "best_ask_no": r.NOT_ANNOUNCED,
        }
        for change in changes:
            token = ("yes", "no")[self.tokens.index(change["asset_id"])]
            fields |= {
                f"hash_{token}": bytes.fromhex(change["hash"]),
                f"best_bid_{token}": best(change["best_bid"]),
                f"best_ask_{token}": best(change["best_ask"]),
            }
        return CODECS[r.Kind.DELTA].pack(
            **head,
            **fields,
            change_count=len(changes),
            price_ticks=tuple(ticks(c["price"]) for c in changes),
            size_micro=tuple(decimal_to_int(c["size"], 6) for c in changes),
            side=bytes(c["side"] == "SELL" for c in changes),
            outcome=bytes(self.tokens.index(c["asset_id"]) for c in changes),
        )


def messages_of(path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for line in recording(SHARED / "feeds/polymarket" / f"{path}.jsonl.zst"):
        if line["raw"].strip() != "PONG":
            frame = json.loads(line["raw"])
            found += frame if isinstance(frame, list) else [frame]
    return found


def tokens_of(messages: list[dict[str, Any]]) -> list[str]:
    found = [m["asset_id"] for m in messages if "asset_id" in m]
    found += [c["asset_id"] for m in messages for c in m.get("price_changes", ())]
    return list(dict.fromkeys(found))


def plain_books(
    messages: list[dict[str, Any]], tokens: list[str]
) -> list[tuple[dict[int, int], dict[int, int]]]:
    """YES book after each message by the simplest rules: replace, set, remove; old changes dropped."""
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    base_ms, found = 0, []
    for message in messages:
        now_ms = int(message["timestamp"])
        if message["event_type"] == "book" and (message["asset_id"] == tokens[0]) and now_ms >= base_ms:
            bids = {ticks(x["price"]): decimal_to_int(x["size"], 6) for x in message["bids"]}
            asks = {ticks(x["price"]): decimal_to_int(x["size"], 6) for x in message["asks"]}
            base_ms = now_ms
        for change in message.get("price_changes", ()) if now_ms >= base_ms else ():
            if change["asset_id"] == tokens[0]:
                side = bids if change["side"] == "BUY" else asks
                side[ticks(change["price"])] = decimal_to_int(change["size"], 6)
                if change["size"] == "0":
                    del side[ticks(change["price"])]
        found.append((dict(bids), dict(asks)))
    return found


def instrument(market: str, tokens: list[str], tick_step: int, rules: int) -> bytes:
    ids = [int(t).to_bytes(32, "big") for t in [*tokens, "0"][:2]]
    return CODECS[r.Kind.INSTRUMENT].pack(
        instrument=1,
        condition=bytes.fromhex(market[2:]),
        token_yes=ids[0],
        token_no=ids[1],
        rules=rules,
        tick_step=tick_step,
        tick_step_finest=tick_step,
        size_micro_min=5_000_000,
    )


class Replay:
    def __init__(self, rules: int) -> None:
        self.fold, self.rules, self.now_ns, self.tops = Fold(4, (1, 1, 1)), rules, 10**18, []

    def take(self, run: bytes) -> list[Any]:
        found = self.fold.fold(stamped(run, now_ns=self.now_ns))
        self.tops += [out for out in found if out[0] == "top"]
        return found

    def tick(self, count: int) -> None:
        for _ in range(count):
            self.now_ns += 10**6
            self.take(CODECS[r.Kind.TICK].pack(now_ns=self.now_ns))


def is_batch_end(messages: list[dict[str, Any]], at: int) -> bool:
    def pair(message: dict[str, Any]) -> tuple[str, frozenset[str]]:
        changes = message.get("price_changes") or [message]
        return message["timestamp"], frozenset(c.get("hash", "") for c in changes)

    if messages[at]["event_type"] != "price_change":
        return False
    return (
        at + 1 == len(messages)
        or messages[at + 1]["event_type"] != "price_change"
        or pair(messages[at]) != pair(messages[at + 1])
    )


@needs_shared
@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("path", FILES)
def test_each_complete_batch_is_proven(path: str, watched: bool) -> None:
    """After a batch's last frame our SHA-1 equals the venue's, the book the plain one; before it, never
    trusted."""
    messages = messages_of(path)
    tokens = tokens_of(messages)
    decoder, truth = Decoder(tokens), plain_books(messages, tokens)
    tick_step = 100 if "btc5m" in path else 10
    replay = Replay(RULES | (r.Rule.WATCH if watched else 0))
    replay.take(instrument(messages[0]["market"], tokens, tick_step, replay.rules))
    batches = taken = 0
    for at, message in enumerate(messages):
        replay.now_ns += 50_000
        out = [o for run in runs_of(decoder.records(message)) for o in replay.take(run)]
        if not watched and (message["event_type"] == "book" or is_batch_end(messages, at)):
            replay.tick(1)
        if message["event_type"] == "book" and at < 2:
            replay.tick(25)  # no last trade price in this file's books: the search finds it
        row = replay.fold.books.snapshot_row(1)
        assert not row["is_stale"]
        if any(o[0] == "top" for o in out) and is_batch_end(messages, at):
            batches += 1
            assert not row["is_open"], f"message {at} of {path}"
        if message["event_type"] == "price_change" and any(o[0] == "top" for o in out):
            taken += 1
            bids, asks = truth[at]
            assert sorted(bids.items(), reverse=True) == row["bids"], f"message {at}"
            assert sorted(asks.items()) == row["asks"], f"message {at}"
    assert batches > 0
    assert taken >= batches
    for _, _, flags, bids, asks, *_ in replay.tops:  # the phantom windows of the batches are never trusted
        if not flags & (r.Flag.OPEN | r.Flag.STALE):
            assert bids[0][0] < asks[0][0]
    stats = replay.fold.books.stats()
    assert stats["stales"] == 0
    if path == "pm_20260929_crossing_burst" and watched:
        assert stats["proofs"] >= 48  # 47 single changes, the fill's end, the first book


@needs_shared
def test_phantom_windows_happen_and_are_open() -> None:
    """The recorded fills do cross our book between their frames, so the test above tests something."""
    crossed = 0
    for path in ("pm_20260929_crossing_burst", "pm_20260911_batch_crossed_fill"):
        messages = messages_of(path)
        decoder, replay = Decoder(tokens_of(messages)), Replay(RULES | r.Rule.WATCH)
        replay.take(instrument(messages[0]["market"], decoder.tokens, 10, replay.rules))
        for message in messages:
            for run in runs_of(decoder.records(message)):
                replay.take(run)
        crossed += sum(bool(top[2] & r.Flag.CROSSED) for top in replay.tops)
        assert all(top[2] & r.Flag.OPEN for top in replay.tops if top[2] & r.Flag.CROSSED)
    assert crossed >= 2


@needs_shared
def test_recorded_books_of_twelve_assets_verify() -> None:
    """Each whole book of 2026-02-12 verifies, its last trade price found by search (neg_risk is not on the
    wire)."""
    books = [m for m in messages_of("pm_20260212_books_trades") if m["event_type"] == "book"]
    assert 10 == len(books)
    for message in books:
        prices = [ticks(x["price"]) for name in ("bids", "asks") for x in message[name]]
        tick_step = 10 if any(p % 100 for p in prices) else 100
        proven = []
        for neg_risk in (0, r.Rule.NEG_RISK):
            replay = Replay(RULES | neg_risk)
            replay.take(instrument(message["market"], [message["asset_id"]], tick_step, replay.rules))
            for run in runs_of(Decoder([message["asset_id"]]).records(message)):
                replay.take(run)
            replay.tick(50)
            proven.append(not replay.fold.books.snapshot_row(1)["is_open"])
        assert 1 == sum(proven), message["asset_id"]
