"""pipeline.cli.story: what came of a package, from hand-made logs with the odd cases a venue sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.explain import parse_ident, words_of
from pipeline.cli.story import read_story
from pipeline.codec import CODECS
from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.kinds import Cause, Kind, OrderState, Origin, Outcome, Side, TradeStatus
from pipeline.native.log import LogWriter
from pipeline.units import MICRO

T0 = 1_700_000_000_000_000_000
HASH = bytes(range(32))


def run(*slots: bytes) -> bytes:
    """Return the slots as one run."""
    made = bytearray(b"".join(slots))
    for part in range(len(slots)):
        made[256 * part + 42], made[256 * part + 43] = part, len(slots)
    return bytes(made)


def log(directory: Path, *runs: bytes) -> None:
    directory.mkdir(parents=True)
    writer = LogWriter(directory, directory.name, 128)
    for one in runs:
        assert writer.push(one)
    writer.close()


def package(**changes: Any) -> bytes:
    fields = {
        "group_no": 1,
        "idea_no": 3,
        "basket": 9,
        "payout_usd_micro": 10 * MICRO,
        "cost_usd_micro": 9 * MICRO,
        "fee_usd_micro": 100,
        "size_micro": 10 * MICRO,
        "cause_seq": 2,
        "leg_count": 2,
        "order_count": 2,
        "now_ns": T0 + 5,
    }
    return CODECS[Kind.PACKAGE].pack(**(fields | changes))


def intent(order_no: int, leg_no: int, group_no: int = 1) -> bytes:
    return CODECS[Kind.INTENT].pack(
        order_no=order_no,
        group_no=group_no,
        leg_no=leg_no,
        instrument=10 + leg_no,
        size_micro=10 * MICRO,
        price_ticks=4500,
        outcome=Outcome.YES,
        side=Side.BUY,
    )


def report(order_no: int, state: OrderState, at_us: int, **changes: Any) -> bytes:
    return CODECS[Kind.REPORT].pack(
        **(
            {
                "order_no": order_no,
                "state": int(state),
                "origin": int(Origin.GATEWAY),
                "recv_ns": T0 + at_us * 1000,
            }
            | changes
        )
    )


def fill(order_no: int, trade: int, size: int, usd: int, **changes: Any) -> bytes:
    return CODECS[Kind.FILL].pack(
        **(
            {
                "order_no": order_no,
                "trade_id": bytes([trade]) * 16,
                "size_micro": size * MICRO,
                "usd_micro": usd,
                "fee_usd_micro": 10,
                "instrument": 10 + order_no - 5,
                "side": Side.BUY,
                "recv_ns": T0 + 900_000,
            }
            | changes
        )
    )


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Give logs of a package of orders 5 and 6 with a resolved market and a refused idea before it."""
    verdict = CODECS[Kind.VERDICT].pack(
        idea_no=2, basket=9, cause=Cause.LIMIT_DAY, value=7, limit=5, cause_seq=1, count=4, now_ns=T0
    )
    other = CODECS[Kind.VERDICT].pack(
        idea_no=1, basket=8, cause=Cause.HALTED, cause_seq=1, count=1, now_ns=T0
    )
    log(
        tmp_path / "decisions",
        other,
        verdict,
        run(package(), intent(5, 0), intent(6, 1)),
        run(package(), intent(5, 0), intent(6, 1)),
    )  # a restart over the same log decides once more
    label = b"\x1b[31mRed\x1b[0m"
    log(
        tmp_path / "stream",
        CODECS[Kind.INSTRUMENT].pack(instrument=10, label=label),
        CODECS[Kind.TICK].pack(now_ns=T0 - 7),
        CODECS[Kind.DELTA].pack(instrument=10, recv_ns=T0, now_ns=T0 + 40_000, venue_ns=T0 - 9),
        report(5, OrderState.SENT, 300, order_hash=HASH),
        report(6, OrderState.SENT, 301),
        report(
            0, OrderState.MATCHED, 800, order_hash=HASH, origin=int(Origin.USER_CHANNEL), text=b"ok\x1b[2J"
        ),
        report(77, OrderState.SENT, 305),
        fill(5, 1, 10, 4_500_000),
        fill(5, 1, 10, 4_500_000, status=TradeStatus.CONFIRMED, recv_ns=T0 + 10**9),
        fill(5, 1, 10, 4_500_000, status=TradeStatus.CONFIRMED, recv_ns=T0 + 2 * 10**9),
        fill(6, 2, 4, 1_800_000),
        fill(6, 3, 6, 2_700_000),
        fill(77, 9, 1, 1),
        fill(6, 3, 6, 2_700_000, status=TradeStatus.FAILED, recv_ns=T0 + 10**9),
    )
    return tmp_path


def test_package_is_told_in_order(logs: Path) -> None:
    """Cause, refusals of its basket, its intents once, its own events by time, hash-only reports included."""
    story = read_story(logs, "g", 1)
    assert story.cause is not None
    assert ("DELTA", 2, T0) == (story.cause["kind"], story.cause["seq"], story.cause_ns)
    assert [(2, int(Cause.LIMIT_DAY))] == [(one["idea_no"], one["cause"]) for one in story.verdicts]
    assert [5, 6] == [order["order_no"] for order in story.orders]
    assert [("REPORT", 5), ("REPORT", 6), ("REPORT", 5)] == [
        (event["kind"], event["order_no"]) for event in story.events[:3]
    ]
    assert 8 == len(story.events)  # three reports, five different states of fills
    assert {10} == set(story.markets)


def test_a_failed_trade_does_not_count(logs: Path) -> None:
    """Leg 1 holds 4 of 10 shares after its second trade failed: 4 sets are sure, fees of two trades."""
    result = read_story(logs, "g", 1).result
    assert ([10 * MICRO, 4 * MICRO], 6_300_000, 20, 4 * MICRO, False, None) == tuple(
        result[name]
        for name in (
            "filled_by_leg",
            "spent_usd_micro",
            "fees_usd_micro",
            "guaranteed_usd_micro",
            "is_whole",
            "payout_usd_micro",
        )
    )


def test_resolution_gives_the_final_result(logs: Path) -> None:
    """With both markets resolved, the payout is what the held tokens pay."""
    writer = LogWriter(logs / "stream", "stream", 128)
    for row, yes in ((10, MICRO), (11, 0)):
        writer.push(
            CODECS[Kind.RESOLVED].pack(instrument=row, payout_micro_yes=yes, payout_micro_no=MICRO - yes)
        )
    writer.close()
    story = read_story(logs, "o", 6)
    assert 10 * MICRO == story.result["payout_usd_micro"]
    assert "every market resolved: paid 10.000000 USD, result 3.699980 USD" in words_of(story)[-1]


def test_words_carry_no_terminal_commands(logs: Path) -> None:
    """Labels and the venue's text cannot reach the terminal's escape codes."""
    text = "\n".join(words_of(read_story(logs, "g", 1)))
    assert "\x1b" not in text
    assert "delta of [31mRed[0m" in text
    assert "+300.0 us o5 sent, says gateway" in text


def test_refused_idea_has_its_verdict(logs: Path) -> None:
    """i2 became no package: its story is the rule, the value and the limit."""
    story = read_story(logs, "i", 2)
    assert story.package is None
    assert "idea i2 refused: limit_day (value 7, limit 5), 4 times" in words_of(story)[-1]
    assert 1 == read_story(logs, "i", 3).package["group_no"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("sort", "number", "words"),
    [
        ("g", 2, "the logs hold g1 to g1"),
        ("o", 4, "the logs hold o5 to o6"),
        ("i", 99, "the logs hold i1 to i3"),
    ],
)
def test_unknown_number_names_the_range(logs: Path, sort: str, number: int, words: str) -> None:
    """A wrong id says which exist."""
    with pytest.raises(UsageError, match=words):
        read_story(logs, sort, number)


def test_missing_logs_are_said(tmp_path: Path) -> None:
    """No logs: the environment's problem, with the option to give."""
    with pytest.raises(EnvironmentProblem, match="--state DIR"):
        read_story(tmp_path, "g", 1)


@pytest.mark.parametrize(
    ("text", "expected"), [("g12", ("g", 12)), ("12", ("g", 12)), ("I3", ("i", 3)), (" o7 ", ("o", 7))]
)
def test_ident_is_read(text: str, expected: tuple[str, int]) -> None:
    """A bare number is a package."""
    assert expected == parse_ident(text)


@pytest.mark.parametrize("text", ["", "g", "x1", "g-1", "g1.5", "g" + "9" * 40, "g\u0663"])
def test_ident_is_refused(text: str) -> None:
    """Anything else is a usage error."""
    with pytest.raises(UsageError, match="expected g12"):
        parse_ident(text)
