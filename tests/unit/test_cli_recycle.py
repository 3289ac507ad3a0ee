"""pipeline.cli.recycle: a state directory's plan beside its writers, in words and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.cli.recycle import read_facts, show_plan
from pipeline.codec import CODECS
from pipeline.core.checkpoint import serialise
from pipeline.core.holdings import holdings
from pipeline.core.trader import Trader
from pipeline.errors import EnvironmentProblem, LogCorrupt, UsageError
from pipeline.kinds import Kind, Outcome, Rule, Side, TradeStatus
from pipeline.native.log import LogWriter
from pipeline.store import checkpoints
from pipeline.units import MICRO
from pipeline.venues.polymarket import settle

LOGS = ("stream", "decisions")
V2 = Rule.V2 | Rule.NEG_RISK | Rule.EXCLUSIVE | Rule.TRADABLE
EVENT = bytes([2]) + b"\x44" * 18 + bytes(10)


def market(row: int, rules: int = Rule.TRADABLE, event: int = 0, label: str = "") -> bytes:
    token = EVENT + bytes([0, row, 0]) if rules & Rule.V2 else bytes([row]) * 32
    return CODECS[Kind.INSTRUMENT].pack(
        instrument=row, rules=int(rules), event=event, outcome_index=row - 1, outcome_count=3, venue=1,
        token_yes=token, token_no=token[:31] + b"\1", label=label.encode(),
        condition=token[:31] + b"\0" if rules & Rule.V2 else bytes([0xA0 + row]) * 32)


def intent(order_no: int, row: int, outcome: int, size_micro: int) -> bytes:
    return CODECS[Kind.INTENT].pack(
        order_no=order_no, instrument=row, outcome=outcome, side=Side.BUY, size_micro=size_micro,
        price_ticks=4_000, worst_usd_micro=size_micro)


def fill(order_no: int, row: int, outcome: int, size_micro: int, status: int = TradeStatus.CONFIRMED,
         **changes: Any) -> bytes:
    return CODECS[Kind.FILL].pack(**({
        "order_no": order_no, "instrument": row, "outcome": outcome, "side": Side.BUY, "trade_id":
        bytes([order_no]) * 16, "size_micro": size_micro, "usd_micro": size_micro // 2,
        "status": int(status)} | changes))


class State:
    """A state directory whose logs are still open for writing, as those of a running pipeline are."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "generation").write_text("1")
        self.writers = {}
        for log in LOGS:
            (directory / "logs" / log).mkdir(parents=True)
            self.writers[log] = LogWriter(directory / "logs" / log, log, 128)

    def buy(self, order_no: int, row: int, outcome: int, shares: int,
            status: int = TradeStatus.CONFIRMED) -> None:
        self.write("decisions", intent(order_no, row, outcome, shares * MICRO))
        self.write("stream", fill(order_no, row, outcome, shares * MICRO, status))

    def write(self, log: str, *slots: bytes) -> None:
        for slot in slots:
            assert self.writers[log].push(slot)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path)
    yield made
    made.close()


@pytest.fixture
def mixed(state: State) -> State:
    """A pair, a v2 set of NO, a resolved market, an unconfirmed trade and a YES that stays."""
    state.write("stream", market(1, label="Rain\x07 in May"), *(
        market(row, V2, event=7, label=f"Team {row}") for row in (2, 3)), market(4, label="Done"))
    state.buy(1, 1, Outcome.YES, 30)
    state.buy(2, 1, Outcome.NO, 20)
    state.buy(3, 2, Outcome.NO, 50)
    state.buy(4, 3, Outcome.NO, 40)
    state.buy(5, 4, Outcome.YES, 9)
    state.buy(6, 1, Outcome.NO, 6, TradeStatus.MINED)
    state.write("stream", CODECS[Kind.RESOLVED].pack(instrument=4, payout_micro_yes=MICRO))
    return state


def shown(
    capsys: pytest.CaptureFixture[str], state: State, action: str | None = None, count: int = 20,
) -> str:
    """Return what people see."""
    show_plan(state.directory, True, action, count, False)
    return capsys.readouterr().out


def told(capsys: pytest.CaptureFixture[str], state: State, action: str | None = None) -> dict[str, Any]:
    show_plan(state.directory, True, action, 20, True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_words(capsys, mixed):
    """The table has what frees most first, then why, what it needs, and by reason what stays."""
    lines = shown(capsys, mixed).splitlines()

    assert lines[0].startswith("3 actions would free 69.000000 USD in ")
    assert ["#", "action", "market", "shares", "frees", "USD", "call"] == lines[1].split()
    assert ["1", "convert", "NO", "of", "Team", "2,", "Team", "3", "(event", "7)", "40", "40.000000",
            "convert", "of", "Router,", "then", "1", "more"] == lines[2].split()
    assert lines[3].split() == ["2", "merge", "Rain", "in", "May", "20", "20.000000", "mergePositions", "of",
                                "CtfCollateralAdapter"]
    assert lines[4].split()[:3] == ["3", "redeem", "Done"]
    text = "\n".join(lines[5:])
    assert "needs approval: PositionManager for Router, ConditionalTokens for CtfCollateralAdapter" in text
    assert "nothing was sent" in text
    assert "not confirmed: not yet a balance on chain\n    6 NO Rain in May" in text
    assert "10 YES Rain in May" in text
    assert "10 NO Team 2" in text


def test_json_has_what_would_be_sent(capsys, mixed):
    """Every call is one that the allow-list takes; sums and shares are exact integers."""
    found = told(capsys, mixed)

    assert 69 * MICRO == found["frees_usd_micro"] == sum(one["frees_usd_micro"] for one in found["actions"])
    assert found["is_sent"] is False
    calls = [settle.Call(bytes.fromhex(call["target"][2:]), bytes.fromhex(call["data"][2:]))
             for one in found["actions"] for call in one["calls"]]
    assert [None] * 4 == [settle.refusal_of(call) for call in calls]
    assert settle.merge(b"\xa1" * 32, 20 * MICRO, neg_risk=False) in calls
    assert {(1, "YES", 10 * MICRO), (1, "NO", 6 * MICRO), (2, "NO", 10 * MICRO)} == {
        (one["row"], one["outcome"], one["size_micro"]) for one in found["kept"]}


def test_one_kind_and_a_short_table(capsys, mixed):
    """--action shows that kind alone, with its own total; --count cuts the table and says what is missing."""
    for kind in ("convert", "merge", "redeem"):
        assert [kind] == [one["action"] for one in told(capsys, mixed, kind)["actions"]]
    assert shown(capsys, mixed, "merge").startswith("1 merge action would free 20.000000 USD")
    assert "2 more would free 29.000000 USD: --count 0 shows them" in shown(capsys, mixed, count=1)
    assert "more would free" not in shown(capsys, mixed, count=0)


def test_nothing_to_free(capsys, state):
    """A state without shares says so and what would count; that is no error."""
    state.write("stream", market(1))

    assert "nothing to free in" in shown(capsys, state)
    assert "nothing to merge in" in shown(capsys, state, "merge")


@pytest.mark.parametrize(("is_plan", "action", "words"), [
    (False, None, "give --plan: this version shows what could be done and sends nothing"),
    (True, "burn", "--action is one of merge, convert, redeem, was 'burn'")])
def test_usage(state, is_plan, action, words):
    """Without --plan, and with an unknown action, one line says what to give."""
    with pytest.raises(UsageError, match=words):
        show_plan(state.directory, is_plan, action, 20, False)


def test_no_state(tmp_path):
    """No directory, no run in it, no log in it: exit 4 with what to give."""
    with pytest.raises(EnvironmentProblem, match="does not exist; give --state DIR"):
        show_plan(tmp_path / "nowhere", True, None, 20, False)
    with pytest.raises(EnvironmentProblem, match="holds no run; give --state DIR"):
        show_plan(tmp_path, True, None, 20, False)
    (tmp_path / "generation").write_text("1")
    with pytest.raises(EnvironmentProblem, match="holds no log: nothing ran in"):
        show_plan(tmp_path, True, None, 20, False)
    assert 4 == EnvironmentProblem.exit_code


def test_the_newest_checkpoint_counts(capsys, mixed):
    """Facts come from a checkpoint and the logs after it; a file that is no good is told and passed."""
    facts, position = read_facts(mixed.directory)
    whole = facts.positions.state()
    trader = Trader()
    trader.facts.load(facts.state())
    decided = mixed.writers["decisions"].position
    checkpoints.write(mixed.directory / "checkpoints", serialise(trader, position, decided), decided)
    mixed.buy(7, 1, Outcome.NO, 4)
    again, later = read_facts(mixed.directory)
    assert later == position + 1
    assert (30 * MICRO, 30 * MICRO) == again.positions.shares(1)
    assert whole != again.positions.state()

    (mixed.directory / "checkpoints" / f"{decided + 1:020d}.checkpoint").write_bytes(b"torn")
    read_facts(mixed.directory)
    assert "was not used" in capsys.readouterr().err


def test_damage_is_told(mixed):
    """A damaged record ends with exit 7: a plan on a wrong ledger would be worse than none."""
    mixed.close()
    [path] = [one for one in (mixed.directory / "logs" / "stream").glob("*.log") if one.stat().st_blocks]
    data = bytearray(path.read_bytes())
    at = data.index(fill(3, 2, Outcome.NO, 50 * MICRO)[48:120])
    data[at + 60] ^= 1
    path.write_bytes(data)

    with pytest.raises(LogCorrupt):
        read_facts(mixed.directory)
    assert 7 == LogCorrupt.exit_code


def adopt(state: State, *statuses: int) -> None:
    """Tell a trade of an earlier run's order, in these statuses one after another."""
    state.write("decisions", CODECS[Kind.RECONCILE].pack(request_no=1))
    state.write("stream", market(1), CODECS[Kind.RESUME].pack(from_venue=1), *(
        fill(0, 1, Outcome.YES, 5 * MICRO, status, order_hash=b"\x99" * 32, trade_id=b"\x55" * 16)
        for status in statuses))


def test_an_earlier_runs_trades_wait_too(state):
    """What `--recover-from-venue` took over unconfirmed is held, and not free."""
    adopt(state, TradeStatus.MATCHED, TradeStatus.MINED)
    facts, _ = read_facts(state.directory)

    assert (5 * MICRO, 0) == facts.positions.shares(1)
    assert [(5 * MICRO, 0)] == [one.unsettled_micro for one in holdings(facts)]


def test_an_earlier_runs_confirmed_trades_are_free(state):
    """Once it is confirmed nothing waits, also when that is told after the start took everything over."""
    adopt(state, TradeStatus.MATCHED)
    state.write("stream", CODECS[Kind.RECONCILED].pack(request_no=1, ok=1))
    state.write("stream", fill(
        0, 1, Outcome.YES, 5 * MICRO, TradeStatus.CONFIRMED, order_hash=b"\x99" * 32, trade_id=b"\x55" * 16))
    facts, _ = read_facts(state.directory)

    assert [((5 * MICRO, 0), (0, 0))] == [(one.held_micro, one.unsettled_micro) for one in holdings(facts)]
    assert 0 == facts.quarantine.count
