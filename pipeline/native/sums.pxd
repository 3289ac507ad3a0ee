# Newest tops of watched rows and the running sums of the baskets over them; see sums.pyx.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pipeline.native.records cimport TopSlot


cdef class Sum:
    cdef int64_t* gains
    cdef readonly tuple tops
    cdef readonly bytes outcomes
    cdef readonly Py_ssize_t legs_count
    cdef readonly bint is_subset
    cdef readonly int64_t total, best
    cdef void put(self, Py_ssize_t leg_no, int64_t unit) noexcept
    cdef Py_ssize_t checked(self, Py_ssize_t leg_no) except -1


cdef class Link:
    cdef readonly Sum sum
    cdef readonly Py_ssize_t leg_no
    cdef readonly int outcome


cdef class Top:
    cdef TopSlot raw
    cdef bytes slot_bytes             # of `raw`, made when somebody asks
    cdef readonly list links
    cdef object fees                  # anything with `add(price_ticks)` that fills `units`
    cdef const int64_t[::1] units     # by price; 0 = not computed yet
    cdef public uint32_t flags
    cdef readonly uint32_t bid_ticks, ask_ticks
    cdef readonly int64_t unit_yes, unit_no
    cdef readonly int64_t touched_ns, touched_until_ns
    cdef public bint is_resolved
    cdef bint is_tradable, is_mirrored
    cdef list leg_books               # by outcome: what `leg` keeps
    cdef uint64_t leg_taken[2]        # taken_count that they are of
    cdef readonly uint64_t taken_count
    cdef bint take_slot(self, const TopSlot* slot) except -1
    cdef int64_t unit_at(self, uint32_t price_ticks) except -1
    cdef int price(self) except -1
    cdef bytes shown(self, int outcome)
    cpdef int64_t unit(self, int outcome) noexcept
    cpdef bint is_near(self) noexcept
    cpdef bint is_free(self, int64_t now_ns, int64_t proof_age_ns_max) noexcept


cdef class Tops:
    cdef list rows
    cdef bint take_slot(self, const TopSlot* slot) except -1
