"""`[lane.<name>]`: what this machine changes of the topology's lane of that name."""

from __future__ import annotations

from typing import Literal

from pipeline.config.section import Section, setting

Wait = Literal["spin", "yield", "block"]


class Lane(Section):
    """One lane; an absent key keeps what the topology says."""

    cpu: int | None = setting("CPU number", "CPU that the lane is pinned to.", None, ge=0, le=4095)
    wait: Wait | None = setting("", "What an idle lane does: spin, yield or block.", None)
    nice: int | None = setting("", "Scheduling niceness of the lane.", None, ge=-20, le=19)
    realtime: bool | None = setting(
        "", "Run before all ordinary processes (SCHED_FIFO); only for a lane that blocks.", None
    )
    awake: bool | None = setting(
        "", "While the lane runs, idle CPUs poll instead of sleeping (PM QoS of the kernel).", None
    )
