# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""What a log's directory holds after a crash: which file to go on in, what to cut, what to refuse.

A new writer goes through it before its first record; `verify` shows the same to people and changes nothing.
"""

import fcntl
import os
from dataclasses import dataclass

from libc.stdint cimport uint64_t
from libc.string cimport memset

from pipeline.native.atomics cimport store_relaxed
from pipeline.native.records cimport SLOT_BYTES
from pipeline.native.segments cimport (
    AT_NAME, AT_NEXT_READY, AT_PUBLISHED, AT_PUBLISHED_COPY, SEGMENT_GONE, SEGMENT_OK, SEGMENT_PUBLISHED,
    SEGMENT_SHORT, Damage, Segment, log_name_hash, segment_close, segment_data_end, segment_extend,
    segment_open, segment_scan, segment_slot, segment_word,
)

from pipeline.errors import EnvironmentProblem, LogCorrupt
from pipeline.native.segments import problem_error, segment_firsts


@dataclass(frozen=True, slots=True)
class Recovery:
    """What attaching a writer found: where it goes on, and how many slots of a torn tail it cut."""

    position: int
    cut_count: int
    reason: str


def lock_directory(bytes path, where):
    """Return an open lock file that admits one writer; removes what the dead left unnamed."""
    try:
        fd = os.open(os.path.join(path, b"writer.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvironmentProblem(f"native.log: {where} cannot be opened: {error.strerror}; "
                                 "make the directory and give it to this user") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise EnvironmentProblem(f"native.log: {where} has a writer already; stop it first") from None
    for entry in os.listdir(path):
        if entry.endswith(b".tmp") and not _is_alive(entry.removesuffix(b".tmp").rpartition(b".")[2]):
            os.unlink(os.path.join(path, entry))
    return fd


def _is_alive(bytes pid):
    """Tell whether the process that makes this file is there: the archiver's are its own to finish."""
    return pid.isdigit() and os.path.exists(b"/proc/" + pid)


def drop_unused(bytes path, str name, list firsts):
    """Remove a damaged last file when the one before proves that it holds nothing; return what stays."""
    cdef Segment segment
    cdef uint64_t hash = log_name_hash(name)
    if len(firsts) < 2:
        return firsts
    *kept, before, last = firsts
    if segment_open(&segment, path, last, hash, False) == SEGMENT_OK:
        whole = segment.present == segment.slots
        is_empty = segment_word(&segment, AT_PUBLISHED)[0] == segment.first
        segment_close(&segment)
        if whole or not is_empty:
            return firsts
    if segment_open(&segment, path, before, hash, False) != SEGMENT_OK:
        return firsts
    is_full = segment_word(&segment, AT_PUBLISHED)[0] == segment.first + segment.slots
    segment_close(&segment)
    if is_full:
        return firsts
    os.unlink(os.path.join(path, b"%020d.log" % last))
    return [*kept, before]


def find_active(where, bytes path, str name, list firsts):
    """Return which file holds the newest record; those before must be full, empty ones may follow."""
    cdef Segment segment
    cdef uint64_t published, copied, expected = firsts[0], hash = log_name_hash(name)
    active = 0
    has_room = False  # a file that is not full was met: later ones must be empty
    for index, first in enumerate(firsts):
        problem = segment_open(&segment, path, first, hash, True)
        if problem:
            raise problem_error(where, problem, first)
        if index + 1 < len(firsts):
            store_relaxed(segment_word(&segment, AT_NEXT_READY), 1)  # no reader is stopped by a flipped bit
        published = segment_word(&segment, AT_PUBLISHED)[0] - segment.first
        copied = segment_word(&segment, AT_PUBLISHED_COPY)[0] - segment.first
        is_whole = segment.present == segment.slots
        segment_close(&segment)
        if first != expected:
            raise LogCorrupt(f"native.log: {where}: segment {expected} expected, was {first}; "
                             "restore the missing file from the archive")
        if not copied <= published <= segment.slots or (has_room and published):
            raise problem_error(where, SEGMENT_PUBLISHED, first)
        if published:
            active = index
        if not is_whole and published == segment.slots and index + 1 < len(firsts):
            raise problem_error(where, SEGMENT_SHORT, first)
        has_room = has_room or published < segment.slots
        expected = segment.first + segment.slots
    return active


cdef object recover_segment(Segment* segment, where, bytes path):
    """Prove the newest file, cut a torn tail, make it whole again; returns a Recovery, it stays mapped."""
    cdef uint64_t filled = segment_word(segment, AT_PUBLISHED)[0] - segment.first
    cdef uint64_t first = segment.first, hash = segment_word(segment, AT_NAME)[0]
    cdef Damage damage = segment_scan(segment, 0, min(filled, segment.present))
    if damage.problem != SEGMENT_OK and not damage.is_tail:
        raise problem_error(where, damage.problem, first + damage.bad)
    if segment.present < segment.slots:
        problem = segment_extend(path, first, segment.slots)
        if not problem:
            segment_close(segment)
            problem = segment_open(segment, path, first, hash, True)
        if problem:
            raise problem_error(where, problem, first)
    if damage.good < segment.slots:  # PAD fills the end of a full file or is not there
        damage.good = segment_data_end(segment, damage.good)
    # nothing of an earlier writer may ever look like a record of the next one
    memset(segment_slot(segment, damage.good), 0, (segment.slots - damage.good) * SLOT_BYTES)
    store_relaxed(segment_word(segment, AT_PUBLISHED_COPY), first + damage.good)
    store_relaxed(segment_word(segment, AT_PUBLISHED), first + damage.good)
    return Recovery(first + damage.good, filled - damage.good,
                    "torn tail" if filled != damage.good else "complete")


@dataclass(frozen=True, slots=True)
class Verified:
    """What a log holds: positions [first, good_position) are proven; problem is "" when that is all of it."""

    first: int
    good_position: int
    position: int
    segment_count: int
    problem: str


def verify(directory, str name):
    """Prove every record of a log without changing it; returns a Verified, the first damage in words."""
    cdef Segment segment
    cdef Damage damage
    cdef uint64_t published, expected, hash = log_name_hash(name)
    cdef bytes path = os.fsencode(directory)
    firsts = segment_firsts(directory)
    if not firsts:
        return Verified(0, 0, 0, 0, f"native.log: {directory} holds no log; name another directory")
    good = position = expected = firsts[0]
    problem = ""
    for first in firsts:
        found = segment_open(&segment, path, first, hash, False)
        if found == SEGMENT_OK and first != expected:
            found = SEGMENT_GONE
        elif found == SEGMENT_OK and position != expected and not problem:
            if segment_word(&segment, AT_PUBLISHED)[0] != first:  # one made ahead holds nothing yet
                found = SEGMENT_PUBLISHED
        if found != SEGMENT_OK:
            problem = problem or str(problem_error(directory, found, expected))
            break
        published = segment_word(&segment, AT_PUBLISHED)[0] - first
        damage = segment_scan(&segment, 0, min(published, segment.present))
        if not problem and (published or damage.problem != SEGMENT_OK):
            good = first + damage.good
            if damage.problem != SEGMENT_OK or published > segment.present:
                reason = damage.problem if damage.problem != SEGMENT_OK else SEGMENT_SHORT
                problem = str(problem_error(directory, reason, first + damage.good))
        position = first + published if published else position
        expected = first + segment.slots
        segment_close(&segment)
    return Verified(firsts[0], good, position, len(firsts), problem)
