"""Polymarket recordings: which markets they describe, and their frames played unaltered.

Reads: `recording`s and an optional side file of Gamma market objects. Writes: `Market`s with a
`ShadowBook` each, and the frames in order. Documented defaults where no side file names a market:
the first token that a `book` shows is outcome 0 ("Yes"), a token never seen gets a stand-in id, tick
from the first book that carries it or else the finest price seen (0.01 or finer), min_order_size "5",
taker fee rate 0.05, neg_risk (and a missing last trade price) by trying which reproduce a book's hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.errors import ConfigError
from pipeline.sim import identity, recording
from pipeline.sim.bookhash import solve_hash
from pipeline.sim.market import DEFAULT_FEE_RATE_PPM, DEFAULT_MIN_ORDER_SIZE, Market, Source
from pipeline.sim.shadow import ShadowBook
from pipeline.units import decimal_to_int

TICK_STEPS = (1000, 100, 50, 25, 10, 1)
MARKETS_MAX = 10_000
BETWEEN_FILES_NS = 1_000_000_000


@dataclass(slots=True)
class _Found:
    """What the frames tell about one market."""

    tokens: list[str] = field(default_factory=list)
    tick_step: int = 0
    is_tick_stated: bool = False
    book: dict[str, Any] | None = None  # the first book with a hash


@dataclass(slots=True)
class Replay:
    """One file, ready to play. `items[k]` are the parsed objects of frame k, for the shadows."""

    path: Path
    texts: list[bytes]
    at_ns: list[int]
    items: list[list[dict[str, Any]]]
    books: dict[str, ShadowBook]  # by condition
    position: int = 0
    conditions: list[tuple[str, ...]] = field(default_factory=list)  # of each frame

    @property
    def markets(self) -> list[Market]:
        return [book.market for book in self.books.values()]


def load(*paths: Path) -> Replay:
    """Read files that tell of the same markets, one behind the other in the order of their times.

    Frames of other venues and channels are left out. A file's first frame is a snapshot or checkpoint, so
    each file begins its books anew, as after a reconnect.
    """
    files = []
    for path in paths:
        frames = [f for f in recording.read(path) if f.venue == "polymarket" and f.channel == "market"]
        files.append((min((f.t_ns for f in frames if f.t_ns is not None), default=0), path, frames))
    files.sort(key=lambda file: file[0])
    frames, at_ns, side = [], [], {}
    for _, path, own in files:
        shift_ns = at_ns[-1] + BETWEEN_FILES_NS if at_ns else 0
        at_ns += [shift_ns + offset for offset in recording.offsets_ns(own)]
        frames += own
        side |= {str(row.get("conditionId")): (row, path) for row in recording.side_metadata(path)}
    items = [recording.objects(frame.raw) for frame in frames]
    found = _scan(items)
    if len(found) > MARKETS_MAX:
        raise ConfigError(f"recording {paths[0]}: expected at most {MARKETS_MAX} markets, found {len(found)}")
    books = {
        condition: ShadowBook(
            _from_gamma(*side[condition]) if condition in side else _from_frames(condition, facts))
        for condition, facts in found.items()
    }
    conditions = [
        tuple(dict.fromkeys(str(item["market"]) for item in group if "market" in item)) for group in items
    ]
    texts = [frame.raw.encode() for frame in frames]
    return Replay(paths[0], texts, at_ns, items, books, 0, conditions)


def load_all(paths: Sequence[Path]) -> list[Replay]:
    """Return one replay for each set of files that share a market; sets play side by side."""
    groups: list[tuple[set[str], list[Path]]] = []
    for path in paths:
        markets = set(load(path).books)
        joined = [group for group in groups if group[0] & markets]
        groups = [group for group in groups if not group[0] & markets]
        together = [*(old for _, files in joined for old in files), path]
        groups.append((markets.union(*(known for known, _ in joined)), together))
    return [load(*files) for _, files in groups]


def _scan(items: list[list[dict[str, Any]]]) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for item in (item for group in items for item in group):
        condition = item.get("market")
        if not isinstance(condition, str):
            continue
        facts = found.setdefault(condition, _Found())
        entries = item.get("price_changes") or [item]
        is_book = item.get("event_type") == "book"
        for entry in entries:
            asset = entry.get("asset_id")
            if isinstance(asset, str) and asset not in facts.tokens:
                place = 0 if is_book and facts.book is None else len(facts.tokens)
                facts.tokens.insert(place, asset)
            _note_tick(facts, [entry.get("price")])
        if is_book:
            _note_tick(facts, [level["price"] for side in ("bids", "asks") for level in item.get(side) or ()])
            if "tick_size" in item and not facts.is_tick_stated:
                facts.tick_step, facts.is_tick_stated = decimal_to_int(item["tick_size"], 4), True
            if facts.book is None and item.get("hash"):
                facts.book = item
    return found


def _note_tick(facts: _Found, prices: list[Any]) -> None:
    """Without a stated tick, the coarsest grid up to 0.01 that holds every price seen."""
    if facts.is_tick_stated:
        return
    facts.tick_step = facts.tick_step or 100
    for text in prices:
        if isinstance(text, str) and decimal_to_int(text, 4) % facts.tick_step:
            ticks = decimal_to_int(text, 4)
            facts.tick_step = next(
                step for step in TICK_STEPS if step < facts.tick_step and ticks % step == 0
            )


def _from_frames(condition: str, facts: _Found) -> Market:
    yes = facts.tokens[0] if facts.tokens else identity.token_ids(condition)[0]
    no = facts.tokens[1] if len(facts.tokens) > 1 else identity.sister_token(yes)
    market = Market(
        condition=condition,
        tokens=(yes, no),
        outcomes=("Yes", "No"),
        question=f"Recorded market {condition[:10]}?",
        slug=f"recorded-{condition[2:14]}",
        tick_step=facts.tick_step or 100,
        min_order_size=DEFAULT_MIN_ORDER_SIZE,
        neg_risk=False,
        fee_rate_ppm=DEFAULT_FEE_RATE_PPM,
        fee_exponent=1,
        source=Source.RECORDED,
        event_id=identity.number("recorded", condition),
        event_slug=f"recorded-{condition[2:14]}",
        event_title=f"Recorded market {condition[:10]}",
        tags=("recorded",),
    )
    if facts.book is not None:
        steps = () if facts.is_tick_stated else TICK_STEPS
        solved = solve_hash(facts.book, market.min_order_size, (market.tick_step, *steps), (False, True))
        if solved is not None:
            market.neg_risk, market.last_trade, market.tick_step = solved
    if market.neg_risk:
        market.neg_risk_market_id = identity.neg_risk_market_id("recorded", condition)
    return market


def _from_gamma(row: dict[str, Any], path: Path) -> Market:
    """Return the market that a Gamma object describes."""
    try:
        tokens = orjson.loads(row["clobTokenIds"])
        outcomes = orjson.loads(row["outcomes"])
        schedule = row.get("feeSchedule") or {}
        events = row.get("events") or [{}]
        return Market(
            condition=row["conditionId"],
            tokens=(str(tokens[0]), str(tokens[1])),
            outcomes=(str(outcomes[0]), str(outcomes[1])),
            question=str(row.get("question", "")),
            slug=str(row.get("slug") or row["conditionId"]),
            tick_step=decimal_to_int(str(row["orderPriceMinTickSize"]), 4),
            min_order_size=f"{row['orderMinSize']:g}",
            neg_risk=bool(row.get("negRisk", False)),
            fee_rate_ppm=decimal_to_int(str(schedule.get("rate", 0)), 6) if schedule else 0,
            fee_exponent=int(schedule.get("exponent", 1)),
            source=Source.RECORDED,
            version=str(row.get("version") or "v1"),
            event_id=str(events[0].get("id") or identity.number("recorded", row["conditionId"])),
            event_slug=str(events[0].get("slug") or row.get("slug") or row["conditionId"]),
            event_title=str(events[0].get("title") or row.get("question", "")),
            neg_risk_market_id=str(row.get("negRiskMarketID") or ""),
            group_item_title=str(row.get("groupItemTitle") or ""),
            tags=("recorded",),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path.name}.meta.json: expected a Gamma market object with conditionId, clobTokenIds, "
            f"outcomes, orderPriceMinTickSize and orderMinSize, found a problem with {error}"
        ) from error
