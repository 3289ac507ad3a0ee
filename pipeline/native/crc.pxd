# CRC-32C, the check of log records and of headers.
from libc.stdint cimport uint32_t

cdef uint32_t crc32c(const void* data, size_t bytes) noexcept nogil
cdef uint32_t slot_check(const void* slot) noexcept nogil  # of 256 bytes, the check field counted as zero
