# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Strict ASCII decimal text to integers: prices to ticks (scale 4), sizes to micro-shares (scale 6).

The grammar is `digits[.digits]`, exactly that of `pipeline.units.decimal_to_int`; it reads no record
and writes none. Native callers use the inline function of `numparse.h`.
"""

from libc.stdint cimport int64_t

from pipeline.native.numparse cimport NP_DIGITS_MAX, NP_SCALE_MAX, np_decimal

DIGITS_MAX = NP_DIGITS_MAX
SCALE_MAX = NP_SCALE_MAX


def parse(const unsigned char[::1] text not None, int scale):
    """Return `text` times 10**scale as an int in 0..2**63-1; scale is 0..18.

    Raises ValueError for anything that is not a plain decimal of at most 18 digits, for a non-zero
    digit finer than the scale and for a result that does not fit 63 bits.
    """
    cdef int64_t value = 0
    cdef const char* start
    cdef const char* end
    if not 0 <= scale <= NP_SCALE_MAX:
        raise ValueError(f"native.numparse: scale must be 0..{SCALE_MAX}, was {scale}")
    if text.shape[0]:
        start = <const char*>&text[0]
        end = start + text.shape[0]
        if np_decimal(start, end, <unsigned>scale, &value) == end:
            return value
    raise ValueError(f"native.numparse: not a plain decimal at scale {scale}: {bytes(text[:40])!r}")
