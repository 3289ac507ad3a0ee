# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Sleeping and waking between lanes: the `asleep` word of a lane's status page.

    sleeper: asleep = 1; full fence; look at all inputs again; sleep while asleep == 1
    waker:   publish;    full fence; if asleep: set it to 0 and wake

Either the sleeper's second look sees the published record, or the waker sees `asleep`: without both fences
each CPU may let its store pass its load, and both miss. The word has two kinds of writers on purpose: the
sleeper sets it to 1, a waker sets it to 0 by exchange (so one of many wakers pays the system call).
"""

cimport cython
from libc.errno cimport EAGAIN, ETIMEDOUT, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t, uintptr_t

from pipeline.native.atomics cimport exchange32, fence_full, load32_relaxed, store32_relaxed

from pipeline.errors import InvariantError

cdef extern from *:
    """
    #include <errno.h>
    #include <linux/futex.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    /* not PRIVATE: the word lies in memory shared between processes */
    static int pm_futex_wait(uint32_t *word, uint32_t expected, int64_t timeout_ns) {
        struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
        return syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, NULL, 0) ? errno : 0;
    }
    static int pm_futex_wake(uint32_t *word) {
        return syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0) < 0 ? errno : 0;
    }
    static int pm_eventfd_ring(int fd) {
        uint64_t one = 1;
        return write(fd, &one, sizeof one) == sizeof one || errno == EAGAIN ? 0 : errno;
    }
    """
    int pm_futex_wait(uint32_t* word, uint32_t expected, int64_t timeout_ns) noexcept nogil
    int pm_futex_wake(uint32_t* word) noexcept nogil
    int pm_eventfd_ring(int fd) noexcept nogil


cdef uint32_t* _word(buffer, Py_ssize_t offset) except NULL:
    cdef unsigned char[::1] view = buffer
    if offset < 0 or offset + 4 > view.shape[0] or <uintptr_t>(&view[0] + offset) & 3:
        raise InvariantError(f"native.futex: a word at offset {offset} (multiple of 4) expected within the "
                             f"buffer, it has {view.shape[0]} bytes")
    return <uint32_t*>&view[offset]


@cython.final
cdef class Sleeper:
    """The sleeping end; one per lane."""

    def __init__(self, buffer, Py_ssize_t offset=0):
        self.word = _word(buffer, offset)
        self.keeper = memoryview(buffer)
        self.disarm()

    cdef void arm(self) noexcept nogil:
        store32_relaxed(self.word, 1)
        fence_full()  # SYNC wake-handshake -> Waker.wake_if_asleep

    cdef void disarm(self) noexcept nogil:
        store32_relaxed(self.word, 0)

    cdef Slept wait(self, int64_t timeout_ns) noexcept nogil:
        cdef int error
        error = pm_futex_wait(self.word, 1, min(max(timeout_ns, 0), SLEEP_NS_MAX))
        self.disarm()
        if error == ETIMEDOUT:
            return SLEPT_TIMEOUT
        return SLEPT_NOT if error == EAGAIN else SLEPT_WOKEN

    def announce(self):
        """Say that this lane is about to sleep; look at all inputs again after it."""
        self.arm()

    def cancel(self):
        """Say that it does not sleep after all, or no longer."""
        self.disarm()

    def sleep(self, int64_t timeout_ns=SLEEP_NS_MAX):
        """Sleep at most `timeout_ns` (bounded by 200 ms); 0 woken, 1 timed out, 2 a waker was faster."""
        cdef Slept slept
        with nogil:
            slept = self.wait(timeout_ns)
        return <int>slept

    @property
    def is_asleep(self):
        """Whether the word says asleep."""
        return load32_relaxed(self.word) != 0

    def close(self):
        """Let the buffer go."""
        old = self.keeper
        buffer = bytearray(8)
        self.word = _word(buffer, 0)
        self.keeper = memoryview(buffer)
        old.release()


@cython.final
cdef class Waker:
    """The waking end, at each lane that writes to the sleeper's inputs. fd: eventfd of an event-loop lane."""

    def __init__(self, buffer, Py_ssize_t offset=0, int fd=-1):
        self.word = _word(buffer, offset)
        self.keeper = memoryview(buffer)
        self.fd = fd

    cpdef bint wake_if_asleep(self) noexcept nogil:
        """Wake the lane when it sleeps; call after publishing. True = it was asleep."""
        cdef int error
        fence_full()  # SYNC wake-handshake <- Sleeper.arm
        if not load32_relaxed(self.word) or not exchange32(self.word, 0):
            return False
        error = pm_futex_wake(self.word) if self.fd < 0 else pm_eventfd_ring(self.fd)
        self.wake_count += 1
        if error:
            self.fail_count += 1
        return True

    def close(self):
        """Let the buffer go; the eventfd belongs to whoever made it."""
        old = self.keeper
        buffer = bytearray(8)
        self.word = _word(buffer, 0)
        self.keeper = memoryview(buffer)
        old.release()
