# SHA-1 of a whole book over a ladder; see bookhash.h for the preimage.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pipeline.native.ladder cimport Ladder, ladder_above, ladder_below, ladder_best, ladder_size
from pipeline.native.records cimport InstrumentSlot

cdef extern from "bookhash.h" nogil:
    enum:
        SHA1_BYTES
    ctypedef struct BookIdentity:
        char token[2][80]
        char market[68]
        uint8_t token_bytes[2]
        uint8_t market_bytes
        uint8_t neg_risk
        uint8_t is_v2
        int64_t size_micro_min
    ctypedef struct Preimage:
        uint32_t count
    void put_head(Preimage* out, const BookIdentity* book, int outcome, int64_t venue_ns) noexcept
    void put_level(Preimage* out, uint32_t price_ticks, int64_t size_micro) noexcept
    void put_between(Preimage* out) noexcept
    void put_tail(Preimage* out, const BookIdentity* book, uint32_t tick_step) noexcept
    void preimage_digest(const Preimage* out, const BookIdentity* book, uint32_t trade_ticks, int digits,
                         uint8_t* digest) noexcept
    uint8_t decimal_of_256(const uint8_t* number, char* text) noexcept
    uint8_t hex_of_bytes(const uint8_t* data, int count, char* text) noexcept

cdef void identity_fill(BookIdentity* book, const InstrumentSlot* slot) noexcept nogil
cdef void identity_rules(BookIdentity* book, uint32_t rules, int64_t size_micro_min) noexcept nogil
# Everything but the last trade price; `preimage_digest` then ends it with a candidate.
cdef void preimage_fill(Preimage* out, const BookIdentity* book, const Ladder* ladder, int outcome,
                        int64_t venue_ns, uint32_t tick_step) noexcept nogil
