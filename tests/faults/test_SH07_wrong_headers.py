"""SH07: what is not ours, not of this build or damaged is refused by its header; readers cannot write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.errors import EnvironmentProblem, IntegrityError, LayoutError
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.ring import Observer, Reader, Ring, Writer
from pipeline.shm import halt, memory, status
from tests.faults.rings import FIXED_SEED
from tests.models.log_files import ticks
from tests.shared import ROOT, fresh_seed
from tests.tools.faultrows import figure

HEADERS = figure("SH07", "headers")  # of each kind of shared thing
INSTANCE = f"head{os.getpid()}"
NAME = memory.segment_name(INSTANCE, 1, "x")
LOG_FILE = f"{0:020d}.log"


class Thing(NamedTuple):
    """One kind of shared thing: its file, the bytes of its header, and who opens it."""

    path: Path
    header_bytes: int
    openers: tuple[Callable[[], object], ...]


def over(path: Path, end: Callable[[bytearray], object]) -> Callable[[], object]:
    """Return an opener of `end` over the file's bytes."""
    return lambda: end(bytearray(path.read_bytes()))


def segment_thing(place: Path) -> Thing:
    """Make a shared memory segment."""
    memory.create(NAME, 1_000, generation=1).close()
    return Thing(Path("/dev/shm", NAME), 52, (
        lambda: memory.attach(NAME).close(), lambda: memory.attach(NAME, read_only=True).close()))


def ring_thing(place: Path) -> Thing:
    """Make a ring."""
    buffer = bytearray(Ring.bytes_for(128))
    Ring.format(buffer, 128)
    (place / "ring").write_bytes(buffer)
    return Thing(place / "ring", 32, tuple(over(place / "ring", end) for end in (Writer, Reader, Observer)))


def log_thing(place: Path) -> Thing:
    """Make a log of a few records."""
    with_records = LogWriter(place, "log", 64, salt_epoch=5)
    with_records.push(ticks([1, 2, 3]))
    with_records.close()
    return Thing(place / LOG_FILE, 56, (
        lambda: LogReader(place, "log").close(), lambda: LogWriter(place, "log", 64).close()))


def status_thing(place: Path) -> Thing:
    """Make a lane's status page."""
    page = bytearray(status.PAGE_BYTES)
    status.format_page(memoryview(page), "feed")
    (place / "status").write_bytes(page)
    ends = (status.StatusPage, status.StatusView, status.asleep_place)
    return Thing(place / "status", 52, tuple(
        over(place / "status", lambda data, end=end: end(memoryview(data))) for end in ends))


def halt_thing(place: Path) -> Thing:
    """Make a halt page."""
    halt.create(place)
    return Thing(place / halt.FILE_NAME, 24, (
        lambda: halt.HaltPage(place).close(), lambda: halt.HaltPage(place, "operator").close()))


THINGS = [segment_thing, ring_thing, log_thing, status_thing, halt_thing]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a folder; no segment stays behind."""
    yield tmp_path
    memory.sweep(INSTANCE)


def damages(bits: int, count: int, seed: int) -> list[list[int]]:
    """Return bits to flip: each alone first, then random sets of 2..40, and whole foreign headers last."""
    rng = random.Random(seed)
    single = [[bit] for bit in rng.sample(range(bits), min(bits, count // 2))]
    return single + [rng.sample(range(bits), rng.randint(2, 40)) for _ in range(count - len(single))]


@pytest.mark.parametrize("seed", [FIXED_SEED, fresh_seed()])
@pytest.mark.parametrize("make", THINGS, ids=lambda make: make.__name__)
def test_SH07_corrupted_headers_are_refused(place: Path, make, seed: int, gate_record) -> None:
    """One flipped bit of a header, or many: whoever opens it gets one line, nobody gets the thing."""
    thing = make(place)
    good = thing.path.read_bytes()
    chosen = damages(8 * thing.header_bytes, HEADERS // 2, seed)
    for damage in chosen:
        bad = bytearray(good)
        for bit in damage:
            bad[bit // 8] ^= 1 << bit % 8
        thing.path.write_bytes(bad)
        for opener in thing.openers:
            with pytest.raises(IntegrityError) as error:
                opener()
            assert "\n" not in str(error.value), f"seed {seed}, bits {damage}"
    thing.path.write_bytes(good)
    for opener in thing.openers:
        opener()
    gate_record("SH07", "headers", len(chosen), seed)


@pytest.mark.parametrize("make", THINGS, ids=lambda make: make.__name__)
def test_SH07_foreign_and_cut_things_are_refused(place: Path, make) -> None:
    """Zeroes, random bytes, another kind's header, and every cut of the header itself."""
    thing = make(place)
    good, rng = thing.path.read_bytes(), random.Random(7)
    foreign = [bytes(len(good)), rng.randbytes(len(good)), b"pm ring1" + good[8:]]
    if make is ring_thing:
        foreign[2] = b"pm-stat1" + good[8:]
    for bad in (*foreign, *(good[:size] for size in range(1, thing.header_bytes))):
        thing.path.write_bytes(bad)
        for opener in thing.openers:
            with pytest.raises(IntegrityError):
                opener()


def test_SH07_another_build_is_refused(place: Path, monkeypatch) -> None:
    """A segment of another build has a whole header and is refused by name."""
    segment_thing(place)
    own = memory.build_id()
    monkeypatch.setattr(memory, "build_id", lambda: own ^ 1)
    with pytest.raises(LayoutError, match=r"build '0x\w{16}' expected, was '0x\w{16}'; stop the pipeline"):
        memory.attach(NAME)


@pytest.mark.parametrize("mode", [0o666, 0o604, 0o602, 0o777])
def test_SH07_what_every_user_may_open_is_refused(place: Path, mode: int) -> None:
    """A segment that anybody could have written is not attached; owner and group alone may be let in."""
    thing = segment_thing(place)
    thing.path.chmod(mode)
    for opener in thing.openers:
        with pytest.raises(EnvironmentProblem, match=f"open to every user .mode {mode:04o}., 0600 or 0660"):
            opener()
    thing.path.chmod(0o660)
    for opener in thing.openers:
        opener()


#: Opens one thing to read and writes into its mapping behind Python's back.
WRITE = """
import ctypes, sys
from pathlib import Path
from pipeline.native.log import LogReader
from pipeline.native.ring import Observer
from pipeline.shm import halt, memory
what, place, name = sys.argv[1:]
if what == "segment":
    held = memory.attach(name, read_only=True)
elif what == "observed":
    held = memory.attach(name, read_only=True)
    end = Observer(held.data)
elif what == "log":
    held = LogReader(Path(place), "log")
    assert held.read()
else:
    held = halt.HaltPage(place)
wanted = {"segment": name, "observed": name, "log": ".log", "halt": halt.FILE_NAME}[what]
lines = [line for line in open("/proc/self/maps") if line.strip().endswith(wanted)]
assert len(lines) == 1, lines
start = int(lines[0].partition("-")[0], 16)
print(lines[0].split()[1], ctypes.string_at(start + 100, 1), flush=True)
ctypes.memset(start + 100, 255, 1)
print("written")
"""


@pytest.mark.parametrize("what", ["segment", "observed", "log", "halt"])
def test_SH07_a_write_by_a_reader_faults(place: Path, what: str) -> None:
    """Whoever reads maps read-only: a stray write ends that process and changes nothing."""
    if what == "observed":
        with memory.create(NAME, Ring.bytes_for(128), generation=1) as made:
            Ring.format(made.data, 128)
        thing = Thing(Path("/dev/shm", NAME), 0, ())
    else:
        thing = {"segment": segment_thing, "log": log_thing, "halt": halt_thing}[what](place)
    before = thing.path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", WRITE, what, str(place), NAME], capture_output=True, text=True, check=False,
        timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (-signal.SIGSEGV, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("r--s ")
    assert "written" not in done.stdout
    assert before == thing.path.read_bytes()


def test_SH07_python_refuses_the_write_first(place: Path) -> None:
    """A read-only attacher's view raises; the two ends of a ring refuse a read-only buffer."""
    with memory.create(NAME, Ring.bytes_for(128), generation=1) as made:
        Ring.format(made.data, 128)
    with memory.attach(NAME, read_only=True) as found:
        with pytest.raises(TypeError, match="read-only"):
            found.data[0] = 1
        for end in (Writer, Reader):
            with pytest.raises((BufferError, TypeError)):
                end(found.data)
