"""ui.collector: what lanes count and the kernel says is what is served; nothing that is gone raises."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Flag, HaltLevel, Kind
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import LaneState, StatusPage
from pipeline.ui.collector import RunCollector
from pipeline.ui.families import ALWAYS, FAMILIES
from tests.models.metrics_run import LANES, RunModel

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunModel]:
    made = RunModel(tmp_path)
    yield made
    made.close()


def look(run: RunModel) -> Series:
    """Scrape once; each series must have lane and stage, and stand there once."""
    found: Series = {}
    families = list(RunCollector(run.facts, ("back", "observe")).collect())
    assert len(FAMILIES) == len(families)
    for family in families:
        for sample in family.samples:
            assert set(ALWAYS) <= set(sample.labels)
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def one(series: Series, name: str, **labels: str) -> float | None:
    """Return the value of the series with these labels; None = there is none."""
    return series.get((name, frozenset(({"stage": ""} | labels).items())))


def test_counters_stand_under_their_lane_and_stage(run: RunModel) -> None:
    """Two stages of one kind count together under the kind's name; a lane's own counter has no stage."""
    page = run.lanes["core"].page
    page.counter("frames").add(42)
    page.counter("detect_refused_below_edge").put(7)
    page.counter("wait_sleeps").add(3)
    page.counter("of_next_year").put(5)
    page.progress.add(9)
    run.lanes["edge"].page.counter("user_frames").add(8)
    run.lanes["back"].page.counter("disk_busy_ms").put(1_500)
    found = look(run)
    assert 42 == one(found, "pm_frames_total", lane="core", stage="feed")
    assert 8 == one(found, "pm_frames_total", lane="edge", stage="account.main")
    assert 7 == one(found, "pm_refusals_total", lane="core", stage="detect", cause="below_edge")
    assert 3 == one(found, "pm_lane_sleeps_total", lane="core")
    assert 5 == one(found, "pm_other", lane="core", counter="of_next_year")
    assert 1.5 == one(found, "pm_disk_busy_seconds", lane="back", stage="archive")
    assert 9 == one(found, "pm_lane_turns_total", lane="core")
    assert 5 == one(found, "pm_lane_start_time_seconds", lane="core")


def test_a_series_is_there_before_its_first_event(run: RunModel) -> None:
    """An alert on an increase needs the zero before it; a lane has none of stages that it does not run."""
    found = look(run)
    assert 0 == one(found, "pm_drops_total", lane="core", stage="feed", cause="lost")
    assert 0 == one(found, "pm_fallbacks_total", lane="core", stage="feed")
    assert 0 == one(found, "pm_restarts_total", lane="edge")
    assert not [key for key in found if key[0] == "pm_fallbacks_total" and ("lane", "edge") in key[1]]


def test_process_facts_are_those_of_the_kernel(run: RunModel) -> None:
    """CPU, memory and switches of each lane's own process."""

    def facts(name: str) -> tuple[float, float, float]:
        process = psutil.Process(run.lanes[name].process.pid)
        times = process.cpu_times()
        return process.memory_info().rss, times.user + times.system, process.num_ctx_switches().voluntary

    before = {name: facts(name) for name in run.lanes}
    found = look(run)
    for name, lower in before.items():
        value = (
            one(found, "pm_lane_resident_memory_bytes", lane=name),
            one(found, "pm_lane_cpu_seconds_total", lane=name),
            one(found, "pm_lane_context_switches_total", lane=name, kind="voluntary"))
        assert all(low <= seen <= high for low, seen, high in zip(lower, value, facts(name), strict=True))
        assert value[0] > 1 << 20


def test_up_is_a_living_process_that_says_it_runs(run: RunModel) -> None:
    """Starting, dead, and another process under the lane's number: none of them is up."""
    assert {1.0} == {one(look(run), "pm_lane_up", lane=lane) for lane in LANES}
    run.lanes["edge"].page.set_state(LaneState.STARTING)
    run.lanes["core"].kill()
    found = look(run)
    assert [0, 0, 1] == [one(found, "pm_lane_up", lane=lane) for lane in ("core", "edge", "back")]
    assert one(found, "pm_lane_cpu_seconds_total", lane="core") is None
    assert one(found, "pm_lane_turns_total", lane="core") is not None  # its page is still there
    reused = StatusPage(run.segments["status.back"].data, pid=os.getpid(), now_ns=1)  # alive, and no lane
    reused.set_state(LaneState.RUNNING)
    assert 0 == one(look(run), "pm_lane_up", lane="back")
    reused.close()


def test_a_run_that_is_gone_is_down_and_no_exception(run: RunModel) -> None:
    """The supervisor took everything away: lanes are down, what files still say is served."""
    run.unlink()
    found = look(run)
    assert {0.0} == {one(found, "pm_lane_up", lane=lane) for lane in LANES}
    assert not [key for key in found if key[0] in ("pm_books", "pm_ring_depth_records", "pm_frames_total")]
    assert 0 == one(found, "pm_halt_level", lane="back", stage="observe")
    assert one(found, "pm_lane_up", lane="supervisor") is None


def test_damaged_pages_and_files_are_left_out(run: RunModel) -> None:
    """A torn summary, a page of another build, rows that nobody formatted yet."""
    (run.facts.run_dir / "summary.json").write_text('{"fills": 3, "ord')
    run.segments["status.core"].data[:8] = b"whatever"
    run.rows.close()
    run.segments["rows"].data[:64] = bytes(64)
    found = look(run)
    assert 0 == one(found, "pm_lane_up", lane="core")
    assert 1 == one(found, "pm_lane_up", lane="edge")
    assert not [key for key in found if key[0] == "pm_fills_total"]
    assert 0 == one(found, "pm_books", lane="core", stage="book", state="proven")
    run.write_summary(fills="three", orders_by_state=[], refused={"halted": "x"})
    assert 0 == one(look(run), "pm_fills_total", lane="back", stage="observe")
    run.segments["status.core"].data[:8] = b"pm-stat1"


def test_restarts_come_from_the_supervisors_page(tmp_path: Path) -> None:
    """The supervisor has a page and is a lane like others to those who look."""
    run = RunModel(tmp_path, has_supervisor=True)
    try:
        run.lanes["supervisor"].page.counter("restarts.edge").add(2)
        run.lease[:] = (time.monotonic_ns() - 7 * 10**9).to_bytes(8, "little")
        found = look(run)
        assert 7 <= (one(found, "pm_lease_age_seconds", lane="supervisor") or 0) < 60
        assert [0, 2] == [one(found, "pm_restarts_total", lane=lane) for lane in ("core", "edge")]
        assert 1 == one(found, "pm_lane_up", lane="supervisor")
    finally:
        run.close()


def test_rings_lag_and_books(run: RunModel) -> None:
    """Depth and capacity of each ring, how far readers of the stream are behind, books by state."""
    for _ in range(5):
        assert run.rings["tops"].push(CODECS[Kind.TICK].pack(tick_count=1))
    page = run.lanes["core"].page
    page.counter("sequencer_position").put(100)
    page.counter("book_position").put(93)
    run.lanes["back"].page.counter("observe_position").put(140)  # read later than the sequencer's word
    flags = (Flag(0), Flag(0), Flag.OPEN, Flag.STALE | Flag.OPEN, Flag.CROSSED | Flag.OPEN)
    for row, flag in enumerate(flags):
        run.show_book(row, flag)
    found = look(run)
    assert [5, 128] == [
        one(found, f"pm_ring_{what}_records", lane="core", stage="book", ring="tops")
        for what in ("depth", "capacity")]
    assert 0 == one(found, "pm_ring_depth_records", lane="edge", stage="gateway.main", ring="report.main")
    assert 7 == one(found, "pm_stream_lag_records", lane="core", stage="book")
    assert 0 == one(found, "pm_stream_lag_records", lane="back", stage="observe")
    assert [2, 1, 1, 1] == [
        one(found, "pm_books", lane="core", stage="book", state=state)
        for state in ("proven", "open", "stale", "crossed")]


def test_orders_money_and_refusals_are_the_summarys(run: RunModel) -> None:
    """Every state has a series, also with no order in it; refusals are the risk gate's."""
    run.write_summary(
        now_ns=2_500_000_000, orders_by_state={"unknown": 2, "matched": 5}, fills=7, fees_usd_micro=1_250_000,
        cash_usd_micro=-3_000_000, open_rows=4, refused={"halted": 6})
    found = look(run)
    at = {"lane": "back", "stage": "observe"}
    states = [one(found, "pm_orders", state=state, **at) for state in ("unknown", "matched", "live")]
    assert [2, 5, 0] == states
    assert [7, 1.25, -3, 4, 2.5] == [one(found, f"pm_{name}", **at) for name in (
        "fills_total", "fees_usd_total", "cash_usd", "open_markets", "observed_time_seconds")]
    assert 6 == one(found, "pm_refusals_total", lane="core", stage="trade", cause="halted")


def test_halt_level_and_its_owners(run: RunModel) -> None:
    """The level in force and who asks for it; a page that is gone is level 3."""
    page = HaltPage(run.facts.state_dir, "gateway.2")
    page.put(HaltLevel.H2, now_ns=1, reason="x")
    page.close()
    at = {"lane": "back", "stage": "observe"}
    found = look(run)
    assert 2 == one(found, "pm_halt_level", **at)
    owners = [one(found, "pm_halt_owner_level", owner=owner, **at) for owner in ("operator", "gateway.2")]
    assert [0, 2] == owners
    (run.facts.state_dir / halt.FILE_NAME).unlink()
    assert 3 == one(look(run), "pm_halt_level", **at)


def test_histograms_are_cumulative_and_in_seconds(run: RunModel) -> None:
    """A native histogram of ns becomes buckets of seconds with their sum and count."""
    page = run.lanes["edge"].page
    for ns in (900, 3_000, 3_000, 2_000_000, 60 * 10**9):
        page.histogram("tick_to_order").observe(ns)
    page.histogram("decode").observe(10)
    page.histogram("tick_to_order_2").observe(10)
    page.histogram("tick_to_order_2-3").observe(10)
    found = look(run)
    at = {"lane": "edge", "stage": "gateway.main"}
    bounds = ("1e-06", "5e-06", "10.0", "+Inf")
    assert [1, 3, 4, 5] == [one(found, "pm_tick_to_order_seconds_bucket", le=le, **at) for le in bounds]
    assert 5 == one(found, "pm_tick_to_order_seconds_count", **at)
    assert pytest.approx(60.0020069) == one(found, "pm_tick_to_order_seconds_sum", **at)
    assert 1 == one(found, "pm_step_seconds_count", step="decode", **at)
    assert 1 == one(found, "pm_tick_to_order_by_legs_seconds_count", legs="2", **at)
    assert not [key for key in found if ("legs", "2-3") in key[1]]
