# Stamp table of one stage; see stamps.pyx.
from libc.stdint cimport int64_t, uint64_t


cdef class Stamps:
    cdef void* table        # pm_stamp[mask + 1]
    cdef uint64_t mask
    cdef object owner
    cdef void mark_one(self, uint64_t position, int64_t time_ns) noexcept nogil
