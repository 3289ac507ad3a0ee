# Part of books.pyx: is the book right? Hashes, best prices, timers.


cdef inline bint is_hashed(Books books, const BookRow* row) noexcept nogil:
    """Tell whether the venue's hash decides about this book."""
    return (not books.doubt.is_advisory and row.rules & RULE_HASHED
            and (row.target_has[0] or row.target_has[1]))


cdef uint32_t recent_count(Recent* recent, int64_t now_ns, uint32_t more) noexcept nogil:
    """Add `more` to this second; return the sum of the last ten."""
    cdef int64_t second = now_ns // 1_000_000_000, at = second % DOUBT_SECONDS
    cdef uint32_t total = 0
    if recent.seconds[at] != second:
        recent.seconds[at], recent.rows[at] = second, 0
    recent.rows[at] += more
    for at in range(DOUBT_SECONDS):
        if recent.seconds[at] > second - DOUBT_SECONDS:
            total += recent.rows[at]
    return total


cdef void doubt_rule(Books books, BookRow* row, int64_t now_ns) noexcept nogil:
    """A book's hash stayed wrong. When too many do within ten seconds, it is not the books: the venue's rule
    must have changed. Hashes decide nothing then, until they agree again (MD09)."""
    cdef Doubt* doubt = &books.doubt
    cdef uint32_t total
    if row.suspect_ns and now_ns - row.suspect_ns < <int64_t>DOUBT_SECONDS * 1_000_000_000:
        return
    row.suspect_ns = now_ns
    total = recent_count(&doubt.recent, now_ns, 1)
    if not doubt.is_advisory and total >= DOUBT_ROWS_MIN and total * 20 > doubt.hashed_rows:
        doubt.is_advisory = True
        doubt.agreed = 0
        books.counters.advisories += 1


cdef void weigh_rule(Books books, BookRow* row) noexcept nogil:
    """While hashes decide nothing: so many in a row that agree, and they decide again."""
    books.hash_left -= 1
    if hash_matches(books, row):
        books.doubt.agreed += 1
        if books.doubt.agreed >= DOUBT_AGREED:
            books.doubt.is_advisory = False
    else:
        books.doubt.agreed = 0


cdef inline bint bbo_agrees(const BookRow* row) noexcept nogil:
    """Tell whether our best prices are the announced ones; what was not announced agrees."""
    return ((row.best_bid == <uint32_t>NOT_ANNOUNCED or row.best_bid == row.top.bid_ticks[0])
            and (row.best_ask == <uint32_t>NOT_ANNOUNCED or row.best_ask == row.top.ask_ticks[0]))


cdef inline void set_pending(Books books, uint32_t number, bint value) noexcept nogil:
    if value:
        books.pending[number >> 6] |= <uint64_t>1 << (number & 63)
    else:
        books.pending[number >> 6] &= ~(<uint64_t>1 << (number & 63))


cdef bint try_trade(Books books, BookRow* row, uint32_t outcome, uint32_t ticks, int digits) noexcept nogil:
    """Tell whether this last trade price makes the hash the announced one; if so, keep it."""
    cdef uint8_t digest[SHA1_BYTES]
    preimage_digest(&books.preimage, &row.identity, ticks, digits, digest)
    if memcmp(digest, row.target_hash[outcome], SHA1_BYTES) != 0:
        return False
    row.trade_ticks = ticks
    row.trade_digits = digits
    return True


cdef bint try_price(Books books, BookRow* row, uint32_t outcome, uint32_t ticks) noexcept nogil:
    """Try a candidate and its mirror; three decimals, and four where the price or the tick needs them."""
    cdef int turn
    if ticks == 0:
        return False
    for turn in range(2):
        if ticks % 10 == 0 and try_trade(books, row, outcome, ticks, 3):
            return True
        if (ticks % 10 != 0 or row.tick_step < 10) and try_trade(books, row, outcome, ticks, 4):
            return True
        ticks = <uint32_t>PRICE_TICKS_FULL - ticks
    return False


cdef bint hash_matches(Books books, BookRow* row) noexcept nogil:
    """Compare our SHA-1 with the announced one.

    The last trade price in the preimage is new before its print arrives, so the candidates are: the one that
    fitted last, the newest print's, and the price of the frame's last change (a fill ends at the level that
    it takes). A match proves the guess together with the book.
    """
    cdef uint32_t outcome = 0 if row.target_has[0] else 1
    books.counters.hash_checks += 1
    books.is_costly = True
    row.is_dirty = False
    preimage_fill(&books.preimage, &row.identity, &row.ladder, outcome, row.target_ns, row.tick_step)
    if row.trade_digits >= 0:
        if try_trade(books, row, outcome, row.trade_ticks, row.trade_digits):
            return True
    elif try_trade(books, row, outcome, 0, 0):
        return True
    if try_price(books, row, outcome, row.print_ticks) or try_price(books, row, outcome, row.change_ticks):
        return True
    books.counters.proof_failures += 1
    return False


cdef bint search_trade(Books books, BookRow* row) noexcept nogil:
    """Try every legal last trade price: about 0.2 ms, so at most one book per Tick and batch time."""
    cdef uint32_t outcome = 0 if row.target_has[0] else 1, ticks
    books.counters.searches += 1
    books.is_costly = True
    preimage_fill(&books.preimage, &row.identity, &row.ladder, outcome, row.target_ns, row.tick_step)
    if try_trade(books, row, outcome, 0, 0):
        return True
    for ticks in range(10, PRICE_TICKS_FULL, 10):
        if try_trade(books, row, outcome, ticks, 3):
            return True
    if row.tick_step % 10 == 0 or row.tick_step == 0:
        return False
    ticks = row.tick_step
    while ticks < PRICE_TICKS_FULL:
        if try_trade(books, row, outcome, ticks, 4):
            return True
        ticks += row.tick_step
    return False


cdef void prove(Books books, BookRow* row, int64_t now_ns) noexcept nogil:
    """The book is what the venue announced. A proof is as old as the data it is of, however late it is made:
    a frame that waited for seconds before the sequencer proves what was true seconds ago."""
    row.is_open = row.is_tick_old = False
    row.mismatch_since_ns = row.tick_since_ns = row.search_ns = 0
    row.proof_ns = row.heard_ns if 0 < row.heard_ns < now_ns else now_ns
    books.counters.proofs += 1


cdef void open_book(Books books, BookRow* row) noexcept nogil:
    if not row.is_open:
        row.is_open = True
        books.counters.opens += 1


cdef bint check_now(Books books, BookRow* row, int64_t now_ns) noexcept nogil:
    """Check the hash of an open book; True when that proves it."""
    if not row.is_crossed and hash_matches(books, row) and bbo_agrees(row):
        prove(books, row, now_ns)
        return True
    if row.is_crossed:
        row.is_dirty = False  # a crossed book is between two frames of a batch: nothing to prove
    if row.mismatch_since_ns == 0 and not row.is_tick_old:
        row.mismatch_since_ns = now_ns
    return False


cdef void settle(Books books, uint32_t number, BookRow* row, const Slot* cause, Sink sink) noexcept nogil:
    """After a message that was taken: state of the book, proof of a watched one, its Top."""
    cdef int64_t now_ns = cause.now_ns
    row.is_crossed = row.top.bid_ticks[0] != 0 and row.top.ask_ticks[0] != 0 \
        and row.top.bid_ticks[0] >= row.top.ask_ticks[0]
    if not row.is_crossed:
        row.crossed_since_ns = 0
    elif row.crossed_since_ns == 0:
        row.crossed_since_ns = now_ns
    if row.is_open:
        if row.is_dirty and row.rules & RULE_WATCH and is_hashed(books, row):
            check_now(books, row, now_ns)
        elif row.mismatch_since_ns == 0 and not row.is_tick_old and not bbo_agrees(row):
            row.mismatch_since_ns = now_ns
    set_pending(books, number, row.is_open or row.is_crossed or row.sample_since_ns != 0)
    emit_top(books, number, row, cause, sink)


cdef uint32_t stale_cause(Books books, const BookRow* row, int64_t now_ns) noexcept nogil:
    """Return why the book has been wrong for too long; CAUSE_NONE when it has not."""
    if row.crossed_since_ns and now_ns - row.crossed_since_ns >= books.params.desync_ns_max:
        return CAUSE_CROSSED_BOOK
    if row.tick_since_ns and now_ns - row.tick_since_ns >= books.params.tick_ns_max:
        return CAUSE_TICK_UNPROVEN
    if row.mismatch_since_ns and now_ns - row.mismatch_since_ns >= books.params.desync_ns_max:
        if not bbo_agrees(row):
            return CAUSE_BBO_MISMATCH
        if is_hashed(books, row) and not row.is_dirty and not row.is_tick_old:
            return CAUSE_HASH_MISMATCH
    return CAUSE_NONE


cdef void tick_book(Books books, uint32_t number, BookRow* row, const Slot* cause, Sink sink) noexcept nogil:
    """One pending book at a Tick: proofs that are due, then its timers. At most two records."""
    cdef int64_t now_ns = cause.now_ns
    cdef bint is_proven = False
    cdef uint32_t why
    if row.is_open and is_hashed(books, row):
        if row.is_dirty:
            if books.hash_left > 0:
                books.hash_left -= 1
                is_proven = check_now(books, row, now_ns)
            elif books.hash_left == 0:
                books.hash_left = -1
                books.hash_cursor = number  # the next Tick begins with the first that had to wait
        elif (books.has_search and row.mismatch_since_ns and not row.is_crossed and bbo_agrees(row)
                and now_ns - max(row.mismatch_since_ns, row.search_ns) >= books.params.batch_ns_max):
            books.has_search = False
            row.search_ns = now_ns
            if search_trade(books, row):
                books.counters.search_hits += 1
                prove(books, row, now_ns)
                is_proven = True
    elif row.is_open and not row.is_crossed and not row.is_tick_old:
        if not bbo_agrees(row):
            if row.mismatch_since_ns == 0:
                row.mismatch_since_ns = now_ns
        elif now_ns - row.target_arrived_ns >= books.params.batch_ns_max:
            if (books.doubt.is_advisory and row.is_dirty and row.rules & RULE_HASHED and books.hash_left > 0
                    and (row.target_has[0] or row.target_has[1])):
                weigh_rule(books, row)
            prove(books, row, now_ns)
            is_proven = True
    why = stale_cause(books, row, now_ns)
    if why == CAUSE_HASH_MISMATCH and row.venue_ns >= row.target_ns:  # else it is behind, not wrong
        doubt_rule(books, row, now_ns)
    elif why == CAUSE_NONE and row.sample_since_ns and lacks_sample(books, row, now_ns):
        why = CAUSE_SAMPLE_DIFFERS
    if why != CAUSE_NONE:
        go_stale(books, number, row, why, cause, sink)
        return
    set_pending(books, number, row.is_open or row.is_crossed or row.sample_since_ns != 0)
    if is_proven:
        emit_top(books, number, row, cause, sink)


cdef uint32_t next_pending(Books books, uint32_t number) noexcept nogil:
    """Return the first pending row from `number` on; rows_end = none."""
    cdef uint32_t at = number >> 6, end = (books.rows_end + 63) >> 6
    cdef uint64_t bits
    if number >= books.rows_end:
        return books.rows_end
    bits = books.pending[at] & (~<uint64_t>0 << (number & 63))
    while bits == 0:
        at += 1
        if at >= end:
            return books.rows_end
        bits = books.pending[at]
    return at * 64 + <uint32_t>ctz64(bits)


cdef bint on_tick(Books books, const Slot* slot, Sink sink) noexcept nogil:
    """Pass the Tick on, then visit every pending book once, in row order from the cursor.

    False: the sink is full; the next call goes on with the same Tick where this one stopped.
    """
    cdef uint32_t number, step
    if not books.is_ticking:
        if not sink.begin(1):
            return False
        pass_slot(books, slot, sink)
        books.is_ticking = books.has_search = True
        books.hash_left = books.params.hash_rows_max
        books.tick_left = books.rows_end
        books.tick_row = books.hash_cursor if books.hash_cursor < books.rows_end else 0
    while books.tick_left:
        number = next_pending(books, books.tick_row)
        step = number - books.tick_row
        if step >= books.tick_left:
            break
        if number < books.rows_end:
            if not sink.begin(2):
                return False
            tick_book(books, number, &books.books[number], slot, sink)
            step += 1
        books.tick_left -= step
        books.tick_row += step
        if books.tick_row >= books.rows_end:
            books.tick_row = 0
    books.is_ticking = False
    return True
