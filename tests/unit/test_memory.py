"""shm.memory: made whole or refused, attached untracked, never trusted without its header."""

from __future__ import annotations

import os
import random
import shutil
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


def test_read_only_attachers_cannot_write():
    """A write raises, and a write behind Python's back faults."""
    with memory.create(name(), 100, generation=1), memory.attach(name(), read_only=True) as found:
        with pytest.raises(TypeError, match="read-only"):
            found.data[0] = 1
        assert not np.frombuffer(found.data, np.uint8).flags.writeable
    memory.unlink(name())
    memory.create(name(), 100, generation=1).close()
    code = ("import ctypes, numpy\nfrom pipeline.shm import memory\n"
            f"s = memory.attach({name()!r}, read_only=True)\n"
            "ctypes.memset(numpy.frombuffer(s.data, 'u1').ctypes.data, 1, 1)")
    assert -signal.SIGSEGV == run(code).returncode


def test_an_attacher_that_exits_or_dies_leaves_the_segment():
    """Attaching never registers with the resource tracker, however the process ends; nor does making."""
    memory.create(name(), 100, generation=1).close()
    for end in ("", "import os; os.kill(os.getpid(), 9)", "raise SystemExit(3)"):
        run(f"from pipeline.shm import memory\nm = memory.attach({name()!r})\n{end}")
        memory.attach(name()).close()
    other = name(1, "other")
    run(f"from pipeline.shm import memory\nm = memory.create({other!r}, 10, generation=1)")
    memory.attach(other).close()


def test_corrupted_headers_are_refused():
    """Each of the 416 single flipped bits of the header and 200 random damages: refused in one line."""
    memory.create(name(), 1_000, generation=1).close()
    path = Path("/dev/shm", name())
    good = path.read_bytes()
    rng = random.Random(11)
    bits = 8 * 52
    damages = [[bit] for bit in range(bits)]
    damages += [rng.sample(range(bits), rng.randint(2, 60)) for _ in range(200)]
    for damage in damages:
        bad = bytearray(good)
        for bit in damage:
            bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        for read_only in (False, True):
            with pytest.raises(LayoutError, match="expected, was") as error:
                memory.attach(name(), read_only=read_only)
            assert "\n" not in str(error.value)
    path.write_bytes(good)
    memory.attach(name()).close()


@pytest.mark.parametrize(("size", "text"), [
    (0, "needs a header"), (40, "needs a header"), (4_096, "size"), (5_095, "size"), (6_000, "size"),
])
def test_cut_or_grown_segments_are_refused(size, text):
    """A segment whose size is not what its header says would fault later; it is refused now."""
    memory.create(name(), 1_000, generation=1).close()
    os.truncate(f"/dev/shm/{name()}", size)
    with pytest.raises(LayoutError, match=text):
        memory.attach(name())


def test_another_build_is_refused(monkeypatch):
    """A segment of another build has a proven header and is refused by name."""
    memory.create(name(), 100, generation=1).close()
    own = memory.build_id()
    monkeypatch.setattr(memory, "build_id", lambda: own ^ 1)
    with pytest.raises(LayoutError, match=r"build '0x\w{16}' expected, was '0x\w{16}'; stop the pipeline"):
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


def test_too_little_memory_is_a_message_not_a_signal():
    """More than /dev/shm holds is refused at creation and leaves no name behind."""
    total = shutil.disk_usage("/dev/shm").total
    with pytest.raises(EnvironmentProblem, match="not enough shared memory; enlarge /dev/shm"):
        memory.create(name(), total + (1 << 20), generation=1)
    assert [] == memory.listing(INSTANCE)


def test_eight_mib_of_shared_memory():
    """On an 8 MiB /dev/shm of its own: segments that fit work, the next is refused cleanly, 0 SIGBUS."""
    code = """
import subprocess, sys
made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", "/dev/shm"])
if made.returncode: raise SystemExit(77)
from pipeline.errors import EnvironmentProblem
from pipeline.shm import memory
kept = []
for number in range(20):
    try:
        segment = memory.create(memory.segment_name("small", 1, str(number)), 1 << 20, generation=1)
    except EnvironmentProblem as error:
        assert "not enough shared memory" in str(error), error
        print(len(kept))
        break
    segment.data[:] = bytes([255]) * (1 << 20)
    kept.append(segment)
"""
    done = run(code, "unshare", "-m") if os.getuid() == 0 else run(code, "unshare", "-rm")
    if done.returncode in (1, 77) and "unshare" in done.stderr + "unshare" * (done.returncode == 77):
        return  # no right to mount here; the test before proves the refusal
    assert (0, "7\n") == (done.returncode, done.stdout), done.stderr


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
