/* Second half of framescan.h (file length): the objects of a frame, from a level up to the whole. */
#ifndef PIPELINE_FRAMESCAN_BODY_H
#define PIPELINE_FRAMESCAN_BODY_H

/* `{"price":"…","size":"…"}` as the venue spells it; NULL sends the caller the long way. */
static inline const char *fs_level_usual(const char *at, const char *end, int64_t *price, int64_t *size) {
    if (end - at < 32 || !FS_STARTS(at, "{\"price\":\"")) return NULL;
    at = fs_price(at + 9, end, price);
    if (!at || end - at < 16 || *at != ',') return NULL;
    at += at[1] == ' ' ? 2 : 1;
    if (!FS_STARTS(at, "\"size\":")) return NULL;
    at = fs_quoted(at + 7, end, 6, size);
    return at && at < end && *at == '}' ? at + 1 : NULL;
}

/* One level: price and size in either order, nothing else. */
static inline const char *fs_level(const char *at, const char *end, FsLevel *level) {
    int64_t price = 0, size = 0;
    unsigned seen = 3;
    int more;
    FsText key;
    const char *usual = fs_level_usual(at, end, &price, &size);
    if (usual) {
        at = usual;
        goto check;
    }
    if (at >= end || *at != '{') return NULL;
    seen = 0;
    at = fs_blank(at + 1, end);
    do {
        at = fs_key(at, end, &key);
        if (!at) return NULL;
        if (FS_IS(key, "price") && !(seen & 1)) {
            at = fs_quoted(at, end, 4, &price);
            seen |= 1;
        } else if (FS_IS(key, "size") && !(seen & 2)) {
            at = fs_quoted(at, end, 6, &size);
            seen |= 2;
        } else {
            return NULL;
        }
        if (!at) return NULL;
        at = fs_next(at, end, '}', &more);
        if (!at) return NULL;
    } while (more);
check:
    if (seen != 3 || price <= 0 || price >= FS_PRICE_ONE || size > FS_SIZE_MICRO_MAX) return NULL;
    level->price_ticks = (uint32_t)price;
    level->size_micro = size;
    level->side = level->outcome = 0;
    return at;
}

static const char *fs_levels(FsScan *scan, const char *at, uint32_t *first, uint32_t *count) {
    const char *end = scan->end;
    int more;
    *first = scan->level_count;
    *count = 0;
    if (at >= end || *at != '[') return NULL;
    at = fs_blank(at + 1, end);
    if (at < end && *at == ']') return at + 1;
    do {
        if (scan->level_count == FS_LEVELS_MAX) return NULL;
        at = fs_level(at, end, &scan->levels[scan->level_count]);
        if (!at) return NULL;
        scan->level_count++;
        at = fs_next(at, end, ']', &more);
        if (!at) return NULL;
    } while (more);
    *count = scan->level_count - *first;
    return *count < FS_PRICE_ONE ? at : NULL; /* there are only 9,999 prices */
}

enum { C_ASSET, C_PRICE, C_SIZE, C_SIDE, C_HASH, C_BID, C_ASK, C_UNKNOWN, C_NEEDED = 31 };

static inline unsigned fs_change_field(FsText key) {
    switch (key.bytes) {
    case 4:
        return FS_IS(key, "size") ? C_SIZE : FS_IS(key, "side") ? C_SIDE
             : FS_IS(key, "hash") ? C_HASH : C_UNKNOWN;
    case 5: return FS_IS(key, "price") ? C_PRICE : C_UNKNOWN;
    case 8:
        return FS_IS(key, "asset_id") ? C_ASSET : FS_IS(key, "best_bid") ? C_BID
             : FS_IS(key, "best_ask") ? C_ASK : C_UNKNOWN;
    default: return C_UNKNOWN;
    }
}

/* Recognises `"key":"` as the venue spells it; *field = C_UNKNOWN and `at` itself when it is not that. */
static inline const char *fs_change_key(const char *at, const char *end, unsigned *field) {
    uint64_t word;
    *field = C_UNKNOWN;
    if (end - at < 16) return at;
    word = fs_word(at);
    if (word == fs_word("\"price\":")) return *field = C_PRICE, fs_blank(at + 8, end);
    if (word == fs_word("\"size\":\"")) return *field = C_SIZE, at + 7;
    if (word == fs_word("\"side\":\"")) return *field = C_SIDE, at + 7;
    if (word == fs_word("\"hash\":\"")) return *field = C_HASH, at + 7;
    if (word == fs_word("\"asset_i") && FS_STARTS(at + 8, "d\":")) *field = C_ASSET;
    else if (word == fs_word("\"best_bi") && FS_STARTS(at + 8, "d\":")) *field = C_BID;
    else if (word == fs_word("\"best_as") && FS_STARTS(at + 8, "k\":")) *field = C_ASK;
    else return at;
    return fs_blank(at + 11, end);
}

typedef struct {
    FsText asset;
    int64_t price;
    FsLevel level;
    uint32_t best[2];
    uint8_t hash[20];
} FsChange;

/* Reads the value of one field; NULL when it is not what the field must be. */
static inline const char *fs_change_value(FsChange *change, unsigned field, const char *at, const char *end) {
    FsText text;
    switch (field) {
    case C_ASSET: return fs_text(at, end, &change->asset);
    case C_PRICE: return fs_price(at, end, &change->price);
    case C_SIZE: return fs_quoted(at, end, 6, &change->level.size_micro);
    case C_SIDE:
        change->level.side = end - at >= 6 && FS_STARTS(at, "\"SELL\"");
        if (change->level.side) return at + 6;
        return end - at >= 5 && FS_STARTS(at, "\"BUY\"") ? at + 5 : NULL;
    case C_HASH:
        if (end - at < 42 || *at != '"' || at[41] != '"' || !fs_hash40(at + 1, change->hash)) return NULL;
        return at + 42;
    default:
        at = fs_text(at, end, &text);
        return at && fs_best(text, &change->best[field - C_BID]) ? at : NULL;
    }
}

/* One element of `price_changes`; returns the byte behind it or NULL. */
static inline const char *fs_change(FsChange *change, const char *at, const char *end) {
    unsigned seen = 0, field;
    FsExtras extras;
    FsText key;
    int more;
    extras.count = 0;
    change->best[0] = change->best[1] = FS_NOT_ANNOUNCED;
    if (at >= end || *at != '{') return NULL;
    at = fs_blank(at + 1, end);
    do {
        at = fs_change_key(at, end, &field);
        if (field == C_UNKNOWN) {
            at = fs_key(at, end, &key);
            if (!at) return NULL;
            field = fs_change_field(key);
        }
        if (field == C_UNKNOWN) {
            at = fs_extra(&extras, key) ? fs_skip(at, end) : NULL;
        } else {
            at = (seen & FS_BIT(field)) ? NULL : fs_change_value(change, field, at, end);
            seen |= FS_BIT(field);
        }
        if (!at) return NULL;
        at = fs_next(at, end, '}', &more);
        if (!at) return NULL;
    } while (more);
    return (seen & C_NEEDED) == C_NEEDED ? at : NULL;
}

/* Folds one element into the event; 0 when it does not belong into the same record. */
static inline int fs_change_store(FsScan *scan, FsEvent *event, FsChange *change, const TtEntry **known) {
    const TtEntry *entry;
    uint8_t outcome;
    int found = fs_token(scan, change->asset, &entry);
    if (found < 0 || (event->count[0] && event->is_known != found)) return 0;
    if (change->price <= 0 || change->price >= FS_PRICE_ONE) return 0;
    if (change->level.size_micro > FS_SIZE_MICRO_MAX) return 0;
    event->is_known = (uint8_t)found;
    outcome = found ? entry->outcome : 0;
    if (found) {
        if (event->count[0] && event->row != entry->row) return 0;
        event->row = entry->row;
        if (event->outcome & (1u << outcome)) { /* the token was here before: must say the same */
            if (memcmp(event->hash[outcome], change->hash, 20) ||
                memcmp(event->best[outcome], change->best, sizeof change->best))
                return 0;
        }
        event->outcome |= (uint8_t)(1u << outcome);
        memcpy(event->hash[outcome], change->hash, 20);
        memcpy(event->best[outcome], change->best, sizeof change->best);
        *known = entry;
    }
    change->level.price_ticks = (uint32_t)change->price;
    change->level.outcome = outcome;
    scan->levels[scan->level_count++] = change->level;
    event->count[0]++;
    return 1;
}

/* The array `price_changes`; all elements of one instrument, each token with one hash and best prices. */
static const char *fs_changes(FsScan *scan, FsEvent *event, const char *at, const TtEntry **known) {
    const char *end = scan->end;
    FsChange change;
    int more;
    event->first[0] = scan->level_count;
    if (at >= end || *at != '[') return NULL;
    at = fs_blank(at + 1, end);
    do {
        if (scan->level_count == FS_LEVELS_MAX || event->count[0] == FS_CHANGES_MAX) return NULL;
        at = fs_change(&change, at, end);
        if (!at || !fs_change_store(scan, event, &change, known)) return NULL;
        at = fs_next(at, end, ']', &more);
        if (!at) return NULL;
    } while (more);
    return at;
}

static inline unsigned fs_field(FsText key) {
    switch (key.bytes) {
    case 4:
        return FS_IS(key, "bids") ? F_BIDS : FS_IS(key, "asks") ? F_ASKS : FS_IS(key, "hash") ? F_HASH
             : FS_IS(key, "size") ? F_SIZE : FS_IS(key, "side") ? F_SIDE : F_UNKNOWN;
    case 5: return FS_IS(key, "price") ? F_PRICE : F_UNKNOWN;
    case 6: return FS_IS(key, "market") ? F_MARKET : F_UNKNOWN;
    case 8:
        return FS_IS(key, "asset_id") ? F_ASSET : FS_IS(key, "best_bid") ? F_BID
             : FS_IS(key, "best_ask") ? F_ASK : F_UNKNOWN;
    case 9: return FS_IS(key, "timestamp") ? F_TIME : FS_IS(key, "tick_size") ? F_TICK : F_UNKNOWN;
    case 10: return FS_IS(key, "event_type") ? F_TYPE : FS_IS(key, "assets_ids") ? F_PAIR : F_UNKNOWN;
    case 13:
        return FS_IS(key, "price_changes") ? F_CHANGES : FS_IS(key, "old_tick_size") ? F_OLD_TICK
             : FS_IS(key, "new_tick_size") ? F_NEW_TICK : F_UNKNOWN;
    case 16:
        return FS_IS(key, "last_trade_price") ? F_LAST
             : FS_IS(key, "winning_asset_id") ? F_WINNER : F_UNKNOWN;
    default: return F_UNKNOWN;
    }
}

/* Which fields must be there and which may be, beside any string that the kind does not use. */
static inline unsigned fs_kind(FsText type, unsigned *needed, unsigned *arrays) {
    const unsigned common = FS_BIT(F_TYPE) | FS_BIT(F_MARKET) | FS_BIT(F_TIME);
    *arrays = 0;
    if (FS_IS(type, "price_change")) {
        *arrays = FS_BIT(F_CHANGES);
        *needed = common | *arrays;
        return FS_DELTA;
    }
    if (FS_IS(type, "market_resolved")) {
        *arrays = FS_BIT(F_PAIR);
        *needed = common | *arrays | FS_BIT(F_WINNER);
        return FS_RESOLVED;
    }
    *needed = common | FS_BIT(F_ASSET);
    if (FS_IS(type, "book")) {
        *arrays = FS_BIT(F_BIDS) | FS_BIT(F_ASKS);
        *needed |= *arrays;
        return FS_BOOK;
    }
    if (FS_IS(type, "best_bid_ask")) {
        *needed |= FS_BIT(F_BID) | FS_BIT(F_ASK);
        return FS_BBO;
    }
    if (FS_IS(type, "last_trade_price")) {
        *needed |= FS_BIT(F_PRICE) | FS_BIT(F_SIZE) | FS_BIT(F_SIDE);
        return FS_TRADE;
    }
    if (FS_IS(type, "tick_size_change")) {
        *needed |= FS_BIT(F_OLD_TICK) | FS_BIT(F_NEW_TICK);
        return FS_STEP;
    }
    return 0;
}

/* Values of the one-token kinds; 0 when one is not what it must be. */
static int fs_values(FsEvent *event, const FsText *texts, unsigned seen) {
    int64_t price = 0;
    switch (event->kind) {
    case FS_BOOK:
        if ((seen & FS_BIT(F_HASH)) && !fs_hash(texts[F_HASH], event->hash[0])) return 0;
        if (!(seen & FS_BIT(F_TICK)) || texts[F_TICK].bytes == 0) event->new_step = 0;
        else if (!fs_step(texts[F_TICK], &event->new_step)) return 0;
        if (!(seen & FS_BIT(F_LAST))) return 1;
        event->last_trade_state = texts[F_LAST].bytes ? 2 : 1;
        if (event->last_trade_state == 1) return 1;
        if (!fs_number(texts[F_LAST], 4, 0, FS_PRICE_ONE, &price)) return 0;
        event->price_ticks = (uint32_t)price;
        return 1;
    case FS_BBO:
        return fs_best(texts[F_BID], &event->best[0][0]) && fs_best(texts[F_ASK], &event->best[0][1]);
    case FS_TRADE:
        if (!fs_number(texts[F_PRICE], 4, 1, FS_PRICE_ONE - 1, &price)) return 0;
        event->price_ticks = (uint32_t)price;
        return fs_side(texts[F_SIDE], &event->side) &&
               fs_number(texts[F_SIZE], 6, 0, FS_SIZE_MICRO_MAX, &event->size_micro);
    case FS_RESOLVED:
        return fs_same(texts[F_WINNER], texts[F_TEXTS]) || fs_same(texts[F_WINNER], texts[F_TEXTS + 1]);
    default: /* FS_STEP */
        return fs_step(texts[F_OLD_TICK], &event->old_step) && fs_step(texts[F_NEW_TICK], &event->new_step);
    }
}

/* Turns the fields of one object into its event; 0 = fallback. */
static int fs_finish(FsScan *scan, FsEvent *event, const FsText *texts, unsigned seen, const TtEntry *entry) {
    const unsigned all_arrays = FS_BIT(F_BIDS) | FS_BIT(F_ASKS) | FS_BIT(F_CHANGES) | FS_BIT(F_PAIR);
    unsigned needed, arrays;
    if (!(seen & FS_BIT(F_TYPE))) return 0;
    event->kind = (uint8_t)fs_kind(texts[F_TYPE], &needed, &arrays);
    if (!event->kind || (seen & needed) != needed || (seen & all_arrays) != arrays) return 0;
    if ((seen & FS_BIT(F_NESTED)) && event->kind != FS_RESOLVED) return 0;
    if (!fs_time(texts[F_TIME], &event->venue_ns) || texts[F_MARKET].bytes == 0) return 0;
    if (event->kind != FS_DELTA) {
        int found = fs_token(scan, texts[event->kind == FS_RESOLVED ? F_WINNER : F_ASSET], &entry);
        if (found < 0 || !fs_values(event, texts, seen)) return 0;
        event->is_known = (uint8_t)found;
        if (found) {
            event->row = entry->row;
            event->outcome = entry->outcome;
        }
    }
    if (event->is_known && !fs_market_fits(entry, texts[F_MARKET])) return 0;
    scan->known_count += event->is_known;
    scan->event_count++;
    return 1;
}

/* One object; returns the byte behind it or NULL = fallback. */
static const char *fs_object(FsScan *scan, const char *at) {
    const char *end = scan->end;
    const TtEntry *known = NULL;
    FsText texts[F_TEXTS + 2], key; /* behind the fields: the pair of `assets_ids` */
    FsExtras extras;
    FsEvent *event = &scan->events[scan->event_count];
    unsigned seen = 0, field;
    int more;
    if (at >= end || *at != '{' || scan->event_count == FS_EVENTS_MAX) return NULL;
    memset(event, 0, sizeof(*event));
    memset(event->best, 0xFF, sizeof(event->best));
    extras.count = 0;
    at = fs_blank(at + 1, end);
    do {
        at = fs_key(at, end, &key);
        if (!at) return NULL;
        field = fs_field(key);
        if (field == F_UNKNOWN) {
            if (!fs_extra(&extras, key)) return NULL;
            if (at < end && (*at == '{' || *at == '[')) seen |= FS_BIT(F_NESTED);
            at = fs_nested(scan, at, FS_NESTED_DEPTH_MAX);
        } else {
            if (seen & FS_BIT(field)) return NULL;
            seen |= FS_BIT(field);
            if (field < F_TEXTS) at = fs_text(at, end, &texts[field]);
            else if (field == F_BIDS) at = fs_levels(scan, at, &event->first[0], &event->count[0]);
            else if (field == F_ASKS) at = fs_levels(scan, at, &event->first[1], &event->count[1]);
            else if (field == F_PAIR) at = fs_pair(at, end, &texts[F_TEXTS]);
            else at = fs_changes(scan, event, at, &known);
        }
        if (!at) return NULL;
        at = fs_next(at, end, '}', &more);
        if (!at) return NULL;
    } while (more);
    return fs_finish(scan, event, texts, seen, known) ? at : NULL;
}

/* The whole frame into `events` and `levels`: FS_OK, FS_FALLBACK, FS_UNKNOWN or FS_IGNORED. */
static int fs_frame(FsScan *scan, const char *data, size_t bytes) {
    const char *at = data, *end = data + bytes;
    int more = 0;
    scan->level_count = scan->event_count = scan->known_count = scan->nested_count = 0;
    scan->end = end;
    if (bytes > FS_FRAME_BYTES_MAX) return FS_FALLBACK;
    at = fs_blank(at, end);
    while (end > at && (end[-1] == ' ' || end[-1] == '\n' || end[-1] == '\r' || end[-1] == '\t')) end--;
    if (at == end || (end - at == 4 && !memcmp(at, "PONG", 4))) return FS_IGNORED;
    scan->end = end;
    if (*at == '{') {
        at = fs_object(scan, at);
    } else if (*at == '[') {
        at = fs_blank(at + 1, end);
        if (at + 1 == end && *at == ']') return FS_IGNORED;
        do {
            at = fs_object(scan, at);
            if (at) at = fs_next(at, end, ']', &more);
        } while (at && more);
    } else {
        return FS_FALLBACK;
    }
    if (at != end) return FS_FALLBACK;
    if (scan->known_count == scan->event_count) return FS_OK;
    return scan->known_count ? FS_FALLBACK : FS_UNKNOWN;
}

#endif
