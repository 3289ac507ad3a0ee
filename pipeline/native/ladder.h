/* Dense price ladder: one size per legal price and side, and a bitmap of the occupied prices.
 *
 * A level's index is price_ticks / grid, 1 .. levels - 1; index 0 (price 0) never holds a size and so
 * means "none". The best bid is the highest bit of the bid bitmap, the best ask the lowest of the ask's;
 * a summary of one bit per word makes either a walk over at most four words.
 *
 * Words are stored relaxed: an observer in another process copies them under the row's version, so they
 * must not tear, and the version carries the order.
 */
#ifndef PIPELINE_LADDER_H
#define PIPELINE_LADDER_H

#include <stdint.h>
#include <string.h>

#include "atomics.h"

#define LADDER_HEAD_BYTES 128 /* summaries of both sides, then reserved */
#define LADDER_CLASSES 3
#define PRICE_TICKS_FULL 10000

static const uint32_t LADDER_LEVELS[LADDER_CLASSES] = {128, 1024, 16384};

/* View of one block; private to the writer. `capacity` is the class's, `levels` what the grid uses. */
typedef struct {
    int64_t *sizes[2];
    uint64_t *words[2];
    uint64_t *summary[2]; /* 4 words each */
    uint32_t grid, levels, capacity;
} Ladder;

static inline uint64_t ladder_block_bytes(uint32_t capacity) {
    return LADDER_HEAD_BYTES + 2 * 8ull * capacity + 2 * 8ull * (capacity / 64);
}

static inline void ladder_view(Ladder *ladder, uint8_t *block, uint32_t capacity, uint32_t grid) {
    ladder->summary[0] = (uint64_t *)block;
    ladder->summary[1] = (uint64_t *)block + 4;
    ladder->sizes[0] = (int64_t *)(block + LADDER_HEAD_BYTES);
    ladder->sizes[1] = ladder->sizes[0] + capacity;
    ladder->words[0] = (uint64_t *)(ladder->sizes[1] + capacity);
    ladder->words[1] = ladder->words[0] + capacity / 64;
    ladder->grid = grid;
    ladder->levels = PRICE_TICKS_FULL / grid;
    ladder->capacity = capacity;
}

static inline int64_t ladder_size(const Ladder *ladder, int side, uint32_t index) {
    return ladder->sizes[side][index];
}

static inline void ladder_set(Ladder *ladder, int side, uint32_t index, int64_t size) {
    uint64_t *word = &ladder->words[side][index >> 6], *summary = &ladder->summary[side][index >> 12];
    uint64_t bit = 1ull << (index & 63), mark = 1ull << (index >> 6 & 63), value = *word;
    pm_store_relaxed((uint64_t *)&ladder->sizes[side][index], (uint64_t)size);
    value = size ? value | bit : value & ~bit;
    pm_store_relaxed(word, value);
    pm_store_relaxed(summary, value ? *summary | mark : *summary & ~mark);
}

/* Empties occupied levels only: the cost is that of the book, not of the block. */
static inline void ladder_clear(Ladder *ladder) {
    for (int side = 0; side < 2; side++)
        for (int part = 0; part < 4; part++) {
            for (uint64_t marks = ladder->summary[side][part]; marks; marks &= marks - 1) {
                uint32_t at = (uint32_t)(part * 64 + __builtin_ctzll(marks));
                for (uint64_t bits = ladder->words[side][at]; bits; bits &= bits - 1)
                    pm_store_relaxed(
                        (uint64_t *)&ladder->sizes[side][at * 64 + (uint32_t)__builtin_ctzll(bits)], 0);
                pm_store_relaxed(&ladder->words[side][at], 0);
            }
            pm_store_relaxed(&ladder->summary[side][part], 0);
        }
}

/* Next occupied index above / below `index`; 0 = none. */
static inline uint32_t ladder_above(const Ladder *ladder, int side, uint32_t index) {
    uint32_t at = ++index >> 6;
    if (index >= ladder->capacity) return 0;
    uint64_t bits = ladder->words[side][at] & ~0ull << (index & 63);
    if (bits) return at * 64 + (uint32_t)__builtin_ctzll(bits);
    uint32_t part = ++at >> 6;
    if (part > 3) return 0;
    uint64_t marks = ladder->summary[side][part] & ~0ull << (at & 63);
    while (!marks) {
        if (++part > 3) return 0;
        marks = ladder->summary[side][part];
    }
    at = part * 64 + (uint32_t)__builtin_ctzll(marks);
    return at * 64 + (uint32_t)__builtin_ctzll(ladder->words[side][at]);
}

static inline uint32_t ladder_below(const Ladder *ladder, int side, uint32_t index) {
    if (index-- == 0) return 0;
    uint32_t at = index >> 6;
    uint64_t bits = ladder->words[side][at] & ~0ull >> (63 - (index & 63));
    if (bits) return at * 64 + 63 - (uint32_t)__builtin_clzll(bits);
    if (at-- == 0) return 0;
    int part = (int)(at >> 6);
    uint64_t marks = ladder->summary[side][part] & ~0ull >> (63 - (at & 63));
    while (!marks) {
        if (--part < 0) return 0;
        marks = ladder->summary[side][part];
    }
    at = (uint32_t)part * 64 + 63 - (uint32_t)__builtin_clzll(marks);
    return at * 64 + 63 - (uint32_t)__builtin_clzll(ladder->words[side][at]);
}

static inline uint32_t ladder_best(const Ladder *ladder, int side) {
    return side ? ladder_above(ladder, 1, 0) : ladder_below(ladder, 0, ladder->levels);
}

/* Best `count_max` levels of a side into `ticks` and `micro`; the rest of the arrays is zeroed. */
static inline void ladder_top(const Ladder *ladder, int side, uint32_t count_max, uint32_t *ticks,
                              int64_t *micro) {
    uint32_t index = ladder_best(ladder, side), count = 0;
    for (; index && count < count_max; count++) {
        ticks[count] = index * ladder->grid;
        micro[count] = ladder->sizes[side][index];
        index = side ? ladder_above(ladder, 1, index) : ladder_below(ladder, 0, index);
    }
    for (; count < count_max; count++) ticks[count] = 0, micro[count] = 0;
}

/* Copies every level of `source` into the empty `target`, whose grid divides the source's. */
static inline void ladder_move(const Ladder *source, Ladder *target) {
    uint32_t factor = source->grid / target->grid;
    for (int side = 0; side < 2; side++)
        for (uint32_t index = ladder_above(source, side, 0); index; index = ladder_above(source, side, index))
            ladder_set(target, side, index * factor, source->sizes[side][index]);
}

/* Versioned row of an observer: a header of two lines, then ROW_SLOTS slots of 256 bytes, used in turn. */
#define ROW_SLOTS 8
#define ROW_HEAD_BYTES 128
#define ROW_WORDS 32
#define ROW_BYTES (ROW_HEAD_BYTES + ROW_SLOTS * 256)

typedef struct {
    uint64_t latest;               /* count of published versions; slot latest % ROW_SLOTS is the newest */
    uint64_t versions[ROW_SLOTS];  /* 2 n = holds version n whole, odd = being written */
    uint64_t ladder_version;       /* odd = the ladder is being changed */
    uint64_t block_place;          /* byte offset of the block in the arena, plus one; 0 = no block */
    uint32_t grid, capacity;
    uint64_t reserved[4];
} RowHead;

_Static_assert(sizeof(RowHead) == ROW_HEAD_BYTES, "a row's head is two cache lines");

static inline void row_publish(uint8_t *row, const void *slot) {
    RowHead *head = (RowHead *)row;
    uint64_t version = head->latest + 1, place = version % ROW_SLOTS;
    uint64_t *target = (uint64_t *)(row + ROW_HEAD_BYTES + 256 * place), words[ROW_WORDS];
    memcpy(words, slot, sizeof words);
    pm_store_relaxed(&head->versions[place], 2 * version - 1);
    pm_fence_release(); /* a reader that sees a word below also sees the odd version */
    for (int i = 0; i < ROW_WORDS; i++) pm_store_relaxed(&target[i], words[i]);
    pm_store_release(&head->versions[place], 2 * version); /* SYNC row-whole -> row_read */
    pm_store_release(&head->latest, version);
}

/* Copies the newest slot; returns its version, 0 = nothing published, -1 = overtaken on every try. */
static inline int64_t row_read(const uint8_t *row, int tries_max, void *slot) {
    const RowHead *head = (const RowHead *)row;
    for (int tries = 0; tries < tries_max; tries++) {
        uint64_t version = pm_load_relaxed(&head->latest), place = version % ROW_SLOTS, words[ROW_WORDS];
        const uint64_t *source = (const uint64_t *)(row + ROW_HEAD_BYTES + 256 * place);
        if (version == 0) return 0;
        uint64_t before = pm_load_acquire(&head->versions[place]); /* SYNC row-whole <- row_publish */
        if (before != 2 * version) continue;
        for (int i = 0; i < ROW_WORDS; i++) words[i] = pm_load_relaxed(&source[i]);
        pm_fence_acquire(); /* the words were read before the version below */
        if (pm_load_relaxed(&head->versions[place]) == 2 * version) {
            memcpy(slot, words, sizeof words);
            return (int64_t)version;
        }
    }
    return -1;
}

static inline void row_ladder_begin(uint8_t *row) {
    RowHead *head = (RowHead *)row;
    pm_store_relaxed(&head->ladder_version, head->ladder_version + 1);
    pm_fence_release(); /* a reader that sees a changed level also sees the odd version */
}

static inline void row_ladder_end(uint8_t *row) {
    RowHead *head = (RowHead *)row;
    uint64_t version = head->ladder_version + 1;
    pm_store_release(&head->ladder_version, version); /* SYNC row-ladder -> row_ladder_copy */
}

/* Tells observers where the ladder stands; call between row_ladder_begin and row_ladder_end. */
static inline void row_ladder_place(uint8_t *row, uint64_t block_place, uint32_t grid, uint32_t capacity) {
    RowHead *head = (RowHead *)row;
    pm_store_relaxed(&head->block_place, block_place);
    pm_store32_relaxed(&head->grid, grid);
    pm_store32_relaxed(&head->capacity, capacity);
}

/* Copies both sides' sizes (2 * *capacity words into `sizes`, room for 2 * 16,384) under the version.
 * Returns 1 = copied, 0 = the row has no block, -1 = changed on every try. */
static inline int row_ladder_copy(const uint8_t *row, const uint8_t *arena, uint64_t arena_bytes,
                                  int tries_max, uint64_t *sizes, uint32_t *grid, uint32_t *capacity) {
    const RowHead *head = (const RowHead *)row;
    for (int tries = 0; tries < tries_max; tries++) {
        uint64_t version = pm_load_acquire(&head->ladder_version); /* SYNC row-ladder <- row_ladder_end */
        uint64_t place = pm_load_relaxed(&head->block_place);
        uint32_t levels = pm_load32_relaxed(&head->capacity);
        *grid = pm_load32_relaxed(&head->grid);
        *capacity = levels;
        /* a torn pair of words may point outside: such a place is never read, the version then refuses it */
        int is_inside = place && levels <= 16384 && place - 1 + ladder_block_bytes(levels) <= arena_bytes;
        if (is_inside) {
            const uint64_t *source = (const uint64_t *)(arena + place - 1 + LADDER_HEAD_BYTES);
            for (uint32_t i = 0; i < 2 * levels; i++) sizes[i] = pm_load_relaxed(&source[i]);
        }
        pm_fence_acquire(); /* the levels were read before the version below */
        if (version % 2 == 0 && pm_load_relaxed(&head->ladder_version) == version) return is_inside;
    }
    return -1;
}

#endif
