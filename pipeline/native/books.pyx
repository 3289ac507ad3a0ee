# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""The stage `book`: folds market records into one book per condition and says when each is right.

Reads `stream`, writes `tops`: a TOP after each market message that was taken, STALE when a book must not be
trusted (and, cause NONE, when it is valid again), and in order every record that it does not consume.
Consumed: SNAPSHOT, DELTA, TRADE_PRINT, BBO, SAMPLE, repeated INSTRUMENT. A message that is dropped (old,
superseded, the book is stale, the row unknown) yields nothing and is counted. A GAP is passed on and not
expanded: each stage does that in its own state.

Books are kept in the view of the first outcome (YES): a NO change at p is the YES change of the other side at
1 - p, and a frame that brings both is checked for exactly that. A book is OPEN until the venue's hash of it,
or without hashes its best prices and time, prove that a batch of frames is complete.

The state is a function of the stream alone: no clock, no random number, no Python object per record.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from pipeline.native.bookhash cimport (
    SHA1_BYTES, identity_fill, identity_rules, preimage_digest, preimage_fill,
)
from pipeline.native.bookrow cimport (
    CAUSES, CHANGES_MAX, DOUBT_AGREED, DOUBT_ROWS_MIN, DOUBT_SECONDS, FRAME_LATE, FRAME_NEW, FRAME_REPEAT,
    FRAME_SUPERSEDED, GHOST_TICKS, PAIRS, STAGE_LEVELS, STAGES, TOUCHES, BookRow, Change, Counters, Doubt,
    Frame, Level, Pair, Params, Recent, Stage, Touch,
)
from pipeline.native.flow cimport Sink, Source
from pipeline.native.ladder cimport (
    PRICE_TICKS_FULL, Arena, Ladder, Rows, finest_common, grid_of_step, ladder_above, ladder_clear,
    ladder_move, ladder_set, ladder_size, ladder_top, levels_of, row_ladder_begin, row_ladder_end,
    row_ladder_place, row_publish,
)
from pipeline.native.records cimport (
    CAUSE_ARENA_FULL, CAUSE_BBO_MISMATCH, CAUSE_CROSSED_BOOK, CAUSE_DATED_AHEAD, CAUSE_DISCONNECT,
    CAUSE_HASH_MISMATCH, CAUSE_MIRROR_MISMATCH, CAUSE_NO_SNAPSHOT, CAUSE_NONE, CAUSE_OFF_GRID,
    CAUSE_RESOLVED, CAUSE_SAMPLE_DIFFERS, CAUSE_SHUTDOWN, CAUSE_TICK_UNPROVEN, DELTA_CHANGES, FLAG_CROSSED,
    FLAG_MORE, FLAG_OPEN, FLAG_REPEAT, FLAG_STALE, FLAG_TICKED, KIND_BBO, KIND_CONFIG, KIND_DELTA, KIND_GAP,
    KIND_INSTRUMENT, KIND_RESOLVED, KIND_SAMPLE, KIND_SNAPSHOT, KIND_STALE, KIND_TICK, KIND_TICK_STEP,
    KIND_TOP, KIND_TRADE_PRINT, NOT_ANNOUNCED, RULE_HASHED, RULE_MIRRORED, RULE_RETIRED, RULE_WATCH,
    SLOT_BYTES, SNAPSHOT_LEVELS, TOP_DEPTH, BboSlot, ConfigSlot, DeltaSlot, GapSlot, InstrumentSlot,
    SampleSlot, Slot, SnapshotSlot, StaleSlot, TickStepSlot, TopSlot, TradePrintSlot,
)

from pipeline.errors import InvariantError
from pipeline.kinds import Cause

cdef extern from * nogil:
    """
    static inline int pm_ctz64(uint64_t value) { return __builtin_ctzll(value); }
    """
    int ctz64 "pm_ctz64"(uint64_t value) noexcept

cdef uint64_t SIZE_MICRO_MAX = 1_000_000_000_000_000  # 1e9 shares: beyond any market's supply
cdef int64_t BATCH_NS_MAX = 20_000_000
cdef int64_t DESYNC_NS_MAX = 250_000_000
cdef int64_t TICK_NS_MAX = 1_000_000_000
cdef int64_t HASH_ROWS_MAX = 64
cdef int FLUSH_RECORDS = 8  # records between two release stores; a hash flushes at once

assert max(cause for cause in Cause if cause < 32) < CAUSES


cdef inline BookRow* known_row(Books books, uint32_t number) noexcept nogil:
    books.counters.frames += 1
    if number < books.rows_max and books.books[number].is_known:
        return &books.books[number]
    books.counters.unknown += 1
    return NULL


cdef inline void pass_slot(Books books, const Slot* slot, Sink sink) noexcept nogil:
    memcpy(sink.claim(0), slot, SLOT_BYTES)
    sink.close_run(1)
    books.counters.passed += 1


cdef void refresh_top(BookRow* row, int sides) noexcept nogil:
    if sides & 1:
        ladder_top(&row.ladder, 0, TOP_DEPTH, row.top.bid_ticks, row.top.bid_micro)
    if sides & 2:
        ladder_top(&row.ladder, 1, TOP_DEPTH, row.top.ask_ticks, row.top.ask_micro)


cdef void show_top(Books books, uint32_t number, BookRow* row, const Slot* cause) noexcept nogil:
    """Fill the Top's header from the record that caused it, and show it to observers."""
    cdef TopSlot* top = &row.top
    top.seq, top.now_ns, top.recv_ns = cause.seq, cause.now_ns, cause.recv_ns
    top.source_seq, top.source = cause.source_seq, cause.source
    top.kind, top.instrument = KIND_TOP, number
    top.part, top.parts, top.check = 0, 1, 0
    top.flags = ((FLAG_OPEN if row.is_open else 0) | (FLAG_STALE if row.is_stale else 0)
                 | (FLAG_CROSSED if row.is_crossed else 0))
    top.venue_ns, top.proof_ns = row.venue_ns, row.proof_ns
    row_publish(books.rows.row(number), top)


cdef void emit_top(Books books, uint32_t number, BookRow* row, const Slot* cause, Sink sink) noexcept nogil:
    show_top(books, number, row, cause)
    sink.begin(1)  # room was proven before the record was taken
    memcpy(sink.claim(0), &row.top, SLOT_BYTES)
    sink.close_run(1)
    books.counters.tops += 1


cdef void emit_stale(Books books, uint32_t number, uint32_t why, const Slot* cause, Sink sink) noexcept nogil:
    cdef StaleSlot* stale
    sink.begin(1)
    stale = <StaleSlot*>sink.claim(0)
    memset(stale, 0, SLOT_BYTES)
    stale.seq, stale.now_ns, stale.recv_ns = cause.seq, cause.now_ns, cause.recv_ns
    stale.source_seq, stale.source = cause.source_seq, cause.source
    stale.kind, stale.instrument, stale.cause = KIND_STALE, number, <uint16_t>why
    stale.proof_ns = books.books[number].proof_ns
    sink.close_run(1)


cdef bint close_book(Books books, uint32_t number, BookRow* row, uint32_t why) noexcept nogil:
    """Make the book stale: no level of it may be used. False = it was already, for the same cause."""
    cdef bint is_news = not row.is_stale or row.cause != why
    row.is_stale = True
    row.cause = <uint16_t>why
    row.is_open = row.is_crossed = row.is_tick_old = row.is_dirty = False
    row.mismatch_since_ns = row.crossed_since_ns = row.tick_since_ns = row.search_ns = row.sample_since_ns = 0
    memset(row.top.bid_ticks, 0, 2 * (4 + 8) * TOP_DEPTH)  # ticks and sizes of both sides
    set_pending(books, number, False)
    if is_news:
        books.counters.stales += 1
        books.counters.stales_by_cause[why if why < CAUSES else 0] += 1
    return is_news


cdef void go_stale(Books books, uint32_t number, BookRow* row, uint32_t why, const Slot* cause,
                   Sink sink) noexcept nogil:
    if close_book(books, number, row, why):
        emit_stale(books, number, why, cause, sink)
        emit_top(books, number, row, cause, sink)


cdef void drop_block(Books books, uint32_t number, BookRow* row) noexcept nogil:
    if row.place:
        row_ladder_begin(books.rows.row(number))
        row_ladder_place(books.rows.row(number), 0, 0, 0)
        ladder_clear(&row.ladder)
        row_ladder_end(books.rows.row(number))
        books.arena.give(row.place, row.ladder.capacity)
        row.place = 0


include "books_proof.pxi"
include "books_frames.pxi"
include "books_sample.pxi"
include "books_snapshot.pxi"


cdef void on_instrument(Books books, const InstrumentSlot* slot, Sink sink) noexcept nogil:
    """Keep what the book needs of a row; the first time and a change are passed on, a repeat is not.

    The tick that the stream announced wins over the one that metadata brings later.
    """
    cdef uint32_t number = slot.instrument
    cdef BookRow* row
    cdef bint is_new
    if number == 0 or number >= books.rows_max:
        books.counters.unknown += 1
        return
    row = &books.books[number]
    is_new = not row.is_known
    if slot.flags & FLAG_REPEAT and not is_new:
        return
    sink.begin(1)
    pass_slot(books, <const Slot*>slot, sink)
    if not row.is_resolved:
        books.doubt.hashed_rows += (slot.rules & RULE_HASHED != 0) - (row.rules & RULE_HASHED != 0)
    row.rules, row.shard = slot.rules, slot.shard
    if is_new:
        row.is_known = row.is_stale = True
        row.cause = CAUSE_NO_SNAPSHOT
        row.trade_digits = -1
        row.best_bid = row.best_ask = <uint32_t>NOT_ANNOUNCED
        identity_fill(&row.identity, slot)
        row.grid = finest_common(grid_of_step(slot.tick_step_finest), grid_of_step(slot.tick_step))
        row.grid = row.grid if row.grid else 1
        if number >= books.rows_end:
            books.rows_end = number + 1
    identity_rules(&row.identity, slot.rules, slot.size_micro_min)
    if slot.rules & RULE_RETIRED:  # nobody tells of it any more: its block serves another book
        if not row.is_resolved:
            forget_frames(row)
            go_stale(books, number, row, CAUSE_SHUTDOWN, <const Slot*>slot, sink)
            drop_block(books, number, row)
        return
    if not row.has_stream_tick:
        row.tick_step = slot.tick_step
        row.has_stream_tick = slot.flags & FLAG_TICKED != 0
    row.is_dirty = row.is_open
    if (slot.tick_step and not take_tick(books, number, row, slot.tick_step)) or (
            slot.tick_step_finest and not take_tick(books, number, row, slot.tick_step_finest)):
        go_stale(books, number, row, CAUSE_ARENA_FULL, <const Slot*>slot, sink)


cdef void forget_frames(BookRow* row) noexcept nogil:
    """Frames seen before may come again. The newest announced state stays known: a snapshot that another
    socket brings now may be older than what was told already, and is not believed then."""
    row.best_bid = row.best_ask = <uint32_t>NOT_ANNOUNCED
    row.pair_count = 0


cdef void on_gap(Books books, const GapSlot* slot) noexcept nogil:
    """Continuity was lost: the instrument of the header, or all of the shard, are stale until a fresh
    snapshot."""
    cdef uint32_t number, first = 1, end = books.rows_end
    cdef uint32_t why = slot.cause if slot.cause else CAUSE_DISCONNECT
    cdef BookRow* row
    if slot.instrument:
        first, end = slot.instrument, min(end, slot.instrument + 1)
    for number in range(first, end):
        row = &books.books[number]
        if row.is_known and not row.is_resolved and (slot.instrument or row.shard == slot.shard):
            forget_frames(row)
            if row.is_stale and row.cause == CAUSE_NO_SNAPSHOT:
                continue
            close_book(books, number, row, why)
            show_top(books, number, row, <const Slot*>slot)


cdef void on_resolved(Books books, const Slot* slot) noexcept nogil:
    """The market is over: its block serves another book."""
    cdef BookRow* row
    if slot.instrument >= books.rows_max or not books.books[slot.instrument].is_known:
        return
    row = &books.books[slot.instrument]
    close_book(books, slot.instrument, row, CAUSE_RESOLVED)
    books.doubt.hashed_rows -= not row.is_resolved and row.rules & RULE_HASHED != 0
    row.is_resolved = True
    drop_block(books, slot.instrument, row)
    show_top(books, slot.instrument, row, slot)


cdef void on_config(Books books, const ConfigSlot* slot) noexcept nogil:
    books.params = books.defaults
    if slot.batch_ns_max > 0:
        books.params.batch_ns_max = slot.batch_ns_max
    if slot.desync_ns_max > 0:
        books.params.desync_ns_max = slot.desync_ns_max
    if slot.hash_rows_max > 0:
        books.params.hash_rows_max = slot.hash_rows_max


cdef class Books:
    """All books of a run.

    instruments_max: rows 1 .. instruments_max - 1 are kept. arena: writable buffer of arena_bytes(blocks)
    for the ladders, blocks = blocks of (128, 1,024, 16,384) levels. rows: writable buffer of
    rows_bytes(instruments_max) for observers. The three limits are the defaults of CONFIG's fields of the
    same names, where those are 0.
    """

    def __cinit__(self, uint32_t instruments_max, object arena, object rows, blocks, *,
                  int64_t batch_ns_max=BATCH_NS_MAX, int64_t hash_rows_max=HASH_ROWS_MAX,
                  int64_t desync_ns_max=DESYNC_NS_MAX, int64_t tick_ns_max=TICK_NS_MAX):
        if (not 2 <= instruments_max <= 1 << 20
                or min(batch_ns_max, hash_rows_max, desync_ns_max, tick_ns_max) <= 0):
            raise InvariantError(
                f"native.books: expected 2 .. {1 << 20} instruments and positive limits, found "
                f"{instruments_max}, {batch_ns_max}, {hash_rows_max}, {desync_ns_max}, {tick_ns_max}")
        self.arena = Arena(arena, blocks)
        self.rows = Rows(rows, instruments_max)
        self.rows_max = instruments_max
        self.books = <BookRow*>calloc(instruments_max, sizeof(BookRow))
        self.pending = <uint64_t*>calloc((instruments_max >> 6) + 1, 8)
        self.stages = <Stage*>calloc(STAGES + 1, sizeof(Stage))
        self.changes = <Change*>calloc(CHANGES_MAX, sizeof(Change))
        if self.books == NULL or self.pending == NULL or self.stages == NULL or self.changes == NULL:
            raise MemoryError(f"native.books: no memory for {instruments_max} books; lower instruments_max")
        self.defaults.batch_ns_max, self.defaults.desync_ns_max = batch_ns_max, desync_ns_max
        self.defaults.hash_rows_max, self.defaults.tick_ns_max = hash_rows_max, tick_ns_max
        self.params = self.defaults

    def __dealloc__(self):
        free(self.books)
        free(self.pending)
        free(self.stages)
        free(self.changes)

    cdef bint fold(self, Source source, uint64_t at, uint32_t parts, Sink sink) noexcept nogil:
        """Take one record or run; False = the sink has no room for all that it may emit, nothing was
        taken."""
        cdef const Slot* slot = source.at(at)
        cdef uint32_t index
        if slot.kind == KIND_TICK:
            return on_tick(self, slot, sink)
        if not sink.begin(parts if parts > 3 else 3):  # INSTRUMENT and TICK_STEP: itself, STALE, TOP
            return False
        if slot.kind == KIND_DELTA:
            on_delta(self, source, at, parts, sink)
        elif slot.kind == KIND_SNAPSHOT:
            on_snapshot(self, source, at, parts, sink)
        elif slot.kind == KIND_TRADE_PRINT:
            on_trade_print(self, <const TradePrintSlot*>slot, sink)
        elif slot.kind == KIND_BBO:
            on_bbo(self, <const BboSlot*>slot, sink)
        elif slot.kind == KIND_SAMPLE:
            on_sample(self, <const SampleSlot*>slot)
        elif slot.kind == KIND_TICK_STEP:
            on_tick_step(self, <const TickStepSlot*>slot, sink)
        elif slot.kind == KIND_INSTRUMENT:
            on_instrument(self, <const InstrumentSlot*>slot, sink)
        else:
            if slot.kind == KIND_GAP:
                on_gap(self, <const GapSlot*>slot)
            elif slot.kind == KIND_RESOLVED:
                on_resolved(self, slot)
            elif slot.kind == KIND_CONFIG:
                on_config(self, <const ConfigSlot*>slot)
            for index in range(parts):
                memcpy(sink.claim(index), source.at(at + index), SLOT_BYTES)
            sink.close_run(parts)
            self.counters.passed += 1
        return True

    cpdef int poll(self, Source source, Sink sink, int budget) except -1:
        """Fold up to `budget` records of `source` into `sink`; return how many, 0 = idle or no room.

        Never waits. A record is given back to the source only after all that it caused is visible.
        """
        cdef uint64_t count, taken = 0
        cdef uint32_t parts
        cdef int handled = 0, unseen = 0
        if source is None or sink is None:
            raise InvariantError("native.books: poll expected a source and a sink, found None")
        with nogil:
            count = source.available()
            while handled < budget and taken < count:
                parts = source.at(taken).parts
                parts = parts if parts else 1
                self.is_costly = False
                if not self.fold(source, taken, parts, sink):
                    break
                taken += parts
                handled += 1
                unseen += 1
                if self.is_costly or unseen == FLUSH_RECORDS:
                    sink.flush()
                    unseen = 0
            sink.flush()
            if taken:
                source.advance(taken)
            self.counters.records += handled
        return handled

    def stats(self):
        """Return all counters; `stales_by_cause` holds the causes that happened, by name."""
        counters = self.counters
        found = dict(counters)
        causes = found.pop("stales_by_cause")
        found["stales_by_cause"] = {
            Cause(at).name if at else "OTHER": causes[at] for at in range(CAUSES) if causes[at]}
        found["is_advisory"] = int(self.doubt.is_advisory)
        return found

    def usage(self):
        """Return {levels: (blocks in use, most ever in use, blocks)} of the arena."""
        return self.arena.usage()

    def snapshot_row(self, uint32_t number):
        """Return the whole book and state of a row as a dict, for tools and tests; None when it is unknown.

        bids, asks: lists of (price_ticks, size_micro), best first, in the view of the first outcome.
        """
        cdef BookRow* row
        if number >= self.rows_max or not self.books[number].is_known:
            return None
        row = &self.books[number]
        return {
            "bids": levels_of(&row.ladder, 0) if row.place else [],
            "asks": levels_of(&row.ladder, 1) if row.place else [],
            "is_stale": bool(row.is_stale), "is_open": bool(row.is_open), "is_crossed": bool(row.is_crossed),
            "cause": Cause(row.cause), "venue_ns": row.venue_ns, "proof_ns": row.proof_ns,
            "tick_step": row.tick_step, "grid": row.grid, "shard": row.shard,
            "last_trade": None if row.trade_digits < 0 else (row.trade_ticks, row.trade_digits),
        }
