"""The core of a run as real processes over a given stream log: book, detect, trade in their lanes.

A small supervisor: it makes the run's memory, starts `pipeline.run.lane` for every lane of a topology that
holds a core stage, waits until everything is decided, and ends them. No socket, no sequencer: the stream is
there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config.load import Config, load
from pipeline.config.topology import LaneSpec, fold, load_topology
from pipeline.native.log import LogWriter
from pipeline.native.ring import Writer
from pipeline.native.segments import segment_firsts, segments
from pipeline.run import wiring
from pipeline.run.channels import SharedMemory, format_all, segment_sizes
from pipeline.run.spec import RunSpec
from pipeline.run.startpoint import StartPoint, log_end
from pipeline.run.supervisor import instance_name
from pipeline.shm import halt, memory
from pipeline.shm.status import StatusView
from tests.shared import ROOT, wait_until
from tests.world.refold import read_log

CORE = ("book", "detect", "trade")
GENERATION = 1
IDLE_TURNS = 3  # of every lane with nothing on its way: then nothing comes any more


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to run the same fold."""

    topology: str
    wait: str
    budget: int
    hash_seed: int = 0
    mutant: str = ""  # of tests.replay.mutants

    def lanes(self) -> tuple[LaneSpec, ...]:
        """Return the topology's lanes that hold core stages, with nothing else in them, on the CPUs here."""
        kept = [
            replace(lane, stages=tuple(stage for stage in lane.stages if stage in CORE))
            for lane in load_topology(self.topology).lanes]
        folded = fold([lane for lane in kept if lane.stages], os.sched_getaffinity(0))
        return tuple(
            replace(lane, wait=self.wait, realtime=False, awake=False, nice=0) for lane in folded)


def decide(
    cell: Cell, stream: Path, directory: Path, overrides: Mapping[str, object], seconds_max: float = 120.0,
) -> bytes:
    """Return the decision log that the cell's processes make of the stream log in `stream`."""
    config = load((ROOT / "config" / "demo.toml",), {**overrides, "state_dir": str(directory)})
    logs = directory / "logs"
    (logs / wiring.DECISIONS).mkdir(parents=True)
    (logs / wiring.STREAM).symlink_to(stream)
    halt.create(directory)
    LogWriter(logs / wiring.DECISIONS, wiring.DECISIONS, config.shm.log_segment_slots, salt_epoch=1).close()
    spec = RunSpec(
        instance=instance_name("matrix", directory), generation=GENERATION, mode="dry",
        state_dir=str(directory), run_dir=str(directory), anchor_wall_ns=time.time_ns(),
        anchor_mono_ns=time.monotonic_ns(), salt_epoch=1, config_files=(str(ROOT / "config" / "demo.toml"),),
        overrides={**overrides, "state_dir": str(directory)}, lanes=cell.lanes(), doorbells={},
        start=StartPoint(), budget=cell.budget)
    spec.save(directory / "spec.json")
    with _memory(spec, config) as shared, _lanes(spec, cell, directory) as processes:
        _await_end(spec, shared, processes, logs, seconds_max)
    return read_log(logs / wiring.DECISIONS, wiring.DECISIONS)


@contextlib.contextmanager
def _memory(spec: RunSpec, config: Config) -> Iterator[SharedMemory]:
    lanes = [lane.name for lane in spec.lanes]
    rows_max = config.rows_end
    names = []
    shared = SharedMemory(spec.instance, spec.generation)
    try:
        for what, size in segment_sizes(spec.stages, lanes, config.shm, rows_max).items():
            names.append(memory.segment_name(spec.instance, spec.generation, what))
            memory.create(names[-1], size, generation=spec.generation).close()
        format_all(shared, spec.stages, lanes, config.shm)
        yield shared
    finally:
        shared.close()
        for name in names:
            memory.unlink(name)


@contextlib.contextmanager
def _lanes(spec: RunSpec, cell: Cell, directory: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Start the lanes; end each that still runs, and show what a failed one said."""
    module = "tests.replay.mutants" if cell.mutant else "pipeline.run.lane"
    environment = {**os.environ, "PYTHONHASHSEED": str(cell.hash_seed), "PM_MUTANT": cell.mutant}
    processes = {}
    try:
        for lane in spec.lanes:
            with open(directory / f"{lane.name}.err", "wb") as errors:
                processes[lane.name] = subprocess.Popen(
                    [sys.executable, "-m", module, str(directory / "spec.json"), lane.name, "1", "first"],
                    cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        yield processes
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        codes = {name: process.wait(30) for name, process in processes.items()}
        assert set(codes.values()) == {0}, _said(directory, codes)
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


def _said(directory: Path, names: Sequence[str] | Mapping[str, int]) -> str:
    return "\n".join(f"{name}: {(directory / f'{name}.err').read_text()}" for name in names)


def _await_end(
    spec: RunSpec, shared: SharedMemory, processes: Mapping[str, subprocess.Popen[bytes]], logs: Path,
    seconds_max: float,
) -> None:
    """Wait until the stream is read, the rings are empty, and each lane turned on with nothing to do."""
    end = log_end(logs / wiring.STREAM, wiring.STREAM)
    views = {lane.name: StatusView(shared.buffer(f"status.{lane.name}")) for lane in spec.lanes}
    book = next(views[lane.name] for lane in spec.lanes if "book" in lane.stages).reader_of("book_position")
    seen: list[object] = [None, {}]

    def is_over() -> bool:
        dead = [name for name, process in processes.items() if process.poll() is not None]
        assert not dead, _said(Path(spec.run_dir), dead)
        if book() != end or any(_unread(shared.buffer(f"ring.{name}")) for name in ("tops", "ideas")):
            seen[0] = None
            return False
        written = log_end(logs / wiring.DECISIONS, wiring.DECISIONS)
        turns = {name: view.progress for name, view in views.items()}
        if seen[0] != written:
            seen[:] = [written, turns]
            return False
        begun = seen[1]
        assert isinstance(begun, dict)
        return all(turns[name] >= begun[name] + IDLE_TURNS for name in turns)

    try:
        wait_until(is_over, seconds_max, f"the end of {spec.run_dir}", pause_s=0.01)
    finally:
        for view in views.values():
            view.close()


def _unread(ring: memoryview) -> int:
    """Return the slots that wait in a ring; a new hold looks at it as it is."""
    end = Writer(ring)
    try:
        return end.unread_count
    finally:
        end.close()


def first_difference(expected: bytes, found: bytes) -> str:
    """Return where two logs part, in words; "" when they are the same bytes."""
    from pipeline.records import SLOT_BYTES
    from pipeline.store.words import describe

    if expected == found:
        return ""
    for at in range(0, max(len(expected), len(found)), SLOT_BYTES):
        pair = expected[at : at + SLOT_BYTES], found[at : at + SLOT_BYTES]
        if pair[0] != pair[1]:
            shown = [describe(slot) if slot else "nothing" for slot in pair]
            return f"record {at // SLOT_BYTES}: {shown[0]} expected, found {shown[1]}"
    return ""


def segment_count(directory: Path, log: str) -> int:
    """Return how many files the log has."""
    return len([info for info in segments(directory, log) if info.published > info.first]) or len(
        segment_firsts(directory))
