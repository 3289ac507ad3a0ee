"""PR05: the supervisor dies, and no order leaves any more; a lane that keeps dying latches a halt."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.kinds import HaltLevel
from pipeline.shm import halt
from pipeline.units import NS_PER_S
from tests.cli_runs import pm, processes_of, segments_of
from tests.faults.kills import NAME, SETTINGS, Kills
from tests.shared import fresh_seed, wait_until
from tests.tools.faultrows import figure

DEATHS = figure("PR05", "supervisor_deaths")
LOOPS = figure("PR05", "crash_loops")
LEASE_NS_MAX = NS_PER_S  # supervision.lease_ms_max
TRAVEL_NS_MAX = NS_PER_S  # what left before may still arrive, on a machine that everybody shares
END_S_MAX = 10.0
DEATHS_IN_A_ROW = 3
pytestmark = pytest.mark.timeout(180)
FEW_RESTARTS = tuple(word for word in SETTINGS if "restarts_max" not in word)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Kills]]:
    """Start runs one after the other, each on an exchange of its own; whatever still runs is ended."""
    runs: list[Kills] = []

    def begin(*settings: str) -> Kills:
        for run in runs:
            run.close()
        runs.append(Kills(tmp_path / str(len(runs)), fresh_seed(), settings or SETTINGS))
        runs[-1].warm()
        return runs[-1]

    yield begin
    for run in runs:
        run.close()


@pytest.mark.parametrize("number", range(DEATHS))
def test_PR05_supervisor_dies(start: Callable[..., Kills], number: int, gate_record: Any) -> None:
    """Lanes without a supervisor send nothing after their lease, and end; the next start sweeps memory."""
    run = start()
    assert run.pipeline is not None
    frozen = run.watcher.lane_of("gateway").name  # one that cannot see it at once must not send later
    run.watcher.freeze(frozen)
    run.pipeline.process.send_signal(signal.SIGKILL)
    run.pipeline.process.wait()
    died_ns = run.watcher.clock()
    wait_until(lambda: run.watcher.clock() > died_ns + LEASE_NS_MAX, 5.0, "the lease to run out")
    run.watcher.thaw(frozen)
    wait_until(lambda: not processes_of(run.state), END_S_MAX, "every lane to end")
    late_ns = died_ns + LEASE_NS_MAX + TRAVEL_NS_MAX
    assert [] == [row["order_id"] for row in run.market.arrivals() if row["now_ns"] > late_ns], number
    assert segments_of(NAME, run.state)  # nobody was left to give them back
    run.begin_again()
    run.warm()
    assert run.watcher.spec.generation == 2
    assert not [name for name in segments_of(NAME, run.state) if "-1-" in name]
    gate_record("PR05", "supervisor_deaths", 1, run.run.seed)


@pytest.mark.parametrize("number", range(LOOPS))
def test_PR05_crash_loop(start: Callable[..., Kills], number: int, gate_record: Any) -> None:
    """Three deaths in a minute: H3 latches, with a restart of everything, until an operator resumes."""
    run = start(*FEW_RESTARTS, "supervision.restart_pause_s=1")
    for death in range(DEATHS_IN_A_ROW):
        run.until(run.watcher.is_running, END_S_MAX * 3, f"the lane before death {death + 1}")
        assert HaltLevel.H3 > halt.effective(run.state)[0], (number, death)
        run.watcher.kill("gateway")
    run.until(lambda: halt.effective(run.state)[0] >= HaltLevel.H3, END_S_MAX, "the latched halt")
    entries = halt.effective(run.state)[1]
    assert ("supervisor", HaltLevel.H3) == (entries[0].owner, entries[0].level)
    assert "gateway died 3 times" in entries[0].reason
    run.until(run.watcher.is_running, END_S_MAX * 3, "the lanes to run again, halted")
    run.begin_again()
    assert run.pipeline is not None
    assert "H3" == run.pipeline.up["halt"]
    arrived = len(run.market.arrivals())
    resumed = pm("resume", "--reason", "mended", "--state", run.state)
    assert (0, "") == (resumed.returncode, resumed.stderr)
    run.until(lambda: len(run.market.arrivals()) > arrived, END_S_MAX * 3, "an order again")
    gate_record("PR05", "crash_loops", 1, run.run.seed)
