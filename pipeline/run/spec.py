"""What a lane must know at its start, as one JSON file that the supervisor writes.

Reads and writes `<run dir>/spec.json`. It holds no secret: accounts name their files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from pipeline.config.topology import LaneSpec
from pipeline.errors import EnvironmentProblem
from pipeline.run.startpoint import StartPoint

BUDGET = 64  # records that a stage may take in one turn; it never changes a decision


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run: the same for all its lanes."""

    instance: str  # prefix of the segments' names
    generation: int
    mode: str
    state_dir: str
    run_dir: str
    anchor_wall_ns: int  # one pair of clock readings for all lanes
    anchor_mono_ns: int
    salt_epoch: int
    config_files: tuple[str, ...]  # copies in the run directory: a later edit does not reach a restarted lane
    overrides: dict[str, Any]
    lanes: tuple[LaneSpec, ...]
    doorbells: dict[str, int]  # lane -> inherited eventfd, for lanes with an event loop
    start: StartPoint  # of the core that runs now; written anew when it restarts
    budget: int = BUDGET

    @property
    def stages(self) -> list[str]:
        """All stages of the run, lane by lane."""
        return [stage for lane in self.lanes for stage in lane.stages]

    @property
    def clock_offset_ns(self) -> int:
        """What to add to monotonic time: the run's clock, for native code."""
        return self.anchor_wall_ns - self.anchor_mono_ns

    def lane(self, name: str) -> LaneSpec:
        """Return one lane's description."""
        for lane in self.lanes:
            if lane.name == name:
                return lane
        raise EnvironmentProblem(f"run.spec: lane {name!r} is not part of this run; its lanes are "
                                 f"{', '.join(lane.name for lane in self.lanes)}")

    def save(self, path: Path) -> None:
        """Write the file; it is complete or absent."""
        partial = path.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> RunSpec:
        """Read the file; raises EnvironmentProblem when it is none of ours."""
        try:
            fields = orjson.loads(path.read_bytes())
            lanes = tuple(
                LaneSpec(**{**lane, "stages": tuple(lane["stages"])}) for lane in fields.pop("lanes"))
            start = StartPoint(**fields.pop("start"))
            return cls(lanes=lanes, start=start, **{**fields, "config_files": tuple(fields["config_files"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise EnvironmentProblem(f"run.spec: {path} is no run description: {error}") from error


def anchored_clock(anchor_wall_ns: int, anchor_mono_ns: int) -> Callable[[], int]:
    """Return the run's clock: wall time at the anchor, then monotonic; never steps back."""
    offset_ns = anchor_wall_ns - anchor_mono_ns
    monotonic_ns = time.monotonic_ns

    def now_ns() -> int:
        return monotonic_ns() + offset_ns

    return now_ns
