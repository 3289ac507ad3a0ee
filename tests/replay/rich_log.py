"""One log that holds everything a decision may hang on, made by the simulated world from a seed.

Market data, fills whole and partial, orders without an answer, gaps, halts and their end, tick changes, a
change of the limits. `ingredients` counts them, so that no test runs on a log that lost one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from pipeline.codec import CODECS, kind_of, unpack
from pipeline.config.load import config_record
from pipeline.kinds import Cause, HaltLevel, Kind, OrderState
from pipeline.records import SLOT_BYTES
from pipeline.run import wiring
from pipeline.shm.halt import HaltPage
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.world.network import Weather
from tests.world.plan import Plan, draw_plan
from tests.world.refold import read_log
from tests.world.world import World

WEATHER = Weather(
    wire_us=(40, 400), lost=0.008, cut=0.016, broken_after=0.008, raced=0.25, repeat=0.1, held=0.1,
    cut_ms=900, ask_fault=0.05)
HALTS_MS = ((700, 850), (1_500, 1_600))
LIMITS_MS = 1_000
TICKS_MS = (400, 900, 1_200)
LAST_MS = 1_800  # all of this has happened then
SECONDS_MAX = 60


def rich_plan(seed: int, planted_events: int = 60) -> Plan:
    """Return what a seed draws, with bad weather, tick changes and room for many orders."""
    drawn = draw_plan(seed)
    scenario = dataclasses.replace(
        drawn.scenario, markets=3, speed=1.0, planted_events=planted_events, plant_spacing_ms=60,
        plant_settle_ms=60, cash_usd_micro=1_000_000_000_000)
    overrides: dict[str, object] = {
        "shm.ring_slots": 1_024, "shm.log_segment_slots": 8_192, "universe.instruments_max": 512,
        "shm.ladders_128": 512, "shm.ladders_1024": 512, "shm.ladders_16384": 1,
        "strategies.basket.levels_max": 2, "strategies.basket.cooldown_ms": 20, "books.batch_ms_max": 20,
        "risk.open_orders_max": 400, "risk.day_usd_max": "1000000000", "execution.submit_timeout_ms": 1_000}
    return Plan(seed, WEATHER, scenario, overrides, is_lazy=False, changes_tick=False)


class RichLog:
    """A finished world's logs; `decisions` is what its trade stage wrote."""

    def __init__(self, plan: Plan, directory: Path, records_min: int, is_ended: bool = False) -> None:
        """is_ended: every order ends and every market is resolved; else the log stops in the middle."""
        self.plan = plan
        directory.mkdir(parents=True, exist_ok=True)
        world = World(plan, directory)
        page = HaltPage(directory / "state", "operator")
        try:
            begin_ns = world.now_ns
            _plan_events(world, page)
            stream = world.channels.written[wiring.STREAM]
            if plan.weather.cut_ms:
                world._plan_cut()
            world.run(world.now_ns + SECONDS_MAX * NS_PER_S, lambda: stream.position > records_min and (
                world.now_ns > begin_ns + LAST_MS * NS_PER_MS))
            if is_ended:
                world.settle()
                world.resolve()
            while sum(built.stage.poll(256) for built in world.built.values()):
                world._keep_ideas()
        finally:
            page.close()
            world.close()
        self.state = directory / "state"
        self.logs = self.state / "logs"
        self.stream = read_log(self.logs / "stream", "stream")
        self.decisions = read_log(self.logs / "decisions", "decisions")


def _plan_events(world: World, page: HaltPage) -> None:
    """Put the halts, the limits' change and the tick changes into the world's calendar."""
    begin_ns = world.now_ns
    for halted_ms, lifted_ms in HALTS_MS:
        for at_ms, level in ((halted_ms, HaltLevel.H2), (lifted_ms, HaltLevel.H0)):
            world.at(begin_ns + at_ms * NS_PER_MS, lambda level=level: page.put(  # type: ignore[misc]
                level, now_ns=world.now_ns, cause=Cause.OPERATOR, durable=False, reason="drill"))
    changed = config_record(world.config, 1)
    changed["package_usd_micro_max"] = int(changed["package_usd_micro_max"]) // 2
    changed["edge_usd_micro_min"] = int(changed["edge_usd_micro_min"]) * 2
    world.at(begin_ns + LIMITS_MS * NS_PER_MS, lambda: _push_limits(world, changed))
    for at_ms in TICKS_MS:
        world.at(begin_ns + at_ms * NS_PER_MS, world._change_tick)


def _push_limits(world: World, changed: dict[str, int | bytes]) -> None:
    assert world.control.push(
        CODECS[Kind.CONFIG].pack(source=1, source_seq=1 << 40, recv_ns=world.now_ns, **changed))


def ingredients(stream: bytes, decisions: bytes) -> Counter[str]:
    """Return how often each thing that decisions hang on stands in the two logs."""
    found: Counter[str] = Counter(records=len(stream) // SLOT_BYTES, decisions=len(decisions) // SLOT_BYTES)
    sizes: dict[int, int] = {}
    for at in range(0, len(decisions), SLOT_BYTES):
        kind = Kind(kind_of(decisions, at))
        found[kind.name.lower()] += 1
        if kind == Kind.INTENT:
            intent = unpack(decisions, at)
            sizes[intent.order_no] = intent.size_micro
    for at in range(0, len(stream), SLOT_BYTES):
        kind = Kind(kind_of(stream, at))
        found[kind.name.lower()] += 1
        if kind == Kind.REPORT:
            record = unpack(stream, at)
            found["unknown"] += record.state == OrderState.UNKNOWN
            found["partial"] += 0 < record.matched_micro < sizes.get(record.order_no, 0)
        elif kind == Kind.HALT:
            found["halts_above_h0"] += unpack(stream, at).level > HaltLevel.H0
    return found
