"""What every benchmark shares: percentiles, the machine's description, the result file.

A result names its command, date, machine, counts and percentiles, and carries a checksum of what was
computed, so that nothing can be optimised away. `bench/results/<name>.json` holds the newest quoted
run; the docs' numbers are read from there and a test compares them.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

RESULTS = Path(__file__).with_name("results")


def percentiles(samples_ns: Sequence[int] | np.ndarray) -> dict[str, int]:
    """Return p50, p99, p99.9, max and count of samples in ns (nearest rank)."""
    ordered = np.sort(np.asarray(samples_ns, dtype=np.int64))
    count = len(ordered)
    if not count:
        return {"p50": 0, "p99": 0, "p999": 0, "max": 0, "count": 0}

    def rank(per_mille: int) -> int:
        return int(ordered[min(count - 1, count * per_mille // 1000)])

    return {"p50": rank(500), "p99": rank(990), "p999": rank(999), "max": int(ordered[-1]), "count": count}


def samples(count: int) -> np.ndarray:
    """Return room for `count` latencies in ns, with every page already touched."""
    return np.full(count, -1, dtype=np.int64)


def rate_stats(rates_per_s: Sequence[float]) -> dict[str, int]:
    """Return minimum, median and maximum of a handful of whole runs."""
    ordered = sorted(rates_per_s)
    low, middle, high = (round(rate) for rate in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))
    return {"min": low, "median": middle, "max": high, "runs": len(ordered)}


def rate_of(count: int, elapsed_ns: int) -> float:
    """Return items a second."""
    return count * 1e9 / max(1, elapsed_ns)


def ns_each(count: int, elapsed_ns: int) -> float:
    """Return ns an item, to a tenth."""
    return round(elapsed_ns / max(1, count), 1)


def median(values: Sequence[float]) -> float:
    """Return the middle of a handful of runs (the upper one of an even count)."""
    return sorted(values)[len(values) // 2]


def checked(what: str, found: Sequence[object]) -> object:
    """Return what every run computed; a run that differs ends the benchmark, its times mean nothing."""
    if any(value != found[0] for value in found):
        raise SystemExit(f"bench: {what} expected to be the same in every run, was {list(found)}")
    return found[0]


def best_cpus(count: int) -> list[int]:
    """Return `count` CPUs we may run on, distinct as long as there are enough."""
    allowed = sorted(os.sched_getaffinity(0))
    return [allowed[place % len(allowed)] for place in range(count)]


class Watch:
    """Wall and CPU time of one run of a Python loop: `with Watch() as watch: ...`."""

    def __enter__(self) -> Watch:
        self._cpu, self._wall = time.thread_time_ns(), time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self.elapsed_ns = time.perf_counter_ns() - self._wall
        self.cpu_ns = time.thread_time_ns() - self._cpu


class Spent(Protocol):
    """What a run took: a `Watch`, or the native loops' own `Taken`."""

    elapsed_ns: int
    cpu_ns: int


def spent_figures(what: str, count: int, runs: Sequence[Spent]) -> dict[str, Any]:
    """Return rates and ns an item by wall time, and by CPU time: what a core of one's own would do."""
    return {
        f"{what}s_per_s": rate_stats([rate_of(count, run.elapsed_ns) for run in runs]),
        f"{what}s_per_cpu_s": rate_stats([rate_of(count, run.cpu_ns) for run in runs]),
        f"ns_per_{what}": ns_each(count, int(median([run.elapsed_ns for run in runs]))),
        f"cpu_ns_per_{what}": ns_each(count, int(median([run.cpu_ns for run in runs]))),
    }


@contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Run on one CPU, then on those of before."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def quiet_heap() -> Iterator[None]:
    """Keep the garbage collector away, as a lane does."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def clock_cost_ns() -> int:
    """Return the median cost of one clock reading, which single-shot latencies contain once."""
    found = []
    for _ in range(1_001):
        first = time.perf_counter_ns()
        found.append(time.perf_counter_ns() - first)
    return sorted(found)[500]


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


_STOLEN_BEFORE = steal_ticks()


def conditions() -> dict[str, Any]:
    """Say how busy the machine was: load of the last minute, and CPU time that its host took from it."""
    stolen_ms = (steal_ticks() - _STOLEN_BEFORE) * 1000 // os.sysconf("SC_CLK_TCK")
    return {"load_1m": round(os.getloadavg()[0], 2), "steal_ms": stolen_ms}


def record(name: str, command: str, figures: dict[str, Any], is_smoke: bool) -> dict[str, Any]:
    """Print the figures and, unless it was a smoke run, keep them as the newest result."""
    result = {
        "name": name, "command": command, "date": time.strftime("%Y-%m-%d"), "machine": machine(),
        "conditions": conditions(), "figures": figures,
    }
    print(json.dumps(result, indent=1))
    if not is_smoke:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result
