"""A whole simulated run whose logs lie on a disk that fails: started by the tests of JR02 and JR03.

`python -m tests.faults.disk_world MODE SEED DIRECTORY`; prints one JSON line. MODE: `full` (DIRECTORY is a
small tmpfs), `refused` and `stalled` (tests/faults/slow_sync.c stands before fsync).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.kinds import HaltLevel, Kind
from pipeline.native.segments import segments
from pipeline.records import SLOT_BYTES
from pipeline.run.disk_watch import DiskWatch
from pipeline.run.halts import SupervisorHalts
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import StatusView
from pipeline.store.background import Background, Inline, Worker
from pipeline.store.upkeep import Limits
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.world.plan import draw_plan
from tests.world.verdict import read_logs, records_of
from tests.world.world import World

SECONDS_MAX = 60  # of simulated time, each phase
ORDERS_BEFORE, ORDERS_BEHIND = 10, 20
SMALL = {"shm.log_segment_slots": 1_024}


class DiskWorld(World):
    """A world with the supervisor's watch over the disk, and an archive that works as in a real lane."""

    sync_ns = 20 * NS_PER_MS
    limits = Limits(segments_kept_min=100_000)  # nothing is deleted: the disk fills as fast as it can

    def __init__(self, seed: int, directory: Path, worker: Callable[[], Worker]) -> None:
        self.worker = worker  # type: ignore[method-assign]
        plan = draw_plan(seed)
        super().__init__(replace(plan, overrides={**plan.overrides, **SMALL}), directory)
        state_dir = directory / "state"
        self.halt_page = HaltPage(state_dir, "supervisor")
        self.operator = HaltPage(state_dir, "operator")
        self.events: list[str] = []
        self._page_view = StatusView(self.memory.buffer("status.world"))
        self._watch = DiskWatch(
            self._page_view, SupervisorHalts(self.halt_page, self.clock),
            lambda _level, event, **_fields: self.events.append(event),
        )

    def go(self, is_done: Callable[[], bool], seconds: float = SECONDS_MAX) -> bool:
        """Run until `is_done`; the supervisor's watch looks on at each turn."""

        def look() -> bool:
            self._watch.look()
            return is_done()

        return self.run(self.now_ns + int(seconds * NS_PER_S), look)

    def close(self) -> None:
        self._page_view.close()
        self.halt_page.close()
        self.operator.close()
        super().close()


def strangers(world: World) -> list[str]:
    """Return every order that reached the exchange without its intent and its start in the logs (I2)."""
    logs = read_logs(world)
    known = {order_hash for number, order_hash in logs.hashes.items() if number in logs.intents}
    arrived = [arrival.order_id for arrival in world.scenario.exchange.arrivals]
    return [order_hash for order_hash in arrived if order_hash not in known]


def run_full(seed: int, directory: Path) -> dict[str, Any]:
    """Fill the disk under a trading run, then cancel everything, then go on until nothing fits any more."""
    world = DiskWorld(seed, directory, Inline)
    facts = world.trader.facts
    world.go(lambda: facts.stream_halt > HaltLevel.H0)
    halts = [(record.level, record.cause) for record in records_of(world.log("stream"), Kind.HALT)]
    orders, cancels, beats = facts.order_no, facts.cancel_no, facts.beat_no
    world.operator.put(HaltLevel.H2, now_ns=world.now_ns, reason="drill", durable=False)
    world.go(lambda: facts.stream_halt >= HaltLevel.H2 and not facts.orders.cancel_wanted, 5)
    cancelled = facts.cancel_no - cancels
    is_full = world.go(lambda: is_stuffed(world))
    world.go(lambda: False, 1)  # nothing may come of what no longer fits
    found = {
        "halts": halts, "orders": orders, "orders_behind_halt": facts.order_no - orders,
        "cancels_behind_halt": cancelled, "beats_behind_halt": facts.beat_no - beats,
        "cancels": facts.cancel_no,
        "cancels_logged": len(list(records_of(world.log("decisions"), Kind.CANCEL))),
        "is_full": is_full, "events": world.events, "strangers": strangers(world),
        "disk_full": world.counters()["disk_full"], "arrivals": len(world.scenario.exchange.arrivals)}
    world.close()
    return found


def is_stuffed(world: World) -> bool:
    """Tell whether the stream has no free slot left in any file."""
    infos = segments(world.logs / "stream", "stream")
    return all(info.published == info.first + info.slots for info in infos)


def run_sync(seed: int, directory: Path, mode: str) -> dict[str, Any]:
    """Trade while a fsync fails or hangs; the file `go` beside the logs lets a hanging one go on."""
    world = DiskWorld(seed, directory, lambda: Background("archive"))
    facts, counters = world.trader.facts, world.counters

    def synced() -> int:
        return counters().get("decisions_fsync_position", 0)

    world.go(lambda: facts.order_no >= ORDERS_BEFORE and synced() > 0)
    (directory / "armed").touch()
    if mode == "refused":
        world.go(lambda: facts.stream_halt >= HaltLevel.H3)
        orders, position, beats = facts.order_no, synced(), facts.beat_no
        world.go(lambda: facts.beat_no > beats + 20)
    else:
        world.go((directory / "hangs").exists)
        orders, position = facts.order_no, synced()
        world.go(lambda: facts.order_no >= orders + ORDERS_BEHIND)
    behind, held = facts.order_no - orders, synced()
    busy_ms = counters()["disk_busy_ms"]
    (directory / "go").touch()
    decided = len(world.log("decisions")) // SLOT_BYTES
    end = synced()
    if mode == "stalled":
        world.go(lambda: synced() >= decided)
        end = synced()
        world.settle()  # an order that arrived a moment ago: its report is on the way
    found = {
        "orders": orders, "orders_behind": behind, "position": position, "held": held, "end": end,
        "decided": decided, "busy_ms": busy_ms, "events": world.events, "failed": counters()["disk_failed"],
        "level": int(facts.stream_halt), "strangers": strangers(world),
        "arrivals": len(world.scenario.exchange.arrivals)}
    world.close()
    return found


def main() -> None:
    mode, seed, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    found = run_full(seed, directory) if mode == "full" else run_sync(seed, directory, mode)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
