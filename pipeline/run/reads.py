"""How far the logs are read, over the status pages of all lanes: the archive deletes what is behind.

Reads the counters `reads.<log>.<stage>` that each lane tells.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.run import wiring
from pipeline.run.channels import Memory
from pipeline.shm.status import StatusView
from pipeline.stages.archive import ReadPositions


def read_positions(memory: Memory, stages: Sequence[str], lanes: Sequence[str]) -> ReadPositions:
    """Return what asks all that trading needs, and `observe` while it tells. lanes: of the whole run."""
    needed = {log: [stage for stage in stages if wiring.needs(stage, log)] for log in wiring.LOGS}
    watching = [stage for stage in stages if wiring.split_name(stage)[0] == "observe"]
    views = [StatusView(memory.buffer(f"status.{lane}")) for lane in lanes]
    return ReadPositions(
        needed, [view.counters for view in views], dict.fromkeys(wiring.LOGS, watching))
