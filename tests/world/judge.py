"""Runs one plan from start to resolution and returns everything that did not hold."""

from __future__ import annotations

from pathlib import Path

from tests.world import verdict, verdict_books, verdict_state
from tests.world.plan import Plan
from tests.world.world import World

ORDERS_MIN, FRAMES_MIN = 50, 1_000


def judge(plan: Plan, directory: Path, with_tops: bool = False) -> list[str]:
    """Return the complaints of one run; empty = every promise held."""
    world = World(plan, directory)
    try:
        world.trade(ORDERS_MIN, FRAMES_MIN)
        world.settle()
        found = verdict.check_held(world, verdict.read_logs(world))
        found += [f"not settled: {order}" for order in world.trader.facts.orders.open_orders]
        world.resolve()
        logs = verdict.read_logs(world)
        handed = world.network.counts["handed_market"]
        if len(logs.intents) < ORDERS_MIN or handed < FRAMES_MIN:
            found.append(f"only {len(logs.intents)} orders and {handed} frames")
        for check in (
            verdict.check_money,
            verdict.check_orders,
            verdict_books.check_books_trusted,
            verdict_books.check_exposure,
            verdict_books.check_no_false_positive,
            verdict_state.check_recovery,
            verdict_state.check_endings,
        ):
            found += check(world, logs)
        found += verdict.check_frames(world) + verdict.check_reasons(world)
        if with_tops:
            found += verdict_books.check_tops(world, logs)
        if found:
            found.append(f"faults that happened: {dict(world.network.counts)}")
        return found
    finally:
        world.close()
