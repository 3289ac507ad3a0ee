"""pm run, status, halt, resume and explain as real processes against a local exchange that trades."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.units import NS_PER_MS, NS_PER_S
from tests.cli_runs import Market, Run, command, one_line, pm, processes_of, segments_of, until

pytestmark = pytest.mark.timeout(180)
NAME = "clirun"
SOME_BOOKS = 20  # of 36: a few events whole, others not at all
KILL_NS_MAX = 50 * NS_PER_MS  # faults.md, T_KILL: our last byte of a new order after a halt
TRAVEL_NS_MAX = NS_PER_S  # what left before may still arrive, on a machine that everybody shares


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("market"), NAME)
    yield found
    found.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def start(market: Market, state: Path) -> Iterator[Any]:
    """Start `pm run` on this test's own state directory; whatever still runs is ended."""
    started: list[Run] = []

    def begin(*arguments: object) -> Run:
        started.append(Run(market.config, "--set", f"state_dir={state}", *arguments))
        return started[-1]

    yield begin
    for run in started:
        run.stop()
    until(lambda: not processes_of(state), "every lane to end")


def status(state: Path) -> dict[str, Any]:
    done = pm("status", "--state", state, "--json")
    assert (0, "") == (done.returncode, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def orders(state: Path) -> int:
    """Return how many orders the run's own summary counts."""
    return int(status(state)["summary"].get("orders", 0))


def nothing_left(state: Path) -> bool:
    return not processes_of(state) and not segments_of(NAME, state)


def test_dry_run_decides_and_sends_nothing(market: Market, start: Any, state: Path) -> None:
    """Without --mode it is a dry run: packages and DRY reports, no order leaves; Ctrl-C is exit 0.

    From here on the exchange's REST shows ghosts (MD10): they are counted, and no book falls for them.
    """
    market.exchange.control(
        "POST", "/control/fault", {"name": "ghosts", "kind": "ghost_books", "dated": "now"})
    before = len(market.arrivals())
    run = start()
    assert ("dry", str(state), "H0") == (run.up["mode"], run.up["state"], run.up["halt"])
    found = until(
        lambda: (now := status(state))["summary"].get("orders_by_state", {}).get("dry") and now, "a package"
    )
    assert found["is_running"]
    assert {"running"} == {lane["is"] for lane in found["lanes"]}
    assert all([lane["cpu_wanted"]] == lane["cpus"] for lane in found["lanes"])
    assert any("mode dry" in line for line in found["why_nothing"])
    counters = until(
        lambda: (now := status(state)["counters"]).get("book_samples_ghost", 0) >= 10 and now, "ten ghosts")
    assert 0 == counters["book_samples_ahead"] == counters.get("book_stale_sample_differs", 0)
    assert counters["samples"] >= counters["book_samples_ghost"]
    code, said, errors = run.stop(signal.SIGINT)
    assert (0, "", "SIGINT") == (code, errors, json.loads(said)["signal"])
    assert len(market.arrivals()) == before
    assert nothing_left(state)
    after = status(state)
    assert not after["is_running"]
    assert after["summary"]["packages"] >= found["summary"]["packages"] > 0
    assert after["counters"]["frames"] >= found["counters"]["frames"] > 0
    assert any("nothing runs" in line for line in after["why_nothing"])


def test_halt_stops_orders_latches_and_resumes(market: Market, start: Any, state: Path) -> None:
    """After pm halt no new order leaves, also not after a restart; pm resume trades again.

    Both runs see a part of the markets: for a state without logs, as that of the next test, what was bought
    here is foreign, and its markets stay closed.
    """
    some = ("--set", f"universe.instruments_max={SOME_BOOKS}")
    run = start("--mode", "local", *some)
    until(lambda: orders(state) >= 5, "five orders")
    halted = json.loads(pm("halt", "looks wrong", "--state", state, "--json").stdout)
    assert ("H3", "operator", "looks wrong") == (
        halted["level"],
        halted["owners"][0]["owner"],
        halted["owners"][0]["reason"],
    )
    halted_ns = halted["owners"][0]["since_ns"]
    plants = market.exchange.control("GET", "/control/status")["plants"]
    until(
        lambda: market.exchange.control("GET", "/control/status")["plants"] >= plants + 4,
        "four more opportunities",
    )
    until(lambda: status(state)["summary"]["refused"].get("halted"), "a veto by the halt")
    found = status(state)
    assert "halted H3 by operator: looks wrong" == found["why_nothing"][0]
    assert [] == [row for row in market.arrivals() if row["now_ns"] > halted_ns + TRAVEL_NS_MAX]
    assert [] == sent_after(state, halted_ns + KILL_NS_MAX)
    assert 0 == run.stop()[0]

    again = start("--mode", "local", *some)
    assert "H3" == again.up["halt"]
    arrived = len(market.arrivals())
    plants = market.exchange.control("GET", "/control/status")["plants"]
    until(
        lambda: market.exchange.control("GET", "/control/status")["plants"] >= plants + 4,
        "four more opportunities",
    )
    assert arrived == len(market.arrivals())
    resumed = pm("resume", "--reason", "it was a drill", "--state", state)
    assert (0, "") == (resumed.returncode, resumed.stderr)
    assert "H0: nothing is forbidden" in resumed.stdout
    until(lambda: len(market.arrivals()) > arrived, "an order after the resume")
    assert 0 == again.stop()[0]
    assert nothing_left(state)


def sent_after(state: Path, ns: int) -> list[dict[str, Any]]:
    """Return the reports of orders whose first byte left after this time."""
    done = pm("inspect", state / "logs" / "stream", "--kind", "report", "--count", 0, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert any("SENT" == row["state"] for row in found)
    return [row for row in found if "SENT" == row["state"] and row["recv_ns"] > ns]


def test_explain_tells_what_the_exchange_knows(market: Market, start: Any, state: Path) -> None:
    """Orders, fills and fees of a package are those in the exchange's own report; ids lead to one story."""
    run = start("--mode", "local")
    until(
        lambda: status(state)["summary"].get("orders_by_state", {}).get("matched", 0) >= 8,
        "eight matched orders",
    )
    plan = json.loads(pm("recycle", "--plan", "--state", state, "--json").stdout)  # beside the running lanes
    assert run.process.poll() is None
    assert plan["as_of_ns"] > 0
    assert [] == [one for one in plan["kept"] if "its question on chain is not known" in one["why"]]
    assert 0 < sum(one["size_micro"] for one in plan["kept"] + plan["actions"])
    assert 0 == run.stop()[0]
    story = json.loads(pm("explain", "g1", "--state", state, "--json").stdout)
    report = market.exchange.control("GET", "/control/report")
    by_hash = {row["order_id"].removeprefix("0x"): row for row in report["orders"]}
    hashes = {
        event["order_no"]: event["order_hash"]
        for event in story["events"]
        if any(event["order_hash"].strip("0"))
    }
    theirs = [by_hash[hashes[order["order_no"]]] for order in story["orders"] if order["order_no"] in hashes]
    assert len(theirs) == story["package"]["order_count"] >= 2
    assert sum(row["usd_micro"] for row in theirs) == story["result"]["spent_usd_micro"] > 0
    assert sum(row["fee_micro"] for row in theirs) == story["result"]["fees_usd_micro"]
    assert [row["matched_micro"] for row in theirs] == story["result"]["filled_by_leg"]
    assert all(
        row["price_ticks"] == order["price_ticks"] for row, order in zip(theirs, story["orders"], strict=True)
    )
    sent_ns = min(event["recv_ns"] for event in story["events"])
    assert 0 < sent_ns - story["cause_ns"] < NS_PER_S
    assert story["cause"]["seq"] == story["package"]["cause_seq"]

    words = pm("explain", "1", "--state", state).stdout
    assert words == pm("explain", f"o{story['orders'][-1]['order_no']}", "--state", state).stdout
    assert words == pm("explain", f"i{story['package']['idea_no']}", "--state", state).stdout
    assert words.startswith("cause      stream record")
    assert "taken: every rule passed" in words
    missing = pm("explain", "g999999", "--state", state)
    assert 2 == missing.returncode
    assert "the logs hold g1 to g" in one_line(missing)


def test_status_disturbs_nothing(market: Market, start: Any, state: Path) -> None:
    """Attaching and leaving again and again keeps every segment (same inode) and the run."""
    run = start()
    before = {name: os.stat(f"/dev/shm/{name}").st_ino for name in segments_of(NAME, state)}
    frames = [status(state)["counters"].get("frames", 0) for _ in range(3)]
    assert before == {name: os.stat(f"/dev/shm/{name}").st_ino for name in segments_of(NAME, state)}
    assert "status.core" in "".join(before)
    until(lambda: status(state)["counters"].get("frames", 0) > frames[-1], "more frames")
    text = pm("status", "--state", state.parent).stdout  # the folder right above will do
    assert text.startswith("running: run 1 of ")
    assert run.process.poll() is None


def test_second_instance_is_refused(market: Market, start: Any, state: Path) -> None:
    """A second run on one state directory ends with exit 4 and one line; the first does not notice."""
    run = start()
    before = segments_of(NAME, state)
    second = pm("run", "--config", market.config, "--set", f"state_dir={state}")
    assert 4 == second.returncode
    assert "another run uses" in one_line(second)
    assert before == segments_of(NAME, state)
    assert run.process.poll() is None
    assert 0 == run.stop()[0]


def test_two_runs_of_one_name_do_not_meet(market: Market, start: Any, state: Path) -> None:
    """One name with two state directories is two runs; the start of one keeps the other's memory."""
    run = start()
    other = start("--set", f"state_dir={state / 'other'}")
    assert 0 == other.stop()[0]
    frames = status(state)["counters"].get("frames", 0)
    until(lambda: status(state)["counters"].get("frames", 0) > frames, "the first run to go on")
    assert 0 == run.stop()[0]
    assert nothing_left(state)


def test_h4_stops_and_keeps_stopped(market: Market, start: Any, state: Path) -> None:
    """H4 ends a running pipeline (exit 6) and forbids the next start until it is resumed."""
    run = start()
    assert 0 == pm("halt", "enough", "--level", "H4", "--state", state).returncode
    assert 6 == run.process.wait(20)
    assert "halted H4 by operator (enough)" in run.process.communicate()[1]
    again = pm("run", "--config", market.config, "--set", f"state_dir={state}")
    assert 6 == again.returncode
    assert "pm resume" in one_line(again)
    assert 0 == pm("resume", "--reason", "better", "--state", state).returncode
    assert 0 == start().stop()[0]


def test_stop_during_the_start_leaves_nothing(market: Market, state: Path) -> None:
    """SIGTERM at any moment of the start ends it cleanly."""
    for delay_s in (0.3, 0.6, 0.9):
        process = subprocess.Popen(
            command("run", "--config", market.config, "--set", f"state_dir={state}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun = time.monotonic()
        until(lambda begun=begun, delay_s=delay_s: time.monotonic() - begun > delay_s, "the moment")
        process.terminate()
        _, errors = process.communicate(timeout=30)
        assert process.returncode in (0, 143)  # 143: even before the command had begun
        assert "Traceback" not in errors
        assert nothing_left(state)
