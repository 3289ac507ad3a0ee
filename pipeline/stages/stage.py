"""What a stage is, and the channels it is built from.

A lane polls its stages in declared order; only the topology file knows which stages share a lane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.shm.status import Status

Clock = Callable[[], int]  # now in ns since the epoch; one anchored monotonic clock per host


class Stage(Protocol):
    """One job in the stream."""

    name: str

    def poll(self, budget: int) -> int:
        """Handle up to `budget` records; return how many, 0 = idle.

        Never waits: takes an input only when its output has room for all it may emit.
        """

    def close(self) -> None:
        """Release views and files; called once, also after a failed start."""


@dataclass(frozen=True, slots=True)
class Context:
    """What every stage gets from its lane."""

    clock: Clock
    status: Status
