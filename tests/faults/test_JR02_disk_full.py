"""JR02: the disk of the logs runs full under a trading run: halted in time, cancels go on, all journalled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.kinds import Cause, HaltLevel
from tests.shared import ROOT, fresh_seed
from tests.tools.faultrows import figure

RUNS = figure("JR02", "runs")
ORDERS_OPEN = 10  # a seed with open orders when its disk is full
#: Mounts a disk of its own in its own mount namespace: nobody else sees it, and it goes with the process.
SMALL_DISK = """
import subprocess, sys
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", sys.argv[3]]).returncode:
    raise SystemExit(77)
from tests.faults.disk_world import main
main()
"""


def fill(seed: int, directory: Path) -> dict[str, object]:
    """Run a world whose state lies on 6 MiB until not one record more fits; return what it tells."""
    wrapper = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", SMALL_DISK, "full", str(seed), str(directory)],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)})
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("servers: no right to mount a small disk")
    assert 0 == done.returncode, f"seed {seed}: {done.stderr[-2_000:]}"
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(1_800)
def test_JR02_a_full_disk_halts_and_leaves_room_for_cancels(
    tmp_path: Path, gate_record: Callable[..., None]
) -> None:
    """H1 before the last file is reached; from then on no order; cancels and beats from the reserve; I2.

    Behind the halt the stream goes on until it is stuffed: then nothing is decided, sent or lost any more.
    """
    cancels = 0
    for number in range(RUNS):
        seed = ORDERS_OPEN if number == 0 else fresh_seed() + number
        place = tmp_path / str(number)
        place.mkdir()
        found = fill(seed, place)
        where = f"seed {seed}: {found}"
        assert [[HaltLevel.H0, 0], [HaltLevel.H1, int(Cause.DISK_FULL)]] == found["halts"], where
        assert found["is_full"], where
        assert (0, []) == (found["orders_behind_halt"], found["strangers"]), where
        assert found["cancels"] == found["cancels_logged"], where
        assert int(str(found["beats_behind_halt"])) > 0, where
        assert ["disk_full"] == found["events"], where
        assert int(str(found["arrivals"])) > 0, where
        cancels += int(str(found["cancels_behind_halt"]))
    assert cancels > 0  # of the first seed at least
    gate_record("JR02", "runs", RUNS, fresh_seed())
