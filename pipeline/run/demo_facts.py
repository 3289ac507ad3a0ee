"""What the demo reads from the lanes' status pages while they live: for progress and for the judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import psutil

from pipeline.run.judge import RunFacts
from pipeline.run.judge_report import LaneFigures, Memory
from pipeline.run.supervisor import Supervisor
from pipeline.shm.status import TURN, Latency

if TYPE_CHECKING:
    from pipeline.run.demo import DemoOptions

EARLY_SHARE = 1 / 3  # by then, in a long run, what has a limit has reached it
#: How a frame can end on our side; together they are all frames that we were handed.
TAKEN = (
    "frames", "frames_twin", "frames_unknown_token", "frames_ignored", "frames_rejected", "frames_lost",
    "pongs", "user_frames", "user_repeats", "user_pongs",
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


class LaneWatch:
    """Memory of each lane, resident and its own: after a third of the run, and now. `look` now and then."""

    def __init__(self, supervisor: Supervisor, seconds: float) -> None:
        self._supervisor = supervisor
        self._early_s = seconds * EARLY_SHARE
        self._first: dict[str, Memory] = {}
        self._last: dict[str, Memory] = {}

    def look(self, ran_s: float) -> None:
        """Take the memory of the lanes as it is after `ran_s` seconds of trading."""
        for lane in self._supervisor.lanes:
            try:
                memory = psutil.Process(self._supervisor.view(lane.name).pid).memory_info()
            except (psutil.NoSuchProcess, ValueError):
                continue
            found = self._last[lane.name] = Memory(memory.rss, memory.rss - memory.shared)
            if ran_s >= self._early_s:
                self._first.setdefault(lane.name, found)

    def figures(self) -> dict[str, LaneFigures]:
        """Return what was seen, with the turns of each lane's loop."""
        found = {}
        for name, last in self._last.items():
            turn = self._supervisor.view(name).latencies().get(TURN)
            if turn is not None:
                found[name] = LaneFigures(self._first.get(name, last), last, turn)
        return found


def collect_facts(
    supervisor: Supervisor, options: DemoOptions, seconds: float, lanes: LaneWatch,
) -> RunFacts:
    """Return what the judge needs and cannot read from the logs."""
    reasons = supervisor.run_dir / "why.json"
    return RunFacts(
        counters=counters_by_lane(supervisor), latencies=latencies(supervisor), seconds=seconds,
        topology=options.topology, feeds=[feed.name for feed in options.feeds], speed=options.speed,
        steal_ticks=supervisor.steal_ticks(), dry=supervisor.mode == "dry", lanes=lanes.figures(),
        why_nothing=orjson.loads(reasons.read_bytes()) if reasons.exists() else [])
