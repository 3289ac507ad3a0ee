"""Same stream log, same decision records: byte for byte, however the fold is batched, timed or hashed."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.core.detector import Detector
from pipeline.records import SLOT_BYTES
from tests.shared import ROOT
from tests.world.plan import draw_plan
from tests.world.refold import refold
from tests.world.world import World

SEEDS = range(1_000, 1_008)


class Run:
    """One finished world whose logs are folded again."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.plan = draw_plan(seed)
        world = World(self.plan, directory)
        try:
            world.trade(50, 1_000)
            world.settle()
            world.resolve()
            self.decisions = world.log("decisions")
        finally:
            world.close()
        self.logs = world.logs


@pytest.fixture(scope="module", params=SEEDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(request.param, tmp_path_factory.mktemp(f"world{request.param}"))


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(SEEDS[0], tmp_path_factory.mktemp("one"))


def _first_difference(expected: bytes, found: bytes) -> str:
    for at in range(0, max(len(expected), len(found)), SLOT_BYTES):
        if expected[at : at + SLOT_BYTES] != found[at : at + SLOT_BYTES]:
            return (
                f"record {at // SLOT_BYTES} of {len(expected) // SLOT_BYTES} and {len(found) // SLOT_BYTES}"
            )
    return ""


@pytest.mark.parametrize("way", [1, 2])
def test_other_batches_decide_the_same(run: Run, way: int, tmp_path: Path) -> None:
    """Fresh stages, random batch sizes, stages that fall behind, another clock: the same decision log."""
    found = refold(run.logs, tmp_path / "again", run.plan.overrides, random.Random(f"{run.plan.seed}:{way}"))

    assert len(run.decisions) > 50 * SLOT_BYTES
    assert "" == _first_difference(run.decisions, found), f"seed {run.plan.seed}, way {way}"


@pytest.mark.parametrize("hash_seed", ["0", "1", "4294967295"])
def test_another_hash_seed_decides_the_same(one_run: Run, hash_seed: str, tmp_path: Path) -> None:
    """A process with another PYTHONHASHSEED folds to the same bytes: nothing hangs on the order of a set."""
    found = _digest_in_process(one_run, hash_seed, tmp_path, "None")

    assert hashlib.sha256(one_run.decisions).hexdigest() == found, f"seed {one_run.plan.seed}"


def _digest_in_process(run: Run, hash_seed: str, directory: Path, detector: str) -> str:
    """Return the SHA-256 of the decision log that a fresh process folds; `detector` is an expression."""
    code = (
        "import hashlib, random, pathlib; from tests.world.refold import refold; from tests.replay import "
        "test_fold_determinism as mutants\n"
        f"data = refold(pathlib.Path({str(run.logs)!r}), pathlib.Path({str(directory / hash_seed)!r}), "
        f"{run.plan.overrides!r}, random.Random(5), {detector})\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == ended.returncode, ended.stderr
    return ended.stdout.strip()


class BatchDetector(Detector):
    """Planted fault: an idea is held back when it would be the first thing of a batch."""

    is_first = False

    def begin(self) -> None:
        self.is_first = True

    def on_record(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> Sequence[bytes]:
        ideas = super().on_record(slot, offset)
        held, self.is_first = ideas and self.is_first, False
        return () if held else ideas


class ClockDetector(Detector):
    """Planted fault: whether an idea is told hangs on the host's clock."""

    def on_record(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> Sequence[bytes]:
        ideas = super().on_record(slot, offset)
        return () if ideas and time.perf_counter_ns() // 1_000 & 1 else ideas


class HashDetector(Detector):
    """Planted fault: whether an idea is told hangs on the hash of a text."""

    def on_record(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> Sequence[bytes]:
        ideas = super().on_record(slot, offset)
        return () if ideas and hash(f"idea {self.counts['ideas']}") & 1 else ideas


def test_a_detector_that_sees_batches_is_caught(one_run: Run, tmp_path: Path) -> None:
    """The comparison bites: a fault that hangs on batch boundaries gives another log."""
    logs: set[bytes] = set()
    for way in range(1, 9):
        mutant = BatchDetector()
        logs.add(
            bytes(
                refold(
                    one_run.logs,
                    tmp_path / str(way),
                    one_run.plan.overrides,
                    random.Random(way),
                    mutant,
                    mutant.begin,
                )
            )
        )
        if len(logs) > 1:
            return

    pytest.fail(f"seed {one_run.plan.seed}: eight ways to cut batches gave one log")


def test_a_detector_that_reads_a_clock_is_caught(one_run: Run, tmp_path: Path) -> None:
    """The comparison bites: a fault that hangs on a clock gives another log."""
    logs = [
        refold(one_run.logs, tmp_path / str(way), one_run.plan.overrides, random.Random(1), ClockDetector())
        for way in (1, 2, 3)
    ]

    assert len({bytes(log) for log in logs}) > 1, f"seed {one_run.plan.seed}"


def test_a_detector_that_hashes_is_caught(one_run: Run, tmp_path: Path) -> None:
    """The comparison bites: a fault that hangs on PYTHONHASHSEED gives another log."""
    found = {_digest_in_process(one_run, seed, tmp_path, "mutants.HashDetector()") for seed in ("1", "2")}

    assert 2 == len(found), f"seed {one_run.plan.seed}"
