# First arrival among redundant sockets, and the pulse of each; see arbiter.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SOCKETS = 2          # of one shard
    WAYS = 4             # entries of one set
    FRAME_EVENTS = 512   # of one frame

cdef struct Beat:        # of one socket
    int64_t data_ns      # when its newest market frame came; 0 = none since it stands
    int64_t gap_ns       # running mean of the time between two
    uint64_t frames
    uint64_t missed      # canaries that showed a change of which no socket told
    uint32_t slot        # 0 or 1, its place in its shard

cdef struct Entry:
    uint64_t key         # 0 = free
    uint16_t shown[SOCKETS]  # how often each socket showed it
    uint32_t turn        # when it was touched; the oldest of a set gives way

cdef struct RowPulse:
    int64_t heard_ns[SOCKETS]
    int64_t ahead_ns[SOCKETS]  # since when this socket has shown a change that the other has not; 0 = none
    int64_t newest_ns    # newest venue time that any socket told of
    uint32_t frames      # a measure of how busy the row is
    uint8_t asked        # bit slot * 2 + outcome: a snapshot that we asked for has not come
    uint8_t stands       # bit slot: a snapshot came since its socket subscribed
    uint8_t probed       # bit slot: asked for to see whether the socket still tells of changes

cdef struct Touched:
    Entry* entry
    uint32_t row         # 0: an entry was counted; else `asked` to be given back
    uint8_t slot
    uint8_t asked


cdef class Pulse:
    cdef Beat beat


cdef class Arbiter:
    cdef Entry* entries
    cdef RowPulse* rows
    cdef Touched touched[FRAME_EVENTS]
    cdef uint32_t touched_count, rows_max, turn
    cdef uint64_t mask
    cdef public bint is_on
    cdef readonly uint64_t twins
    cdef bint takes(self, uint64_t key, Beat* beat, uint32_t row, bint is_book, bint is_change,
                    uint32_t outcome, int64_t venue_ns, int64_t recv_ns) noexcept nogil
    cdef bint count(self, uint64_t key, uint32_t slot) noexcept nogil
    cdef void note(self, Entry* entry, uint32_t row, uint8_t what) noexcept nogil
    cdef void begin(self, Beat* beat, int64_t recv_ns) noexcept nogil
    cdef void undo(self) noexcept nogil
