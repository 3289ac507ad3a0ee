"""What one seed of the world draws: scenario, weather, limits, scheduling."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pipeline.sim.scenario import ScenarioConfig
from tests.world.network import Weather, draw_weather


@dataclass(frozen=True, slots=True)
class Plan:
    """What one seed draws."""

    seed: int
    weather: Weather
    scenario: ScenarioConfig
    overrides: dict[str, object]
    is_lazy: bool  # stages are skipped at random and get small budgets
    changes_tick: bool


def draw_plan(seed: int) -> Plan:
    """Return everything that the seed decides."""
    draw = random.Random(f"world:{seed}")
    weather = draw_weather(draw)
    is_rendered = draw.random() < 0.15  # generated markets as tracks instead of live flow
    scenario = ScenarioConfig(
        seed=seed,
        markets=3 if is_rendered else draw.choice((1, 2, 3)),
        speed=25.0 if is_rendered else 1.0,
        seconds=6.0,
        planted_events=draw.randint(10, 16),
        plant_spacing_ms=draw.choice((60, 150)),
        plant_settle_ms=draw.choice((60, 150)),
        quiet_ms=20,
        render_frames_max=3_000,
        cash_usd_micro=draw.choice((20_000, 1_000_000)) * 1_000_000,
        signature_type=draw.choice((0, 0, 3)),
        best_bid_ask=draw.random() < 0.8,
    )
    tight = draw.random() < 0.3
    overrides: dict[str, object] = {
        "shm.ring_slots": draw.choice((128, 256, 1_024)),
        "shm.log_segment_slots": draw.choice((1_024, 4_096)),
        "universe.instruments_max": 256,
        "shm.ladders_128": 192,
        "shm.ladders_1024": 64,
        "shm.ladders_16384": 1,
        "strategies.basket.levels_max": draw.choice((1, 2, 4)),
        "strategies.basket.cooldown_ms": draw.choice((1, 50)),
        "books.batch_ms_max": draw.choice((20, 100)),
    }
    if tight:
        overrides |= {
            "risk.market_usd_max": "150",
            "risk.event_usd_max": "400",
            "risk.open_orders_max": 20,
            "strategies.basket.package_usd_max": "120",
            "risk.order_usd_max": "80",
            "risk.residue_usd_max": "4000",
        }
    return Plan(seed, weather, scenario, overrides, draw.random() < 0.4, draw.random() < 0.3)
