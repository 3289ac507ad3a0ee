"""What the demo reads from the lanes' status pages while they live: for progress and for the judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from pipeline.run.judge import RunFacts
from pipeline.run.supervisor import Supervisor
from pipeline.shm.status import Latency

if TYPE_CHECKING:
    from pipeline.run.demo import DemoOptions

#: How a frame can end on our side; together they are all frames that we were handed.
TAKEN = (
    "frames", "frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost", "pongs",
    "user_frames", "user_repeats", "user_pongs",
)


def counters_by_lane(supervisor: Supervisor) -> dict[str, dict[str, int]]:
    """Return every lane's counters."""
    found = {}
    for lane in supervisor.lanes:
        view = supervisor.status(lane.name)
        try:
            found[lane.name] = view.counters()
        finally:
            view.close()
    return found


def latencies(supervisor: Supervisor) -> dict[str, Latency]:
    """Return every histogram, merged over the lanes."""
    merged: dict[str, Latency] = {}
    for lane in supervisor.lanes:
        view = supervisor.status(lane.name)
        try:
            for name, latency in view.latencies().items():
                merged[name] = merged[name].merged([latency]) if name in merged else latency
        finally:
            view.close()
    return merged


def sums(supervisor: Supervisor) -> dict[str, Any]:
    """Return the numbers of the progress line; counters of one name are added over the lanes."""
    total: dict[str, int] = {}
    for counters in counters_by_lane(supervisor).values():
        for name, value in counters.items():
            total[name] = total.get(name, 0) + value
    summary_file = supervisor.run_dir / "summary.json"
    summary = orjson.loads(summary_file.read_bytes()) if summary_file.exists() else {}
    return {
        "counters": total, "summary": summary,
        "frames_taken": sum(total.get(name, 0) for name in TAKEN),
        "is_idle": total.get("sequencer_position", 0) == total.get("book_position", -1),
        "latency": latencies(supervisor).get("tick_to_order"),
    }


def collect_facts(supervisor: Supervisor, options: DemoOptions, seconds: float) -> RunFacts:
    """Return what the judge needs and cannot read from the logs."""
    reasons = supervisor.run_dir / "why.json"
    return RunFacts(
        counters=counters_by_lane(supervisor), latencies=latencies(supervisor), seconds=seconds,
        topology=options.topology, feeds=[feed.name for feed in options.feeds], speed=options.speed,
        steal_ticks=supervisor.steal_ticks(), dry=supervisor.mode == "dry",
        why_nothing=orjson.loads(reasons.read_bytes()) if reasons.exists() else [])
