"""The market websocket channel, sans-IO: subscriptions in, frames out.

Reads: client messages, `Commit`s of the engine. Writes: frames to the subscribers of either token.
A commit of k level changes becomes k `price_change` frames with one timestamp and the final hash and
best prices in each; one that traded adds fresh `book` frames at once and the trade print 34-88 ms
later (spread measured on captures of 2026-09; drawn from the seed). A wrong subscription is accepted
in silence and gets nothing, as the venue does.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from pipeline.sim import identity, render
from pipeline.sim.market import Commit, Market
from pipeline.sim.render import BookText
from pipeline.units import NS_PER_MS

SNAPSHOT_BYTES_MAX = 512 * 1024  # the official client closes on frames above 1 MiB
ASSETS_MAX = 100_000  # per connection
PRINT_DELAY_MS = (34, 88)

BBO, CHANGE, BOOK, PRINT, SNAPSHOT, TICK, RESOLVED, OTHER = (
    "best_bid_ask",
    "price_change",
    "book",
    "last_trade_price",
    "snapshot",
    "tick_size_change",
    "market_resolved",
    "other",
)


class View(Protocol):
    """A market's book as subscribers see it at this moment."""

    market: Market

    def book(self) -> BookText: ...


class Timetable(Protocol):
    """Runs actions later; the exchange's timers."""

    def at(self, when_ns: int, action: Callable[[int], None]) -> None: ...


@dataclass(slots=True)
class LiveView:
    """A market whose book is kept here, commit by commit."""

    market: Market
    text: BookText

    def book(self) -> BookText:
        return self.text


@dataclass(slots=True)
class Client:
    """What one websocket asked for. `tokens` is an ordered set."""

    socket: int
    tokens: dict[str, None] = field(default_factory=dict)
    wants_custom: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """Frames of one commit. `bbo` only for custom subscribers; `books` by outcome after a trade."""

    bbo: tuple[bytes, ...]
    changes: tuple[bytes, ...]
    books: tuple[bytes, ...]
    trade: bytes | None  # the trade print, sent later


def render_commit(book: BookText, commit: Commit, draw: random.Random, with_bbo: bool = True) -> Rendered:
    """Apply the commit to the book and return its frames; `draw` chooses the order of the two tokens."""
    before = book.best()
    for change in commit.changes:
        book.apply(change)
    book.timestamp_ms = max(book.timestamp_ms, commit.now_ns // NS_PER_MS)
    if commit.last_trade is not None:
        book.last_trade = commit.last_trade
    hashes = (book.hash(0), book.hash(1))
    bits = draw.getrandbits(8)
    changes = tuple(
        render.price_change_frame(book, change, hashes, bool((bits >> (place & 7)) & 1))
        for place, change in enumerate(commit.changes)
    )
    bbo: tuple[bytes, ...] = ()
    if with_bbo and book.best() != before:
        bbo = render.best_bid_ask_frames(book, book.timestamp_ms + (bits >> 7))
    if not commit.traded:
        return Rendered(bbo, changes, (), None)
    books = (render.refresh_frame(book, 0, hashes[0]), render.refresh_frame(book, 1, hashes[1]))
    if not commit.trade_size_micro:
        return Rendered(bbo, changes, books, None)
    tx_hash = "0x" + hashlib.sha256(b"print:" + changes[0] if changes else books[0]).hexdigest()
    trade = render.last_trade_frame(
        commit.market,
        commit.taker_outcome,
        commit.trade_ticks,
        commit.trade_size_micro,
        commit.taker_is_buy,
        book.timestamp_ms,
        tx_hash,
    )
    return Rendered(bbo, changes, books, trade)


class MarketChannel:
    """All market subscriptions of the exchange. Not thread-safe; time comes in with each call."""

    def __init__(
        self, send: Callable[[int, bytes], None], timers: Timetable, seed: int = 0, with_bbo: bool = True
    ) -> None:
        self._send_frame = send
        self._timers = timers
        self.with_bbo = with_bbo
        self.sent: Counter[str] = Counter()  # frames handed to transports, by kind
        self.on_subscribed: Callable[[Iterable[str], int], None] | None = None  # conditions, now_ns
        self._draw = random.Random(f"market-channel:{seed}")
        self._views: dict[str, View] = {}  # by condition
        self._token: dict[str, tuple[str, int]] = {}  # token -> (condition, outcome)
        self._clients: dict[int, Client] = {}  # by socket
        self._routes: dict[str, list[tuple[Client, bool, bool]]] = {}  # condition -> (client, yes, no)

    # -- markets ------------------------------------------------------------------------------

    def add(self, view: View) -> None:
        """Serve a market; an earlier view of the same condition is replaced (subscriptions stay)."""
        market = view.market
        self._views[market.condition] = view
        for outcome, token in enumerate(market.tokens):
            self._token[token] = (market.condition, outcome)
        self._routes.setdefault(market.condition, [])

    def add_live(self, market: Market) -> BookText:
        """Serve a market whose commits come through `on_commit`; returns its (empty) book text."""
        text = BookText(market)
        self.add(LiveView(market, text))
        return text

    def view(self, condition: str) -> View | None:
        return self._views.get(condition)

    def clients_of(self, condition: str) -> Sequence[tuple[Client, bool, bool]]:
        """Return (client, has YES, has NO) for everyone who subscribed either token."""
        return self._routes.get(condition, ())

    # -- clients ------------------------------------------------------------------------------

    def open(self, now_ns: int, socket: int) -> None:
        """Register a connected socket; it gets nothing before it subscribes."""
        self._clients[socket] = Client(socket)

    def close(self, now_ns: int, socket: int) -> None:
        """Forget a socket."""
        client = self._clients.pop(socket, None)
        if client is not None:
            self._reroute({self._token[token][0]: None for token in client.tokens}, client, gone=True)

    def on_text(self, now_ns: int, socket: int, text: bytes) -> None:
        """Take one text message of a client; anything not understood is ignored."""
        client = self._clients.get(socket)
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        if client is None or not isinstance(message, dict):
            return
        assets = message.get("assets_ids")
        if not isinstance(assets, list):
            return
        tokens = [asset for asset in assets[:ASSETS_MAX] if isinstance(asset, str) and asset in self._token]
        operation = message.get("operation")
        if operation == "unsubscribe":
            for token in tokens:
                client.tokens.pop(token, None)
            self._reroute({self._token[token][0]: None for token in tokens}, client)
        elif operation == "subscribe" or (operation is None and message.get("type") == "market"):
            if "custom_feature_enabled" in message:
                client.wants_custom = message["custom_feature_enabled"] is True
            new = [token for token in dict.fromkeys(tokens) if token not in client.tokens]
            client.tokens.update(dict.fromkeys(new))
            conditions = {self._token[token][0]: None for token in new}
            self._reroute(conditions, client)
            if message.get("initial_dump", True) is not False:
                self._dump(client, new)
            if self.on_subscribed is not None and conditions:
                self.on_subscribed(conditions, now_ns)

    def _reroute(self, conditions: Iterable[str], client: Client, gone: bool = False) -> None:
        for condition in conditions:
            route = [entry for entry in self._routes[condition] if entry[0] is not client]
            yes, no = (token in client.tokens for token in self._views[condition].market.tokens)
            if (yes or no) and not gone:
                route.append((client, yes, no))
            self._routes[condition] = route

    def _dump(self, client: Client, tokens: Sequence[str]) -> None:
        """Send the books of newly subscribed tokens as arrays below the frame limit."""
        objects: list[bytes] = []
        total = 0
        for token in tokens:
            condition, outcome = self._token[token]
            view = self._views[condition]
            if getattr(view, "dumps_itself", False):
                continue  # a recording that has not begun: its own first frame is the snapshot
            item = render.snapshot_object(view.book(), outcome)
            if objects and total + len(item) > SNAPSHOT_BYTES_MAX:
                self._send(client.socket, [render.snapshot_array(objects)], SNAPSHOT)
                objects, total = [], 0
            objects.append(item)
            total += len(item) + 1
        if objects:
            self._send(client.socket, [render.snapshot_array(objects)], SNAPSHOT)

    def _send(self, socket: int, frames: Sequence[bytes], kind: str) -> None:
        self.sent[kind] += len(frames)
        for frame in frames:
            self._send_frame(socket, frame)

    # -- the engine's side --------------------------------------------------------------------

    def on_commit(self, commit: Commit) -> None:
        """Publish one engine action of a market that was added with `add_live`."""
        condition = commit.market.condition
        book = self._views[condition].book()
        out = render_commit(book, commit, self._draw, self.with_bbo)
        route = self._routes[condition]
        for client, yes, no in route:
            if out.bbo and client.wants_custom:
                self._send(client.socket, [f for f, has in zip(out.bbo, (yes, no), strict=True) if has], BBO)
            self._send(client.socket, out.changes, CHANGE)
            if out.books:
                self._send(
                    client.socket, [f for f, has in zip(out.books, (yes, no), strict=True) if has], BOOK
                )
        trade = out.trade
        if trade is not None and route:
            due_ns = commit.now_ns + self._draw.randint(*PRINT_DELAY_MS) * NS_PER_MS
            self._timers.at(due_ns, lambda now_ns: self.broadcast(condition, [trade], PRINT))

    def broadcast(
        self, condition: str, frames: Sequence[bytes], kind: str, custom_only: bool = False
    ) -> None:
        """Send the same frames to everyone who subscribed either token of the market."""
        for client, _, _ in self._routes.get(condition, ()):
            if client.wants_custom or not custom_only:
                self._send(client.socket, frames, kind)

    def change_tick(self, market: Market, new_step: int, now_ns: int) -> None:
        """Set a market's tick; subscribers of a token get that token's `tick_size_change`."""
        old_step, market.tick_step = market.tick_step, new_step
        frames = render.tick_size_frames(market, old_step, new_step, now_ns // NS_PER_MS)
        for client, yes, no in self._routes.get(market.condition, ()):
            wanted = [frame for frame, has in zip(frames, (yes, no), strict=True) if has]
            self._send(client.socket, wanted, TICK)

    def announce(self, now_ns: int, market: Market) -> None:
        """Tell every custom subscriber of a new market, whatever else it asked for."""
        number = identity.number("market", market.condition)
        frame = render.new_market_frame(market, number, now_ns // NS_PER_MS)
        for client in self._clients.values():
            if client.wants_custom:
                self._send(client.socket, [frame], OTHER)

    def on_resolved(self, now_ns: int, market: Market) -> None:
        """Tell custom subscribers which outcome pays."""
        payout = market.payout_micro
        winner = 0 if payout is None or payout[0] >= payout[1] else 1
        frame = render.market_resolved_frame(
            market, identity.number("market", market.condition), winner, now_ns // NS_PER_MS
        )
        self.broadcast(market.condition, [frame], RESOLVED, custom_only=True)
