/* Token text -> (instrument row, outcome, market text): open addressing over the decimal digits.
 *
 * A 256-bit token id stays text: the hash only finds the place, the full text decides. Entries are dense;
 * `index` holds entry number + 1, 0 = free. One thread owns a table. */
#ifndef PIPELINE_TOKENTABLE_H
#define PIPELINE_TOKENTABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { TT_TOKEN_BYTES_MAX = 78, TT_MARKET_BYTES_MAX = 66 }; /* 2**256 has 78 digits; "0x" + 64 hex */

typedef struct {
    uint64_t hash;
    uint32_t row;
    uint8_t outcome, token_bytes, market_bytes; /* market_bytes 0 = market not to be checked */
    char token[TT_TOKEN_BYTES_MAX];
    char market[TT_MARKET_BYTES_MAX];
} TtEntry;

typedef struct {
    TtEntry *entries;
    uint32_t *index;
    uint32_t count, capacity; /* entries in use, room */
    uint32_t mask;            /* index has mask + 1 words, at least twice the capacity */
} TtTable;

static inline uint64_t tt_hash(const char *token, size_t bytes) {
    uint64_t head = 0, tail = 0;
    if (bytes >= 8) {
        memcpy(&head, token, 8);
        memcpy(&tail, token + bytes - 8, 8); /* protocol v2 ids differ in their last digits only */
    } else {
        memcpy(&head, token, bytes);
    }
    head = head * 0x9E3779B97F4A7C15ull + tail * 0xC2B2AE3D27D4EB4Full + bytes;
    head ^= head >> 32;
    head *= 0xD6E8FEB86659FD93ull;
    return head ^ (head >> 32);
}

/* Returns the word of `index` that holds the token, or the free word where it belongs. */
static inline uint32_t tt_place(const TtTable *table, const char *token, size_t bytes, uint64_t hash) {
    uint32_t place = (uint32_t)hash & table->mask;
    for (; table->index[place]; place = (place + 1) & table->mask) {
        const TtEntry *entry = &table->entries[table->index[place] - 1];
        if (entry->hash == hash && entry->token_bytes == bytes && !memcmp(entry->token, token, bytes)) break;
    }
    return place;
}

/* Returns the entry of a token, or NULL when the table does not hold it. */
static inline const TtEntry *tt_find(const TtTable *table, const char *token, size_t bytes) {
    uint32_t number;
    if (bytes == 0 || bytes > TT_TOKEN_BYTES_MAX) return NULL;
    number = table->index[tt_place(table, token, bytes, tt_hash(token, bytes))];
    return number ? &table->entries[number - 1] : NULL;
}

/* Makes room for `capacity` entries (a power of two); returns 0 when there is no memory. */
static int tt_resize(TtTable *table, uint32_t capacity) {
    uint32_t words = capacity * 2, number;
    uint32_t *index = (uint32_t *)calloc(words, sizeof(uint32_t));
    TtEntry *entries;
    if (!index) return 0;
    entries = (TtEntry *)realloc(table->entries, (size_t)capacity * sizeof(TtEntry));
    if (!entries) {
        free(index);
        return 0;
    }
    free(table->index);
    table->entries = entries;
    table->index = index;
    table->capacity = capacity;
    table->mask = words - 1;
    for (number = 0; number < table->count; number++) {
        const TtEntry *entry = &entries[number];
        index[tt_place(table, entry->token, entry->token_bytes, entry->hash)] = number + 1;
    }
    return 1;
}

/* Adds an absent token; the caller checked the lengths. Returns 0 when there is no memory. */
static int tt_add(TtTable *table, const char *token, size_t bytes, const char *market, size_t market_bytes,
                  uint32_t row, uint8_t outcome) {
    TtEntry *entry;
    if (table->count == table->capacity && !tt_resize(table, table->capacity * 2)) return 0;
    entry = &table->entries[table->count];
    memset(entry, 0, sizeof(*entry));
    entry->hash = tt_hash(token, bytes);
    entry->row = row;
    entry->outcome = outcome;
    entry->token_bytes = (uint8_t)bytes;
    entry->market_bytes = (uint8_t)market_bytes;
    memcpy(entry->token, token, bytes);
    memcpy(entry->market, market, market_bytes);
    table->index[tt_place(table, token, bytes, entry->hash)] = ++table->count;
    return 1;
}

/* Frees the word `place` and moves back what probed past it. */
static void tt_free_word(TtTable *table, uint32_t place) {
    uint32_t next = place, home;
    for (;;) {
        next = (next + 1) & table->mask;
        if (!table->index[next]) break;
        home = (uint32_t)table->entries[table->index[next] - 1].hash & table->mask;
        if (((next - home) & table->mask) >= ((next - place) & table->mask)) { /* place lies on its way */
            table->index[place] = table->index[next];
            place = next;
        }
    }
    table->index[place] = 0;
}

/* Removes a token; returns 0 when the table did not hold it. */
static int tt_remove(TtTable *table, const char *token, size_t bytes) {
    uint32_t place = tt_place(table, token, bytes, tt_hash(token, bytes)), number = table->index[place];
    const TtEntry *last;
    if (!number) return 0;
    tt_free_word(table, place);
    last = &table->entries[table->count - 1];
    if (number != table->count) { /* the last entry moves into the hole */
        place = tt_place(table, last->token, last->token_bytes, last->hash);
        table->entries[number - 1] = *last;
        table->index[place] = number;
    }
    table->count--;
    return 1;
}

#endif
