"""PR04, OR19: a lane is frozen and goes on, or every core is busy: no stale order, a halt, and its end."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.kinds import HaltLevel
from pipeline.shm import halt
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.kills import SETTINGS, Kills
from tests.shared import fresh_seed, wait_until
from tests.tools.faultrows import figure

FREEZES = figure("PR04", "freezes")
HOGS = figure("PR04", "hog_rounds")
HALT_MS_MAX = 500
FROZEN = ("core", "signer", "gateway", "account")
STALL_S = 0.6  # a freeze that is longer must halt
TRAVEL_NS_MAX = NS_PER_S  # from the deadline to the exchange's own clock, on a machine that everybody shares
CLEAR_S_MAX = 15.0
HOG_S = 3.0
pytestmark = pytest.mark.timeout(120 + 20 * (FREEZES + HOGS))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Kills]:
    found = started(tmp_path)
    yield found
    found.close()


def started(directory: Path) -> Kills:
    return Kills(directory, fresh_seed(), (*SETTINGS, "supervision.stall_kill_s=60"))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frozen]:
    """A run whose lanes were frozen one after the other, each 0.3-3 s, and that still trades."""
    found = started(tmp_path_factory.mktemp("frozen"))
    try:
        yield Frozen(found, freeze(found))
    finally:
        found.close()


@dataclass(frozen=True, slots=True)
class Stop:
    """One freeze: the lane, its time, and the halt levels that were seen meanwhile."""

    lane: str
    seconds: float
    levels: frozenset[HaltLevel]


class Frozen(NamedTuple):
    """A run and what was done to it."""

    run: Kills
    stops: list[Stop]


def level(run: Kills) -> HaltLevel:
    return halt.effective(run.state)[0]


def assert_nothing_stale(run: Kills) -> None:
    """No order reached the exchange later than its deadline and the way there."""
    run.watcher.look()
    deadline_ns = {
        "0x" + order_hash.hex(): run.watcher.deadline_ns[number]
        for order_hash, number in run.watcher.order_of.items() if number in run.watcher.deadline_ns}
    arrivals = [row for row in run.market.arrivals() if row["order_id"] in deadline_ns]
    assert arrivals
    late = {
        row["order_id"]: (row["now_ns"] - deadline_ns[row["order_id"]]) // NS_PER_MS for row in arrivals
        if row["now_ns"] > deadline_ns[row["order_id"]] + TRAVEL_NS_MAX}
    assert {} == late, "ms behind the deadline"


def freeze(run: Kills) -> list[Stop]:
    """Stop lanes of the order path, each with an order on its way; go on when orders leave again."""
    run.warm()
    draw, stops = random.Random(f"freezes:{run.run.seed}"), []
    for number in range(FREEZES):
        lane = FROZEN[number % len(FROZEN)]
        run.until(lambda: level(run) == HaltLevel.H0, CLEAR_S_MAX, "no halt before the freeze")
        seconds = draw.uniform(0.3, 3.0)
        run.until(lambda: run.watcher.open, CLEAR_S_MAX, "an order on its way")
        run.watcher.freeze(lane)
        frozen_ns = run.watcher.clock()
        thawed_ns = frozen_ns + int(seconds * NS_PER_S)
        levels = set()

        def is_over(until_ns: int = thawed_ns, seen: set[HaltLevel] = levels) -> bool:
            seen.add(level(run))
            return run.watcher.clock() >= until_ns

        run.until(is_over, 10.0, "the end of the freeze")
        run.watcher.thaw(lane)
        stops.append(Stop(lane, seconds, frozenset(levels)))
        run.until(lambda: level(run) == HaltLevel.H0, CLEAR_S_MAX, "the halt to clear")
        run.until(
            lambda at_ns=thawed_ns: run.trades_again(at_ns), CLEAR_S_MAX, f"an order after {lane} stood")
    return stops


def test_PR04_freezes(frozen: Frozen, gate_record: Any) -> None:
    """Real SIGSTOPs of 0.3-3 s of lanes on the order path: H1 in 0.5 s, and gone by itself."""
    for stop in frozen.stops:
        assert stop.seconds <= STALL_S or HaltLevel.H1 in stop.levels, stop
    stalls = frozen.run.events("lane_stalled")
    assert stalls
    assert all(event["still_ms"] <= HALT_MS_MAX for event in stalls), stalls
    gate_record("PR04", "freezes", figure("PR04", "freezes"), frozen.run.run.seed)


def test_OR19_real_stops_send_nothing_expired(frozen: Frozen, gate_record: Any) -> None:
    """By the exchange's own clock no order came behind its deadline in our log and the way there."""
    assert_nothing_stale(frozen.run)
    assert FREEZES >= figure("OR19", "freezes")
    gate_record("OR19", "freezes", len(frozen.stops), frozen.run.run.seed)


def test_PR04_hogs(run: Kills, gate_record: Any) -> None:
    """A busy loop on every core: orders leave in time or not at all, and whatever halted ends with it."""
    run.warm()
    for _ in range(HOGS):
        hogs = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
        try:
            until_ns = run.watcher.clock() + int(HOG_S * NS_PER_S)
            run.until(lambda at_ns=until_ns: run.watcher.clock() > at_ns, 4 * HOG_S, "the hogs' time")
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        ended_ns = run.watcher.clock()
        run.until(lambda: level(run) == HaltLevel.H0, CLEAR_S_MAX, "the halt to clear")
        run.until(lambda at_ns=ended_ns: run.trades_again(at_ns), CLEAR_S_MAX, "an order after the hogs")
    assert_nothing_stale(run)
    wait_until(lambda: all(hog.poll() is not None for hog in hogs), 5.0, "the hogs to end")
    gate_record("PR04", "hog_rounds", HOGS, run.run.seed)
