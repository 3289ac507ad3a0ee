"""run.lane: what a lane asks of the kernel, and that it goes on where the kernel says no."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.config.topology import LaneSpec, load_topology
from pipeline.native.counters import Counter, Histogram
from pipeline.run.lane import Lane, Wake
from pipeline.run.process import keep_awake, on_cpu

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
    """One wish is enough for all CPUs, so one lane of the chain has it; who spins needs none."""
    awake = [lane.name for lane in load_topology(name).lanes if lane.awake]
    assert 1 == len(awake)


class _Waker:
    """Counts instead of waking."""

    def __init__(self) -> None:
        self.count = 0

    def wake_if_asleep(self) -> None:
        self.count += 1


class _Mark:
    begun = ended = progress = Counter()


class _IdleStage:
    def __init__(self) -> None:
        self.stage = self

    def poll(self, budget: int) -> int:
        return 0


@pytest.mark.parametrize(("is_driven", "wakes"), [(True, 1), (False, 0)])
def test_what_a_driver_wrote_between_turns_wakes_its_reader(is_driven: bool, wakes: int) -> None:
    """Frames and answers reach a ring outside poll: the next turn tells, though its poll found nothing."""
    written, waker, lane = [0], _Waker(), Lane.__new__(Lane)
    lane._reads, lane._told_ns, lane.spec = [], 0, SimpleNamespace(budget=256)
    lane._turn_ns, lane.clock = Histogram(), lambda: 0
    lane._reads, lane._told_ns, lane.spec = [], 0, SimpleNamespace(budget=256)
    wake = Wake(waker, [lambda: written[0]])
    wake.look()
    waker.count = 0
    lane._polled = [(_IdleStage(), _Mark(), [wake], is_driven)]
    lane.page, lane._is_in_turn = _Mark(), False

    assert 0 == lane.turn()
    assert 0 == waker.count
    written[0] = 1
    assert 0 == lane.turn()
    assert 0 == lane.turn()
    assert wakes == waker.count


def test_who_looks_on_stays_on_one_cpu_for_a_while() -> None:
    """Inside only that CPU, behind it all as before, also after an error; None asks for nothing."""
    before, inside = os.sched_getaffinity(0), set[int]()

    def break_inside() -> None:
        with on_cpu(max(before)):
            inside.update(os.sched_getaffinity(0))
            raise KeyError

    with pytest.raises(KeyError):
        break_inside()
    assert {max(before)} == inside
    assert before == os.sched_getaffinity(0)
    with on_cpu(None):
        assert before == os.sched_getaffinity(0)
