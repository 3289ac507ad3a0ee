"""The verdict's latency figures and its text for people."""

from __future__ import annotations

from pipeline.run.judge import judge
from pipeline.run.judge_report import COLUMNS, is_gap_large, latency_figures, latency_gap_ns
from tests.models.judged_run import LATENCY_US, good_run, latency

STAGES = ("decode", "sequence", "book", "detect", "trade", "sign", "submit", "tick_to_order")


def test_latency_figures_have_every_stage():
    """Each stage has p50, p99, p999, max and count; a stage that never ran has zeros."""
    found = latency_figures({"decode": latency(10, 500)})

    assert list(STAGES) == list(found)
    assert {"p50": 10_000, "p99": 10_000, "p999": 10_000, "max": 10_000, "count": 500} == found["decode"]
    assert {"p50": 0, "p99": 0, "p999": 0, "max": 0, "count": 0} == found["book"]


def test_leg_counts_stand_under_tick_to_order():
    """Tick to order is told by leg count too, without those that never happened."""
    found = latency_figures({
        "tick_to_order": latency(240), "tick_to_order_2": latency(200, 7),
        "tick_to_order_2-3": latency(210, 9)})

    assert ["2", "2-3"] == list(found["tick_to_order"]["by_legs"])
    assert 9 == found["tick_to_order"]["by_legs"]["2-3"]["count"]
    assert 7 == found["tick_to_order"]["by_legs"]["2"]["count"]


def test_the_gap_is_named_beyond_a_fifth():
    """The stages' medians add up to within 20 % of the whole, or the gap has a number."""
    near = latency_figures({name: latency(us) for name, us in LATENCY_US.items()})
    far = latency_figures({name: latency(us) for name, us in (LATENCY_US | {"tick_to_order": 400}).items()})

    assert not is_gap_large(near)
    assert is_gap_large(far)
    assert 400_000 - 243_000 - 10_000 <= latency_gap_ns(far) <= 400_000 - 243_000 + 10_000


def test_the_text_of_a_good_run_fits_a_screen(tmp_path):
    """A newcomer reads one screen: what happened, whether it adds up, plants, latency, what next."""
    run = good_run()
    found = judge(run.write(tmp_path), run.report, run.facts(), is_max_speed=False)
    lines = found.lines()

    assert len(lines) <= 45
    assert all(len(line) <= COLUMNS for line in lines)
    for words in ("What happened", "Does it add up", "Planted mispricings", "Latency, us", "exit 0", "Next:"):
        assert any(words in line for line in lines), words
    assert not any(line.startswith("  NO") for line in lines)


def test_the_text_of_a_broken_run_says_no_and_why(tmp_path):
    """What does not add up is marked in the table and told below."""
    run = good_run()
    run.counters["frames"] -= 5
    lines = judge(run.write(tmp_path), run.report, run.facts(), is_max_speed=False).lines()

    assert any(line.startswith("  NO  frames") for line in lines)
    assert any("5 unaccounted for" in line for line in lines)
    assert any("exit 7" in line for line in lines)
