/* Keccak-256 as Ethereum uses it: rate 136 bytes, padding 0x01 .. 0x80 (not the 0x06 of SHA3-256).
 *
 * Source: "The Keccak reference" 3.0, sections 1.2 (permutation) and 1.1 (sponge). Checked against
 * eth-hash in tests/unit/test_orderhash.py. Two rounds a loop turn, lanes in locals: no table of
 * rotations to index, so the compiler keeps what it can in registers on x86-64 and aarch64.
 * Lanes are little-endian; big-endian machines swap on load and store.
 */
#ifndef PM_KECCAK_H
#define PM_KECCAK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PM_KECCAK_RATE_BYTES 136

static const uint64_t pm_keccak_round[24] = {
    0x0000000000000001ULL, 0x0000000000008082ULL, 0x800000000000808aULL, 0x8000000080008000ULL,
    0x000000000000808bULL, 0x0000000080000001ULL, 0x8000000080008081ULL, 0x8000000000008009ULL,
    0x000000000000008aULL, 0x0000000000000088ULL, 0x0000000080008009ULL, 0x000000008000000aULL,
    0x000000008000808bULL, 0x800000000000008bULL, 0x8000000000008089ULL, 0x8000000000008003ULL,
    0x8000000000008002ULL, 0x8000000000000080ULL, 0x000000000000800aULL, 0x800000008000000aULL,
    0x8000000080008081ULL, 0x8000000000008080ULL, 0x0000000080000001ULL, 0x8000000080008008ULL,
};

static inline uint64_t pm_keccak_load(const uint8_t *bytes) {
    uint64_t lane;
    memcpy(&lane, bytes, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    lane = __builtin_bswap64(lane);
#endif
    return lane;
}

static inline void pm_keccak_store(uint8_t *bytes, uint64_t lane) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    lane = __builtin_bswap64(lane);
#endif
    memcpy(bytes, &lane, 8);
}

#define PM_ROL(x, n) (((x) << (n)) | ((x) >> (64 - (n))))

/* chi of one row: e0..e4 from b0..b4. */
#define PM_CHI(e, r)                    \
    e##r##0 = b0 ^ (~b1 & b2);          \
    e##r##1 = b1 ^ (~b2 & b3);          \
    e##r##2 = b2 ^ (~b3 & b4);          \
    e##r##3 = b3 ^ (~b4 & b0);          \
    e##r##4 = b4 ^ (~b0 & b1);

/* One round a -> e; names are row then column, so a23 is lane x = 3, y = 2. */
#define PM_ROUND(a, e, constant)                                                          \
    c0 = a##00 ^ a##10 ^ a##20 ^ a##30 ^ a##40;                                           \
    c1 = a##01 ^ a##11 ^ a##21 ^ a##31 ^ a##41;                                           \
    c2 = a##02 ^ a##12 ^ a##22 ^ a##32 ^ a##42;                                           \
    c3 = a##03 ^ a##13 ^ a##23 ^ a##33 ^ a##43;                                           \
    c4 = a##04 ^ a##14 ^ a##24 ^ a##34 ^ a##44;                                           \
    d0 = c4 ^ PM_ROL(c1, 1); d1 = c0 ^ PM_ROL(c2, 1); d2 = c1 ^ PM_ROL(c3, 1);            \
    d3 = c2 ^ PM_ROL(c4, 1); d4 = c3 ^ PM_ROL(c0, 1);                                     \
    b0 = a##00 ^ d0; b1 = PM_ROL(a##11 ^ d1, 44); b2 = PM_ROL(a##22 ^ d2, 43);            \
    b3 = PM_ROL(a##33 ^ d3, 21); b4 = PM_ROL(a##44 ^ d4, 14);                             \
    PM_CHI(e, 0) e##00 ^= (constant);                                                     \
    b0 = PM_ROL(a##03 ^ d3, 28); b1 = PM_ROL(a##14 ^ d4, 20); b2 = PM_ROL(a##20 ^ d0, 3); \
    b3 = PM_ROL(a##31 ^ d1, 45); b4 = PM_ROL(a##42 ^ d2, 61);                             \
    PM_CHI(e, 1)                                                                          \
    b0 = PM_ROL(a##01 ^ d1, 1); b1 = PM_ROL(a##12 ^ d2, 6); b2 = PM_ROL(a##23 ^ d3, 25);  \
    b3 = PM_ROL(a##34 ^ d4, 8); b4 = PM_ROL(a##40 ^ d0, 18);                              \
    PM_CHI(e, 2)                                                                          \
    b0 = PM_ROL(a##04 ^ d4, 27); b1 = PM_ROL(a##10 ^ d0, 36); b2 = PM_ROL(a##21 ^ d1, 10);\
    b3 = PM_ROL(a##32 ^ d2, 15); b4 = PM_ROL(a##43 ^ d3, 56);                             \
    PM_CHI(e, 3)                                                                          \
    b0 = PM_ROL(a##02 ^ d2, 62); b1 = PM_ROL(a##13 ^ d3, 55); b2 = PM_ROL(a##24 ^ d4, 39);\
    b3 = PM_ROL(a##30 ^ d0, 41); b4 = PM_ROL(a##41 ^ d1, 2);                              \
    PM_CHI(e, 4)

#define PM_ROW(s, r, w) w(s##r##0, r * 5) w(s##r##1, r * 5 + 1) w(s##r##2, r * 5 + 2) \
                        w(s##r##3, r * 5 + 3) w(s##r##4, r * 5 + 4)
#define PM_ALL(s, w) PM_ROW(s, 0, w) PM_ROW(s, 1, w) PM_ROW(s, 2, w) PM_ROW(s, 3, w) PM_ROW(s, 4, w)
#define PM_READ(lane, i) lane = state[i];
#define PM_WRITE(lane, i) state[i] = lane;
#define PM_DECLARE(lane, i) uint64_t lane;

static void pm_keccak_permute(uint64_t state[25]) {
    PM_ALL(a, PM_DECLARE)
    PM_ALL(e, PM_DECLARE)
    uint64_t b0, b1, b2, b3, b4, c0, c1, c2, c3, c4, d0, d1, d2, d3, d4;
    int round;
    PM_ALL(a, PM_READ)
    for (round = 0; round < 24; round += 2) {
        PM_ROUND(a, e, pm_keccak_round[round])
        PM_ROUND(e, a, pm_keccak_round[round + 1])
    }
    PM_ALL(a, PM_WRITE)
}

/* Write the 32-byte digest of `size` bytes; `digest` may overlap `data`. */
static void pm_keccak256(const uint8_t *data, size_t size, uint8_t *digest) {
    uint64_t state[25];
    uint8_t block[PM_KECCAK_RATE_BYTES];
    size_t lane;
    memset(state, 0, sizeof state);
    while (size >= PM_KECCAK_RATE_BYTES) {
        for (lane = 0; lane < PM_KECCAK_RATE_BYTES / 8; lane++)
            state[lane] ^= pm_keccak_load(data + 8 * lane);
        pm_keccak_permute(state);
        data += PM_KECCAK_RATE_BYTES;
        size -= PM_KECCAK_RATE_BYTES;
    }
    memset(block, 0, sizeof block);
    if (size) memcpy(block, data, size);
    block[size] ^= 0x01;
    block[PM_KECCAK_RATE_BYTES - 1] ^= 0x80;
    for (lane = 0; lane < PM_KECCAK_RATE_BYTES / 8; lane++)
        state[lane] ^= pm_keccak_load(block + 8 * lane);
    pm_keccak_permute(state);
    for (lane = 0; lane < 4; lane++) pm_keccak_store(digest + 8 * lane, state[lane]);
}

#undef PM_ROL
#undef PM_CHI
#undef PM_ROUND
#undef PM_ROW
#undef PM_ALL
#undef PM_READ
#undef PM_WRITE
#undef PM_DECLARE
#endif
