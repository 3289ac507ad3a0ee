"""OR15: no two orders of one wallet ever have one hash, over restarts, kills and processes that race."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.limits import ORDER_NO_MAX, SALT_EPOCH_MAX, salt_of
from pipeline.errors import InvariantError
from tests.faults.rings import FIXED_SEED
from tests.faults.salt_worker import KEPT_BYTES, SALT_MAX
from tests.shared import ROOT, fresh_seed, wait_until
from tests.tools.faultrows import figure

INTENTS = figure("OR15", "intents")
RESTARTS = figure("OR15", "restarts")
PROCESSES = figure("OR15", "processes")
KILLS = 2 * PROCESSES
SECONDS_MAX = 1_500


def start(place: Path) -> subprocess.Popen[bytes]:
    """Start one process; each makes as many starts as it gets."""
    command = [sys.executable, str(Path(__file__).with_name("salt_worker.py")), str(place),
               str(-(-INTENTS // RESTARTS)), str(RESTARTS), str(INTENTS)]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)


def kept_bytes(place: Path) -> int:
    """Return how much all processes have written."""
    return sum(path.stat().st_size for path in place.glob("*.hashes"))


@pytest.mark.timeout(SECONDS_MAX + 60)
def test_OR15_no_two_intents_share_a_hash(tmp_path, capsys, gate_record):
    """Eight processes take turns to start one instance, some die by SIGKILL anywhere: every hash is new."""
    seed = fresh_seed()
    rng, deadline_s = random.Random(seed), time.monotonic() + SECONDS_MAX
    running = [start(tmp_path) for _ in range(PROCESSES)]
    try:
        for kill in range(KILLS):
            wanted = INTENTS * KEPT_BYTES * (kill + rng.random()) / (KILLS + 1)
            wait_until(lambda wanted=wanted: kept_bytes(tmp_path) >= wanted, SECONDS_MAX, "progress")
            victim = rng.randrange(PROCESSES)
            running[victim].kill()
            running[victim].communicate()
            running[victim] = start(tmp_path)
        for process in running:
            words = process.communicate(timeout=deadline_s - time.monotonic())[1]
            assert 0 == process.returncode, words.decode()[-2_000:]
    finally:
        for process in running:
            process.kill()
            process.communicate()
    found = [path.read_bytes() for path in sorted(tmp_path.glob("*.hashes"))]
    hashes = np.concatenate([np.frombuffer(one[:len(one) // 8 * 8], "<u8") for one in found])
    restarts = (tmp_path / "starts").stat().st_size
    equal = len(hashes) - len(np.unique(hashes))
    with capsys.disabled():
        print(f"\nOR15 seed {seed}: {len(hashes)} intents, {restarts} starts by {len(found)} processes, "
              f"{KILLS} killed, {equal} equal hashes")
    assert 0 == equal, f"seed {seed}"
    assert len(hashes) >= INTENTS
    assert restarts >= RESTARTS
    assert len(found) >= PROCESSES  # one that was killed at birth leaves none
    gate_record("OR15", "intents", len(hashes), seed)
    gate_record("OR15", "restarts", restarts, seed)
    gate_record("OR15", "processes", len(found), seed)


@pytest.mark.parametrize("seed", [FIXED_SEED, fresh_seed()])
def test_OR15_a_salt_names_its_epoch_and_number(seed):
    """Any two (epoch, number) pairs have two salts below 2**53, to the last of both; beyond is refused."""
    rng = random.Random(seed)
    edges = [(epoch, number) for epoch in (1, 2, SALT_EPOCH_MAX) for number in (1, 2, ORDER_NO_MAX)]
    pairs = {*edges, *((rng.randint(1, SALT_EPOCH_MAX), rng.randint(1, ORDER_NO_MAX)) for _ in range(50_000))}
    salts = {salt_of(*pair) for pair in pairs}
    assert len(pairs) == len(salts)
    assert 0 < min(salts) <= max(salts) <= SALT_MAX
    for epoch, number in ((0, 1), (1, 0), (SALT_EPOCH_MAX + 1, 1), (1, ORDER_NO_MAX + 1)):
        with pytest.raises(InvariantError, match="start a new log"):
            salt_of(epoch, number)
