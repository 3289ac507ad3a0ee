"""run.disk_watch: what the archive counts becomes the supervisor's halt, and goes as it should."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.kinds import HaltLevel
from pipeline.run.disk_watch import DiskWatch
from pipeline.run.halts import SupervisorHalts
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.store.upkeep import DiskFull


class Rig:
    """A halt page, the archive's counters and a watch between them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not (directory / halt.FILE_NAME).exists():
            halt.create(directory)
        memory = memoryview(bytearray(PAGE_BYTES))
        format_page(memory, "back")
        self.page = StatusPage(memory)
        self.now_ns = 100
        self.events: list[str] = []
        self.operator = HaltPage(directory, "operator")
        self.start(memory)

    def start(self, memory: memoryview) -> None:
        self.halts = SupervisorHalts(HaltPage(self.directory, "supervisor"), lambda: self.now_ns)
        self.watch = DiskWatch(
            StatusView(memory), self.halts, lambda _level, event, **_fields: self.events.append(event))

    def look(self, **counters: int) -> HaltLevel:
        for name, value in counters.items():
            self.page.counter(name).put(value)
        self.watch.look()
        return self.halts.level

    def resume(self) -> None:
        self.now_ns += 100
        self.operator.put(HaltLevel.H0, now_ns=self.now_ns, reason="go on", durable=False)
        self.halts.follow_operator()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_no_room_is_h1_for_as_long(rig: Rig) -> None:
    """H1 comes with the cause and goes with it; each change is told once."""
    assert HaltLevel.H0 == rig.look()
    assert HaltLevel.H1 == rig.look(disk_full=DiskFull.NO_SPACE)
    assert HaltLevel.H1 == rig.look(disk_full=DiskFull.LOG_BYTES_MAX)
    rig.resume()
    assert HaltLevel.H1 == rig.halts.level  # an operator makes no room
    assert HaltLevel.H0 == rig.look(disk_full=0)
    assert ["disk_full", "disk_has_room"] == rig.events


def test_a_refused_segment_is_h3_until_the_operator_resumes(rig: Rig) -> None:
    """It holds when there is room, is lifted by pm resume, and comes again with the next refused segment."""
    rig.look(disk_full=1)
    assert HaltLevel.H3 == rig.look(disk_failed=1)
    assert HaltLevel.H3 == rig.look(disk_full=0)
    rig.resume()
    assert HaltLevel.H0 == rig.look()
    assert HaltLevel.H3 == rig.look(disk_failed=2)


def test_a_refused_segment_outlives_its_supervisor(rig: Rig, tmp_path: Path) -> None:
    """A new supervisor, whose archive has told nothing yet, keeps the H3; an H1 of the last one goes."""
    rig.look(disk_failed=1)
    assert HaltLevel.H3 == Rig(tmp_path).look()
    rig.resume()
    rig.look(disk_full=1)
    assert HaltLevel.H0 == Rig(tmp_path).look()
