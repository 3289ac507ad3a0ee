"""The ring between two pinned processes: messages/s, every byte written and compared, and round trips."""

from __future__ import annotations

import dataclasses
import mmap
import os
from typing import Any

from bench import ends, harness
from pipeline.native import torture
from pipeline.native.ring import Reader, Ring, Writer

SLOTS = 4_096
SEED = 20261121


def _ring() -> mmap.mmap:
    memory = mmap.mmap(-1, Ring.bytes_for(SLOTS))
    Ring.format(memory, SLOTS)
    return memory


def throughput(count: int, run_max: int, batch: int) -> float:
    """Return messages/s of one run; raises SystemExit when one is lost, reordered or torn."""
    memory = _ring()
    got, _ = ends.together(
        lambda: torture.consume(Reader(memory), 0, count, SEED),
        lambda: dataclasses.asdict(
            torture.produce(Writer(memory), 0, count, SEED, run_max=run_max, batch=batch)))
    if (count, 0, 0, 0) != (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs):
        raise SystemExit(f"bench.ring: {count} whole messages in order expected, was {got}")
    return count * 1e9 / float(got.elapsed_ns)


def round_trips(count: int) -> dict[str, int]:
    """Return the percentiles of there-and-back through two rings (a half is not a one-way time)."""
    there, back = _ring(), _ring()
    samples, answer = ends.together(
        lambda: torture.ping(Writer(there), Reader(back), count),
        lambda: {"done": torture.echo(Reader(there), Writer(back), count)})
    if (count, count) != (len(samples), answer["done"]):
        raise SystemExit(f"bench.ring: {count} round trips expected, was {len(samples)} and {answer['done']}")
    return harness.percentiles(samples)


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; the bar is 15 M messages/s."""
    count, trips, runs = (100_000, 1_000, 1) if is_smoke else (20_000_000, 200_000, 5)
    stolen = harness.steal_ticks()
    shapes = {"single": (1, 1), "batch_16": (1, 16), "runs_to_64": (64, 1)}
    figures: dict[str, Any] = {
        f"messages_per_s_{name}": harness.rate_stats([throughput(count, *shape) for _ in range(runs)])
        for name, shape in shapes.items()
    }
    figures |= {"messages": count, "slots": SLOTS, "round_trip_ns": round_trips(trips),
                "cpus": list(ends.two_cpus()), "load": os.getloadavg()[0],
                "steal_ticks": harness.steal_ticks() - stolen}
    return harness.record("ring", "python -m bench ring", figures, is_smoke)
