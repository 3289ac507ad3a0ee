# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Segment files of a log: header, mapping, proof of contents; `log` and the tools build on it.

A file `<first position, 20 digits>.log` holds one header page and `slots` slots:

    byte 0     constant               magic, layout hash, name hash, first, slots, salt epoch, their CRC-32C
    byte 256   writer: log writer     published, and a copy stored just after it
    byte 384   writer: log writer     1 when the next file stands in the directory
"""

import hashlib
import os
from dataclasses import dataclass

from libc.errno cimport EEXIST
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from pipeline.native.crc cimport crc32c, slot_check
from pipeline.native.records cimport KIND_PAD, RUN_SLOTS_MAX, SLOT_BYTES, Slot

from pipeline.errors import EnvironmentProblem, LayoutError, LogCorrupt
from pipeline.records import LAYOUT_HASH

cdef extern from "segment.h" nogil:
    void pm_segment_path(char* out, size_t out_bytes, const char* directory, uint64_t first) noexcept
    int pm_segment_map(const char* path, int writable, uint64_t bytes_max, unsigned char** base,
                       uint64_t* bytes) noexcept
    int pm_segment_create(const char* directory, uint64_t first, uint64_t bytes, const void* header,
                          size_t header_bytes) noexcept
    int pm_segment_extend(const char* path, uint64_t bytes) noexcept
    void pm_segment_populate(unsigned char* base, uint64_t bytes, int writable) noexcept
    void pm_segment_unmap(unsigned char* base, uint64_t bytes) noexcept

cdef enum:
    AT_MAGIC = 0
    AT_LAYOUT = 8
    AT_FIRST = 24
    AT_SLOTS = 32
    AT_SALT_EPOCH = 40
    AT_CHECK = 48
    PATH_BYTES_MAX = 4200

cdef uint64_t LOG_MAGIC = 0x31676F6C20206D70  # "pm  log1"
cdef uint64_t SLOTS_MIN = RUN_SLOTS_MAX
cdef uint64_t SLOTS_MAX = 1 << 26  # 16 GiB
cdef uint64_t _layout = LAYOUT_HASH


cdef uint64_t log_name_hash(str name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


cdef int segment_open(Segment* segment, const char* directory, uint64_t first, uint64_t name_hash,
                      bint writable) noexcept nogil:
    """Map the file of `first` and check its header; on a problem nothing stays mapped."""
    cdef char path[PATH_BYTES_MAX]
    cdef int problem
    memset(segment, 0, sizeof(Segment))
    pm_segment_path(path, PATH_BYTES_MAX, directory, first)
    problem = pm_segment_map(path, writable, SEGMENT_HEADER_BYTES + SLOTS_MAX * SLOT_BYTES, &segment.base,
                             &segment.bytes)
    if problem:
        return problem
    problem = _header_problem(segment, first, name_hash)
    if problem:
        segment_close(segment)
        return problem
    segment.first = first
    segment.slots = segment_word(segment, AT_SLOTS)[0]
    segment.salt_epoch = segment_word(segment, AT_SALT_EPOCH)[0]
    segment.present = (segment.bytes - SEGMENT_HEADER_BYTES) // SLOT_BYTES
    if segment.present > segment.slots:
        segment.present = segment.slots
    return SEGMENT_OK


cdef int _header_problem(Segment* segment, uint64_t first, uint64_t name_hash) noexcept nogil:
    cdef uint64_t slots
    if segment.base == NULL or segment.bytes < SEGMENT_HEADER_BYTES:
        return SEGMENT_SHORT
    if segment_word(segment, AT_MAGIC)[0] != LOG_MAGIC:
        return SEGMENT_MAGIC
    if segment_word(segment, AT_CHECK)[0] != crc32c(segment.base, AT_CHECK):
        return SEGMENT_CHECK
    if segment_word(segment, AT_LAYOUT)[0] != _layout:
        return SEGMENT_LAYOUT
    if segment_word(segment, AT_NAME)[0] != name_hash:
        return SEGMENT_NAME
    if segment_word(segment, AT_FIRST)[0] != first:
        return SEGMENT_FIRST
    slots = segment_word(segment, AT_SLOTS)[0]
    if slots < SLOTS_MIN or slots > SLOTS_MAX:
        return SEGMENT_SLOTS
    return SEGMENT_OK


cdef int segment_create(const char* directory, uint64_t first, uint64_t slots, uint64_t name_hash,
                        uint64_t salt_epoch) noexcept nogil:
    """Make an empty segment file, its space reserved; EEXIST when it stands there already."""
    cdef unsigned char header[512]
    cdef uint64_t* words = <uint64_t*>header
    memset(header, 0, sizeof(header))
    words[AT_MAGIC // 8] = LOG_MAGIC
    words[AT_LAYOUT // 8] = _layout
    words[AT_NAME // 8] = name_hash
    words[AT_FIRST // 8] = first
    words[AT_SLOTS // 8] = slots
    words[AT_SALT_EPOCH // 8] = salt_epoch
    words[AT_CHECK // 8] = crc32c(header, AT_CHECK)
    words[AT_PUBLISHED // 8] = first
    words[AT_PUBLISHED_COPY // 8] = first
    return pm_segment_create(directory, first, SEGMENT_HEADER_BYTES + slots * SLOT_BYTES, header,
                             sizeof(header))


cdef void segment_close(Segment* segment) noexcept nogil:
    if segment.base != NULL:
        pm_segment_unmap(segment.base, segment.bytes)
    segment.base = NULL


cdef int segment_extend(const char* directory, uint64_t first, uint64_t slots) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    pm_segment_path(path, PATH_BYTES_MAX, directory, first)
    return pm_segment_extend(path, SEGMENT_HEADER_BYTES + slots * SLOT_BYTES)


cdef void segment_populate(Segment* segment, uint64_t start, uint64_t bytes, bint writable) noexcept nogil:
    """Bring bytes [start, start + bytes) of the mapping in; `start` is a multiple of the page size."""
    if start < segment.bytes:
        pm_segment_populate(segment.base + start, min(bytes, segment.bytes - start), writable)


cdef uint64_t segment_data_end(const Segment* segment, uint64_t end) noexcept nogil:
    """Return `end` less the PAD slots before it."""
    while end and segment_slot(segment, end - 1).kind == KIND_PAD:
        end -= 1
    return end


cdef inline bint _is_whole(const Segment* segment, uint64_t offset) noexcept nogil:
    cdef const Slot* slot = segment_slot(segment, offset)
    return slot.seq == segment.first + offset and slot.check == slot_check(slot)


cdef Damage segment_scan(const Segment* segment, uint64_t start, uint64_t stop) noexcept nogil:
    """Prove the runs in slots [start, stop): check, sequence, part and parts of each.

    The damage is a torn tail when no readable slot after it belongs to a later run; else it is in the middle.
    """
    cdef Damage damage
    cdef uint64_t offset = start
    cdef uint32_t part = 0, parts = 1
    cdef const Slot* slot
    damage.problem = SEGMENT_OK
    damage.is_tail = True
    damage.good = damage.bad = start
    while offset < stop:
        slot = segment_slot(segment, offset)
        if not _is_whole(segment, offset) or slot.part != part or (part and slot.parts != parts):
            break
        if part == 0:
            parts = slot.parts
            if parts < 1 or parts > RUN_SLOTS_MAX:
                break
        offset += 1
        part += 1
        if part == parts:
            part = 0
            damage.good = offset
    if damage.good == stop:
        return damage
    damage.problem = SEGMENT_RECORD
    damage.bad = offset
    offset += 1
    while offset < stop:
        slot = segment_slot(segment, offset)
        if _is_whole(segment, offset) and offset - slot.part > damage.good:
            damage.is_tail = False
            break
        offset += 1
    return damage


cdef str problem_text(int problem):
    texts = {
        SEGMENT_SHORT: "the header is cut off", SEGMENT_MAGIC: "the magic is not that of a log segment",
        SEGMENT_LAYOUT: "the layout hash is not this build's", SEGMENT_CHECK: "the header fails its checksum",
        SEGMENT_NAME: "the segment belongs to another log",
        SEGMENT_FIRST: "the first position is not the file's name",
        SEGMENT_SLOTS: "the slot count is out of range", SEGMENT_PUBLISHED: "published lies outside the file",
        SEGMENT_RECORD: "a record fails its check", SEGMENT_GONE: "the next segment is missing",
    }
    return os.strerror(problem) if problem > 0 else texts.get(problem, "no problem")


def problem_error(where, int problem, uint64_t position):
    """Return the exception that says what is wrong with the segment of `position` and what to do."""
    text = f"native.log: {where} at position {position}: {problem_text(problem)}"
    if problem > 0:
        return EnvironmentProblem(f"{text}; free space or fix permissions there, then start again")
    if problem in (SEGMENT_MAGIC, SEGMENT_LAYOUT, SEGMENT_NAME, SEGMENT_SLOTS):
        return LayoutError(f"{text}; use the build that wrote it, or begin new logs from what the venue "
                           "says: pm run --recover-from-venue")
    return LogCorrupt(
        f"{text}; do not trade on it: keep a copy, run `pm inspect` and restore from the archive")


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """One file of a log. Positions: `first` <= `published` <= `first + slots`."""

    path: str
    first: int
    slots: int
    published: int
    salt_epoch: int


def segment_firsts(directory):
    """Return the first positions of the directory's segment files, rising."""
    found = []
    for entry in os.listdir(directory):
        stem, dot, end = entry.partition(".")
        if dot and end == "log" and len(stem) == 20 and stem.isdigit():
            found.append(int(stem))
    return sorted(found)


def segments(directory, str name):
    """Return a SegmentInfo for each file of the log, oldest first; raises for a wrong header."""
    cdef Segment segment
    cdef uint64_t hash = log_name_hash(name)
    cdef bytes path = os.fsencode(directory)
    found = []
    for first in segment_firsts(directory):
        problem = segment_open(&segment, path, first, hash, False)
        if problem:
            raise problem_error(directory, problem, first)
        found.append(SegmentInfo(os.path.join(os.fsdecode(path), f"{first:020d}.log"), first, segment.slots,
                                 segment_word(&segment, AT_PUBLISHED)[0], segment.salt_epoch))
        segment_close(&segment)
    return found


def allocate_segment(directory, str name, uint64_t first, uint64_t slots, uint64_t salt_epoch=0):
    """Make the file for `first` ahead of the writer; False when it is there already. For the archiver."""
    cdef bytes path = os.fsencode(directory)
    problem = segment_create(path, first, slots, log_name_hash(name), salt_epoch)
    if problem == EEXIST:
        return False
    if problem:
        raise problem_error(directory, problem, first)
    return True
