# Scanner of hot Polymarket market frames and its token table; see framescan.pyx and framescan.h.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from pipeline.native.arbiter cimport Arbiter, Beat, Pulse
from pipeline.native.flow cimport Sink
from pipeline.native.records cimport Slot

cdef extern from "framescan.h":
    enum:
        FS_OK
        FS_FALLBACK
        FS_UNKNOWN
        FS_NO_ROOM
        FS_IGNORED
        FS_TWIN
        FS_BOOK
        FS_DELTA
        FS_BBO
        FS_TRADE
        FS_STEP
        FS_RESOLVED
        FS_LEVELS_MAX
        FS_EVENTS_MAX
        TT_TOKEN_BYTES_MAX
        TT_MARKET_BYTES_MAX
    ctypedef struct TtEntry:
        uint32_t row
        uint8_t outcome, token_bytes, market_bytes
        char* token
        char* market
    ctypedef struct TtTable:
        TtEntry* entries
        uint32_t* index
        uint32_t count, capacity, mask
    ctypedef struct FsLevel:
        int64_t size_micro
        uint32_t price_ticks
        uint8_t side, outcome
    ctypedef struct FsEvent:
        int64_t venue_ns, size_micro
        uint32_t row
        uint32_t first[2]
        uint32_t count[2]
        uint32_t best[2][2]
        uint32_t price_ticks
        uint16_t old_step, new_step
        uint8_t kind, outcome, side, last_trade_state, is_known
        uint8_t hash[2][20]
    ctypedef struct FsScan:
        const TtTable* tokens
        FsLevel* levels
        FsEvent* events
        uint32_t level_count, event_count, known_count
    const TtEntry* tt_find(const TtTable* table, const char* token, size_t bytes) noexcept nogil
    bint tt_resize(TtTable* table, uint32_t capacity) noexcept nogil
    bint tt_add(TtTable* table, const char* token, size_t bytes, const char* market, size_t market_bytes,
                uint32_t row, uint8_t outcome) noexcept nogil
    bint tt_remove(TtTable* table, const char* token, size_t bytes) noexcept nogil
    int fs_frame(FsScan* scan, const char* data, size_t bytes) noexcept nogil

cdef extern from "jsonguard.h":
    enum:
        JG_FINE
        JG_DEPTH_MAX
        JG_KEYS_MAX
    int jg_survey(const char* data, size_t bytes, uint64_t values_max) noexcept nogil


cdef class TokenTable:
    cdef TtTable table


cdef class Scanner:
    cdef readonly TokenTable tokens
    cdef Arbiter arbiter               # None: nothing is judged
    cdef FsScan state
    cdef int64_t recv_ns
    cdef uint32_t slots_left           # slots of the scanned frame that are not yet published
    cdef uint32_t next_event, next_level   # place of the next run
    cdef bint is_partial               # some runs of the frame are out, others wait for room
    cdef readonly uint16_t source
    cdef public uint64_t source_seq    # number of the last published run
    cdef readonly uint64_t frame_count, ok_count, fallback_count, unknown_count, ignored_count, no_room_count
    cdef readonly uint64_t twin_count
    cdef int scan(self, const char* data, size_t bytes, int64_t recv_ns, Sink sink, Beat* beat) noexcept nogil
    cdef bint _judge(self, Beat* beat) noexcept nogil
    cdef void uncount(self, int result) noexcept nogil
    cdef int resume(self, Sink sink) noexcept nogil
    cdef uint32_t _event_slots(self, const FsEvent* event) noexcept nogil
    cdef bint _publish_run(self, Sink sink) noexcept nogil
    cdef Slot* _slot(
        self, Sink sink, uint32_t index, const FsEvent* event, uint16_t kind, uint16_t flags) noexcept nogil
    cdef void _snapshot(self, Sink sink, uint32_t index, const FsEvent* event, uint16_t flags) noexcept nogil
    cdef void _delta(self, Sink sink, uint32_t index, const FsEvent* event) noexcept nogil
    cdef void _single(self, Sink sink, const FsEvent* event) noexcept nogil
