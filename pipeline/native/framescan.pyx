# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""Scan hot Polymarket market frames from the socket's own buffer into records; allocates nothing per frame.

Reads: frames of the market channel (`book`, `price_change`, `best_bid_ask`, `last_trade_price`,
`tick_size_change`, `market_resolved`, single or in an array). Writes: Snapshot, Delta, Bbo, TradePrint,
TickStep and Resolved runs to the feed ring. What it does not fully recognise goes to
`venues/polymarket/market_decode.py` and is counted: the scanner accepts a subset of what that decoder
accepts, with the same records.
"""

import enum

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from pipeline.native.arbiter cimport Arbiter, Beat, Pulse
from pipeline.native.flow cimport Sink
from pipeline.native.records cimport (
    DELTA_CHANGES, FLAG_MORE, KIND_BBO, KIND_DELTA, KIND_RESOLVED, KIND_SNAPSHOT, KIND_TICK_STEP,
    KIND_TRADE_PRINT, RUN_SLOTS_MAX, SLOT_BYTES, SNAPSHOT_LEVELS, BboSlot, DeltaSlot, ResolvedSlot, Slot,
    SnapshotSlot, TickStepSlot, TradePrintSlot,
)

cdef extern from "twins.h":
    uint64_t tw_event(const FsEvent* event, const FsLevel* levels) noexcept nogil

cdef enum:
    TOKENS_FIRST = 1024  # entries that a new table has room for
    PAYOUT_MICRO = 1_000_000  # what a share of the outcome that won pays: 1 USD


class Result(enum.IntEnum):
    """What became of a frame; only OK has published everything."""

    OK = FS_OK
    FALLBACK = FS_FALLBACK  # not fully recognised: nothing published, ask the orjson decoder
    UNKNOWN = FS_UNKNOWN  # well-formed, but none of its tokens is in the table: nothing published
    NO_ROOM = FS_NO_ROOM  # the sink is full: call `resume` (or scan the same frame) later
    IGNORED = FS_IGNORED  # PONG, blank or an empty array
    TWIN = FS_TWIN  # all of it came on the other socket before: nothing published


cdef tuple _RESULTS = tuple(Result)


cdef tuple _SURVEY = (
    "", f"is nested deeper than {JG_DEPTH_MAX}", "holds too many values", "repeats a key",
    "has an escape in a key", f"has more than {JG_KEYS_MAX} keys",
)


def survey(const unsigned char[::1] text not None, uint64_t values_max):
    """Return what forbids to parse JSON `text`, or "": depth, number of values, repeated or escaped keys.

    Text that is not JSON passes; the parser refuses it. Reads each byte once and builds nothing.
    """
    cdef int wrong = JG_FINE
    if text.shape[0]:
        with nogil:
            wrong = jg_survey(<const char*>&text[0], <size_t>text.shape[0], values_max)
    return _SURVEY[wrong]


cdef class TokenTable:
    """Maps a token id (decimal text) to (instrument row, outcome, market text); one thread; grows."""

    def __cinit__(self):
        memset(&self.table, 0, sizeof(self.table))
        if not tt_resize(&self.table, TOKENS_FIRST):
            raise MemoryError("native.framescan: no memory for a token table")

    def __dealloc__(self):
        free(self.table.entries)
        free(self.table.index)

    def add(self, str token, uint32_t row, uint8_t outcome, str market=""):
        """Add a token; a later `add` of the same token replaces it.

        token: 1..78 ASCII digits; row > 0; outcome 0 or 1; market: the condition id as frames spell it
        (at most 66 ASCII characters), "" = frames are not checked against it. Raises ValueError.
        """
        if not (token.isascii() and token.isdigit() and len(token) <= TT_TOKEN_BYTES_MAX):
            raise ValueError(
                f"native.framescan: token must be 1..{TT_TOKEN_BYTES_MAX} digits, was {token[:90]!r}")
        if not market.isascii() or len(market) > TT_MARKET_BYTES_MAX:
            raise ValueError(
                f"native.framescan: market must be at most {TT_MARKET_BYTES_MAX} ASCII characters, "
                f"was {market[:90]!r}")
        if row == 0 or outcome > 1:
            raise ValueError(
                f"native.framescan: row must be > 0 and outcome 0 or 1, was row {row}, outcome {outcome}")
        cdef bytes key = token.encode("ascii")
        cdef bytes market_text = market.encode("ascii")
        cdef const char* key_chars = key
        cdef const char* market_chars = market_text
        tt_remove(&self.table, key_chars, len(key))
        if not tt_add(&self.table, key_chars, len(key), market_chars, len(market_text), row, outcome):
            raise MemoryError("native.framescan: no memory for a larger token table")

    def remove(self, str token):
        """Forget a token; tells whether it was there."""
        cdef bytes key = token.encode("utf-8")
        cdef const char* key_chars = key
        if not 0 < len(key) <= TT_TOKEN_BYTES_MAX:
            return False
        return bool(tt_remove(&self.table, key_chars, len(key)))

    def get(self, str token):
        """Return (row, outcome, market text) of a token, or None: the lookup that the decoders take."""
        cdef bytes key = token.encode("utf-8", "replace")
        cdef const char* key_chars = key
        cdef const TtEntry* entry = tt_find(&self.table, key_chars, len(key))
        if entry == NULL:
            return None
        return entry.row, entry.outcome, (<bytes>entry.market[:entry.market_bytes]).decode("ascii")

    def __len__(self):
        return self.table.count


cdef class Scanner:
    """Turns frames into runs of records; `source_seq` counts the runs it published.

    One frame's records are visible whole or not at all when they need at most 64 slots (896 levels).
    A larger frame is published run by run; a snapshot counts at its last run, so that a reader never
    takes half a book. After NO_ROOM call `resume` until it is OK, or `reset` when the feed gives up.
    """

    def __cinit__(self, TokenTable tokens not None, uint16_t source):
        self.tokens = tokens
        self.source = source
        self.state.levels = <FsLevel*>malloc(FS_LEVELS_MAX * sizeof(FsLevel))
        self.state.events = <FsEvent*>malloc((FS_EVENTS_MAX + 1) * sizeof(FsEvent))
        if self.state.levels == NULL or self.state.events == NULL:
            raise MemoryError("native.framescan: no memory for a scanner")

    def __dealloc__(self):
        free(self.state.levels)
        free(self.state.events)

    def judge_by(self, Arbiter arbiter not None):
        """Let the events of redundant sockets be judged: what came on the other one before is dropped."""
        self.arbiter = arbiter

    cdef int scan(self, const char* data, size_t bytes, int64_t recv_ns, Sink sink,
                  Beat* beat) noexcept nogil:
        # Result number. The bytes are not needed any more when it returns. beat: of the socket that brought
        # them, NULL = nobody asks.
        cdef int result
        cdef uint32_t index
        if self.is_partial:
            return self.resume(sink)
        self.frame_count += 1
        self.state.tokens = &self.tokens.table
        self.slots_left = 0
        result = fs_frame(&self.state, data, bytes)
        if result == FS_FALLBACK:
            self.fallback_count += 1
        elif result == FS_UNKNOWN:
            self.unknown_count += 1
        elif result == FS_IGNORED:
            self.ignored_count += 1
        if result != FS_OK:
            return result
        self.recv_ns = recv_ns
        if beat != NULL and self.arbiter is not None and not self._judge(beat):
            self.twin_count += 1
            return FS_TWIN
        self.next_event = self.next_level = 0
        for index in range(self.state.event_count):
            self.slots_left += self._event_slots(&self.state.events[index])
        return self.resume(sink)

    cdef bint _judge(self, Beat* beat) noexcept nogil:
        # Leaves of the frame's events those that the other socket did not tell before; False = none.
        cdef uint32_t at, kept = 0
        cdef FsEvent* event
        self.arbiter.begin(beat, self.recv_ns)
        for at in range(self.state.event_count):
            event = &self.state.events[at]
            if self.arbiter.takes(
                    tw_event(event, self.state.levels) if self.arbiter.is_on else 0, beat, event.row,
                    event.kind == FS_BOOK, event.kind == FS_DELTA,
                    0 if event.kind == FS_DELTA else event.outcome, event.venue_ns, self.recv_ns):
                if kept != at:
                    self.state.events[kept] = event[0]
                kept += 1
        self.state.event_count = kept
        return kept > 0

    cdef void uncount(self, int result) noexcept nogil:
        # Takes the counts of a scan that gave `result`, not FS_OK, back: the frame will be scanned anew.
        if self.is_partial:
            return  # some runs are out: the next `scan` goes on with this frame
        self.slots_left = 0
        self.frame_count -= 1
        if self.arbiter is not None and result == FS_NO_ROOM:
            self.arbiter.undo()
        if result == FS_FALLBACK:
            self.fallback_count -= 1
        elif result == FS_UNKNOWN:
            self.unknown_count -= 1
        elif result == FS_IGNORED:
            self.ignored_count -= 1
        elif result == FS_NO_ROOM:
            self.no_room_count -= 1

    cdef int resume(self, Sink sink) noexcept nogil:
        # Publishes what the last frame still holds: FS_OK or FS_NO_ROOM.
        if self.slots_left == 0:
            return FS_OK
        if not sink.begin(self.slots_left if self.slots_left < RUN_SLOTS_MAX else RUN_SLOTS_MAX):
            self.no_room_count += 1
            return FS_NO_ROOM
        while self.slots_left:
            if not self._publish_run(sink):
                sink.flush()
                self.no_room_count += 1
                return FS_NO_ROOM
            self.is_partial = True
        sink.flush()
        self.is_partial = False
        self.ok_count += 1
        return FS_OK

    cdef uint32_t _event_slots(self, const FsEvent* event) noexcept nogil:
        cdef uint32_t levels
        if event.kind == FS_BOOK:
            levels = event.count[0] + event.count[1]
            return (levels + SNAPSHOT_LEVELS - 1) // SNAPSHOT_LEVELS if levels else 1
        if event.kind == FS_DELTA:
            return (event.count[0] + DELTA_CHANGES - 1) // DELTA_CHANGES
        return 1

    cdef bint _publish_run(self, Sink sink) noexcept nogil:
        # Writes the next run of the frame; False when there is no room for it.
        cdef const FsEvent* event = &self.state.events[self.next_event]
        cdef uint32_t slots = self._event_slots(event) - self.next_level // SNAPSHOT_LEVELS
        cdef uint32_t run = slots if slots < RUN_SLOTS_MAX else RUN_SLOTS_MAX
        cdef uint32_t index
        if not sink.begin(run):
            return False
        self.source_seq += 1
        if event.kind == FS_BOOK:
            for index in range(run):
                self._snapshot(sink, index, event, FLAG_MORE if slots > run else 0)
        elif event.kind == FS_DELTA:
            for index in range(run):
                self._delta(sink, index, event)
        else:
            self._single(sink, event)
        sink.close_run(run)
        self.slots_left -= run
        if slots > run:
            self.next_level += run * SNAPSHOT_LEVELS
        else:
            self.next_event += 1
            self.next_level = 0
        return True

    cdef Slot* _slot(
        self, Sink sink, uint32_t index, const FsEvent* event, uint16_t kind, uint16_t flags,
    ) noexcept nogil:
        cdef Slot* slot = sink.claim(index)
        memset(slot, 0, SLOT_BYTES)
        slot.recv_ns = self.recv_ns
        slot.source_seq = self.source_seq
        slot.kind = kind
        slot.flags = flags
        slot.instrument = event.row
        slot.source = self.source
        return slot

    cdef void _snapshot(self, Sink sink, uint32_t index, const FsEvent* event, uint16_t flags) noexcept nogil:
        cdef SnapshotSlot* slot = <SnapshotSlot*>self._slot(sink, index, event, KIND_SNAPSHOT, flags)
        cdef uint32_t place = self.next_level + index * SNAPSHOT_LEVELS, filled = 0
        cdef uint32_t total = event.count[0] + event.count[1]
        cdef const FsLevel* level
        slot.venue_ns = event.venue_ns
        memcpy(slot.hash, event.hash[0], 20)
        slot.last_trade_ticks = event.price_ticks
        slot.last_trade_state = event.last_trade_state
        slot.tick_step = event.new_step
        slot.outcome = event.outcome
        while filled < SNAPSHOT_LEVELS and place < total:
            if place < event.count[0]:
                level = &self.state.levels[event.first[0] + place]
                slot.bid_count += 1
            else:
                level = &self.state.levels[event.first[1] + place - event.count[0]]
                slot.ask_count += 1
            slot.price_ticks[filled] = level.price_ticks
            slot.size_micro[filled] = level.size_micro
            filled += 1
            place += 1

    cdef void _delta(self, Sink sink, uint32_t index, const FsEvent* event) noexcept nogil:
        cdef DeltaSlot* slot = <DeltaSlot*>self._slot(sink, index, event, KIND_DELTA, 0)
        cdef uint32_t place = index * DELTA_CHANGES, filled = 0
        cdef const FsLevel* level
        slot.venue_ns = event.venue_ns
        memcpy(slot.hash_yes, event.hash[0], 20)
        memcpy(slot.hash_no, event.hash[1], 20)
        slot.best_bid_yes, slot.best_ask_yes = event.best[0][0], event.best[0][1]
        slot.best_bid_no, slot.best_ask_no = event.best[1][0], event.best[1][1]
        while filled < DELTA_CHANGES and place < event.count[0]:
            level = &self.state.levels[event.first[0] + place]
            slot.price_ticks[filled] = level.price_ticks
            slot.size_micro[filled] = level.size_micro
            slot.side[filled] = level.side
            slot.outcome[filled] = level.outcome
            filled += 1
            place += 1
        slot.change_count = <uint8_t>filled

    cdef void _single(self, Sink sink, const FsEvent* event) noexcept nogil:
        # One-slot records: BBO, trade print, tick step, resolution.
        cdef BboSlot* bbo
        cdef TradePrintSlot* trade
        cdef TickStepSlot* step
        cdef ResolvedSlot* resolved
        if event.kind == FS_BBO:
            bbo = <BboSlot*>self._slot(sink, 0, event, KIND_BBO, 0)
            bbo.venue_ns = event.venue_ns
            bbo.bid_ticks, bbo.ask_ticks = event.best[0][0], event.best[0][1]
            bbo.outcome = event.outcome
        elif event.kind == FS_TRADE:
            trade = <TradePrintSlot*>self._slot(sink, 0, event, KIND_TRADE_PRINT, 0)
            trade.venue_ns = event.venue_ns
            trade.size_micro = event.size_micro
            trade.price_ticks = event.price_ticks
            trade.side = event.side
            trade.outcome = event.outcome
        elif event.kind == FS_RESOLVED:
            resolved = <ResolvedSlot*>self._slot(sink, 0, event, KIND_RESOLVED, 0)
            resolved.venue_ns = event.venue_ns
            resolved.payout_micro_yes = 0 if event.outcome else PAYOUT_MICRO
            resolved.payout_micro_no = PAYOUT_MICRO if event.outcome else 0
        else:
            step = <TickStepSlot*>self._slot(sink, 0, event, KIND_TICK_STEP, 0)
            step.venue_ns = event.venue_ns
            step.old_step, step.new_step = event.old_step, event.new_step
            step.outcome = event.outcome

    def scan_bytes(self, const unsigned char[::1] frame not None, int64_t recv_ns, Sink sink not None,
                   Pulse pulse=None):
        """Scan one frame into `sink`; returns a Result. recv_ns: nanoseconds since the epoch.

        pulse: of the socket that brought it; without one the frame is nobody's twin.
        """
        cdef Beat* beat = NULL if pulse is None else &pulse.beat
        cdef const char* data = ""
        cdef size_t count = <size_t>frame.shape[0]
        cdef int result
        if count:
            data = <const char*>&frame[0]
        with nogil:
            result = self.scan(data, count, recv_ns, sink, beat)
        return _RESULTS[result]

    def resume_into(self, Sink sink not None):
        """Publish what waits since NO_ROOM; returns Result.OK or Result.NO_ROOM."""
        return _RESULTS[self.resume(sink)]

    def reset(self):
        """Drop what waits since NO_ROOM; the caller tells the readers by a Gap."""
        if self.slots_left and self.arbiter is not None:
            self.arbiter.undo()  # its copy on the other socket is wanted
        self.is_partial = False
        self.slots_left = 0

    @property
    def is_waiting(self):
        """Tell whether records of the last frame wait for room."""
        return self.slots_left > 0
