"""One fault while it runs: is it active, does it hit, how often did it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.sim.faults import Fault, FrameFault, HttpFault
from pipeline.units import PPM

NOTES_MAX = 1_000  # of one fault; the count goes on

#: event ("begins", "hits" for the first time, "ends"), the run it is about, now_ns
Tell = Callable[[str, "FaultRun", int], None]


@dataclass(slots=True)
class FaultRun:
    """A fault and its history. `draw` is its own: what other faults do changes nothing for it."""

    fault: Fault
    draw: random.Random
    tell: Tell
    is_active: bool = False
    begun_ns: int = 0  # the latest time
    ended_ns: int = 0
    begins: int = 0
    count: int = 0
    notes: list[tuple[int, str]] = field(default_factory=list)  # (ns, what was hit)

    def hits(self) -> bool:
        """Draw whether it strikes here, within its chance and its most."""
        fault = self.fault
        if not self.is_active or not isinstance(fault, FrameFault | HttpFault):
            return False
        if fault.count_max and self.count >= fault.count_max:
            return False
        return fault.chance_ppm == PPM or self.draw.randrange(PPM) < fault.chance_ppm

    def note(self, now_ns: int, what: str) -> None:
        """Count one injection; the first is told."""
        self.count += 1
        if len(self.notes) < NOTES_MAX:
            self.notes.append((now_ns, what))
        if self.count == 1:
            self.tell("hits", self, now_ns)

    def row(self) -> dict[str, Any]:
        """Return what the exchange's report says about it."""
        return {
            "name": self.fault.name,
            "kind": self.fault.kind,
            "begins": self.begins,
            "begun_ns": self.begun_ns,
            "ended_ns": self.ended_ns,
            "is_active": self.is_active,
            "count": self.count,
            "notes": [list(note) for note in self.notes],
        }
