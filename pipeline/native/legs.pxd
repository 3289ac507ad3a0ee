# Fee terms of every price and the ladders of one token, as sizing reads them; see legs.pyx.
from libc.stdint cimport int64_t

from pipeline.native.records cimport TopSlot

cdef extern from *:
    """
    typedef __int128 pm_i128;
    """
    ctypedef long long i128 "pm_i128"  # Cython cannot make a Python int of it


cdef enum:
    LEVELS_MAX = 16  # usable levels of one side; a TOP has 8


cdef struct Terms:
    int64_t unit_pico   # price + fee of a share; 0 = not computed yet
    int64_t worst_pico  # the most that a budget may take a share
    i128 part           # the fee of a size is size * part / whole quanta of 10 uUSD
    i128 whole


cdef struct Level:
    int64_t price_ticks
    int64_t size_micro


# The number, or the end of int64_t that is nearest: for what is only compared then.
cdef int64_t saturated(object value) except? -1
# The number of low..high, low >= 0; InvariantError, told by the module `where`, for any other.
cdef int64_t checked(object value, int64_t low, int64_t high, str where, str name) except -1
cdef int outside(str where, str name, object low, object high, object value) except -1
cdef object python_of(i128 value)


cdef class FeeTerms:
    cdef Terms* at_price
    cdef const Terms* terms(self, int64_t price_ticks) except NULL


cdef class Leg:
    cdef readonly FeeTerms fees
    cdef readonly int64_t row, outcome, tick_step, size_micro_min, usd_micro_min, fee_rate_ppm, fee_exponent
    cdef int asks_count, bids_count
    cdef Level asks_at[LEVELS_MAX]
    cdef Level bids_at[LEVELS_MAX]
    cdef void show(self, const TopSlot* slot, bint is_mirrored) noexcept
