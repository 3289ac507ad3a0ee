"""Markets rendered before the run: frames in one buffer, ready for the socket.

Reads: a `FlowMarket` and how much of it will be played. Writes: websocket frames, contiguous in
memory, with the book behind every position, so playing costs a slice and a send. A track serves
until somebody trades in its market; then `LazyBook` hands the book to the engine and the rest of the
flow goes through it (`playback`).
"""

from __future__ import annotations

import heapq
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator

from pipeline.sim import market_channel as channel
from pipeline.sim.book import MatchedBook, Order, Plan, Taking, token_ticks
from pipeline.sim.flow import FlowEvent, FlowMarket, LevelBook, commit_of
from pipeline.sim.market import LevelChange, Market
from pipeline.sim.market_channel import PRINT_DELAY_MS, Rendered, render_commit
from pipeline.sim.render import BookText
from pipeline.sim.trades import last_trade_text
from pipeline.sim.websocket import server_frame
from pipeline.units import NS_PER_MS

KINDS = (channel.BBO, channel.CHANGE, channel.BOOK, channel.PRINT)
Frames = list[tuple[int, bytes]]  # (place in KINDS, text)


class Track:
    """One market's frames and the book behind them. Positions count rendered events."""

    def __init__(self, flow: FlowMarket) -> None:
        self.market: Market = flow.market
        self.opening_ms = flow.opening_ms
        self.buffer = bytearray()  # websocket frames, one after the other
        self.at_ns: array[int] = array("q")  # of each event, from the market's start
        self.ends: array[int] = array("Q", [0])  # ends[k] = bytes up to event k
        self.frames: array[int] = array("Q", [0])  # frames up to event k
        self.kind_counts: tuple[array[int], ...] = tuple(array("Q", [0]) for _ in KINDS)
        self.position = 0  # events played
        self.is_live = False
        self._events: list[FlowEvent | None] = []  # None: a print without a change of its own
        self._rest: Iterator[FlowEvent] = flow.events
        self._shown = 0  # events that `_text` contains
        opening = [LevelChange(*delta) for delta in flow.opening]
        self._opening = flow.opening
        self._text = BookText(flow.market, opening, flow.opening_ms)

    @property
    def count(self) -> int:
        """Events rendered."""
        return len(self._events)

    def render(self, until_ns: int, frames_max: int, draw: random.Random, with_bbo: bool = True) -> int:
        """Render events up to `until_ns` after the start or `frames_max` frames; return the frames made."""
        book = LevelBook(self._opening)
        text = BookText(self.market, [LevelChange(*delta) for delta in self._opening], self.opening_ms)
        prints: list[tuple[int, int, bytes]] = []
        for event in self._rest:
            if event.at_ns > until_ns or self.frames[-1] >= frames_max:
                self._rest = _again(event, self._rest)
                break
            while prints and prints[0][0] <= event.at_ns:
                due_ns, _, frame = heapq.heappop(prints)
                self._append(None, due_ns, [(3, frame)])
            commit = commit_of(self.market, book, event, self.opening_ms * NS_PER_MS + event.at_ns)
            if commit is None:
                continue
            out = render_commit(text, commit, draw, with_bbo)
            self._append(event, event.at_ns, _in_order(out))
            if out.trade is not None:
                delay_ns = draw.randint(*PRINT_DELAY_MS) * NS_PER_MS
                heapq.heappush(prints, (event.at_ns + delay_ns, self.count, out.trade))
        for due_ns, _, frame in sorted(prints):
            self._append(None, max(due_ns, self.at_ns[-1]), [(3, frame)])
        return int(self.frames[-1])

    def _append(self, event: FlowEvent | None, at_ns: int, frames: Frames) -> None:
        self._events.append(event)
        self.at_ns.append(at_ns)
        tallies = [0] * len(KINDS)
        for kind, text in frames:
            self.buffer += server_frame(text)
            tallies[kind] += 1
        for column, more in zip(self.kind_counts, tallies, strict=True):
            column.append(column[-1] + more)
        self.ends.append(len(self.buffer))
        self.frames.append(self.frames[-1] + len(frames))

    # -- playing ------------------------------------------------------------------------------

    def slice(self, first: int, last: int) -> memoryview:
        """Return the websocket bytes of events [first, last)."""
        return memoryview(self.buffer)[self.ends[first] : self.ends[last]]

    def tally(self, first: int, last: int, with_bbo: bool) -> Counter[str]:
        """Return the frames of events [first, last) by kind."""
        counts = Counter(
            {
                name: int(column[last] - column[first])
                for name, column in zip(KINDS, self.kind_counts, strict=True)
            }
        )
        if not with_bbo:
            del counts[channel.BBO]
        return counts

    def without_bbo(self, first: int, last: int) -> bytes:
        """Return the same bytes less the custom feature's frames."""
        data = self.slice(first, last)
        out = bytearray()
        at = 0
        while at < len(data):
            size = data[at + 1]
            start = at + 2
            if size == 126:
                start, size = at + 4, int.from_bytes(data[at + 2 : at + 4], "big")
            elif size == 127:
                start, size = at + 10, int.from_bytes(data[at + 2 : at + 10], "big")
            end = start + size
            if bytes(data[end - 30 : end]) != b'", "event_type":"best_bid_ask"}'[-30:]:
                out += data[at:end]
            at = end
        return bytes(out)

    def book(self) -> BookText:
        """Return the book at the present position, advanced to it now."""
        text = self._text
        for place in range(self._shown, self.position):
            event = self._events[place]
            if event is None:
                continue
            for delta in event.deltas:
                before = text.sizes[delta.is_bid].get(delta.price_ticks, 0)
                text.set_level(delta.is_bid, delta.price_ticks, max(0, before + delta.size_micro))
            text.timestamp_ms = self.opening_ms + event.at_ns // NS_PER_MS
            commit_trade = _last_trade(event)
            if commit_trade:
                text.last_trade = self.market.last_trade = commit_trade
        self._shown = self.position
        return text

    def go_live(self) -> Iterator[FlowEvent]:
        """Stop playing; return the flow that is left, rendered or not, to be matched by the engine."""
        self.book()
        self.is_live = True
        rest = [event for event in self._events[self.position :] if event is not None]
        return _chain(rest, self._rest)


def _in_order(out: Rendered) -> Frames:
    return (
        [(0, frame) for frame in out.bbo]
        + [(1, frame) for frame in out.changes]
        + [(2, frame) for frame in out.books]
    )


def _last_trade(event: FlowEvent) -> str:
    if not event.print_micro:
        return ""
    return last_trade_text(token_ticks(event.deltas[0].price_ticks, event.taker_outcome), True)


def _again(first: FlowEvent, rest: Iterator[FlowEvent]) -> Iterator[FlowEvent]:
    yield first
    yield from rest


def _chain(first: list[FlowEvent], rest: Iterator[FlowEvent]) -> Iterator[FlowEvent]:
    yield from first
    yield from rest


class LazyBook(MatchedBook):
    """A track's book in the engine: display from the track, matched for real from the first order on."""

    shows_changes = False

    def __init__(
        self,
        track: Track,
        on_live: Callable[[Track], None],
        on_shown: Callable[[str, int], None],
        dust_micro: int = 0,
    ) -> None:
        super().__init__(dust_micro)
        self._track = track
        self._on_live = on_live
        self._on_shown = on_shown  # (condition, ns): when the book that is shown last changed

    def go_live(self) -> None:
        """Take the displayed book over from the track."""
        if self.shows_changes:
            return
        for level in self._track.book().levels():
            self.add_anonymous(level.is_bid, level.price_ticks, level.size_micro)
        self.take_changes()
        self.shows_changes = True
        self._on_live(self._track)

    def plan(self, taking: Taking) -> Plan:
        self.go_live()
        return super().plan(taking)

    def rest(self, order: Order) -> None:
        self.go_live()
        super().rest(order)

    def clear_anonymous(self) -> None:
        self.go_live()
        super().clear_anonymous()

    def levels(self, is_bid: bool) -> list[tuple[int, int]]:
        if self.shows_changes:
            return super().levels(is_bid)
        text = self._track.book()
        self._on_shown(self._track.market.condition, text.timestamp_ms * NS_PER_MS)
        sizes = text.sizes[is_bid]
        return [(price, sizes[price]) for price in sorted(sizes, reverse=is_bid)]
