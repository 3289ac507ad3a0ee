# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Level words of the halt page; `shm/halt` lays the page out.

A word holds its level in each of its eight bytes, so no flipped bit or byte can turn one level into another:
a word that is not of that form counts as H3.
A lane may also watch the supervisor's lease: when nobody renews it, the level is H3 at least.
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from pipeline.native.atomics cimport load_acquire, load_relaxed, store_release

from pipeline.errors import InvariantError

cdef uint64_t EACH_BYTE = 0x0101010101010101


cdef inline uint32_t _decode(uint64_t word) noexcept nogil:
    cdef uint32_t level = <uint32_t>(word & 0xFF)
    return level if level <= HALT_LEVEL_MAX and word == level * EACH_BYTE else HALT_LEVEL_UNREADABLE


cdef inline uint64_t _word_acquire(const uint64_t* word) noexcept nogil:
    return load_acquire(word)  # SYNC halt-level <- HaltWords.put


@cython.final
cdef class HaltWords:
    """Words at `offset`, `offset + stride`, … of `buffer`; `own` is the index it may write, or -1."""

    def __init__(self, buffer, Py_ssize_t offset, Py_ssize_t stride, uint32_t owner_count, int own=-1):
        cdef const unsigned char[::1] view = buffer
        if (stride % 8 or offset < 0 or stride < 8 or offset + stride * owner_count > view.shape[0]
                or <uintptr_t>(&view[offset]) & 7 or own >= <int>owner_count):
            raise InvariantError(f"native.haltwords: {owner_count} words of stride {stride} at {offset} "
                                 f"expected within the buffer, it has {view.shape[0]} bytes")
        self.keeper = memoryview(buffer)
        self.first = <const uint64_t*>&view[offset]
        self.stride = stride // 8
        self.owner_count = owner_count
        if own >= 0:
            if self.keeper.readonly:
                raise InvariantError("native.haltwords: a writer needs a writable mapping")
            self.own = <uint64_t*>self.first + own * self.stride

    cpdef uint32_t level(self) noexcept nogil:
        """Return the effective halt level: the highest of all owners, 0..4."""
        cdef uint32_t owner, highest = 0 if self.owner_count else HALT_LEVEL_UNREADABLE, level
        for owner in range(self.owner_count):
            level = _decode(_word_acquire(self.first + owner * self.stride))
            if level > highest:
                highest = level
        if highest < HALT_LEVEL_UNREADABLE and self.is_lease_lost():
            return HALT_LEVEL_UNREADABLE
        return highest

    cpdef uint32_t level_of(self, uint32_t owner) noexcept nogil:
        """Return the level of one owner; 3 when there is no such owner."""
        if owner >= self.owner_count:
            return HALT_LEVEL_UNREADABLE
        return _decode(_word_acquire(self.first + owner * self.stride))

    cpdef bint is_lease_lost(self) noexcept nogil:
        """Tell whether the watched lease is older than it may be; False while none is watched."""
        cdef timespec now
        if self.lease == NULL:
            return False
        clock_gettime(CLOCK_MONOTONIC, &now)
        return (<int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec
                - <int64_t>load_relaxed(self.lease)) > self.lease_ns_max

    def watch_lease(self, buffer, int64_t age_ns_max):
        """Take H3 as in force while the monotonic time (ns) in `buffer`'s first word is older than this."""
        cdef const unsigned char[::1] view = buffer
        if view.shape[0] < 8 or <uintptr_t>(&view[0]) & 7 or age_ns_max <= 0:
            raise InvariantError("native.haltwords: a lease word and a positive age expected, the buffer has "
                                 f"{view.shape[0]} bytes, the age was {age_ns_max}")
        self.lease_keeper = memoryview(buffer)
        self.lease, self.lease_ns_max = <const uint64_t*>&view[0], age_ns_max

    def put(self, uint32_t level):
        """Store our level; the reason beside it must be written before."""
        if self.own == NULL or level > HALT_LEVEL_MAX:
            raise InvariantError(
                f"native.haltwords: a level 0..{HALT_LEVEL_MAX} of our own expected, was {level}")
        store_release(self.own, level * EACH_BYTE)  # SYNC halt-level -> _word_acquire

    def close(self):
        """Let the buffer go; afterwards the level is H3."""
        self.owner_count = 0
        self.own = NULL
        self.lease = NULL
        self.keeper.release()
        if self.lease_keeper is not None:
            self.lease_keeper.release()
