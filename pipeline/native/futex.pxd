# The sleep handshake of a lane: one `asleep` word, a full fence at both ends.
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    SLEEP_NS_MAX = 200_000_000  # safety net of the handshake; `shm/wait` asks for less

cdef enum Slept:
    SLEPT_WOKEN = 0
    SLEPT_TIMEOUT = 1
    SLEPT_NOT = 2              # a waker came before the sleep


@cython.final
cdef class Sleeper:
    cdef uint32_t* word
    cdef object keeper
    cdef void arm(self) noexcept nogil     # then look at the inputs once more, then sleep or disarm
    cdef void disarm(self) noexcept nogil
    cdef Slept wait(self, int64_t timeout_ns) noexcept nogil


@cython.final
cdef class Waker:
    cdef uint32_t* word
    cdef object keeper
    cdef int fd                            # eventfd of an event-loop lane; -1 = futex
    cdef readonly uint64_t wake_count
    cdef readonly uint64_t fail_count      # system calls that failed; the 20 ms bound covers them
    cpdef bint wake_if_asleep(self) noexcept nogil  # after publishing; True = it slept
