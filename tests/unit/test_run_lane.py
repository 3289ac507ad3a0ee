"""run.lane: what a lane asks of the kernel, and that it goes on where the kernel says no."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config.topology import LaneSpec, load_topology
from pipeline.run.lane import keep_awake

LANE = LaneSpec("core", ("book",), None, "block", 0, awake=True)


def test_an_awake_lane_holds_the_wish_for_no_latency(tmp_path: Path) -> None:
    """An int32 of 0 us stands in the device, which stays open: the kernel forgets the wish at its close."""
    device = tmp_path / "cpu_dma_latency"
    device.touch()
    assert keep_awake(LANE, device)
    assert bytes(4) == device.read_bytes()
    held = [
        int(fd.name) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink() and fd.readlink() == device]
    assert 1 == len(held)
    os.close(held[0])


@pytest.mark.parametrize("lane", [LANE, replace(LANE, awake=False)])
def test_without_the_device_a_lane_goes_on(tmp_path: Path, lane: LaneSpec) -> None:
    """A refused wish is told, nothing is made; a lane that has none asks nobody."""
    assert (not lane.awake) == keep_awake(lane, tmp_path / "absent")
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["1core", "2core", "4core"])
def test_each_layout_keeps_the_cpus_of_the_path_awake(name: str) -> None:
    """One wish is enough for all CPUs, so one lane of the chain has it."""
    awake = [lane.name for lane in load_topology(name).lanes if lane.awake]
    assert 1 == len(awake)
