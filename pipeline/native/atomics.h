/* C11 atomics for words in shared memory, by plain pointer.
 *
 * Every shared word is an aligned 64-bit (or, for a futex, 32-bit) integer with one named writer. Nothing
 * here assumes x86: on weakly ordered CPUs the orders below become the instructions that they need.
 */
#ifndef PIPELINE_ATOMICS_H
#define PIPELINE_ATOMICS_H

#include <stdatomic.h>
#include <stdint.h>

_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4, "atomics must be plain words");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free to work between processes");

static inline uint64_t pm_load_acquire(const uint64_t *word) {
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}

static inline uint64_t pm_load_relaxed(const uint64_t *word) {
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_relaxed);
}

static inline void pm_store_release(uint64_t *word, uint64_t value) {
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}

static inline void pm_store_relaxed(uint64_t *word, uint64_t value) {
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_relaxed);
}

static inline uint32_t pm_load32_relaxed(const uint32_t *word) {
    return atomic_load_explicit((const _Atomic uint32_t *)word, memory_order_relaxed);
}

static inline void pm_store32_relaxed(uint32_t *word, uint32_t value) {
    atomic_store_explicit((_Atomic uint32_t *)word, value, memory_order_relaxed);
}

static inline uint32_t pm_exchange32(uint32_t *word, uint32_t value) {
    return atomic_exchange_explicit((_Atomic uint32_t *)word, value, memory_order_acq_rel);
}

/* Stores before it are seen before stores after it, by a reader that has the acquire fence. */
static inline void pm_fence_release(void) { atomic_thread_fence(memory_order_release); }

/* Loads before it happen before loads after it. */
static inline void pm_fence_acquire(void) { atomic_thread_fence(memory_order_acquire); }

/* The only fence that orders a store before a later load; a sleep handshake needs it at both ends. */
static inline void pm_fence_full(void) { atomic_thread_fence(memory_order_seq_cst); }

#endif
