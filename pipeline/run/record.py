"""`pm record`: a venue's market data into logs, without a wallet and without an order.

A run of feed, refdata, sequencer and archive alone: it writes `stream` (what a pipeline would have decided
on) and, frame by frame as it came, `raw.<feed id>`. Ends after the time asked, or by a signal; then every log
is proven.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from pipeline.config.load import Config, load
from pipeline.config.topology import LaneSpec
from pipeline.errors import LogCorrupt, UsageError
from pipeline.native.log import LogReader
from pipeline.native.recovery import Verified, verify
from pipeline.run import wiring
from pipeline.run.supervisor import StartStopped, Supervisor
from pipeline.stages import recorder

STAGES = ("feed", "refdata", "sequencer", "archive")  # archive looks after the disk
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded, log by log, each proven from its first record to its last."""

    directory: Path
    frames: int
    frame_bytes: int
    records: int  # positions of stream
    logs: dict[str, Verified]


class _Recording(Supervisor):
    """A run of the stages that bring market data in; no key is read, no decision made."""

    def __init__(
        self, config: Config, config_files: Sequence[Path], overrides: dict[str, object], is_virtual: bool,
    ) -> None:
        super().__init__(
            config.model_copy(update={"accounts": {}}), config_files, overrides, "dry", is_virtual=is_virtual)
        self.lanes = recording_lanes(self.lanes)

    def counter(self, name: str) -> int:
        """Return the sum of a counter over all lanes."""
        return sum(self.view(lane.name).counters().get(name, 0) for lane in self.lanes)


def recording_lanes(lanes: Sequence[LaneSpec]) -> tuple[LaneSpec, ...]:
    """Return the lanes with nothing in them but what records."""
    kept = [
        replace(lane, stages=tuple(stage for stage in lane.stages if wiring.split_name(stage)[0] in STAGES))
        for lane in lanes]
    return tuple(lane for lane in kept if lane.stages)


class _Asked:
    """Whether a signal asks for the end; it is a clean one."""

    def __init__(self) -> None:
        self.is_stop = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.is_stop = True


def record(config_files: Sequence[Path], out: Path, seconds: int | None, cpus: str) -> Recorded:
    """Record into the new folder `out` until the time is up or a signal comes; return what is there then.

    Raises UsageError for a folder that holds something, LogCorrupt when a log is not whole at the end.
    """
    if cpus not in ("auto", "virtual"):
        raise UsageError(f"record: --cpus is auto or virtual, was {cpus!r}")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"record: --out {out} exists and is not empty; name a new folder")
    overrides: dict[str, object] = {"state_dir": str(out.resolve()), "mode": "dry"}
    asked, frames, frame_bytes = _Asked(), 0, 0
    run = _Recording(load(config_files, overrides), config_files, overrides, cpus == "virtual")
    try:
        run.start(lambda: asked.is_stop)
        print(f"recording into {run.state_dir}", flush=True)
        ends_s = time.monotonic() + seconds if seconds is not None else float("inf")
        while not asked.is_stop and time.monotonic() < ends_s:
            run.watch()
            time.sleep(POLL_S)
    except StartStopped:
        pass  # asked for, and nothing was left behind
    finally:
        run.stop()
    logs = {path.name: verify(path, path.name) for path in sorted((run.state_dir / "logs").iterdir())
            if path.name == wiring.STREAM or path.name.startswith(f"{recorder.NAME}.")}
    for name, found in logs.items():
        if found.problem:
            raise LogCorrupt(f"record: log {name}: {found.problem}")
        if name != wiring.STREAM:
            reader = LogReader(run.state_dir / "logs" / name, name, None)
            for _, _, frame in recorder.read_frames(reader):
                frames, frame_bytes = frames + 1, frame_bytes + len(frame)
            reader.close()
    records = logs[wiring.STREAM].position if wiring.STREAM in logs else 0
    return Recorded(run.state_dir, frames, frame_bytes, records, logs)
