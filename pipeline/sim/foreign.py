"""Kalshi recordings as order flow of other participants, for markets on the Polymarket wire.

Reads: `recording`s of `orderbook_snapshot`, `orderbook_delta` and `trade`. Writes: `FlowMarket`s, one a
ticker. A bid for NO at p is an ask for YES at 1 - p. A file can hold several markets, consecutive or
interleaved; each one's clock starts at its own first snapshot, so all windows start together. A print
is recognised where the trade follows the removal that it caused (same ms, price and size) and then
marks that commit as traded; other trades are visible as deltas alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from pipeline.errors import ConfigError, IntegrityError
from pipeline.sim import identity, recording
from pipeline.sim.flow import Delta, FlowEvent, FlowMarket, LevelBook
from pipeline.sim.market import DEFAULT_FEE_RATE_PPM, DEFAULT_MIN_ORDER_SIZE, Market, Source
from pipeline.units import NS_PER_MS, TICKS_PER_USD, decimal_to_int

MARKETS_MAX = 10_000


@dataclass(slots=True)
class _Ticker:
    """One market of a file while it is read: events as columns, small enough for millions."""

    name: str
    opening: tuple[Delta, ...]
    opening_ms: int
    book: LevelBook
    at_ns: array[int] = field(default_factory=lambda: array("q"))
    deltas: list[tuple[Delta, ...]] = field(default_factory=list)
    prints: dict[int, tuple[int, int]] = field(default_factory=dict)  # event place -> (size, outcome)
    finest_ticks: int = 100
    stray_count: int = 0  # trades without a removal before them
    last_ms: int = 0


@lru_cache(maxsize=1 << 16)  # a few prices and sizes make up most of a file
def parse_price(text: str) -> int:
    """Return a price in ticks."""
    return decimal_to_int(text, 4)


@lru_cache(maxsize=1 << 16)
def parse_size(text: str) -> int:
    """Return a size or a signed change of one, 1e-6 share."""
    return -decimal_to_int(text[1:], 6) if text.startswith("-") else decimal_to_int(text, 6)


def parse_levels(message: dict[str, Any]) -> tuple[Delta, ...]:
    """Return the levels of a snapshot in the YES view."""
    levels = [
        Delta(True, decimal_to_int(price, 4), decimal_to_int(size, 6))
        for price, size in message.get("yes_dollars_fp") or ()
    ]
    levels += [
        Delta(False, TICKS_PER_USD - decimal_to_int(price, 4), decimal_to_int(size, 6))
        for price, size in message.get("no_dollars_fp") or ()
    ]
    return tuple(levels)


def parse_delta(message: dict[str, Any]) -> Delta:
    """Return one delta in the YES view; its size keeps its sign."""
    size = parse_size(message["delta_fp"])
    price = parse_price(message["price_dollars"])
    is_bid = message["side"] == "yes"
    return Delta(is_bid, price if is_bid else TICKS_PER_USD - price, size)


def load(paths: Sequence[Path], seconds_max: float | None = None) -> list[FlowMarket]:
    """Return every market of the files in order of first appearance.

    `seconds_max` leaves out what lies later than that after a market's own start. A ticker that
    several files hold becomes one market a file.
    """
    markets: list[FlowMarket] = []
    names: dict[str, int] = {}
    for path in paths:
        for ticker in _read(path, seconds_max):
            copy = names[ticker.name] = names.get(ticker.name, 0) + 1
            markets.append(_flow_market(ticker, "" if copy == 1 else f"-copy{copy}"))
            if len(markets) > MARKETS_MAX:
                raise ConfigError(f"recording {path}: expected at most {MARKETS_MAX} markets")
    return markets


def _read(path: Path, seconds_max: float | None) -> list[_Ticker]:
    tickers: dict[str, _Ticker] = {}
    limit_ms = None if seconds_max is None else int(seconds_max * 1_000)
    for frame in recording.read(path):
        if frame.venue != "kalshi":
            continue
        try:
            item = orjson.loads(frame.raw)
            _take(tickers, item, frame, limit_ms)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise IntegrityError(
                f"recording {path} line {frame.line}: expected a Kalshi order-book or trade message, "
                f"found {frame.raw[:60]!r} ({error})"
            ) from error
    return list(tickers.values())


def _take(
    tickers: dict[str, _Ticker], item: dict[str, Any], frame: recording.RecordedFrame, limit_ms: int | None
) -> None:
    kind, message = item["type"], item["msg"]
    name = message["market_ticker"]
    ticker = tickers.get(name)
    now_ms = message.get("ts_ms") or (frame.t_ns or 0) // NS_PER_MS
    if ticker is None:
        if kind != "orderbook_snapshot":
            return  # nothing is known of a market before its first snapshot
        opening = parse_levels(message)
        tickers[name] = _Ticker(name, opening, now_ms, LevelBook(opening), last_ms=now_ms)
        _note_grid(tickers[name], opening)
        return
    ticker.last_ms = now_ms = max(ticker.last_ms, now_ms)
    if limit_ms is not None and now_ms - ticker.opening_ms > limit_ms:
        return
    if kind == "orderbook_snapshot":
        deltas = _difference(ticker.book, parse_levels(message))
    elif kind == "orderbook_delta":
        deltas = (parse_delta(message),)
    else:
        _note_print(ticker, message)
        return
    for delta in deltas:
        ticker.book.apply(delta)
    if deltas:
        ticker.at_ns.append((now_ms - ticker.opening_ms) * NS_PER_MS)
        ticker.deltas.append(deltas)
        _note_grid(ticker, deltas)


def _note_grid(ticker: _Ticker, deltas: Sequence[Delta]) -> None:
    if any(delta.price_ticks % ticker.finest_ticks for delta in deltas):
        ticker.finest_ticks = 10 if all(delta.price_ticks % 10 == 0 for delta in deltas) else 1


def _note_print(ticker: _Ticker, message: dict[str, Any]) -> None:
    """Mark the last event as traded when it is the removal that this trade caused."""
    outcome = 0 if message["taker_side"] == "yes" else 1
    price = decimal_to_int(message["yes_price_dollars"], 4)
    size = decimal_to_int(message["count_fp"], 6)
    place = len(ticker.deltas) - 1
    if place >= 0 and place not in ticker.prints:
        deltas = ticker.deltas[place]
        if len(deltas) == 1 and deltas[0] == (outcome == 1, price, -size):
            ticker.prints[place] = (size, outcome)
            return
    ticker.stray_count += 1


def _difference(book: LevelBook, target: Sequence[Delta]) -> tuple[Delta, ...]:
    """Return the deltas that turn the book into the target."""
    wanted = {(delta.is_bid, delta.price_ticks): delta.size_micro for delta in target}
    gone = [
        Delta(side, price, -size) for (side, price), size in book.sizes.items() if (side, price) not in wanted
    ]
    changed = [
        Delta(side, price, size - book.sizes.get((side, price), 0))
        for (side, price), size in wanted.items()
        if size != book.sizes.get((side, price), 0)
    ]
    return tuple(gone + changed)


def _flow_market(ticker: _Ticker, suffix: str) -> FlowMarket:
    condition = identity.condition_id("kalshi", ticker.name, suffix)
    slug = f"{ticker.name}{suffix}".lower()
    market = Market(
        condition=condition,
        tokens=identity.token_ids(condition),
        outcomes=("Yes", "No"),
        question=f"{ticker.name}{suffix} (order flow recorded on Kalshi)?",
        slug=slug,
        tick_step=ticker.finest_ticks,
        min_order_size=DEFAULT_MIN_ORDER_SIZE,
        neg_risk=False,
        fee_rate_ppm=DEFAULT_FEE_RATE_PPM,
        fee_exponent=1,
        source=Source.FOREIGN,
        event_id=identity.number("kalshi", slug),
        event_slug=slug,
        event_title=ticker.name,
        tags=("foreign", "kalshi"),
    )
    return FlowMarket(market, ticker.opening, ticker.opening_ms, _events(ticker))


def _events(ticker: _Ticker) -> Iterator[FlowEvent]:
    for place, deltas in enumerate(ticker.deltas):
        size, outcome = ticker.prints.get(place, (0, 0))
        yield FlowEvent(ticker.at_ns[place], deltas, size, outcome)
