"""A run as seen from outside: its lanes, rings and books. Attached read-only for one look and given back.

Reads status pages, ring headers, the rows of the books, and the kernel's view of the lanes' processes. What
is not there any more is left out: a dead lane or a run that has ended is no error.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psutil

from pipeline.codec import KIND_OFFSET
from pipeline.errors import PipelineError
from pipeline.kinds import Flag
from pipeline.native.ladder import Rows
from pipeline.shm import memory
from pipeline.shm.ringview import RingLook, look_at_ring
from pipeline.shm.status import LaneState, Latency, StatusView

SUPERVISOR = "supervisor"
RESTARTS = "restarts."  # its counters of each lane's restarts
BOOK_STATES = ("stale", "crossed", "open", "proven")
_FLAGS_AT = KIND_OFFSET + 2
_WORD_BYTES = 8


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Which run to look at. rings: by name, the lane and the stage that write each."""

    instance: str
    generation: int
    state_dir: Path
    run_dir: Path
    lanes: Mapping[str, tuple[str, ...]]
    rings: Mapping[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ProcessLook:
    """What the kernel says of a process."""

    cpu_s: float
    resident_bytes: int
    voluntary: int
    involuntary: int


@dataclass(slots=True)
class LaneLook:
    """One lane; all zero and empty when its page is gone."""

    name: str
    is_up: bool = False
    turns: int = 0
    since_ns: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    polls: dict[str, tuple[int, int]] = field(default_factory=dict)  # stage -> begun, ended
    latencies: dict[str, Latency] = field(default_factory=dict)
    process: ProcessLook | None = None


@contextmanager
def _attached(run: RunFacts, what: str) -> Iterator[memoryview | None]:
    """Give a segment's data; None when it is not there, or of another build."""
    try:
        segment = memory.attach(memory.segment_name(run.instance, run.generation, what), read_only=True)
    except (PipelineError, OSError, ValueError):
        yield None
        return
    try:
        yield segment.data
    finally:
        segment.close()


def look_at_lane(run: RunFacts, lane: str) -> LaneLook:
    """Return what a lane's page and process say."""
    look = LaneLook(lane)
    with _attached(run, f"status.{lane}") as data:
        if data is None:
            return look
        try:
            view = StatusView(data)
        except PipelineError:
            return look
        state, pid = view.state, view.pid
        look.turns, look.since_ns = view.progress, view.since_ns
        look.counters, look.polls, look.latencies = view.counters(), view.stages(), view.latencies()
        view.close()
    look.process = _look_at_process(pid, run, lane)
    look.is_up = look.process is not None and state == LaneState.RUNNING
    return look


def _look_at_process(pid: int, run: RunFacts, lane: str) -> ProcessLook | None:
    """Return the kernel's numbers; None when the process is gone, or another one has its number now."""
    try:
        process = psutil.Process(pid)
        if lane != SUPERVISOR and os.fspath(run.run_dir / "spec.json") not in process.cmdline():
            return None
        with process.oneshot():
            times, switches = process.cpu_times(), process.num_ctx_switches()
            return ProcessLook(
                times.user + times.system, process.memory_info().rss, switches.voluntary,
                switches.involuntary)
    except (psutil.Error, ValueError, OSError):
        return None


def look_at_rings(run: RunFacts) -> dict[str, RingLook]:
    """Return every ring that is there."""
    found = {}
    for ring in run.rings:
        with _attached(run, f"ring.{ring}") as data:
            if data is not None:
                try:
                    found[ring] = look_at_ring(data)
                except PipelineError:
                    continue
    return found


def count_books(run: RunFacts) -> dict[str, int] | None:
    """Return how many books are in each of BOOK_STATES; None when the rows are gone."""
    with _attached(run, "rows") as data:
        if data is None:
            return None
        try:
            rows = Rows(data)
        except PipelineError:  # the chain has not formatted them yet
            return dict.fromkeys(BOOK_STATES, 0)
        try:
            slots = (rows.read(row) for row in range(rows.rows_max))
            counted = Counter(_state_of(slot) for slot in slots if slot is not None)
        finally:
            rows.close()
    return {state: counted[state] for state in BOOK_STATES}


def _state_of(slot: bytes) -> str:
    flags = int.from_bytes(slot[_FLAGS_AT:_FLAGS_AT + 2], "little")
    if flags & Flag.STALE:
        return "stale"
    if flags & Flag.CROSSED:
        return "crossed"
    return "open" if flags & Flag.OPEN else "proven"


def lease_age_ns(run: RunFacts) -> int | None:
    """Return how long ago the supervisor renewed its lease; None when there is none to be seen."""
    with _attached(run, "lease") as data:
        if data is None or len(data) < _WORD_BYTES:
            return None
        return max(0, time.monotonic_ns() - int.from_bytes(data[:_WORD_BYTES], "little"))


def read_summary(run: RunFacts) -> dict[str, Any]:
    """Return what observe summed up last; {} when there is nothing yet."""
    try:
        found = orjson.loads((run.run_dir / "summary.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
