"""From a match to its end on the chain: MATCHED, MINED, CONFIRMED, perhaps RETRYING, or FAILED.

Until it is final a match is provisional: the ledger holds it open, what it brought in cannot be spent,
and FAILED (a ghost fill) takes both sides back to the micro, once. Each trade's walk is drawn from the
seed and the trade's number when it is made, so it does not depend on what else happens.
Source: venue sheet 7.2, 11.1 and 19.7, read 2026-11-20; how often a match fails is not documented.
"""

from __future__ import annotations

import hashlib
import random
import uuid
from collections import deque
from dataclasses import dataclass

from pipeline.sim.book import Fill, Order
from pipeline.sim.ledger import Ledger
from pipeline.sim.market import Market
from pipeline.sim.settings import ExchangeSettings
from pipeline.sim.timers import Timers
from pipeline.sim.trades import Listener, Tally, Trade
from pipeline.units import PPM

RETRIES_MAX = 3  # resubmissions before the operator gives in, one way or the other


@dataclass(frozen=True, slots=True)
class Chances:
    """How settlement goes wrong; out of a million trades."""

    failed_ppm: int = 0
    retried_ppm: int = 0  # of each attempt: reverted and sent again


@dataclass(slots=True)
class _Walk:
    """What is still to come for a trade: (at ns, status, transaction hash), the last one final."""

    trade: Trade
    steps: deque[tuple[int, str, str]]


class Settlement:
    """All trades of an exchange and what becomes of them."""

    def __init__(
        self,
        settings: ExchangeSettings,
        ledger: Ledger,
        timers: Timers,
        listener: Listener,
        tally: Tally,
        name: str,
    ) -> None:
        self.trades: dict[str, Trade] = {}
        self.trades_of: dict[str, list[Trade]] = {}  # account name -> as taker or maker, oldest first
        self.chances = Chances(settings.settle_failed_ppm, settings.settle_retried_ppm)
        self._settings = settings
        self._ledger = ledger
        self._timers = timers
        self._listener = listener
        self._tally = tally
        self._name = name
        self._walks: dict[str, _Walk] = {}  # of the trades that are not final

    def open(
        self,
        now_ns: int,
        market: Market,
        taker: Order | None,
        fill: Fill,
        own_ticks: int,
        outcome: int,
        is_buy: bool,
        fee_micro: int,
    ) -> Trade:
        """Make the trade of one fill; what the ledger posts under its id from now on is provisional."""
        self._tally.trades += 1
        drawn = hashlib.sha256(f"{self._name}:trade:{self._tally.trades}".encode()).digest()
        trade = Trade(
            str(uuid.UUID(bytes=drawn[:16], version=4)),
            market,
            now_ns,
            own_ticks,
            fill.size_micro,
            outcome,
            is_buy,
            taker,
            fill.maker,
            fee_micro,
            updated_ns=now_ns,
        )
        self.trades[trade.trade_id] = trade
        self._ledger.hold(trade.trade_id)
        if not self._settings.trade_told_after_ns:
            self._name_it(trade)
        return trade

    def publish(self, now_ns: int, trade: Trade) -> None:
        """Tell of the match, now or after the venue's delay, and plan the rest of its walk."""
        told_ns = now_ns + self._settings.trade_told_after_ns
        if told_ns == now_ns:
            self._listener.on_trade(now_ns, trade)
        else:
            self._timers.at(told_ns, lambda at_ns: self._tell_late(at_ns, trade))
        walk = _Walk(trade, deque(self._draw(told_ns, trade)))
        self._walks[trade.trade_id] = walk
        for at_ns, _, _ in walk.steps:
            self._timers.at(at_ns, lambda due_ns: self._step(due_ns, walk))

    def finish(self, now_ns: int, market: Market) -> None:
        """Bring every trade of the market to its end now: a redemption knows no provisional shares."""
        for walk in [walk for walk in self._walks.values() if walk.trade.market is market]:
            while walk.steps:
                self._take(now_ns, walk)

    def _draw(self, from_ns: int, trade: Trade) -> list[tuple[int, str, str]]:
        """Return the trade's steps; FAILED comes instead of MINED, a reorganised chain after it."""
        settings, chances = self._settings, self.chances
        draw = random.Random(f"{self._name}:settle:{trade.trade_id}")
        fails = draw.randrange(PPM) < chances.failed_ppm
        late_ns = draw.randrange(settings.failed_within_ns + 1)
        steps: list[tuple[int, str, str]] = []
        at_ns, tries = from_ns + settings.mined_after_ns, 1
        while tries <= RETRIES_MAX and draw.randrange(PPM) < chances.retried_ppm:
            if not fails and draw.random() < 0.5:  # mined, and then not: the block went
                steps.append((at_ns, "MINED", _hash(trade, tries)))
                at_ns += settings.retried_after_ns
            steps.append((at_ns, "RETRYING", _hash(trade, tries)))
            at_ns, tries = at_ns + settings.retried_after_ns, tries + 1
        if fails:
            return [*steps, (at_ns + late_ns, "FAILED", _hash(trade, tries))]
        steps.append((at_ns, "MINED", _hash(trade, tries)))
        sure_ns = at_ns + max(0, settings.confirmed_after_ns - settings.mined_after_ns)
        return [*steps, (sure_ns, "CONFIRMED", _hash(trade, tries))]

    def _step(self, now_ns: int, walk: _Walk) -> None:
        if walk.steps and walk.steps[0][0] <= now_ns:
            self._take(now_ns, walk)

    def _take(self, now_ns: int, walk: _Walk) -> None:
        trade = walk.trade
        if not trade.is_named:
            self._name_it(trade)
        _, trade.status, trade.transaction_hash = walk.steps.popleft()
        trade.updated_ns = now_ns
        if not walk.steps:
            del self._walks[trade.trade_id]
            if trade.status == "FAILED":
                self._tally.failed += 1
                self._ledger.reverse(now_ns, trade.trade_id)
                _void(trade)
            else:
                self._ledger.settle(trade.trade_id)
        self._listener.on_trade(now_ns, trade)

    def _tell_late(self, now_ns: int, trade: Trade) -> None:
        if not trade.is_named:  # else the market was resolved meanwhile and its end is told already
            self._name_it(trade)
            self._listener.on_trade(now_ns, trade)

    def _name_it(self, trade: Trade) -> None:
        """From now on the trade is found under its parties' names and in their orders."""
        trade.is_named = True
        parties = [order for order in (trade.taker, trade.maker) if order is not None]
        for order in parties:
            order.trade_ids.append(trade.trade_id)
        for name in dict.fromkeys(order.account.name for order in parties):
            self.trades_of.setdefault(name, []).append(trade)


def _void(trade: Trade) -> None:
    """Note in both orders what of theirs never came about."""
    if trade.taker is not None:
        trade.taker.void_micro += trade.size_micro
        trade.taker.void_usd_micro += trade.taker_usd_micro
        trade.taker.void_fee_micro += trade.fee_micro
    if trade.maker is not None:
        trade.maker.void_micro += trade.size_micro
        trade.maker.void_usd_micro += trade.maker_usd_micro


def _hash(trade: Trade, tries: int) -> str:
    """Return the transaction of an attempt: another one each time, as on the venue until CONFIRMED."""
    drawn = hashlib.sha256(uuid.UUID(trade.trade_id).bytes)
    drawn.update(b"" if tries == 1 else str(tries).encode())
    return "0x" + drawn.hexdigest()
