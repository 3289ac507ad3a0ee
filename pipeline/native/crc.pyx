# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""CRC-32C, the check of every log record and of every header in shared memory; no channel of its own."""

from libc.stdint cimport uint8_t, uint32_t

from pipeline.native.records cimport HEADER_BYTES, SLOT_BYTES

cdef extern from "crc.h" nogil:
    void pm_crc_init() noexcept
    uint32_t pm_crc_update(uint32_t crc, const uint8_t* data, size_t bytes) noexcept
    uint32_t pm_crc_tables(uint32_t crc, const uint8_t* data, size_t bytes) noexcept
    int pm_crc_has_instruction

pm_crc_init()

cdef enum:
    CHECK_BYTES = 4  # `check` is the last field of the record header
    BEFORE_CHECK = 44

assert BEFORE_CHECK + CHECK_BYTES == HEADER_BYTES

cdef uint8_t[CHECK_BYTES] _zero


cdef uint32_t crc32c(const void* data, size_t bytes) noexcept nogil:
    return ~pm_crc_update(0xFFFFFFFF, <const uint8_t*>data, bytes)


cdef uint32_t slot_check(const void* slot) noexcept nogil:
    cdef const uint8_t* data = <const uint8_t*>slot
    cdef uint32_t crc = pm_crc_update(0xFFFFFFFF, data, BEFORE_CHECK)
    crc = pm_crc_update(crc, _zero, CHECK_BYTES)
    return ~pm_crc_update(crc, data + HEADER_BYTES, SLOT_BYTES - HEADER_BYTES)


def checksum(const uint8_t[::1] data not None):
    """Return the CRC-32C of `data`."""
    return crc32c(&data[0], data.shape[0]) if data.shape[0] else 0


def checksum_by_tables(const uint8_t[::1] data not None):
    """Return the same by the portable tables, whatever the CPU offers; for tests."""
    return <uint32_t>~pm_crc_tables(0xFFFFFFFF, &data[0], data.shape[0]) if data.shape[0] else 0


def has_instruction():
    """Tell whether this CPU's own CRC instruction is in use."""
    return bool(pm_crc_has_instruction)
