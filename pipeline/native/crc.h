/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF).
 *
 * Source: RFC 3720 appendix B.4 (test vectors), read 2026-11-21; tests/unit/test_log.py checks them.
 * The CPU's own instruction is used where it has one, slicing-by-8 tables elsewhere; both are tested.
 */
#ifndef PIPELINE_CRC_H
#define PIPELINE_CRC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#endif

static uint32_t pm_crc_table[8][256];
static int pm_crc_has_instruction;

static void pm_crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
        pm_crc_table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int slice = 1; slice < 8; slice++) {
            uint32_t before = pm_crc_table[slice - 1][i];
            pm_crc_table[slice][i] = before >> 8 ^ pm_crc_table[0][before & 255];
        }
#if defined(__x86_64__)
    __builtin_cpu_init();
    pm_crc_has_instruction = __builtin_cpu_supports("sse4.2") != 0;
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
    pm_crc_has_instruction = 1;
#endif
}

static uint32_t pm_crc_tables(uint32_t crc, const uint8_t *data, size_t bytes) {
    for (; bytes >= 8; bytes -= 8, data += 8) {
        /* byte by byte: the same result on either byte order */
        crc ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        crc = pm_crc_table[7][crc & 255] ^ pm_crc_table[6][crc >> 8 & 255] ^
              pm_crc_table[5][crc >> 16 & 255] ^ pm_crc_table[4][crc >> 24] ^
              pm_crc_table[3][data[4]] ^ pm_crc_table[2][data[5]] ^
              pm_crc_table[1][data[6]] ^ pm_crc_table[0][data[7]];
    }
    for (; bytes; bytes--, data++) crc = crc >> 8 ^ pm_crc_table[0][(crc ^ *data) & 255];
    return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2")))
static uint32_t pm_crc_instruction(uint32_t crc, const uint8_t *data, size_t bytes) {
    uint64_t wide = crc, word;
    for (; bytes >= 8; bytes -= 8, data += 8) {
        memcpy(&word, data, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; bytes; bytes--, data++) crc = _mm_crc32_u8(crc, *data);
    return crc;
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
static uint32_t pm_crc_instruction(uint32_t crc, const uint8_t *data, size_t bytes) {
    uint64_t word;
    for (; bytes >= 8; bytes -= 8, data += 8) {
        memcpy(&word, data, 8);
        crc = __crc32cd(crc, word);
    }
    for (; bytes; bytes--, data++) crc = __crc32cb(crc, *data);
    return crc;
}
#else
#define pm_crc_instruction pm_crc_tables
#endif

static uint32_t pm_crc_update(uint32_t crc, const uint8_t *data, size_t bytes) {
    return pm_crc_has_instruction ? pm_crc_instruction(crc, data, bytes) : pm_crc_tables(crc, data, bytes);
}

#endif
