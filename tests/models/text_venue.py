"""The market channel of a truthful venue as text: what `venue_model.Market` says, spelled as Polymarket does.

Snapshots answer a subscription only (subscribing again gives nothing: venue sheet 6), PING gets PONG, and
every message passes the fates of a fault plan on its line.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from pipeline import records as r
from pipeline.codec import KIND_OFFSET, unpack
from tests.models.book_state import decimal_text, trade_text
from tests.models.venue_model import Market, runs_of
from tests.proxy.plan import Dice, Fate, Plan, Shuffle

SIDES = ("BUY", "SELL")
HOLD_NS_MAX = 200_000_000  # a message that waits for a next one comes alone after this


def text_of(run: bytes, market: Market) -> bytes:
    """Return the frame that a run of records stands for."""
    slots = [unpack(run, at) for at in range(0, len(run), r.SLOT_BYTES)]
    head, tokens = slots[0], market.ids["tokens"]
    said: dict[str, Any] = {"market": market.ids["market"], "timestamp": str(head.venue_ns // 10**6)}
    if head.kind == r.Kind.DELTA:
        said |= {"price_changes": _changes(slots, tokens), "event_type": "price_change"}
        return json.dumps(said).encode()
    said["asset_id"] = tokens[head.outcome]
    if head.kind == r.Kind.SNAPSHOT:
        said |= _book(slots)
    elif head.kind == r.Kind.TRADE_PRINT:
        said |= {"price": _price(head.price_ticks), "size": decimal_text(head.size_micro, 6),
                 "side": SIDES[head.side], "event_type": "last_trade_price"}
    elif head.kind == r.Kind.TICK_STEP:
        said |= {"old_tick_size": _price(head.old_step), "new_tick_size": _price(head.new_step),
                 "event_type": "tick_size_change"}
    else:
        raise ValueError(f"no frame is spelled for {r.Kind(head.kind).name}")
    return json.dumps(said, separators=(",", ":")).encode()


def shuffled(text: bytes, draw: random.Random | None) -> bytes:
    """Return the frame with its changes in another order: the venue's varies (venue sheet 6)."""
    if draw is None or b"price_changes" not in text:
        return text
    said = json.loads(text)
    draw.shuffle(said["price_changes"])
    return json.dumps(said).encode()


def _price(ticks: int) -> str:
    return decimal_text(ticks, 4)


def _changes(slots: list[Any], tokens: list[str]) -> list[dict[str, str]]:
    facts = [
        {"hash": head.hash_yes.hex(), "best_bid": _price(head.best_bid_yes),
         "best_ask": _price(head.best_ask_yes)} if outcome == 0 else
        {"hash": head.hash_no.hex(), "best_bid": _price(head.best_bid_no),
         "best_ask": _price(head.best_ask_no)}
        for head in slots[:1] for outcome in (0, 1)]
    return [
        {"asset_id": tokens[slot.outcome[at]], "price": _price(slot.price_ticks[at]),
         "size": decimal_text(slot.size_micro[at], 6), "side": SIDES[slot.side[at]],
         **facts[slot.outcome[at]]}
        for slot in slots for at in range(slot.change_count)]


def _book(slots: list[Any]) -> dict[str, Any]:
    head = slots[0]
    sides: list[list[tuple[int, int]]] = [[], []]
    for slot in slots:
        for at in range(slot.bid_count + slot.ask_count):
            sides[at >= slot.bid_count].append((slot.price_ticks[at], slot.size_micro[at]))
    said: dict[str, Any] = {"hash": head.hash.hex(), "event_type": "book"}
    for name, levels in (("bids", sorted(sides[0])), ("asks", sorted(sides[1], reverse=True))):
        said[name] = [{"price": _price(p), "size": decimal_text(s, 6)} for p, s in levels]
    if head.tick_step:
        said["tick_size"] = _price(head.tick_step)
    if head.last_trade_state:
        digits = 3 if head.last_trade_ticks % 10 == 0 else 4
        price = trade_text(head.last_trade_ticks, digits)
        said["last_trade_price"] = "" if head.last_trade_state == 1 else price
    return said


class TextLine:
    """One websocket: what it subscribed, and what waits on it."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.wanted: dict[str, None] = {}
        self.queue: deque[bytes] = deque()
        self.is_open = False
        self.is_frozen = False  # market data end, PONG goes on
        self.is_deaf = False  # snapshots come, changes do not
        self.is_dead = False  # half-open: nothing comes, and nobody says so
        self.lag_ns = 0  # what is sent now arrives so much later
        self.shuffles: random.Random | None = None  # changes of a frame in an order of its own
        self._late: deque[tuple[int, bytes]] = deque()
        self._dice = Dice(plan, number, "ws")
        self._shuffle: Shuffle[bytes] = Shuffle()
        self._held_ns = 0

    def send(self, text: bytes, now_ns: int) -> Fate:
        """Put one message on the wire; return what became of it."""
        if self.is_frozen or self.is_dead:
            return Fate.DROP
        fate = self._dice.next()[0]
        if not self._shuffle.is_holding:
            self._held_ns = now_ns
        for item in self._shuffle.feed(text, fate):
            if self.lag_ns or self._late:
                self._late.append((now_ns + self.lag_ns, item))
            else:
                self.queue.append(item)
        return fate

    def spare(self) -> None:
        """Let everything pass from now on."""
        self._dice = Dice(Plan(0), 0, "ws")

    def release(self, now_ns: int) -> None:
        """Let a message go that has waited long enough for a next one."""
        if self._shuffle.is_holding and now_ns - self._held_ns >= HOLD_NS_MAX:
            self.queue.extend(self._shuffle.flush())
        while self._late and self._late[0][0] <= now_ns:
            self.queue.append(self._late.popleft()[1])

    @property
    def is_clear(self) -> bool:
        """Tell whether nothing of it is under way."""
        return not self.queue and not self._late and not self._shuffle.is_holding


class TextVenue:
    """All markets, and the lines that listen to them."""

    def __init__(self, markets: list[Market], plan: Plan) -> None:
        self.markets = {market.row: market for market in markets}
        self.plan = plan
        self.lines: dict[int, TextLine] = {}  # by connection
        self.opened_count = 0
        self.snapshot_count = 0
        self._by_token = {token: (market, outcome) for market in markets
                          for outcome, token in enumerate(market.ids["tokens"])}
        self._snapshots: dict[tuple[int, int], tuple[Any, bytes]] = {}  # of each token, by state
        self.withholds: Callable[[Market], bool] = lambda market: False  # whose snapshots do not come
        self.respell: Callable[[Market, bytes], bytes] = lambda market, text: text  # what it says otherwise
        self.on_line: Callable[[int, TextLine], None] = lambda conn, line: None  # a look at each new line
        self.shows: Callable[[Market, Any], Any] = lambda market, book: book  # over REST
        self.before_snapshot: list[Market] = []  # these change between a subscription and its snapshot

    def open(self, conn: int) -> None:
        """A new line."""
        self.opened_count += 1
        self.lines[conn] = TextLine(self.plan, self.opened_count)
        self.lines[conn].is_open = True
        self.on_line(conn, self.lines[conn])

    def close(self, conn: int) -> None:
        """A line ends; what is on it is lost."""
        self.lines.pop(conn, None)

    def on_text(self, conn: int, data: bytes, now_ns: int) -> None:
        """Take what a client says."""
        line = self.lines.get(conn)
        if line is None or line.is_dead:
            return
        if data == b"PING":
            line.queue.append(b"PONG")
            return
        said = json.loads(data)
        tokens = said["assets_ids"]
        if said.get("operation") == "unsubscribe":
            for token in tokens:
                line.wanted.pop(token, None)
            return
        fresh = [token for token in tokens if token not in line.wanted]
        line.wanted |= dict.fromkeys(tokens)
        for market in self.before_snapshot:
            self.tell(market, market.commit(), now_ns)
        books = [self.respell(self._by_token[token][0], self._snapshot(*self._by_token[token]))
                 for token in fresh
                 if not self.withholds(self._by_token[token][0])]
        if books:
            self.snapshot_count += len(books)
            line.send(b"[" + b",".join(books) + b"]", now_ns)

    def _snapshot(self, market: Market, outcome: int) -> bytes:
        state = (market.venue_ns, market.trade, market.tick_step, *map(frozenset, (
            market.sides[0].items(), market.sides[1].items())))
        known = self._snapshots.get((market.row, outcome))
        if known is None or known[0] != state:
            known = self._snapshots[market.row, outcome] = state, text_of(market.snapshot(outcome), market)
        return known[1]

    def rows_of(self, body: bytes) -> list[int]:
        """Return the rows that a `POST /books` asks for."""
        return [self._by_token[item["token_id"]][0].row for item in json.loads(body)]

    def rest(self, body: bytes) -> bytes:
        """Answer `POST /books`."""
        asked = [self._by_token[item["token_id"]] for item in json.loads(body)]
        return json.dumps([
            self.shows(market, json.loads(self._snapshot(market, outcome))) for market, outcome in asked
        ]).encode()

    def tell(self, market: Market, runs: list[bytes], now_ns: int) -> list[tuple[int, Fate]]:
        """Send runs of a market to who listens; return kind and fate of each message."""
        fates = []
        for run in (part for joined in runs for part in runs_of(joined)):
            text = self.respell(market, text_of(run, market))
            for line in self.lines.values():
                if not line.is_deaf and any(token in line.wanted for token in market.ids["tokens"]):
                    fates.append((run[KIND_OFFSET], line.send(shuffled(text, line.shuffles), now_ns)))
        return fates
