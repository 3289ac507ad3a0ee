"""What a process asks of the kernel: a CPU, a scheduler, no idle latency, no collector.

Each wish but the CPU may be refused; then the lane goes on without.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config.topology import LaneSpec
from pipeline.errors import EnvironmentProblem

CPU_LATENCY_DEVICE = Path("/dev/cpu_dma_latency")


def pin(lane: LaneSpec) -> None:
    """Pin this process and set its niceness; then check that the kernel really did."""
    if lane.cpu is not None:
        try:
            os.sched_setaffinity(0, {lane.cpu})
        except OSError as error:
            raise EnvironmentProblem(
                f"run.lane: lane {lane.name} asks for cpu {lane.cpu}, which this machine does not give "
                f"({error.strerror}); set lane.{lane.name}.cpu to one of {sorted(os.sched_getaffinity(0))}"
            ) from error
        found = os.sched_getaffinity(0)
        if found != {lane.cpu}:
            raise EnvironmentProblem(
                f"run.lane: lane {lane.name} asked for cpu {lane.cpu}, the kernel gave {sorted(found)}")
    if lane.nice:
        os.nice(lane.nice)


@contextmanager
def on_cpu(cpu: int | None) -> Iterator[None]:
    """Stay on this CPU for a while (None: anywhere). Processes started meanwhile do so, or pin themselves."""
    before = os.sched_getaffinity(0)
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def take_realtime(lane: LaneSpec) -> bool:
    """Ask for SCHED_FIFO where the lane wants it; False = refused, and the lane goes on without."""
    if not lane.realtime:
        return True
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(os.sched_get_priority_min(os.SCHED_FIFO)))
    except PermissionError:
        return False
    return True


def keep_awake(lane: LaneSpec, device: Path = CPU_LATENCY_DEVICE) -> bool:
    """Ask the kernel for no idle latency where the lane wants it; False = refused, the lane goes on without.

    A CPU that sleeps is slow to wake and loses its caches to whoever else uses the core: a neighbour on the
    same host, or the power management. The wish holds as long as the device is open: until this process
    ends. Source: the kernel's Documentation/power/pm_qos_interface.rst, read 2026-11-21.
    """
    if not lane.awake:
        return True
    try:
        os.write(os.open(device, os.O_WRONLY | os.O_CLOEXEC), bytes(4))  # an int32 of 0 us
    except OSError:
        return False
    return True


def freeze_heap() -> None:
    """Everything built so far lives until the end: keep the collector away from it."""
    gc.collect()
    gc.freeze()
    gc.disable()


def steal_ticks() -> int:
    """Return the CPU time that the host took from this machine so far, in clock ticks."""
    with open("/proc/stat") as stat:
        fields = stat.readline().split()
    return int(fields[8]) if len(fields) > 8 else 0
