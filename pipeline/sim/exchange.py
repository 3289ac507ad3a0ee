"""The local exchange as one sans-IO machine: requests and socket texts in, responses and frames out.

Reads HTTP requests, socket texts, other participants' flow and the time, all as arguments; writes
responses and `Output` frames. The same calls with the same seed give the same bytes. Sockets live in the
drivers; market-channel frames and Gamma metadata come from plugs (`MarketChannel`, `Routes`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.errors import InvariantError
from pipeline.sim import wallets
from pipeline.sim.accounts import Account
from pipeline.sim.book import Fill, Order, TakingBook, token_ticks
from pipeline.sim.edge_limits import EdgeLimits
from pipeline.sim.engine import Engine
from pipeline.sim.geoblock import Geoblock
from pipeline.sim.http import Response
from pipeline.sim.later import Later
from pipeline.sim.ledger import Ledger
from pipeline.sim.lifecycle import Lifecycle
from pipeline.sim.market import Commit, LevelChange, Market
from pipeline.sim.orders import require_tradable
from pipeline.sim.rest import Rest
from pipeline.sim.settings import ExchangeSettings
from pipeline.sim.timers import Timers
from pipeline.sim.trades import OrderArrival, Trade
from pipeline.sim.user_channel import UserChannel
from pipeline.units import MICRO, proceeds_micro

CLOSE_NORMAL, CLOSE_RESTART = 1000, 1012  # RFC 6455 and its registry


@dataclass(frozen=True, slots=True)
class Output:
    """One text frame for a socket; with `is_close` the socket is closed after it (frame may be empty)."""

    socket: int
    frame: bytes
    is_close: bool = False
    code: int = CLOSE_NORMAL  # of the websocket's end


#: Who asked hears (now_ns, answer) once, now or later; None = the connection ends without an answer.
Reply = Callable[[int, Response | None], None]


class MarketChannel(Protocol):
    """Renders the market channel. It sends through `Exchange.send` and reads `Exchange.engine.books`."""

    def open(self, now_ns: int, socket: int) -> None: ...
    def on_text(self, now_ns: int, socket: int, text: bytes) -> None: ...
    def close(self, now_ns: int, socket: int) -> None: ...
    def on_commit(self, commit: Commit) -> None: ...
    def on_resolved(self, now_ns: int, market: Market) -> None: ...
    def change_tick(self, market: Market, new_step: int, now_ns: int) -> None: ...


class Routes(Protocol):
    """Answers the requests of one service that the CLOB routes do not serve."""

    def on_request(
        self, now_ns: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response: ...


class Gate(Protocol):
    """Stands before every request: a fault that is injected there decides what becomes of it."""

    def on_request(
        self, now_ns: int, service: str, route: str, carry_out: Callable[[int, Reply], None], reply: Reply
    ) -> None:
        """`route` is "POST /order"; carry_out(now_ns, reply) serves the request and answers it."""


class Exchange:
    """Everything behind the sockets. `now_ns` must never decrease from call to call."""

    def __init__(
        self, settings: ExchangeSettings, markets: Sequence[Market], accounts: Sequence[Account], seed: int
    ) -> None:
        self.settings = settings
        self.accounts = {account.name: account for account in accounts}
        self.ledger = Ledger(settings.postings_kept_max)
        self.timers = Timers()
        self.engine = Engine(settings, self.ledger, self.timers, self, seed)
        self.market_by_token: dict[str, tuple[Market, int]] = {}
        self.market_channel: MarketChannel | None = None
        self.services: dict[str, Routes] = {}
        self.moved_micro: dict[tuple[str, str], int] = {}  # account, token: what its served balance lacks
        self.gate: Gate | None = None
        self.commit_hooks: list[Callable[[Commit], None]] = []
        self.arrivals: deque[OrderArrival] = deque(maxlen=settings.arrivals_max)
        self.lifecycle = Lifecycle(self)
        self.users = UserChannel(self.send, self.close_by_us, settings)
        self.geoblock = Geoblock()
        self.edge = EdgeLimits(settings.edge_queue_ns)
        self.rest = Rest(self, seed)
        self.requests_count = 0
        self.dropped_frames = 0  # texts that came for sockets already closed, or too large
        self._prints: dict[str, deque[tuple[int, int]]] = {}
        self._history: dict[str, deque[tuple[int, tuple[LevelChange, ...], int]]] = {}
        self._commits_count = 0  # over all markets: many commits share one time
        self._sockets: dict[int, str] = {}
        self._silent: set[int] = set()  # sockets that have asked for nothing yet
        self._sockets_count = 0
        self._output: list[Output] = []
        self._now_ns = 0
        for market in markets:
            self.add_market(market)
        for account in accounts:
            self._fund(account)

    def add_market(self, market: Market, book: TakingBook | None = None) -> None:
        """Open a market; `book` for one whose frames come from a recording."""
        if market.condition in self.engine.markets or set(market.tokens) & self.market_by_token.keys():
            raise InvariantError(f"sim.exchange: {market.condition} expected new, it or a token is known")
        require_tradable(market)
        market.date_from(self.settings.opened_s)
        self.engine.add_market(market, book)
        for outcome, token in enumerate(market.tokens):
            self.market_by_token[token] = (market, outcome)
        if market.planted:
            self._history[market.condition] = deque(maxlen=self.settings.history_max)

    def attach_market_channel(self, channel: MarketChannel) -> None:
        self.market_channel = channel

    def attach_service(self, name: str, routes: Routes) -> None:
        """Serve another service ("gamma") by these routes."""
        self.services[name] = routes

    def ask(
        self,
        now_ns: int,
        service: str,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        reply: Reply,
        address: str = "",
    ) -> None:
        """Take one HTTP request; header names are lower case, `target` is path and query as sent.

        `address` is who asks, for the limits per address; "" has none.
        """
        self._advance(now_ns)
        self.requests_count += 1

        def carry_out(at_ns: int, answer: Reply) -> None:
            found: Response | Later[Response]
            if service == "clob":
                found = self.rest.on_request(at_ns, method, target, headers, body)
            else:
                found = self.services[service].on_request(at_ns, method, target, headers, body)
            if isinstance(found, Later):
                found.then(answer)
            else:
                answer(at_ns, found)

        if service != "clob" and service not in self.services:
            raise InvariantError(f"sim.exchange: clob or {sorted(self.services)} expected, was {service}")
        path = target.partition("?")[0]

        def go_on(at_ns: int) -> None:
            if self.gate is None:
                carry_out(at_ns, reply)
            else:
                self.gate.on_request(at_ns, service, f"{method} {path}", carry_out, reply)

        if address and self.settings.edge_limits:
            self.edge.let_in(now_ns, (address, service, method, path), self.timers, go_on, reply)
        else:
            go_on(now_ns)

    def on_request(
        self, now_ns: int, service: str, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """`ask` where the answer must be there at once; raises InvariantError when it is not."""
        found: list[Response | None] = []
        self.ask(now_ns, service, method, target, headers, body, lambda _, answer: found.append(answer))
        if not found or found[0] is None:
            raise InvariantError(f"sim.exchange: {method} {target} expected an answer now, has none")
        return found[0]

    def open_socket(self, now_ns: int, channel: str) -> int:
        """Register a connected socket of "market" or "user" and return its id."""
        self._advance(now_ns)
        self._sockets_count += 1
        socket = self._sockets_count
        self._sockets[socket] = channel
        self._silent.add(socket)
        self.timers.at(now_ns + self.settings.unsubscribed_ns, lambda _: self._end_silent(socket))
        if len(self._sockets) > self.settings.sockets_max:
            self.close_by_us(socket)
        elif channel == "user":
            self.users.open(socket)
        elif self.market_channel is not None:
            self.market_channel.open(now_ns, socket)
        return socket

    def on_text(self, now_ns: int, socket: int, text: bytes) -> None:
        """Take one text frame of a client. Text PING is answered here for every channel."""
        self._advance(now_ns)
        channel = self._sockets.get(socket)
        if channel is None or len(text) > self.settings.frame_bytes_max:
            self.dropped_frames += 1
        elif text.strip() == b"PING":
            self.send(socket, b"PONG")
        else:
            self._silent.discard(socket)
            if channel == "user":
                self.users.on_text(socket, text, self.rest.auth)
            elif self.market_channel is not None:
                self.market_channel.on_text(now_ns, socket, text)

    def close_socket(self, now_ns: int, socket: int) -> None:
        """Forget a socket that the client or the driver closed."""
        self._advance(now_ns)
        self._forget(now_ns, socket)

    def on_timer(self, now_ns: int) -> None:
        self._advance(now_ns)

    def next_timer_ns(self) -> int | None:
        """Return when `on_timer` has something to do next; None = nothing planned."""
        return self.timers.next_ns()

    def take_output(self) -> list[Output]:
        """Return the frames to send, in order, and forget them."""
        output, self._output = self._output, []
        return output

    def foreign_change(
        self, now_ns: int, market: Market, is_bid: bool, price_ticks: int, delta_micro: int
    ) -> None:
        """Change other participants' liquidity at one level (YES view); see `Engine.foreign_changes`."""
        self.foreign_changes(now_ns, market, [(is_bid, price_ticks, delta_micro)])

    def foreign_changes(self, now_ns: int, market: Market, changes: Sequence[tuple[bool, int, int]]) -> None:
        """Change several levels in one commit."""
        self._advance(now_ns)
        self.engine.foreign_changes(now_ns, market, changes)

    def foreign_take(
        self, now_ns: int, market: Market, is_bid: bool, limit_ticks: int, size_micro: int
    ) -> int:
        """Let another participant trade against the book; return the matched 1e-6 shares."""
        self._advance(now_ns)
        return self.engine.foreign_take(now_ns, market, is_bid, limit_ticks, size_micro)

    def fill_resting(self, now_ns: int, market: Market, is_bid: bool, fills: Sequence[Fill]) -> None:
        """Book fills of resting orders in a recorded market; see `Engine.fill_resting`."""
        self._advance(now_ns)
        self.engine.fill_resting(now_ns, market, is_bid, fills)

    def resolve(self, now_ns: int, market: Market, winner: int, *, is_told: bool = True) -> None:
        """Resolve one market: outcome 0 or 1 pays 1 USD a share. Announced on the market channel."""
        self._advance(now_ns)
        self.engine.resolve(now_ns, market, (MICRO, 0) if winner == 0 else (0, MICRO))
        if self.market_channel is not None and is_told:
            self.market_channel.on_resolved(now_ns, market)

    def void(self, now_ns: int, market: Market) -> None:
        """End one market without a winner: half a USD a share. How the venue tells that is unconfirmed."""
        self._advance(now_ns)
        self.engine.resolve(now_ns, market, (MICRO // 2, MICRO // 2))

    def resolve_event(self, now_ns: int, event_id: str, winner_index: int) -> None:
        """Resolve a neg-risk event: YES in the market of that `outcome_index`, NO in all others.

        The index behind the last is the outcome that a v2 event does not list.
        """
        members = [m for m in self.engine.markets.values() if m.event_id == event_id]
        is_unlisted = winner_index == len(members) and all(m.has_unlisted_outcome for m in members)
        if not is_unlisted and [m.outcome_index for m in members].count(winner_index) != 1:
            raise InvariantError(f"sim.exchange: outcome {winner_index} expected once in event {event_id}")
        for market in members:
            self.resolve(now_ns, market, 0 if market.outcome_index == winner_index else 1)

    def history(self, market: Market) -> list[tuple[int, tuple[LevelChange, ...], int]]:
        """Return every (now_ns, level changes, number) that a planted market displayed, oldest first.

        The number grows with each such commit of any market: frames tell those of one time in this order.
        """
        return list(self._history.get(market.condition, ()))

    def prints(self, market: Market) -> Sequence[tuple[int, int]]:
        """Return (now_ns, price of YES in ticks) of the market's newest trades, oldest first."""
        return self._prints.get(market.condition, ())

    def levels(self, market: Market, is_bid: bool) -> list[tuple[int, int]]:
        """Return the displayed (price_ticks, size_micro) of the YES view, best first."""
        return self.engine.books[market.condition].levels(is_bid)

    def send(self, socket: int, frame: bytes) -> None:
        """Queue a text frame; used by the channels."""
        if socket in self._sockets:
            self._output.append(Output(socket, frame))

    def close_by_us(self, socket: int, code: int = CLOSE_NORMAL) -> None:
        """Queue the end of a socket."""
        if socket in self._sockets:
            self._output.append(Output(socket, b"", True, code))
            self._forget(self._now_ns, socket)

    def open_sockets(self) -> dict[int, str]:
        """Return the channel of each open socket."""
        return dict(self._sockets)

    def close_channel(self, channel: str) -> None:
        """Queue the end of every socket of "market" or "user": the service behind it restarts."""
        for socket in [socket for socket, name in self._sockets.items() if name == channel]:
            self.close_by_us(socket, CLOSE_RESTART)

    def note_arrival(self, arrival: OrderArrival) -> None:
        """Keep an arrival in the journal; the oldest falls out when it is full."""
        self.arrivals.append(arrival)

    def on_order(self, now_ns: int, order: Order, change: str) -> None:
        """Engine listener."""
        self.users.on_order(now_ns, order, change)

    def on_trade(self, now_ns: int, trade: Trade) -> None:
        """Engine listener."""
        self.users.on_trade(now_ns, trade)

    def on_commit(self, commit: Commit) -> None:
        """Engine listener."""
        history = self._history.get(commit.market.condition)
        if history is not None and commit.changes:
            self._commits_count += 1
            history.append((commit.now_ns, commit.changes, self._commits_count))
        if commit.trade_size_micro:
            commit.market.volume_usd_micro += proceeds_micro(commit.trade_ticks, commit.trade_size_micro)
            kept = self._prints.setdefault(commit.market.condition, deque(maxlen=self.settings.prints_max))
            kept.append((commit.now_ns, token_ticks(commit.trade_ticks, commit.taker_outcome)))
        for hook in self.commit_hooks:
            hook(commit)
        if self.market_channel is not None:
            self.market_channel.on_commit(commit)

    def admit(self, now_ns: int, owner: str) -> Account | None:
        """Open the accounts of an owner who proved a key: one for each wallet, each with play money.

        None when guests are not wanted, or there are too many.
        """
        guests = len({account.owner for account in self.accounts.values()})
        if not self.settings.guest_cash_micro or guests >= self.settings.guests_max:
            return None
        rows = wallets.wallets_of(owner)
        purses = [
            Account(
                f"{owner.lower()}/{name}", rows[0][2], wallet, kind, self.settings.guest_cash_micro,
                tier=self.settings.guest_tier,
            )
            for name, kind, wallet in rows
        ]
        for account in purses:
            account.purses = purses
            account.is_deployed = account.name != f"{owner.lower()}/{wallets.BEFORE_BEACON}"
            self.accounts[account.name] = account
            self._fund(account, now_ns)
        return purses[0]

    def account_of_wallet(self, address: str) -> Account | None:
        """Return the account whose wallet has this address."""
        wanted = address.lower()
        return next((a for a in self.accounts.values() if a.wallet.lower() == wanted), None)

    def _fund(self, account: Account, now_ns: int = 0) -> None:
        self.ledger.open(account.name)
        self.ledger.deposit(now_ns, account.name, account.cash_micro)
        for condition, size_micro in account.sets_micro.items():
            self.ledger.endow(0, account.name, self.engine.markets[condition], size_micro)

    def _advance(self, now_ns: int) -> None:
        if now_ns < self._now_ns:
            raise InvariantError(f"sim.exchange: time >= {self._now_ns} expected, was {now_ns}")
        self.timers.run(now_ns)
        self._now_ns = now_ns

    def _end_silent(self, socket: int) -> None:
        """The venue closes connections that do not subscribe; how soon is unconfirmed."""
        if socket in self._silent:
            self.close_by_us(socket)

    def _forget(self, now_ns: int, socket: int) -> None:
        self._silent.discard(socket)
        channel = self._sockets.pop(socket, None)
        if channel == "user":
            self.users.close(socket)
        elif channel == "market" and self.market_channel is not None:
            self.market_channel.close(now_ns, socket)
