# Strict decimal text to integers; the functions are inline C, see numparse.h.
from libc.stdint cimport int64_t

cdef extern from "numparse.h":
    enum:
        NP_DIGITS_MAX
        NP_SCALE_MAX
    # first byte after the decimal at [at, end), or NULL; *out = value * 10**scale
    const char* np_decimal(const char* at, const char* end, unsigned scale, int64_t* out) noexcept nogil
