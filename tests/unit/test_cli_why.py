"""pipeline.cli.why: each state of a run that does not trade has its own words."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.cli.why import Seen, why_nothing
from pipeline.kinds import Cause

WATCHING = {"instruments": 30, "frames": 900, "detect_baskets": 4, "detect_tops": 700}
POST_ONLY = {
    "mode": "post_only", "cause": "venue_error", "http_status": 503, "since_ns": 1, "text": "post-only mode",
    "until_ns": 1_790_000_000 * 10**9,
}
HALT = {"owner": "operator", "level": "H3", "since_ns": 1, "reason": "drill"}


def why(counters: dict[str, int], summary: dict[str, Any] | None = None, **others: Any) -> list[str]:
    known = {"is_running": True, "mode": "local", **others}
    return why_nothing(Seen(counters=counters, summary=summary or {}, **known))


@pytest.mark.parametrize(
    ("counters", "summary", "others", "expected"),
    [
        ({}, {}, {"is_running": False}, "nothing runs"),
        ({}, {}, {}, "no markets known"),
        ({"instruments": 30}, {}, {}, "no market data"),
        (WATCHING | {"detect_baskets": 0}, {}, {}, "no baskets: 30 markets known"),
        (WATCHING, {}, {}, "no opportunity yet: 4 baskets watched, 700 books seen"),
        (
            WATCHING | {"detect_refused_book_stale": 12},
            {},
            {},
            "book_stale 12: a book of the basket was stale",
        ),
        (WATCHING | {"detect_refused_below_edge": 7}, {}, {}, "below_edge 7: below edge"),
        (
            WATCHING,
            {"refused": {"limit_collateral": 3}},
            {},
            "vetoed by limit_collateral 3: not enough balance",
        ),
        (WATCHING, {"refused": {"missing_value": 1}}, {}, "balance at the venue was not known"),
        (
            WATCHING,
            {"packages": 2},
            {"mode": "dry"},
            "mode dry: packages are decided and signed, nothing is sent",
        ),
        (WATCHING, {"packages": 2}, {"halted": [HALT]}, "halted H3 by operator: drill"),
        (
            WATCHING,
            {"packages": 2, "venues": {"0": POST_ONLY}},
            {},
            "only post-only orders and cancels (account 0, venue_error: 503 post-only mode); asked again",
        ),
        (WATCHING | {"cancels_waiting": 3}, {"packages": 2}, {}, "3 cancels wait for the venue to take them"),
    ],
)
def test_each_cause_has_its_words(
    counters: dict[str, int],
    summary: dict[str, Any],
    others: dict[str, Any],
    expected: str,
) -> None:
    """The line that explains this state is there."""
    assert any(expected in line for line in why(counters, summary, **others))


def test_a_trading_run_needs_no_excuse() -> None:
    """Packages in mode local and no halt: nothing to say, whatever was refused beside them."""
    assert [] == why(
        WATCHING | {"detect_refused_below_edge": 7}, {"packages": 1, "refused": {"limit_day": 2}}
    )


def test_most_frequent_cause_comes_first() -> None:
    """Ten causes are read from the top."""
    found = why(WATCHING | {"detect_refused_below_edge": 7, "detect_refused_book_open": 70})
    assert ["book_open", "below_edge"] == [line.split()[0] for line in found]


def test_every_cause_of_a_refusal_is_known() -> None:
    """No veto of the gate is shown without words, also those that come later."""
    refused = {cause.name.lower(): 1 for cause in Cause}
    assert len(refused) == sum(line.startswith("vetoed by ") for line in why(WATCHING, {"refused": refused}))
    assert any("unknown" in line for line in why(WATCHING, {"refused": {"of_next_year": 1}}))


NOW_NS = 1_764_000_000 * 10**9
TRADED = {"packages": 3, "last_package_ns": NOW_NS - 10**9}
LANE = {"name": "core", "is": "running", "restarts": 0, "stages": ["book"]}
ACCOUNT = {"name": "edge", "is": "running", "restarts": 0, "stages": ["gateway.main", "account.main"]}


@pytest.mark.parametrize(
    ("counters", "others", "expected"),
    [
        ({}, {"is_orphaned": True}, "the supervisor is gone"),
        ({}, {"lease_age_ns": 3 * 10**9, "lease_ns_max": 10**9}, "the supervisor has not looked for 3000 ms"),
        ({}, {"lanes": [LANE | {"is": "dead", "restarts": 2}]},
         "lane core is down, the supervisor starts it again; 2 restarts so far"),
        ({}, {"lanes": [LANE | {"is": "starting"}]}, "lane core is starting"),
        ({}, {"lanes": [LANE | {"is": "wedged: its loop does not turn"}]}, "lane core is wedged"),
        ({"is_reconciled": 0, "reconciles_failed": 4}, {}, "not reconciled: the venue has not told"),
        ({}, {"lanes": [ACCOUNT]}, "not reconciled"),
        ({"doubtful_orders": 2}, {}, "unknown orders 2: sent, and the venue has not told their end"),
        ({}, {"summary": TRADED | {"orders_by_state": {"unknown": 5}}}, "unknown orders 5"),
        ({}, {"books": {"stale": 7, "crossed": 0, "open": 2, "proven": 0}},
         "books not to be traded on: 7 stale, 2 open, of 9"),
        ({}, {"mode": "dry"}, "mode dry: packages are decided"),
        ({}, {"halted": [HALT | {"owner": "supervisor", "reason": "lane core is down"}]},
         "halted H3 by supervisor: lane core is down"),
    ],
)
def test_what_holds_a_run_is_told_although_it_traded_a_second_ago(
    counters: dict[str, int], others: dict[str, Any], expected: str
) -> None:
    """Nothing of this waits until the run was quiet for long; and it is the only thing said."""
    seen = {"summary": TRADED, "now_ns": NOW_NS, "started_ns": NOW_NS - 10**12, **others}
    found = why(WATCHING | counters, **seen)
    assert 1 == len(found)
    assert found[0].startswith(expected)
    well = WATCHING | {"is_reconciled": 1, "reconciles": 1}
    assert [] == why(
        well, TRADED, now_ns=NOW_NS, lanes=[LANE, ACCOUNT], lease_age_ns=10**9, lease_ns_max=10**9)


@pytest.mark.parametrize(
    ("summary", "is_told"),
    [
        ({"packages": 3, "last_package_ns": NOW_NS - 59 * 10**9}, False),
        ({"packages": 3, "last_package_ns": NOW_NS - 61 * 10**9}, True),
        ({"packages": 3, "last_package_ns": NOW_NS - 30 * 10**9, "started": 20}, True),
        ({"packages": 3}, False),  # an older summary does not say when
    ],
)
def test_a_run_that_has_become_quiet_is_asked_why(summary: dict[str, Any], is_told: bool) -> None:
    """Packages of an hour ago, or of the run before, do not count as trading."""
    started_ns = NOW_NS - summary.get("started", 10**6) * 10**9
    found = why(
        WATCHING | {"detect_refused_below_edge": 7}, summary, now_ns=NOW_NS, started_ns=started_ns)
    assert is_told == any("below_edge 7" in line for line in found)
    assert is_told == any("no opportunity now" in line for line in why(
        WATCHING, summary, now_ns=NOW_NS, started_ns=started_ns))


def test_every_owner_of_a_halt_is_named_and_nothing_is_excused_beside_it() -> None:
    """Two halts: both must be lifted. A run that is held has no opportunity to miss."""
    halts = [HALT, HALT | {"owner": "trade", "level": "H1", "reason": "overrun"}]
    assert ["halted H3 by operator: drill", "halted H1 by trade: overrun"] == why(WATCHING, halted=halts)


def test_some_stale_books_matter_only_when_nothing_trades() -> None:
    """One book of many is stale now and then; it explains silence, not a run that trades."""
    books = {"stale": 1, "crossed": 0, "open": 3, "proven": 30}
    assert ["books not to be traded on: 1 stale, 3 open, of 34"] == why(WATCHING, books=books)
    assert [] == why(WATCHING, TRADED, books=books, now_ns=NOW_NS)


def test_a_lane_that_waits_for_its_restart_does_not_make_the_run_end() -> None:
    """`nothing runs` and `a lane is down` are different states."""
    lanes = [LANE | {"is": "dead"}]
    assert any("nothing runs" in line for line in why({}, is_running=False, lanes=lanes))
    assert not any("is down" in line for line in why({}, is_running=False, lanes=lanes))
