"""RK05: what was not told at a start is not assumed: each missing or failed condition alone refuses live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from pipeline.errors import RiskRefusal
from pipeline.run.checks import refuse_live
from pipeline.run.conditions import (
    VENUE_CONDITIONS,
    WALLET_CONDITIONS,
    Line,
    Verdict,
    judge_account,
    judge_venue,
)
from pipeline.run.facts import Host, Missing
from pipeline.venues.polymarket import approvals
from pipeline.venues.polymarket.health import Money
from tests.tools.faultrows import figure
from tests.trading_facts import GOOD_ACCOUNT, GOOD_VENUE

REASON = "no answer within 5 s"
#: Facts that tell of the account without deciding whether it may trade; the others' absence refuses.
TELLING = {"refreshed", "approvals", "rate"}
NEVER_MISSING = {
    "name", "address", "maker", "signature_type", "chain_id", "orders_per_s", "key_file", "api_file",
    "open_orders", "hosts"}


def refused(lines: list[Line], accounts: tuple[str, ...] = ("main",)) -> str:
    with pytest.raises(RiskRefusal) as caught:
        refuse_live(lines, accounts)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def good() -> list[Line]:
    return judge_account(GOOD_ACCOUNT) + judge_venue(GOOD_VENUE)


def missing() -> list[tuple[str, Callable[[], list[Line]]]]:
    """Return each fact that can be missing, and the lines without it."""
    found: list[tuple[str, Callable[[], list[Line]]]] = []
    for facts, judge in ((GOOD_ACCOUNT, judge_account), (GOOD_VENUE, judge_venue)):
        for field in fields(facts):
            if field.name not in NEVER_MISSING | TELLING:
                change: dict[str, Any] = {field.name: Missing(REASON)}
                found.append((field.name, lambda f=facts, j=judge, c=change: j(replace(f, **c))))
    return found


def test_RK05_everything_known_is_only_not_armed() -> None:
    """The counter-proof: with every condition met, what refuses is the missing arming alone."""
    assert "not armed" in refused(good())


def test_RK05_each_missing_fact_refuses(gate_record: Callable[..., None]) -> None:
    """Take each fact away in turn: the refusal names the condition's topic, its reason, and the way out."""
    cases = missing()
    for name, lines_without in cases:
        changed = lines_without()
        names = {(line.topic, line.name) for line in changed}
        lines = changed + [line for line in good() if (line.topic, line.name) not in names]
        words = refused(lines)
        assert f"not known: {REASON}" in words, name
        assert "; do: " in words, name
    assert len(cases) == figure("RK05", "facts")
    gate_record("RK05", "facts", len(cases), 0)


def test_RK05_each_condition_without_a_line_refuses(gate_record: Callable[..., None]) -> None:
    """A condition that nobody looked at is not met, whatever the others say; so is a wallet without lines."""
    lines = good()
    for line in lines:
        words = refused([one for one in lines if one is not line])
        assert f"{line.topic}: {line.name}: nobody looked" in words
    assert len(lines) == len(VENUE_CONDITIONS) + len(WALLET_CONDITIONS) == figure("RK05", "conditions")
    assert "wallet second: key: nobody looked" in refused(lines, ("main", "second"))
    assert "none configured" in refused(judge_venue(GOOD_VENUE), ())
    gate_record("RK05", "conditions", len(lines), 0)


def test_RK05_each_failed_condition_refuses() -> None:
    """A line that fails refuses by itself; a warning, such as an index that is down, does not."""
    lines = good()
    for place, line in enumerate(lines):
        failed = replace(line, verdict=Verdict.FAIL, found="as wrong as can be", fix="mend it", exit_code=5)
        words = refused([*lines[:place], failed, *lines[place + 1:]])
        assert f"{line.topic}: {line.name}: as wrong as can be; do: mend it" in words
    told = replace(GOOD_ACCOUNT, **dict.fromkeys(TELLING, Missing(REASON)))
    assert "not armed" in refused(judge_account(told) + judge_venue(GOOD_VENUE))
    broken = replace(GOOD_VENUE, hosts=(Host("clob_url", "https://x", REASON),))
    assert REASON in refused(judge_account(GOOD_ACCOUNT) + judge_venue(broken))


def test_RK05_no_allowance_is_taken_for_granted() -> None:
    """An exchange that the venue's answer leaves out counts as one without allowance."""
    assert isinstance(GOOD_ACCOUNT.money, Money)
    for name, spender in approvals.EXCHANGE_SPENDERS.items():
        allowances = {one: amount for one, amount in GOOD_ACCOUNT.money.allowances_micro.items()
                      if one != spender.lower()}
        facts = replace(GOOD_ACCOUNT, money=Money(1_000_000, allowances))
        assert f"none for {name}" in refused(judge_account(facts) + judge_venue(GOOD_VENUE))
