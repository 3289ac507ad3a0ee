"""PR06: a task or a callback dies where nobody waits for it, or a loop wedges in a process that lives on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.kills import SETTINGS, Kills
from tests.faults.sick.sitecustomize import CASES
from tests.shared import fresh_seed

SEEN_NS_MAX = NS_PER_S
HALT_NS_MAX = 500 * NS_PER_MS  # PR04: halted within this after progress stops
AGAIN_S_MAX = 30.0
pytestmark = pytest.mark.timeout(300)
#: Which lane each case is in; a socket or a question may be in any of several.
LANES = {
    "order answer": "gateway", "stage beside sockets": "account", "stage of the core": "core",
    "stage without sockets": "signer", "wedged beside sockets": "gateway",
    "wedged without sockets": "signer", "wedged core": "core"}
KILLED = "no message; exit code -9"  # our own kill of the core, told behind or before what fell sick


@pytest.fixture
def sick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the directory by which a test says what breaks."""
    found = tmp_path / "sick"
    found.mkdir()
    monkeypatch.setenv("SICK_DIR", str(found))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "sick"))
    return found


@pytest.fixture
def run(sick: Path, tmp_path: Path) -> Iterator[Kills]:
    found = Kills(tmp_path, fresh_seed(), (*SETTINGS, "supervision.stall_kill_s=1"))
    yield found
    found.close()


def test_PR06_silent_deaths(run: Kills, sick: Path, gate_record: Any) -> None:
    """Each is seen within a second, the lane is started again, and the run trades on with its money right."""
    run.warm()
    for case, (*_, is_wedged) in CASES.items():
        before = len(run.events("lane_died"))
        (sick / case).touch()
        if case == "rest task":  # a core that comes up asks the venue for everything
            run.watcher.kill("core")
            before += 1
        done = sick / f"{case}.done"
        run.until(done.exists, AGAIN_S_MAX, case)
        at_ns = int(done.read_text())
        run.until(
            lambda count=before: len(run.events("lane_died")) > count, AGAIN_S_MAX, f"{case}: its lane's end")
        lane = LANES.get(case, "")  # "": a question or a socket of whichever lane came first
        seen = next(
            event for event in run.events("lane_stalled" if is_wedged else "lane_died")
            if event["ts_ns"] > at_ns and event["of"].startswith(lane) and event.get("words") != KILLED)
        assert 0 < seen["ts_ns"] - at_ns <= SEEN_NS_MAX, case
        if is_wedged:
            assert seen["still_ms"] <= HALT_NS_MAX // NS_PER_MS, case
        else:
            assert f"sick: {case}" in seen["words"]
        run.until(run.watcher.is_running, AGAIN_S_MAX, f"{case}: every lane to run")
        run.until(lambda at_ns=at_ns: run.trades_again(at_ns), AGAIN_S_MAX, f"{case}: an order")

    verdict = run.finish(is_patient=False)
    assert 0 == verdict.exit_code, "\n".join(verdict.problems)
    gate_record("PR06", "cases", len(CASES), run.run.seed)
