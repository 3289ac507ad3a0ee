"""Real SIGKILLs under load: `pm run` trades on the local exchange, lanes die at chosen moments.

Starts the exchange and `pm run` (topology 2core, mode local) as processes; `strike` kills lane after lane,
each after all events trade again; then the flow stops, orders end, events are resolved, both trees end, and
the judge compares the two logs with the exchange's ledger. Nothing in the product knows of it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.run.judge import Judgement, RunFacts, judge
from pipeline.run.judge_logs import Findings, read_logs
from pipeline.run.judge_money import fill_orders
from pipeline.run.judge_orders import unfinished
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.cli_runs import Market, Run
from tests.faults.aims import ACK, SEND, SIGN, Moment, draw_aims, strike
from tests.faults.missed import missed_reasons
from tests.faults.watcher import Watcher
from tests.shared import scaled, wait_until

NAME = "kills"
AGAIN_NS_MAX = 5 * NS_PER_S  # PR01: trading again after a kill
UNKNOWN_OPEN = "vetoed: unknown_order_open"  # trade's own word; that such orders end is judged apart
AGAIN_S_GIVEN = 6.0  # how long the run looks for it before it goes on: the figure is judged afterwards
RUNNING_S_MAX = 10.0  # then every lane runs again, or the test fails there
WARM_ORDERS, WARM_S_MAX = 60, 60.0
PAUSE_S_MAX = 0.5
SETTLE_S_MAX = 30.0
UNKNOWN_FINAL_S = 125.0  # an order that never arrived is dead only after T_UNKNOWN_FINAL
CONFIRM_S = 2.5
#: An order in doubt keeps its event out for two minutes: 100 kills need more events than 20 do.
EXCHANGE = {
    "seconds": 3_600.0, "markets": 4, "planted_events": scaled(14, 40),
    "plant_spacing_ms": scaled(100, 70), "plant_settle_ms": 100, "quiet_ms": 200}
#: As many kills as there are would be a crash loop: what latches the halt is PR05's matter.
SETTINGS = (
    "topology=2core", "universe.instruments_max=400", "supervision.restarts_max=1000",
    "supervision.health_clear_s=1", "supervision.stall_ms_max=400",
    # The judge reads both logs whole while the run goes on: nothing of a quarter of an hour may retire.
    "archive.segments_kept_min=512", "shm.log_bytes_max=20_000_000_000",
    "strategies.basket.cooldown_ms=100",
    "risk.day_usd_max=100000000")  # a quarter of an hour spends more than a million


@dataclass(slots=True)
class KillRun:
    """What one run of kills left: moments, how soon each event traded again, and the verdict."""

    seed: int
    moments: list[Moment] = field(default_factory=list)
    again_ns: list[dict[int, int]] = field(default_factory=list)  # per kill: event -> ns after the death
    late: list[str] = field(default_factory=list)  # events that did not trade again in time, unexcused
    excused: int = 0  # events with an order in doubt
    idle: int = 0  # events in which there was nothing to trade in those 5 s
    verdict: Judgement | None = None

    def share(self, is_so: Callable[[Moment], object]) -> float:
        """Return the share of the kills of which this is true."""
        return sum(1 for moment in self.moments if is_so(moment)) / max(1, len(self.moments))

    @property
    def again_max_ns(self) -> int:
        """Return the longest time from a death to the next order of an event that had none in doubt."""
        return max((ns for found in self.again_ns for ns in found.values()), default=0)

    def lines(self) -> list[str]:
        """Return the histogram and the figures, for people."""
        count = len(self.moments)
        lanes = Counter(moment.lane for moment in self.moments)
        inside = Counter(moment.inside or "elsewhere" for moment in self.moments)
        rows = [f"kills: {count} SIGKILLs, seed {self.seed}; by lane: {_counts(lanes)}"]
        flying = sum(1 for moment in self.moments if moment.in_flight)
        rows.append(f"  between journal and end: {flying} of {count} kills had an order there "
                    f"({100 * self.share(lambda moment: moment.in_flight):.0f} %)")
        for what in (SIGN, SEND, ACK, "elsewhere"):
            rows.append(f"  inside {what:<9} {inside[what]:3}  {'#' * inside[what]}")
        stored = [moment for moment in self.moments if moment.inside == SEND]
        behind = sum(1 for moment in stored if moment.stored_order_no >= max(moment.unsent))
        rows.append(
            f"  of those inside send: {behind} behind the stored number, {len(stored) - behind} before")
        firsts = sorted(min(found.values()) for found in self.again_ns if found)
        if firsts:
            rows.append(
                f"  trading again: first event median {firsts[len(firsts) // 2] / NS_PER_S:.2f} s, max "
                f"{firsts[-1] / NS_PER_S:.2f} s; every event max {self.again_max_ns / NS_PER_S:.2f} s")
            rows.append(
                f"  {self.excused} times an event waited for an order's evidence, {self.idle} times it had "
                f"nothing to trade, {len(self.late)} times it was late")
        if self.verdict is not None:
            figures = self.verdict.figures
            rows.append(
                f"  verdict: exit {self.verdict.exit_code}; {figures['orders']} orders, "
                f"{figures['fills']} fills, {figures.get('unknown_unseen', 0)} unknown, never arrived; PnL "
                f"{figures['pnl_usd_micro']} uUSD, exchange {figures['exchange_pnl_usd_micro']} uUSD")
        return rows


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))


class Kills:
    """One such run on `directory`."""

    def __init__(self, directory: Path, seed: int, settings: tuple[str, ...] = SETTINGS) -> None:
        self.run = KillRun(seed)
        self._draw = random.Random(f"kills:{seed}")
        self.market = Market(directory, NAME, **EXCHANGE)
        self.state = self.market.state
        self._arguments = [word for text in settings for word in ("--set", text)]
        self.pipeline: Run | None = None
        self._watcher: Watcher | None = None
        self._started_s = time.monotonic()
        try:
            self.begin_again()
        except BaseException:
            self.close()
            raise

    def begin_again(self) -> None:
        """Start `pm run`, after the end of the one before."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if self.pipeline is not None:
            self.pipeline.stop()
        self.pipeline = Run(self.market.config, "--mode", "local", *self._arguments)
        self._watcher = Watcher(self.state)

    @property
    def watcher(self) -> Watcher:
        assert self._watcher is not None
        return self._watcher

    def warm(self) -> None:
        """Wait until it trades."""
        self.until(lambda: len(self.watcher.orders) >= WARM_ORDERS, WARM_S_MAX, "the first orders")

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Return the supervisor's events of these names, oldest first."""
        lines = (self.state / "log" / "supervisor.jsonl").read_bytes().splitlines()
        return [event for event in map(orjson.loads, lines) if event["event"] in names]

    def trades_again(self, at_ns: int) -> bool:
        """Tell whether an order was sent that was decided after this time."""
        watcher = self.watcher
        return any(
            sent_ns > at_ns and watcher.decided_ns[group] > at_ns
            for group, sent_ns in watcher.sent_ns.items())

    def kill(self, count: int) -> None:
        """Kill `count` times, each when every event trades again after the one before."""
        self.warm()
        for aim in draw_aims(count, self._draw):
            moment = strike(self.watcher, aim, self._draw)
            self.run.moments.append(moment)
            self._await_trading(moment)
            self.watcher.forget(max(moment.in_flight, default=0))
            self._pause(self._draw.random() * PAUSE_S_MAX)

    def _await_trading(self, moment: Moment) -> None:
        """Go on when every event that was traded before has an order again, or the time is over."""
        watcher = self.watcher
        events = set(watcher.events.values())
        until_s = time.monotonic() + AGAIN_S_GIVEN
        while time.monotonic() < until_s and (
            events - set(_again(watcher, moment)) - _doubtful(watcher, moment.at_ns, watcher.clock())
        ):
            self.check_alive()
            watcher.look()
            threading.Event().wait(0.002)
        self.until(watcher.is_running, RUNNING_S_MAX, f"lane {moment.lane} to run again")

    def _pause(self, seconds: float) -> None:
        threading.Event().wait(seconds)
        self.check_alive()

    def check_alive(self) -> None:
        assert self.pipeline is not None
        code = self.pipeline.process.poll()
        if code is not None:
            raise AssertionError(
                f"seed {self.run.seed}: pm run ended with {code} after {len(self.run.moments)} kills, the "
                f"last {self.run.moments[-1:]}: {self.pipeline.process.communicate()[1]}")

    def until(self, is_so: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for it while the run lives, looking on; fails the test after `seconds`."""
        def looked() -> object:
            self.check_alive()
            self.watcher.look()
            return is_so()

        wait_until(looked, seconds, f"seed {self.run.seed}, {len(self.run.moments)} kills: {what}", 0.005)

    # -- the end ---------------------------------------------------------------------------------

    def finish(self, is_patient: bool) -> Judgement:
        """Settle, resolve, end both trees and judge; is_patient waits for what is dead only after 120 s."""
        exchange, watcher = self.market.exchange, self.watcher
        exchange.control("POST", "/control/stop-flow")
        stopped_s = time.monotonic()
        self._settle(stopped_s + (UNKNOWN_FINAL_S if is_patient else SETTLE_S_MAX), is_patient)
        exchange.control("POST", "/control/resolve", {"seed": self.run.seed})
        self._await_resolved()
        watcher.look()
        counters, report = watcher.counters(), exchange.stop()
        assert report is not None, "the exchange left no report"
        self._judge_trading(report)
        seconds = time.monotonic() - self._started_s
        facts = RunFacts(
            counters=counters, latencies={}, seconds=seconds, topology="2core", feeds=[], speed="1",
            steal_ticks=0, dry=False, why_nothing=[],
            outages=[
                (event["ts_ns"] - NS_PER_S, event["ts_ns"] + AGAIN_NS_MAX)
                for event in self.events("lane_died", "lane_stalled")])
        watcher.close()
        self._watcher = None
        assert self.pipeline is not None
        code, _, errors = self.pipeline.stop()
        assert (0, "") == (code, errors), f"seed {self.run.seed}: pm run ended with {code}: {errors}"
        self.run.verdict = judge(self.state, report, facts, is_max_speed=True)
        return self.run.verdict

    def _settle(self, until_s: float, is_patient: bool) -> None:
        """Wait until no order is open; for UNKNOWN ones that the exchange never saw only when patient."""
        confirmed_s = time.monotonic() + CONFIRM_S
        while time.monotonic() < until_s:
            self._pause(0.5)
            logs = read_logs(self.state, Findings())
            open_orders = unfinished(logs, fill_orders(logs, Findings()))
            if not is_patient:
                known = {row["order_id"] for row in self.market.arrivals()}
                open_orders = {number: name for number, name in open_orders.items() if name in known}
            if not open_orders and time.monotonic() > confirmed_s:
                return

    def _await_resolved(self) -> None:
        """The resolution of every market that we hold shares of must stand in our stream."""
        def is_told() -> bool:
            logs = read_logs(self.state, Findings())
            return bool(logs.resolved) and not logs.fold.pnl.open_rows

        until_s = time.monotonic() + SETTLE_S_MAX
        while time.monotonic() < until_s and not is_told():
            self._pause(0.5)

    def _judge_trading(self, report: dict[str, Any]) -> None:
        """How soon each event traded again; one with nothing to trade, or with a doubt, is excused."""
        watcher, run = self.watcher, self.run
        first_ns: dict[int, int] = {}
        for group, event in watcher.events.items():
            sent_ns = watcher.sent_ns.get(group)
            if sent_ns is not None:
                first_ns[event] = min(first_ns.get(event, sent_ns), sent_ns)
        late: list[tuple[int, int]] = []
        for number, moment in enumerate(run.moments):
            found = _again(watcher, moment)
            doubtful = _doubtful(watcher, moment.at_ns, moment.at_ns + AGAIN_NS_MAX)
            due = {event for event, ns in first_ns.items() if ns < moment.at_ns}
            run.excused += len(due & doubtful)
            run.again_ns.append({
                event: ns for event, ns in found.items() if event in due - doubtful and ns <= AGAIN_NS_MAX})
            late += [
                (number, event) for event in sorted(due - doubtful)
                if not 0 < found.get(event, 0) <= AGAIN_NS_MAX]
        reasons = missed_reasons(self.state, report, [
            (event, run.moments[number].at_ns + min(run.again_ns[number].values(), default=0),
             run.moments[number].at_ns + AGAIN_NS_MAX) for number, event in late])
        for (number, event), why in zip(late, reasons, strict=True):
            moment = run.moments[number]
            run.idle += not why
            is_in_doubt = bool(why) and all(one.endswith(UNKNOWN_OPEN) for one in why.split("; "))
            run.excused += is_in_doubt
            if why and not is_in_doubt:
                run.late.append(
                    f"kill {number} ({moment.aim}, lane {moment.lane}): event {event} did not trade again in "
                    f"5 s: {why}")

    def close(self) -> None:
        """End what still runs."""
        if self._watcher is not None:
            self._watcher.close()
        if self.pipeline is not None:
            self.pipeline.stop()
        self.market.close()


def _again(watcher: Watcher, moment: Moment) -> dict[int, int]:
    """Return, by event, the ns from the death to the first order whose cause came after it."""
    found: dict[int, int] = {}
    for group, event in watcher.events.items():
        sent_ns = watcher.sent_ns.get(group, 0)
        if watcher.causes[group] >= moment.stream_position and sent_ns > moment.at_ns:
            found[event] = min(found.get(event, 1 << 62), sent_ns - moment.at_ns)
    return found


def _doubtful(watcher: Watcher, at_ns: int, until_ns: int) -> set[int]:
    """Return the events with an order from before `at_ns` that may have left and had no end by `until_ns`."""
    return {
        watcher.events[seen.group_no] for seen in watcher.orders.values()
        if seen.intended_ns <= at_ns and (seen.is_sent or seen.is_doubtful)
        and not 0 < seen.end_ns <= until_ns}


def summarise(run: KillRun) -> dict[str, Any]:
    """Return the figures of a run for the gate's file."""
    return {
        "kills": len(run.moments), "seed": run.seed,
        "in_flight_share": run.share(lambda moment: moment.in_flight),
        **{f"inside_{what}_share": run.share(lambda moment, what=what: moment.inside == what)
           for what in (SIGN, SEND, ACK)},
        "again_ms_max": run.again_max_ns // NS_PER_MS}
