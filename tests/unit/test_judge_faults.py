"""The judge of a run in which faults were planted: what they excuse, and what they do not."""

from __future__ import annotations

import pytest

from pipeline.records import Kind, OrderType, TradeStatus
from tests.models.judged_run import MS, T0, JudgedRun, lines_with, verdict


@pytest.mark.parametrize("mode", ["restarting", "post_only", "cancel_only", "disabled"])
def test_what_nobody_could_take_need_not_be_taken(tmp_path, mode):
    """A plant that lived, in part, while the exchange let nobody take; one a second later counts again."""
    run = JudgedRun()
    for place in range(20):
        run.plant(1_000 + 1_000 * place)
    closed = run.plant(30_000, taken=False)
    missed = run.plant(40_000, taken=False)
    run.end()
    run.report["modes"] = [
        [closed["t_start_ns"] - 1_000 * MS, mode], [closed["t_start_ns"] + MS, "running"]]

    found = verdict(run, tmp_path)

    assert (21, 20, 22) == tuple(found.figures[key] for key in ("planted", "taken", "planted_all"))
    assert lines_with(found, f"plant {missed['id']}", "nothing in the logs says why")
    assert not lines_with(found, f"plant {closed['id']} ")


@pytest.mark.parametrize(("kind", "ended_s", "late_s"), [("rate_limit", 3, 9), ("freeze", 0, 11)])
def test_a_fault_excuses_until_we_must_have_recovered(tmp_path, kind, ended_s, late_s):
    """A freeze is seen after 5 s; 5 s behind a fault's end we trade again, and what is missed counts."""
    run = JudgedRun()
    for place in range(20):
        run.plant(1_000 + 1_000 * place)
    excused = run.plant(31_000, taken=False)
    missed = run.plant(30_000 + 1_000 * late_s, taken=False)
    run.end()
    begun_ns = T0 + 30_000 * MS
    run.report["faults"] = [
        {"kind": "settlement", "begun_ns": T0, "ended_ns": 0},
        {"kind": kind, "begun_ns": begun_ns, "ended_ns": ended_s and begun_ns + ended_s * 1_000 * MS}]

    found = verdict(run, tmp_path)

    assert (21, 20, 22) == tuple(found.figures[key] for key in ("planted", "taken", "planted_all"))
    assert lines_with(found, f"plant {missed['id']}", "nothing in the logs says why")
    assert not lines_with(found, f"plant {excused['id']} ")


@pytest.mark.parametrize("order_type", [OrderType.FAK, OrderType.GTC])
def test_a_ghost_fill_ends_its_order_and_takes_its_plant(tmp_path, order_type):
    """MATCHED, then FAILED: the money is as before, the order is over, and the plant was taken."""
    run = JudgedRun()
    run.plant(1_000)
    run.fail_trade(2)
    run.find(Kind.INTENT, order_no=2)["order_type"] = int(order_type)
    for rows in (run.report["orders"], run.report["arrivals"]):
        rows[1]["order_type"] = order_type.name
    run.end()

    found = verdict(run, tmp_path)

    assert [] == found.problems
    assert (1, 1) == (found.figures["planted"], found.figures["taken"])


@pytest.mark.parametrize(("kind", "count", "is_asked"), [
    ("drop", 3, False), ("truncate", 1, False), ("drop", 0, True), ("duplicate", 3, True)])
def test_a_step_whose_frame_was_dropped_need_not_stand_in_the_log(tmp_path, kind, count, is_asked):
    """Nothing is replayed: with frames lost, a fill counts by its newest step; its money counts as ever."""
    run = JudgedRun()
    run.plant(1_000)
    run.drop(Kind.FILL, order_hash=(2).to_bytes(32, "big"), status=int(TradeStatus.MATCHED))
    run.end()
    run.report["faults"] = [{"kind": kind, "begun_ns": T0, "ended_ns": 0, "count": count}]

    found = verdict(run, tmp_path)

    assert is_asked == bool(lines_with(found, "order 2", "lacks its record MATCHED"))
