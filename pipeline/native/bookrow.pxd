# State of one book and of the fold over all books; private to native/books.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from pipeline.native.bookhash cimport BookIdentity
from pipeline.native.ladder cimport Ladder
from pipeline.native.records cimport TopSlot

cdef enum:
    PAIRS = 16           # frames remembered per book: a power of two
    TOUCHES = 32         # level changes remembered per book: a power of two
    STAGES = 8           # snapshots of several runs that may be under way at once
    STAGE_LEVELS = 20000  # every legal price of both sides
    CHANGES_MAX = 512    # 64 slots of 8 changes
    CAUSES = 32          # causes of a stale book are below this
    DOUBT_SECONDS = 10   # in so many ...
    DOUBT_ROWS_MIN = 5   # ... so many books or more, and more than 5 % of all, show a wrong hash: the rule is
    DOUBT_AGREED = 64    # right hashes in a row that end the doubt
    GHOST_TICKS = 100    # a REST book that bids no more, and asks no less than 1 minus it, may be a ghost

cdef enum Frame:
    FRAME_NEW            # a state that we have not seen
    FRAME_REPEAT         # the newest (timestamp, hash) again: another frame of its batch, or a copy
    FRAME_LATE           # older than the newest, and never seen
    FRAME_SUPERSEDED     # seen, and no longer the newest

cdef struct Pair:        # one accepted frame
    int64_t venue_ns
    uint64_t hash[2]     # first bytes of the announced hash of YES and NO; 0 = not in the frame
    uint64_t content     # mix of the frame's changes: tells a copy from a state that came back

cdef struct Touch:       # one level change
    int64_t venue_ns
    uint32_t key         # price_ticks * 2 + side
    uint32_t reserved

cdef struct Change:      # in YES view
    int64_t size_micro
    uint32_t price_ticks
    uint8_t side
    uint8_t outcome      # as the frame said
    uint8_t is_paired
    uint8_t reserved

cdef struct Level:
    int64_t size_micro
    uint32_t price_ticks  # as the token's own book says
    uint32_t side

cdef struct Stage:       # a snapshot being collected
    uint8_t is_active
    uint8_t outcome
    uint16_t source
    uint32_t instrument
    uint32_t count
    uint32_t turn        # when it began; the oldest gives way
    Level levels[STAGE_LEVELS]

cdef struct BookRow:
    # identity and rules
    uint8_t is_known, is_resolved, has_stream_tick
    uint16_t shard
    uint32_t rules
    uint32_t tick_step   # legal spacing now, as in the hash's text
    uint32_t grid        # finest spacing seen in this run
    BookIdentity identity
    # book
    Ladder ladder
    uint64_t place       # block in the arena; 0 = none
    int64_t venue_ns     # newest change applied
    int64_t base_ns      # the snapshot under it
    uint8_t base_outcome, is_pristine  # no change since the snapshot
    # validity
    uint8_t is_stale, is_open, is_crossed
    uint16_t cause
    int64_t crossed_since_ns, mismatch_since_ns, tick_since_ns, search_ns  # 0 = not so
    int64_t heard_ns     # when the newest frame that changed the book reached this host; 0 = not told
    int64_t proof_ns
    int64_t suspect_ns   # when its hash was last counted as wrong; 0 = never
    # a REST sample of a state that the stream has not told
    int64_t sample_since_ns  # when it came; 0 = none
    int64_t sample_ns        # its venue time
    int64_t sampled_ns       # when a sample made the book stale that no snapshot has confirmed; 0 = never
    uint64_t sample_hash, sample_mix
    # what the venue announced last
    int64_t target_ns, target_arrived_ns
    uint8_t target_hash[2][20]
    uint8_t target_has[2]
    uint8_t is_dirty     # the hash was not checked since the last change
    uint8_t is_tick_old  # the tick changed after the announcement: no mismatch, no proof but by the new tick
    uint32_t best_bid, best_ask  # YES view; NOT_ANNOUNCED
    # the hash's last trade price: digits -1 = unknown, 0 = never traded, 3 or 4 decimals
    int32_t trade_digits
    uint32_t trade_ticks, print_ticks, change_ticks
    # memory of recent frames and changes
    uint32_t pair_count, touch_count
    int64_t touch_floor_ns  # newest change that was forgotten
    Pair pairs[PAIRS]
    Touch touches[TOUCHES]
    TopSlot top

cdef struct Recent:      # books of each of the last seconds
    int64_t seconds[DOUBT_SECONDS]
    uint32_t rows[DOUBT_SECONDS]

cdef struct Doubt:       # is the venue's hash rule still the one that we know?
    Recent recent
    uint32_t hashed_rows, agreed
    bint is_advisory     # no: hashes decide nothing

cdef struct Params:
    int64_t batch_ns_max, desync_ns_max, tick_ns_max
    int64_t hash_rows_max

cdef struct Counters:
    uint64_t records, passed, frames, deltas, snapshots, prints, bbos, tick_steps
    uint64_t dropped_old, dropped_stale, superseded, late, unknown, stages_lost
    uint64_t mirror, hash_checks, proofs, proof_failures, searches, search_hits
    uint64_t opens, valids, tops, stales, advisories
    uint64_t samples_agreed, samples_older, samples_idle, samples_ghost, samples_contradicted
    uint64_t samples_ahead, samples_caught_up, samples_refused, dated_ahead
    uint64_t stales_by_cause[CAUSES]
