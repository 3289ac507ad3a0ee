# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""Native loops with a clock around them, so that a measurement is not of the Python that makes it.

For `python -m bench` alone; no stage uses them. Each drives one or several real parts over prepared input and
returns what it took. Optional `times` receive one latency in ns an item, each with one clock reading in it.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pipeline.native.books cimport Books
from pipeline.native.flow cimport Sink, Source
from pipeline.native.framescan cimport FS_NO_ROOM, FS_OK, Scanner
from pipeline.native.records cimport KIND_TICK, RUN_SLOTS_MAX, SLOT_BYTES, Slot

from dataclasses import dataclass

cdef extern from *:
    """
    #include <sched.h>
    #include <time.h>
    static inline int64_t pm_gauge_now_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    static inline int64_t pm_gauge_cpu_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    #if defined(__x86_64__) || defined(__i386__)
    #define pm_gauge_relax() __builtin_ia32_pause()
    #elif defined(__aarch64__)
    #define pm_gauge_relax() __asm__ volatile("yield")
    #else
    #define pm_gauge_relax() ((void)0)
    #endif
    """
    int64_t now_mono "pm_gauge_now_ns"() noexcept nogil
    int64_t now_cpu "pm_gauge_cpu_ns"() noexcept nogil
    void relax "pm_gauge_relax"() noexcept nogil
    int sched_yield() noexcept nogil

cdef enum:
    SPINS_MAX = 100_000  # without progress; then the core is given away, so that a shared one cannot hang


@dataclass(frozen=True, slots=True)
class Taken:
    """What a loop did. elapsed_ns: of the measured part alone; digest: of what was read or produced.

    cpu_ns: CPU time of this thread in that part; less than elapsed_ns when others had the core meanwhile.
    """

    count: int
    elapsed_ns: int
    digest: int
    cpu_ns: int


def clock_ns(uint32_t count=1001):
    """Return the mean cost of one clock reading here, in ns, over `count` readings."""
    cdef int64_t begun = now_mono(), last = begun
    cdef uint32_t index
    for index in range(count):
        last = now_mono()
    return (last - begun) / count


cdef inline void fill(Slot* slot, uint64_t index, int64_t stamp_ns) noexcept nogil:
    """Write every byte of a slot; its payload is its number, its receive time the moment of sending."""
    cdef uint64_t* words = <uint64_t*>slot
    cdef int word
    for word in range(SLOT_BYTES // 8):
        words[word] = index
    slot.kind, slot.part, slot.parts = KIND_TICK, 0, 1
    slot.recv_ns, slot.source_seq = stamp_ns, index


def send(Sink sink not None, uint64_t count, uint32_t batch, int64_t pace_ns=0):
    """Send `count` numbered slots, `batch` a release store; one every `pace_ns` when that is above zero."""
    cdef uint64_t index = 0
    cdef uint32_t at, size, idle = 0
    cdef int64_t begun = now_mono(), cpu = now_cpu(), due, stamp = 0
    if not 1 <= batch <= RUN_SLOTS_MAX:
        raise ValueError(f"native.gauge: batch must be 1..{RUN_SLOTS_MAX}, was {batch}")
    due = begun
    with nogil:
        while index < count:
            size = <uint32_t>min(<uint64_t>batch, count - index)
            if pace_ns:
                due = max(due, now_mono() - pace_ns) + pace_ns  # late: go on from now, never in a burst
                while now_mono() < due:
                    relax()
                stamp = now_mono()
            for at in range(size):
                while not sink.begin(1):
                    sink.flush()
                    relax()
                    idle += 1
                    if idle % SPINS_MAX == 0:
                        sched_yield()
                fill(sink.claim(0), index + at, stamp)
                sink.close_run(1)
            sink.flush()
            index += size
    return Taken(count, now_mono() - begun, 0, now_cpu() - cpu)


def receive(Source source not None, uint64_t count, double deadline_s=60.0, int64_t[::1] times=None):
    """Take `count` slots; reads a word of each of the four cache lines. elapsed_ns: first slot to last.

    digest: sum of the words read, count * (count - 1) / 2 * 4 when nothing was lost or torn. times: one-way
    latency of each slot, for a paced sender.
    """
    cdef uint64_t received = 0, here, at, digest = 0
    cdef uint32_t idle = 0
    cdef const uint64_t* words
    cdef const Slot* slot
    cdef int64_t begun = 0, cpu = now_cpu(), give_up = now_mono() + <int64_t>(deadline_s * 1e9)
    cdef bint is_timed = times is not None
    if is_timed and <uint64_t>times.shape[0] < count:
        raise ValueError(f"native.gauge: times must hold {count} items, was {times.shape[0]}")
    with nogil:
        while received < count:
            here = source.available()
            if here == 0:
                relax()
                idle += 1
                if idle % SPINS_MAX == 0:
                    sched_yield()
                    if now_mono() > give_up:
                        break
                continue
            if begun == 0:
                begun, cpu = now_mono(), now_cpu()
            here = min(here, count - received)
            for at in range(here):
                slot = source.at(at)
                words = <const uint64_t*>slot
                digest += slot.source_seq + words[14] + words[22] + words[30]
                if is_timed:
                    times[received + at] = now_mono() - slot.recv_ns
            source.advance(here)
            received += here
    return Taken(received, now_mono() - begun if begun else 0, digest, now_cpu() - cpu)


def append(Sink sink not None, uint64_t first, uint64_t count, int64_t[::1] times=None):
    """Append `count` slots to a log, one a release store, as a stage does; ends early without room."""
    cdef uint64_t index = 0
    cdef int64_t begun = now_mono(), cpu = now_cpu(), before
    cdef bint is_timed = times is not None
    if is_timed and <uint64_t>times.shape[0] < count:
        raise ValueError(f"native.gauge: times must hold {count} items, was {times.shape[0]}")
    with nogil:
        while index < count:
            before = now_mono() if is_timed else 0
            if not sink.begin(1):
                break
            fill(sink.claim(0), first + index, 0)
            sink.publish(1)
            if is_timed:
                times[index] = now_mono() - before
            index += 1
    return Taken(index, now_mono() - begun, 0, now_cpu() - cpu)


cdef inline void let_go(Source source) noexcept nogil:
    cdef uint64_t count = source.available()
    while count:
        source.advance(count)
        count = source.available()


cdef inline int scan_one(Scanner scanner, const char* data, size_t size, int64_t recv_ns, Sink sink,
                         Source drain) noexcept nogil:
    cdef int result = scanner.scan(data, size, recv_ns, sink, NULL)
    while result == FS_NO_ROOM:
        let_go(drain)
        result = scanner.resume(sink)
    return result


def scan_frames(Scanner scanner not None, const unsigned char[::1] text not None,
                const uint64_t[::1] ends not None, Sink sink not None, Source drain not None, int64_t recv_ns,
                int64_t[::1] times=None):
    """Scan frames [ends[i - 1], ends[i]) of `text` into `sink`, whose other end `drain` is emptied when full.

    Frame i arrives at recv_ns + i. count: frames that were OK.
    """
    cdef uint64_t index, count = <uint64_t>ends.shape[0], start = 0, ok = 0, size
    cdef const char* data = <const char*>&text[0]
    cdef int64_t begun = now_mono(), cpu = now_cpu(), before
    cdef bint is_timed = times is not None
    with nogil:
        for index in range(count):
            before = now_mono() if is_timed else 0
            size = ends[index] - start
            ok += scan_one(scanner, data + start, size, recv_ns + <int64_t>index, sink, drain) == FS_OK
            if is_timed:
                times[index] = now_mono() - before
            start = ends[index]
        let_go(drain)
    return Taken(ok, now_mono() - begun, scanner.source_seq, now_cpu() - cpu)


cdef uint64_t drop_tops(Source tops) noexcept nogil:
    """Read each Top as `detect` would: its best prices; give all back."""
    cdef uint64_t count = tops.available(), at, digest = 0
    cdef const uint64_t* words
    while count:
        for at in range(count):
            words = <const uint64_t*>tops.at(at)
            digest += words[6] + words[10]
        tops.advance(count)
        count = tops.available()
    return digest


def scan_and_fold(Scanner scanner not None, const unsigned char[::1] text not None,
                  const uint64_t[::1] ends not None, Sink feed not None, Source feed_end not None,
                  Books books not None, Sink tops not None, Source tops_end not None, int64_t recv_ns,
                  uint32_t batch=1, int64_t[::1] times=None):
    """Scan frames into `feed`, fold it into `books` after every `batch` frames, read the Tops: one thread.

    times: of each batch, first frame's scan to last Top read. digest: of the Tops.
    """
    cdef uint64_t index = 0, count = <uint64_t>ends.shape[0], start = 0, stop, size
    cdef uint64_t ok = 0, digest = 0, turn = 0
    cdef const char* data = <const char*>&text[0]
    cdef int64_t begun = now_mono(), cpu = now_cpu(), before
    cdef bint is_timed = times is not None
    while index < count:
        before = now_mono() if is_timed else 0
        stop = min(index + batch, count)
        while index < stop:
            size = ends[index] - start
            ok += scan_one(scanner, data + start, size, recv_ns + <int64_t>index, feed, feed_end) == FS_OK
            start = ends[index]
            index += 1
        while books.poll(feed_end, tops, 1 << 20):
            digest += drop_tops(tops_end)
        if is_timed:
            times[turn] = now_mono() - before
        turn += 1
    return Taken(ok, now_mono() - begun, digest, now_cpu() - cpu)


def fold_records(Books books not None, const unsigned char[::1] records not None, Sink feed not None,
                 Source feed_end not None, Sink tops not None, Source tops_end not None,
                 uint32_t chunk_slots=512, int64_t[::1] times=None):
    """Fold prepared records, whole runs one after the other, into `books`. elapsed_ns: of the folding alone.

    times: of each record alone; without it chunks of about `chunk_slots` are folded at once. count: records.
    """
    cdef uint64_t slots = <uint64_t>records.shape[0] // SLOT_BYTES, at = 0, digest = 0, count = 0
    cdef const Slot* source = <const Slot*>&records[0]
    cdef uint32_t parts, part, loaded
    cdef int64_t elapsed = 0, cpu = 0, before, cpu_before = 0
    cdef bint is_timed = times is not None
    cdef int done
    while at < slots:
        loaded = 0
        while at < slots and loaded < chunk_slots:
            parts = source[at].parts if source[at].parts else 1
            if not feed.begin(parts):
                break
            for part in range(parts):
                memcpy(feed.claim(part), &source[at + part], SLOT_BYTES)
            feed.close_run(parts)
            at += parts
            loaded += parts
        feed.flush()
        while True:
            if not is_timed:
                cpu_before = now_cpu()
            before = now_mono()
            done = books.poll(feed_end, tops, 1 if is_timed else 1 << 20)
            before = now_mono() - before
            if done == 0:
                break
            elapsed += before
            if not is_timed:
                cpu += now_cpu() - cpu_before
            if is_timed:
                times[count] = before
            count += <uint64_t>done
            digest += drop_tops(tops_end)
    return Taken(count, elapsed, digest, cpu)
