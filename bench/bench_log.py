"""The log: ns of one append with its checksum, prepared and not; records/s to a reader on another CPU."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import Any

from bench import ends, harness
from pipeline.native import torture
from pipeline.native.log import LogReader, LogWriter

SEGMENT_SLOTS = 65_536
SEED = 20261122


def appends(count: int, is_prepared: bool) -> dict[str, int]:
    """Return the percentiles of single appends; prepared = the next segment is populated in idle time."""
    samples: list[int] = []
    with tempfile.TemporaryDirectory() as directory:
        writer = LogWriter(directory, "bench", SEGMENT_SLOTS)
        while len(samples) < count:
            piece = min(SEGMENT_SLOTS // 4, count - len(samples))
            samples += torture.append_times(writer, len(samples), piece, SEED)
            while is_prepared and not writer.prepare_next():
                pass
        writer.close()
    return harness.percentiles(samples)


def follow(count: int, is_verifying: bool) -> float:
    """Return records/s from a writer to a live reader; raises SystemExit when one is lost or wrong."""
    with tempfile.TemporaryDirectory() as directory:
        LogWriter(directory, "bench", SEGMENT_SLOTS).close()
        reader = LogReader(directory, "bench", verify=is_verifying)
        got, _ = ends.together(
            lambda: torture.consume(reader, 0, count, SEED),
            lambda: dataclasses.asdict(torture.produce(LogWriter(directory, "bench"), 0, count, SEED)))
        reader.close()
    if (count, 0, 0, 0) != (got.received, got.wrong_order, got.wrong_bytes, got.broken_runs):
        raise SystemExit(f"bench.log: {count} whole records in order expected, was {got}")
    return count * 1e9 / float(got.elapsed_ns)


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure on the file system of the temporary directory."""
    count, runs = (20_000, 1) if is_smoke else (1_000_000, 3)
    stolen = harness.steal_ticks()
    figures: dict[str, Any] = {
        "append_ns_prepared": appends(count, is_prepared=True),
        "append_ns_unprepared": appends(count, is_prepared=False),
        "records_per_s": harness.rate_stats([follow(count, is_verifying=False) for _ in range(runs)]),
        "records_per_s_proving": harness.rate_stats([follow(count, is_verifying=True) for _ in range(runs)]),
        "records": count, "segment_slots": SEGMENT_SLOTS, "clock_ns": harness.clock_cost_ns(),
        "cpus": list(ends.two_cpus()), "load": os.getloadavg()[0],
        "steal_ticks": harness.steal_ticks() - stolen,
    }
    return harness.record("log", "python -m bench log", figures, is_smoke)
