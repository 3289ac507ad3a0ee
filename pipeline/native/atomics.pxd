# Shared words by plain pointer; see atomics.h for the orders.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "atomics.h" nogil:
    uint64_t load_acquire "pm_load_acquire"(const uint64_t* word) noexcept
    uint64_t load_relaxed "pm_load_relaxed"(const uint64_t* word) noexcept
    void store_release "pm_store_release"(uint64_t* word, uint64_t value) noexcept
    void store_relaxed "pm_store_relaxed"(uint64_t* word, uint64_t value) noexcept
    uint32_t load32_relaxed "pm_load32_relaxed"(const uint32_t* word) noexcept
    void store32_relaxed "pm_store32_relaxed"(uint32_t* word, uint32_t value) noexcept
    uint32_t exchange32 "pm_exchange32"(uint32_t* word, uint32_t value) noexcept
    void fence_release "pm_fence_release"() noexcept
    void fence_acquire "pm_fence_acquire"() noexcept
    void fence_full "pm_fence_full"() noexcept
