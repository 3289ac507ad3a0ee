"""The segments of one run, from the supervisor's side: made, formatted, looked at, and unlinked here alone.

Writes the `control` ring, the supervisor's own status page and the lease; reads every lane's status page.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from pipeline.config.shm import Shm
from pipeline.errors import EnvironmentProblem
from pipeline.native.counters import Counter
from pipeline.native.ring import Ring, Writer
from pipeline.run import wiring
from pipeline.run.channels import SharedMemory, format_all, ring_slots, segment_sizes
from pipeline.shm import memory
from pipeline.shm.status import LaneState, StatusPage, StatusView

OWN_PAGE = "supervisor"
RING_POSITIONS = 1 << 40  # of one run: its rings begin above every position of the runs before it
CONTROL_SOURCE = 1
CORE_RINGS = ("tops", "ideas")


class RunMemory:
    """`make`, use, `close` in any case: also after `make` raised, and twice."""

    def __init__(self, instance: str, generation: int, stages: Sequence[str], lanes: Sequence[str], shm: Shm,
                 rows_max: int) -> None:
        self._instance = instance
        self._generation = generation
        self._stages = list(stages)
        self._lanes = [*lanes, OWN_PAGE]
        self._shm = shm
        self._rows_max = rows_max
        self._made: list[str] = []
        self._memory: SharedMemory | None = None
        self._views: dict[str, StatusView] = {}
        self._page: StatusPage | None = None
        self._lease: Counter | None = None
        self._control: Writer | None = None

    def make(self) -> None:
        """Make and format every segment; raises EnvironmentProblem when one cannot be."""
        for what, size in segment_sizes(self._stages, self._lanes, self._shm, self._rows_max).items():
            name = memory.segment_name(self._instance, self._generation, what)
            self._made.append(name)  # first: a signal may end the start between any two steps
            try:
                memory.create(name, size, generation=self._generation).close()
            except EnvironmentProblem:
                self._made.remove(name)  # not made, or another program's
                raise
        self._memory = SharedMemory(self._instance, self._generation)
        first = self._generation * RING_POSITIONS
        format_all(self._memory, self._stages, self._lanes, self._shm, first)
        self._control = Writer(self.buffer(f"ring.{wiring.CONTROL}"))
        self._page = StatusPage(self.buffer(f"status.{OWN_PAGE}"), pid=os.getpid(), now_ns=time.time_ns())
        self._page.set_state(LaneState.RUNNING)
        for lane in self._lanes[:-1]:
            self._page.counter(f"restarts.{lane}")
        self._lease = Counter(self.buffer("lease"))
        self.renew_lease()

    def buffer(self, what: str) -> memoryview:
        """Return a segment's data."""
        if self._memory is None:
            raise EnvironmentProblem("run.run_memory: the run has no memory, or no longer; start it first")
        return self._memory.buffer(what)

    def view(self, lane: str) -> StatusView:
        """Return a view of a lane's status page that is kept until `close`."""
        if lane not in self._views:
            self._views[lane] = StatusView(self.buffer(f"status.{lane}"))
        return self._views[lane]

    def renew_lease(self) -> None:
        """Say that somebody looks after the lanes."""
        if self._lease is not None:
            self._lease.put(time.monotonic_ns())
        if self._page is not None:
            self._page.progress.add(1)

    def count_restart(self, lane: str) -> None:
        """Count one more start of a lane that had run."""
        if self._page is not None:
            self._page.counter(f"restarts.{lane}").add(1)

    @property
    def control_seq(self) -> int:
        """The number of the next control record."""
        return self._control.position + 1 if self._control is not None else 0

    def push(self, record: bytes) -> None:
        """Put a record into the control ring; raises EnvironmentProblem when nobody reads it."""
        if self._control is not None and not self._control.push(record):
            raise EnvironmentProblem("run.supervisor: the control ring is full: the sequencer does not run")

    def reset_core(self) -> None:
        """Empty the rings between the core's stages: what stands there was made of the old core's books."""
        for ring in CORE_RINGS:
            Ring.format(self.buffer(f"ring.{ring}"), ring_slots(ring, self._shm))

    def close(self) -> None:
        """Let go of everything and unlink every segment."""
        for held in (*self._views.values(), self._page, self._lease, self._control):
            if held is not None:
                held.close()
        self._views.clear()
        self._page = self._lease = self._control = None
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        for name in self._made:
            memory.unlink(name)
        self._made.clear()
