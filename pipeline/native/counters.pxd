# Words that a lane bumps and everybody may read: plain i64 counters and log-linear histograms.
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    SUB_BUCKETS = 32       # per power of two: a value is known to 1/32
    BUCKET_COUNT = 1888    # all of 0 .. 2**63 - 1
    HISTOGRAM_WORDS = 4 + BUCKET_COUNT  # count, sum, max, negative, buckets


@cython.final
cdef class Counter:
    cdef int64_t* word
    cdef object keeper      # the buffer that holds the word
    cpdef void add(self, int64_t amount=*) noexcept nogil
    cpdef void put(self, int64_t value) noexcept nogil
    cpdef int64_t get(self) noexcept nogil


@cython.final
cdef class Histogram:
    cdef uint64_t* words
    cdef object keeper
    cpdef void observe(self, int64_t ns) noexcept nogil
