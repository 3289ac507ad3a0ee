# Append-only log of mapped segment files: one writer, any number of readers with their own positions.
from libc.stdint cimport uint32_t, uint64_t

from pipeline.native.flow cimport Sink, Source
from pipeline.native.records cimport Slot
from pipeline.native.segments cimport Segment


cdef class LogWriter(Sink):
    cdef Segment current, next, retired
    cdef bytes path
    cdef const char* directory         # of `path`
    cdef str name, where
    cdef uint64_t name_hash
    cdef uint64_t end_offset           # offset in `current` of the next record, closed runs included
    cdef uint64_t published            # position after the last visible record
    cdef uint32_t pending
    cdef uint64_t populated            # bytes of `next` that are in memory
    cdef int lock_fd
    cdef int error                     # last failure of making a segment: errno or SegmentProblem
    cdef readonly object recovered     # Recovery: what attaching found
    cdef readonly uint64_t inline_rolls  # segments that were not prepared in time
    cdef bint begin(self, uint32_t count) noexcept nogil
    cdef Slot* claim(self, uint32_t index) noexcept nogil
    cdef void close_run(self, uint32_t count) noexcept nogil
    cdef void flush(self) noexcept nogil
    cdef bint prepare(self, uint64_t bytes_max) noexcept nogil  # True: nothing left to prepare
    cdef bint _roll(self) noexcept nogil
    cdef bint _map_next(self) noexcept nogil
    cdef int _raise(self, int problem, uint64_t position) except -1
    cdef int _attach(self, list firsts) except -1
    cdef int _open(self, uint64_t slots, uint64_t salt_epoch, bint fresh, uint64_t position) except -1


cdef class LogReader(Source):
    cdef Segment current, next, retired
    cdef bytes path
    cdef const char* directory         # of `path`
    cdef str name, where
    cdef uint64_t name_hash
    cdef uint64_t offset, limit        # in `current`: next slot, end of what is visible and no PAD
    cdef uint64_t wanted               # position while no segment is mapped
    cdef bint is_verifying
    cdef int problem                   # SegmentProblem or errno; then nothing more is shown
    cdef uint64_t problem_position
    cdef uint64_t available(self) noexcept nogil
    cdef const Slot* at(self, uint64_t index) noexcept nogil
    cdef void advance(self, uint64_t count) noexcept nogil
    cdef uint64_t look(self) noexcept nogil
    cdef uint64_t position_now(self) noexcept nogil
    cdef bint prepare(self) noexcept nogil
    cdef bint _open_first(self) noexcept nogil
    cdef bint _roll(self) noexcept nogil
    cdef bint _map_next(self) noexcept nogil
    cdef uint64_t _fail(self, int problem, uint64_t position) noexcept nogil
