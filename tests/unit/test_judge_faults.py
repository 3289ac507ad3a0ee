"""The judge of a run in which faults were planted: what they excuse, and what they do not."""

from __future__ import annotations

import pytest

from pipeline.kinds import Cause, Kind, OrderType, TradeStatus
from pipeline.run.judge_report import COLUMNS
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
    run.report["faults"] = [fault(kind, T0, 0, count)]

    found = verdict(run, tmp_path)

    assert is_asked == bool(lines_with(found, "order 2", "lacks its record MATCHED"))


def test_the_report_says_what_each_fault_met(tmp_path):
    """First word in our log and next order, counted from the first hit; what hit nothing is left out."""
    run = JudgedRun()
    for place in range(8):
        run.plant(1_000 + 4_000 * place)  # orders leave 2 ms after each
    run.fail_trade(2)
    voided_ns = run.find(
        Kind.FILL, order_hash=(2).to_bytes(32, "big"), status=int(TradeStatus.FAILED))["now_ns"]
    first, later = T0 + 10_000 * MS, T0 + 20_000 * MS
    for at_ns, cause in ((first - MS, Cause.FREEZE), (first + 4_400 * MS, Cause.FREEZE),
                         (first + 4_500 * MS, Cause.DISCONNECT), (first + 4_600 * MS, Cause.FREEZE)):
        run.stream.append((Kind.GAP, {"now_ns": at_ns, "cause": int(cause), "shard": 0}))
    for at_ns, mode in ((later + 30 * MS, 3), (later + 4_000 * MS, 1), (later + 8_000 * MS, 0)):
        run.stream.append((Kind.VENUE, {"now_ns": at_ns, "mode": mode}))
    run.end()
    run.report["faults"] = [
        fault("restart", later, later + 8_000 * MS), fault("freeze", first, 0),
        fault("settlement", T0, 0, notes=[]), fault("tick", later, 0, count=0)]

    found = verdict(run, tmp_path)

    rows = {row["kind"]: row for row in found.figures["faults"]}
    assert ["settlement", "freeze", "restart"] == list(rows)
    assert (1, voided_ns - T0) == (rows["settlement"]["signs"], rows["settlement"]["seen_ns"])
    assert (2, 4_400 * MS) == (rows["freeze"]["signs"], rows["freeze"]["seen_ns"])
    assert (2, 30 * MS) == (rows["restart"]["signs"], rows["restart"]["seen_ns"])
    assert 7_002 * MS + 123_456 == rows["freeze"]["traded_ns"]  # seen at 14.4 s, the next plant is at 17 s
    assert 1_002 * MS + 123_456 == rows["restart"]["traded_ns"]
    assert lines_of(found, "the freeze ", " 1  2 gaps told ", " 4.40 ", " 7.00")
    assert all(len(line) <= COLUMNS for line in found.lines())


def fault(kind, begun_ns, ended_ns, count=1, notes=None):
    return {
        "name": f"the {kind}", "kind": kind, "begun_ns": begun_ns, "ended_ns": ended_ns, "count": count,
        "notes": [[begun_ns, "hit"]] if notes is None else notes}


def lines_of(found, *words):
    return [line for line in found.lines() if all(word in line for word in words)]
