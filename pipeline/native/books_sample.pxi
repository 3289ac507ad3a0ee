# Part of books.pyx: what REST showed, against what the stream told. Evidence against a book, never a book.

cdef int64_t SAMPLE_NS_MAX = 2_000_000_000   # the stream may be so far behind REST; then it owes the state
cdef int64_t SAMPLED_NS_MIN = 60_000_000_000  # until a book falls for REST again that was wrong about it
cdef uint32_t SAMPLED_MIN = 5  # books that samples make stale within ten seconds: so many, or 5 % of all


cdef inline uint64_t level_mix(uint32_t price_ticks, uint64_t size_micro, uint32_t side) noexcept nogil:
    """One number of one level; they are added up, so that order does not count."""
    cdef uint64_t mix = (size_micro + 1) * <uint64_t>0x9E3779B97F4A7C15 ^ (<uint64_t>price_ticks << 1 | side)
    mix = (mix ^ (mix >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    mix = (mix ^ (mix >> 27)) * <uint64_t>0x94D049BB133111EB
    return mix ^ (mix >> 31)


def levels_mix(bids, asks):
    """Return the `levels_mix` of a SAMPLE: (price_ticks, size_micro) of both sides of YES, in any order."""
    cdef uint64_t mix = 0
    cdef uint32_t side, price_ticks
    cdef uint64_t size_micro
    for side in range(2):
        for price_ticks, size_micro in (asks if side else bids):
            mix += level_mix(price_ticks, size_micro, side)
    return mix


cdef uint64_t own_mix(const BookRow* row) noexcept nogil:
    cdef uint64_t mix = 0
    cdef uint32_t index
    cdef int side
    for side in range(2):
        index = ladder_above(&row.ladder, side, 0)
        while index:
            mix += level_mix(index * row.ladder.grid, <uint64_t>ladder_size(&row.ladder, side, index),
                             <uint32_t>side)
            index = ladder_above(&row.ladder, side, index)
    return mix


cdef inline bint is_wide(uint32_t bid_ticks, uint32_t ask_ticks) noexcept nogil:
    return bid_ticks <= GHOST_TICKS and (ask_ticks == 0 or ask_ticks >= PRICE_TICKS_FULL - GHOST_TICKS)


cdef bint is_pair_known(const BookRow* row, int64_t venue_ns, uint64_t prefix) noexcept nogil:
    """Tell whether the stream showed this state of the first outcome."""
    cdef uint32_t at, count = row.pair_count if row.pair_count < PAIRS else PAIRS
    for at in range(count):
        if row.pairs[at].venue_ns == venue_ns and row.pairs[at].hash[0] == prefix:
            return True
    return False


cdef bint is_owed(Books books, const BookRow* row, int64_t venue_ns, uint64_t prefix,
                  uint64_t mix) noexcept nogil:
    """Tell whether the stream owes the state that REST showed: it is of a later time than all that was told,
    or of the newest time and not what was told before. What has our levels owes nothing: REST may date a
    book that nobody changed anew."""
    if venue_ns < row.target_ns or mix == own_mix(row):
        return False
    if venue_ns > row.target_ns:
        return True
    if not row.target_has[0]:
        return not row.target_has[1]  # of a venue without hashes; else the other token's may prove the book
    if prefix == hash_prefix(row.target_hash[0]):
        # REST names the hash that we hold: where our own SHA-1 is that hash, REST contradicts itself
        return row.is_open or not is_hashed(books, row)
    return not is_pair_known(row, venue_ns, prefix)


cdef void on_sample(Books books, const SampleSlot* slot) noexcept nogil:
    """Weigh what REST showed. Nothing is emitted here: what lasts makes the book stale on a Tick."""
    cdef uint32_t number = slot.instrument
    cdef BookRow* row = known_row(books, number)
    cdef Counters* counters = &books.counters
    cdef uint64_t prefix = hash_prefix(slot.hash)
    if row == NULL:
        return
    if row.is_stale:
        counters.samples_idle += 1  # it has its own way back, and REST is none
    elif is_wide(slot.bid_ticks, slot.ask_ticks) and not is_wide(row.top.bid_ticks[0], row.top.ask_ticks[0]):
        counters.samples_ghost += 1  # MD10: REST is known to show this of living books
    elif slot.venue_ns < row.target_ns or is_beyond(books, slot.venue_ns, slot.recv_ns):
        counters.samples_older += 1
    elif slot.levels_mix == own_mix(row):
        counters.samples_agreed += 1
        row.sample_since_ns = 0
    elif not is_owed(books, row, slot.venue_ns, prefix, slot.levels_mix):
        if prefix == hash_prefix(row.target_hash[0]) and row.target_has[0]:
            counters.samples_contradicted += 1
        else:
            counters.samples_older += 1
    else:
        counters.samples_ahead += 1
        # One debt at a time, to its end: where REST is ahead all the time, there is always a younger one.
        if row.sample_since_ns == 0 or not is_owed(
                books, row, row.sample_ns, row.sample_hash, row.sample_mix):
            row.sample_since_ns = slot.now_ns
            row.sample_ns, row.sample_hash, row.sample_mix = slot.venue_ns, prefix, slot.levels_mix
        set_pending(books, number, True)


cdef bint lacks_sample(Books books, BookRow* row, int64_t now_ns) noexcept nogil:
    """At a Tick: tell whether what REST showed was never told, for too long, and the book may fall for it.

    A REST that lies costs little: a book that fell for what its next snapshot does not show falls for REST
    again in a minute at the earliest, and few books fall within ten seconds.
    """
    if now_ns - row.sample_since_ns < SAMPLE_NS_MAX and row.target_ns <= row.sample_ns:
        return False
    row.sample_since_ns = 0
    if not is_owed(books, row, row.sample_ns, row.sample_hash, row.sample_mix):
        books.counters.samples_caught_up += 1
        return False
    if ((row.sampled_ns and now_ns - row.sampled_ns < SAMPLED_NS_MIN)
            or not has_budget(books, now_ns)):
        books.counters.samples_refused += 1
        return False
    row.sampled_ns = now_ns
    return True


cdef void believe_sample(Books books, BookRow* row) noexcept nogil:
    """The stream's own snapshot shows what REST showed: that it was heard costs it nothing."""
    cdef int64_t second = row.sampled_ns // 1_000_000_000, at = second % DOUBT_SECONDS
    if books.sampled.seconds[at] == second and books.sampled.rows[at]:
        books.sampled.rows[at] -= 1
    row.sampled_ns = 0


cdef bint has_budget(Books books, int64_t now_ns) noexcept nogil:
    cdef uint32_t count = recent_count(&books.sampled, now_ns, 0)
    if count >= SAMPLED_MIN and count * 20 >= books.doubt.hashed_rows:
        return False
    recent_count(&books.sampled, now_ns, 1)
    return True
