"""One wrong record, one wrong number, one flipped side: exit 7, in a line that says where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.kinds import Kind, TradeStatus
from pipeline.run.judge import Judgement, judge
from tests.models.judged_run import ASK, SHARES, JudgedRun, fee, good_run


def verdict(run: JudgedRun, directory: Path, **facts: Any) -> Judgement:
    """Judge a run as the demo does."""
    return judge(run.write(directory), run.report, run.facts(**facts), is_max_speed=False)


def test_the_unchanged_run_passes(tmp_path):
    """The mutants below start from a run that adds up."""
    found = verdict(good_run(), tmp_path)

    assert [] == found.problems
    assert 0 == found.exit_code


def drop_fill(run: JudgedRun, status: TradeStatus) -> None:
    run.drop(Kind.FILL, status=int(status), instrument=2)


def flip(run: JudgedRun, kind: Kind) -> None:
    fields = run.find(kind, instrument=2)
    fields["side"] = 1


def change_fee(run: JudgedRun, by: int) -> None:
    run.find(Kind.FILL, instrument=2)["fee_usd_micro"] += by


MUTANTS: list[tuple[str, Callable[[JudgedRun], None], tuple[str, ...]]] = [
    ("all three records of one fill dropped",
     lambda run: [drop_fill(run, status) for status in (0, 1, 2)] and None,
     ("order 2", "no fill of it in our log")),
    ("the MATCHED record of one fill dropped", lambda run: drop_fill(run, TradeStatus.MATCHED),
     ("order 2", "lacks its record MATCHED")),
    ("the MINED record of one fill dropped", lambda run: drop_fill(run, TradeStatus.MINED),
     ("order 2", "lacks its record MINED")),
    ("the CONFIRMED record of one fill dropped", lambda run: drop_fill(run, TradeStatus.CONFIRMED),
     ("order 2", "lacks its record CONFIRMED")),
    ("one fee 10 uUSD higher", lambda run: change_fee(run, 10),
     ("order 2", f"has fee {fee(ASK, SHARES) + 10}, the exchange {fee(ASK, SHARES)}")),
    ("one fee 10 uUSD lower", lambda run: change_fee(run, -10),
     ("order 2", f"has fee {fee(ASK, SHARES) - 10}, the exchange {fee(ASK, SHARES)}")),
    ("one fill's side flipped", lambda run: flip(run, Kind.FILL),
     ("order 2", "has side SELL, the exchange BUY")),
    ("one intent's side flipped", lambda run: flip(run, Kind.INTENT),
     ("order 2", "side was SELL in our log, BUY at the exchange")),
    ("one fill's token flipped", lambda run: run.find(Kind.FILL, instrument=2).update(outcome=1),
     ("order 2", "has token")),
    ("one fill's market changed", lambda run: run.find(Kind.FILL, instrument=2).update(instrument=3),
     ("order 2", "has token")),
    ("one resolution dropped", lambda run: run.drop(Kind.RESOLVED, instrument=2),
     ("row 2", "no resolution of it")),
]


@pytest.mark.parametrize(("mutate", "words"), [row[1:] for row in MUTANTS], ids=[row[0] for row in MUTANTS])
def test_a_mutant_exits_7_and_is_named(tmp_path, mutate, words):
    """Dropping one fill record, changing one fee by 10 uUSD, or flipping one leg's side: exit 7."""
    run = good_run()
    mutate(run)

    found = verdict(run, tmp_path)

    assert 7 == found.exit_code
    named = [line for line in found.problems if all(word in line for word in words)]
    assert named, found.problems


def test_two_wrong_fees_that_cancel_in_the_sum_are_found(tmp_path):
    """Totals that agree hide nothing: every fill is compared alone."""
    run = good_run()
    for instrument, by in ((1, 10), (2, -10)):
        for status in (0, 1, 2):
            run.find(Kind.FILL, instrument=instrument, status=status)["fee_usd_micro"] += by

    found = verdict(run, tmp_path)

    assert found.figures["fees_usd_micro"] == found.figures["exchange_fees_usd_micro"]
    assert 7 == found.exit_code
    orders = [line.partition(" (")[0] for line in found.problems if line.startswith("order")]
    assert {"order 1", "order 2"} == set(orders)


def test_a_fee_that_is_wrong_on_both_sides_is_found(tmp_path):
    """The fee of each fill is worked out once more from the fee rule."""
    run = good_run()
    run.report["trades"][0]["fee_micro"] += 10
    run.report["orders"][0]["fee_micro"] += 10
    run.report["accounts"][0]["fees_usd_micro"] += 10
    run.report["accounts"][0]["pnl_usd_micro"] -= 10
    for status in (0, 1, 2):
        run.find(Kind.FILL, instrument=1, status=status)["fee_usd_micro"] += 10

    found = verdict(run, tmp_path)

    assert 7 == found.exit_code
    assert any("the fee rule gives" in line for line in found.problems)


def test_a_damaged_log_is_a_finding(tmp_path):
    """A record that fails its checksum ends in exit 7 and one line, not in a traceback."""
    run = good_run()
    state = run.write(tmp_path)
    segment = next(path for path in (state / "logs" / "stream").iterdir() if path.stat().st_size > 4_096)
    data = bytearray(segment.read_bytes())
    at = data.index(SHARES.to_bytes(8, "little"), 8_192)  # a size in some report or fill
    data[at] ^= 1
    segment.write_bytes(data)

    found = judge(state, run.report, run.facts(), is_max_speed=False)

    assert 7 == found.exit_code
    assert any("native.log" in line for line in found.problems), found.problems
