/* One pass over a Polymarket market frame: bytes in, FsEvent table out; no allocation, no copy of the text.
 *
 * The scanner accepts a subset of what the orjson decoder (venues/polymarket/market_decode.py) accepts, with
 * the same meaning. Whatever it does not fully recognise (escapes, non-ASCII, repeated keys, nested extras
 * outside `market_resolved`, unknown event_type, odd types or lengths) is FS_FALLBACK with nothing said;
 * never a guess or a default.
 * Facts of the wire: venue sheet "Market WebSocket" (2026-11-20), checked on the recorded frames. */
#ifndef PIPELINE_FRAMESCAN_H
#define PIPELINE_FRAMESCAN_H

#include "numparse.h"
#include "tokentable.h"

enum { FS_OK = 0, FS_FALLBACK = 1, FS_UNKNOWN = 2, FS_NO_ROOM = 3, FS_IGNORED = 4, FS_TWIN = 5 };
enum { FS_BOOK = 1, FS_DELTA, FS_BBO, FS_TRADE, FS_STEP, FS_RESOLVED }; /* what an event becomes */

#define FS_FRAME_BYTES_MAX (1u << 20)
#define FS_LEVELS_MAX (1u << 16)  /* levels and changes of one frame, all events together */
#define FS_CHANGES_MAX 512u       /* one delta run: 64 slots of 8 */
#define FS_EVENTS_MAX 512u
#define FS_EXTRAS_MAX 8u          /* unknown keys in one object */
#define FS_NESTED_DEPTH_MAX 4u    /* arrays and objects inside an unused value */
#define FS_NESTED_MAX 4096u       /* unused values of one frame: far below the decoder's bound */
#define FS_PRICE_ONE 10000
#define FS_SIZE_MICRO_MAX 1000000000000000ll
#define FS_NOT_ANNOUNCED 0xFFFFFFFFu

typedef struct {
    int64_t size_micro;
    uint32_t price_ticks;
    uint8_t side, outcome; /* changes only */
} FsLevel;

typedef struct {
    int64_t venue_ns, size_micro;
    uint32_t row;                /* 0 with is_known = 0 */
    uint32_t first[2], count[2]; /* FS_BOOK: bids, asks; FS_DELTA: [0] = changes; places in `levels` */
    uint32_t best[2][2];         /* FS_DELTA: [outcome][bid, ask]; FS_BBO: best[0] */
    uint32_t price_ticks;        /* FS_TRADE: price; FS_BOOK: last trade */
    uint16_t old_step, new_step;
    uint8_t kind, outcome, side, last_trade_state, is_known;
    uint8_t hash[2][20]; /* FS_DELTA: [outcome]; FS_BOOK: [0] */
} FsEvent;

typedef struct {
    const TtTable *tokens;
    const char *end;
    FsLevel *levels;
    FsEvent *events;
    uint32_t level_count, event_count, known_count, nested_count;
} FsScan;

typedef struct {
    const char *at;
    size_t bytes;
} FsText;

typedef struct {
    FsText key[FS_EXTRAS_MAX];
    unsigned count;
} FsExtras;

/* Keys of the top object; F_BIDS.. are arrays, all others strings; F_NESTED is any unused array or object. */
enum {
    F_TYPE, F_MARKET, F_ASSET, F_TIME, F_HASH, F_TICK, F_LAST, F_BID, F_ASK, F_PRICE, F_SIZE, F_SIDE,
    F_OLD_TICK, F_NEW_TICK, F_WINNER, F_TEXTS, F_BIDS = F_TEXTS, F_ASKS, F_CHANGES, F_PAIR, F_UNKNOWN,
    F_NESTED
};
#define FS_BIT(field) (1u << (field))

static inline const char *fs_blank(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    return at;
}

/* Reads a string of plain ASCII without escapes; returns the byte after its closing quote or NULL. */
static inline const char *fs_text(const char *at, const char *end, FsText *text) {
    const uint64_t ones = 0x0101010101010101ull, highs = 0x8080808080808080ull;
    const char *start;
    if (at >= end || *at != '"') return NULL;
    start = ++at;
    while (end - at >= 8) { /* eight bytes at once while none of them can end the plain text */
        uint64_t word, quote, slash;
        memcpy(&word, at, 8);
        quote = word ^ (ones * '"');
        slash = word ^ (ones * '\\');
        word |= ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * 0x20) & ~word);
        if (word & highs) break;
        at += 8;
    }
    for (; at < end; at++) {
        unsigned char c = (unsigned char)*at;
        if (c == '"') {
            text->at = start;
            text->bytes = (size_t)(at - start);
            return at + 1;
        }
        if (c == '\\' || c < 0x20 || c >= 0x80) return NULL;
    }
    return NULL;
}

/* Eight bytes of text as one word, and of a literal as a constant. */
static inline uint64_t fs_word(const char *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}
#define FS_STARTS(at, literal) (!memcmp((at), (literal), sizeof(literal) - 1))

/* Reads `"key" :`; returns the first byte of the value or NULL. */
static inline const char *fs_key(const char *at, const char *end, FsText *key) {
    at = fs_text(at, end, key);
    if (!at) return NULL;
    at = fs_blank(at, end);
    if (at >= end || *at != ':') return NULL;
    return fs_blank(at + 1, end);
}

static inline const char *fs_digits(const char *at, const char *end, unsigned *count) {
    const char *start = at;
    while (at < end && (unsigned char)(*at - '0') <= 9) at++;
    *count = (unsigned)(at - start);
    return at;
}

/* Skips a string, true, false, null or a number of ordinary length; NULL for anything else. */
static const char *fs_skip(const char *at, const char *end) {
    static const char *const words[3] = {"true", "false", "null"};
    const char *start;
    FsText text;
    unsigned count, word;
    if (at >= end) return NULL;
    if (*at == '"') return fs_text(at, end, &text);
    for (word = 0; word < 3; word++) {
        size_t bytes = strlen(words[word]);
        if ((size_t)(end - at) >= bytes && !memcmp(at, words[word], bytes)) return at + bytes;
    }
    if (*at == '-') at++;
    start = at;
    at = fs_digits(at, end, &count);
    if (count == 0 || count > 15 || (count > 1 && *start == '0')) return NULL;
    if (at < end && *at == '.') {
        at = fs_digits(at + 1, end, &count);
        if (count == 0 || count > 15) return NULL;
    }
    return at;
}

/* Notes an unknown key; 0 when it repeats or there are too many. */
static inline int fs_extra(FsExtras *extras, FsText key) {
    unsigned index;
    for (index = 0; index < extras->count; index++) {
        const FsText *old = &extras->key[index];
        if (old->bytes == key.bytes && !memcmp(old->at, key.at, key.bytes)) return 0;
    }
    if (extras->count == FS_EXTRAS_MAX) return 0;
    extras->key[extras->count++] = key;
    return 1;
}

/* Steps over ',' (more = 1) or `close` (more = 0) after an item; NULL for anything else. */
static inline const char *fs_next(const char *at, const char *end, char close, int *more) {
    at = fs_blank(at, end);
    if (at >= end) return NULL;
    *more = *at == ',';
    if (*at != ',' && *at != close) return NULL;
    return *more ? fs_blank(at + 1, end) : at + 1;
}

/* Skips a value that we do not use: as `fs_skip`, or an array or object of such up to `depth` deep. */
static const char *fs_nested(FsScan *scan, const char *at, unsigned depth) {
    const char *end = scan->end;
    FsExtras extras;
    FsText key;
    char close;
    int more;
    if (++scan->nested_count > FS_NESTED_MAX || at >= end) return NULL;
    if (*at != '{' && *at != '[') return fs_skip(at, end);
    if (depth == 0) return NULL;
    close = *at == '{' ? '}' : ']';
    extras.count = 0;
    at = fs_blank(at + 1, end);
    if (at < end && *at == close) return at + 1;
    do {
        if (close == '}') {
            at = fs_key(at, end, &key);
            if (!at || !fs_extra(&extras, key)) return NULL;
        }
        at = fs_nested(scan, at, depth - 1);
        if (!at) return NULL;
        at = fs_next(at, end, close, &more);
        if (!at) return NULL;
    } while (more);
    return at;
}

/* `assets_ids`: one or two token ids; an absent second one stays empty and equals no id. */
static const char *fs_pair(const char *at, const char *end, FsText *pair) {
    int more;
    pair[1].bytes = 0;
    if (at >= end || *at != '[') return NULL;
    at = fs_text(fs_blank(at + 1, end), end, &pair[0]);
    if (!at) return NULL;
    at = fs_next(at, end, ']', &more);
    if (!at || !more) return at;
    at = fs_text(at, end, &pair[1]);
    if (!at) return NULL;
    at = fs_next(at, end, ']', &more);
    return at && !more ? at : NULL;
}

static inline int fs_is(FsText text, const char *word, size_t bytes) {
    return text.bytes == bytes && !memcmp(text.at, word, bytes);
}
#define FS_IS(text, word) fs_is(text, word, sizeof(word) - 1)

static inline int fs_same(FsText one, FsText other) { return fs_is(one, other.at, other.bytes); }

/* Whole text as a decimal in [low, high]; 0 when it is not. */
static inline int fs_number(FsText text, unsigned scale, int64_t low, int64_t high, int64_t *out) {
    const char *end = text.at + text.bytes;
    return np_decimal(text.at, end, scale, out) == end && *out >= low && *out <= high;
}

/* A decimal between quotes; `at` is the opening one. Returns the byte behind the closing one or NULL. */
static inline const char *fs_quoted(const char *at, const char *end, unsigned scale, int64_t *out) {
    if (at >= end || *at != '"') return NULL;
    at = np_decimal(at + 1, end, scale, out);
    return at && at < end && *at == '"' ? at + 1 : NULL;
}

/* A price as it mostly comes, `"0.` and one to four digits `"`; else the long way. */
static inline const char *fs_price(const char *at, const char *end, int64_t *ticks) {
    if (end - at >= 8 && FS_STARTS(at, "\"0.")) {
        static const uint16_t weight[4] = {1000, 100, 10, 1};
        unsigned value = 0, index;
        for (index = 0; index < 4 && (unsigned char)(at[3 + index] - '0') <= 9; index++)
            value += (unsigned)(at[3 + index] - '0') * weight[index];
        if (index && at[3 + index] == '"') {
            *ticks = value;
            return at + 4 + index;
        }
    }
    return fs_quoted(at, end, 4, ticks);
}

/* Best price: "", 0 and 1 mean that the side is empty. */
static inline int fs_best(FsText text, uint32_t *out) {
    int64_t ticks = 0;
    if (text.bytes && !fs_number(text, 4, 0, FS_PRICE_ONE, &ticks)) return 0;
    *out = ticks == FS_PRICE_ONE ? 0 : (uint32_t)ticks;
    return 1;
}

/* Tick size in ticks; the grid must divide one, else prices and their mirrors would not share it. */
static inline int fs_step(FsText text, uint16_t *out) {
    int64_t step = 0;
    if (!fs_number(text, 4, 1, FS_PRICE_ONE / 2, &step) || FS_PRICE_ONE % step) return 0;
    *out = (uint16_t)step;
    return 1;
}

/* Milliseconds since the epoch, 13 digits, below 9e12 so that nanoseconds fit. */
static inline int fs_time(FsText text, int64_t *venue_ns) {
    int64_t ms = 0;
    if (text.bytes != 13 || text.at[0] == '0' || text.at[0] == '9') return 0;
    for (int place = 0; place < 13; place++) { /* digits alone: 17907664155.0 has 13 characters, too */
        if (text.at[place] < '0' || text.at[place] > '9') return 0;
        ms = ms * 10 + (text.at[place] - '0');
    }
    *venue_ns = ms * 1000000;
    return 1;
}

/* Value of a hex digit, 0xF0 for any other byte. */
static const uint8_t fs_hex_value[256] = {
#define FS_BAD16 FS_BAD8, FS_BAD8
#define FS_BAD8 240, 240, 240, 240, 240, 240, 240, 240
    FS_BAD16, FS_BAD16, FS_BAD16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 240, 240, 240, 240, 240, 240,
    FS_BAD16, FS_BAD16, 240, 10, 11, 12, 13, 14, 15, 240, FS_BAD8, FS_BAD16,
    FS_BAD16, FS_BAD16, FS_BAD16, FS_BAD16, FS_BAD16, FS_BAD16, FS_BAD16, FS_BAD16};

/* 40 lower-case hex digits (a SHA-1) at `at`, which has that many bytes. */
static inline int fs_hash40(const char *at, uint8_t *out) {
    const uint8_t *digit = (const uint8_t *)at;
    unsigned index, bad = 0;
    for (index = 0; index < 20; index++, digit += 2) {
        unsigned high = fs_hex_value[digit[0]], low = fs_hex_value[digit[1]];
        bad |= high | low;
        out[index] = (uint8_t)((high << 4) | low);
    }
    return bad < 16;
}

static inline int fs_hash(FsText text, uint8_t *out) { return text.bytes == 40 && fs_hash40(text.at, out); }

static inline int fs_side(FsText text, uint8_t *side) {
    *side = text.bytes == 4;
    return FS_IS(text, "BUY") || FS_IS(text, "SELL");
}

/* Finds a token: 1 known, 0 a proper id that the table does not hold, -1 not an id. */
static inline int fs_token(const FsScan *scan, FsText text, const TtEntry **entry) {
    unsigned count;
    *entry = tt_find(scan->tokens, text.at, text.bytes);
    if (*entry) return 1;
    if (text.bytes == 0 || text.bytes > TT_TOKEN_BYTES_MAX) return -1;
    fs_digits(text.at, text.at + text.bytes, &count);
    return count == text.bytes ? 0 : -1;
}

static inline int fs_market_fits(const TtEntry *entry, FsText market) {
    return entry->market_bytes == 0 ||
           (entry->market_bytes == market.bytes && !memcmp(entry->market, market.at, market.bytes));
}

#include "framescan_body.h"

#endif
