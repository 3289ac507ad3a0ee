"""The append-only log: append by one native writer, read by a native reader, both on one pinned core.

Segments are prepared ahead as a lane does when it is idle (outside the clock); `unprepared` never prepares,
to show what preparing is for. Each slot is its own release store and carries a CRC-32C.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench import harness
from pipeline.native import gauge
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.segments import segments

MEMORY = Path("/dev/shm")  # noqa: S108 - each run makes a directory of its own in it
SEGMENT_SLOTS = 65_536  # 16 MiB


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke writes one small segment and a bit."""
    slots, count, runs = (1_024, 3_000, 1) if is_smoke else (SEGMENT_SLOTS, 1_000_000, 5)
    figures: dict[str, Any] = {
        "slot_bytes": 256, "segment_slots": slots, "records": count, "clock_ns": round(gauge.clock_ns(), 1)}
    with harness.pinned(harness.best_cpus(1)[0]), harness.quiet_heap():
        for name, folder in _folders().items():
            figures[name] = _one_place(folder, slots, count, runs)
    first = figures["disk"]
    figures["append_ns_p50"] = first["append_latency_ns"]["p50"]
    return harness.record("log", "python -m bench log", figures, is_smoke)


def _folders() -> dict[str, str]:
    """Return where to write: the temporary folder's disk, and memory when the machine has /dev/shm."""
    found = {"disk": tempfile.gettempdir()}
    if MEMORY.is_dir():
        found["tmpfs"] = str(MEMORY)
    return found


def _one_place(folder: str, slots: int, count: int, runs: int) -> dict[str, Any]:
    append, read, read_verified, digests = [], [], [], []
    times = harness.samples(count)
    rolls = 0
    for number in range(runs + 2):  # the last two runs take latencies, the very last without preparing
        with tempfile.TemporaryDirectory(dir=folder, prefix="pm-bench-") as directory:
            is_timed, is_prepared = number >= runs, number != runs + 1
            elapsed_ns, rolls = _append(directory, slots, count, times if is_timed else None, is_prepared)
            if number < runs:
                append.append(elapsed_ns)
                read.append(_read(directory, count, False, digests))
                read_verified.append(_read(directory, count, True, digests))
            elif is_prepared:
                prepared = harness.percentiles(times)
    digest = harness.checked("log", digests)
    if digest != count * (count - 1) // 2 * 4:
        raise SystemExit(f"bench log: the sum of {count} records expected, was {digest}")
    rates = [[harness.rate_of(count, one) for one in each] for each in (append, read, read_verified)]
    return {
        "append_per_s": harness.rate_stats(rates[0]), "append_latency_ns": prepared,
        "append_unprepared_latency_ns": harness.percentiles(times), "unprepared_rolls": rolls,
        "read_per_s": harness.rate_stats(rates[1]), "read_verified_per_s": harness.rate_stats(rates[2]),
        "digest": digest}


def _append(directory: str, slots: int, count: int, times: Any, is_prepared: bool) -> tuple[int, int]:
    """Append in steps of half a segment, preparing in between; return ns of the appending and rolls in it."""
    writer, elapsed_ns, at = LogWriter(directory, "bench", slots), 0, 0
    while at < count:
        while is_prepared and not writer.prepare_next():
            pass
        step = min(slots // 2, count - at)
        part = None if times is None else times[at : at + step]
        elapsed_ns += gauge.append(writer, at, step, part).elapsed_ns
        at += step
    writer.check()
    rolls = writer.inline_rolls
    writer.close()
    return elapsed_ns, rolls


def _read(directory: str, count: int, is_verified: bool, digests: list[int]) -> int:
    reader = LogReader(directory, "bench", verify=is_verified)
    done = gauge.receive(reader, count)
    reader.check()
    reader.close()
    if not segments(directory, "bench"):
        raise SystemExit("bench log: segments expected, was an empty folder")
    digests.append(done.digest)
    return done.elapsed_ns
