# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""The sequencer's merge loop: gives every input of the run its one place and its stream time.

Reads the rings of all edges, writes `stream`. Control, report and account sources are drained first on every
turn, then feeds in turn; feeds wait while `book` is more than `stream_lag_records_max` slots behind. A record
gets now_ns = max(last, clock); a TICK stands before the first record of each new millisecond. After a restart
a record whose source_seq is not above the last logged one of its source is dropped: appended first, given
back to its ring after, it would else be there twice. Runs stay whole. Each new segment of the log begins
with every INSTRUMENT row, flagged REPEAT, so a reader may start there.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pipeline.native.flow cimport Sink, Source
from pipeline.native.log cimport LogWriter
from pipeline.native.records cimport (
    FLAG_REPEAT, FLAG_TICKED, KIND_INSTRUMENT, KIND_TICK, KIND_TICK_STEP, SLOT_BYTES, InstrumentSlot, Slot,
    TickSlot, TickStepSlot,
)

from pipeline.errors import InvariantError

cdef enum:
    TICKS = 10_000  # price ticks of 1 USD

cdef int64_t NS_PER_MS = 1_000_000


cdef class Sequencer:
    """Merges sources into `sink`.

    priority_sources: control, report, account, in that order. feed_sources: everything else. sink: a
    LogWriter; any other Sink works and has no segments, so nothing is repeated. instruments_max: rows below
    it may appear. stream_lag_records_max: slots that `book` may be behind. feed_quantum: records taken from
    one feed before the next has its turn.
    """

    def __cinit__(self, priority_sources, feed_sources, Sink sink not None, *, uint32_t instruments_max,
                  uint64_t stream_lag_records_max=65_536, uint32_t feed_quantum=16):
        for source in (*priority_sources, *feed_sources):
            if not isinstance(source, Source):
                raise InvariantError(f"native.sequence: expected sources, found {type(source).__name__}")
        if instruments_max < 1 or stream_lag_records_max < 1 or feed_quantum < 1:
            raise InvariantError(
                f"native.sequence: expected limits of 1 or more, found instruments_max {instruments_max}, "
                f"stream_lag_records_max {stream_lag_records_max}, feed_quantum {feed_quantum}")
        self.priority, self.feeds = list(priority_sources), list(feed_sources)
        self.sink = sink
        self.log = <LogWriter>sink if isinstance(sink, LogWriter) else None
        if self.log is not None:
            if 2 * <uint64_t>instruments_max > self.log.current.slots:
                raise InvariantError(
                    f"native.sequence: a segment of {self.log.current.slots} slots cannot begin with "
                    f"{instruments_max} rows and go on; expected {2 * instruments_max} slots or more")
            self.segment_first = self.log.current.first
        self.rows_max = instruments_max
        self.lag_max = stream_lag_records_max
        self.quantum = feed_quantum
        self.instruments = <InstrumentSlot*>calloc(instruments_max, sizeof(InstrumentSlot))
        if self.instruments == NULL:
            raise MemoryError(f"native.sequence: no memory for {instruments_max} rows; lower instruments_max")

    def __dealloc__(self):
        free(self.instruments)

    cdef uint64_t place(self) noexcept:
        """Position after the last record written, visible or not."""
        if self.log is not None:
            return self.log.current.first + self.log.end_offset
        return self.slots_written

    cdef bint make_room(self, uint32_t count) noexcept:
        """Reserve room for one run; a segment that this begins gets its repeats first."""
        while self.sink.begin(count):
            if self.log is None or (self.log.current.first == self.segment_first and not self.has_repeats):
                return True
            self.segment_first = self.log.current.first
            self.has_repeats = True
            if not self.write_repeats():
                break
            # once more: after a restart the repeats may have filled the segment; a fresh one has room for
            # both
        self.full += 1
        return False

    cdef bint write_repeats(self) noexcept:
        cdef uint32_t row
        cdef InstrumentSlot* slot
        for row in range(self.rows_end):
            if self.instruments[row].kind != KIND_INSTRUMENT:
                continue
            if not self.sink.begin(1):
                return False
            slot = <InstrumentSlot*>self.sink.claim(0)
            slot[0] = self.instruments[row]
            slot.flags |= FLAG_REPEAT
            slot.now_ns = self.now_ns  # the time of the record before: a repeat never needs a Tick
            slot.source_seq = 0
            self.sink.close_run(1)
            self.repeats += 1
        self.has_repeats = False
        return True

    cdef bint write_tick(self, int64_t clock_ns) noexcept:
        """Write a Tick when the clock begins a millisecond of stream time. False = no room."""
        cdef int64_t now_ns = clock_ns if clock_ns > self.now_ns else self.now_ns
        cdef TickSlot* slot
        if now_ns // NS_PER_MS != self.now_ns // NS_PER_MS:
            if not self.make_room(1):
                return False
            slot = <TickSlot*>self.sink.claim(0)
            memset(slot, 0, SLOT_BYTES)
            self.tick_count += 1
            slot.kind, slot.now_ns, slot.recv_ns, slot.tick_count = KIND_TICK, now_ns, now_ns, self.tick_count
            self.sink.close_run(1)
            self.slots_written += 1
            self.ticks += 1
            self.now_ns = now_ns
        return True

    cdef bint append(self, Source source, uint64_t at, uint32_t parts, int64_t clock_ns) noexcept:
        """Write one run with its stream time, max(last logged, clock). False = no room, nothing was
        written."""
        cdef uint32_t index
        cdef Slot* slot
        cdef const Slot* head = source.at(at)
        if not self.make_room(parts):
            return False
        self.now_ns = max(self.now_ns, clock_ns)
        for index in range(parts):
            slot = self.sink.claim(index)
            memcpy(slot, source.at(at + index), SLOT_BYTES)
            slot.now_ns = self.now_ns
            if slot.source_seq > self.last_seq[slot.source]:
                self.last_seq[slot.source] = slot.source_seq
        self.sink.close_run(parts)
        self.slots_written += parts
        self.records += 1
        if head.kind == KIND_INSTRUMENT:
            self.keep(head)
        elif head.kind == KIND_TICK_STEP:
            self.keep_tick(<const TickStepSlot*>head)
        return True

    cdef bint is_behind(self, uint64_t book_position) noexcept:
        return self.place() > book_position and self.place() - book_position > self.lag_max

    cdef bint is_refused(self, Source source, uint64_t at, uint32_t parts) noexcept:
        """Find what the tables cannot hold; `turn` raises it."""
        cdef uint32_t index
        cdef const Slot* head = source.at(at)
        for index in range(parts):
            if source.at(at + index).source >= SOURCES_MAX:
                self.trouble, self.trouble_value = TROUBLE_SOURCE, source.at(at + index).source
        if head.kind == KIND_INSTRUMENT and head.instrument >= self.rows_max:
            self.trouble, self.trouble_value = TROUBLE_ROW, head.instrument
        return self.trouble != TROUBLE_NONE

    cdef int drain(self, Source source, int budget, int64_t clock_ns, bint is_feed,
                   uint64_t book_position) noexcept:
        """Take up to `budget` records of one source; -1 - records = stop the turn (no room, lag or
        trouble)."""
        cdef uint64_t count = source.available(), taken = 0
        cdef uint32_t parts
        cdef int handled = 0
        cdef const Slot* head
        while handled < budget and count:
            head = source.at(taken)
            parts = head.parts if head.parts else 1
            if is_feed and self.is_behind(book_position):
                self.lagged += 1
                break
            if self.is_refused(source, taken, parts):
                break
            if head.source_seq and head.source_seq <= self.last_seq[head.source]:
                self.duplicates += 1
            elif not self.write_tick(clock_ns) or not self.append(source, taken, parts, clock_ns):
                break
            taken += parts
            handled += 1
            if taken == count:  # a source may show more only when what it showed is taken
                self.give_back(source, taken)
                taken = 0
                count = source.available()
        else:
            self.give_back(source, taken)
            return handled
        self.give_back(source, taken)
        return -1 - handled

    cdef void give_back(self, Source source, uint64_t taken) noexcept:
        """Only now: what leaves the ring is in the log."""
        self.sink.flush()
        if taken:
            source.advance(taken)

    cpdef int turn(self, int64_t clock_ns, uint64_t book_position, int budget) except -1:
        """Take up to `budget` records at `clock_ns`; return how many, 0 = idle, paused by lag or no room.

        book_position: the position that `book` has read up to. Raises InvariantError, after giving back all
        that is in the log, when a record has a source above 1,023 or an instrument row of `instruments_max`
        or more.
        """
        cdef int handled = 0, found
        cdef uint32_t count = <uint32_t>len(self.feeds), idle = 0, at
        cdef bint is_stopped = False
        for source in self.priority:
            found = self.drain(<Source>source, budget - handled, clock_ns, False, 0)
            if found < 0:
                handled += -1 - found
                is_stopped = True
                break
            handled += found
        while handled < budget and idle < count and not is_stopped:
            at = self.next_feed if self.next_feed < count else 0
            found = self.drain(
                <Source>self.feeds[at], min(budget - handled, <int>self.quantum), clock_ns, True,
                book_position)
            self.next_feed = at + 1
            if found < 0:
                handled += -1 - found
                break
            handled += found
            idle = 0 if found else idle + 1
        self.raise_trouble()
        return handled

    def raise_trouble(self):
        if self.trouble == TROUBLE_NONE:
            return
        is_source = self.trouble == TROUBLE_SOURCE
        name, limit = ("source", SOURCES_MAX) if is_source else ("instrument row", self.rows_max)
        raise InvariantError(
            f"native.sequence: expected a {name} below {limit}, found {self.trouble_value}; "
            "the record stays in its ring")

    cpdef bint idle_tick(self, int64_t clock_ns) except -1:
        """Write a TICK when `clock_ns` begins a new millisecond; for the end of a wait without a record."""
        cdef uint64_t before = self.ticks
        self.write_tick(clock_ns)
        self.sink.flush()
        return self.ticks != before

    def recover(self, Source source not None):
        """Fold what is logged already: last numbers, rows, time. Return the records read.

        source: a reader of the same log from its beginning (or from a position before which nothing matters).
        All rows are repeated before the next record: a crash may have cut the repeats of a segment.
        """
        cdef uint64_t count, at
        cdef const Slot* slot
        cdef uint64_t found = 0
        while True:
            count = source.available()
            if count == 0:
                break
            for at in range(count):
                slot = source.at(at)
                found += 1
                if slot.now_ns > self.now_ns:
                    self.now_ns = slot.now_ns
                if slot.kind == KIND_TICK:
                    self.tick_count = (<const TickSlot*>slot).tick_count
                if slot.source < SOURCES_MAX and slot.source_seq > self.last_seq[slot.source]:
                    self.last_seq[slot.source] = slot.source_seq
                if slot.kind == KIND_TICK_STEP:
                    self.keep_tick(<const TickStepSlot*>slot)
                if slot.kind != KIND_INSTRUMENT or slot.instrument >= self.rows_max:
                    continue
                # a repeat counts when the log begins after its row was first written
                if (not slot.flags & FLAG_REPEAT
                        or self.instruments[slot.instrument].kind != KIND_INSTRUMENT):
                    self.keep(slot)
            source.advance(count)
        self.has_repeats = self.log is not None and self.rows_end > 0
        return found

    cdef void keep(self, const Slot* slot) noexcept:
        """Remember a row for the repeats; a tick that the stream announced outlives later metadata."""
        cdef InstrumentSlot* kept = &self.instruments[slot.instrument]
        cdef bint is_ticked = kept.kind == KIND_INSTRUMENT and kept.flags & FLAG_TICKED
        cdef unsigned short tick_step = kept.tick_step
        kept[0] = (<const InstrumentSlot*>slot)[0]
        kept.flags &= <unsigned short>~FLAG_REPEAT
        if is_ticked and not kept.flags & FLAG_TICKED:
            self.put_tick(kept, tick_step)
        if slot.instrument >= self.rows_end:
            self.rows_end = slot.instrument + 1

    cdef void keep_tick(self, const TickStepSlot* slot) noexcept:
        """Take a change of the tick into the row, so that a reader that starts at its repeat knows it."""
        if slot.instrument < self.rows_max and 0 < slot.new_step < TICKS:
            if self.instruments[slot.instrument].kind == KIND_INSTRUMENT:
                self.put_tick(&self.instruments[slot.instrument], slot.new_step)

    cdef void put_tick(self, InstrumentSlot* kept, unsigned short tick_step) noexcept:
        kept.tick_step = tick_step
        if tick_step < kept.tick_step_finest:
            kept.tick_step_finest = tick_step
        kept.flags |= FLAG_TICKED

    @property
    def position(self):
        """Position after the last record of the stream."""
        return self.place()

    def last_source_seq(self, uint32_t source):
        """Return the last logged source_seq of a source; 0 = none."""
        if source >= SOURCES_MAX:
            raise InvariantError(f"native.sequence: expected a source below {SOURCES_MAX}, found {source}")
        return self.last_seq[source]

    def stats(self):
        """Return the counters: what was logged, dropped as a duplicate, and why a turn stopped early."""
        return {
            "records": self.records, "duplicates": self.duplicates, "ticks": self.ticks,
            "repeats": self.repeats, "lagged": self.lagged, "full": self.full,
        }
