# The sequencer's merge loop: many sources, one order.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pipeline.native.flow cimport Sink, Source
from pipeline.native.log cimport LogWriter
from pipeline.native.records cimport InstrumentSlot, Slot, TickStepSlot

cdef enum:
    SOURCES_MAX = 1024


cdef enum Trouble:
    TROUBLE_NONE
    TROUBLE_SOURCE        # a source number beyond the table: exactly once cannot be kept
    TROUBLE_ROW           # an instrument row beyond the table: it could not be repeated


cdef class Sequencer:
    cdef list priority, feeds
    cdef Sink sink
    cdef LogWriter log                 # the sink, when it is a log; else None
    cdef InstrumentSlot* instruments   # by row; kind 0 = no such row
    cdef uint32_t rows_max, rows_end
    cdef uint64_t last_seq[SOURCES_MAX]
    cdef uint64_t lag_max, slots_written, segment_first, tick_count
    cdef uint32_t quantum, next_feed
    cdef bint has_repeats              # all rows must be repeated before the next record
    cdef Trouble trouble
    cdef uint64_t trouble_value
    cdef readonly int64_t now_ns       # last stamped
    cdef uint64_t records, duplicates, ticks, repeats, lagged, full
    cdef uint64_t place(self) noexcept
    cdef void keep(self, const Slot* slot) noexcept
    cdef void keep_tick(self, const TickStepSlot* slot) noexcept
    cdef void put_tick(self, InstrumentSlot* kept, unsigned short tick_step) noexcept
    cdef bint make_room(self, uint32_t count) noexcept
    cdef bint write_repeats(self) noexcept
    cdef bint write_tick(self, int64_t clock_ns) noexcept
    cdef bint append(self, Source source, uint64_t at, uint32_t parts, int64_t clock_ns) noexcept
    cdef bint is_behind(self, uint64_t book_position) noexcept
    cdef bint is_refused(self, Source source, uint64_t at, uint32_t parts) noexcept
    cdef void give_back(self, Source source, uint64_t taken) noexcept
    cdef int drain(self, Source source, int budget, int64_t clock_ns, bint is_feed,
                   uint64_t book_position) noexcept
    cpdef int turn(self, int64_t clock_ns, uint64_t book_position, int budget) except -1
    cpdef bint idle_tick(self, int64_t clock_ns) except -1
