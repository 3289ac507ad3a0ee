# The native way of a market frame from the socket's buffer into the feed ring; see wslistener.pyx.
from libc.stdint cimport int64_t

from pipeline.native.arbiter cimport Beat
from pipeline.native.counters cimport Counter
from pipeline.native.flow cimport Sink
from pipeline.native.framescan cimport Scanner
from pipeline.native.stamps cimport Stamps


cdef class ShortCut:
    cdef Scanner scanner
    cdef Sink sink
    cdef Counter frames, twins
    cdef Stamps stamps
    cdef public bint is_held
    cdef bint take(self, const char* data, size_t bytes, int64_t offset_ns, Beat* beat) noexcept nogil
