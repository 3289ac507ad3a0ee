"""native.recovery: after a cut or a flipped bit a log replays to a proven prefix, told, or is refused."""

from __future__ import annotations

import os

import pytest

from pipeline.errors import LogCorrupt
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.recovery import Verified, verify
from pipeline.records import SLOT_BYTES
from tests.models.log_files import HEADER_BYTES, facts, fill, memory_directory, replay, ticks


@pytest.fixture
def place():
    """Give a directory in memory where there is one: these tests write thousands of small files."""
    with memory_directory() as path:
        yield path


def test_a_damaged_middle_is_refused_by_writer_and_reader(place):
    """A wrong record with whole runs after it: where, what and what to do, and nothing after it is shown."""
    writer = LogWriter(place, "log", 64)
    for number in range(20):
        writer.push(ticks([number]))
    writer.close()
    path = place / f"{0:020d}.log"
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 7 * SLOT_BYTES + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogCorrupt, match="position 7: a record fails its check; do not trade on it"):
        LogWriter(place, "log", 64)
    reader = LogReader(place, "log", verify=True)
    assert [(n, n, 0, 1) for n in range(7)] == facts(reader.read())
    with pytest.raises(LogCorrupt, match="position 7"):
        reader.read()


def test_verify_shows_what_is_proven_and_changes_nothing(place):
    """Whole, cut, damaged, missing logs: how far it is right, what is wrong, and not one byte is touched."""
    model, writer = fill(place, 6, 150)
    position = writer.position
    writer.close()
    assert Verified(0, position, position, 3, "") == verify(place, "log")
    path = place / f"{64:020d}.log"
    data = bytearray(path.read_bytes())
    starts = [at for at, _, part, _ in model.records if part == 0]
    data[HEADER_BYTES + 3 * SLOT_BYTES + 100] ^= 4
    path.write_bytes(data)
    found = verify(place, "log")
    assert max(start for start in starts if start <= 67) == found.good_position
    assert position == found.position
    assert "a record fails its check; do not trade on it" in found.problem
    assert bytes(data) == path.read_bytes()
    path.write_bytes(data[:HEADER_BYTES + 2 * SLOT_BYTES])
    assert found.good_position >= verify(place, "log").good_position
    path.unlink()
    assert "missing" in verify(place, "log").problem
    assert "holds no log" in verify(place.parent, "log").problem


def test_a_missing_file_is_refused(place):
    """A hole between files is corruption, for the writer and for a reader that comes to it."""
    _, writer = fill(place, 2, 300)
    writer.close()
    (place / f"{128:020d}.log").unlink()
    with pytest.raises(LogCorrupt, match="segment 128 expected, was 192"):
        LogWriter(place, "log", 64)
    with pytest.raises(LogCorrupt, match="the next segment is missing"):
        replay(place)


def test_an_unused_file_that_was_cut_is_made_anew(place):
    """A prepared next file that a power loss left short holds nothing while the file before it has room."""
    writer = LogWriter(place, "log", 64)
    writer.push(ticks([1]))
    writer.prepare_next()
    writer.close()
    (place / f"{64:020d}.log").write_bytes(b"")
    (place / f"{64:020d}.{2**31}.tmp").write_bytes(b"left by a dead writer")
    writer = LogWriter(place, "log", 64)
    for number in range(2, 100):
        assert writer.push(ticks([number]))
    assert list(range(1, 100)) == [number for _, number, _, _ in replay(place)]
    assert [] == list(place.glob("*.tmp"))


def test_a_writer_leaves_what_a_living_process_makes(place):
    """The archiver makes files ahead while a writer attaches: its half-made one is its own to name."""
    half_made = place / f"{640:020d}.{os.getpid()}.tmp"
    half_made.write_bytes(b"the archiver goes on with it")
    LogWriter(place, "log", 64).close()
    assert half_made.exists()


def test_verify_takes_a_file_made_ahead_for_empty(place):
    """The writer makes its next file before it needs it: behind a file with room it is no damage."""
    writer = LogWriter(place, "log", 64)
    for number in range(20):
        writer.push(ticks([number]))
    while not writer.prepare_next():
        pass
    writer.close()

    assert Verified(0, 20, 20, 2, "") == verify(place, "log")
    next_file = place / f"{64:020d}.log"
    data = bytearray(next_file.read_bytes())
    next_file.rename(place / f"{128:020d}.log")
    assert "not the file's name" in verify(place, "log").problem
    (place / f"{128:020d}.log").unlink()
    next_file.write_bytes(data)
    writer = LogWriter(place, "log", 64)
    assert 20 == writer.position
    writer.close()
