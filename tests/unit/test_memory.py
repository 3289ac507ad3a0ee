"""shm.memory: made whole or refused, attached untracked, never trusted without its header."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import EnvironmentProblem, InvariantError, LayoutError, UsageError
from pipeline.shm import memory

ROOT = Path(__file__).resolve().parent.parent.parent
INSTANCE = f"unit{os.getpid()}"


@pytest.fixture(autouse=True)
def clean():
    """Leave nothing behind."""
    yield
    memory.sweep(INSTANCE)


def name(generation: int = 1, what: str = "x") -> str:
    """Return a name of this test run."""
    return memory.segment_name(INSTANCE, generation, what)


def run(code: str, *wrapper: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run([*wrapper, sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_both_sides_see_the_same_zeroed_memory():
    """A new segment is zero, owner-only, and what one side writes the other reads."""
    with memory.create(name(), 10_000, generation=1, epoch=4) as made, memory.attach(name()) as found:
        assert bytes(10_000) == bytes(made.data)
        found.data[9_999] = 7
        assert 7 == made.data[9_999]
        assert (1, 4, 10_000) == (found.header.generation, found.header.epoch, found.header.data_bytes)
        status = Path("/dev/shm", name()).stat()
        assert (0o600, os.getuid()) == (status.st_mode & 0o777, status.st_uid)
        assert status.st_blocks * 512 >= 10_000 + memory.HEADER_BYTES


def test_it_is_a_standard_shared_memory_object():
    """Any tool may look with multiprocessing.shared_memory; the header page comes first."""
    with memory.create(name(), 100, generation=1) as made:
        made.data[0] = 42
        code = (f"from multiprocessing import shared_memory as s, resource_tracker as r\n"
                f"r.register = lambda *a: None\nm = s.SharedMemory({name()!r})\n"
                "print(m.buf[4096])\nm.close()")
        assert "42" == run(code).stdout.strip()


def test_an_attacher_that_exits_or_dies_leaves_the_segment():
    """Attaching never registers with the resource tracker, however the process ends; nor does making."""
    memory.create(name(), 100, generation=1).close()
    for end in ("", "import os; os.kill(os.getpid(), 9)", "raise SystemExit(3)"):
        run(f"from pipeline.shm import memory\nm = memory.attach({name()!r})\n{end}")
        memory.attach(name()).close()
    other = name(1, "other")
    run(f"from pipeline.shm import memory\nm = memory.create({other!r}, 10, generation=1)")
    memory.attach(other).close()


@pytest.mark.parametrize(("size", "text"), [
    (0, "needs a header"), (40, "needs a header"), (4_096, "size"), (5_095, "size"), (6_000, "size"),
])
def test_cut_or_grown_segments_are_refused(size, text):
    """A segment whose size is not what its header says would fault later; it is refused now."""
    memory.create(name(), 1_000, generation=1).close()
    os.truncate(f"/dev/shm/{name()}", size)
    with pytest.raises(LayoutError, match=text):
        memory.attach(name())


def test_missing_doubled_and_misnamed_segments():
    """Each says what to do: start first, sweep first, rename."""
    with pytest.raises(EnvironmentProblem, match="does not exist; start the pipeline first"):
        memory.attach(name())
    memory.create(name(), 100, generation=1).close()
    with pytest.raises(EnvironmentProblem, match="exists already"):
        memory.create(name(), 100, generation=1)
    for bad in ("a-b", "Upper", "", "a/b"):
        with pytest.raises(UsageError, match="pm-<instance>-<generation>-<what>"):
            memory.segment_name(bad, 1, "x")
    with pytest.raises(UsageError, match="needs 1"):
        memory.create(name(), 0, generation=1)


def test_close_refuses_while_a_view_lives():
    """numpy views are released before close; a forgotten one is an error, not a crash."""
    segment = memory.create(name(), 800, generation=1)
    view = np.frombuffer(segment.data, np.int64)
    with pytest.raises(InvariantError, match="release views first"):
        segment.close()
    del view
    segment.close()
    segment.close()


def test_sweep_takes_old_generations_of_this_instance_only():
    """After 20 killed makers: everything but the generation in use goes, others' segments stay."""
    for generation in range(20):
        run_name = name(generation, "ring")
        child = os.fork()
        if child == 0:
            memory.create(run_name, 100, generation=generation)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    foreign = memory.segment_name(INSTANCE + "b", 1, "ring")
    memory.create(foreign, 100, generation=1).close()
    stranger = shared_memory.SharedMemory(create=True, size=10)
    try:
        assert 20 == len(memory.listing(INSTANCE))
        assert [name(g, "ring") for g in range(20) if g != 7] == memory.sweep(INSTANCE, keep_generation=7)
        assert [(7, name(7, "ring"))] == memory.listing(INSTANCE)
        assert [name(7, "ring")] == memory.sweep(INSTANCE)
        memory.attach(foreign).close()
        assert stranger.size >= 10
    finally:
        stranger.close()
        stranger.unlink()
        memory.unlink(foreign)
    assert not memory.unlink(foreign)
