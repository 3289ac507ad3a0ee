/* Looks over JSON text before a parser builds objects from it: depth, number of values, repeated keys.
 *
 * It judges nothing else: text that is not JSON passes and is left to the parser to refuse. Needed because
 * orjson keeps the last of repeated keys without a word and has no limit on the number of values. */
#ifndef PIPELINE_JSONGUARD_H
#define PIPELINE_JSONGUARD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { JG_FINE = 0, JG_DEEP, JG_MANY, JG_REPEATED, JG_ESCAPED_KEY, JG_KEYS };
enum { JG_DEPTH_MAX = 16, JG_KEYS_MAX = 512 }; /* keys: of all open objects together */

typedef struct {
    const char *key[JG_KEYS_MAX];
    uint32_t bytes[JG_KEYS_MAX];
    uint32_t first[JG_DEPTH_MAX + 1]; /* first key of the object open at a depth */
    uint8_t is_object[JG_DEPTH_MAX + 1];
    uint32_t key_count, depth;
} JgState;

static inline int jg_key(JgState *state, const char *key, size_t bytes) {
    uint32_t index;
    for (index = state->first[state->depth]; index < state->key_count; index++)
        if (state->bytes[index] == bytes && !memcmp(state->key[index], key, bytes)) return JG_REPEATED;
    if (state->key_count == JG_KEYS_MAX) return JG_KEYS;
    state->key[state->key_count] = key;
    state->bytes[state->key_count++] = (uint32_t)bytes;
    return JG_FINE;
}

/* Returns JG_FINE or what is wrong with the text; values_max bounds commas and containers together. */
static int jg_survey(const char *data, size_t bytes, uint64_t values_max) {
    const char *at = data, *end = data + bytes;
    uint64_t values = 0;
    JgState state;
    state.key_count = state.depth = 0;
    state.first[0] = state.is_object[0] = 0;
    while (at < end) {
        char c = *at++;
        if (c == '{' || c == '[') {
            if (state.depth == JG_DEPTH_MAX) return JG_DEEP;
            if (++values > values_max) return JG_MANY;
            state.depth++;
            state.first[state.depth] = state.key_count;
            state.is_object[state.depth] = c == '{';
        } else if (c == '}' || c == ']') {
            if (state.depth) state.key_count = state.first[state.depth--];
        } else if (c == ',') {
            if (++values > values_max) return JG_MANY;
        } else if (c == '"') {
            const char *start = at, *next;
            int is_escaped = 0, wrong;
            while (at < end && *at != '"') {
                if (*at == '\\') {
                    is_escaped = 1;
                    at++;
                }
                at++;
            }
            if (at >= end) return JG_FINE; /* no closing quote: the parser refuses it */
            next = at + 1;
            while (next < end && (*next == ' ' || *next == '\n' || *next == '\r' || *next == '\t')) next++;
            if (state.is_object[state.depth] && next < end && *next == ':') {
                if (is_escaped) return JG_ESCAPED_KEY; /* could hide a repeated key; the venue sends none */
                wrong = jg_key(&state, start, (size_t)(at - start));
                if (wrong) return wrong;
            }
            at++;
        }
    }
    return JG_FINE;
}

#endif
