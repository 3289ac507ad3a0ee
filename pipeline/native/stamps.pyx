# cython: language_level=3, boundscheck=False, wraparound=False
"""When a stage finished with a stream position: one table a stage, outside the records.

Timings never enter a record (they would break replay), so each stage leaves (position, time) here and
the gateway joins them into one tick-to-order line. A table forgets after `entries` positions.
"""

from libc.stdint cimport int64_t, uint64_t

cdef extern from *:
    """
    #include <stdatomic.h>
    #include <stdint.h>
    typedef struct { _Atomic uint64_t position; _Atomic int64_t time_ns; } pm_stamp;

    static inline void pm_stamp_write(pm_stamp *entry, uint64_t position, int64_t time_ns) {
        /* The odd order keeps a reader from pairing a new time with an old position. */
        atomic_store_explicit(&entry->position, UINT64_MAX, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
        atomic_store_explicit(&entry->time_ns, time_ns, memory_order_relaxed);
        atomic_store_explicit(&entry->position, position, memory_order_release); /* SYNC stamped */
    }

    static inline int64_t pm_stamp_read(pm_stamp *entry, uint64_t position) {
        if (atomic_load_explicit(&entry->position, memory_order_acquire) != position) /* SYNC stamped */
            return 0;
        int64_t time_ns = atomic_load_explicit(&entry->time_ns, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        return atomic_load_explicit(&entry->position, memory_order_relaxed) == position ? time_ns : 0;
    }
    """
    ctypedef struct pm_stamp:
        pass
    void pm_stamp_write(pm_stamp* entry, uint64_t position, int64_t time_ns) nogil
    int64_t pm_stamp_read(pm_stamp* entry, uint64_t position) nogil

ENTRY_BYTES = 16


cdef class Stamps:
    """One stage's table over `buffer` (entries * 16 bytes, entries a power of two). Writer: that stage."""

    def __init__(self, unsigned char[::1] buffer not None):
        cdef Py_ssize_t entries = buffer.shape[0] // 16
        if entries < 1 or entries & (entries - 1) or entries * 16 != buffer.shape[0]:
            raise ValueError(
                f"native.stamps: entries must be a power of two of 16 bytes, was {buffer.shape[0]} bytes")
        self.owner = buffer
        self.table = &buffer[0]
        self.mask = <uint64_t>entries - 1

    cdef void mark_one(self, uint64_t position, int64_t time_ns) noexcept nogil:
        # As `mark` of one position.
        pm_stamp_write(&(<pm_stamp*>self.table)[position & self.mask], position, time_ns)

    def mark(self, uint64_t first, uint64_t end, int64_t time_ns):
        """Note that positions first..end-1 were done at `time_ns`; only the newest `entries` are kept."""
        cdef uint64_t position
        with nogil:
            if end > first + self.mask + 1:
                first = end - self.mask - 1
            for position in range(first, end):
                self.mark_one(position, time_ns)

    def get(self, uint64_t position):
        """Return when `position` was done, or 0 when it was not, or is forgotten."""
        return pm_stamp_read(&(<pm_stamp*>self.table)[position & self.mask], position)

    def release(self):
        """Drop the view, so that the segment can be closed."""
        self.table = NULL
        self.owner = None
