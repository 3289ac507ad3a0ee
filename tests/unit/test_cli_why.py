"""pipeline.cli.why: each state of a run that does not trade has its own words."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.cli.why import why_nothing
from pipeline.records import Cause

WATCHING = {"instruments": 30, "frames": 900, "detect_baskets": 4, "detect_tops": 700}
HALT = {"owner": "operator", "level": "H3", "since_ns": 1, "reason": "drill"}


def why(counters: dict[str, int], summary: dict[str, Any] | None = None, **others: Any) -> list[str]:
    return why_nothing(
        others.get("is_running", True),
        others.get("mode", "local"),
        counters,
        summary or {},
        others.get("halted", []),
    )


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
