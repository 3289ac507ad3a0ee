# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=False
"""The venue's SHA-1 of a whole book, from the ladder's integers, for the YES book and its NO view.

Reads a ladder and the identity of its market; writes nothing. `books` calls the C side; `book_digest` is the
same code for tests and tools. The algorithm is the venue's, found from its bytes (polymarket sheet, section
5, 2026-09): prices and sizes as decimals without trailing zeros, bids ascending, asks descending.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from pipeline.native.ladder cimport Ladder, LadderBook, ladder_above, ladder_below, ladder_best, ladder_size
from pipeline.native.records cimport RULE_NEG_RISK, RULE_V2, InstrumentSlot


cdef void identity_rules(BookIdentity* book, uint32_t rules, int64_t size_micro_min) noexcept nogil:
    book.neg_risk = (rules & RULE_NEG_RISK) != 0
    book.is_v2 = (rules & RULE_V2) != 0
    book.size_micro_min = size_micro_min


cdef void identity_fill(BookIdentity* book, const InstrumentSlot* slot) noexcept nogil:
    """Convert the ids of an instrument to the venue's text, once per instrument."""
    memset(book, 0, sizeof(BookIdentity))
    book.token_bytes[0] = decimal_of_256(slot.token_yes, book.token[0])
    book.token_bytes[1] = decimal_of_256(slot.token_no, book.token[1])
    # a protocol v2 condition has 31 bytes and is served padded to 64 hex digits, as the record holds it
    book.market_bytes = hex_of_bytes(slot.condition, 32, book.market)
    identity_rules(book, slot.rules, slot.size_micro_min)


cdef void preimage_fill(Preimage* out, const BookIdentity* book, const Ladder* ladder, int outcome,
                        int64_t venue_ns, uint32_t tick_step) noexcept nogil:
    """Render all but the last trade price.

    A NO bid at q is the YES ask at 1 - q, so the NO view walks the same ladder with the sides exchanged:
    YES asks downward are NO bids upward.
    """
    cdef uint32_t grid = ladder.grid, index, full = 10000
    put_head(out, book, outcome, venue_ns)
    if outcome == 0:
        index = ladder_above(ladder, 0, 0)
        while index:
            put_level(out, index * grid, ladder_size(ladder, 0, index))
            index = ladder_above(ladder, 0, index)
        put_between(out)
        index = ladder_below(ladder, 1, ladder.levels)
        while index:
            put_level(out, index * grid, ladder_size(ladder, 1, index))
            index = ladder_below(ladder, 1, index)
    else:
        index = ladder_below(ladder, 1, ladder.levels)
        while index:
            put_level(out, full - index * grid, ladder_size(ladder, 1, index))
            index = ladder_below(ladder, 1, index)
        put_between(out)
        index = ladder_above(ladder, 0, 0)
        while index:
            put_level(out, full - index * grid, ladder_size(ladder, 0, index))
            index = ladder_above(ladder, 0, index)
    put_tail(out, book, tick_step)


def book_digest(LadderBook book not None, const uint8_t[::1] instrument not None, int outcome,
                int64_t venue_ns, uint32_t tick_step, uint32_t trade_ticks, int trade_digits):
    """Return the 20-byte SHA-1 of one outcome's view of `book`.

    instrument: one INSTRUMENT record of 256 bytes; outcome: 0 YES, 1 NO; venue_ns: the frame's timestamp;
    trade_digits: 0 = the market never traded (""), 3 or 4 = decimals of the last trade price's text.
    """
    cdef BookIdentity identity
    cdef Preimage preimage
    cdef uint8_t digest[SHA1_BYTES]
    if (instrument.shape[0] != sizeof(InstrumentSlot) or outcome not in (0, 1)
            or trade_digits not in (0, 3, 4)):
        raise ValueError(
            f"native.bookhash: expected 256 bytes, outcome 0 or 1, digits 0, 3 or 4, found "
            f"{instrument.shape[0]}, {outcome}, {trade_digits}")
    identity_fill(&identity, <const InstrumentSlot*>&instrument[0])
    preimage_fill(&preimage, &identity, &book.ladder, outcome, venue_ns, tick_step)
    preimage_digest(&preimage, &identity, trade_ticks, trade_digits, digest)
    return digest[:SHA1_BYTES]
