# Newest tops of watched rows and the running sums of the baskets over them; see sums.pyx.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pipeline.native.legs cimport FeeTerms, Leg
from pipeline.native.records cimport TopSlot


cdef class Sum:
    cdef int64_t* gains
    cdef readonly tuple tops
    cdef readonly bytes outcomes
    cdef readonly Py_ssize_t legs_count
    cdef readonly bint is_subset
    cdef readonly int64_t total, best
    cdef void put(self, Py_ssize_t leg_no, int64_t unit) noexcept


cdef class Link:
    cdef readonly Sum sum
    cdef readonly Py_ssize_t leg_no
    cdef readonly int outcome


cdef class Top:
    cdef TopSlot raw
    cdef readonly list links
    cdef FeeTerms fees
    cdef public uint32_t flags
    cdef readonly uint32_t bid_ticks, ask_ticks
    cdef readonly int64_t unit_yes, unit_no
    cdef readonly int64_t touched_ns, touched_until_ns
    cdef public bint is_resolved
    cdef bint is_tradable, is_mirrored
    cdef list legs                    # by outcome: what `leg` keeps
    cdef uint64_t leg_taken[2]        # taken_count that they are of
    cdef readonly uint64_t taken_count
    cdef bint take_slot(self, const TopSlot* slot) except -1
    cdef int64_t unit_at(self, uint32_t price_ticks) except -1
    cdef int price(self) except -1
    cdef Leg leg_c(self, int outcome)
    cdef void show(self, int outcome, char* target) noexcept
    cdef int64_t unit_c(self, int outcome) noexcept
    cdef bint is_near_c(self) noexcept
    # `_c`: what Python calls by the name without it, spared the look for an override
    cdef int block_c(self, int64_t now_ns, int64_t proof_age_ns_max) noexcept


cdef class Tops:
    cdef list rows
    cdef readonly Top near            # the newest one that came near a profit
    cdef bint take_slot(self, const TopSlot* slot) except -1
