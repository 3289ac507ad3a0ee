"""The conditions of trading: each line's verdict follows from its facts alone, and says the way out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.run import conditions
from pipeline.run.conditions import Line, Verdict, judge_account, judge_venue
from pipeline.run.facts import Clock, Fees, Host, Missing
from pipeline.run.keywork import KeyWork
from pipeline.venues.polymarket import approvals
from pipeline.venues.polymarket.health import Geo, Money, Rate
from pipeline.venues.polymarket.identity import address_bytes, checksum, safe_wallet
from tests.trading_facts import GOOD_ACCOUNT, GOOD_VENUE, OWNER, STRANGER

SECOND, MS = 10**9, 10**6
NOT_TOLD = Missing("no connection (connection refused)", 5)


def line_of(lines: list[Line], name: str) -> Line:
    return next(line for line in lines if line.name == name)


def test_good_facts_are_all_ok() -> None:
    """Nothing is to be done where everything holds: no warning, exit 0."""
    lines = judge_account(GOOD_ACCOUNT) + judge_venue(GOOD_VENUE)
    assert {Verdict.OK} == {line.verdict for line in lines}, lines
    assert 0 == conditions.exit_code(lines)
    assert len({(line.topic, line.name) for line in lines}) == len(lines)


VENUE_CASES: list[tuple[dict[str, Any], str, Verdict, int, str]] = [
    ({"hosts": (Host("clob_url", "https://x", "its name has no address"),)}, "hosts", Verdict.FAIL, 5,
     "clob_url https://x: its name has no address"),
    ({"clock": Clock(249 * MS, MS)}, "clock", Verdict.OK, 0, "+249 ms"),
    ({"clock": Clock(-250 * MS, MS)}, "clock", Verdict.WARN, 0, "-250 ms"),
    ({"clock": Clock(999 * MS, MS)}, "clock", Verdict.WARN, 0, "+999 ms"),
    ({"clock": Clock(-SECOND, MS)}, "clock", Verdict.FAIL, 4, "halt H1"),
    ({"clock": Clock(5 * SECOND, MS)}, "clock", Verdict.FAIL, 4, "halt H3"),
    ({"version": 3}, "version", Verdict.FAIL, 5, "3, expected 2"),
    ({"geo": Geo(True, "GB", "ENG")}, "geo", Verdict.FAIL, 5, "blocked in GB-ENG"),
    ({"events": 0}, "gamma", Verdict.FAIL, 5, "no open event"),
    ({"fees": Fees(0)}, "fees", Verdict.FAIL, 3, "no market"),
    ({"fees": Fees(3, ("a", "b", "c"))}, "fees", Verdict.FAIL, 5, "unknown in all 3"),
    ({"fees": Fees(3, ("a",))}, "fees", Verdict.WARN, 0, "unknown in 1 of 3 markets (a)"),
    *(({field: NOT_TOLD}, name, Verdict.FAIL, 5, "connection refused") for field, name in (
        ("clock", "clock"), ("version", "version"), ("geo", "geo"), ("events", "gamma"), ("fees", "fees"))),
]


@pytest.mark.parametrize(("change", "name", "verdict", "code", "words"), VENUE_CASES)
def test_venue(change: dict[str, Any], name: str, verdict: Verdict, code: int, words: str) -> None:
    """One fact changed changes its own line and no other."""
    lines = judge_venue(replace(GOOD_VENUE, **change))
    line = line_of(lines, name)
    assert (verdict, code) == (line.verdict, line.exit_code), line
    assert words in line.found
    assert bool(line.fix) == (verdict != Verdict.OK)
    assert [name] * (verdict != Verdict.OK) == [one.name for one in lines if one.verdict != Verdict.OK]


_SAFE = checksum(safe_wallet(address_bytes(OWNER)))
_FULL = GOOD_ACCOUNT.money
assert isinstance(_FULL, Money)
_NEED = dict.fromkeys((*approvals.TRADING, *approvals.SETTLING), True)
_LEGACY = "0xd91e80cf2e7be2e162c6513ced06f1dd0da35296"
ACCOUNT_CASES: list[tuple[dict[str, Any], str, Verdict, int, str]] = [
    ({"key": KeyWork(STRANGER)}, "key", Verdict.FAIL, 3, f"is the key of {STRANGER}"),
    ({"key": Missing("key file is open to others", 4)}, "key", Verdict.FAIL, 4, "open to others"),
    ({"maker": _SAFE}, "wallet", Verdict.FAIL, 3, "maker is the key's Safe, signature_type is 0"),
    ({"maker": STRANGER}, "wallet", Verdict.FAIL, 3, "no wallet of"),
    ({"dry_signers": (OWNER, STRANGER, OWNER)}, "dry order", Verdict.FAIL, 4, STRANGER),
    ({"dry_signers": ()}, "dry order", Verdict.FAIL, 4, "nothing"),
    ({"dry_signers": ("",)}, "dry order", Verdict.FAIL, 4, "expected"),
    ({"api_key": False}, "api key", Verdict.FAIL, 5, "does not take"),
    ({"closed_only": True}, "closed-only", Verdict.FAIL, 5, "only close"),
    ({"money": Money(0, _FULL.allowances_micro)}, "balance", Verdict.WARN, 0, "0 pUSD"),
    ({"money": Money(5, {})}, "allowances", Verdict.FAIL, 5, "none for CTFExchangeV2, NegRiskExchangeV2"),
    ({"money": Money(5, {**_FULL.allowances_micro, _LEGACY: 0})}, "allowances", Verdict.FAIL, 5, _LEGACY),
    ({"money": Money(5, {**_FULL.allowances_micro, _LEGACY: 4})}, "allowances", Verdict.WARN, 0, _LEGACY),
    ({"approvals": {**_NEED, next(iter(approvals.TRADING)): False}}, "approvals", Verdict.FAIL, 5,
     "pUSD to CTFExchangeV2"),
    ({"approvals": dict.fromkeys(approvals.TRADING, True)}, "approvals", Verdict.WARN, 0,
     "CtfCollateralAdapter"),
    ({"approvals": NOT_TOLD}, "approvals", Verdict.WARN, 0, "connection refused"),
    ({"refreshed": NOT_TOLD}, "cache", Verdict.WARN, 0, "connection refused"),
    ({"rate": Rate("Standard", 80, ""), "orders_per_s": 41}, "rate", Verdict.FAIL, 3, "40 orders/s"),
    ({"rate": Rate("Uranium", 80, "")}, "rate", Verdict.WARN, 0, "Uranium"),
    ({"rate": NOT_TOLD}, "rate", Verdict.WARN, 0, "connection refused"),
    ({"foreign_orders": ("0x" + "ab" * 32,), "open_orders": 3}, "foreign orders", Verdict.WARN, 0, "1 of 3"),
    *(({field: NOT_TOLD}, name, Verdict.FAIL, 5, "connection refused") for field, name in (
        ("key", "key"), ("dry_signers", "dry order"), ("api_key", "api key"), ("closed_only", "closed-only"),
        ("foreign_orders", "foreign orders"))),
]


@pytest.mark.parametrize(("change", "name", "verdict", "code", "words"), ACCOUNT_CASES)
def test_wallet(change: dict[str, Any], name: str, verdict: Verdict, code: int, words: str) -> None:
    """One fact changed changes its own line and no other."""
    lines = judge_account(replace(GOOD_ACCOUNT, **change))
    line = line_of(lines, name)
    assert (verdict, code) == (line.verdict, line.exit_code), line
    assert words in line.found
    assert bool(line.fix) == (verdict != Verdict.OK)
    assert [name] * (verdict != Verdict.OK) == [one.name for one in lines if one.verdict != Verdict.OK]


def test_unknown_money_fails_both_of_its_lines() -> None:
    """Neither balance nor allowances are guessed."""
    lines = judge_account(replace(GOOD_ACCOUNT, money=NOT_TOLD))
    assert ["balance", "allowances"] == [line.name for line in lines if line.verdict == Verdict.FAIL]


def test_the_first_failure_gives_the_exit_code() -> None:
    """A wrong key file (4) comes before the venue's refusal (5), which it causes."""
    facts = replace(GOOD_ACCOUNT, key=Missing("no file", 4), api_key=False)
    assert 4 == conditions.exit_code(judge_account(facts))
    assert 5 == conditions.exit_code(judge_account(replace(facts, key=GOOD_ACCOUNT.key)))
