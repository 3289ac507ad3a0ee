"""PR02: death between journal write, sign, submit, ack and ack's journal, in simulated time."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.kinds import Cause, OrderState
from pipeline.run.judge_logs import Findings, Venue, read_logs
from pipeline.run.judge_money import check_money, fill_orders
from pipeline.run.judge_orders import check_orders
from pipeline.run.judge_resumes import check_resumes
from pipeline.sim.report import report
from tests.models.gateway_rig import EPOCH, Gateway
from tests.models.signer_rig import T0_NS
from tests.shared import fresh_seed, scaled
from tests.tools.faultrows import figure
from tests.world.crash import GAPS, GROUPS, ONE_LANE, CrashWorld
from tests.world.network import Weather
from tests.world.plan import draw_plan

EACH = figure("PR02", "deaths_per_gap")
ONE_LANE_SEEDS = scaled(3, 40)
ORDERS_MIN, FRAMES_MIN = 60, 400
#: They once showed a signer that began where a new core began: intents in between were never signed.
REGRESSIONS = {12, 45, 55, 104}
SEEDS = [*sorted({*range(1, EACH), *REGRESSIONS}), fresh_seed()]  # one run dies once at every gap


@pytest.mark.parametrize("seed", SEEDS)
def test_PR02_gaps(seed: int, tmp_path: Path, gate_record: Any) -> None:
    """One death at every gap: no order twice, none forgotten, the exchange's money, and deciding goes on."""
    die_at_every_gap(seed, tmp_path, GROUPS)
    gate_record("PR02", "deaths_per_gap", 1, seed)


@pytest.mark.parametrize("seed", [*range(1, 1 + ONE_LANE_SEEDS), fresh_seed()])
def test_PR02_gaps_of_one_lane(seed: int, tmp_path: Path) -> None:
    """The same where core, signer and gateway are one process, and each death is the death of all."""
    die_at_every_gap(seed, tmp_path, ONE_LANE)


def die_at_every_gap(seed: int, tmp_path: Path, groups: dict[str, str]) -> None:
    """Trade, die once at every gap, settle, and judge both logs."""
    draw = random.Random(f"gaps:{seed}")
    gaps = draw.sample(GAPS, len(GAPS))
    drawn = draw_plan(seed)
    plan = dataclasses.replace(
        drawn, weather=Weather(), changes_tick=False, overrides={**drawn.overrides, "shm.ring_slots": 1_024})
    world = CrashWorld(plan, tmp_path, tuple(gaps), groups)
    try:
        world.trade(ORDERS_MIN, FRAMES_MIN)
        world.run(world.now_ns + 20 * 10**9, lambda: len(world.deaths) == len(gaps))
        before = world.trader.facts.order_no
        world.run(world.now_ns + 20 * 10**9, lambda: world.trader.facts.order_no > before + 10)
        went_on = world.trader.facts.order_no - before
        world.settle()
        open_orders = list(world.trader.facts.orders.open_orders)
        world.resolve()
        told = report(world.scenario, [], world.now_ns)
    finally:
        world.close()

    findings = Findings()
    logs = read_logs(tmp_path / "state", findings)
    venue = Venue(told, logs.order_of)
    filled = fill_orders(logs, findings)
    check_orders(logs, venue, filled, findings)
    check_money(logs, venue, filled, findings)
    check_resumes(logs, findings)
    assert Counter(gaps) == Counter(world.deaths), f"seed {seed}"
    assert [] == findings.texts(), f"seed {seed}: {world.deaths}"
    assert [] == open_orders, f"seed {seed}: {world.deaths}"
    assert went_on > 0, f"seed {seed}: nothing was decided behind the last death"


def test_PR02_nothing_leaves_before_the_fence(tmp_path: Path) -> None:
    """A gateway that came up ends every order unsent until trade says up to which it judged the old ones."""
    gateway = Gateway(tmp_path)
    gateway.sign(1)
    gateway.machine.on_beat(T0_NS, EPOCH - 1, 0)  # of an older start: says nothing about ours
    gateway.sign(2)
    assert 0 == gateway.sends()
    assert [(1, OrderState.UNSENT, Cause.LANE_DIED), (2, OrderState.UNSENT, Cause.LANE_DIED)] == (
        gateway.reports())

    gateway.machine.on_beat(T0_NS, EPOCH, 3)
    gateway.sign(3)
    gateway.sign(4)
    assert 1 == gateway.sends()
    assert [(3, OrderState.UNSENT, Cause.LANE_DIED), (4, OrderState.SENT, Cause.NONE)] == gateway.reports()
    assert 4 == gateway.brake.order_no
