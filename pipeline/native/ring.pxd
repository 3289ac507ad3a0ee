# Single producer, single gating reader, any number of observers, over one buffer of shared memory.
from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint32_t, uint64_t

from pipeline.native.flow cimport Sink, Source
from pipeline.native.records cimport Slot

cdef enum:
    RING_HEADER_BYTES = 4096


cdef class Mapped:
    """One end's hold on the ring's buffer; released by `close`."""
    cdef Py_buffer buffer
    cdef bint is_open
    cdef bint is_writable
    cdef unsigned char* base
    cdef Slot* slots
    cdef uint64_t slots_count
    cdef int open(self, object buffer, bint writable) except -1
    cdef void release(self)
    cdef inline uint64_t* word(self, uint64_t offset) noexcept nogil:
        return <uint64_t*>(self.base + offset)


cdef class Writer(Sink):
    cdef Mapped mapped
    cdef Slot* slots
    cdef uint64_t slots_count, mask
    cdef uint64_t* tail_word          # writer: producer; next position to write
    cdef const uint64_t* head_word    # writer: gating reader
    cdef uint64_t tail                # private copy of our own word
    cdef uint64_t head_seen           # private: last head read; saves a cache miss per push
    cdef uint64_t epoch_own
    cdef uint64_t closed_word         # stands for the shared words after close()
    cdef uint32_t pending             # slots of closed runs that are not yet visible
    cdef readonly uint64_t full_count  # how often there was no room
    cdef bint begin(self, uint32_t count) noexcept nogil
    cdef Slot* claim(self, uint32_t index) noexcept nogil
    cdef void close_run(self, uint32_t count) noexcept nogil
    cdef void flush(self) noexcept nogil


cdef class Reader(Source):
    cdef Mapped mapped
    cdef const Slot* slots
    cdef uint64_t slots_count, mask
    cdef const uint64_t* tail_word
    cdef uint64_t* head_word
    cdef uint64_t head, tail_seen
    cdef uint64_t epoch_own
    cdef uint64_t closed_word
    cdef readonly uint64_t empty_count  # how often nothing was there
    cdef bint is_broken                 # the positions contradict each other; check() raises
    cdef uint64_t available(self) noexcept nogil
    cdef const Slot* at(self, uint64_t index) noexcept nogil
    cdef void advance(self, uint64_t count) noexcept nogil


cdef class Observer:
    cdef Mapped mapped
    cdef const Slot* slots
    cdef uint64_t slots_count, mask
    cdef const uint64_t* tail_word
    cdef uint64_t next_position
    cdef bint is_skipping             # after a loss: on to the start of a run
    cdef uint32_t vain_count          # copies in a row that were overwritten while they were made
    cdef readonly uint64_t lost_count
    # Copies up to `slots_max` whole slots; returns how many; adds what was overtaken to *lost.
    cdef uint64_t copy(self, Slot* target, uint64_t slots_max, uint64_t* lost) noexcept nogil
