"""stages.observe: the numbers of a run, from hand-made records."""

from __future__ import annotations

from typing import Any

from pipeline.kinds import Cause, Kind, OrderState, Rule, VenueMode
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


def test_what_a_venue_takes_is_shown_in_its_own_words() -> None:
    """The newest record of each account counts; one that runs again says so."""
    told = pack(
        Kind.VENUE, mode=int(VenueMode.RESTARTING), cause=int(Cause.VENUE_ERROR), http_status=425, until_ns=9,
        text=b"engine restart", now_ns=7)
    assert {"0": {
        "mode": "restarting", "cause": "venue_error", "http_status": 425, "since_ns": 7, "until_ns": 9,
        "text": "engine restart"}} == figures(told)["venues"]
    assert "running" == figures(told, pack(Kind.VENUE))["venues"]["0"]["mode"]


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


def test_what_is_held_in_a_closed_market_is_pending_until_it_is_resolved() -> None:
    """Closed and held, neither alone; reopened it is pending no more, and neither once it is paid."""
    bought, closed = fill(_Bought(), 10_000_000, 1), instrument(1, rules=int(Rule.CLOSED))
    found = figures(closed, bought)
    assert (1, 1) == (found["open_rows"], found["pending_rows"])
    for records in ((instrument(1), bought), (closed,), (closed, bought, instrument(1)),
                    (closed, bought, pack(Kind.RESOLVED, instrument=1, payout_micro_yes=1_000_000))):
        assert 0 == figures(*records)["pending_rows"]


def test_a_refusal_counts_as_often_as_its_verdict_says() -> None:
    """Verdicts are told once a second with a count of the repeats."""
    verdicts = [pack(Kind.VERDICT, cause=int(Cause.HALTED), count=count) for count in (1, 5)]
    found = figures(*verdicts, pack(Kind.HALT, level=3))
    assert ({"halted": 6}, 3) == (found["refused"], found["halt_level"])


def test_refusals_of_an_earlier_run_are_left_out_and_the_last_package_is_dated() -> None:
    """`pm status` tells why this run does not trade, and when it last did."""
    summary = Summary(since_ns=100)
    for now_ns in (99, 100, 150):
        summary.on_record(pack(Kind.VERDICT, cause=int(Cause.HALTED), count=1, now_ns=now_ns), 0)
        summary.on_record(pack(Kind.PACKAGE, group_no=now_ns, now_ns=now_ns), 0)
    found = summary.figures()
    assert ({"halted": 2}, 3, 150) == (found["refused"], found["packages"], found["last_package_ns"])


def test_orders_in_a_state_are_never_negative_and_empty_states_are_left_out() -> None:
    """Each change moves one order from one state to another, whatever comes twice."""
    intent = pack(Kind.INTENT, order_no=1, instrument=1)
    sent, unknown = report(1, OrderState.SENT), report(1, OrderState.UNKNOWN)
    assert {"intended": 1} == figures(intent, intent)["orders_by_state"]
    assert {"unknown": 1} == figures(sent, intent, sent, unknown, unknown)["orders_by_state"]


def test_a_successor_s_doubt_undoes_no_answer() -> None:
    """UNKNOWN counts where nobody answered; evidence by hash alone finds its order; strangers count not."""
    known, other = bytes((7,)) * 32, bytes((9,)) * 32
    intents = [pack(Kind.INTENT, order_no=number, instrument=1) for number in (1, 2)]
    told = [
        report(1, OrderState.MATCHED), report(1, OrderState.UNKNOWN), report(2, OrderState.SENT),
        report(2, OrderState.UNKNOWN, order_hash=known), report(2, OrderState.CANCEL_REFUSED)]
    assert {"matched": 1, "unknown": 1} == figures(*intents, *told)["orders_by_state"]
    ended = figures(
        *intents, *told, report(0, OrderState.MATCHED, order_hash=known),
        report(0, OrderState.LIVE, order_hash=other))
    assert ({"matched": 2}, 2) == (ended["orders_by_state"], ended["orders"])


def test_a_long_run_remembers_its_newest_orders_and_counts_all() -> None:
    """1,000 orders with room for 10: every figure as without a limit, an open one is never forgotten."""
    kept, whole = Summary(orders_kept_max=10), Summary()
    for summary in (kept, whole):
        for number in range(1, 1_001):
            order_hash = number.to_bytes(32, "big")
            told = [report(number, state, order_hash=order_hash) for state in (
                OrderState.SENT, OrderState.LIVE if number == 3 else OrderState.MATCHED)]
            order = pack(Kind.INTENT, order_no=number, instrument=1, size_micro=10_000_000, price_ticks=4_000)
            bought = _Bought()
            bought.order_no = number
            for record in (order, *told, fill(bought, 10_000_000, number)):
                summary.on_record(record, 0)
            if number > 500:  # told again by a late reconcile
                summary.on_record(report(number - 400, OrderState.MATCHED), 0)
    assert whole.figures() == kept.figures()
    assert {"matched": 999, "live": 1} == kept.figures()["orders_by_state"]
    assert len(kept._states) <= 10 < len(whole._states)
