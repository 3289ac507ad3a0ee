"""JR03: fsync of a log fails, or hangs: an error is final for its file, and no order waits for a disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.kinds import HaltLevel
from pipeline.store.upkeep import Limits, Upkeep
from tests.faults.rings import FIXED_SEED
from tests.shared import ROOT, fresh_seed
from tests.tools.faultrows import figure

SOURCE = ROOT / "tests" / "faults" / "slow_sync.c"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what stands before fsync in the processes under test."""
    library = tmp_path_factory.mktemp("shim") / "slow_sync.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True, timeout=60)
    return library


def trade(mode: str, seed: int, directory: Path, shim: Path) -> dict[str, Any]:
    """Run a world whose fsync fails or hangs; return what it tells."""
    directory.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.disk_world", mode, str(seed), str(directory)],
        capture_output=True, text=True, check=False, timeout=120, cwd=ROOT,
        env=os.environ | {"LD_PRELOAD": str(shim), "SYNC_FAULT": mode, "SYNC_PLACE": str(directory)})
    assert 0 == done.returncode, f"seed {seed}: {done.stderr[-2_000:]}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def seeds_of(what: str) -> list[int]:
    return [FIXED_SEED, *(fresh_seed() + number for number in range(1, figure("JR03", what)))]


@pytest.mark.timeout(1_800)
def test_JR03_a_refused_sync_is_final_and_halts(
    shim: Path, tmp_path: Path, gate_record: Callable[..., None]
) -> None:
    """EIO once, success ever after: no position behind it is told as synced, H3 holds, no order follows.

    The next process over the same logs does not take them for synced either.
    """
    for number, seed in enumerate(seeds_of("refused")):
        directory = tmp_path / str(number)
        found = trade("refused", seed, directory, shim)
        where = f"seed {seed}: {found}"
        assert (1, HaltLevel.H3, ["disk_failed"]) == (found["failed"], found["level"], found["events"]), where
        assert found["position"] == found["held"] == found["end"] < found["decided"], where
        assert (0, []) == (found["orders_behind"], found["strangers"]), where
        assert found["orders"] > 0, where
        upkeep = Upkeep(directory / "state", Limits())
        report = upkeep.round({})
        upkeep.close()
        assert 1 == report.failed_count, where
        assert report.synced["decisions"] <= found["position"], where
    gate_record("JR03", "refused", figure("JR03", "refused"), fresh_seed())


@pytest.mark.timeout(1_800)
def test_JR03_a_hanging_sync_holds_nothing_up(
    shim: Path, tmp_path: Path, gate_record: Callable[..., None]
) -> None:
    """While the disk hangs orders are decided, journalled, sent; the synced position stands, then follows."""
    for number, seed in enumerate(seeds_of("stalled")):
        found = trade("stalled", seed, tmp_path / str(number), shim)
        where = f"seed {seed}: {found}"
        assert found["orders_behind"] >= 20, where
        assert found["position"] == found["held"] < found["decided"] <= found["end"], where
        assert (0, [], []) == (found["failed"], found["events"], found["strangers"]), where
        assert found["busy_ms"] > 0, where
    gate_record("JR03", "stalled", figure("JR03", "stalled"), fresh_seed())
