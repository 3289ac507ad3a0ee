# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""SPSC ring of 256-byte slots over one buffer: the channel between two lanes.

Buffer: one header page, then `slots_count` slots (a power of two). Positions are unbounded u64 and live in
the buffer, so a restarted end goes on where its predecessor stopped.

    byte 0     constant              magic, layout hash, slots_count, CRC-32C of these
    byte 256   writer: producer      tail          next position to write
    byte 384   writer: reader        head          next position it will read
    byte 512   writer: producer      epoch of the producing end
    byte 640   writer: reader        epoch of the reading end

Words of different writers are 128 bytes apart: the neighbour-line prefetcher pulls pairs of lines.

Why an observer never returns a torn slot. A write to position q starts only after `tail >= q - 63` was
stored (a batch is at most 64 slots), and `begin` puts a release fence between that store and the writes. The
observer copies first, then fences, then reads the tail. If its copy saw any byte of the write to
q = p + slots, the fences make it read a tail >= p + slots - 63; so a tail <= p + slots - 64 proves that the
copy of p is whole.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

from pipeline.native.atomics cimport (
    fence_acquire, fence_release, load_acquire, load_relaxed, store_relaxed, store_release,
)
from pipeline.native.crc cimport crc32c
from pipeline.native.records cimport RUN_SLOTS_MAX, SLOT_BYTES, Slot

from pipeline.errors import InvariantError, LayoutError, UsageError
from pipeline.records import LAYOUT_HASH

assert sizeof(Slot) == SLOT_BYTES

cdef enum:
    AT_MAGIC = 0
    AT_LAYOUT = 8
    AT_SLOTS = 16
    AT_CHECK = 24
    AT_TAIL = 256
    AT_HEAD = 384
    AT_EPOCH_WRITER = 512
    AT_EPOCH_READER = 640
    VAIN_MAX = 4

cdef uint64_t RING_MAGIC = 0x31676E6972206D70  # "pm ring1"
cdef uint64_t SLOTS_MIN = 2 * RUN_SLOTS_MAX  # an observer needs room beyond one batch
cdef uint64_t SLOTS_MAX = 1 << 24  # 4 GiB
cdef uint64_t _layout = LAYOUT_HASH


cdef inline uint64_t tail_acquire(const uint64_t* word) noexcept nogil:
    return load_acquire(word)  # SYNC ring-published <- Writer.flush


cdef inline uint64_t head_acquire(const uint64_t* word) noexcept nogil:
    return load_acquire(word)  # SYNC ring-read-done <- Reader.advance


cdef class Mapped:
    """One end's hold on the ring's buffer; released by `close` of that end."""

    cdef int open(self, object buffer, bint writable) except -1:
        cdef uint64_t slots_count
        PyObject_GetBuffer(buffer, &self.buffer, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self.is_open = True
        self.base = <unsigned char*>self.buffer.buf
        problem = self.problem()
        if problem:
            self.release()
            raise LayoutError(f"native.ring: {problem}; remake the segment with this build (stop and start)")
        slots_count = self.word(AT_SLOTS)[0]
        self.slots_count = slots_count
        self.slots = <Slot*>(self.base + RING_HEADER_BYTES)
        return 0

    def problem(self):
        cdef uint64_t bytes_count = <uint64_t>self.buffer.len, slots_count
        if <uintptr_t>self.base & 7:
            return "buffer must start at a multiple of 8 bytes"
        if bytes_count < RING_HEADER_BYTES:
            return f"header needs {RING_HEADER_BYTES} bytes, buffer was {bytes_count}"
        if self.word(AT_MAGIC)[0] != RING_MAGIC:
            return f"magic 0x{RING_MAGIC:016x} expected, was 0x{self.word(AT_MAGIC)[0]:016x}"
        if self.word(AT_LAYOUT)[0] != _layout:
            return f"layout 0x{_layout:016x} expected, was 0x{self.word(AT_LAYOUT)[0]:016x}"
        slots_count = self.word(AT_SLOTS)[0]
        if self.word(AT_CHECK)[0] != crc32c(self.base, AT_CHECK):
            return (f"header check 0x{crc32c(self.base, AT_CHECK):08x} expected, "
                    f"was 0x{self.word(AT_CHECK)[0]:016x}")
        if not SLOTS_MIN <= slots_count <= SLOTS_MAX or slots_count & (slots_count - 1):
            return f"slots must be a power of two in {SLOTS_MIN}..{SLOTS_MAX}, was {slots_count}"
        if bytes_count < RING_HEADER_BYTES + slots_count * SLOT_BYTES:
            return (f"{slots_count} slots need {RING_HEADER_BYTES + slots_count * SLOT_BYTES} bytes, "
                    f"buffer was {bytes_count}")
        if self.word(AT_TAIL)[0] - self.word(AT_HEAD)[0] > slots_count:
            return (f"tail {self.word(AT_TAIL)[0]} and head {self.word(AT_HEAD)[0]} must be at most "
                    f"{slots_count} apart")
        return None

    cdef void release(self):
        if self.is_open:
            self.is_open = False
            PyBuffer_Release(&self.buffer)

    def __dealloc__(self):
        self.release()


class Ring:
    """What belongs to neither end: sizes and the header."""

    @staticmethod
    def bytes_for(slots):
        """Return the bytes that a ring of `slots` slots needs."""
        return RING_HEADER_BYTES + slots * SLOT_BYTES

    @staticmethod
    def format(buffer, uint64_t slots, uint64_t position=0):
        """Make `buffer` an empty ring whose first record has `position`; for the segment's maker only.

        slots: power of two, 128..2**24. Raises UsageError when it does not fit.
        """
        cdef Mapped mapped = Mapped.__new__(Mapped)
        if not SLOTS_MIN <= slots <= SLOTS_MAX or slots & (slots - 1):
            raise UsageError(
                f"native.ring: slots must be a power of two in {SLOTS_MIN}..{SLOTS_MAX}, was {slots}")
        PyObject_GetBuffer(buffer, &mapped.buffer, PyBUF_WRITABLE)
        mapped.is_open = True
        mapped.base = <unsigned char*>mapped.buffer.buf
        if <uint64_t>mapped.buffer.len < RING_HEADER_BYTES + slots * SLOT_BYTES or <uintptr_t>mapped.base & 7:
            raise UsageError(
                f"native.ring: {slots} slots need {RING_HEADER_BYTES + slots * SLOT_BYTES} bytes "
                f"at a multiple of 8, buffer was {mapped.buffer.len} bytes")
        memset(mapped.base, 0, RING_HEADER_BYTES)
        mapped.word(AT_LAYOUT)[0] = _layout
        mapped.word(AT_SLOTS)[0] = slots
        mapped.word(AT_TAIL)[0] = position
        mapped.word(AT_HEAD)[0] = position
        mapped.word(AT_MAGIC)[0] = RING_MAGIC
        mapped.word(AT_CHECK)[0] = crc32c(mapped.base, AT_CHECK)
        mapped.release()


cdef class Writer(Sink):
    """Producing end; one per ring. `Writer(buffer)` goes on at the stored tail."""

    def __init__(self, buffer):
        self.mapped = Mapped.__new__(Mapped)
        self.mapped.open(buffer, True)
        self.slots = self.mapped.slots
        self.slots_count = self.mapped.slots_count
        self.mask = self.slots_count - 1
        self.tail_word = self.mapped.word(AT_TAIL)
        self.head_word = self.mapped.word(AT_HEAD)
        self.tail = self.tail_word[0]
        self.head_seen = head_acquire(self.head_word)
        self.epoch_own = self.mapped.word(AT_EPOCH_WRITER)[0]

    cdef bint begin(self, uint32_t count) noexcept nogil:
        cdef uint64_t needed
        if self.pending + count > RUN_SLOTS_MAX:
            if count > RUN_SLOTS_MAX:
                return False
            self.flush()
        needed = self.tail + self.pending + count
        if needed - self.head_seen > self.slots_count:
            self.head_seen = head_acquire(self.head_word)
            if needed - self.head_seen > self.slots_count:
                self.full_count += 1
                return False
        fence_release()  # SYNC ring-overwrite -> Observer.copy
        return True

    cdef Slot* claim(self, uint32_t index) noexcept nogil:
        return &self.slots[(self.tail + self.pending + index) & self.mask]

    cdef void close_run(self, uint32_t count) noexcept nogil:
        cdef uint32_t index
        cdef Slot* slot
        for index in range(count):
            slot = &self.slots[(self.tail + self.pending + index) & self.mask]
            slot.part = <unsigned char>index
            slot.parts = <unsigned char>count
        self.pending += count

    cdef void flush(self) noexcept nogil:
        if self.pending:
            self.tail += self.pending
            self.pending = 0
            store_release(self.tail_word, self.tail)  # SYNC ring-published -> tail_acquire

    @property
    def position(self):
        """Position of the next record that will be shown."""
        return self.tail

    @property
    def unread_count(self):
        """Slots that the reader has not given back yet."""
        return self.tail - head_acquire(self.head_word)

    @property
    def epoch(self):
        """Epoch of the producing end, as this object knows it."""
        return self.epoch_own

    def bump_epoch(self):
        """Take the producing end over: every older Writer fails its next `check_epoch`. Returns the epoch."""
        self.epoch_own = self.mapped.word(AT_EPOCH_WRITER)[0] + 1
        store_relaxed(self.mapped.word(AT_EPOCH_WRITER), self.epoch_own)
        return self.epoch_own

    def check_epoch(self):
        """Raise LayoutError when another process took this end over; then this lane must exit."""
        _check_epoch(self.mapped, AT_EPOCH_WRITER, self.epoch_own, "producer")

    def close(self):
        """Release the buffer; afterwards there is never room."""
        self.tail_word = &self.closed_word
        self.head_word = &self.closed_word
        self.slots_count = 0
        self.head_seen = self.closed_word = self.tail
        self.pending = 0
        if self.mapped is not None:
            self.mapped.release()


cdef class Reader(Source):
    """The gating reading end; one per ring. `Reader(buffer)` goes on at the stored head."""

    def __init__(self, buffer):
        self.mapped = Mapped.__new__(Mapped)
        self.mapped.open(buffer, True)
        self.slots = self.mapped.slots
        self.slots_count = self.mapped.slots_count
        self.mask = self.slots_count - 1
        self.tail_word = self.mapped.word(AT_TAIL)
        self.head_word = self.mapped.word(AT_HEAD)
        self.head = self.head_word[0]
        self.tail_seen = self.head
        self.epoch_own = self.mapped.word(AT_EPOCH_READER)[0]

    cdef uint64_t available(self) noexcept nogil:
        if self.tail_seen == self.head:
            self.tail_seen = tail_acquire(self.tail_word)
            if self.tail_seen == self.head:
                self.empty_count += 1
            elif self.tail_seen - self.head > self.slots_count:
                self.tail_seen = self.head
                self.is_broken = True
        return self.tail_seen - self.head

    cdef const Slot* at(self, uint64_t index) noexcept nogil:
        return &self.slots[(self.head + index) & self.mask]

    cdef void advance(self, uint64_t count) noexcept nogil:
        self.head += count
        store_release(self.head_word, self.head)  # SYNC ring-read-done -> head_acquire

    @property
    def position(self):
        """Position of the next record that `available` counts from."""
        return self.head

    @property
    def epoch(self):
        """Epoch of the reading end, as this object knows it."""
        return self.epoch_own

    def bump_epoch(self):
        """Take the reading end over: every older Reader fails its next `check_epoch`. Returns the epoch."""
        self.epoch_own = self.mapped.word(AT_EPOCH_READER)[0] + 1
        store_relaxed(self.mapped.word(AT_EPOCH_READER), self.epoch_own)
        return self.epoch_own

    def check_epoch(self):
        """Raise LayoutError when another process took this end over; then this lane must exit."""
        _check_epoch(self.mapped, AT_EPOCH_READER, self.epoch_own, "reader")

    def check(self):
        """Raise InvariantError when the positions contradicted each other; nothing is read after that."""
        if self.is_broken:
            raise InvariantError(
                f"native.ring: tail must be at most {self.slots_count} past head {self.head}, "
                f"was {self.tail_word[0]}; stop, keep the segment for inspection and start anew")

    def close(self):
        """Release the buffer; afterwards nothing is ever available."""
        self.closed_word = self.tail_seen = self.head
        self.tail_word = &self.closed_word
        self.head_word = &self.closed_word
        if self.mapped is not None:
            self.mapped.release()


cdef class Observer:
    """Looks on without gating, over a read-only buffer if need be; copies are proven whole.

    from_oldest: start at the oldest record that is safe to copy instead of at the next one.
    """

    def __init__(self, buffer, bint from_oldest=False):
        cdef uint64_t tail
        self.mapped = Mapped.__new__(Mapped)
        self.mapped.open(buffer, False)
        self.slots = self.mapped.slots
        self.slots_count = self.mapped.slots_count
        self.mask = self.slots_count - 1
        self.tail_word = self.mapped.word(AT_TAIL)
        tail = tail_acquire(self.tail_word)
        self.next_position = tail
        if from_oldest:
            # what the gating reader has not yet taken is certainly there
            self.next_position = load_relaxed(self.mapped.word(AT_HEAD))
            self.is_skipping = True

    cdef uint64_t copy(self, Slot* target, uint64_t slots_max, uint64_t* lost) noexcept nogil:
        cdef uint64_t tail, safe = self.slots_count - RUN_SLOTS_MAX, count, index, kept = 0, overtaken = 0
        if not self.slots_count:
            return 0
        tail = tail_acquire(self.tail_word)
        if <int64_t>(tail - self.next_position) <= 0:
            return 0
        if tail - self.next_position > safe:
            # at the very edge a saturating writer overwrites copy after copy: keep more distance each time
            overtaken = tail - self.next_position - (safe >> self.vain_count)
            self.next_position += overtaken
            self.is_skipping = True
        count = tail - self.next_position
        if count > slots_max:
            count = slots_max
        for index in range(count):
            memcpy(&target[index], &self.slots[(self.next_position + index) & self.mask], SLOT_BYTES)
        fence_acquire()  # SYNC ring-overwrite <- Writer.begin
        tail = load_relaxed(self.tail_word)
        index = 0
        if tail - self.next_position > safe:  # the first of these may have been overwritten meanwhile
            index = tail - self.next_position - safe
            if index > count:
                index = count
            self.is_skipping = True
            overtaken += index
        self.next_position += count
        self.vain_count = 0 if index < count else min(self.vain_count + 1, VAIN_MAX)
        while index < count and self.is_skipping:
            if target[index].part == 0:
                self.is_skipping = False
            else:
                overtaken += 1
                index += 1
        kept = count - index
        if index and kept:
            _move_down(target, index, kept)
        self.lost_count += overtaken
        lost[0] += overtaken
        return kept

    @property
    def position(self):
        """Position of the next record it will look at."""
        return self.next_position

    def read(self, Py_ssize_t slots_max=64):
        """Return (whole slots as bytes, how many were overtaken since the last read)."""
        cdef uint64_t lost = 0, count
        if slots_max < 1:
            raise UsageError(f"native.ring: slots_max must be at least 1, was {slots_max}")
        out = bytearray(slots_max * SLOT_BYTES)
        cdef unsigned char* target = out
        count = self.copy(<Slot*>target, <uint64_t>slots_max, &lost)
        return bytes(out[:count * SLOT_BYTES]), lost

    def close(self):
        """Release the buffer; afterwards there is never anything to read."""
        self.slots_count = 0
        if self.mapped is not None:
            self.mapped.release()


cdef void _move_down(Slot* target, uint64_t start, uint64_t count) noexcept nogil:
    cdef uint64_t index
    for index in range(count):
        memcpy(&target[index], &target[start + index], SLOT_BYTES)


cdef int _check_epoch(Mapped mapped, uint64_t offset, uint64_t own, str end) except -1:
    cdef uint64_t found
    if not mapped.is_open:
        return 0
    found = load_relaxed(mapped.word(offset))
    if found != own:
        raise LayoutError(
            f"native.ring: {end} epoch {own} expected, was {found}: another process took this end over; "
            "this lane must exit")
    return 0
