"""stages.observe: the numbers of a run, from hand-made records."""

from __future__ import annotations

from typing import Any

from pipeline.records import Cause, Kind, OrderState
from pipeline.stages.observe import Summary
from tests.models.core_rig import config, fill, instrument, pack, report
from tests.models.core_rig import event as event_records


class _Bought:
    """The fields of an intent that a fill is made from."""

    order_no, price_ticks, outcome, side, instrument = 1, 4_000, 0, 0, 1


def figures(*records: bytes) -> dict[str, Any]:
    summary = Summary()
    for record in records:
        summary.on_record(record, 0)
    return summary.figures()


def test_a_book_counts_once_however_often_it_is_told() -> None:
    """Each log segment repeats every known row; a changed row is no new book either."""
    rows = event_records([1, 2, 3])
    assert 3 == figures(*rows, *rows, instrument(2, 1, 3, tick_step=10))["instruments"]


def test_orders_are_counted_by_their_newest_state() -> None:
    """An intent, its reports and a fill: one order, in the state that was told last; the fill is money."""
    intent = pack(Kind.INTENT, order_no=1, instrument=1, size_micro=10_000_000, price_ticks=4_000)
    found = figures(
        config(), instrument(1), pack(Kind.PACKAGE, group_no=1, payout_usd_micro=10, cost_usd_micro=6),
        intent, pack(Kind.INTENT, order_no=2, instrument=1), report(1, OrderState.SENT),
        report(1, OrderState.MATCHED), fill(_Bought(), 10_000_000, 1, fee_usd_micro=70))
    assert {"matched": 1, "intended": 1} == found["orders_by_state"]
    assert (2, 1, 1, 1) == (found["orders"], found["packages"], found["fills"], found["fill_records"])
    assert (4, 70, -4_000_070) == (
        found["packaged_edge_usd_micro"], found["fees_usd_micro"], found["cash_usd_micro"])


def test_a_refusal_counts_as_often_as_its_verdict_says() -> None:
    """Verdicts are told once a second with a count of the repeats."""
    verdicts = [pack(Kind.VERDICT, cause=int(Cause.HALTED), count=count) for count in (1, 5)]
    found = figures(*verdicts, pack(Kind.HALT, level=3))
    assert ({"halted": 6}, 3) == (found["refused"], found["halt_level"])
