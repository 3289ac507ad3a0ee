# The stage `book` without its sockets, clocks and processes: one fold over the ordered stream.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pipeline.native.bookhash cimport Preimage
from pipeline.native.bookrow cimport BookRow, Change, Counters, Doubt, Params, Recent, Stage
from pipeline.native.flow cimport Sink, Source
from pipeline.native.ladder cimport Arena, Rows


cdef class Books:
    cdef Arena arena
    cdef Rows rows
    cdef object buffers
    cdef BookRow* books
    cdef uint64_t* pending            # one bit a row: not proven, crossed, or a timer runs
    cdef Stage* stages                # 0 = snapshots of one run
    cdef Change* changes
    cdef Preimage preimage
    cdef Params params, defaults
    cdef Counters counters
    cdef Doubt doubt
    cdef int64_t venue_ns             # newest time of the venue's frames
    cdef uint32_t ahead_count         # frames in a row that were of a time that had not come
    cdef Recent sampled               # books that samples made stale
    cdef uint32_t rows_max, rows_end  # rows_end: highest known row + 1
    cdef uint32_t stage_turn
    # a Tick may need several calls when the sink is full; all of this is part of the fold
    cdef bint is_ticking, has_search
    cdef uint32_t tick_row, tick_left, hash_cursor
    cdef int64_t hash_left
    cdef bint is_costly               # the last record computed a hash: show its outputs at once
    cpdef int poll(self, Source source, Sink sink, int budget) except -1
    cdef bint fold(self, Source source, uint64_t at, uint32_t parts, Sink sink) noexcept nogil
