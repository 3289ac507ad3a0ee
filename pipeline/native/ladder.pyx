# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""Price ladders in an arena, and versioned rows in shared memory for observers.

Written by the stage `book`, read by `solve`, the page and tools. Both live in buffers that the caller gives
(shared-memory segments); capacities are fixed when they are made. A block holds every legal price of a book:

    128 levels    tick 0.01 (100 prices) and coarser
    1,024         tick 0.001 (1,000), 0.0025 (400), 0.005 (200)
    16,384        tick 0.0001 (10,000), 0.0005 (2,000)
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pipeline.errors import InvariantError, LayoutError

cdef uint64_t ROWS_MAGIC = 0x3173776F72206D70  # "pm rows1"
cdef int READ_TRIES = 64  # a writer must publish eight times during one copy of 256 bytes to spoil one try
cdef enum:
    ROWS_HEAD_BYTES = 64


cdef uint32_t finest_common(uint32_t one, uint32_t other) noexcept nogil:
    """Greatest common divisor: the coarsest grid on which both grids' prices lie."""
    while other:
        one, other = other, one % other
    return one


cdef uint32_t grid_of_step(uint32_t step) noexcept nogil:
    """Grid for a legal price spacing; both p and 1 - p lie on it."""
    return finest_common(PRICE_TICKS_FULL, step) if step else 0


cdef int class_of_grid(uint32_t grid) noexcept nogil:
    cdef uint32_t levels = PRICE_TICKS_FULL // grid
    cdef int place
    for place in range(LADDER_CLASSES):
        if levels <= LADDER_LEVELS[place]:
            return place
    return LADDER_CLASSES - 1


def arena_bytes(blocks):
    """Return the bytes an arena needs for `blocks` = (blocks of 128, of 1,024, of 16,384 levels)."""
    return sum(count * ladder_block_bytes(LADDER_LEVELS[place]) for place, count in enumerate(blocks))


def rows_bytes(rows_max):
    """Return the bytes of the observers' rows 0 .. rows_max - 1."""
    return ROWS_HEAD_BYTES + rows_max * ROW_BYTES


cdef class Arena:
    """Blocks of three sizes over one writable buffer of at least `arena_bytes(blocks)`; one owner."""

    def __cinit__(self, object buffer, blocks):
        cdef uint64_t at = 0
        cdef uint32_t place, index
        if len(blocks) != LADDER_CLASSES:
            raise ValueError(f"native.ladder: expected {LADDER_CLASSES} block counts, found {len(blocks)}")
        PyObject_GetBuffer(buffer, &self.buffer, PyBUF_WRITABLE)
        self.is_open = True
        if <uint64_t>self.buffer.len < <uint64_t>arena_bytes(blocks) or <uintptr_t>self.buffer.buf & 7:
            raise LayoutError(
                f"native.ladder: expected an aligned buffer of {arena_bytes(blocks)} bytes for blocks "
                f"{tuple(blocks)}, found {self.buffer.len}; make the segment with arena_bytes()")
        self.base = <uint8_t*>self.buffer.buf
        for place in range(LADDER_CLASSES):
            self.starts[place] = at
            self.counts[place] = self.free_counts[place] = self.lows[place] = blocks[place]
            at += self.counts[place] * ladder_block_bytes(LADDER_LEVELS[place])
            self.free_blocks[place] = <uint32_t*>calloc(self.counts[place] + 1, sizeof(uint32_t))
            if self.free_blocks[place] == NULL:
                raise MemoryError(f"native.ladder: no memory for {self.counts[place]} block numbers")
            for index in range(self.counts[place]):
                self.free_blocks[place][index] = self.counts[place] - 1 - index
        memset(self.base, 0, at)

    def __dealloc__(self):
        for place in range(LADDER_CLASSES):
            free(self.free_blocks[place])
        if self.is_open:
            PyBuffer_Release(&self.buffer)

    cdef uint64_t take(self, uint32_t grid, Ladder* ladder) noexcept nogil:
        cdef int place = class_of_grid(grid)
        cdef uint64_t offset
        if self.free_counts[place] == 0:
            return 0
        self.free_counts[place] -= 1
        if self.free_counts[place] < self.lows[place]:
            self.lows[place] = self.free_counts[place]
        offset = self.starts[place] + (
            self.free_blocks[place][self.free_counts[place]] * ladder_block_bytes(LADDER_LEVELS[place]))
        ladder_view(ladder, self.base + offset, LADDER_LEVELS[place], grid)
        ladder_clear(ladder)
        return offset + 1

    cdef void give(self, uint64_t place, uint32_t capacity) noexcept nogil:
        cdef int at
        for at in range(LADDER_CLASSES):
            if LADDER_LEVELS[at] == capacity:
                self.free_blocks[at][self.free_counts[at]] = <uint32_t>(
                    (place - 1 - self.starts[at]) // ladder_block_bytes(capacity))
                self.free_counts[at] += 1

    def usage(self):
        """Return {levels: (blocks in use, most ever in use, blocks)} of each class."""
        return {
            LADDER_LEVELS[at]: (
                self.counts[at] - self.free_counts[at], self.counts[at] - self.lows[at], self.counts[at])
            for at in range(LADDER_CLASSES)
        }


cdef class Rows:
    """Rows 0 .. rows_max - 1, each the newest TOP-shaped slot and the place of the ladder.

    The writer gives `rows_max`, which formats the buffer; an observer leaves it out and may give a read-only
    buffer. `read` never returns a torn slot: it copies, then proves that the version did not change.
    """

    def __cinit__(self, object buffer, rows_max=None):
        cdef uint64_t found
        PyObject_GetBuffer(buffer, &self.buffer, PyBUF_SIMPLE if rows_max is None else PyBUF_WRITABLE)
        self.is_open = True
        self.base = <uint8_t*>self.buffer.buf
        if <uintptr_t>self.base & 7 or self.buffer.len < ROWS_HEAD_BYTES:
            raise LayoutError(
                f"native.ladder: expected an aligned buffer of rows, found {self.buffer.len} bytes")
        if rows_max is not None:
            if self.buffer.len < rows_bytes(rows_max):
                raise LayoutError(
                    f"native.ladder: expected {rows_bytes(rows_max)} bytes for {rows_max} rows, found "
                    f"{self.buffer.len}; make the segment with rows_bytes()")
            memset(self.base, 0, rows_bytes(rows_max))
            (<uint64_t*>self.base)[1] = rows_max
            (<uint64_t*>self.base)[0] = ROWS_MAGIC
        found = (<uint64_t*>self.base)[1]
        if ((<uint64_t*>self.base)[0] != ROWS_MAGIC
                or found > (<uint64_t>self.buffer.len - ROWS_HEAD_BYTES) // ROW_BYTES):
            raise LayoutError(
                "native.ladder: the buffer holds no rows of this layout; attach the segment of this build")
        self.rows_max = <uint32_t>found

    def __dealloc__(self):
        if self.is_open:
            PyBuffer_Release(&self.buffer)

    def close(self):
        """Release the buffer; nothing may be called after it."""
        if self.is_open:
            self.is_open = False
            self.rows_max = 0
            PyBuffer_Release(&self.buffer)

    def read(self, uint32_t row):
        """Return the newest slot of `row` as 256 bytes; None when there is none, or it changed on 64
        tries."""
        cdef uint8_t slot[256]
        if row >= self.rows_max:
            raise IndexError(f"native.ladder: expected a row below {self.rows_max}, found {row}")
        if row_read(self.row(row), READ_TRIES, slot) <= 0:
            return None
        return slot[:256]

    def publish(self, uint32_t row, const uint8_t[::1] slot not None):
        """Show `slot` (256 bytes) as the newest of `row`; the writer alone."""
        if row >= self.rows_max or slot.shape[0] != 256 or self.buffer.readonly:
            raise ValueError(
                f"native.ladder: expected 256 bytes for a writable row below {self.rows_max}, "
                f"found row {row}")
        row_publish(self.row(row), &slot[0])

    def ladder(self, uint32_t row, const uint8_t[::1] arena not None):
        """Return (bids, asks) of `row`, lists of (price_ticks, size_micro) best first.

        arena: the arena's buffer, read-only is enough. None when the row has no ladder or it changed on 64
        tries.
        """
        cdef uint32_t grid = 0, capacity = 0, index
        cdef uint64_t* sizes
        if row >= self.rows_max:
            raise IndexError(f"native.ladder: expected a row below {self.rows_max}, found {row}")
        sizes = <uint64_t*>calloc(2 * LADDER_LEVELS[LADDER_CLASSES - 1], sizeof(uint64_t))
        if sizes == NULL:
            raise MemoryError("native.ladder: no memory for a copy of the ladder")
        try:
            if row_ladder_copy(
                    self.row(row), &arena[0], arena.shape[0], READ_TRIES, sizes, &grid, &capacity) <= 0:
                return None
            bids = [(index * grid, sizes[index]) for index in range(1, capacity) if sizes[index]]
            asks = [
                (index * grid, sizes[capacity + index])
                for index in range(1, capacity) if sizes[capacity + index]]
            return bids[::-1], asks
        finally:
            free(sizes)


cdef class LadderBook:
    """One ladder of an arena, for tests and tools; `books` uses the C side."""

    def __cinit__(self, Arena arena not None, uint32_t tick_step):
        self.arena = arena
        if tick_step == 0 or tick_step >= PRICE_TICKS_FULL:
            raise ValueError(
                f"native.ladder: expected a tick step below {PRICE_TICKS_FULL} ticks, found {tick_step}")
        self.place = arena.take(grid_of_step(tick_step), &self.ladder)
        if self.place == 0:
            raise InvariantError(
                f"native.ladder: no free block for a tick step of {tick_step}; give the arena more blocks")

    def release(self):
        """Give the block back; the ladder may not be used after it."""
        if self.place:
            self.arena.give(self.place, self.ladder.capacity)
            self.place = 0

    @property
    def grid(self):
        return self.ladder.grid

    @property
    def capacity(self):
        return self.ladder.capacity

    def set(self, int side, uint32_t price_ticks, int64_t size_micro):
        """Set the size of a level (side 0 bids, 1 asks; 0 removes it); ValueError off the grid."""
        if (side not in (0, 1) or price_ticks % self.ladder.grid or not 0 < price_ticks < PRICE_TICKS_FULL
                or size_micro < 0):
            raise ValueError(
                f"native.ladder: expected a price on the grid {self.ladder.grid} and a size >= 0, found "
                f"{price_ticks}, {size_micro}")
        ladder_set(&self.ladder, side, price_ticks // self.ladder.grid, size_micro)

    def size(self, int side, uint32_t price_ticks):
        """Return the size at a price on the grid."""
        if side not in (0, 1) or price_ticks >= PRICE_TICKS_FULL or price_ticks % self.ladder.grid:
            raise ValueError(
                f"native.ladder: expected a price on the grid {self.ladder.grid}, found {price_ticks}")
        return ladder_size(&self.ladder, side, price_ticks // self.ladder.grid)

    def best(self, int side):
        """Return the best price in ticks; 0 = the side is empty."""
        return ladder_best(&self.ladder, side != 0) * self.ladder.grid

    def top(self, int side):
        """Return the best eight levels as (price_ticks, size_micro), zeros where there is none."""
        cdef uint32_t ticks[8]
        cdef int64_t micro[8]
        ladder_top(&self.ladder, side != 0, 8, ticks, micro)
        return [(ticks[at], micro[at]) for at in range(8)]

    def levels(self, int side):
        """Return all levels, best first, as (price_ticks, size_micro)."""
        return levels_of(&self.ladder, side != 0)

    def clear(self):
        ladder_clear(&self.ladder)

    def refine(self, uint32_t tick_step):
        """Move to the grid that also holds `tick_step`, keeping every level; False = no free block,
        unchanged."""
        cdef uint32_t grid = finest_common(self.ladder.grid, tick_step)
        cdef Ladder finer
        cdef uint64_t place
        if grid == self.ladder.grid:
            return True
        place = self.arena.take(grid, &finer)
        if place == 0:
            return False
        ladder_move(&self.ladder, &finer)
        ladder_clear(&self.ladder)
        self.arena.give(self.place, self.ladder.capacity)
        self.ladder = finer
        self.place = place
        return True


cdef list levels_of(const Ladder* ladder, int side):
    cdef uint32_t index = ladder_best(ladder, side)
    cdef list found = []
    while index:
        found.append((index * ladder.grid, ladder_size(ladder, side, index)))
        index = ladder_above(ladder, 1, index) if side else ladder_below(ladder, 0, index)
    return found
