# The ceilings of an effect lane and what was used of them; see brake.pyx.
from libc.stdint cimport int64_t, uint64_t


cdef packed struct BrakeState:  # the lane's file
    char magic[8]
    int64_t day
    int64_t day_usd_micro
    int64_t minute
    int64_t minute_orders
    uint64_t order_no           # the highest that may have left


cdef class BrakeCore:
    cdef BrakeState* state
    cdef object keeper          # the mapping that holds it
    cdef int64_t order_usd_micro_max, day_usd_micro_max, minute_orders_max
    cdef int refuse_c(self, int64_t now_ns, int64_t deadline_ns, int intent_class, int64_t usd_micro,
                      int level) noexcept nogil
    cdef void commit_c(self, uint64_t order_no) noexcept nogil


cpdef int refuse_late(int64_t now_ns, int64_t deadline_ns, int intent_class, int level) noexcept nogil
cpdef bint is_allowed(int level, int intent_class) noexcept nogil
