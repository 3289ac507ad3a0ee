"""shm.status: what a lane counts is what any reader sees, and percentiles are right to 1/32."""

from __future__ import annotations

import mmap
import random
from fractions import Fraction

import pytest

from pipeline.errors import InvariantError, LayoutError
from pipeline.native.counters import Counter, Histogram, bucket_index, bucket_top
from pipeline.shm import status
from pipeline.shm.status import LaneState, StatusPage, StatusView


def page(lane: str = "core") -> memoryview:
    """Return a formatted page."""
    made = memoryview(bytearray(status.PAGE_BYTES))
    status.format_page(made, lane)
    return made


def test_a_reader_sees_what_the_lane_counts():
    """Names, values, stages and lane words appear in the view without any declaration there."""
    memory = page("core")
    own = StatusPage(memory, epoch=3, pid=77, now_ns=123)
    view = StatusView(memory.toreadonly())
    assert ("core", 3, 77, 123) == (view.lane, view.epoch, view.pid, view.since_ns)
    assert LaneState.STARTING == view.state
    frames, marks = own.counter("frames"), own.stage("book")
    own.set_state(LaneState.RUNNING)
    own.progress.add(1)
    frames.add(41)
    frames.add()
    marks.begun.add()
    own.sent_order_no.put(9)
    own.histogram("decode").observe(1_000)
    assert {"frames": 42} == view.counters()
    assert {"book": (1, 0)} == view.stages()
    assert (1, LaneState.RUNNING, 9) == (view.progress, view.state, view.sent_order_no)
    assert (1, 1_000, 1_000) == (view.latencies()["decode"].count, view.latencies()["decode"].max_ns,
                                 view.latencies()["decode"].sum_ns)


def test_a_restarted_lane_goes_on_counting():
    """The same name finds its entry again; counters never fall; a dead lane's open poll is closed."""
    memory = page()
    first = StatusPage(memory, epoch=1)
    first.counter("a").add(5)
    first.stage("book").begun.add()
    first.histogram("book").observe(7)
    first.close()
    second = StatusPage(memory, epoch=2)
    second.counter("b").add(1)
    second.counter("a").add(1)
    second.stage("book")
    second.histogram("book").observe(7)
    view = StatusView(memory)
    assert {"a": 6, "b": 1} == view.counters()
    assert {"book": (1, 1)} == view.stages()
    assert 2 == view.latencies()["book"].count


def test_tables_have_limits_and_say_so():
    """One name too many, an empty name and a long one are refused with the limit."""
    own = StatusPage(page())
    for number in range(status.COUNTERS_MAX):
        own.counter(f"c{number}").put(number)
    own.counter("c3")
    with pytest.raises(InvariantError, match="may have 256 counters, 'x' is one more"):
        own.counter("x")
    for number in range(status.HISTOGRAMS_MAX):
        own.histogram(f"h{number}")
    with pytest.raises(InvariantError, match="may have 16 histograms"):
        own.histogram("x")
    for bad in ("", "n" * 57):
        with pytest.raises(InvariantError, match=r"name of 1\.\.56 bytes"):
            own.counter(bad)


def test_foreign_pages_are_refused():
    """A page of another layout or too few bytes is an error in one line."""
    for bad in (memoryview(bytes(status.PAGE_BYTES)), page()[:-1]):
        with pytest.raises(LayoutError, match="status page of this build"):
            StatusView(bad)
    memory = page()
    memory[9] ^= 1
    with pytest.raises(LayoutError):
        StatusPage(memory)
    with pytest.raises(InvariantError, match="at most 32 bytes expected"):
        status.format_page(memory, "l" * 33)


def test_a_closed_page_can_be_unmapped_and_counting_goes_on():
    """After close nothing holds the mapping, and a stage that still bumps does not fault."""
    memory = mmap.mmap(-1, status.PAGE_BYTES)
    view = memoryview(memory)
    status.format_page(view, "x")
    own = StatusPage(view)
    counter, histogram = own.counter("a"), own.histogram("b")
    own.close()
    view.release()
    memory.close()
    counter.add(1)
    histogram.observe(1)
    assert 1 == counter.value


def test_buckets_cover_every_value_once():
    """The 1,888 buckets are contiguous from 0 to 2**63 - 1 and at most 1/32 wide."""
    expected_start = 0
    for index in range(1_888):
        top = bucket_top(index)
        assert index == bucket_index(expected_start) == bucket_index(top)
        assert Fraction(top - expected_start, max(expected_start, 1)) <= Fraction(1, 32)
        expected_start = top + 1
    assert 2**63 == expected_start


@pytest.mark.parametrize("seed", range(20))
def test_percentiles_equal_a_sorted_list_to_one_part_in_32(seed):
    """Never below the exact order statistic, never above it by more than 1/32; max, count, sum are exact."""
    rng = random.Random(seed)
    values = [int(rng.lognormvariate(rng.choice([5, 8, 15]), 2)) for _ in range(rng.choice([1, 7, 5_000]))]
    memory = page()
    histogram = StatusPage(memory).histogram("trade")
    for value in values:
        histogram.observe(value)
    latency = StatusView(memory).latencies()["trade"]
    assert (len(values), max(values), sum(values)) == (latency.count, latency.max_ns, latency.sum_ns)
    exact = sorted(values)
    for share in (Fraction(0), Fraction(1, 2), Fraction(99, 100), Fraction(999, 1000), Fraction(1)):
        rank = max(1, -(-share.numerator * len(values) // share.denominator))
        [found] = latency.percentiles([float(share)])
        wanted = exact[rank - 1]
        assert wanted <= found <= wanted + wanted // 32 + 1 or found == exact[min(rank, len(exact) - 1)]


def test_merging_is_observing_all():
    """Merged lanes give the same percentiles as one lane that saw everything."""
    rng, memory = random.Random(4), page()
    own = StatusPage(memory)
    parts, whole = [own.histogram(f"part{n}") for n in range(3)], own.histogram("whole")
    for number in range(3_000):
        value = rng.randrange(10**rng.randint(1, 9))
        parts[number % 3].observe(value)
        whole.observe(value)
    found = StatusView(memory).latencies()
    merged = found["part0"].merged([found["part1"], found["part2"]])
    assert found["whole"] == merged


def test_empty_and_negative():
    """No observation gives zeros; a negative latency is counted apart and spoils nothing."""
    memory = page()
    histogram = StatusPage(memory).histogram("sign")
    assert [0, 0] == StatusView(memory).latencies()["sign"].percentiles([0.5, 0.999])
    histogram.observe(-1)
    latency = StatusView(memory).latencies()["sign"]
    assert (0, 1, 0) == (latency.count, latency.negative, latency.max_ns)


def test_words_without_a_page_and_bad_places():
    """Stages can be built without a page; a place outside the buffer is refused."""
    counter, histogram = Counter(), Histogram()
    counter.add(3)
    histogram.observe(2**63 - 1)
    assert (3, 2**63 - 1) == (counter.value, histogram.words_now()[2])
    for offset in (-8, 4, 16):
        with pytest.raises(InvariantError):
            Counter(bytearray(16), offset)
