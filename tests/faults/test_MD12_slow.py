"""MD12: a consumer at half speed. Nothing old is traded on, nothing piles up, what is lost is told as a Gap.

The whole pipeline in simulated time against the exchange, with one core stage slowed to half of what the feed
brings; the truth about ages is the exchange's own history of its books.
"""

from __future__ import annotations

import dataclasses
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Flag, Kind
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_MD03_books import markets
from tests.models.chain import ALL, Chain
from tests.shared import scaled
from tests.tools.faultrows import figure
from tests.world import verdict
from tests.world.network import Weather
from tests.world.plan import draw_plan
from tests.world.world import World

SECONDS = figure("MD12", "seconds")
AGE_NS_MAX = 2 * NS_PER_S
RING_SLOTS, LAG_MAX = 256, 1_024


class Throttled:
    """A stage that takes at most `rate` records a second of simulated time; None = as it likes."""

    def __init__(self, stage: Any, world: World) -> None:
        self._stage, self._world = stage, world
        self.rate: float | None = None
        self.taken = 0
        self._credit, self._since_ns = 0.0, 0

    def poll(self, budget: int) -> int:
        now_ns = self._world.now_ns
        if self.rate is not None:
            earned = self.rate * (now_ns - self._since_ns) / NS_PER_S
            self._credit = min(self._credit + earned, self.rate / 20)
            budget = min(budget, int(self._credit))
        self._since_ns = now_ns
        done = int(self._stage.poll(budget)) if budget else 0
        self._credit -= done
        self.taken += done
        return done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)


class Calm(World):
    """A world with checkpoints as rare as in a real run: here nobody restarts."""

    checkpoint_records = 50_000


def slow_world(directory: Path, slow: str, seed: int) -> tuple[World, Throttled]:
    """Return a calm world that trades, with one stage ready to be slowed."""
    plan = dataclasses.replace(
        draw_plan(seed), weather=Weather(wire_us=(40, 160)), is_lazy=False, changes_tick=False)
    plan.overrides.update({"shm.ring_slots": RING_SLOTS, "books.stream_lag_records_max": LAG_MAX,
                           "strategies.basket.cooldown_ms": 1, "risk.proof_age_ms_max": 2_000,
                           "books.feed_pause_ms_max": 500,
                           # nothing resolves: ten minutes of sets must not end at a limit of exposure
                           "risk.market_usd_max": "100000000", "risk.event_usd_max": "100000000",
                           "risk.day_usd_max": "100000000", "risk.residue_usd_max": "100000000"})
    scenario = dataclasses.replace(plan.scenario, speed=1.0, markets=6,
                                   # ten minutes of a plant each 60 ms would take half an hour
                                   plant_spacing_ms=scaled(60, 240),
                                   cash_usd_micro=10**12, planted_events=16, seed=seed)
    world = Calm(dataclasses.replace(plan, scenario=scenario), directory)
    stage = world.built[slow].stage = Throttled(world.built[slow].stage, world)
    return world, stage


def priced_from(world: World) -> Iterator[tuple[Any, dict[int, Any]]]:
    """Yield each idea with the newest TOP of each of its rows."""
    tops: dict[int, Any] = {}
    for slot in world.passed:
        if slot[32] == Kind.TOP:
            top = CODECS[Kind.TOP].unpack(slot)
            tops[top.instrument] = top
        else:
            idea = CODECS[Kind.IDEA].unpack(slot)
            yield idea, {row: tops[row] for row in set(idea.leg_instrument[:idea.in_part]) if row in tops}


def old_orders(world: World, logs: verdict.Logs) -> list[str]:
    """Return every package that was decided on a book that the exchange had changed 2 s before.

    An order that leaves later than its deadline allows is refused behind the decision (OR19).
    """
    exchange = world.scenario.exchange
    used = {idea.idea_no: tops for idea, tops in priced_from(world)}
    arrived = {arrival.order_id for arrival in exchange.arrivals}
    sent = {intent.group_no for number, intent in logs.intents.items()
            if logs.hashes.get(number, "") in arrived}
    changed_ms = {condition: sorted(at_ns // NS_PER_MS for at_ns, *_ in exchange.history(market))
                  for condition, market in exchange.engine.markets.items()}
    bad = []
    for package in logs.packages:
        until_ms = (package.now_ns - AGE_NS_MAX) // NS_PER_MS
        for row, top in used[package.idea_no].items() if package.group_no in sent else ():
            changes = changed_ms[logs.conditions[row]]
            first = bisect_right(changes, top.venue_ns // NS_PER_MS)
            if first < bisect_left(changes, until_ms):
                bad.append(f"package {package.group_no}: row {row} of {top.venue_ns}, "
                           f"changed {changes[first]} ms, heard at {top.recv_ns}, proven at {top.proof_ns}, "
                           f"decided at {package.now_ns}")
    return bad


@pytest.mark.timeout(scaled(300, 3_600))
@pytest.mark.parametrize("slow", ["sequencer", "book"])
def test_MD12_a_slow_consumer_trades_on_nothing_old(
    slow: str, tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """Half speed for 10 minutes: 0 orders on data older than 2 s; rings, lag and what waits stay bounded."""
    world, stage = slow_world(tmp_path, slow, seed=12)
    try:
        world.run(world.now_ns + 3 * NS_PER_S)
        before = stage.taken
        world.run(world.now_ns + 3 * NS_PER_S)
        usual = (stage.taken - before) / 3
        stage.rate = usual / 2
        waited, lag, packages = [], [], world.trader.facts.group_no
        for _ in range(SECONDS * 4):
            world.run(world.now_ns + NS_PER_S // 4)
            waited.append(max((len(line.queue) for line in world.network._conns.values()), default=0))
            lag.append(world.counters()["sequencer_position"] - world.counters()["book_position"])
        traded_slow = world.trader.facts.group_no - packages
        stage.rate = None
        world.run(world.now_ns + 5 * NS_PER_S)
        at_end = world.trader.facts.group_no
        world.run(world.now_ns + 5 * NS_PER_S)
        counters, logs = world.counters(), verdict.read_logs(world)
        said = f"{traded_slow} packages while slow; waited {max(waited)}, lag {max(lag)}; {counters}"
        assert [] == old_orders(world, logs), said
        assert counters["gaps"] > 0 < counters["pauses"], said
        assert max(waited) < 4 * usual, said  # what 2 s bring at most, twice
        assert max(lag) <= 3 * LAG_MAX, said  # ticks and reports pass the limit of the feeds
        assert world.trader.facts.group_no > at_end, f"no trade after it: {said}"
        gate_record("MD12", "seconds", SECONDS, 12)
    finally:
        world.close()


@pytest.mark.parametrize("seed", range(20))
def test_MD12_a_proof_is_no_younger_than_its_data(seed: int) -> None:
    """What waited in a full ring, or in its socket behind a pause, is proven as of then and not as of now."""
    rng = random.Random(seed)
    rows = markets(rng, 2)
    chain = Chain(rows, slots=128)
    assert chain.run(20_000, until=chain.is_settled)
    sent_ns: dict[tuple[int, int], int] = {}
    tops: list[Any] = []
    chain.on_top = tops.append
    chain.rates["sequencer"] = 0
    for _ in range(400):
        market = rng.choice(rows)
        market.venue_ns += NS_PER_MS
        chain.commit(market)
        sent_ns[market.row, market.venue_ns] = chain.now_ns
        chain.step()
    chain.rates["sequencer"] = ALL
    assert chain.run(5_000, 5, until=chain.is_settled), f"seed {seed}"
    assert chain.counters()["pauses"] > 0 == chain.counters().get("gaps", 0)
    proven = [top for top in tops if not top.flags & (Flag.OPEN | Flag.STALE | Flag.CROSSED)
              and (top.instrument, top.venue_ns) in sent_ns]
    assert len(proven) > 5
    for top in proven:
        assert top.proof_ns <= sent_ns[top.instrument, top.venue_ns] + 2 * NS_PER_MS, f"seed {seed}"
