"""What every benchmark shares: percentiles, the machine's description, the result file.

A result names its command, date, machine, counts and percentiles, and carries a checksum of what was
computed, so that nothing can be optimised away. `bench/results/<name>.json` holds the newest quoted
run; the docs' numbers are read from there and a test compares them.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")


def percentiles(samples_ns: Sequence[int]) -> dict[str, int]:
    """Return p50, p99, p99.9, max and count of samples in ns (nearest rank)."""
    ordered = sorted(samples_ns)
    if not ordered:
        return {"p50": 0, "p99": 0, "p999": 0, "max": 0, "count": 0}

    def rank(per_mille: int) -> int:
        return ordered[min(len(ordered) - 1, len(ordered) * per_mille // 1000)]

    return {"p50": rank(500), "p99": rank(990), "p999": rank(999), "max": ordered[-1], "count": len(ordered)}


def rate_stats(rates_per_s: Sequence[float]) -> dict[str, float]:
    """Return minimum, median and maximum of a handful of whole runs."""
    ordered = sorted(rates_per_s)
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1], "runs": len(ordered)}


def time_batches(work: Callable[[], int], runs: int) -> tuple[list[float], int]:
    """Run `work` (returns how many items it did) `runs` times; return items/s of each run and the total."""
    rates, total = [], 0
    for _ in range(runs):
        started_ns = time.perf_counter_ns()
        count = work()
        rates.append(count / ((time.perf_counter_ns() - started_ns) / 1e9))
        total += count
    return rates, total


def clock_cost_ns() -> int:
    """Return the median cost of one clock reading, which single-shot latencies contain once."""
    samples = []
    for _ in range(1_001):
        first = time.perf_counter_ns()
        samples.append(time.perf_counter_ns() - first)
    return sorted(samples)[500]


def steal_ticks() -> int:
    """Return the machine's stolen CPU time so far, in clock ticks; 0 where it is not told."""
    with open("/proc/stat") as stat:
        fields = stat.readline().split()
    return int(fields[8]) if len(fields) > 8 else 0


def machine() -> dict[str, Any]:
    """Describe where a number was measured, without naming the host."""
    model = "unknown"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith(("model name", "Model")):
                model = line.partition(":")[2].strip()
                break
    return {
        "cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
        "python": platform.python_version(), "arch": platform.machine(),
    }


def record(name: str, command: str, figures: dict[str, Any], is_smoke: bool) -> dict[str, Any]:
    """Print the figures and, unless it was a smoke run, keep them as the newest result."""
    result = {
        "name": name, "command": command, "date": time.strftime("%Y-%m-%d"), "machine": machine(),
        "figures": figures,
    }
    print(json.dumps(result, indent=1))
    if not is_smoke:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result
