# The halt page's level words; an effect lane reads them before each first byte.
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    HALT_LEVEL_MAX = 4
    HALT_LEVEL_UNREADABLE = 3  # a word or page that makes no sense counts as this


@cython.final
cdef class HaltWords:
    cdef const uint64_t* first
    cdef uint64_t* own          # NULL = read-only
    cdef uint64_t stride        # in words
    cdef uint32_t owner_count
    cdef object keeper, lease_keeper
    cdef const uint64_t* lease  # monotonic ns, renewed by the supervisor; NULL = not watched
    cdef int64_t lease_ns_max
    cpdef uint32_t level(self) noexcept nogil             # the highest of all owners
    cpdef bint is_lease_lost(self) noexcept nogil
    cpdef uint32_t level_of(self, uint32_t owner) noexcept nogil
