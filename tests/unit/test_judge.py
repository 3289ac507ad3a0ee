"""The judge: frames, orders, packages and plants of a finished run."""

from __future__ import annotations

import pytest

from pipeline.kinds import Cause, Kind, OrderState, Origin
from tests.models.judged_run import (
    ASK,
    MS,
    SHARES,
    T0,
    JudgedRun,
    condition,
    cost,
    fee,
    good_run,
    lines_with,
    verdict,
)


def test_figures_of_a_good_run(tmp_path):
    """Every key that the demo's JSON promises is there, with the numbers worked out by hand."""
    found = verdict(good_run(), tmp_path).figures

    paid = 9 * (cost(ASK, SHARES) + fee(ASK, SHARES))
    assert 3 * SHARES - paid == found["pnl_usd_micro"] == found["exchange_pnl_usd_micro"]
    assert 9 * fee(ASK, SHARES) == found["fees_usd_micro"]
    assert (990, 16.5, 0, 1, 6) == tuple(
        found[key] for key in ("frames", "frames_per_s", "dropped", "fallbacks", "books"))
    assert (3, 9, 9, 3, 3, 0) == tuple(
        found[key] for key in ("ideas", "orders", "fills", "planted", "taken", "false_positives"))
    assert {"3": 3} == found["packages_by_legs"]
    assert (0, 0, 0) == (found["missed_races"], found["packages_incomplete"], found["packages_unjudged"])


def test_a_dropped_frame(tmp_path):
    """A frame that the exchange's kernel accepted and nobody folded: exit 7, with the count."""
    run = good_run()
    run.counters["frames"] -= 1

    found = verdict(run, tmp_path)

    assert 1 == found.figures["dropped"]
    assert 7 == found.exit_code
    assert lines_with(found, "accepted 1000", "999", "1 are unaccounted")


def test_a_frame_thrown_away_counts_as_dropped(tmp_path):
    """`frames_lost` is no rejection with a cause: the feed gave up on it."""
    run = good_run()
    run.counters |= {"frames": 980, "frames_lost": 10}

    found = verdict(run, tmp_path)

    assert 10 == found.figures["dropped"]
    assert lines_with(found, "threw 10 away")


def test_an_order_that_the_exchange_never_saw(tmp_path):
    """Our log says matched and the exchange has neither order nor arrival: exit 7."""
    run = good_run()
    gone = run.report["orders"].pop(4)["order_id"]
    run.report["arrivals"] = [row for row in run.report["arrivals"] if row["order_id"] != gone]

    found = verdict(run, tmp_path)

    assert 7 == found.exit_code
    assert lines_with(found, "order 5", "the exchange never saw it")


def test_an_order_that_nobody_intended(tmp_path):
    """An order under our account without an intent: exit 7."""
    run = good_run()
    stranger = "0x" + "ab" * 32
    run.report["orders"].append({**run.report["orders"][0], "order_id": stranger, "matched_micro": 0})

    found = verdict(run, tmp_path)

    assert 7 == found.exit_code
    assert lines_with(found, "0xabababab…", "no intent of our log asked for it")


def test_an_order_that_arrived_twice(tmp_path):
    """One order hash, two arrivals: exit 7."""
    run = good_run()
    run.report["arrivals"].append({**run.report["arrivals"][0], "error": "order duplicated"})

    found = verdict(run, tmp_path)

    assert 7 == found.exit_code
    assert lines_with(found, "order 1", "arrived 2 times")


def test_an_unknown_order_without_evidence(tmp_path):
    """UNKNOWN at the end, nothing filled, no word of the venue: exit 7."""
    run = JudgedRun()
    run.plant(1_000)
    run.plant(2_000, withdraw_ms=2)
    run.end()
    for origin in (Origin.HTTP, Origin.USER_CHANNEL):
        run.drop(Kind.REPORT, order_no=4 if origin == Origin.HTTP else 0, origin=int(origin),
                 order_hash=(4).to_bytes(32, "big"))
    run.stream.append((Kind.REPORT, {
        "order_no": 4, "state": int(OrderState.UNKNOWN), "origin": int(Origin.HTTP),
        "cause": int(Cause.TIMEOUT)}))

    found = verdict(run, tmp_path)

    assert 7 == found.exit_code
    assert lines_with(found, "order 4", "was UNKNOWN with TIMEOUT")


def test_an_unknown_order_with_evidence_is_over(tmp_path):
    """A timeout that the user channel answered later leaves no finding."""
    run = good_run()
    run.find(Kind.REPORT, order_no=4, origin=int(Origin.HTTP)).update(
        state=int(OrderState.UNKNOWN), cause=int(Cause.TIMEOUT), matched_micro=-1)

    assert [] == verdict(run, tmp_path).problems


def test_an_order_refused_before_it_was_looked_at(tmp_path):
    """A 429 leaves no trace at the exchange; the answer accounts for the order."""
    run = JudgedRun()
    run.plant(1_000)
    run.plant(2_000, withdraw_ms=2)
    run.end()
    for order_no in (4, 5, 6):
        name = "0x" + order_no.to_bytes(32, "big").hex()
        run.report["orders"] = [row for row in run.report["orders"] if row["order_id"] != name]
        run.report["arrivals"] = [row for row in run.report["arrivals"] if row["order_id"] != name]
        run.drop(Kind.REPORT, order_no=0, order_hash=order_no.to_bytes(32, "big"))
        run.find(Kind.REPORT, order_no=order_no, origin=int(Origin.HTTP)).update(
            state=int(OrderState.REJECTED), http_status=429, cause=int(Cause.RATE_LIMIT), text=b"rate limit")

    found = verdict(run, tmp_path, is_max_speed=True)

    assert [] == found.problems
    assert 3 == found.figures["orders_refused_unseen"]


def test_unsent_orders_must_not_exist_there(tmp_path):
    """Provably unsent by our log, and yet it arrived: exit 7."""
    run = JudgedRun()
    run.plant(1_000)
    run.plant(2_000, withdraw_ms=2)
    run.end()
    sent = run.find(Kind.REPORT, order_no=5, state=int(OrderState.SENT))
    for origin in (Origin.HTTP, Origin.USER_CHANNEL):
        run.drop(Kind.REPORT, origin=int(origin), order_hash=(5).to_bytes(32, "big"))
    sent.update(state=int(OrderState.UNSENT), cause=int(Cause.DEADLINE))

    found = verdict(run, tmp_path, is_max_speed=True)

    assert 7 == found.exit_code
    assert lines_with(found, "order 5", "never sent by our log (UNSENT)")


def test_a_false_positive(tmp_path):
    """A package for prices that the exchange's book never showed: exit 7, with its best moment."""
    run = JudgedRun()
    run.plant(1_000)
    run.package(T0 + 5_000 * MS, [4, 5, 6], is_there=False)
    run.end()

    found = verdict(run, tmp_path)

    assert 1 == found.figures["false_positives"]
    assert 7 == found.exit_code
    loss = SHARES - 3 * (cost(4_500, SHARES) + fee(4_500, SHARES))
    assert lines_with(found, "package 2", f"{-loss / 1e6:.6f} USD")


@pytest.mark.parametrize(("order", "found_false"), [((6, 4, 5), 0), ((4, 5, 6), 1)])
def test_commits_of_one_time_count_in_their_own_order(tmp_path, order, found_false):
    """The last cheap price comes before or behind the others' end, all at one time: right once, or never."""
    run = JudgedRun()
    run.plant(1_000)
    for row in (4, 5):
        run.commit(row, T0 + 4_000 * MS, [[False, ASK, SHARES]])
    for row in order:
        run.commit(row, T0 + 5_000 * MS, [[False, ASK, SHARES if row == 6 else 0]])
    run.package(T0 + 5_000 * MS, [4, 5, 6], is_there=False)
    run.end()

    found = verdict(run, tmp_path)

    assert (found_false, 1 - found_false) == (
        found.figures["false_positives"], found.figures["missed_races"])


def test_a_missed_race_is_no_false_positive(tmp_path):
    """Right when the frame left, withdrawn before the order arrived: counted apart, with its reason."""
    run = JudgedRun()
    for place in range(20):
        run.plant(1_000 + 1_000 * place)
    run.plant(30_000, withdraw_ms=2)
    run.end()

    found = verdict(run, tmp_path)

    assert [] == found.problems
    assert (1, 0, 1) == tuple(
        found.figures[key] for key in ("missed_races", "false_positives", "packages_incomplete"))
    # it lived 2 ms only, so nobody had to take it
    assert (20, 21) == (found.figures["planted"], found.figures["planted_all"])


def test_a_late_package_names_the_race(tmp_path):
    """A required plant that was withdrawn before our arrival is untaken with that reason."""
    run = JudgedRun()
    for place in range(20):
        run.plant(1_000 + 1_000 * place)
    late = run.plant(30_000, life_ms=60, taken=False)
    run.package(late["t_end_ns"] - MS, [1, 2, 3], is_there=False)
    run.end()

    found = verdict(run, tmp_path)

    assert [] == found.problems
    assert {"missed race: withdrawn before arrival": 1} == found.figures["untaken_reasons"]


def test_an_untaken_plant_needs_a_reason(tmp_path):
    """Nothing in the logs says why: exit 1 and its number."""
    run = JudgedRun()
    for place in range(20):
        run.plant(1_000 + 1_000 * place)
    run.plant(30_000, taken=False)
    run.end()

    found = verdict(run, tmp_path)

    assert 1 == found.exit_code
    assert lines_with(found, "plant 21", "lived 1000 ms", "nothing in the logs says why")


@pytest.mark.parametrize(("cause", "reason"), [
    (Cause.GROUP_BUSY, "busy: a package of this basket was open"),
    (Cause.LIMIT_EVENT, "vetoed: limit_event")])
def test_a_verdict_is_a_reason(tmp_path, cause, reason):
    """A veto of the plant's event in its time explains it; told in a run that a beat leads."""
    run = JudgedRun()
    for place in range(20):
        run.plant(1_000 + 1_000 * place)
    plant = run.plant(30_000, taken=False)
    run.decisions.append([
        (Kind.BEAT, {"now_ns": plant["t_start_ns"] + MS}),
        (Kind.VERDICT, {"now_ns": plant["t_start_ns"] + MS, "event": 1, "cause": int(cause), "count": 3})])
    run.end()

    found = verdict(run, tmp_path)

    assert [] == found.problems
    assert {reason: 1} == found.figures["untaken_reasons"]


def test_too_few_taken(tmp_path):
    """94 % is too little; at full speed it is reported only."""
    def made() -> JudgedRun:
        run = JudgedRun()
        for place in range(15):
            run.plant(1_000 + 1_000 * place)
        plant = run.plant(30_000, taken=False)
        run.decisions.append([(Kind.VERDICT, {
            "now_ns": plant["t_start_ns"] + MS, "event": 1, "cause": int(Cause.GROUP_BUSY), "count": 1})])
        return run.end()

    slow = verdict(made(), tmp_path / "slow")
    fast = verdict(made(), tmp_path / "fast", is_max_speed=True)

    assert 1 == slow.exit_code
    assert lines_with(slow, "was 15 (93.8 %)")
    assert (0, 16, 15) == (fast.exit_code, fast.figures["planted"], fast.figures["taken"])


def test_what_need_not_be_taken(tmp_path):
    """Shorter than 50 ms, below a tick step after fees, or cut short by the end of the run."""
    run = JudgedRun()
    run.plant(1_000)
    run.plant(2_000, taken=False, life_ms=49)
    run.plant(3_000, taken=False)["clears_fees_by_ticks"] = 0
    stopped = run.plant(4_000, taken=False)
    stopped.update(t_end_ns=stopped["t_start_ns"] + 30 * MS, end="stopped")
    run.end()

    found = verdict(run, tmp_path)

    assert (1, 1, 4) == tuple(found.figures[key] for key in ("planted", "taken", "planted_all"))
    assert [] == found.problems


def test_nothing_traded_says_why(tmp_path):
    """No order at all: exit 1, with what the pipeline itself said."""
    run = JudgedRun().end()
    run.counters["ideas"] = 0

    found = verdict(run, tmp_path, why_nothing=["no baskets: 6 instruments known"])

    assert 1 == found.exit_code
    assert lines_with(found, "orders 0, fills 0", "no baskets: 6 instruments known")
    assert any("nothing traded: no baskets" in line for line in found.lines())


def test_an_exchange_that_did_not_resolve(tmp_path):
    """PnL of unresolved markets is no PnL: exit 7."""
    run = good_run()
    run.report["is_final"] = False

    found = verdict(run, tmp_path)

    assert 7 == found.exit_code
    assert lines_with(found, "not final")


def test_a_package_without_history_is_judged_by_its_fills(tmp_path):
    """Books that are not planted have no history: the prices that were paid prove a whole package right."""
    run = good_run()
    for row in (1, 2, 3):
        del run.report["history"]["0x" + condition(row).hex()]

    found = verdict(run, tmp_path)

    assert [] == found.problems
    assert (0, 0) == (found.figures["false_positives"], found.figures["packages_unjudged"])


def test_many_problems_are_cut_and_counted(tmp_path):
    """A broken run prints a page, not a book."""
    run = JudgedRun()
    for place in range(40):
        run.plant(1_000 + 1_000 * place)
    run.end()
    run.report["orders"].clear()
    run.report["arrivals"].clear()
    run.report["trades"].clear()

    found = verdict(run, tmp_path)

    assert 120 == found.figures["problem_counts"]["orders"]
    assert lines_with(found, "orders: 108 more of this sort")
    assert len(found.lines()) <= 60


def test_a_dry_run_sends_nothing_and_passes(tmp_path):
    """Dry orders must not exist at the exchange; that nothing was taken is no finding."""
    run = JudgedRun()
    run.plant(1_000, withdraw_ms=100)
    run.end()
    for name in ("orders", "arrivals"):
        run.report[name].clear()
    for order_no in (1, 2, 3):
        for origin in (Origin.HTTP, Origin.USER_CHANNEL):
            run.drop(Kind.REPORT, origin=int(origin), order_hash=order_no.to_bytes(32, "big"))
        run.find(Kind.REPORT, order_no=order_no).update(state=int(OrderState.DRY), cause=int(Cause.DRY_RUN))

    found = verdict(run, tmp_path, dry=True)

    assert [] == found.problems
    assert {"dry": 3} == found.figures["orders_by_state"]
    assert {"not sent: dry_run": 1} == found.figures["untaken_reasons"]
