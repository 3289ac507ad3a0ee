"""A core that dies and starts again over real logs, in one process: the stages and the recovery of a run.

Takes the records of a finished world's stream, writes them into a stream log of its own as a sequencer would,
and lets book, detect and trade of `run.build` decide on them until they are dropped at a random moment. The
next start finds its place in both logs as the supervisor does and says so in RESUME.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.codec import kind_of, runs
from pipeline.config.load import load
from pipeline.core.checkpoint import serialise
from pipeline.kinds import Flag, Kind
from pipeline.native.log import LogWriter
from pipeline.records import SLOT_BYTES
from pipeline.run import startpoint, wiring
from pipeline.run.build import build_stage
from pipeline.run.channels import Channels, PrivateMemory, format_all, segment_sizes
from pipeline.run.env import Env
from pipeline.shm import halt
from pipeline.shm.status import StatusPage
from pipeline.store import checkpoints
from tests.shared import ROOT
from tests.world.manifests import write_manifest
from tests.world.refold import CHAIN

FLAGS_AT = 34
LANE = "core"


class Restarts:
    """`play` records, `crash`, `play` more; `finish` decides on everything that is left."""

    def __init__(self, directory: Path, overrides: Mapping[str, object], draw: random.Random) -> None:
        self.config = load((ROOT / "config" / "demo.toml",), {"state_dir": str(directory), **overrides})
        self.logs = directory / "logs"
        self.directory = directory
        self._draw = draw
        self._rows: dict[int, bytes] = {}
        self._epoch = 0
        directory.mkdir(parents=True, exist_ok=True)
        halt.create(directory)
        self._begin()

    def _begin(self) -> None:
        self._epoch += 1
        slots = self.config.shm.log_segment_slots
        start = startpoint.find(self.logs, slots, 1, self._epoch, from_venue=False)
        write_manifest(self.config, self.directory, start)
        memory = PrivateMemory(
            segment_sizes(CHAIN, [LANE], self.config.shm, self.config.rows_end))
        format_all(memory, CHAIN, [LANE], self.config.shm)
        self._channels = Channels(memory, self.logs, slots, 1)
        self._page = StatusPage(memory.buffer(f"status.{LANE}"), pid=1, now_ns=0)
        env = Env(
            config=self.config, mode="dry", stages=list(CHAIN), channels=self._channels, page=self._page,
            clock=lambda: self._draw.getrandbits(40), state_dir=self.directory, run_dir=self.directory,
            book_position=lambda: 0, start=start)
        self._built = [build_stage(name, env) for name in CHAIN]
        self._stream = LogWriter(self.logs / wiring.STREAM, wiring.STREAM, slots, salt_epoch=1)
        for row in self._rows.values():
            self._push(row)
        self._push(start.resume_record())

    def _push(self, run: bytes) -> None:
        assert self._stream.push(run)

    def play(self, data: bytes, polls_every: int = 40) -> None:
        """Log these records; now and then let one stage work."""
        for number, run in enumerate(runs(data)):
            if kind_of(run) == Kind.RESUME or run[FLAGS_AT] & Flag.REPEAT:
                continue  # of the run that they were taken from
            if kind_of(run) == Kind.INSTRUMENT:
                repeat = bytearray(run)
                repeat[FLAGS_AT] |= Flag.REPEAT
                self._rows[int.from_bytes(run[36:40], "little")] = bytes(repeat)
            self._push(run)
            if number % polls_every == 0:
                self._draw.choice(self._built).stage.poll(self._draw.choice((1, 7, 64, 256)))

    def finish(self) -> None:
        """Let the stages decide on all that is logged."""
        idle = 0
        while idle < 3:
            idle = idle + 1 if not sum(built.stage.poll(256) for built in self._built) else 0

    def checkpoint(self) -> None:
        """Write what trade knows after a `finish`, as the archive would."""
        stage: Any = self._built[2].stage
        decided = startpoint.log_end(self.logs / wiring.DECISIONS, wiring.DECISIONS)
        checkpoints.write(
            self.directory / "checkpoints", serialise(stage.trader, self._stream.position, decided), decided)

    def end(self) -> None:
        """Drop everything where it stands: what is not in a log is lost."""
        self._stream.close()
        for built in self._built:
            built.stage.close()
            for close in built.close:
                close()
        self._page.close()
        self._channels.close()

    def crash(self) -> None:
        """End and start again."""
        self.end()
        self._begin()


def slots_of(data: bytes, first: int, end: int) -> bytes:
    """Return the runs of a log's bytes that begin in slots [first, end)."""
    kept, at = [], 0
    for run in runs(data):
        if first <= at < end:
            kept.append(run)
        at += len(run) // SLOT_BYTES
    return b"".join(kept)
