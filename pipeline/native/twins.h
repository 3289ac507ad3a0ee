/* One number for what a market frame says, the same for its copies on two sockets and for both decoders.
 *
 * Order within a frame does not count (the venue's varies), nor does when or where it came. */
#ifndef PIPELINE_TWINS_H
#define PIPELINE_TWINS_H

#include "framescan.h"

static inline uint64_t tw_mix(uint64_t mix, uint64_t value) {
    mix = (mix ^ value) * 0xD6E8FEB86659FD93ull;
    return mix ^ (mix >> 32);
}

/* A level or change; these are added up, so that their order does not count. */
static inline uint64_t tw_level(uint32_t price_ticks, int64_t size_micro, uint32_t side, uint32_t outcome) {
    uint64_t mix = tw_mix(0x9E3779B97F4A7C15ull, (uint64_t)size_micro);
    return tw_mix(mix, ((uint64_t)price_ticks << 8) | (side << 1) | outcome);
}

static inline uint64_t tw_head(uint32_t kind, uint32_t row, uint32_t outcome, int64_t venue_ns) {
    uint64_t mix = tw_mix(0xC2B2AE3D27D4EB4Full, (uint64_t)venue_ns);
    return tw_mix(mix, ((uint64_t)row << 16) | (kind << 8) | outcome);
}

static inline uint64_t tw_hash(const uint8_t *digest) {
    uint64_t prefix;
    memcpy(&prefix, digest, 8);
    return prefix;
}

/* 0 is kept for "no entry". */
static inline uint64_t tw_key(uint64_t mix, uint64_t levels) { return tw_mix(mix, levels) | 1; }

static uint64_t tw_book(uint64_t mix, const uint8_t *hash, uint32_t step, uint32_t trade_state,
                        uint32_t trade) {
    mix = tw_mix(mix, tw_hash(hash));
    return tw_mix(mix, ((uint64_t)trade << 32) | ((uint64_t)step << 8) | trade_state);
}

static uint64_t tw_delta(uint64_t mix, const uint8_t *yes, const uint8_t *no) {
    return tw_mix(tw_mix(mix, tw_hash(yes)), tw_hash(no));
}

static uint64_t tw_single(uint64_t mix, uint32_t one, uint32_t other, int64_t size_micro) {
    return tw_mix(tw_mix(mix, ((uint64_t)one << 32) | other), (uint64_t)size_micro);
}

/* The key of an event of the scanner. */
static uint64_t tw_event(const FsEvent *event, const FsLevel *levels) {
    /* the tokens of a delta stand at its changes */
    uint32_t at, side, outcome = event->kind == FS_DELTA ? 0 : event->outcome;
    uint64_t mix = tw_head(event->kind, event->row, outcome, event->venue_ns), sum = 0;
    switch (event->kind) {
    case FS_BOOK:
        mix = tw_book(mix, event->hash[0], event->new_step, event->last_trade_state, event->price_ticks);
        for (side = 0; side < 2; side++)
            for (at = event->first[side]; at < event->first[side] + event->count[side]; at++)
                sum += tw_level(levels[at].price_ticks, levels[at].size_micro, side, 0);
        return tw_key(mix, sum);
    case FS_DELTA:
        mix = tw_delta(mix, event->hash[0], event->hash[1]);
        for (at = event->first[0]; at < event->first[0] + event->count[0]; at++)
            sum += tw_level(levels[at].price_ticks, levels[at].size_micro, levels[at].side,
                            levels[at].outcome);
        return tw_key(mix, sum);
    case FS_BBO:
        return tw_key(tw_single(mix, event->best[0][0], event->best[0][1], 0), 0);
    case FS_TRADE:
        return tw_key(tw_single(mix, event->price_ticks, event->side, event->size_micro), 0);
    case FS_STEP:
        return tw_key(tw_single(mix, event->old_step, event->new_step, 0), 0);
    default: /* FS_RESOLVED */
        return tw_key(mix, 0);
    }
}

#endif
