"""Runs a faults file: begins and ends each fault at its time or on demand, counts it, tells of it.

Acts on one exchange and its timers; `http` and `frames` are what stands before the requests and the
sockets. Faults of one file never share a draw, so leaving one away changes nothing for the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from pipeline.errors import ConfigError
from pipeline.sim.book import MatchedBook
from pipeline.sim.exchange import Exchange
from pipeline.sim.fault_frames import FrameFaults
from pipeline.sim.fault_http import HttpFaults
from pipeline.sim.fault_run import FaultRun, Tell
from pipeline.sim.faults import (
    Delay,
    Fault,
    FaultsFile,
    FrameFault,
    MarketEvent,
    ModeChange,
    Restart,
    TickChange,
    Transfer,
    Unsettled,
    parse_fault,
    shares_micro,
    step_ticks,
)
from pipeline.sim.market import Market, Source
from pipeline.sim.mode import Mode
from pipeline.sim.settlement import Chances
from pipeline.units import NS_PER_S

ANY = ("planted", "generated")  # instead of a slug: one of these, drawn


class FaultPlan:
    """Every fault of one run. `tell` hears when one begins, first hits and ends."""

    def __init__(self, file: FaultsFile, exchange: Exchange) -> None:
        self.tell: Tell = lambda event, run, now_ns: None
        self.runs: list[FaultRun] = []
        self._file = file
        self._exchange = exchange
        self._by_name: dict[str, FaultRun] = {}
        self._before = exchange.engine.settlement.chances
        for fault in file.faults:
            self._add(fault)
        for delay in file.delays:
            _delay_takers(delay, exchange.engine.markets.values())
        self.http = HttpFaults(self.runs, exchange.timers)
        self.frames = FrameFaults(self.runs, exchange.timers, exchange.open_sockets)
        exchange.gate = self.http

    def start(self, now_ns: int) -> None:
        """Plan every fault that has a time; the flow starts now."""
        for run in list(self.runs):
            self._announce_game(now_ns, run.fault)
            if run.fault.at_s is not None:
                due_ns = now_ns + round(run.fault.at_s * NS_PER_S)
                self._exchange.timers.at(due_ns, partial(self._begin, run))

    def _announce_game(self, now_ns: int, fault: Fault) -> None:
        """A game with a time, of a market that has a name, stands in the market's metadata ahead."""
        is_game = isinstance(fault, MarketEvent) and fault.kind == "game_start" and fault.at_s is not None
        if is_game and fault.market not in ANY:
            for market in self._markets(fault.name, fault.market):
                market.game_start_s = (now_ns + round(fault.at_s * NS_PER_S)) // NS_PER_S
                market.clears_on_start = True

    def trigger(self, now_ns: int, name: str) -> FaultRun:
        """Begin a fault of the file now; raises ConfigError when there is none of that name."""
        run = self._by_name.get(name)
        if run is None:
            known = ", ".join(self._by_name) or "none"
            raise ConfigError(f'a fault of the file expected ({known}), was "{name}"')
        self._begin(run, now_ns)
        return run

    def inject(self, now_ns: int, raw: Mapping[str, Any]) -> FaultRun:
        """Begin a fault that the file does not have; raises ConfigError when it is none."""
        fault = parse_fault(raw)
        if fault.name in self._by_name:
            raise ConfigError(f'a new name expected, "{fault.name}" is known')
        self._add(fault)
        return self.trigger(now_ns, fault.name)

    def rows(self) -> list[dict[str, Any]]:
        """Return what the exchange's report says: each fault and what it hit."""
        return [run.row() for run in self.runs]

    def _tell(self, event: str, run: FaultRun, now_ns: int) -> None:
        self.tell(event, run, now_ns)  # `tell` may be set late

    # -- one fault ----------------------------------------------------------------------------

    def _add(self, fault: Fault) -> None:
        if isinstance(fault, TickChange | MarketEvent):
            self._markets(fault.name, fault.market)  # refuse now what would fail then
        draw = random.Random(f"fault:{self._file.seed}:{fault.name}")
        run = FaultRun(fault, draw, self._tell)
        self.runs.append(run)
        self._by_name[fault.name] = run

    def _begin(self, run: FaultRun, now_ns: int) -> None:
        if run.is_active:
            return
        run.is_active, run.begun_ns, run.ended_ns = True, now_ns, 0
        run.begins += 1
        self._tell("begins", run, now_ns)
        ends_after_s = run.fault.for_s
        undo = self._apply(now_ns, run)
        if isinstance(run.fault, Restart):
            ends_after_s = run.fault.down_s + run.fault.post_only_s
        elif isinstance(run.fault, MarketEvent | Transfer):
            self._end(now_ns, run, undo)
            return
        if ends_after_s:
            due_ns = now_ns + round(ends_after_s * NS_PER_S)
            self._exchange.timers.at(due_ns, lambda at_ns: self._end(at_ns, run, undo))

    def _end(self, now_ns: int, run: FaultRun, undo: Callable[[int], None]) -> None:
        run.is_active, run.ended_ns = False, now_ns
        undo(now_ns)
        self._tell("ends", run, now_ns)

    def _apply(self, now_ns: int, run: FaultRun) -> Callable[[int], None]:
        """Do what the fault does at its beginning; return what to do at its end."""
        fault, exchange = run.fault, self._exchange
        if isinstance(fault, FrameFault):
            self.frames.begin(run)
            return lambda at_ns: self.frames.end(run)
        if isinstance(fault, Restart):
            run.note(now_ns, f"orders {fault.orders}")
            down_ns, post_only_ns = round(fault.down_s * NS_PER_S), round(fault.post_only_s * NS_PER_S)
            exchange.lifecycle.restart(now_ns, down_ns, post_only_ns, fault.orders == "keep", fault.closes)
        elif isinstance(fault, ModeChange):
            return self._change_mode(now_ns, run, fault)
        elif isinstance(fault, TickChange):
            return self._change_tick(now_ns, run, fault)
        elif isinstance(fault, Unsettled):
            run.note(now_ns, f"failed {fault.failed_ppm} ppm, retried {fault.retried_ppm} ppm")
            exchange.engine.settlement.chances = Chances(fault.failed_ppm, fault.retried_ppm)
            return lambda at_ns: setattr(exchange.engine.settlement, "chances", self._before)
        elif isinstance(fault, MarketEvent):
            self._change_market(now_ns, run, fault)
        elif isinstance(fault, Transfer):
            self._transfer(now_ns, run, fault)
        return lambda at_ns: None

    def _change_mode(self, now_ns: int, run: FaultRun, fault: ModeChange) -> Callable[[int], None]:
        run.note(now_ns, fault.mode)
        until_ns = now_ns + round(fault.for_s * NS_PER_S) if fault.for_s else 0
        lifecycle, state = self._exchange.lifecycle, self._exchange.engine.mode
        lifecycle.set_mode(now_ns, Mode(fault.mode), until_ns)
        since = state.spans[-1]

        def undo(at_ns: int) -> None:
            if state.spans[-1] is since:
                lifecycle.set_mode(at_ns, Mode.RUNNING)

        return undo

    def _change_tick(self, now_ns: int, run: FaultRun, fault: TickChange) -> Callable[[int], None]:
        market = self._draw_market(run, fault.market)
        if market is None:
            return lambda at_ns: None
        before = market.tick_step
        run.note(now_ns, f"{market.slug}: {before} to {step_ticks(fault)} ticks of 0.0001")
        self._set_tick(now_ns, market, step_ticks(fault), fault.late_s)

        def undo(at_ns: int) -> None:
            if market.payout_micro is None and market.tick_step == step_ticks(fault):
                self._set_tick(at_ns, market, before, fault.late_s)

        return undo

    def _set_tick(self, now_ns: int, market: Market, step: int, late_s: float) -> None:
        """Change a tick; metadata shows the one before for a while."""
        told = market.told_tick_step
        self._exchange.lifecycle.change_tick(now_ns, market, step)
        if not late_s:
            return
        market.stale_tick_step = told

        def learn(_: int) -> None:
            if market.tick_step == step:  # a later change has its own delay
                market.stale_tick_step = 0

        self._exchange.timers.at(now_ns + round(late_s * NS_PER_S), learn)

    def _change_market(self, now_ns: int, run: FaultRun, fault: MarketEvent) -> None:
        market = self._draw_market(run, fault.market)
        if market is None:
            return
        run.note(now_ns, market.slug)
        if fault.kind == "game_start":
            self._exchange.lifecycle.start_game(now_ns, market)
        elif market.outcome_count > 1:
            self._exchange.resolve_event(now_ns, market.event_id, market.outcome_index)
        else:
            self._exchange.resolve(now_ns, market, fault.winner)

    def _transfer(self, now_ns: int, run: FaultRun, fault: Transfer) -> None:
        """Move shares of the token of which an account holds most that is settled, if anybody holds any."""
        funds, ledger = self._exchange.engine.funds, self._exchange.ledger
        held = [
            (funds.settled_micro(account, token), account.name, token)
            for account in self._exchange.accounts.values() for token in ledger.positions(account.name)]
        most_micro, name, token = max(held, default=(0, "", ""))
        if not most_micro:
            return
        size_micro = shares_micro(fault) if fault.way == "in" else -min(shares_micro(fault), most_micro)
        ledger.transfer(now_ns, name, token, size_micro)
        moved = self._exchange.moved_micro  # the venue remembers what was there, until it is asked anew
        moved[name, token] = moved.get((name, token), 0) + size_micro
        run.note(now_ns, f"{name}: {size_micro} micro shares of {token}")

    def _draw_market(self, run: FaultRun, which: str) -> Market | None:
        """Return one that is not resolved yet; None when all are."""
        found = [one for one in self._markets(run.fault.name, which) if one.payout_micro is None]
        return run.draw.choice(found) if found else None

    def _markets(self, name: str, which: str) -> list[Market]:
        """Return the matched markets that a fault's `market` names; raises ConfigError without one."""
        engine = self._exchange.engine
        found = [
            market
            for market in engine.markets.values()
            if isinstance(engine.books[market.condition], MatchedBook) and _is_named(market, which)
        ]
        if not found:
            raise ConfigError(
                f'fault "{name}": market expected to be {" or ".join(ANY)}, or the slug of one that '
                f'is matched here; was "{which}"'
            )
        return found


def _is_named(market: Market, which: str) -> bool:
    if which in ANY:
        return market.planted == (which == "planted") and market.source is not Source.RECORDED
    return market.slug == which


def _delay_takers(delay: Delay, markets: Iterable[Market]) -> None:
    """Give the markets of a category their taker delay; raises ConfigError when there is none."""
    found = [market for market in markets if delay.category in (*market.tags, market.slug)]
    if not found:
        raise ConfigError(f'[[delay]]: category expected as tag or slug of a market, was "{delay.category}"')
    for market in found:
        market.seconds_delay, market.delays_takers = delay.seconds, delay.itode
