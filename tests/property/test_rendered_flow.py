"""What the exchange renders from the Kalshi recordings, read natively and by plain dicts: the same books."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import zstandard

from pipeline import records as r
from pipeline.codec import CODECS
from pipeline.sim import foreign
from pipeline.sim.market import Market
from pipeline.sim.render import snapshot_array, snapshot_object
from pipeline.sim.track import Track
from tests.models.frame_chain import FrameChain, newest_top
from tests.shared import SHARED, fresh_seed, needs_shared, tier

FOLDER = SHARED / "feeds" / "kalshi"
FILES = ("kx_gold15m_20260805_3windows", "kx_gold15m_20260806_3windows", "kx_gold15m_20260807_3windows",
         "kx_gold15m_20260810_1800-2015et")
SOURCE_FRAMES = {FILES[0]: 103_484, FILES[1]: 140_233, FILES[2]: 162_035, FILES[3]: 379_862}  # 785,614
SLICE = 785_614 // 40 + 1  # source frames of one slice in tier commit; two of them are 1/20
ROW, RULES = 1, r.Rule.MIRRORED | r.Rule.HASHED | r.Rule.TRADABLE | r.Rule.WATCH
WHOLE_EVERY = 64  # frames; then the whole book is compared, not only its best eight levels a side
Side = dict[int, int]


@cache
def ticks(text: str) -> int:
    return int(Decimal(text) * 10_000)


@cache
def micro(text: str) -> int:
    return int(Decimal(text) * 10**6)


class PlainBook:
    """One token's book by the simplest rules: a book replaces, a change sets or removes."""

    def __init__(self) -> None:
        self.bids: Side = {}
        self.asks: Side = {}

    def replace(self, item: dict[str, Any]) -> None:
        """Take a whole book."""
        self.bids = {ticks(level["price"]): micro(level["size"]) for level in item["bids"]}
        self.asks = {ticks(level["price"]): micro(level["size"]) for level in item["asks"]}

    def change(self, item: dict[str, str]) -> None:
        """Take one change."""
        side = self.bids if item["side"] == "BUY" else self.asks
        if item["size"] == "0":
            side.pop(ticks(item["price"]), None)
        else:
            side[ticks(item["price"])] = micro(item["size"])

    @property
    def top(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return sorted(self.bids.items(), reverse=True)[:8], sorted(self.asks.items())[:8]


class Reader:
    """Reads one market's frames twice and compares after each."""

    def __init__(self, of: Market) -> None:
        self._tokens = of.tokens
        self._chain = FrameChain()
        self._plain = {token: PlainBook() for token in of.tokens}
        self._batch: frozenset[str] = frozenset()  # timestamp and hashes of the newest change
        self._is_change = self._is_open = False
        self._now_ns = 1_790_000_000 * 10**9
        self.counts: Counter[str] = Counter()
        for outcome, token in enumerate(of.tokens):
            self._chain.table.add(token, ROW, outcome, of.condition)
        self._chain.control(CODECS[r.Kind.INSTRUMENT].pack(
            instrument=ROW, condition=bytes.fromhex(of.condition[2:]), rules=RULES, tick_step=of.tick_step,
            tick_step_finest=of.tick_step, size_micro_min=micro(of.min_order_size),
            token_yes=int(of.tokens[0]).to_bytes(32, "big"), token_no=int(of.tokens[1]).to_bytes(32, "big"),
        ), self._now_ns)

    def take(self, frame: bytes) -> None:
        """Read a frame; the native books' newest Top is the plain book's, and a whole batch is proven."""
        self._now_ns += 50_000
        self._chain.feed(frame, self._now_ns)
        parsed = json.loads(frame)
        for item in parsed if isinstance(parsed, list) else [parsed]:
            self._read(item)
        found = newest_top(self._chain.tops.read(1_024))
        self.counts["frames"] += 1
        if found is not None:
            flags, bids, asks = found
            assert (bids, asks) == self._plain[self._tokens[0]].top, frame
            assert not flags & (r.Flag.STALE | r.Flag.CROSSED), frame
            self.counts["tops"] += 1
            if self._is_change:
                self._is_open = bool(flags & r.Flag.OPEN)
        if self.counts["frames"] % WHOLE_EVERY == 0:
            self.check_whole()

    def _read(self, item: dict[str, Any]) -> None:
        kind = item["event_type"]
        self.counts[kind] += 1
        self._is_change = kind == "price_change"
        if kind == "book":
            self._plain[item["asset_id"]].replace(item)
        elif self._is_change:
            batch = frozenset((item["timestamp"], *(change["hash"] for change in item["price_changes"])))
            if batch != self._batch:
                self._end_batch()
            self._batch = batch
            for change in item["price_changes"]:
                self._plain[change["asset_id"]].change(change)

    def _end_batch(self) -> None:
        """Another batch begins: the Top behind the last one's last frame was proven."""
        self.counts["batches"] += 1
        self.counts["unproven"] += self._is_open

    @property
    def fallbacks(self) -> int:
        """Frames that the scanner left to the decoder."""
        return self._chain.fallbacks

    def check_whole(self) -> None:
        """Compare every level of both tokens; NO is YES mirrored."""
        book = self._chain.books.snapshot_row(ROW)
        assert book is not None
        yes, no = (self._plain[token] for token in self._tokens)
        assert sorted(yes.bids.items(), reverse=True) == book["bids"]
        assert sorted(yes.asks.items()) == book["asks"]
        assert {10_000 - price: size for price, size in yes.bids.items()} == no.asks
        assert {10_000 - price: size for price, size in yes.asks.items()} == no.bids
        self.counts["whole"] += 1


def texts_of(buffer: bytes) -> Iterator[bytes]:
    """Yield the texts of websocket frames that stand one behind the other."""
    at = 0
    while at < len(buffer):
        size, start = buffer[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(buffer[at + 2:at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(buffer[at + 2:at + 10], "big"), at + 10
        yield buffer[start:start + size]
        at = start + size


def read_all(path: Path, seed: int) -> Counter[str]:
    """Render every market of a recording and read all its frames; return what was read."""
    counts: Counter[str] = Counter()
    for flow in foreign.load([path]):
        track = Track(flow)
        reader = Reader(flow.market)
        opening = track.book()
        reader.take(snapshot_array(snapshot_object(opening, outcome) for outcome in (0, 1)))
        made = track.render(1 << 62, 1 << 40, random.Random(seed))
        for text in texts_of(bytes(track.buffer)):
            reader.take(text)
        reader.check_whole()
        assert 0 == reader.fallbacks
        assert made == reader.counts["frames"] - 1
        counts += reader.counts
        counts["events"] += track.count
    return counts


def sliced(seed: int, folder: Path) -> Path:
    """Return a recording of SLICE lines cut from one of the files, from the start of a window on."""
    rng = random.Random(seed)
    name = rng.choice(FILES)
    with (FOLDER / f"{name}.jsonl.zst").open("rb") as source:
        plain = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(source), 1 << 20)
        lines = list(plain)
    starts, seen = [], set()
    for number, line in enumerate(lines[:len(lines) - SLICE]):
        if b"orderbook_snapshot" in line:
            ticker = line.partition(b"market_ticker")[2][:48]
            if ticker not in seen:
                seen.add(ticker)
                starts.append(number)
    first = rng.choice(starts)
    path = folder / f"{name}_{first}.jsonl.zst"
    path.write_bytes(zstandard.ZstdCompressor(1).compress(b"".join(lines[first:first + SLICE])))
    return path


def check(counts: Counter[str], source_frames: int) -> None:
    """Frames of each kind came, and every batch ended proven."""
    assert counts["frames"] > source_frames // 2, counts
    assert counts["price_change"] > source_frames // 3, counts
    assert counts["batches"] > counts["price_change"] // 2, counts
    assert 0 == counts["unproven"], counts
    for kind in ("best_bid_ask", "last_trade_price", "book", "whole"):
        assert counts[kind] > 100, counts


@needs_shared
@pytest.mark.parametrize("what", [0, fresh_seed()] if tier() == "commit" else list(FILES))
def test_every_rendered_frame_is_read_to_the_same_book(what: int | str, tmp_path: Path) -> None:
    """After each frame the native book's best levels are the plain reader's; at times all of them are."""
    if isinstance(what, int):
        check(read_all(sliced(what, tmp_path), what), SLICE)
    else:
        check(read_all(FOLDER / f"{what}.jsonl.zst", 0), SOURCE_FRAMES[what])
