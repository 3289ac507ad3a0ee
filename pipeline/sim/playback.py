"""Plays every market's flow against the clock: rendered tracks, live flow, recordings.

Reads: the time, how full the sockets are, the flow. Writes: bytes to sockets (tracks, recordings) and
changes into the exchange (live flow). The flow clock starts when subscribers have come and been quiet
for `quiet_ns`. At speed N flow time runs N times wall time; at `max` it runs as fast as every socket
takes (one slow reader holds all, so nothing is dropped).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from pipeline.sim.exchange import Exchange
from pipeline.sim.flow import FlowEvent, FlowMarket
from pipeline.sim.market import Market
from pipeline.sim.market_channel import LiveView, MarketChannel
from pipeline.sim.render import BookText
from pipeline.sim.replay import Replay
from pipeline.sim.track import Track
from pipeline.sim.websocket import server_frame
from pipeline.units import NS_PER_MS, NS_PER_S

MAX_STEP_NS = 20 * NS_PER_MS  # flow time of one turn at speed max
LIVE_EVENTS_MAX = 256  # of one turn, so orders are never kept waiting
BACKLOG_BYTES_MAX = 512 * 1024  # a socket with more than this holds the flow at speed max
START_WAIT_NS = 10 * NS_PER_S  # the longest that late subscribers can hold the start

Write = Callable[[int, bytes | memoryview, int], None]  # socket, websocket bytes, frames


class Player:
    """Everything that plays. `speed` None means max."""

    def __init__(
        self,
        exchange: Exchange,
        channel: MarketChannel,
        write: Write,
        backlog: Callable[[], int],
        speed: float | None,
        quiet_ns: int = 500 * NS_PER_MS,
    ) -> None:
        self.tracks: list[Track] = []
        self.replays: list[Replay] = []
        self.live_events = 0  # applied to the engine
        self.started_ns: int | None = None
        self.flow_ns = 0  # flow time played
        self.on_start: list[Callable[[int], None]] = []
        self._exchange = exchange
        self._channel = channel
        self._write = write
        self._backlog = backlog
        self._speed = speed
        self._quiet_ns = quiet_ns
        self._first_ns: int | None = None  # first and latest subscription
        self._latest_ns = 0
        self._is_stopped = False
        self._held_ns = 0  # wall time in which no flow time passed
        self._held_since_ns = 0  # 0 = it passes
        self._flows: list[tuple[Market, Iterator[FlowEvent]]] = []
        self._heap: list[tuple[int, int, FlowEvent]] = []  # next event of each live flow
        channel.on_subscribed = self._on_subscribed

    # -- what plays ---------------------------------------------------------------------------

    def add_track(self, track: Track) -> None:
        """Play a rendered market; its opening book is what subscribers get before the start."""
        self.tracks.append(track)
        self._channel.add(track)

    def add_live(self, now_ns: int, flow: FlowMarket) -> None:
        """Play a market through the engine from the start."""
        self._channel.add_live(flow.market)
        self._exchange.foreign_changes(now_ns, flow.market, flow.opening)
        self._add_flow(flow.market, flow.events)

    def add_late(self, now_ns: int, flow: FlowMarket) -> None:
        """Play a market that opens now, while others are played."""
        first_ns = self.flow_ns
        later = (event._replace(at_ns=first_ns + event.at_ns) for event in flow.events)
        self.add_live(now_ns, FlowMarket(flow.market, flow.opening, flow.opening_ms, later))

    def add_replay(self, replay: Replay) -> None:
        """Play a recording unaltered."""
        self.replays.append(replay)
        for book in replay.books.values():
            self._channel.add(_ReplayView(replay, book.market, book.book()))

    def track_went_live(self, track: Track) -> None:
        """From now on match a track's flow in the engine; called when somebody trades there."""
        text = track.book()
        rest = track.go_live()
        self._channel.add(LiveView(track.market, text))
        self._add_flow(track.market, rest)

    def _add_flow(self, market: Market, events: Iterator[FlowEvent]) -> None:
        self._flows.append((market, events))
        self._push_next(len(self._flows) - 1)

    def _push_next(self, place: int) -> None:
        event = next(self._flows[place][1], None)
        if event is not None:
            heapq.heappush(self._heap, (event.at_ns, place, event))

    # -- the clock ----------------------------------------------------------------------------

    def expect_start(self, now_ns: int) -> None:
        """Let the wait for subscribers begin, though none has come yet."""
        if self._first_ns is None:
            self._first_ns = self._latest_ns = now_ns

    def _on_subscribed(self, conditions: object, now_ns: int) -> None:
        self.expect_start(now_ns)
        self._latest_ns = now_ns

    def start(self, now_ns: int) -> None:
        """Start the flow clock now; a second call does nothing."""
        if self.started_ns is None and not self._is_stopped:
            self.started_ns = now_ns
            for action in self.on_start:
                action(now_ns)

    def hold(self, now_ns: int) -> None:
        """Let no flow time pass from now until the next `pump`: the venue is down."""
        if self.started_ns is not None and not self._held_since_ns:
            self._held_since_ns = now_ns

    def stop(self) -> None:
        """Play nothing more."""
        self._is_stopped = True

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to play."""
        return (
            not self._heap
            and all(track.is_live or track.position == track.count for track in self.tracks)
            and all(replay.position == len(replay.texts) for replay in self.replays)
        )

    def pump(self, now_ns: int) -> float:
        """Play what is due; return how long, in seconds, nothing more will be."""
        if self._is_stopped:
            return 1.0
        if self.started_ns is None:
            if self._first_ns is None:
                return 0.05
            is_quiet = now_ns - self._latest_ns >= self._quiet_ns
            if not is_quiet and now_ns - self._first_ns < START_WAIT_NS:
                return 0.01
            self.start(now_ns)
        if self._speed is None:
            return self._pump_max(now_ns)
        if self._held_since_ns:
            self._held_ns += now_ns - self._held_since_ns
            self._held_since_ns = 0
        self.flow_ns = int((now_ns - self._held_ns - (self.started_ns or now_ns)) * self._speed)
        self._play(now_ns)
        if self.is_done:
            return 0.05
        return max(0.0005, (self._next_at() - self.flow_ns) / self._speed / NS_PER_S)

    def _pump_max(self, now_ns: int) -> float:
        if self.is_done:
            return 0.05
        if self._backlog() > BACKLOG_BYTES_MAX:
            return 0.002
        if not (self._heap and self._heap[0][0] <= self.flow_ns):  # live flow first catches up
            self.flow_ns += MAX_STEP_NS
        before = self._position()
        self._play(now_ns)
        if self._position() == before:  # silence: go to the next event at once
            self.flow_ns = max(self.flow_ns, self._next_at())
        return 0.0

    def _position(self) -> int:
        places = sum(track.position for track in self.tracks) + sum(
            replay.position for replay in self.replays
        )
        return places + self.live_events

    def _next_at(self) -> int:
        times = [
            track.at_ns[track.position]
            for track in self.tracks
            if not track.is_live and track.position < track.count
        ]
        times += [
            replay.at_ns[replay.position] for replay in self.replays if replay.position < len(replay.texts)
        ]
        times += [self._heap[0][0]] if self._heap else []
        return min(times, default=self.flow_ns)

    # -- playing ------------------------------------------------------------------------------

    def _play(self, now_ns: int) -> None:
        for track in self.tracks:
            if not track.is_live:
                self._play_track(track)
        for replay in self.replays:
            self._play_replay(replay, now_ns)
        for _ in range(LIVE_EVENTS_MAX):
            if not self._heap or self._heap[0][0] > self.flow_ns:
                break
            _, place, event = heapq.heappop(self._heap)
            self._apply(self._flows[place][0], event, now_ns)
            self._push_next(place)

    def _play_track(self, track: Track) -> None:
        first, at_ns, count = track.position, track.at_ns, track.count
        last = first
        while last < count and at_ns[last] <= self.flow_ns:
            last += 1
        if last == first:
            return
        track.position = last
        data = track.slice(first, last)
        plain: bytes | None = None
        for client, _, _ in self._channel.clients_of(track.market.condition):
            counts = track.tally(first, last, client.wants_custom)
            self._channel.sent.update(counts)
            if client.wants_custom:
                self._write(client.socket, data, counts.total())
            else:
                plain = track.without_bbo(first, last) if plain is None else plain
                self._write(client.socket, plain, counts.total())

    def _play_replay(self, replay: Replay, now_ns: int) -> None:
        while replay.position < len(replay.texts) and replay.at_ns[replay.position] <= self.flow_ns:
            place = replay.position
            replay.position += 1
            everyone = replay.conditions[place] or tuple(replay.books)  # PONG belongs to nobody
            clients: dict[int, None] = {}
            for condition in everyone:
                for client, _, _ in self._channel.clients_of(condition):
                    clients[client.socket] = None
            frame = server_frame(replay.texts[place])
            for socket in clients:
                self._write(socket, frame, 1)
            self._channel.sent["recorded"] += len(clients)
            self._follow(replay, place, now_ns)

    def _follow(self, replay: Replay, place: int, now_ns: int) -> None:
        """Let the shadow books see the frame; book what it does to our resting orders."""
        for item in replay.items[place]:
            book = replay.books.get(str(item.get("market")))
            if book is None:
                continue
            for is_bid, fills in book.apply(item):
                self._exchange.fill_resting(now_ns, book.market, is_bid, fills)
            self._exchange.engine.changed_ns[book.market.condition] = book.text.timestamp_ms * NS_PER_MS

    def _apply(self, market: Market, event: FlowEvent, now_ns: int) -> None:
        self.live_events += 1
        if market.payout_micro is not None:
            return
        deltas: Sequence[tuple[bool, int, int]] = event.deltas
        if event.print_micro:
            first = event.deltas[0]
            is_bid = event.taker_outcome == 0  # a taker who buys YES bids
            self._exchange.foreign_take(now_ns, market, is_bid, first.price_ticks, event.print_micro)
            rest = first.size_micro + event.print_micro
            deltas = [(first.is_bid, first.price_ticks, rest)] if rest else []
            deltas += event.deltas[1:]
        if deltas:
            self._exchange.foreign_changes(now_ns, market, deltas)


class _ReplayView:
    """A recorded market for the channel: before the first frame subscribers wait for it."""

    def __init__(self, replay: Replay, market: Market, text: BookText) -> None:
        self.market = market
        self._replay = replay
        self._text = text

    @property
    def dumps_itself(self) -> bool:
        return self._replay.position == 0 or not (self._text.sizes[0] or self._text.sizes[1])

    def book(self) -> BookText:
        return self._text
