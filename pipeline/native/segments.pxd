# One mapped file of a log, shared by writer, reader and tools.
from libc.stdint cimport uint32_t, uint64_t

from pipeline.native.atomics cimport load_acquire
from pipeline.native.records cimport Slot

cdef enum:
    SEGMENT_HEADER_BYTES = 4096
    AT_NAME = 16
    AT_PUBLISHED = 256        # writer: log writer; position after the last visible record
    AT_PUBLISHED_COPY = 264   # writer: log writer; stored after it, so a flipped bit is seen at recovery
    AT_NEXT_READY = 384       # writer: log writer; 1 = the next file stands in the directory

cdef enum SegmentProblem:     # beside errno, which is positive
    SEGMENT_OK = 0
    SEGMENT_SHORT = -1        # no room for the header
    SEGMENT_MAGIC = -2
    SEGMENT_LAYOUT = -3
    SEGMENT_CHECK = -4
    SEGMENT_NAME = -5
    SEGMENT_FIRST = -6
    SEGMENT_SLOTS = -7
    SEGMENT_PUBLISHED = -8    # published lies outside the file
    SEGMENT_RECORD = -9       # a record fails its check, sequence or run
    SEGMENT_GONE = -10        # the next file was announced and is not there

cdef struct Segment:
    unsigned char* base       # NULL = not mapped
    uint64_t bytes            # mapped
    uint64_t first            # position of the first slot
    uint64_t slots            # as the header says
    uint64_t present          # slots that the file really has
    uint64_t salt_epoch

cdef struct Damage:
    int problem               # SEGMENT_OK or SEGMENT_RECORD
    uint64_t good             # offset after the last complete, correct run
    uint64_t bad              # offset of the first wrong slot
    bint is_tail              # nothing of a later run is readable after it

cdef inline uint64_t* segment_word(const Segment* segment, uint64_t offset) noexcept nogil:
    return <uint64_t*>(segment.base + offset)

cdef inline Slot* segment_slot(const Segment* segment, uint64_t offset) noexcept nogil:
    return <Slot*>(segment.base + SEGMENT_HEADER_BYTES) + offset

cdef inline uint64_t published_acquire(const Segment* segment) noexcept nogil:
    return load_acquire(segment_word(segment, AT_PUBLISHED))  # SYNC log-published <- LogWriter.flush

cdef inline uint64_t next_ready_acquire(const Segment* segment) noexcept nogil:
    return load_acquire(segment_word(segment, AT_NEXT_READY))  # SYNC log-next-ready <- LogWriter._map_next

cdef int segment_open(Segment* segment, const char* directory, uint64_t first, uint64_t name_hash,
                      bint writable) noexcept nogil
cdef int segment_create(const char* directory, uint64_t first, uint64_t slots, uint64_t name_hash,
                        uint64_t salt_epoch) noexcept nogil
cdef void segment_close(Segment* segment) noexcept nogil
cdef int segment_extend(const char* directory, uint64_t first, uint64_t slots) noexcept nogil
cdef void segment_populate(Segment* segment, uint64_t start, uint64_t bytes, bint writable) noexcept nogil
# `end` less the PAD slots before it
cdef uint64_t segment_data_end(const Segment* segment, uint64_t end) noexcept nogil
cdef Damage segment_scan(const Segment* segment, uint64_t start, uint64_t stop) noexcept nogil
cdef str problem_text(int problem)
cdef uint64_t log_name_hash(str name)
