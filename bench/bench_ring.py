"""One ring between two pinned processes, native loops at both ends: messages a second, one-way latency.

Every byte of each 256-byte slot is written; the reader reads a word of each of its four cache lines and sums
them. `proven` writes and compares every byte. Latency: the sender stamps CLOCK_MONOTONIC into the slot and
paces itself, the reader subtracts: one way, no halves of round trips; one clock reading is part of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from bench import harness
from bench.ring_end import READY_BYTES
from pipeline.native import gauge
from pipeline.native.ring import Ring
from pipeline.shm import memory

SLOTS = 4_096
SIZES = (20_000_000, 10_000_000, 200_000, 5)  # messages, messages proven, messages paced, runs
PACE_NS = 2_000
SEED = 5


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke sends a few thousand."""
    count, proven, paced, runs = (20_000, 20_000, 2_000, 1) if is_smoke else SIZES
    cpus = harness.best_cpus(2)
    figures: dict[str, Any] = {
        "slot_bytes": 256, "ring_slots": SLOTS, "cpus": cpus, "clock_ns": round(gauge.clock_ns(), 1)}
    for batch in (1, 8, 64):
        ends = [_pair("count", cpus, count=count, batch=batch) for _ in range(runs)]
        expected = count * (count - 1) // 2 * 4
        digest = harness.checked("sum of what was read", [end["digest"] for end in ends])
        if digest != expected:
            raise SystemExit(f"bench ring: a sum of {expected} expected, was {digest}")
        rates = [harness.rate_of(count, end["elapsed_ns"]) for end in ends]
        figures[f"batch_{batch}"] = {
            "messages_per_s": harness.rate_stats(rates), "messages": count, "digest": digest,
            "gigabytes_per_s": round(harness.median(rates) * 256 / 1e9, 2)}
    ends = [_pair("prove", cpus, count=proven, batch=8) for _ in range(min(runs, 3))]
    wrong = [(end["wrong_order"], end["wrong_bytes"]) for end in ends]
    if harness.checked("every byte", wrong) != (0, 0):
        raise SystemExit(f"bench ring: no wrong message expected, was {wrong[0]}")
    figures["proven"] = {
        "messages_per_s": harness.rate_stats([harness.rate_of(proven, end["elapsed_ns"]) for end in ends]),
        "messages": proven, "wrong": 0}
    figures["one_way_ns"] = _pair("pace", cpus, count=paced, batch=1)["latency_ns"] | {"pace_ns": PACE_NS}
    figures["messages_per_s"] = figures["batch_8"]["messages_per_s"]["median"]
    return harness.record("ring", "python -m bench ring", figures, is_smoke)


def _pair(mode: str, cpus: list[int], **task: int) -> dict[str, Any]:
    """Run both ends in processes of their own; return what the reading end found."""
    name = f"pmbench{os.getpid()}"
    segment = memory.create(name, Ring.bytes_for(SLOTS) + READY_BYTES, generation=1)
    ends = []
    try:
        Ring.format(segment.data[:-READY_BYTES], SLOTS)
        for end, cpu in (("read", cpus[1]), ("write", cpus[0])):
            order = {"mode": mode, "end": end, "cpu": cpu, "name": name, "seed": SEED, "pace_ns": PACE_NS}
            command = [sys.executable, "-m", "bench.ring_end", json.dumps(order | task)]
            ends.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        found = [end.communicate(timeout=300)[0] for end in ends]
    finally:
        for end in ends:
            end.kill()
            end.wait()
        segment.close()
        memory.unlink(name)
    if any(end.returncode for end in ends):
        raise SystemExit(f"bench ring: both ends expected to finish, were {[end.returncode for end in ends]}")
    return json.loads(found[0])
