"""A run that nobody started: real segments, status pages, rings, rows, halt page and processes to look at."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import orjson

from pipeline.codec import CODECS
from pipeline.kinds import Flag, Kind
from pipeline.native.ladder import Rows, rows_bytes
from pipeline.native.ring import Ring, Writer
from pipeline.shm import halt, memory, status
from pipeline.shm.status import LaneState, StatusPage
from pipeline.ui.looks import RunFacts

LANES = {
    "core": ("feed.polymarket.0", "feed.polymarket.1", "sequencer", "book", "detect", "trade"),
    "edge": ("gateway.main", "account.main"),
    "back": ("refdata.polymarket", "archive", "observe"),
}
RINGS = {"tops": ("core", "book"), "report.main": ("edge", "gateway.main")}
ROWS = 8
_NUMBERS = itertools.count(1)


class LaneModel:
    """One lane: its page, and a process whose command line names the run, as a real lane's does."""

    def __init__(self, name: str, segment: memory.Segment, spec: Path) -> None:
        status.format_page(segment.data, name)
        # It ends when we do: its input is our pipe.
        self.process = subprocess.Popen(
            [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()", os.fspath(spec)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.process.stdout.readline()  # from here on it does nothing
        self.page = StatusPage(segment.data, epoch=1, pid=self.process.pid, now_ns=5_000_000_000)
        for stage in LANES.get(name, ()):
            self.page.stage(stage)
        self.page.set_state(LaneState.RUNNING)

    def kill(self) -> None:
        """End the process as a SIGKILL does, and reap it."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class RunModel:
    """Close it: it owns real shared memory."""

    def __init__(self, directory: Path, *, has_supervisor: bool = False) -> None:
        instance = f"uimodel{os.getpid()}x{next(_NUMBERS)}"
        run_dir = directory / "run"
        run_dir.mkdir(parents=True)
        halt.create(directory)
        self.facts = RunFacts(instance, 1, directory, run_dir, LANES, RINGS)
        self.segments: dict[str, memory.Segment] = {}
        self.lanes: dict[str, LaneModel] = {}
        for lane in (*LANES, *(["supervisor"] if has_supervisor else [])):
            segment = self._make(f"status.{lane}", status.PAGE_BYTES)
            self.lanes[lane] = LaneModel(lane, segment, run_dir / "spec.json")
        self.rings: dict[str, Writer] = {}
        for ring in RINGS:
            buffer = self._make(f"ring.{ring}", Ring.bytes_for(128)).data
            Ring.format(buffer, 128)
            self.rings[ring] = Writer(buffer)
        self.lease = self._make("lease", 8).data
        self.rows = Rows(self._make("rows", rows_bytes(ROWS)).data, ROWS)

    def _make(self, what: str, size: int) -> memory.Segment:
        name = memory.segment_name(self.facts.instance, self.facts.generation, what)
        self.segments[what] = memory.create(name, size, generation=1)
        return self.segments[what]

    def show_book(self, row: int, flags: Flag) -> None:
        """Publish a book in this state."""
        self.rows.publish(row, CODECS[Kind.TOP].pack(instrument=row, flags=int(flags)))

    def write_summary(self, **figures: object) -> None:
        """Leave what observe would."""
        (self.facts.run_dir / "summary.json").write_bytes(orjson.dumps(figures))

    def unlink(self) -> None:
        """Take the names away, as the supervisor does at its end."""
        for segment in self.segments.values():
            memory.unlink(segment.name)

    def close(self) -> None:
        """End the processes and give back the memory."""
        for lane in self.lanes.values():
            lane.kill()
            lane.page.close()
        for ring in self.rings.values():
            ring.close()
        self.rows.close()
        self.unlink()
        for segment in self.segments.values():
            segment.close()
