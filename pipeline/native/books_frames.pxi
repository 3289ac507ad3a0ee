# Part of books.pyx: what market records do to a book.

cdef uint32_t AHEAD_FRAMES_MAX = 8  # so many in a row are lies; more are the venue's clock
cdef int64_t AHEAD_NS_MAX = 5_000_000_000  # venue time before our receive clock: such a skew halts, too (H3)


cdef inline bint is_beyond(Books books, int64_t venue_ns, int64_t recv_ns) noexcept nogil:
    return recv_ns != 0 and venue_ns - max(recv_ns, books.venue_ns) > AHEAD_NS_MAX


cdef bint is_dated_ahead(Books books, int64_t venue_ns, int64_t recv_ns) noexcept nogil:
    """Tell whether a frame is of a time that has not come: it orders nothing. recv_ns 0: not told.

    Not by our receive clock, nor by the venue's own frames; where only such frames come, it is its clock.
    """
    if not is_beyond(books, venue_ns, recv_ns):
        books.ahead_count = 0
    elif books.ahead_count < AHEAD_FRAMES_MAX:
        books.ahead_count += 1
        return True
    if venue_ns > books.venue_ns:
        books.venue_ns = venue_ns
    return False


cdef inline uint64_t hash_prefix(const uint8_t* digest) noexcept nogil:
    cdef uint64_t prefix
    memcpy(&prefix, digest, 8)
    return prefix


cdef Frame frame_class(const BookRow* row, int64_t venue_ns, const uint64_t* prefix,
                       uint64_t content) noexcept nogil:
    """Place a frame among those that we saw (strategy: "no ordering key").

    Time alone does not order frames: distinct commits share a millisecond, and one commit comes as several
    frames. So a pair that was superseded is refused and the newest pair may repeat. A pair of the newest
    millisecond that comes back with changes never seen is a new commit that restored an older book
    (content 0 = a whole book: that holds what came before it, so it never restores one).
    """
    cdef uint32_t at, count = row.pair_count if row.pair_count < PAIRS else PAIRS
    cdef const Pair* pair
    cdef bint is_seen = False
    if venue_ns > row.target_ns:
        return FRAME_NEW
    if venue_ns == row.target_ns:
        if prefix[0] == 0 and prefix[1] == 0:
            return FRAME_REPEAT
        if row.target_has[0] and prefix[0] and prefix[0] == hash_prefix(row.target_hash[0]):
            return FRAME_REPEAT
        if row.target_has[1] and prefix[1] and prefix[1] == hash_prefix(row.target_hash[1]):
            return FRAME_REPEAT
    for at in range(count):
        pair = &row.pairs[at]
        if pair.venue_ns == venue_ns and (
                (prefix[0] and pair.hash[0] == prefix[0]) or (prefix[1] and pair.hash[1] == prefix[1])):
            if pair.content == content or pair.content == 0 or content == 0:
                return FRAME_SUPERSEDED
            is_seen = True
    if venue_ns < row.target_ns:
        return FRAME_SUPERSEDED if is_seen else FRAME_LATE
    return FRAME_NEW


cdef void remember_pair(BookRow* row, int64_t venue_ns, const uint64_t* prefix,
                        uint64_t content) noexcept nogil:
    cdef Pair* pair = &row.pairs[row.pair_count & (PAIRS - 1)]
    pair.venue_ns = venue_ns
    pair.hash[0] = prefix[0]
    pair.hash[1] = prefix[1]
    pair.content = content
    row.pair_count += 1
    if row.pair_count == 2 * PAIRS:
        row.pair_count = PAIRS


cdef void set_target(BookRow* row, int64_t venue_ns, int64_t now_ns, const uint8_t* yes,
                     const uint8_t* no) noexcept nogil:
    """The newest announced state; NULL or zero = not announced for that token."""
    row.target_ns = venue_ns
    row.target_arrived_ns = now_ns
    row.is_tick_old = False
    row.best_bid = row.best_ask = <uint32_t>NOT_ANNOUNCED
    row.target_has[0] = yes != NULL and hash_prefix(yes) != 0
    row.target_has[1] = no != NULL and hash_prefix(no) != 0
    if row.target_has[0]:
        memcpy(row.target_hash[0], yes, SHA1_BYTES)
    if row.target_has[1]:
        memcpy(row.target_hash[1], no, SHA1_BYTES)


cdef inline uint32_t mirrored(uint32_t best_ticks) noexcept nogil:
    """Best price of one token as the other token's; 0 (no such side) and NOT_ANNOUNCED stay."""
    if best_ticks == 0 or best_ticks >= PRICE_TICKS_FULL:
        return best_ticks
    return <uint32_t>PRICE_TICKS_FULL - best_ticks


cdef void set_best(BookRow* row, const DeltaSlot* frame) noexcept nogil:
    row.best_bid, row.best_ask = frame.best_bid_yes, frame.best_ask_yes
    if row.best_bid == <uint32_t>NOT_ANNOUNCED:
        row.best_bid = mirrored(frame.best_ask_no)
    if row.best_ask == <uint32_t>NOT_ANNOUNCED:
        row.best_ask = mirrored(frame.best_bid_no)


cdef bint is_newer_touched(const BookRow* row, uint32_t key, int64_t venue_ns) noexcept nogil:
    cdef uint32_t at, count = row.touch_count if row.touch_count < TOUCHES else TOUCHES
    for at in range(count):
        if row.touches[at].key == key and row.touches[at].venue_ns > venue_ns:
            return True
    return False


cdef inline void touch(BookRow* row, uint32_t key, int64_t venue_ns) noexcept nogil:
    cdef Touch* place = &row.touches[row.touch_count & (TOUCHES - 1)]
    if row.touch_count >= TOUCHES:
        if place.venue_ns > row.touch_floor_ns:
            row.touch_floor_ns = place.venue_ns
        if row.touch_count == 2 * TOUCHES - 1:
            row.touch_count = TOUCHES - 1
    place.key = key
    place.venue_ns = venue_ns
    row.touch_count += 1


cdef int gather(Books books, const BookRow* row, Source source, uint64_t at, uint32_t parts,
                uint64_t* content) noexcept nogil:
    """Collect a frame's changes in YES view; -1 = a value that no frame may have."""
    cdef uint32_t part, place
    cdef int count = 0
    cdef const DeltaSlot* slot
    cdef Change* change
    cdef uint64_t mix = 0x9E3779B97F4A7C15
    for part in range(parts):
        slot = <const DeltaSlot*>source.at(at + part)
        if slot.change_count > DELTA_CHANGES:
            return -1
        for place in range(slot.change_count):
            change = &books.changes[count]
            change.price_ticks = slot.price_ticks[place]
            change.size_micro = slot.size_micro[place]
            change.side = slot.side[place]
            change.outcome = slot.outcome[place]
            change.is_paired = False
            if (change.price_ticks - 1 >= PRICE_TICKS_FULL - 1 or change.price_ticks % row.grid
                    or change.side > 1 or change.outcome > 1 or <uint64_t>change.size_micro > SIZE_MICRO_MAX):
                return -1
            if change.outcome:
                change.price_ticks = <uint32_t>PRICE_TICKS_FULL - change.price_ticks
                change.side ^= 1
            mix = (mix ^ (<uint64_t>change.size_micro * 2 + change.side)) * <uint64_t>0xD6E8FEB86659FD93
            mix = (mix ^ (mix >> 32) ^ change.price_ticks) * <uint64_t>0xD6E8FEB86659FD93
            count += 1
    content[0] = mix
    return count


cdef int pair_changes(Books books, const BookRow* row, int count) noexcept nogil:
    """Check that each change of one token has its mirror in the frame; return the token to apply, -1 =
    mismatch.

    A frame with one token alone has nothing to compare. A book without a mirror has one token.
    """
    cdef int at, other
    cdef int counts[2]
    cdef Change* change
    counts[0] = counts[1] = 0
    for at in range(count):
        counts[books.changes[at].outcome] += 1
    if counts[1] == 0:
        return 0
    if not row.rules & RULE_MIRRORED:
        return -1
    if counts[0] == 0:
        return 1
    if counts[0] != counts[1]:
        return -1
    for at in range(count):
        change = &books.changes[at]
        if change.outcome == 0:
            continue
        for other in range(count):
            if (books.changes[other].outcome == 0 and not books.changes[other].is_paired
                    and books.changes[other].price_ticks == change.price_ticks
                    and books.changes[other].side == change.side
                    and books.changes[other].size_micro == change.size_micro):
                books.changes[other].is_paired = True
                break
        else:
            return -1
    return 0


cdef void apply_changes(Books books, uint32_t number, BookRow* row, int count, int outcome, int64_t venue_ns,
                        bint is_late) noexcept nogil:
    cdef int at
    cdef uint32_t key, last
    cdef Change* change
    cdef int stale_sides = 0
    row_ladder_begin(books.rows.row(number))
    for at in range(count):
        change = &books.changes[at]
        if change.outcome != outcome:
            continue
        key = change.price_ticks * 2 + change.side
        if is_late and is_newer_touched(row, key, venue_ns):
            continue
        touch(row, key, venue_ns)
        ladder_set(&row.ladder, change.side, change.price_ticks // row.ladder.grid, change.size_micro)
        row.change_ticks = change.price_ticks
        last = row.top.ask_ticks[TOP_DEPTH - 1] if change.side else row.top.bid_ticks[TOP_DEPTH - 1]
        if last == 0 or (change.price_ticks <= last if change.side else change.price_ticks >= last):
            stale_sides |= 1 << change.side
    row_ladder_end(books.rows.row(number))
    refresh_top(row, stale_sides)


cdef void on_delta(Books books, Source source, uint64_t at, uint32_t parts, Sink sink) noexcept nogil:
    cdef const DeltaSlot* frame = <const DeltaSlot*>source.at(at)
    cdef const Slot* slot = <const Slot*>frame
    cdef uint32_t number = frame.instrument
    cdef BookRow* row = known_row(books, number)
    cdef uint64_t content = 0
    cdef uint64_t prefix[2]
    cdef int count, outcome
    cdef Frame place
    if row == NULL:
        return
    count = gather(books, row, source, at, parts, &content)
    prefix[0], prefix[1] = hash_prefix(frame.hash_yes), hash_prefix(frame.hash_no)
    place = frame_class(row, frame.venue_ns, prefix, content)
    if is_dated_ahead(books, frame.venue_ns, frame.recv_ns):
        books.counters.dated_ahead += 1
        if not row.is_stale:
            go_stale(books, number, row, CAUSE_DATED_AHEAD, slot, sink)
        return
    if row.is_stale:
        books.counters.dropped_stale += 1
        if count >= 0 and place == FRAME_NEW and not row.is_resolved:
            # the next snapshot must reach this state, or wait for a newer frame
            set_target(row, frame.venue_ns, frame.now_ns, frame.hash_yes, frame.hash_no)
            set_best(row, frame)
            remember_pair(row, frame.venue_ns, prefix, content)
        return
    if place == FRAME_SUPERSEDED:
        books.counters.superseded += 1
        return
    if frame.venue_ns < row.base_ns or (place == FRAME_LATE and frame.venue_ns < row.touch_floor_ns):
        books.counters.dropped_old += 1
        return
    if count < 0:
        go_stale(books, number, row, CAUSE_OFF_GRID, slot, sink)
        return
    outcome = pair_changes(books, row, count)
    if outcome < 0:
        books.counters.mirror += 1
        go_stale(books, number, row, CAUSE_MIRROR_MISMATCH, slot, sink)
        return
    if place == FRAME_NEW:
        if (row.is_open and not is_hashed(books, row) and not row.is_crossed and not row.is_tick_old
                and bbo_agrees(row)):
            prove(books, row, frame.now_ns)  # another pair came: the batch before it was complete
        set_target(row, frame.venue_ns, frame.now_ns, frame.hash_yes, frame.hash_no)
    elif place == FRAME_LATE:
        books.counters.late += 1
    if place != FRAME_LATE:
        set_best(row, frame)
    apply_changes(books, number, row, count, outcome, frame.venue_ns, place == FRAME_LATE)
    remember_pair(row, frame.venue_ns, prefix, content)
    row.heard_ns = frame.recv_ns
    if frame.venue_ns > row.venue_ns:
        row.venue_ns = frame.venue_ns
    row.is_pristine = False
    row.is_dirty = True
    books.counters.deltas += 1
    open_book(books, row)
    settle(books, number, row, slot, sink)


cdef void on_trade_print(Books books, const TradePrintSlot* slot, Sink sink) noexcept nogil:
    """Keep the price for the hash; both tokens have one last trade price, so the outcome does not matter."""
    cdef BookRow* row = known_row(books, slot.instrument)
    if row == NULL:
        return
    books.counters.prints += 1
    if slot.price_ticks < PRICE_TICKS_FULL:
        row.print_ticks = slot.price_ticks
    if row.is_stale:
        books.counters.dropped_stale += 1
        return
    row.is_dirty = row.is_dirty or row.is_open
    settle(books, slot.instrument, row, <const Slot*>slot, sink)


cdef void on_bbo(Books books, const BboSlot* slot, Sink sink) noexcept nogil:
    """Newer best prices than ours open the book: the change that made them is on its way, or was lost."""
    cdef BookRow* row = known_row(books, slot.instrument)
    if row == NULL:
        return
    books.counters.bbos += 1
    if row.is_stale:
        books.counters.dropped_stale += 1
        return
    if slot.venue_ns > row.target_ns:
        row.best_bid = mirrored(slot.ask_ticks) if slot.outcome else slot.bid_ticks
        row.best_ask = mirrored(slot.bid_ticks) if slot.outcome else slot.ask_ticks
        if not bbo_agrees(row):
            open_book(books, row)
        elif row.is_open:
            row.is_dirty = True
    settle(books, slot.instrument, row, <const Slot*>slot, sink)


cdef bint take_tick(Books books, uint32_t number, BookRow* row, uint32_t step) noexcept nogil:
    """Let the grid hold `step` too, moving the book to a larger block if it must.

    False: the arena is full, and the book without a block; its next snapshot asks for one again.
    """
    cdef uint32_t grid = finest_common(row.grid, grid_of_step(step))
    cdef Ladder finer
    cdef uint64_t place
    row.grid = grid
    if row.place == 0 or grid == row.ladder.grid:
        return True
    place = books.arena.take(grid, &finer)
    if place == 0:
        drop_block(books, number, row)
        return False
    row_ladder_begin(books.rows.row(number))
    ladder_move(&row.ladder, &finer)
    ladder_clear(&row.ladder)
    books.arena.give(row.place, row.ladder.capacity)
    row.ladder = finer
    row.place = place
    row_ladder_place(books.rows.row(number), place, grid, finer.capacity)
    row_ladder_end(books.rows.row(number))
    return True


cdef void on_tick_step(Books books, const TickStepSlot* slot, Sink sink) noexcept nogil:
    """A new legal spacing: the levels stay; open until a hash with the new tick or a snapshot proves it.

    The record is passed on before its Top: our orders must fit the new spacing.
    """
    cdef uint32_t number = slot.instrument
    cdef BookRow* row = known_row(books, number)
    pass_slot(books, <const Slot*>slot, sink)
    if row == NULL:
        return
    books.counters.tick_steps += 1
    row.has_stream_tick = True
    if slot.new_step == 0 or slot.new_step >= PRICE_TICKS_FULL:
        if not row.is_stale:
            go_stale(books, number, row, CAUSE_OFF_GRID, <const Slot*>slot, sink)
        return
    if row.tick_step != slot.new_step:  # each token announces it: the second is a repeat
        row.tick_step = slot.new_step
        if not take_tick(books, number, row, slot.new_step):
            go_stale(books, number, row, CAUSE_ARENA_FULL, <const Slot*>slot, sink)
            return
        if not row.is_stale:
            row.is_tick_old = row.is_dirty = True
            row.tick_since_ns = slot.now_ns
            row.mismatch_since_ns = 0
            open_book(books, row)
    if row.is_stale:
        books.counters.dropped_stale += 1
        return
    settle(books, number, row, <const Slot*>slot, sink)
