# The two ends of every record channel: a ring and a log look alike from here.
# One thread owns an end. Nothing here waits, allocates or takes the GIL.
from libc.stdint cimport uint32_t, uint64_t

from pipeline.native.records cimport Slot


cdef class Source:
    """Reading end. Slots come in order; a run of `parts` slots is visible whole or not at all.

    PAD slots never show: an implementation skips them inside `available`.
    """
    cdef uint64_t available(self) noexcept nogil          # slots readable now and contiguous in `at`
    cdef const Slot* at(self, uint64_t index) noexcept nogil  # index < available; valid until advance
    cdef void advance(self, uint64_t count) noexcept nogil    # gives the first `count` slots back


cdef class Sink:
    """Writing end. `begin(n)` reserves room for one run; fill `claim(0..n-1)`; `publish(n)` shows it.

    n <= RUN_SLOTS_MAX. publish sets `part` and `parts` of each slot; a log also sets `seq` and `check`.
    Several runs under one release store: `begin`, fill, `close_run` for each, then one `flush`. Closed runs
    stay invisible until then (or until 64 slots are closed: then `begin` flushes by itself).
    """
    cdef bint begin(self, uint32_t count) noexcept nogil      # False: no room now, nothing changed
    cdef Slot* claim(self, uint32_t index) noexcept nogil
    cdef void publish(self, uint32_t count) noexcept nogil    # close_run + flush
    cdef void close_run(self, uint32_t count) noexcept nogil  # complete, not yet visible
    cdef void flush(self) noexcept nogil                      # show all closed runs at once
