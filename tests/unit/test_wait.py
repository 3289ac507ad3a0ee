"""shm.wait: a lane that blocks is woken by the next record, not by its safety net."""

from __future__ import annotations

import mmap
import os
import select
import threading
import time

import pytest

from pipeline.errors import ConfigError
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.shm import wait
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from tests.shared import wait_until

RING_AT = (PAGE_BYTES + 4095) // 4096 * 4096
SLOT = bytes(256)


def shared() -> mmap.mmap:
    """Return anonymous memory shared with forked children: two lanes' pages and two rings."""
    memory = mmap.mmap(-1, 2 * (RING_AT + Ring.bytes_for(128)))
    for number in (0, 1):
        page, ring = parts(memory, number)
        format_page(page, f"lane{number}")
        Ring.format(ring, 128)
    return memory


def parts(memory: mmap.mmap, number: int) -> tuple[memoryview, memoryview]:
    """Return (status page, ring) of a lane; the ring is its input."""
    start = number * (RING_AT + Ring.bytes_for(128))
    view = memoryview(memory)
    return view[start:start + PAGE_BYTES], view[start + RING_AT:start + RING_AT + Ring.bytes_for(128)]


def lane(memory: mmap.mmap, number: int, rounds: int, spin_count: int, starts: bool) -> None:
    """Answer each slot with one slot to the other lane, `rounds` times, blocking in between."""
    own_page, own_ring = parts(memory, number)
    other_page, other_ring = parts(memory, 1 - number)
    status = StatusPage(own_page)
    block = wait.Block(status, spin_count)
    reader, writer, waker = Reader(own_ring), Writer(other_ring), wait.make_waker(other_page)
    deadline, done_count = time.monotonic() + 60, 0
    if starts:
        writer.push(SLOT)
        waker.wake_if_asleep()
    while done_count < rounds and time.monotonic() < deadline:
        done = len(reader.read(1)) // 256
        done_count += done
        if done and (starts is False or done_count < rounds):
            writer.push(SLOT)
            waker.wake_if_asleep()
        block.after(done, reader.has_input)
    status.counter("rounds").put(done_count)
    status.counter("waker_calls").put(waker.wake_count)
    status.counter("waker_failures").put(waker.fail_count)


@pytest.mark.parametrize("spin_count", [0, 3, 50])
def test_no_wakeup_is_lost(spin_count):
    """5,000 hops each way between two blocking lanes: none is left to the 20 ms bound (busy hosts: < 1 %)."""
    memory, rounds = shared(), 5_000
    child = os.fork()
    if child == 0:
        try:
            lane(memory, 1, rounds, spin_count, starts=False)
        finally:
            os._exit(0)
    lane(memory, 0, rounds, spin_count, starts=True)
    os.waitpid(child, 0)
    sleeps = 0
    for number in (0, 1):
        counters = StatusView(parts(memory, number)[0]).counters()
        assert rounds == counters["rounds"]
        assert counters["wait_sleeps"] == counters["wait_timeouts"] + counters["wait_wakes"]
        assert counters["wait_timeouts"] <= rounds // 100
        assert 0 == counters["waker_failures"]
        sleeps += counters["wait_sleeps"]
    if spin_count == 0:
        assert sleeps > rounds


def test_block_spins_first_and_sleeps_at_most_20_ms():
    """It sleeps only after spin_count idle turns, never with input, and a lonely sleep ends by itself."""
    page, _ = parts(shared(), 0)
    status = StatusPage(page)
    block, view = wait.Block(status, 5), StatusView(page)
    for _ in range(5):
        block.after(0, lambda: False)
    assert 0 == view.counters()["wait_sleeps"]
    started = time.monotonic()
    block.after(0, lambda: False)
    assert 0.015 < time.monotonic() - started < 2
    assert (1, 1, 0) == tuple(view.counters()[key] for key in ("wait_sleeps", "wait_timeouts", "wait_wakes"))
    block.after(0, lambda: True)
    assert 1 == view.counters()["wait_sleeps"]
    block.after(1, lambda: False)
    for _ in range(5):
        block.after(0, lambda: False)
    assert 1 == view.counters()["wait_sleeps"]
    assert not view.is_asleep
    block.close()


def test_a_long_silence_costs_fewer_wakes():
    """Eight sleeps that brought nothing: then up to 200 ms; work or a wake, and it is 20 ms again."""
    bound = wait.SleepBound()
    for _ in range(8):
        assert wait.SLEEP_NS_MAX == bound.ns
        bound.timed_out()
        bound.worked(2)  # a silent pipeline's own tick
    assert wait.QUIET_SLEEP_NS_MAX == bound.ns
    bound.worked(wait.QUIET_RECORDS)
    assert wait.SLEEP_NS_MAX == bound.ns
    for _ in range(8):
        bound.timed_out()
    assert wait.QUIET_SLEEP_NS_MAX == bound.ns
    bound.woken()
    assert wait.SLEEP_NS_MAX == bound.ns


def test_a_silent_lane_sleeps_longer_and_is_woken_all_the_same():
    """A blocking lane without work makes few sleeps a second; a record ends such a sleep at once."""
    page, ring = parts(shared(), 0)
    block, view = wait.Block(StatusPage(page), 0), StatusView(page)
    for _ in range(8):
        block.after(0, lambda: False)
    started = time.monotonic()
    block.after(0, lambda: False)
    assert 0.19 < time.monotonic() - started < 5
    writer, waker = Writer(ring), wait.make_waker(page)

    def write() -> None:
        wait_until(lambda: view.is_asleep, 5, "the lane to sleep", pause_s=0)
        writer.push(SLOT)
        waker.wake_if_asleep()

    thread = threading.Thread(target=write)
    thread.start()
    block.after(0, Reader(ring).has_input)
    thread.join()
    assert (10, 9, 1) == tuple(view.counters()[key] for key in ("wait_sleeps", "wait_timeouts", "wait_wakes"))


def test_the_second_look_comes_after_the_announcement():
    """A record published between the last poll and the sleep is seen: has_input runs while asleep = 1."""
    page, _ = parts(shared(), 0)
    view, seen = StatusView(page), []
    block = wait.Block(StatusPage(page), 0)

    def has_input() -> bool:
        seen.append(view.is_asleep)
        return True

    block.after(0, has_input)
    assert [True] == seen
    assert not view.is_asleep


def test_a_waker_pays_only_for_a_sleeper():
    """Without a sleeper no system call is made; of two wakers one wakes."""
    page, _ = parts(shared(), 0)
    status = StatusPage(page)
    first, second = wait.make_waker(page), wait.make_waker(page)
    assert not first.wake_if_asleep()
    sleeper = wait.Sleeper(*status.asleep)
    sleeper.announce()
    assert [True, False] == [first.wake_if_asleep(), second.wake_if_asleep()]
    assert wait.NOT_ASLEEP == sleeper.sleep()
    assert (1, 0) == (first.wake_count, second.wake_count)


def test_an_event_loop_lane_is_rung_by_eventfd():
    """Woken through the fd its loop watches; input at arming means no wait; silence is a counted timeout."""
    page, _ = parts(shared(), 0)
    fd = wait.make_doorbell_fd()
    try:
        doorbell, view = wait.Doorbell(StatusPage(page), fd), StatusView(page)
        waker = wait.make_waker(page, fd)
        assert not doorbell.arm(lambda: True)
        assert not waker.wake_if_asleep()
        assert doorbell.arm(lambda: False)
        assert waker.wake_if_asleep()
        assert [fd] == select.select([fd], [], [], 5)[0]
        doorbell.answer()
        doorbell.answer()  # a second look at an empty eventfd does nothing
        assert [] == select.select([fd], [], [], 0)[0]
        assert doorbell.arm(lambda: False)
        doorbell.timed_out()
        assert {"wait_sleeps": 2, "wait_timeouts": 1, "wait_wakes": 1} == view.counters()
        doorbell.close()
    finally:
        os.close(fd)


def test_waits_by_name():
    """The topology names spin, yield or block; anything else is a config error."""
    page, _ = parts(shared(), 0)
    status = StatusPage(page)
    kinds = {"spin": wait.Spin, "yield": wait.Yield, "block": wait.Block}
    for kind, expected in kinds.items():
        made = wait.make_wait(kind, status)
        assert expected is type(made)
        for _ in range(150 if kind != "block" else 3):
            made.after(0, lambda: False)
        made.after(1, lambda: False)
        made.close()
    with pytest.raises(ConfigError, match="spin, yield or block, was 'nap'"):
        wait.make_wait("nap", status)


def test_yield_gives_the_core_away_only_when_idle(monkeypatch):
    """100 idle turns spin, each further one yields, work starts anew."""
    calls = []
    monkeypatch.setattr(wait.os, "sched_yield", lambda: calls.append(1))
    waiting = wait.Yield()
    for _ in range(100):
        waiting.after(0, lambda: False)
    assert 0 == len(calls)
    waiting.after(0, lambda: False)
    waiting.after(0, lambda: False)
    assert 2 == len(calls)
    waiting.after(3, lambda: False)
    waiting.after(0, lambda: False)
    assert 2 == len(calls)
