/* Strict decimal text to an integer, digit by digit, never through a double.
 *
 * Grammar, ASCII only: digits [ "." digits ]. No sign, exponent, blank, separator, empty part.
 * Same set as pipeline.units.decimal_to_int, whose results additionally must fit int64_t here. */
#ifndef PIPELINE_NUMPARSE_H
#define PIPELINE_NUMPARSE_H

#include <stddef.h>
#include <stdint.h>

enum { NP_DIGITS_MAX = 18, NP_SCALE_MAX = 18 };

static const uint64_t np_power_of_ten[NP_SCALE_MAX + 1] = {
    1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull,
    1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull,
    100000000000000ull, 1000000000000000ull, 10000000000000000ull, 100000000000000000ull,
    1000000000000000000ull};

/* Reads the longest decimal at [at, end) into *out, times 10**scale (scale <= NP_SCALE_MAX).
 *
 * Returns the first byte after it, or NULL (and *out untouched): an empty part, more than
 * NP_DIGITS_MAX digits in all, a non-zero digit finer than the scale, or a result over INT64_MAX.
 * The caller checks that what follows is what it expects (a quote, or `end`). */
static inline const char *np_decimal(const char *at, const char *end, unsigned scale, int64_t *out) {
    const char *start = at;
    uint64_t value = 0; /* at most 18 digits are added: no overflow */
    unsigned whole, fraction = 0;
    while (at < end && (unsigned char)(*at - '0') <= 9) {
        if (at - start == NP_DIGITS_MAX) return NULL;
        value = value * 10 + (uint64_t)(*at++ - '0');
    }
    whole = (unsigned)(at - start);
    if (whole == 0) return NULL;
    if (at < end && *at == '.') {
        unsigned digits = 0;
        at++;
        while (at < end && (unsigned char)(*at - '0') <= 9) {
            if (whole + digits == NP_DIGITS_MAX) return NULL;
            if (digits < scale) value = value * 10 + (uint64_t)(*at - '0');
            else if (*at != '0') return NULL;
            digits++;
            at++;
        }
        if (digits == 0) return NULL;
        fraction = digits < scale ? digits : scale;
    }
    if (value > (uint64_t)INT64_MAX / np_power_of_ten[scale - fraction]) return NULL;
    *out = (int64_t)(value * np_power_of_ten[scale - fraction]);
    return at;
}

#endif
