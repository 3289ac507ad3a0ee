# Part of books.pyx: whole books.


cdef Stage* stage_of(Books books, const SnapshotSlot* slot) noexcept nogil:
    """Return the place that collects this snapshot: number 0 when one run holds it all."""
    cdef uint32_t at, oldest = 1
    cdef Stage* stage
    cdef bint is_last = not slot.flags & FLAG_MORE
    for at in range(1, STAGES + 1):
        stage = &books.stages[at]
        if stage.is_active and stage.source == slot.source:
            if stage.instrument == slot.instrument and stage.outcome == slot.outcome:
                return stage
            stage.is_active = False  # the source began another one: this never became whole
            books.counters.stages_lost += 1
        if not stage.is_active:
            oldest = at
        elif books.stages[oldest].is_active and stage.turn < books.stages[oldest].turn:
            oldest = at
    stage = &books.stages[0 if is_last else oldest]
    if stage.is_active:
        books.counters.stages_lost += 1
    books.stage_turn += 1
    stage.is_active = True
    stage.source = slot.source
    stage.instrument = slot.instrument
    stage.outcome = slot.outcome
    stage.turn = books.stage_turn
    stage.count = 0
    return stage


cdef bint collect(Stage* stage, Source source, uint64_t at, uint32_t parts) noexcept nogil:
    """Add one run's levels; False = more than a book can have."""
    cdef uint32_t part, place, count
    cdef const SnapshotSlot* slot
    cdef Level* level
    for part in range(parts):
        slot = <const SnapshotSlot*>source.at(at + part)
        count = <uint32_t>slot.bid_count + slot.ask_count
        if count > SNAPSHOT_LEVELS or stage.count + count > STAGE_LEVELS:
            return False
        for place in range(count):
            level = &stage.levels[stage.count]
            level.price_ticks = slot.price_ticks[place]
            level.size_micro = slot.size_micro[place]
            level.side = place >= slot.bid_count
            stage.count += 1
    return True


cdef bint to_yes_view(Stage* stage, uint32_t grid) noexcept nogil:
    """Check every level and turn the book of NO into that of YES; False = a value that no book may have."""
    cdef uint32_t at
    cdef Level* level
    for at in range(stage.count):
        level = &stage.levels[at]
        if (level.price_ticks - 1 >= PRICE_TICKS_FULL - 1 or level.price_ticks % grid
                or <uint64_t>level.size_micro - 1 >= SIZE_MICRO_MAX):
            return False
        if stage.outcome:
            level.price_ticks = <uint32_t>PRICE_TICKS_FULL - level.price_ticks
            level.side ^= 1
    return True


cdef bint is_same_book(const BookRow* row, const Stage* stage) noexcept nogil:
    cdef uint32_t at, count = 0, index
    cdef int side
    for side in range(2):
        index = ladder_above(&row.ladder, side, 0)
        while index:
            count += 1
            index = ladder_above(&row.ladder, side, index)
    if count != stage.count:
        return False
    for at in range(stage.count):
        if stage.levels[at].size_micro != ladder_size(
                &row.ladder, <int>stage.levels[at].side, stage.levels[at].price_ticks // row.ladder.grid):
            return False
    return True


cdef void rebuild(Books books, uint32_t number, BookRow* row, const Stage* stage,
                  int64_t venue_ns) noexcept nogil:
    """Replace the whole book: nothing of the old one stays."""
    cdef uint32_t at
    row_ladder_begin(books.rows.row(number))
    row_ladder_place(books.rows.row(number), row.place, row.ladder.grid, row.ladder.capacity)
    ladder_clear(&row.ladder)
    for at in range(stage.count):
        ladder_set(&row.ladder, <int>stage.levels[at].side, stage.levels[at].price_ticks // row.ladder.grid,
                   stage.levels[at].size_micro)
    row_ladder_end(books.rows.row(number))
    row.venue_ns = row.base_ns = row.touch_floor_ns = venue_ns
    row.touch_count = 0
    row.base_outcome = stage.outcome
    row.is_pristine = True
    row.change_ticks = 0
    row.crossed_since_ns = 0
    refresh_top(row, 3)


cdef void take_last_trade(BookRow* row, const SnapshotSlot* slot) noexcept nogil:
    if slot.last_trade_state == 1:
        row.trade_digits, row.trade_ticks = 0, 0
    elif slot.last_trade_state == 2:
        row.trade_digits = 3 if slot.last_trade_ticks % 10 == 0 else 4
        row.trade_ticks = row.print_ticks = slot.last_trade_ticks


cdef bint is_taken(Books books, uint32_t number, BookRow* row, const Stage* stage, const SnapshotSlot* slot,
                   Frame place, Sink sink) noexcept nogil:
    """Decide about a whole book of a valid row: True = build the book from it."""
    cdef bint is_sister = stage.outcome != row.base_outcome
    if place == FRAME_SUPERSEDED:
        books.counters.superseded += 1
        return False
    if slot.venue_ns < row.venue_ns or slot.venue_ns < row.target_ns:
        books.counters.dropped_old += 1
        return False
    if not is_sister or slot.venue_ns != row.base_ns or not row.is_pristine:
        # an unseen pair of the sister in the millisecond of newer changes may be older than they are
        if is_sister and slot.venue_ns == row.base_ns and place == FRAME_NEW:
            books.counters.dropped_old += 1
            return False
        return True
    if not is_same_book(row, stage):
        books.counters.mirror += 1
        go_stale(books, number, row, CAUSE_MIRROR_MISMATCH, <const Slot*>slot, sink)
        return False
    if hash_prefix(slot.hash) != 0:
        memcpy(row.target_hash[stage.outcome], slot.hash, SHA1_BYTES)
        row.target_has[stage.outcome] = True
    settle(books, number, row, <const Slot*>slot, sink)
    return False


cdef void on_whole_book(Books books, uint32_t number, BookRow* row, Stage* stage, const SnapshotSlot* slot,
                        Sink sink) noexcept nogil:
    cdef uint64_t prefix[2]
    cdef Frame place
    cdef bint was_stale = row.is_stale
    prefix[0] = prefix[1] = 0
    prefix[stage.outcome] = hash_prefix(slot.hash)
    place = frame_class(row, slot.venue_ns, prefix, 0)
    if not was_stale and not is_taken(books, number, row, stage, slot, place, sink):
        return
    if row.place == 0:
        row.place = books.arena.take(row.grid, &row.ladder)
        if row.place == 0:
            go_stale(books, number, row, CAUSE_ARENA_FULL, <const Slot*>slot, sink)
            return
    if was_stale:
        row.is_stale = False
        row.mismatch_since_ns = row.tick_since_ns = row.search_ns = 0
        row.is_open = False
    if slot.venue_ns < row.target_ns and slot.now_ns - row.target_arrived_ns >= AHEAD_NS_MAX:
        row.target_ns = 0  # no snapshot is so long on its way: the newer state was none of the venue's
    rebuild(books, number, row, stage, slot.venue_ns)
    if was_stale and row.sampled_ns and own_mix(row) == row.sample_mix:
        believe_sample(books, row)
    if place == FRAME_NEW or slot.venue_ns >= row.target_ns:
        if stage.outcome:
            set_target(row, slot.venue_ns, slot.now_ns, NULL, slot.hash)
        else:
            set_target(row, slot.venue_ns, slot.now_ns, slot.hash, NULL)
        row.tick_since_ns = 0
    # else: frames that we had to ignore announced a newer book; it must reach theirs
    remember_pair(row, slot.venue_ns, prefix, 0)
    row.heard_ns = slot.recv_ns
    row.is_dirty = True
    open_book(books, row)
    if was_stale and row.cause != CAUSE_NO_SNAPSHOT:
        books.counters.valids += 1
        emit_stale(books, number, CAUSE_NONE, <const Slot*>slot, sink)
    row.cause = CAUSE_NONE
    settle(books, number, row, <const Slot*>slot, sink)


cdef void on_snapshot(Books books, Source source, uint64_t at, uint32_t parts, Sink sink) noexcept nogil:
    """A run of a snapshot; the book changes at its last run alone."""
    cdef const SnapshotSlot* slot = <const SnapshotSlot*>source.at(at)
    cdef uint32_t number = slot.instrument
    cdef BookRow* row = known_row(books, number)
    cdef Stage* stage
    cdef bint is_whole, is_good
    if row == NULL:
        return
    if slot.outcome > 1 or row.is_resolved or (slot.outcome and not row.rules & RULE_MIRRORED):
        books.counters.dropped_stale += 1
        return
    stage = stage_of(books, slot)
    is_whole = not slot.flags & FLAG_MORE
    is_good = collect(stage, source, at, parts)
    if is_good and not is_whole:
        return
    stage.is_active = False
    books.counters.snapshots += 1
    if is_good and is_dated_ahead(books, slot.venue_ns, slot.recv_ns):
        books.counters.dated_ahead += 1
        go_stale(books, number, row, CAUSE_DATED_AHEAD, <const Slot*>slot, sink)
        return
    if is_good and slot.tick_step and slot.tick_step < PRICE_TICKS_FULL and (
            row.is_stale or slot.venue_ns >= row.venue_ns):
        row.has_stream_tick = True
        row.tick_step = slot.tick_step
        if not take_tick(books, number, row, slot.tick_step):
            go_stale(books, number, row, CAUSE_ARENA_FULL, <const Slot*>slot, sink)
            return
    if not is_good or not to_yes_view(stage, row.grid):
        go_stale(books, number, row, CAUSE_OFF_GRID, <const Slot*>slot, sink)
        return
    if row.is_stale or slot.venue_ns >= row.venue_ns:
        take_last_trade(row, slot)
    on_whole_book(books, number, row, stage, slot, sink)
