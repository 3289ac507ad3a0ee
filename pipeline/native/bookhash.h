/* SHA-1 of a whole book as Polymarket announces it, streamed from integers; nothing is allocated.
 *
 * The preimage is the compact JSON of the book (venues/polymarket.md section 5, checked 2026-09):
 *   {"market":"0x..","asset_id":"..","timestamp":"ms","hash":"","bids":[..ascending],"asks":[..descending],
 *    "min_order_size":"5","tick_size":"0.01","neg_risk":false,"last_trade_price":"0.490"[,"version":"v2"]}
 * Only the last trade price is in doubt (it changes before the print arrives), and it stands at the
 * end: `Preimage` keeps the state of the SHA-1 before it, so another candidate costs one or two blocks.
 */
#ifndef PIPELINE_BOOKHASH_H
#define PIPELINE_BOOKHASH_H

#include <stdint.h>
#include <string.h>

#define SHA1_BYTES 20
#define BOOKHASH_TOKEN_DIGITS 78 /* 2^256 has 78 decimal digits */
#define BOOKHASH_STEP_BYTES 512  /* rendered text is given to the SHA-1 in steps of at least this */
#define BOOKHASH_ITEM_BYTES 384  /* longest text rendered between two flushes: the head of the preimage */

typedef struct {
    uint32_t state[5];
    uint64_t total_bytes;
} Sha1;

static inline uint32_t sha1_rotate(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

static inline uint32_t big_endian32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

#define SHA1_MIXED(i) (w[((i) + 13) & 15] ^ w[((i) + 8) & 15] ^ w[((i) + 2) & 15] ^ w[(i) & 15])
#define SHA1_WORD(i) (w[(i) & 15] = sha1_rotate(SHA1_MIXED(i), 1))
#define SHA1_ROUND(a, b, c, d, e, f, k, word)                                                               \
    do {                                                                                                    \
        e += sha1_rotate(a, 5) + (f) + (k) + (word);                                                        \
        b = sha1_rotate(b, 30);                                                                             \
    } while (0)
#define SHA1_CHOOSE(b, c, d) ((d) ^ ((b) & ((c) ^ (d))))
#define SHA1_PARITY(b, c, d) ((b) ^ (c) ^ (d))
#define SHA1_MAJORITY(b, c, d) (((b) & (c)) | ((d) & ((b) | (c))))
#define SHA1_FIVE(F, k, word, i)                                                                            \
    do {                                                                                                    \
        SHA1_ROUND(a, b, c, d, e, F(b, c, d), k, word((i)));                                                \
        SHA1_ROUND(e, a, b, c, d, F(a, b, c), k, word((i) + 1));                                            \
        SHA1_ROUND(d, e, a, b, c, F(e, a, b), k, word((i) + 2));                                            \
        SHA1_ROUND(c, d, e, a, b, F(d, e, a), k, word((i) + 3));                                            \
        SHA1_ROUND(b, c, d, e, a, F(c, d, e), k, word((i) + 4));                                            \
    } while (0)
#define SHA1_LOADED(i) ((i) < 16 ? w[(i) & 15] : SHA1_WORD(i))

/* One 64-byte block (FIPS 180-4, section 6.1.2); the loops have constant bounds and unroll. */
static inline void sha1_block(Sha1 *sha, const uint8_t *data) {
    uint32_t w[16];
    for (int i = 0; i < 16; i++)
        w[i] = big_endian32(data + 4 * i);
    uint32_t a = sha->state[0], b = sha->state[1], c = sha->state[2], d = sha->state[3], e = sha->state[4];
    for (int i = 0; i < 20; i += 5) SHA1_FIVE(SHA1_CHOOSE, 0x5A827999u, SHA1_LOADED, i);
    for (int i = 20; i < 40; i += 5) SHA1_FIVE(SHA1_PARITY, 0x6ED9EBA1u, SHA1_WORD, i);
    for (int i = 40; i < 60; i += 5) SHA1_FIVE(SHA1_MAJORITY, 0x8F1BBCDCu, SHA1_WORD, i);
    for (int i = 60; i < 80; i += 5) SHA1_FIVE(SHA1_PARITY, 0xCA62C1D6u, SHA1_WORD, i);
    sha->state[0] += a, sha->state[1] += b, sha->state[2] += c, sha->state[3] += d, sha->state[4] += e;
}

static inline void sha1_begin(Sha1 *sha) {
    static const uint32_t start[5] = {0x67452301u, 0xEFCDAB89u, 0x98BADCFEu, 0x10325476u, 0xC3D2E1F0u};
    memcpy(sha->state, start, sizeof start);
    sha->total_bytes = 0;
}

/* Takes the whole blocks at the front of `data`; returns how many bytes it took. */
static inline uint32_t sha1_blocks(Sha1 *sha, const uint8_t *data, uint32_t count) {
    uint32_t taken = 0;
    for (; taken + 64 <= count; taken += 64) sha1_block(sha, data + taken);
    sha->total_bytes += taken;
    return taken;
}

/* Ends with the last `count` bytes, any number of them. */
static inline void sha1_end(Sha1 *sha, const uint8_t *data, uint32_t count, uint8_t digest[SHA1_BYTES]) {
    uint8_t last[128] = {0};
    uint32_t taken = sha1_blocks(sha, data, count), rest = count - taken;
    uint32_t padded = rest + 9 <= 64 ? 64 : 128;
    uint64_t bits = (sha->total_bytes + rest) * 8;
    memcpy(last, data + taken, rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++) last[padded - 1 - i] = (uint8_t)(bits >> (8 * i));
    sha1_blocks(sha, last, padded);
    for (int i = 0; i < SHA1_BYTES; i++) digest[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

/* What stays the same in a market's preimage; made once per instrument. */
typedef struct {
    char token[2][BOOKHASH_TOKEN_DIGITS + 2]; /* decimal text, YES and NO */
    char market[68];                          /* "0x" and the condition id in hex */
    uint8_t token_bytes[2], market_bytes;
    uint8_t neg_risk, is_v2;
    int64_t size_micro_min;
} BookIdentity;

typedef struct {
    Sha1 sha; /* of all whole blocks so far */
    uint32_t count;
    uint8_t text[BOOKHASH_STEP_BYTES + BOOKHASH_ITEM_BYTES];
} Preimage;

static inline void preimage_flush(Preimage *out) {
    uint32_t taken = sha1_blocks(&out->sha, out->text, out->count);
    memmove(out->text, out->text + taken, out->count - taken);
    out->count -= taken;
}

static inline void put_text(Preimage *out, const char *text, uint32_t count) {
    memcpy(out->text + out->count, text, count);
    out->count += count;
}

#define PUT(out, literal) put_text(out, literal, sizeof(literal) - 1)

static inline void put_count(Preimage *out, uint64_t value) {
    char digits[20];
    uint32_t at = 20;
    do digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    put_text(out, digits + at, 20 - at);
}

/* value / 10^digits_count as text without trailing zeros: "0.5", "634.49", "92790". */
static inline void put_decimal(Preimage *out, uint64_t value, uint32_t digits_count, uint64_t scale) {
    uint64_t fraction = value % scale;
    put_count(out, value / scale);
    if (fraction == 0) return;
    for (; fraction % 10 == 0; fraction /= 10) digits_count--;
    uint8_t *text = out->text + out->count;
    text[0] = '.';
    for (uint32_t at = digits_count; at > 0; fraction /= 10) text[at--] = (uint8_t)('0' + fraction % 10);
    out->count += digits_count + 1;
}

static inline void put_level(Preimage *out, uint32_t price_ticks, int64_t size_micro) {
    if (out->count >= BOOKHASH_STEP_BYTES) preimage_flush(out);
    PUT(out, "{\"price\":\"");
    put_decimal(out, price_ticks, 4, 10000);
    PUT(out, "\",\"size\":\"");
    put_decimal(out, (uint64_t)size_micro, 6, 1000000);
    PUT(out, "\"},");
}

static inline void put_head(Preimage *out, const BookIdentity *book, int outcome, int64_t venue_ns) {
    sha1_begin(&out->sha);
    out->count = 0;
    PUT(out, "{\"market\":\"");
    put_text(out, book->market, book->market_bytes);
    PUT(out, "\",\"asset_id\":\"");
    put_text(out, book->token[outcome], book->token_bytes[outcome]);
    PUT(out, "\",\"timestamp\":\"");
    put_count(out, (uint64_t)venue_ns / 1000000);
    PUT(out, "\",\"hash\":\"\",\"bids\":[");
}

/* Takes back the comma after the last level, if the list has one. */
static inline void put_list_end(Preimage *out) {
    if (out->text[out->count - 1] == ',') out->count--;
}

static inline void put_between(Preimage *out) {
    put_list_end(out);
    PUT(out, "],\"asks\":[");
}

/* Ends the part that does not depend on the last trade price, and flushes it. */
static inline void put_tail(Preimage *out, const BookIdentity *book, uint32_t tick_step) {
    put_list_end(out);
    PUT(out, "],\"min_order_size\":\"");
    put_decimal(out, (uint64_t)book->size_micro_min, 6, 1000000);
    PUT(out, "\",\"tick_size\":\"");
    put_decimal(out, tick_step, 4, 10000);
    if (book->neg_risk)
        PUT(out, "\",\"neg_risk\":true,\"last_trade_price\":\"");
    else
        PUT(out, "\",\"neg_risk\":false,\"last_trade_price\":\"");
    preimage_flush(out);
}

/* Digest with one last trade price. digits: 0 = "" (never traded), 3 = "%.3f", 4 = "%.4f". */
static inline void preimage_digest(const Preimage *out, const BookIdentity *book, uint32_t trade_ticks,
                                   int digits, uint8_t digest[SHA1_BYTES]) {
    uint8_t text[128];
    uint32_t count = out->count; /* < 64: flushed by put_tail */
    Sha1 sha = out->sha;
    memcpy(text, out->text, count);
    if (digits) {
        uint32_t value = trade_ticks % 10000;
        text[count] = (uint8_t)('0' + trade_ticks / 10000 % 10);
        text[count + 1] = '.';
        text[count + 2] = (uint8_t)('0' + value / 1000);
        text[count + 3] = (uint8_t)('0' + value / 100 % 10);
        text[count + 4] = (uint8_t)('0' + value / 10 % 10);
        text[count + 5] = (uint8_t)('0' + value % 10);
        count += 2 + (uint32_t)digits;
    }
    if (book->is_v2) {
        memcpy(text + count, "\",\"version\":\"v2\"}", 17);
        count += 17;
    } else {
        memcpy(text + count, "\"}", 2);
        count += 2;
    }
    sha1_end(&sha, text, count, digest);
}

/* 256-bit big-endian number as decimal text; returns its length. Called once per token. */
static inline uint8_t decimal_of_256(const uint8_t number[32], char *text) {
    uint32_t limbs[8];
    char digits[BOOKHASH_TOKEN_DIGITS];
    int at = BOOKHASH_TOKEN_DIGITS, more = 1;
    for (int i = 0; i < 8; i++)
        limbs[i] = big_endian32(number + 4 * i);
    while (more) {
        uint64_t rest = 0;
        more = 0;
        for (int i = 0; i < 8; i++) {
            rest = rest << 32 | limbs[i];
            limbs[i] = (uint32_t)(rest / 10);
            rest %= 10;
            more |= limbs[i] != 0;
        }
        digits[--at] = (char)('0' + rest);
    }
    memcpy(text, digits + at, (size_t)(BOOKHASH_TOKEN_DIGITS - at));
    return (uint8_t)(BOOKHASH_TOKEN_DIGITS - at);
}

static inline uint8_t hex_of_bytes(const uint8_t *bytes, int count, char *text) {
    static const char digits[] = "0123456789abcdef";
    text[0] = '0', text[1] = 'x';
    for (int i = 0; i < count; i++) {
        text[2 + 2 * i] = digits[bytes[i] >> 4];
        text[3 + 2 * i] = digits[bytes[i] & 15];
    }
    return (uint8_t)(2 + 2 * count);
}

#endif
