# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Counters and latency histograms in shared memory; `shm/status` lays the page out and reads it.

One thread writes a word, so a bump is a plain load and a relaxed store; readers see each word whole.
A histogram has 32 buckets per power of two from 0 to 2**63 - 1 ns: 15 KiB, relative error at most 1/32.
Without a buffer each object keeps its own words, so a stage can be built without a status page.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t

from pipeline.native.atomics cimport load_relaxed, store_relaxed

from pipeline.errors import InvariantError

cdef extern from *:
    int __builtin_clzll(unsigned long long value) noexcept nogil

cdef enum:
    AT_COUNT = 0
    AT_SUM = 1
    AT_MAX = 2
    AT_NEGATIVE = 3
    AT_BUCKETS = 4
    SUB_BITS = 5

HISTOGRAM_BYTES = HISTOGRAM_WORDS * 8


cdef unsigned char* _place(buffer, Py_ssize_t offset, Py_ssize_t bytes_count) except NULL:
    cdef unsigned char[::1] view = buffer
    if offset < 0 or offset + bytes_count > view.shape[0] or <uintptr_t>(&view[0] + offset) & 7:
        raise InvariantError(f"native.counters: {bytes_count} bytes at offset {offset} (multiple of 8) "
                             f"expected within the buffer, it has {view.shape[0]} bytes")
    return &view[offset]


@cython.final
cdef class Counter:
    """One i64 word. `Counter(buffer, offset)` shares it; the holder releases the buffer by `close`."""

    def __init__(self, buffer=None, Py_ssize_t offset=0):
        if buffer is None:
            buffer = bytearray(8)
        self.word = <int64_t*>_place(buffer, offset, 8)
        self.keeper = memoryview(buffer)

    cpdef void add(self, int64_t amount=1) noexcept nogil:
        """Add `amount`."""
        store_relaxed(<uint64_t*>self.word, <uint64_t>(self.word[0] + amount))

    cpdef void put(self, int64_t value) noexcept nogil:
        """Set the word to `value`."""
        store_relaxed(<uint64_t*>self.word, <uint64_t>value)

    cpdef int64_t get(self) noexcept nogil:
        """Return the value."""
        return <int64_t>load_relaxed(<const uint64_t*>self.word)

    @property
    def value(self):
        """The value."""
        return self.get()

    def close(self):
        """Let the buffer go; later bumps go to a word of its own."""
        old = self.keeper
        Counter.__init__(self)
        old.release()


cdef inline uint32_t bucket_of(uint64_t value) noexcept nogil:
    cdef int top
    if value < SUB_BUCKETS:
        return <uint32_t>value
    top = 63 - __builtin_clzll(value)
    return <uint32_t>((top - SUB_BITS + 1) * SUB_BUCKETS + ((value >> (top - SUB_BITS)) & (SUB_BUCKETS - 1)))


@cython.final
cdef class Histogram:
    """Latencies in ns. `Histogram(buffer, offset)` shares HISTOGRAM_BYTES there."""

    def __init__(self, buffer=None, Py_ssize_t offset=0):
        if buffer is None:
            buffer = bytearray(HISTOGRAM_WORDS * 8)
        self.words = <uint64_t*>_place(buffer, offset, HISTOGRAM_WORDS * 8)
        self.keeper = memoryview(buffer)

    cpdef void observe(self, int64_t ns) noexcept nogil:
        """Count one latency; a negative one (a clock that disagrees) is counted apart."""
        cdef uint32_t index
        if ns < 0:
            store_relaxed(&self.words[AT_NEGATIVE], self.words[AT_NEGATIVE] + 1)
            return
        index = AT_BUCKETS + bucket_of(<uint64_t>ns)
        store_relaxed(&self.words[index], self.words[index] + 1)
        store_relaxed(&self.words[AT_SUM], self.words[AT_SUM] + <uint64_t>ns)
        if <uint64_t>ns > self.words[AT_MAX]:
            store_relaxed(&self.words[AT_MAX], <uint64_t>ns)
        store_relaxed(&self.words[AT_COUNT], self.words[AT_COUNT] + 1)

    def words_now(self):
        """Return (count, sum, max, negative, *buckets) as a tuple of int."""
        cdef Py_ssize_t index
        found = []
        for index in range(HISTOGRAM_WORDS):
            found.append(load_relaxed(&self.words[index]))
        return tuple(found)

    def close(self):
        """Let the buffer go; later observations go to words of its own."""
        old = self.keeper
        Histogram.__init__(self)
        old.release()


def bucket_index(uint64_t value):
    """Return the bucket of a value; for readers and tests."""
    return bucket_of(value)


def bucket_top(int index):
    """Return the greatest value of bucket `index`: what a percentile reports, so it never flatters."""
    if index < SUB_BUCKETS:
        return index
    shift = index // SUB_BUCKETS - 1
    return ((SUB_BUCKETS + index % SUB_BUCKETS + 1) << shift) - 1
