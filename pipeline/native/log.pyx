# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Append-only log of mapped segment files: the journal, and the channel between the stages of the chain.

Position = seq = index of the slot since the log's beginning. Runs never cross the end of a file: PAD slots
(one-slot runs, checked like all others) fill it and readers skip them.

What is visible: the slots below `published`, one release store per flush. A record that any reader saw is in
the page cache, so the death of any process leaves it there; what a dying writer had not published was never
visible, and the next writer overwrites it. So after a crash the log is exactly what its readers saw.
After a power loss pages may be missing: attaching proves each record of the last file, cuts a torn tail and
reports it in `recovered`, and refuses damage in the middle (LogCorrupt).
"""

import os

from libc.errno cimport EEXIST, ENOENT
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from pipeline.native.atomics cimport store_relaxed, store_release
from pipeline.native.crc cimport slot_check
from pipeline.native.records cimport KIND_PAD, RUN_SLOTS_MAX, SLOT_BYTES, Slot
from pipeline.native.recovery cimport recover_segment
from pipeline.native.segments cimport (
    AT_NEXT_READY, AT_PUBLISHED, AT_PUBLISHED_COPY, SEGMENT_GONE, SEGMENT_OK, SEGMENT_PUBLISHED,
    SEGMENT_SHORT, Damage, Segment, log_name_hash, next_ready_acquire, published_acquire, segment_close,
    segment_create, segment_data_end, segment_open, segment_populate, segment_scan, segment_slot,
    segment_word,
)

from pipeline.errors import EnvironmentProblem, LogCorrupt, UsageError
from pipeline.native.recovery import Recovery, drop_unused, find_active, lock_directory
from pipeline.native.segments import problem_error, segment_firsts

POPULATE_BYTES = 1 << 18  # one idle call of `prepare_next`: about 50 us


cdef void close_all(Segment* current, Segment* next, Segment* retired) noexcept nogil:
    segment_close(current)
    segment_close(next)
    segment_close(retired)


cdef class LogWriter(Sink):
    """Writing end; a lock file admits one per log.

    directory: must exist. segment_slots: 64..2**26, for a new log; an existing one keeps its own.
    fresh=True refuses a directory that holds a log; else an existing log is recovered and continued.
    salt_epoch and position are those of a new log. Raises EnvironmentProblem (disk, lock), LayoutError
    (another build or log), LogCorrupt (damage in the middle).
    """

    def __cinit__(self):
        self.lock_fd = -1

    def __init__(self, directory, str name, uint64_t segment_slots=65_536, *, uint64_t salt_epoch=0,
                 bint fresh=False, uint64_t position=0):
        if not RUN_SLOTS_MAX <= segment_slots <= 1 << 26:
            raise UsageError(
                f"native.log: segment_slots must be {RUN_SLOTS_MAX}..{1 << 26}, was {segment_slots}")
        self.path = os.fsencode(directory)
        self.directory = self.path
        self.name = name
        self.where = f'{os.fsdecode(self.path)} (log "{name}")'
        self.name_hash = log_name_hash(name)
        self.lock_fd = lock_directory(self.path, self.where)
        try:
            self._open(segment_slots, salt_epoch, fresh, position)
        finally:
            if self.recovered is None:
                self.close()

    cdef int _open(self, uint64_t slots, uint64_t salt_epoch, bint fresh, uint64_t position) except -1:
        firsts = segment_firsts(os.fsdecode(self.path))
        if fresh and firsts:
            raise EnvironmentProblem(f"native.log: {self.where}: an empty directory was expected, it holds "
                                     f"{len(firsts)} segments; continue that log or move it away")
        if firsts:
            self._attach(firsts)
        else:
            self._raise(segment_create(self.path, position, slots, self.name_hash, salt_epoch), position)
            self._raise(segment_open(&self.current, self.path, position, self.name_hash, True), position)
            self.recovered = Recovery(position, 0, "new")
        self.published = self.current.first + self.end_offset
        segment_populate(&self.current, 0, self.current.bytes, True)
        return 0

    cdef int _raise(self, int problem, uint64_t position) except -1:
        if problem != SEGMENT_OK:
            raise problem_error(self.where, problem, position)
        return 0

    cdef int _attach(self, list firsts) except -1:
        """Find the file that was written last, prove it, and take it over."""
        firsts = drop_unused(self.path, self.name, firsts)
        active = find_active(self.where, self.path, self.name, firsts)
        first = firsts[active]
        self._raise(segment_open(&self.current, self.path, first, self.name_hash, True), first)
        self.recovered = recover_segment(&self.current, self.where, self.path)
        self.end_offset = <uint64_t>self.recovered.position - self.current.first
        if active + 1 < len(firsts):
            self._map_next()
        return 0

    cdef bint begin(self, uint32_t count) noexcept nogil:
        if self.pending + count > RUN_SLOTS_MAX:
            if count > RUN_SLOTS_MAX:
                return False
            self.flush()
        if self.current.slots - self.end_offset < count:
            return self._roll()
        return True

    cdef Slot* claim(self, uint32_t index) noexcept nogil:
        return segment_slot(&self.current, self.end_offset + index)

    cdef void close_run(self, uint32_t count) noexcept nogil:
        cdef uint32_t index
        cdef Slot* slot
        for index in range(count):
            slot = segment_slot(&self.current, self.end_offset + index)
            slot.seq = self.current.first + self.end_offset + index
            slot.part = <unsigned char>index
            slot.parts = <unsigned char>count
            slot.check = slot_check(slot)
        self.end_offset += count
        self.pending += count

    cdef void flush(self) noexcept nogil:
        cdef uint64_t* word
        if self.pending:
            self.published += self.pending
            self.pending = 0
            word = segment_word(&self.current, AT_PUBLISHED)
            store_release(word, self.published)  # SYNC log-published -> published_acquire
            store_relaxed(segment_word(&self.current, AT_PUBLISHED_COPY), self.published)

    cdef bint _roll(self) noexcept nogil:
        """Go on in the next file; nothing is written unless that file stands ready."""
        self.flush()
        if self.current.base == NULL:
            return False
        if self.next.base == NULL or self.populated < self.next.bytes:
            self.inline_rolls += 1
            if not self._map_next():
                return False
        while self.end_offset < self.current.slots:
            memset(segment_slot(&self.current, self.end_offset), 0, SLOT_BYTES)
            segment_slot(&self.current, self.end_offset).kind = KIND_PAD
            self.close_run(1)
        self.flush()
        segment_close(&self.retired)
        self.retired = self.current
        self.current = self.next
        self.next.base = NULL
        self.end_offset = 0
        return True

    cdef bint _map_next(self) noexcept nogil:
        cdef uint64_t first = self.current.first + self.current.slots
        cdef uint64_t* word
        if self.next.base != NULL:
            return True
        self.populated = 0
        self.error = segment_open(&self.next, self.directory, first, self.name_hash, True)
        if self.error == ENOENT:
            self.error = segment_create(self.directory, first, self.current.slots, self.name_hash,
                                        self.current.salt_epoch)
            if self.error == SEGMENT_OK or self.error == EEXIST:
                self.error = segment_open(&self.next, self.directory, first, self.name_hash, True)
        if self.error != SEGMENT_OK:
            return False
        if self.next.present != self.next.slots:
            self.error = SEGMENT_SHORT
        elif segment_word(&self.next, AT_PUBLISHED)[0] != first:
            self.error = SEGMENT_PUBLISHED
        if self.error != SEGMENT_OK:
            segment_close(&self.next)
            return False
        word = segment_word(&self.current, AT_NEXT_READY)
        store_release(word, 1)  # SYNC log-next-ready -> next_ready_acquire
        return True

    cdef bint prepare(self, uint64_t bytes_max) noexcept nogil:
        if self.current.base == NULL or self.error != SEGMENT_OK:
            return True  # `begin` tries again when it needs the room
        if self.retired.base != NULL:
            segment_close(&self.retired)
            return False
        if self.next.base == NULL:
            self._map_next()
            return False
        if self.populated < self.next.bytes:
            segment_populate(&self.next, self.populated, bytes_max, True)
            self.populated += bytes_max
        return self.populated >= self.next.bytes

    def prepare_next(self, uint64_t bytes_max=POPULATE_BYTES):
        """Do one piece of the next segment's preparation; True when nothing is left. Call when idle.

        bytes_max: multiple of the page size; how much memory one call may bring in.
        """
        return bool(self.prepare(bytes_max))

    def check(self):
        """Raise when the last attempt to make a segment failed: the reason why `begin` said False."""
        if self.error != SEGMENT_OK:
            raise problem_error(self.where, self.error, self.current.first + self.current.slots)

    @property
    def position(self):
        """Position after the last visible record."""
        return self.published

    @property
    def salt_epoch(self):
        """Salt epoch that the log was made with."""
        return self.current.salt_epoch

    @property
    def segment_slots(self):
        """Slots of one file."""
        return self.current.slots

    def close(self):
        """Unmap and unlock; afterwards there is never room."""
        close_all(&self.current, &self.next, &self.retired)
        self.current.slots = self.end_offset = self.pending = 0
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1

    def __dealloc__(self):
        close_all(&self.current, &self.next, &self.retired)


cdef class LogReader(Source):
    """Reading end with its own position; follows a live log. Any number, over read-only mappings.

    position: of the first record wanted; None = the oldest there is. verify=True proves each record first
    (replay, tools); a live lane reads what the page cache holds and need not.
    """

    def __init__(self, directory, str name, position=0, *, bint verify=False):
        self.path = os.fsencode(directory)
        self.directory = self.path
        self.name = name
        self.where = f'{os.fsdecode(self.path)} (log "{name}")'
        self.name_hash = log_name_hash(name)
        self.is_verifying = verify
        self.seek(position)

    def seek(self, position):
        """Go to `position` (None = the oldest); LogCorrupt when the log does not reach it."""
        firsts = segment_firsts(os.fsdecode(self.path))
        close_all(&self.current, &self.next, &self.retired)
        self.offset = self.limit = 0
        self.problem = SEGMENT_OK
        if position is None:
            position = firsts[0] if firsts else 0
        self.wanted = position
        if not firsts:
            return
        holding = max([first for first in firsts if first <= position], default=None)
        if holding is None:
            raise EnvironmentProblem(f"native.log: {self.where}: position {position} is older than the "
                                     f"oldest segment {firsts[0]}; read on from the archive")
        problem = segment_open(&self.current, self.path, holding, self.name_hash, False)
        if problem:
            raise problem_error(self.where, problem, holding)
        self.offset = self.limit = self.wanted - self.current.first
        if self.offset > published_acquire(&self.current) - self.current.first:
            found = published_acquire(&self.current)
            segment_close(&self.current)
            raise LogCorrupt(
                f"native.log: {self.where}: position {position} expected, the log ends at {found}; "
                "the position is of another log or the log lost its end: verify before use")

    cdef uint64_t available(self) noexcept nogil:
        if self.offset != self.limit:
            return self.limit - self.offset
        return self.look()

    cdef const Slot* at(self, uint64_t index) noexcept nogil:
        return segment_slot(&self.current, self.offset + index)

    cdef void advance(self, uint64_t count) noexcept nogil:
        self.offset += count

    cdef uint64_t look(self) noexcept nogil:
        """Look for more; when idle this is one acquire load."""
        cdef uint64_t published, end
        cdef bint is_cut
        cdef Damage damage
        if self.problem != SEGMENT_OK:
            return 0
        if self.current.base == NULL and not self._open_first():
            return 0
        while True:
            published = published_acquire(&self.current) - self.current.first
            if published == self.offset and published < self.current.slots:
                return 0
            if published > self.current.present or published < self.offset:
                is_cut = self.offset <= published <= self.current.slots
                return self._fail(SEGMENT_SHORT if is_cut else SEGMENT_PUBLISHED, self.position_now())
            end = published
            damage.problem = SEGMENT_OK
            if self.is_verifying and published > self.offset:
                damage = segment_scan(&self.current, self.offset, published)
                end = damage.good
            if published == self.current.slots:
                end = segment_data_end(&self.current, end)
            if end > self.offset:
                self.limit = end
                return end - self.offset
            if damage.problem != SEGMENT_OK:
                return self._fail(damage.problem, self.current.first + damage.bad)
            if not self._roll():
                return 0

    cdef uint64_t position_now(self) noexcept nogil:
        return self.wanted if self.current.base == NULL else self.current.first + self.offset

    cdef uint64_t _fail(self, int problem, uint64_t position) noexcept nogil:
        self.problem = problem
        self.problem_position = position
        return 0

    cdef bint _open_first(self) noexcept nogil:
        cdef int problem = segment_open(&self.current, self.directory, self.wanted, self.name_hash, False)
        if problem != SEGMENT_OK and problem != ENOENT:
            self._fail(problem, self.wanted)
        return problem == SEGMENT_OK

    cdef bint _roll(self) noexcept nogil:
        """Go on in the next file, if the writer has made it."""
        if not self._map_next():
            return False
        segment_close(&self.retired)
        self.retired = self.current
        self.current = self.next
        self.next.base = NULL
        self.offset = self.limit = 0
        return True

    cdef bint _map_next(self) noexcept nogil:
        cdef uint64_t first = self.current.first + self.current.slots
        cdef int problem
        cdef uint64_t is_ready
        if self.next.base != NULL:
            return True
        is_ready = next_ready_acquire(&self.current)
        if not is_ready and not self.is_verifying:  # a flipped bit must not end a proof
            return False
        problem = segment_open(&self.next, self.directory, first, self.name_hash, False)
        if problem == ENOENT and not is_ready:
            return False
        if problem != SEGMENT_OK:
            self._fail(SEGMENT_GONE if problem == ENOENT else problem, first)
        return problem == SEGMENT_OK

    cdef bint prepare(self) noexcept nogil:
        if self.retired.base != NULL:
            segment_close(&self.retired)
            return False
        if self.current.base != NULL and self.next.base == NULL and self.problem == SEGMENT_OK:
            return not self._map_next()
        return True

    def prepare_next(self):
        """Map the next file ahead and unmap the last one; True when nothing is left. Call when idle."""
        return bool(self.prepare())

    def read(self, Py_ssize_t slots_max=64):
        """As Source.read; raises when nothing more can be shown because the log is damaged."""
        out = Source.read(self, slots_max)
        if not out:
            self.check()
        return out

    def check(self):
        """Raise LogCorrupt (or what fits) when the log cannot be read on."""
        if self.problem != SEGMENT_OK:
            raise problem_error(self.where, self.problem, self.problem_position)

    @property
    def position(self):
        """Position of the next record; at the end of a file it may still count the PAD slots."""
        return self.position_now()

    def close(self):
        """Unmap; afterwards nothing is ever available."""
        self.wanted = self.position
        self.problem = SEGMENT_GONE
        self.problem_position = self.wanted
        self.offset = self.limit = 0
        close_all(&self.current, &self.next, &self.retired)

    def __dealloc__(self):
        close_all(&self.current, &self.next, &self.retired)
