"""A pipeline that is stopped and started again: it goes on where its logs end, or where the venue is.

Real processes and sockets against the local exchange; its double-entry ledger is the truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.trader import Trader
from pipeline.native.crc import checksum
from pipeline.run import startpoint, wiring
from pipeline.store import checkpoints
from tests.cli_runs import Market, Run, one_line, pm, processes_of, segments_of, until

NAME = "restartrun"
ORDERS = 12
LAYOUT_AT, CHECK_AT = 8, 48  # of a segment's header: native/segments.pyx


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    found = Market(tmp_path, NAME)
    yield found
    found.close()
    until(lambda: not processes_of(tmp_path), "every process to end")


def traded(market: Market, *arguments: object, orders: int = ORDERS) -> dict[str, Any]:
    """Run until so many more orders arrived, then stop it; return what it said when it was up."""
    before = len(market.arrivals())
    run = Run(market.config, "--mode", "local", *arguments)
    try:
        until(lambda: len(market.arrivals()) >= before + orders, f"{orders} orders")
    finally:
        code, _, errors = run.stop()
    assert (0, "") == (code, errors)
    assert [] == segments_of(NAME, market.state)
    assert [] == [pid for pid in processes_of(market.state) if pid != market.exchange.pid]
    return run.up


def knowledge(market: Market) -> tuple[Trader, startpoint.StartPoint]:
    """Return what trade knows at the end of the logs, as a start would."""
    logs = market.state / "logs"
    at = startpoint.find(logs, 65_536, 1, 1, from_venue=False)
    return checkpoints.recovered(market.state / "checkpoints", logs, at.stream, at.decisions), at


def positions(trader: Trader) -> dict[str, int]:
    """Return shares by token id, without zeros."""
    held = {}
    for row, instrument in trader.facts.instruments.rows.items():
        for outcome, token in enumerate((instrument.token_yes, instrument.token_no)):
            if size := trader.facts.positions.held(row, outcome):
                held[str(int.from_bytes(token, "big"))] = size
    return held


def at_the_exchange(market: Market) -> dict[str, int]:
    """Return the account's shares by token id."""
    report = market.exchange.control("GET", "/control/report")
    owner = market.exchange.account()["address"].lower()
    found: dict[str, int] = next(
        row["positions"] for row in report["accounts"] if row["owner"].lower() == owner)
    return found


def order_numbers(market: Market) -> list[int]:
    done = pm("inspect", market.state / "logs" / "decisions", "--kind", "intent", "--count", 0, "--json")
    return [json.loads(line)["order_no"] for line in done.stdout.splitlines()]


def test_a_restart_goes_on_where_the_logs_end(market: Market) -> None:
    """Nothing is open after a stop; the next run knows every fill, never uses a number twice, and replays."""
    traded(market)
    trader, first = knowledge(market)
    assert 0 == trader.facts.orders.open_count
    assert at_the_exchange(market) == positions(trader)
    numbers = order_numbers(market)
    assert len(numbers) >= ORDERS

    traded(market)
    again, second = knowledge(market)
    assert second.stream > first.stream
    assert second.decisions > first.decisions
    assert at_the_exchange(market) == positions(again)
    later = order_numbers(market)
    assert numbers == later[: len(numbers)]
    assert list(range(1, len(later) + 1)) == later

    resumes = pm("inspect", market.state / "logs" / "stream", "--kind", "resume", "--count", 0, "--json")
    told = [json.loads(line) for line in resumes.stdout.splitlines()]
    assert [0, first.stream] == [one["live_seq"] for one in told]
    assert [0, first.decisions] == [one["decisions_seq"] for one in told]
    replayed = pm("replay", market.state, "--json", timeout_s=120)
    assert (0, "") == (replayed.returncode, replayed.stderr)


def of_an_older_layout(directory: Path) -> None:
    """Let every segment of a log look as if a build with other records had written it."""
    for path in directory.glob("*.log"):
        with open(path, "r+b") as file:
            header = bytearray(file.read(CHECK_AT))
            header[LAYOUT_AT : LAYOUT_AT + 8] = b"older  1"
            file.seek(0)
            file.write(header + checksum(bytes(header)).to_bytes(8, "little"))


def test_logs_of_an_older_layout_are_refused_and_the_venue_knows(market: Market) -> None:
    """One line with the command that helps; with it, positions come from the venue and trading goes on."""
    traded(market)
    held = at_the_exchange(market)
    assert held
    for log in wiring.LOGS:
        of_an_older_layout(market.state / "logs" / log)
    before = {path: path.read_bytes()[:64] for path in sorted((market.state / "logs").rglob("*.log"))}

    refused = pm("run", "--config", market.config, "--mode", "local")
    line = one_line(refused)
    assert 7 == refused.returncode
    assert "layout" in line
    assert "pm run --recover-from-venue" in line
    assert before == {path: path.read_bytes()[:64] for path in before}
    assert [] == segments_of(NAME, market.state)

    traded(market, "--recover-from-venue", orders=3)
    trader, _ = knowledge(market)
    assert at_the_exchange(market) == positions(trader)
    assert 0 == trader.facts.orders.open_count
    kept = sorted((market.state / "old").rglob("*.log"))
    assert len(before) == len(kept)
