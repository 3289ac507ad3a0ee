# Dense ladders in blocks of an arena, and the versioned rows that observers read; see ladder.h.
from cpython.buffer cimport Py_buffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "ladder.h" nogil:
    enum:
        LADDER_CLASSES
        PRICE_TICKS_FULL
        ROW_BYTES
        ROW_SLOTS
    const uint32_t LADDER_LEVELS[3]
    ctypedef struct Ladder:
        uint32_t grid
        uint32_t levels
        uint32_t capacity
    uint64_t ladder_block_bytes(uint32_t capacity) noexcept
    void ladder_view(Ladder* ladder, uint8_t* block, uint32_t capacity, uint32_t grid) noexcept
    int64_t ladder_size(const Ladder* ladder, int side, uint32_t index) noexcept
    void ladder_set(Ladder* ladder, int side, uint32_t index, int64_t size) noexcept
    void ladder_clear(Ladder* ladder) noexcept
    uint32_t ladder_above(const Ladder* ladder, int side, uint32_t index) noexcept
    uint32_t ladder_below(const Ladder* ladder, int side, uint32_t index) noexcept
    uint32_t ladder_best(const Ladder* ladder, int side) noexcept
    void ladder_top(const Ladder* ladder, int side, uint32_t count_max, uint32_t* ticks,
                    int64_t* micro) noexcept
    void ladder_move(const Ladder* source, Ladder* target) noexcept
    void row_publish(uint8_t* row, const void* slot) noexcept
    int64_t row_read(const uint8_t* row, int tries_max, void* slot) noexcept
    void row_ladder_begin(uint8_t* row) noexcept
    void row_ladder_end(uint8_t* row) noexcept
    void row_ladder_place(uint8_t* row, uint64_t block_place, uint32_t grid, uint32_t capacity) noexcept
    int row_ladder_copy(const uint8_t* row, const uint8_t* arena, uint64_t arena_bytes, int tries_max,
                        uint64_t* sizes, uint32_t* grid, uint32_t* capacity) noexcept


cdef uint32_t finest_common(uint32_t one, uint32_t other) noexcept nogil
cdef uint32_t grid_of_step(uint32_t step) noexcept nogil
cdef list levels_of(const Ladder* ladder, int side)


cdef class Arena:
    cdef Py_buffer buffer
    cdef bint is_open
    cdef uint8_t* base
    cdef uint64_t starts[3]           # byte offset of each class's first block
    cdef uint32_t counts[3]
    cdef uint32_t free_counts[3]
    cdef uint32_t* free_blocks[3]     # stacks of free block numbers
    cdef uint32_t lows[3]             # fewest free blocks ever
    # Takes a block for `grid`; 0 when the class is full, else its byte offset plus one; the view is empty.
    cdef uint64_t take(self, uint32_t grid, Ladder* ladder) noexcept nogil
    cdef void give(self, uint64_t place, uint32_t capacity) noexcept nogil


cdef class Rows:
    cdef Py_buffer buffer
    cdef bint is_open
    cdef uint8_t* base
    cdef readonly uint32_t rows_max
    cdef inline uint8_t* row(self, uint32_t row) noexcept nogil:
        return self.base + 64 + <uint64_t>row * ROW_BYTES


cdef class LadderBook:
    cdef Arena arena
    cdef Ladder ladder
    cdef uint64_t place
