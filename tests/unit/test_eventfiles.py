"""store.eventfiles: every line once, merged by time, over rotations at any moment."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.store.eventfiles import EventReader, files_by_lane, newest
from pipeline.store.events import EventLog, event_path
from tests.shared import seeds


class Clock:
    """A clock for several logs, each reading later than the one before."""

    def __init__(self) -> None:
        self.now_ns = 10**18

    def __call__(self) -> int:
        self.now_ns += 2 * 10**9
        return self.now_ns


def test_lanes_are_merged_by_time_across_their_files(tmp_path: Path) -> None:
    """Three lanes with several files each read as one log in the order in which it happened."""
    clock = Clock()
    logs = [EventLog(tmp_path, lane, bytes_max=400, files_kept=50, clock=clock) for lane in "abc"]
    for number in range(90):
        logs[number * 7 % 3].info("step", number=number)
    for log in logs:
        log.close()
    assert {"a", "b", "c"} == set(files_by_lane(tmp_path))
    assert min(len(files) for files in files_by_lane(tmp_path).values()) > 3
    reader = EventReader(tmp_path)
    assert list(range(90)) == [event["number"] for event in reader.read()]
    assert [] == list(reader.read())
    reader.close()
    only = EventReader(tmp_path, ("b",))
    assert {"b"} == {event["lane"] for event in only.read()}
    only.close()


@pytest.mark.parametrize("seed", seeds(30))
def test_what_is_read_later_is_neither_lost_nor_told_twice(tmp_path: Path, seed: int) -> None:
    """Looks at random moments while files are set aside, as long as none is deleted unread."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    log = EventLog(tmp_path, "core", bytes_max=rng.choice((90, 200, 900)), files_kept=100, clock=Clock())
    reader = EventReader(tmp_path)
    found: list[int] = []
    for number in range(120):
        log.info("step", number=number)
        if rng.random() < 0.2:
            found += [event["number"] for event in reader.read()]
    log.close()
    found += [event["number"] for event in reader.read()]
    reader.close()
    assert list(range(120)) == found


def test_files_that_were_deleted_unread_cost_only_themselves(tmp_path: Path) -> None:
    """A reader that was too slow goes on with what is left, without telling a line twice."""
    log = EventLog(tmp_path, "core", bytes_max=200, files_kept=2, clock=Clock())
    reader = EventReader(tmp_path)
    found: list[int] = []
    for number in range(60):
        log.info("step", number=number)
        if number in (3, 59):
            found += [event["number"] for event in reader.read()]
    log.close()
    reader.close()
    assert sorted(set(found)) == found
    assert [0, 1, 2, 3] == found[:4]
    assert 59 == found[-1]


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    """Somebody else's write may be seen half; it is told when it is whole, once."""
    path = event_path(tmp_path, "core")
    path.write_bytes(b'{"ts_ns":1,"level":"info","lane":"core","ev')
    reader = EventReader(tmp_path)
    assert [] == list(reader.read())
    with open(path, "ab") as file:
        file.write(b'ent":"late"}\n')
    assert ["late"] == [event["event"] for event in reader.read()]
    reader.close()


def test_lines_that_are_no_events_are_counted(tmp_path: Path) -> None:
    """A cut line, another JSON, a blank line: none of them stops the reader."""
    path = event_path(tmp_path, "core")
    path.write_bytes(
        b'{"ts_ns":1,"le\n\n[1]\n{"ts_ns":"1","level":"info","lane":"core","event":"x"}\n'
        b'{"ts_ns":5,"level":"info","lane":"core","event":"whole"}\n')
    reader = EventReader(tmp_path)
    assert ["whole"] == [event["event"] for event in reader.read()]
    assert 3 == reader.unreadable_count
    reader.close()


def test_the_newest_error_of_all_lanes(tmp_path: Path) -> None:
    """Also when it stands in a file that was set aside, and when a text only looks like one."""
    assert newest(tmp_path, "error") is None
    clock = Clock()
    first = EventLog(tmp_path, "a", bytes_max=300, files_kept=9, clock=clock)
    second = EventLog(tmp_path, "b", clock=clock)
    first.error("old", number=1)
    second.error("newest", number=2)
    for number in range(20):
        first.info("later", text='"level":"error"', number=number)
    found = newest(tmp_path, "error")
    assert found is not None
    assert ("newest", "b", 2) == (found["event"], found["lane"], found["number"])
    assert newest(tmp_path, "warning") is None
    assert {} == files_by_lane(tmp_path / "nowhere")
    first.close()
    second.close()
