"""SH06: shared memory or a disk in memory runs full: said at creation, in words, never by SIGBUS later."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from pipeline.errors import EnvironmentProblem
from pipeline.shm import memory
from tests.faults.rings import FIXED_SEED
from tests.shared import ROOT, fresh_seed
from tests.tools.faultrows import figure

TRIALS = figure("SH06", "trials")
INSTANCE = f"full{os.getpid()}"
#: Runs in a mount namespace of its own, where /dev/shm has 8 MiB; writes every byte that it was promised.
SMALL = """
import pathlib, random, subprocess, sys
if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", "/dev/shm"]).returncode:
    raise SystemExit(77)
from pipeline.errors import EnvironmentProblem
from pipeline.native.log import LogReader, LogWriter
from pipeline.codec import CODECS
from pipeline.kinds import Kind
from pipeline.shm import memory
place, rng, counts = pathlib.Path("/dev/shm"), random.Random(int(sys.argv[1])), [0, 0, 0, 0]

def segments():
    kept = []
    try:
        for number in range(10_000):
            size = rng.choice([4_096, 100_000, 1 << 20, 3 << 20]) + rng.randrange(4_096)
            name = memory.segment_name("small", 1, str(number))
            kept.append(memory.create(name, size, generation=1))
    except EnvironmentProblem as error:
        assert "not enough shared memory; enlarge /dev/shm or choose smaller" in str(error), error
        assert "\\n" not in str(error)
        counts[1] += 1
    for segment in kept:
        segment.data[:] = bytes([255]) * len(segment.data)
        segment.close()
    counts[0] += len(kept)
    assert len(kept) == len(memory.sweep("small"))  # the refused one left no name

def log():
    directory = place / "log"
    directory.mkdir()
    run, slots = CODECS[Kind.TICK].pack(tick_count=1) * 64, rng.randrange(500, 5_000)
    writer = LogWriter(directory, "log", slots)
    while writer.push(run):
        pass
    try:
        writer.check()
    except EnvironmentProblem as error:
        assert "No space left on device; free space" in str(error), error
        counts[2] += 1
    wanted, reader, got = writer.position, LogReader(directory, "log", verify=True), 0
    while data := reader.read(4_096):
        got += len(data)
    assert got and reader.position == wanted, (got, reader.position, wanted)
    first = len(list(directory.glob("*.log")))
    assert not list(directory.glob("*.tmp"))
    reader.close()
    writer.close()
    counts[3] += first
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()

for _ in range(int(sys.argv[2])):
    segments()
    log()
print(*counts)
"""


def test_SH06_more_than_there_is_is_refused_at_creation():
    """More than /dev/shm holds is refused in one line and leaves no name behind."""
    total = shutil.disk_usage("/dev/shm").total
    name = memory.segment_name(INSTANCE, 1, "x")
    with pytest.raises(EnvironmentProblem, match="not enough shared memory; enlarge /dev/shm"):
        memory.create(name, total + (1 << 20), generation=1)
    assert [] == memory.listing(INSTANCE)


@pytest.mark.parametrize("seed", [FIXED_SEED, fresh_seed()])
def test_SH06_eight_mib_of_shared_memory(seed, gate_record):
    """On 8 MiB: what was promised can be written to its last byte, the rest is refused cleanly, 0 SIGBUS."""
    wrapper = ["unshare", "-m"] if os.getuid() == 0 else ["unshare", "-rm"]
    count = TRIALS // 2
    done = subprocess.run([*wrapper, sys.executable, "-c", SMALL, str(seed), str(count)], capture_output=True,
                          text=True, check=False, timeout=250, env=os.environ | {"PYTHONPATH": str(ROOT)})
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("servers: no right to mount a small /dev/shm")
    assert 0 == done.returncode, f"seed {seed}: {done.returncode} {done.stderr[-2_000:]}"
    made, refused, full, files = map(int, done.stdout.split())
    assert (count, count) == (refused, full)
    assert made > count
    assert files > count
    gate_record("SH06", "trials", count, seed)
