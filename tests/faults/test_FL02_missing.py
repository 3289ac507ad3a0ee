"""FL02: user events that never come, and a channel that goes: what they would have told is asked for.

The whole pipeline in simulated time against the exchange's own logic; the exchange's trades are the truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Kind, OrderState, TradeStatus
from pipeline.sim.scenario import ACCOUNT_NAME
from pipeline.sim.settlement import Chances
from pipeline.units import MICRO, NS_PER_S
from tests.models.core_rig import T0_NS, event, fill, pack, report, started, tick
from tests.shared import fresh_seed
from tests.tools.faultrows import figure
from tests.world import verdict
from tests.world.network import Weather
from tests.world.plan import draw_plan
from tests.world.world import World

FOUND_NS_MAX = 10 * NS_PER_S
ENDED = (TradeStatus.CONFIRMED, TradeStatus.FAILED)
MISSED = 0.05


def played(seed: int, directory: Path, weather: Weather, orders: int, seconds: float) -> World:
    """Trade, then let the flow stop; what was not told has some seconds to be found."""
    directory.mkdir()
    plan = dataclasses.replace(draw_plan(seed), weather=weather, is_lazy=False, changes_tick=False)
    world = World(plan, directory)
    world.scenario.exchange.engine.settlement.chances = Chances(150_000, 100_000)
    world.trade(orders, 0, seconds)
    world.scenario.stop_flow(world.now_ns)
    world.network.weather = dataclasses.replace(weather, cut_ms=0)
    world.run(world.now_ns + 2 * FOUND_NS_MAX)  # settled after seconds, found after ten more
    return world


def told(world: World) -> dict[tuple[bytes, bytes], list[Any]]:
    """Return the FILL records of the stream by trade and order."""
    found: dict[tuple[bytes, bytes], list[Any]] = {}
    for one in verdict.records_of(world.log("stream"), Kind.FILL):
        found.setdefault((bytes(one.trade_id), bytes(one.order_hash)), []).append(one)
    return found


def test_FL02_missed_user_events_are_found_within_ten_seconds(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """One in twenty never comes, matches and their ends alike: each is in the stream in time, money exact."""
    first, count, missed, seed = fresh_seed(), figure("FL02", "missed"), 0, fresh_seed()
    print(f"seed {first}")
    while missed < count:
        world = played(seed, tmp_path / str(seed), Weather(missed=MISSED), 60, 12.0)
        try:
            missed += world.network.counts["missed"]
            fills = told(world)
            trades = world.scenario.exchange.engine.trades_of.get(ACCOUNT_NAME, [])
            for trade in trades:
                for order in (trade.taker, trade.maker):
                    if order is None or order.account.name != ACCOUNT_NAME:
                        continue
                    key = bytes.fromhex(trade.trade_id.replace("-", "")), bytes.fromhex(order.order_id[2:])
                    heard = fills.get(key, [])
                    ends = [one for one in heard if one.status in ENDED]
                    assert heard and ends, (seed, trade.trade_id, trade.status)
                    assert heard[0].now_ns - trade.now_ns <= FOUND_NS_MAX, (seed, trade.trade_id)
                    assert ends[0].now_ns - trade.updated_ns <= FOUND_NS_MAX, (seed, trade.trade_id)
            facts = world.trader.facts
            assert 0 == facts.fills.unsettled_count == facts.quarantine.count == facts.orders.open_count, seed
            assert [] == verdict.check_held(world, verdict.read_logs(world)), seed
            assert len(trades) >= 20, seed
        finally:
            world.close()
        seed += 1
    gate_record("FL02", "missed", missed, first)


def test_FL02_nothing_is_quoted_between_a_lost_channel_and_the_pass_behind_its_return(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """The channel is cut again and again: from each loss to the whole pass after it, no package."""
    first, count, losses, seed = fresh_seed(), figure("FL02", "losses"), 0, fresh_seed()
    print(f"seed {first}")
    while losses < count:
        world = played(seed, tmp_path / str(seed), Weather(cut_ms=600), 60, 20.0)
        try:
            passes = verdict.records_of(world.log("stream"), Kind.RECONCILED)
            marks = [(one.seq, bool(one.lost)) for one in passes if one.lost or one.heard]
            packages = verdict.records_of(world.log("decisions"), Kind.PACKAGE)
            causes = sorted(one.source_seq for one in packages)
            lost_seq = 0
            for seq, is_lost in [*marks, (1 << 62, False)]:
                if lost_seq:
                    between = [cause for cause in causes if lost_seq < cause < seq]
                    assert not between, (seed, lost_seq, seq, between)
                losses += is_lost and bool(lost_seq or causes)
                lost_seq = seq if is_lost else 0
            assert causes and marks[0][1], seed  # it begins unheard
            assert not world.trader.facts.is_deaf, seed
        finally:
            world.close()
        seed += 1
    gate_record("FL02", "losses", losses, first)


@pytest.mark.parametrize(("wait_s", "back_s"), [(9, 9), (300, 300), (900, 600)])
def test_FL02_a_trade_unsettled_in_silence_is_asked_for_back_to_its_match(wait_s: int, back_s: int) -> None:
    """After 8 s without a word trade asks, from the match on, at most ten minutes back; its end ends that."""
    rig = started()
    decided = pack(Kind.INTENT, order_no=1, instrument=1, price_ticks=3_000, size_micro=MICRO)
    rig.trader.apply_decision(decided)
    intent = unpack(decided)
    rig.feed(*event((1, 2)), report(1, OrderState.SENT), fill(intent, MICRO, 1), tick(T0_NS))

    def asked(now_ns: int) -> list[int]:
        return [one.since_ns for one in rig.feed(tick(now_ns)) if one.kind == Kind.RECONCILE]

    assert [] == asked(T0_NS + 7 * NS_PER_S)
    now_ns = T0_NS + wait_s * NS_PER_S
    assert [now_ns - back_s * NS_PER_S] == asked(now_ns)
    assert [] == asked(now_ns + NS_PER_S)
    rig.feed(fill(intent, MICRO, 1, now_ns + NS_PER_S, TradeStatus.CONFIRMED))
    assert [] == asked(now_ns + 100 * NS_PER_S)
