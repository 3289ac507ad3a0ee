"""A whole scenario under a faults file, in simulated time: nobody's orders move while the engine is down."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.sim.market import Commit
from pipeline.sim.scenario import Scenario, ScenarioConfig, build
from tests.sim_trader import NOW_NS

MS = 10**6
SECOND = 10**9
FILE = """
[[fault]]
name = "restart"
kind = "restart"
at_s = 4
down_s = 3
post_only_s = 3
orders = "{orders}"

[[fault]]
name = "tick"
kind = "tick"
market = "planted"
step = "0.001"
at_s = 11
"""


def scenario_of(tmp_path: Path, orders: str) -> tuple[Scenario, list[Commit]]:
    path = tmp_path / "faults.toml"
    path.write_text(FILE.format(orders=orders))
    config = ScenarioConfig.parse({"seed": 5, "markets": 2, "planted_events": 3, "faults": str(path)})
    scenario = build(config, NOW_NS, lambda *_: None, lambda: 0)
    commits: list[Commit] = []
    scenario.exchange.commit_hooks.append(commits.append)
    scenario.player.start(NOW_NS)
    return scenario, commits


def play(scenario: Scenario, from_s: float, until_s: float) -> None:
    for at_ms in range(round(from_s * 1_000), round(until_s * 1_000), 5):
        scenario.exchange.on_timer(NOW_NS + at_ms * MS)
        scenario.pump(NOW_NS + at_ms * MS)


@pytest.mark.parametrize("orders", ["keep", "wipe"])
def test_while_the_engine_is_down_nothing_moves(tmp_path: Path, orders: str) -> None:
    """No commit and no flow time for 3 s, no plant alive; in post-only nobody takes; then all goes on."""
    scenario, commits = scenario_of(tmp_path, orders)
    play(scenario, 0, 4.01)
    before, flow_ns = len(commits), scenario.player.flow_ns
    assert before > 50
    assert all(plant.end for plant in scenario.planting.journal)
    play(scenario, 4.01, 7)
    assert before == len(commits)
    play(scenario, 7, 10)
    posting = commits[before:]
    assert len(posting) > 20
    assert not any(commit.traded for commit in posting)
    assert abs(scenario.player.flow_ns - flow_ns - 3 * SECOND) < 50 * MS
    play(scenario, 10, 16)

    assert any(commit.traded for commit in commits[before + len(posting) :])
    assert any(plant.t_start_ns > NOW_NS + 10 * SECOND for plant in scenario.planting.journal)
    scenario.exchange.ledger.check(scenario.exchange.engine.markets.values())


def test_plants_keep_every_grid_of_their_event(tmp_path: Path) -> None:
    """After one market's tick became finer, plants still stand where the others' grids allow."""
    scenario, _ = scenario_of(tmp_path, "keep")
    play(scenario, 0, 20)
    (note,) = next(row for row in scenario.faults.rows() if row["name"] == "tick")["notes"]
    slug = note[1].partition(":")[0]
    event = next(e for e in scenario.planting.events if slug in [market.slug for market in e.markets])
    plants = [
        plant
        for plant in scenario.planting.journal
        if plant.event_id == event.event_id and plant.t_start_ns > NOW_NS + 11 * SECOND
    ]

    assert {10, 100} == {market.tick_step for market in event.markets}
    assert plants
    for plant in plants:
        for leg in plant.legs:
            step = event.markets[leg.outcome_index].tick_step
            assert all(price % step == 0 for price, _ in leg.levels)
