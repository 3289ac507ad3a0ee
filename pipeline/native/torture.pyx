# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Native loops that prove and measure a channel: they write every byte of numbered slots at one end and
compare every byte at the other. For tests; no stage uses them.

Message i of seed s is the same at both ends: run lengths, header words and payload follow from (s, i).
"""

from libc.signal cimport SIGKILL
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pipeline.native.flow cimport Sink, Source
from pipeline.native.records cimport KIND_TICK, RUN_SLOTS_MAX, Slot
from pipeline.native.ring cimport Observer, Reader, Writer

from dataclasses import dataclass

cdef extern from *:
    """
    #include <sched.h>
    #include <signal.h>
    #include <time.h>
    #include <unistd.h>
    /* splitmix64, Sebastiano Vigna, public domain: https://prng.di.unimi.it/splitmix64.c, read 2026-11-21 */
    #define PM_GOLDEN 0x9E3779B97F4A7C15ull
    #define PM_MIX_A 0xBF58476D1CE4E5B9ull
    #define PM_MIX_B 0x94D049BB133111EBull
    static int64_t pm_now_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    static void pm_die(int signal) { kill(getpid(), signal); for (;;) pause(); }
    """
    int64_t pm_now_ns() noexcept nogil
    void pm_die(int signal) noexcept nogil
    int sched_yield() noexcept nogil
    uint64_t PM_GOLDEN, PM_MIX_A, PM_MIX_B

cdef enum:
    PAYLOAD_WORDS = 26
    SPIN_MAX = 200         # then give the core away: tests may share it

# where `produce` kills its own process, in message `stop_at`
STOP_NEVER, STOP_BEGUN, STOP_HALF, STOP_FILLED, STOP_CLOSED, STOP_SHOWN = range(6)


@dataclass(frozen=True, slots=True)
class Produced:
    """What `produce` did. full_count: runs that found no room at first."""

    sent: int
    full_count: int
    elapsed_ns: int


@dataclass(frozen=True, slots=True)
class Consumed:
    """What `consume` or `observe` saw. empty_count: times that it found nothing after something."""

    received: int
    wrong_order: int  # lost, doubled or reordered
    wrong_bytes: int  # torn or corrupt
    broken_runs: int
    empty_count: int
    lost: int  # observer only: overtaken, and said so
    elapsed_ns: int
    retries_max: int = 0  # observer only: copies in a row of which nothing could be kept


cdef inline uint64_t _mix(uint64_t seed, uint64_t index) noexcept nogil:
    cdef uint64_t value = seed + index * PM_GOLDEN
    value = (value ^ (value >> 30)) * PM_MIX_A
    value = (value ^ (value >> 27)) * PM_MIX_B
    return value ^ (value >> 31)


cdef inline uint32_t _run_length(uint64_t seed, uint64_t index, uint32_t run_max) noexcept nogil:
    return 1 if run_max <= 1 else <uint32_t>(1 + (_mix(~seed, index) >> 33) % run_max)


cdef inline void _fill(Slot* slot, uint64_t seed, uint64_t index) noexcept nogil:
    cdef uint64_t value = _mix(seed, index)
    cdef uint64_t* words = <uint64_t*>slot.payload
    cdef int word
    slot.now_ns = <int64_t>(value ^ 1)
    slot.recv_ns = <int64_t>~value
    slot.source_seq = index
    slot.kind = KIND_TICK
    slot.flags = <unsigned short>value
    slot.instrument = <uint32_t>(value >> 16)
    slot.source = <unsigned short>(value >> 48)
    for word in range(PAYLOAD_WORDS):
        words[word] = value + <uint64_t>word * PM_GOLDEN


cdef inline bint _is_right(const Slot* slot, uint64_t seed) noexcept nogil:
    cdef uint64_t value = _mix(seed, slot.source_seq), wrong
    cdef const uint64_t* words = <const uint64_t*>slot.payload
    cdef int word
    wrong = (<uint64_t>slot.now_ns ^ value ^ 1) | (<uint64_t>slot.recv_ns ^ ~value)
    wrong |= <uint64_t>(slot.kind ^ KIND_TICK) | <uint64_t>(slot.flags ^ <unsigned short>value)
    wrong |= <uint64_t>(slot.instrument ^ <uint32_t>(value >> 16))
    wrong |= <uint64_t>(slot.source ^ <unsigned short>(value >> 48))
    for word in range(PAYLOAD_WORDS):
        wrong |= words[word] ^ (value + <uint64_t>word * PM_GOLDEN)
    return wrong == 0


cdef void _pause(uint64_t seed, uint64_t index, uint64_t pause_every) noexcept nogil:
    """Now and then do nothing for about 20 us, so that full and empty both happen."""
    cdef int64_t end
    if pause_every and _mix(seed, index) % pause_every == 0:
        end = pm_now_ns() + 20_000
        while pm_now_ns() < end:
            pass


def produce(Sink sink not None, uint64_t first, uint64_t count, uint64_t seed, uint32_t run_max=1,
            uint64_t pause_every=0, int stop_step=0, uint64_t stop_at=0, double deadline_s=60.0,
            uint32_t batch=1):
    """Send messages [first, first + count) in runs of 1..run_max slots, `batch` runs a release store.

    Gives up after `deadline_s` without room for a run (sent < count then). stop_step: see STOP_*.
    """
    cdef uint64_t index = first, end = first + count, full_count = 0
    cdef uint32_t length, slot, idle, open_runs = 0
    cdef int64_t started = pm_now_ns(), give_up
    if run_max < 1 or run_max > RUN_SLOTS_MAX:
        raise ValueError(f"native.torture: run_max must be 1..{RUN_SLOTS_MAX}, was {run_max}")
    with nogil:
        while index < end:
            length = min(_run_length(seed, index, run_max), <uint32_t>min(end - index, RUN_SLOTS_MAX))
            if not sink.begin(length):
                sink.flush()
                open_runs = 0
                full_count += 1
                idle = 0
                give_up = pm_now_ns() + <int64_t>(deadline_s * 1e9)
                while not sink.begin(length):
                    idle += 1
                    if idle > SPIN_MAX:
                        sched_yield()
                        if pm_now_ns() > give_up:
                            break
                if not sink.begin(length):
                    break
            if stop_step and index <= stop_at < index + length:
                _die_inside(sink, seed, index, length, stop_step)
            for slot in range(length):
                _fill(sink.claim(slot), seed, index + slot)
            open_runs += 1
            if open_runs >= batch:
                sink.publish(length)
                open_runs = 0
            else:
                sink.close_run(length)
            index += length
            _pause(seed, index, pause_every)
        sink.flush()
    return Produced(index - first, full_count, pm_now_ns() - started)


cdef void _die_inside(Sink sink, uint64_t seed, uint64_t index, uint32_t length, int step) noexcept nogil:
    """Go through a publish up to `step`, then SIGKILL ourselves there."""
    cdef uint32_t slot
    if step == 1:
        pm_die(SIGKILL)
    for slot in range(length):
        _fill(sink.claim(slot), seed, index + slot)
        if step == 2 and slot >= length // 2:
            pm_die(SIGKILL)
    if step == 3:
        pm_die(SIGKILL)
    sink.close_run(length)
    if step == 4:
        pm_die(SIGKILL)
    sink.flush()
    pm_die(SIGKILL)


def consume(Source source not None, uint64_t first, uint64_t count, uint64_t seed, uint64_t pause_every=0,
            double deadline_s=60.0):
    """Receive messages [first, first + count) and prove each; ends early after `deadline_s` without any."""
    cdef uint64_t expected = first, here, index
    cdef uint64_t wrong_order = 0, wrong_bytes = 0, broken_runs = 0, empty_count = 0, received = 0
    cdef uint32_t idle = 0, part = 0, parts = 1
    cdef const Slot* slot
    cdef int64_t started = pm_now_ns(), give_up = 0
    with nogil:
        while received < count:
            here = source.available()
            if here == 0:
                empty_count += idle == 0
                if idle == 0:
                    give_up = pm_now_ns() + <int64_t>(deadline_s * 1e9)
                idle += 1
                if idle > SPIN_MAX:
                    sched_yield()
                    if pm_now_ns() > give_up:
                        break
                continue
            idle = 0
            here = min(here, count - received)
            for index in range(here):
                slot = source.at(index)
                if slot.part == 0:
                    broken_runs += part != parts and received > 0
                    part, parts = 0, slot.parts
                broken_runs += slot.part != part or slot.parts != parts
                part += 1
                wrong_order += slot.source_seq != expected
                wrong_bytes += not _is_right(slot, seed)
                expected = slot.source_seq + 1
                received += 1
            source.advance(here)
            _pause(seed ^ 0x5555, expected, pause_every)
    return Consumed(received, wrong_order, wrong_bytes, broken_runs, empty_count, 0, pm_now_ns() - started)


def churn(Writer writer not None, Reader reader not None, uint64_t first, uint64_t count, uint64_t seed,
          uint32_t run_max=1):
    """Send messages and take them off at once, both here: the fastest writer that an observer can meet."""
    cdef uint64_t index = first, end = first + count, full_count = 0
    cdef uint32_t length, slot
    cdef int64_t started = pm_now_ns()
    with nogil:
        while index < end:
            length = min(_run_length(seed, index, run_max), <uint32_t>min(end - index, RUN_SLOTS_MAX))
            if not writer.begin(length):
                full_count += 1
                reader.advance(reader.available())
                continue
            for slot in range(length):
                _fill(writer.claim(slot), seed, index + slot)
            writer.publish(length)
            index += length
        reader.advance(reader.available())
    return Produced(index - first, full_count, pm_now_ns() - started)


def observe(Observer observer not None, uint64_t last, uint64_t seed, uint32_t slots_max=64,
            double deadline_s=60.0, uint64_t pause_every=0):
    """Look on until message `last` - 1 was seen; count torn copies and check that losses are told exactly."""
    cdef uint64_t received = 0, wrong_order = 0, wrong_bytes = 0, lost = 0, empty_count = 0
    cdef uint64_t expected = 0, lost_now, here, index, retries = 0, retries_max = 0
    cdef uint32_t idle = 0
    cdef Slot slots[RUN_SLOTS_MAX]
    cdef int64_t started = pm_now_ns(), give_up = started + <int64_t>(deadline_s * 1e9)
    cdef bint is_first = True
    slots_max = min(slots_max, RUN_SLOTS_MAX)
    with nogil:
        while is_first or expected < last:
            lost_now = 0
            here = observer.copy(slots, slots_max, &lost_now)
            lost += lost_now
            if not is_first:
                expected += lost_now
            retries = retries + 1 if lost_now and not here else 0
            retries_max = max(retries_max, retries)
            if here == 0:
                empty_count += idle == 0
                idle += 1
                if idle > SPIN_MAX:
                    sched_yield()
                    if pm_now_ns() > give_up:
                        break
                continue
            idle = 0
            if is_first:
                expected = slots[0].source_seq
                is_first = False
            for index in range(here):
                wrong_order += slots[index].source_seq != expected
                wrong_bytes += not _is_right(&slots[index], seed)
                expected = slots[index].source_seq + 1
                received += 1
            _pause(seed ^ 0xAAAA, expected, pause_every)
    return Consumed(received, wrong_order, wrong_bytes, 0, empty_count, lost, pm_now_ns() - started,
                    retries_max)
