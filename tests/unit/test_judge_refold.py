"""The second fold of the stream: what detect refused in a plant's time."""

from __future__ import annotations

from pipeline.kinds import Kind
from pipeline.run.judge import judge
from tests.models.judged_run import ASK, MS, REST_ASK, REST_BID, SHARES, JudgedRun


def with_snapshots(run: JudgedRun, plant: dict, ask_ticks: int) -> None:
    """Let the books of rows 1..3 reach our stream in the plant's time, asks at this price."""
    for row in (1, 2, 3):
        run.stream.append((Kind.SNAPSHOT, {
            "instrument": row, "now_ns": plant["t_start_ns"] + MS, "venue_ns": plant["t_start_ns"] // MS * MS,
            "bid_count": 1, "ask_count": 1, "tick_step": 10, "price_ticks": (REST_BID, ask_ticks),
            "size_micro": (10**9, SHARES)}))


def judged(run: JudgedRun, directory):
    return judge(run.write(directory), run.report, run.facts(), is_max_speed=True)


def test_a_refusal_of_detect_is_the_reason(tmp_path):
    """No limits in the stream: detect saw the profit and refused it for a missing value."""
    run = JudgedRun()
    run.plant(1_000)
    with_snapshots(run, run.plant(30_000, taken=False), ASK)
    found = judged(run.end(), tmp_path)

    assert [] == found.problems
    assert {"no idea: missing_value": 1} == found.figures["untaken_reasons"]


def test_a_book_that_never_showed_it_is_the_reason(tmp_path):
    """The books that reached us hold no profit: said so, with the best edge."""
    run = JudgedRun()
    run.plant(1_000)
    with_snapshots(run, run.plant(30_000, taken=False), REST_ASK)
    found = judged(run.end(), tmp_path)

    assert [] == found.problems
    assert {"no idea: no profit at the best prices": 1} == found.figures["untaken_reasons"]
    assert "best edge -" in found.figures["untaken"][0]["reason"]
