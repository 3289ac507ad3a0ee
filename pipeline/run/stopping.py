"""How a run ends: nothing new, every open order cancelled or told, then the lanes.

Asks trade through the halt page (H2) and looks at its counters; the lanes still run meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.config.topology import LaneSpec
from pipeline.errors import PipelineError
from pipeline.kinds import Cause, HaltLevel
from pipeline.run.halts import SupervisorHalts
from pipeline.run.lanes import LaneProcess
from pipeline.shm.status import StatusView
from pipeline.store import segments

CANCEL_S_MAX = 5.0
POLL_S = 0.01


class Run(Protocol):
    """What stopping needs of the supervisor."""

    lanes: tuple[LaneSpec, ...]
    lanes_running: Sequence[LaneProcess]

    def renew_lease(self) -> None:
        """Say that somebody looks after the lanes."""

    def view(self, lane: str) -> StatusView:
        """Return a held view of a lane's status page."""


def cancel_orders(run: Run, halts: SupervisorHalts, seconds_max: float = CANCEL_S_MAX) -> int:
    """Halt all but cancels until no order is open; return how many are left when the time is over.

    The halt stays until every lane has ended: nobody begins anything between the last look and the end.
    """
    lane = next(one.name for one in run.lanes if "trade" in one.stages)
    halts.want(Cause.SHUTDOWN, HaltLevel.H2, "the pipeline stops")
    deadline = time.monotonic() + seconds_max
    while True:
        run.renew_lease()
        counters = run.view(lane).counters()
        is_heard = counters.get("trade_halt_level", 0) >= HaltLevel.H2
        left = counters.get("open_orders", 0)
        is_alive = all(process.code() is None for process in run.lanes_running if process.is_trading)
        if (is_heard and not left) or not is_alive or time.monotonic() > deadline:
            return left
        time.sleep(POLL_S)


def leave_logs(state_dir: Path, tell: Callable[..., None]) -> None:
    """Bring both logs to the disk and copy what is full; a failure is told, the live files stay."""
    try:
        made = segments.archive_all(state_dir)
    except (OSError, PipelineError) as problem:
        tell("error", "logs_not_archived", words=str(problem))
    else:
        tell("info", "logs_archived", segments=len(made))
