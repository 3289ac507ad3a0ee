"""`pm status`: what runs, what it did, and why nothing trades. Looks from outside and changes nothing.

Reads the state directory, the lanes' status pages over read-only mappings, and the kernel's view of the
lanes' processes.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import typer

from pipeline.cli.logs import in_words
from pipeline.cli.states import latest_run, one_state
from pipeline.cli.why import Seen, why_nothing
from pipeline.config.load import load
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.kinds import HaltLevel
from pipeline.run.metrics import facts_of
from pipeline.run.spec import RunSpec
from pipeline.shm import halt, memory
from pipeline.shm.status import StatusView
from pipeline.store import eventfiles, events
from pipeline.store.words import utc_text
from pipeline.ui import looks
from pipeline.ui.endpoint import served_at
from pipeline.ui.looks import LaneLook as LaneFacts
from pipeline.units import NS_PER_MS, usd_text

PROGRESS_S_MAX = 0.5  # a silent lane turns every 200 ms; a busy machine may be slower
LOOK_S = 0.01
COUNTERS_FILE = "counters.json"  # left by the supervisor at its end
#: What the lanes count, in the order of the stream.
SHOWN = (
    ("frames", "frames"),
    ("fallbacks", "fallbacks"),
    ("frames_rejected", "rejected"),
    ("gaps", "gaps"),
    ("instruments", "books"),
    ("detect_baskets", "baskets"),
    ("ideas", "ideas"),
    ("packages", "packages"),
    ("orders_sent", "orders sent"),
)


@dataclass(slots=True)
class LaneLook:
    """One lane as seen from outside. `cpus` is what the kernel lets it use; `turns` while we looked."""

    name: str
    stages: tuple[str, ...]
    cpu_wanted: int | None
    pid: int = 0
    is_alive: bool = False
    state: str = "gone"
    cpus: list[int] = field(default_factory=list)
    turns: int = 0
    restarts: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """Return "running", "wedged…", "dead", "gone" (with the run) or the lane's own state."""
        if not self.is_alive:
            return "dead" if self.pid else self.state
        return self.state if self.turns or self.state != "running" else "wedged: its loop does not turn"


def show_status(directory: Path, as_json: bool) -> int:
    """Print the state of the run; return 0. Raises EnvironmentProblem without a state directory."""
    state = one_state(directory)
    facts = collect(state)
    if as_json:
        typer.echo(orjson.dumps(facts).decode())
    else:
        typer.echo("\n".join(_lines(facts)))
    return 0


def collect(state: Path) -> dict[str, Any]:
    """Return everything that `pm status --json` prints."""
    spec = latest_run(state)
    lanes = look_at_lanes(spec) if spec else []
    supervisor = looks.look_at_lane(facts_of(spec), looks.SUPERVISOR) if spec else LaneFacts("")
    for lane in lanes:
        lane.restarts = supervisor.counters.get(f"{looks.RESTARTS}{lane.name}", 0)
    is_running = supervisor.is_up or any(lane.is_alive for lane in lanes)
    summary = _read_json(Path(spec.run_dir) / "summary.json") if spec else {}
    counters = _sums([lane.counters for lane in lanes])
    if spec and not counters:
        counters = _sums(list(_read_json(Path(spec.run_dir) / COUNTERS_FILE).values()))
    level, entries, problem = halt.effective(state)
    if not (state / halt.FILE_NAME).exists():
        level, problem = HaltLevel.H0, ""  # made at the first start; no run has read one yet
    owners = [
        {"owner": entry.owner, "level": entry.level.name, "since_ns": entry.since_ns, "reason": entry.reason}
        for entry in entries
    ]
    if problem:
        owners = [{"owner": "halt page", "level": level.name, "since_ns": 0, "reason": problem}]
    books = looks.count_books(facts_of(spec)) if spec and is_running else None
    facts = {
        "state": str(state),
        "is_running": is_running,
        "instance": spec.instance if spec else "",
        "generation": spec.generation if spec else 0,
        "mode": spec.mode if spec else "",
        "started_ns": spec.anchor_wall_ns if spec else 0,
        "lanes": [_lane_facts(lane) for lane in lanes],
        "counters": counters,
        "summary": summary,
        "books": books,
        "halt": {"level": level.name, "owners": owners},
        "metrics": served_at(Path(spec.run_dir)).get("url", "") if spec and is_running else "",
        "last_error": eventfiles.newest(state / events.DIRECTORY, "error"),
    }
    seen = Seen(
        is_running, str(facts["mode"]), counters, summary, owners, [_lane_facts(lane) for lane in lanes],
        books, not supervisor.is_up and bool(supervisor.since_ns),
        (looks.lease_age_ns(facts_of(spec)) or 0) if spec else 0, _lease_ns_max(spec) if spec else 0,
        spec.anchor_wall_ns if spec else 0, time.time_ns())
    return {**facts, "why_nothing": why_nothing(seen)}


def _lease_ns_max(spec: RunSpec) -> int:
    """Return how old the supervisor's lease may grow in this run; 0 when its configuration is not ours."""
    try:
        return load(spec.config_files, spec.overrides).supervision.lease_ms_max * NS_PER_MS
    except ConfigError:
        return 0


def _lane_facts(lane: LaneLook) -> dict[str, Any]:
    return {
        "name": lane.name,
        "is": lane.words,
        "state": lane.state,
        "pid": lane.pid,
        "is_alive": lane.is_alive,
        "turns": lane.turns,
        "restarts": lane.restarts,
        "cpu_wanted": lane.cpu_wanted,
        "cpus": lane.cpus,
        "stages": list(lane.stages),
    }


def look_at_lanes(spec: RunSpec) -> list[LaneLook]:
    """Return every lane of the run; its memory is attached read-only and given back."""
    looks, views, segments = [], [], []
    try:
        for lane in spec.lanes:
            look = LaneLook(lane.name, lane.stages, lane.cpu)
            looks.append(look)
            try:
                segment = memory.attach(
                    memory.segment_name(spec.instance, spec.generation, f"status.{lane.name}"), read_only=True
                )
            except EnvironmentProblem:  # the run has ended and its memory is gone
                continue
            segments.append(segment)
            view = StatusView(segment.data)
            views.append((look, view, view.progress))
            _look(look, view, spec)
        _await_turns(views)
    finally:
        for _, view, _ in views:
            view.close()
        for segment in segments:
            segment.close()
    return looks


def _look(look: LaneLook, view: StatusView, spec: RunSpec) -> None:
    look.pid, look.state, look.counters = view.pid, view.state.name.lower(), view.counters()
    look.is_alive = _is_lane(look.pid, spec)
    if look.is_alive:
        try:
            look.cpus = sorted(os.sched_getaffinity(look.pid))
        except OSError:
            look.is_alive = False  # it ended between our two looks


def _is_lane(pid: int, spec: RunSpec) -> bool:
    """Tell whether the process is a lane of this run: numbers are used again, command lines are not."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(Path(spec.run_dir) / "spec.json") in words


def _await_turns(views: list[tuple[LaneLook, StatusView, int]]) -> None:
    """Watch every living lane's loop until it turned, or for as long as no healthy one needs."""
    deadline = time.monotonic() + PROGRESS_S_MAX
    waiting = [entry for entry in views if entry[0].is_alive]
    while waiting:
        time.sleep(LOOK_S)
        for look, view, before in waiting:
            look.turns = view.progress - before
        is_late = time.monotonic() > deadline
        waiting = [] if is_late else [entry for entry in waiting if not entry[0].turns]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _sums(counters: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counters:
        for name, value in one.items():
            total[name] = total.get(name, 0) + value
    return total


# ---------------------------------------------------------------------- words


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [_headline(facts)]
    if facts["is_running"]:
        lines += [_lane_line(lane) for lane in facts["lanes"]]
    if facts["metrics"]:
        lines.append(f"metrics: {facts['metrics']}")
    counters, summary = facts["counters"], facts["summary"]
    when = "" if facts["is_running"] else "last run: "
    if counters:
        lines.append(when + ", ".join(f"{words} {counters.get(name, 0)}" for name, words in SHOWN))
    if facts["books"]:
        lines.append("books: " + ", ".join(f"{state} {count}" for state, count in facts["books"].items()))
    if summary:
        lines.append(when + _money_line(summary))
    if facts["last_error"]:
        lines.append("last error: " + in_words(facts["last_error"]))
    owners = facts["halt"]["owners"]
    lines.append(f"halt: {facts['halt']['level']}" + ("" if owners else ", nobody halts"))
    lines += [
        f"  {owner['owner']} {owner['level']} since {utc_text(owner['since_ns'])}: {owner['reason']}"
        for owner in owners
    ]
    if facts["why_nothing"]:
        lines.append("why nothing trades:")
        lines += [f"  {line}" for line in facts["why_nothing"]]
    return lines


def _headline(facts: dict[str, Any]) -> str:
    if not facts["generation"]:
        return f"nothing runs in {facts['state']}, and nothing ever ran"
    run = f"run {facts['generation']} of {facts['instance']}, mode {facts['mode']}"
    if facts["is_running"]:
        return f"running: {run}, since {utc_text(facts['started_ns'])}, state {facts['state']}"
    return f"nothing runs in {facts['state']}; last was {run}, started {utc_text(facts['started_ns'])}"


def _lane_line(lane: dict[str, Any]) -> str:
    cpus = ",".join(str(cpu) for cpu in lane["cpus"]) or "-"
    wanted = (
        ""
        if lane["cpu_wanted"] is None or lane["cpus"] == [lane["cpu_wanted"]]
        else (f" (cpu {lane['cpu_wanted']} was asked)")
    )
    stages = ", ".join(lane["stages"])
    again = f", {lane['restarts']} restarts" if lane["restarts"] else ""
    return f"  lane {lane['name']:<8} {lane['is']}, pid {lane['pid']}, cpu {cpus}{wanted}{again}: {stages}"


def _money_line(summary: dict[str, Any]) -> str:
    states = summary.get("orders_by_state", {})
    shown = ", ".join(f"{name} {count}" for name, count in sorted(states.items())) or "none"
    pending = f" ({count} to be resolved)" if (count := summary.get("pending_rows", 0)) else ""
    return (
        f"packages {summary.get('packages', 0)}, orders {summary.get('orders', 0)} ({shown}), "
        f"fills {summary.get('fills', 0)}, fees {usd_text(summary.get('fees_usd_micro', 0))} USD, "
        f"cash {usd_text(summary.get('cash_usd_micro', 0))} USD, "
        f"open markets {summary.get('open_rows', 0)}{pending}"
    )
