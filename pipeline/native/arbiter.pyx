# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""Two sockets of one shard tell the same story: whoever comes first is taken, its copy is dropped.

Reads: each event of each frame of a feed's sockets. Writes nothing; says what to take, and keeps what the
feed machine judges its sockets by: when each last told something, of which rows, and what the other one knew
that it did not.

The rule. An event is known by all that it says (kind, row, token, venue time, hash, every change or level). A
socket's k-th showing of an event is the twin of the other's k-th, so an event is taken as often as the socket
that showed it most often did: a change that the venue really made twice is taken twice, a copy never. Where
both sockets keep the venue's order, so does what is taken: whatever stood before an event on the socket that
was first with it had come by then. Where they do not, or an entry was forgotten here (each set of the table
forgets its oldest), the book sorts it out as it does on one socket: by time and hash, sizes are absolute, and
nothing is believed before the venue's hash of the whole book.

A snapshot that we asked for is never a twin: it answers our question, and the book may wait for it.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pipeline.native.records cimport (
    FLAG_MORE, KIND_BBO, KIND_DELTA, KIND_RESOLVED, KIND_SNAPSHOT, KIND_TICK_STEP, KIND_TRADE_PRINT,
    SLOT_BYTES, BboSlot, DeltaSlot, ResolvedSlot, Slot, SnapshotSlot, TickStepSlot, TradePrintSlot,
)

from pipeline.errors import InvariantError

cdef extern from "twins.h":
    enum:
        FS_BOOK
        FS_DELTA
        FS_BBO
        FS_TRADE
        FS_STEP
        FS_RESOLVED
    uint64_t tw_level(uint32_t price_ticks, int64_t size_micro, uint32_t side, uint32_t outcome) nogil
    uint64_t tw_head(uint32_t kind, uint32_t row, uint32_t outcome, int64_t venue_ns) nogil
    uint64_t tw_key(uint64_t mix, uint64_t levels) nogil
    uint64_t tw_book(uint64_t mix, const uint8_t* hash, uint32_t step, uint32_t trade_state,
                     uint32_t trade) nogil
    uint64_t tw_delta(uint64_t mix, const uint8_t* yes, const uint8_t* no) nogil
    uint64_t tw_single(uint64_t mix, uint32_t one, uint32_t other, int64_t size_micro) nogil

ENTRIES = 1 << 17  # some seconds of ten thousand events each; 3 MB once they are used
cdef int64_t MEAN_OF = 16  # frames, about, that the mean gap is of
cdef int64_t GAP_NS_MAX = 60_000_000_000
cdef int64_t MISSED_NS = 2_000_000_000  # a change older than this should have been told of


cdef class Pulse:
    """What one socket tells; the same object for the sockets that follow each other in its place.

    slot: 0 or 1, the socket's place in its shard.
    """

    def __init__(self, uint32_t slot):
        if slot >= SOCKETS:
            raise InvariantError(f"native.arbiter: a socket's place is 0 or 1, was {slot}")
        self.beat.slot = slot
        self.restart()

    def restart(self):
        """A new socket stands in this place."""
        self.beat.data_ns = 0
        self.beat.gap_ns = GAP_NS_MAX
        self.beat.frames = self.beat.missed = 0

    @property
    def data_ns(self):
        """When the newest market frame came; 0 = none since the socket stands."""
        return self.beat.data_ns

    @property
    def gap_ns(self):
        """Running mean of the time between two market frames."""
        return self.beat.gap_ns

    @property
    def missed(self):
        """Canaries, since the last change, that showed one of which no socket told.

        One older than 2 s counts twice; a younger one may be on its way, but not twice in a row.
        """
        return self.beat.missed


cdef class Arbiter:
    """Judges the events of one feed; rows 1 .. rows_max - 1. While not `is_on` nothing is a twin."""

    def __cinit__(self, uint32_t rows_max, uint32_t entries=ENTRIES):
        if rows_max < 2 or entries < WAYS or entries & (entries - 1):
            raise InvariantError(
                f"native.arbiter: expected 2 rows or more and a power of two of entries, found {rows_max}, "
                f"{entries}")
        self.rows_max = rows_max
        self.mask = entries // WAYS - 1
        self.entries = <Entry*>calloc(entries, sizeof(Entry))
        self.rows = <RowPulse*>calloc(rows_max, sizeof(RowPulse))
        if self.entries == NULL or self.rows == NULL:
            raise MemoryError(f"native.arbiter: no memory for {rows_max} rows and {entries} events")

    def __dealloc__(self):
        free(self.entries)
        free(self.rows)

    # ---------------------------------------------------------------------------- events

    cdef void begin(self, Beat* beat, int64_t recv_ns) noexcept nogil:
        """A frame with events of ours came."""
        cdef int64_t gap_ns = recv_ns - beat.data_ns
        cdef int64_t weight = <int64_t>beat.frames if beat.frames < MEAN_OF else MEAN_OF
        self.touched_count = 0
        self.turn += 1
        if beat.data_ns:
            gap_ns = 0 if gap_ns < 0 else gap_ns
            beat.gap_ns += ((gap_ns if gap_ns < GAP_NS_MAX else GAP_NS_MAX) - beat.gap_ns) // weight
        beat.data_ns = recv_ns if recv_ns > beat.data_ns else beat.data_ns
        beat.frames += 1

    cdef bint takes(self, uint64_t key, Beat* beat, uint32_t row, bint is_book, bint is_change,
                    uint32_t outcome, int64_t venue_ns, int64_t recv_ns) noexcept nogil:
        """Tell whether this event is to be taken; is_change: every socket must tell of it."""
        cdef uint32_t slot = beat.slot, other = slot ^ 1
        cdef RowPulse* pulse
        cdef uint8_t bit = <uint8_t>(1 << (slot * 2 + outcome))
        cdef bint is_new
        if row >= self.rows_max:
            return True
        pulse = &self.rows[row]
        pulse.heard_ns[slot] = recv_ns
        pulse.ahead_ns[other] = 0
        if is_book and pulse.asked & bit:
            if pulse.probed & (1 << slot) and pulse.newest_ns < venue_ns:
                beat.missed += 2 if venue_ns < recv_ns - MISSED_NS else 1
            self.note(NULL, row, bit)
            pulse.asked &= ~bit
            pulse.probed &= ~<uint8_t>(1 << slot)
            pulse.stands |= <uint8_t>(1 << slot)
            if venue_ns > pulse.newest_ns:
                pulse.newest_ns = venue_ns
            return True
        pulse.frames += 1
        beat.missed = 0
        if venue_ns > pulse.newest_ns:
            pulse.newest_ns = venue_ns
        if not self.is_on:
            return True
        is_new = self.count(key, slot)
        if not is_new:
            self.twins += 1
        elif is_change and pulse.ahead_ns[slot] == 0 and pulse.stands & (1 << other):
            pulse.ahead_ns[slot] = recv_ns
        return is_new

    cdef bint count(self, uint64_t key, uint32_t slot) noexcept nogil:
        """Count one showing; True when the socket has now shown the event more often than the other."""
        cdef Entry* entry = &self.entries[((key >> 8) & self.mask) * WAYS]
        cdef Entry* found = entry
        cdef int way
        for way in range(WAYS):
            if entry[way].key == key:
                found = &entry[way]
                break
            if entry[way].key == 0 or self.turn - entry[way].turn > self.turn - found.turn:
                found = &entry[way]
        if found.key != key:
            memset(found, 0, sizeof(Entry))
            found.key = key
        found.turn = self.turn
        if found.shown[slot] == 0xFFFF:
            return True
        found.shown[slot] += 1
        self.note(found, 0, <uint8_t>slot)
        return found.shown[slot] > found.shown[slot ^ 1]

    cdef void note(self, Entry* entry, uint32_t row, uint8_t what) noexcept nogil:
        cdef Touched* touched
        if self.touched_count < FRAME_EVENTS:
            touched = &self.touched[self.touched_count]
            touched.entry, touched.row, touched.slot, touched.asked = entry, row, what, what
            self.touched_count += 1

    cdef void undo(self) noexcept nogil:
        """The newest frame was not taken after all: it comes again, or its copy must."""
        cdef uint32_t at
        cdef Touched* touched
        for at in range(self.touched_count):
            touched = &self.touched[at]
            if touched.entry == NULL:
                self.rows[touched.row].asked |= touched.asked
            elif touched.entry.shown[touched.slot]:
                touched.entry.shown[touched.slot] -= 1
        self.touched_count = 0

    def keep(self, list runs not None, Pulse pulse not None, int64_t recv_ns):
        """Return those runs of a frame of the slow decoder that are to be taken.

        A snapshot of several runs is always taken: the book knows a state that it has.
        """
        cdef const unsigned char[::1] run
        cdef const Slot* slot
        cdef list kept = []
        cdef uint64_t key
        cdef uint32_t outcome
        cdef int64_t venue_ns
        self.begin(&pulse.beat, recv_ns)
        for found in runs:
            run = found
            slot = <const Slot*>&run[0]
            outcome, venue_ns = outcome_of(slot), (<const BboSlot*>slot).venue_ns
            key = run_key(slot, <uint32_t>(run.shape[0] // SLOT_BYTES), outcome)
            if (slot.kind == KIND_SNAPSHOT and slot.flags & FLAG_MORE) or self.takes(
                    key, &pulse.beat, slot.instrument, slot.kind == KIND_SNAPSHOT, slot.kind == KIND_DELTA,
                    outcome, venue_ns, recv_ns):
                kept.append(found)
        return kept

    # ---------------------------------------------------------------------------- questions

    def ask(self, uint32_t row, uint32_t slot, bint is_probe=False):
        """A snapshot of both tokens of a row was asked for on a socket."""
        if row < self.rows_max and slot < SOCKETS:
            self.rows[row].asked |= <uint8_t>(3 << (slot * 2))
            self.rows[row].stands &= ~<uint8_t>(1 << slot)
            self.rows[row].ahead_ns[slot] = self.rows[row].ahead_ns[slot ^ 1] = 0
            if is_probe:
                self.rows[row].probed |= <uint8_t>(1 << slot)

    def forget(self, const uint32_t[::1] rows not None, uint32_t slot):
        """The socket is gone: it holds no row any more. What it alone told stays told."""
        cdef Py_ssize_t at
        for at in range(rows.shape[0]):
            if rows[at] < self.rows_max and slot < SOCKETS:
                self.rows[rows[at]].asked &= ~<uint8_t>(3 << (slot * 2))
                self.rows[rows[at]].stands &= ~<uint8_t>(1 << slot)
                self.rows[rows[at]].probed &= ~<uint8_t>(1 << slot)
                self.rows[rows[at]].ahead_ns[slot ^ 1] = 0

    def missing(self, const uint32_t[::1] rows not None, uint32_t slot):
        """Return the rows of which no snapshot came on the socket since it asked for one."""
        cdef Py_ssize_t at
        cdef list found = []
        for at in range(rows.shape[0]):
            if slot < SOCKETS and rows[at] < self.rows_max and not self.rows[rows[at]].stands & (1 << slot):
                found.append(rows[at])
        return found

    def behind(self, const uint32_t[::1] rows not None, uint32_t slot, int64_t before_ns):
        """Count the rows of which this socket has told nothing since the other told a change, before then."""
        cdef Py_ssize_t at
        cdef int64_t ahead_ns
        cdef int found = 0
        for at in range(rows.shape[0]):
            if slot < SOCKETS and rows[at] < self.rows_max:
                ahead_ns = self.rows[rows[at]].ahead_ns[slot ^ 1]
                found += 0 < ahead_ns <= before_ns
        return found

    def busiest(self, const uint32_t[::1] rows not None):
        """Return the row that told most lately, 0 = none; older tellings count half at each question."""
        cdef Py_ssize_t at
        cdef uint32_t best = 0, most = 0
        for at in range(rows.shape[0]):
            if rows[at] < self.rows_max:
                if best == 0 or self.rows[rows[at]].frames > most:
                    best, most = rows[at], self.rows[rows[at]].frames
                self.rows[rows[at]].frames //= 2
        return best

    def newest_ns(self, uint32_t row):
        """Return the newest venue time that the sockets told of a row; 0 = none."""
        return self.rows[row].newest_ns if row < self.rows_max else 0


cdef uint32_t outcome_of(const Slot* slot) noexcept nogil:
    if slot.kind == KIND_SNAPSHOT:
        return (<const SnapshotSlot*>slot).outcome
    if slot.kind == KIND_BBO:
        return (<const BboSlot*>slot).outcome
    if slot.kind == KIND_TRADE_PRINT:
        return (<const TradePrintSlot*>slot).outcome
    if slot.kind == KIND_TICK_STEP:
        return (<const TickStepSlot*>slot).outcome
    if slot.kind == KIND_RESOLVED:
        return (<const ResolvedSlot*>slot).payout_micro_no > 0
    return 0


cdef uint64_t run_key(const Slot* head, uint32_t slots, uint32_t outcome) noexcept nogil:
    """Return the key of one run: what `tw_event` makes of the scanner's event."""
    cdef const SnapshotSlot* book = <const SnapshotSlot*>head
    cdef const DeltaSlot* delta = <const DeltaSlot*>head
    cdef const BboSlot* bbo = <const BboSlot*>head
    cdef const TradePrintSlot* trade = <const TradePrintSlot*>head
    cdef const TickStepSlot* step = <const TickStepSlot*>head
    cdef uint64_t total = 0
    cdef uint32_t at, part
    if head.kind == KIND_SNAPSHOT:
        for part in range(slots):
            for at in range(<uint32_t>book[part].bid_count + book[part].ask_count):
                total += tw_level(book[part].price_ticks[at], book[part].size_micro[at],
                                  at >= book[part].bid_count, 0)
        return tw_key(tw_book(tw_head(FS_BOOK, head.instrument, outcome, book.venue_ns), book.hash,
                              book.tick_step, book.last_trade_state, book.last_trade_ticks), total)
    if head.kind == KIND_DELTA:
        for part in range(slots):
            for at in range(delta[part].change_count):
                total += tw_level(delta[part].price_ticks[at], delta[part].size_micro[at],
                                  delta[part].side[at], delta[part].outcome[at])
        return tw_key(tw_delta(tw_head(FS_DELTA, head.instrument, 0, delta.venue_ns), delta.hash_yes,
                               delta.hash_no), total)
    if head.kind == KIND_BBO:
        return tw_key(tw_single(tw_head(FS_BBO, head.instrument, outcome, bbo.venue_ns), bbo.bid_ticks,
                                bbo.ask_ticks, 0), 0)
    if head.kind == KIND_TRADE_PRINT:
        return tw_key(tw_single(tw_head(FS_TRADE, head.instrument, outcome, trade.venue_ns),
                                trade.price_ticks, trade.side, trade.size_micro), 0)
    if head.kind == KIND_TICK_STEP:
        return tw_key(tw_single(tw_head(FS_STEP, head.instrument, outcome, step.venue_ns), step.old_step,
                                step.new_step, 0), 0)
    return tw_key(tw_head(FS_RESOLVED, head.instrument, outcome, bbo.venue_ns), 0)
