"""What happens to the venue itself: restarts, modes, tick changes, resolution, game start.

Acts on one exchange at the time it is called; what follows later stands in the exchange's timers.
Source: venue sheet 6.4, 6.7, 15.1 and 15.2, read 2026-11-20.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import InvariantError
from pipeline.sim.book import MatchedBook
from pipeline.sim.market import Market
from pipeline.sim.mode import Mode
from pipeline.sim.orders import AMOUNT_DECIMALS
from pipeline.sim.track import LazyBook

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange


class Lifecycle:
    """The operator's hand on one exchange. `on_down` hears when nothing moves from now on."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.on_down: list[Callable[[int], None]] = []

    def set_mode(self, now_ns: int, mode: Mode, until_ns: int = 0) -> None:
        """Change what the engine takes; `until_ns` is announced to those who are refused, not acted on.

        Held orders end when the engine takes nothing any more.
        """
        state = self._exchange.engine.mode
        if mode in (Mode.RESTARTING, Mode.DISABLED) and not state.is_down:
            for action in self.on_down:
                action(now_ns)
        state.set(now_ns, mode, until_ns)
        if state.is_down:
            held = [order for kept in self._exchange.engine.held.values() for order in kept.values()]
            self._exchange.engine.holds.drop(now_ns, held)

    def restart(
        self, now_ns: int, down_ns: int, post_only_ns: int, keeps_orders: bool, closes: Sequence[str] = ()
    ) -> None:
        """Stop the engine for `down_ns` (425), then take only what rests for `post_only_ns`, then all.

        keeps_orders: whether what rests, of everybody, is there afterwards; `closes` names channels
        ("market", "user") whose sockets end.
        """
        up_ns = now_ns + down_ns
        self.set_mode(now_ns, Mode.RESTARTING, up_ns)
        if not keeps_orders:
            for market in self._matched_markets():
                self._exchange.engine.clear_book(now_ns, market)
        for channel in closes:
            self._exchange.close_channel(channel)
        is_ours = self._exchange.engine.mode.spans[-1]
        self._after(up_ns, is_ours, Mode.POST_ONLY if post_only_ns else Mode.RUNNING, up_ns + post_only_ns)

    def _after(self, at_ns: int, since: tuple[int, Mode], mode: Mode, until_ns: int) -> None:
        """Enter the next phase, unless somebody changed the mode meanwhile."""

        def enter(now_ns: int) -> None:
            spans = self._exchange.engine.mode.spans
            if spans[-1] is not since:
                return
            self.set_mode(now_ns, mode, until_ns if mode is Mode.POST_ONLY else 0)
            if mode is Mode.POST_ONLY:
                self._after(until_ns, spans[-1], Mode.RUNNING, 0)

        self._exchange.timers.at(at_ns, enter)

    def change_tick(self, now_ns: int, market: Market, step: int) -> None:
        """Set the market's price spacing, in ticks; what rests off the new grid stays.

        Subscribers hear `tick_size_change`, one per asset; no book follows (unconfirmed on the venue).
        """
        if step not in AMOUNT_DECIMALS:
            raise InvariantError(
                f"sim.lifecycle: a tick step of {sorted(AMOUNT_DECIMALS)} expected, was {step}"
            )
        book = self._matched_book(market)
        if isinstance(book, LazyBook):
            book.go_live()  # frames rendered ahead carry hashes of the old grid
        channel = self._exchange.market_channel
        if channel is None:
            market.tick_step = step
        else:
            channel.change_tick(market, step, now_ns)

    def start_game(self, now_ns: int, market: Market) -> None:
        """Clear the book at the start of the game: every resting order is cancelled."""
        self._matched_book(market)
        self._exchange.engine.clear_book(now_ns, market)

    def _matched_book(self, market: Market) -> MatchedBook:
        book = self._exchange.engine.books[market.condition]
        if not isinstance(book, MatchedBook):
            raise InvariantError(f"sim.lifecycle: {market.slug} is recorded; its frames are never altered")
        return book

    def _matched_markets(self) -> list[Market]:
        engine = self._exchange.engine
        return [
            market
            for market in engine.markets.values()
            if isinstance(engine.books[market.condition], MatchedBook) and market.payout_micro is None
        ]
