/* CRC32C (Castagnoli, reflected polynomial 0x82f63b78) in three kernels; crc32c_init() picks one by CPU.
 *
 * - slicing-by-8 tables: any CPU, about 1.7 GB/s;
 * - SSE4.2 `crc32` in one chain: bound by the instruction's latency of 3 cycles;
 * - SSE4.2 in three interleaved lanes, merged with one carry-less multiplication each: three times that.
 *
 * Every table and fold constant is computed at start, so nothing here is a pasted magic number but the polynomial.
 * State: process-wide, written once by crc32c_init() at import (under the GIL), read-only from then on: any thread.
 */
#ifndef KAFKA_CY_CRC32C_H
#define KAFKA_CY_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CRC32C_POLYNOMIAL 0x82f63b78u
#define CRC32C_TIERS 4

/* Bytes of one lane, the largest first: a big lane merges seldom, a small one serves short batches. */
static const size_t crc32c_lane_size[CRC32C_TIERS] = {4096, 1024, 256, 64};
static uint32_t crc32c_table[8][256];
static uint64_t crc32c_fold_one[CRC32C_TIERS];   /* moves a CRC over one lane */
static uint64_t crc32c_fold_two[CRC32C_TIERS];   /* moves a CRC over two lanes */
static uint32_t (*crc32c_kernel)(uint32_t crc, const uint8_t *data, size_t size);
static const char *crc32c_kernel_name = "none";

/* a * b modulo the polynomial; in this reflected form bit 31 is x^0. */
static uint32_t crc32c_multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (uint32_t bit = 0x80000000u; bit; bit >>= 1) {
        if (a & bit)
            product ^= b;
        b = (b >> 1) ^ (b & 1 ? CRC32C_POLYNOMIAL : 0);
    }
    return product;
}

/* x^exponent modulo the polynomial. */
static uint32_t crc32c_power_of_x(uint64_t exponent)
{
    uint32_t result = 0x80000000u, square = 0x40000000u;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = crc32c_multiply(result, square);
        square = crc32c_multiply(square, square);
    }
    return result;
}

/* Kernels work on the inverted CRC (the register's content). */
static uint32_t crc32c_slicing(uint32_t crc, const uint8_t *data, size_t size)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; size >= 8; size -= 8, data += 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        word ^= crc;
        crc = crc32c_table[7][word & 0xff] ^ crc32c_table[6][(word >> 8) & 0xff]
            ^ crc32c_table[5][(word >> 16) & 0xff] ^ crc32c_table[4][(word >> 24) & 0xff]
            ^ crc32c_table[3][(word >> 32) & 0xff] ^ crc32c_table[2][(word >> 40) & 0xff]
            ^ crc32c_table[1][(word >> 48) & 0xff] ^ crc32c_table[0][word >> 56];
    }
#endif
    for (; size; size--, data++)
        crc = (crc >> 8) ^ crc32c_table[0][(crc ^ *data) & 0xff];
    return crc;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("sse4.2")))
static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *data, size_t size)
{
    uint64_t chain = crc, word;
    for (; size >= 8; size -= 8, data += 8) {
        memcpy(&word, data, 8);
        chain = _mm_crc32_u64(chain, word);
    }
    crc = (uint32_t)chain;
    for (; size; size--, data++)
        crc = _mm_crc32_u8(crc, *data);
    return crc;
}

/* crc * fold * x^33 (33: the 32 of the reducing crc32, and one because a reflected 32x32 product has 63 bits). */
__attribute__((target("sse4.2,pclmul")))
static inline uint64_t crc32c_move(uint64_t crc, uint64_t fold)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi64_si128((long long)fold), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul")))
static uint32_t crc32c_three_lanes(uint32_t crc, const uint8_t *data, size_t size)
{
    for (int tier = 0; tier < CRC32C_TIERS; tier++) {
        const size_t lane = crc32c_lane_size[tier];
        for (; size >= 3 * lane; size -= 3 * lane, data += 3 * lane) {
            uint64_t a = crc, b = 0, c = 0, word_a, word_b, word_c;
            for (size_t at = 0; at < lane; at += 8) {
                memcpy(&word_a, data + at, 8);
                memcpy(&word_b, data + lane + at, 8);
                memcpy(&word_c, data + 2 * lane + at, 8);
                a = _mm_crc32_u64(a, word_a);
                b = _mm_crc32_u64(b, word_b);
                c = _mm_crc32_u64(c, word_c);
            }
            crc = (uint32_t)(crc32c_move(a, crc32c_fold_two[tier]) ^ crc32c_move(b, crc32c_fold_one[tier]) ^ c);
        }
    }
    return crc32c_sse42(crc, data, size);
}
#endif

static void crc32c_tables_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
        crc32c_table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t crc = crc32c_table[slice - 1][byte];
            crc32c_table[slice][byte] = (crc >> 8) ^ crc32c_table[0][crc & 0xff];
        }
    for (int tier = 0; tier < CRC32C_TIERS; tier++) {
        crc32c_fold_one[tier] = crc32c_power_of_x(8 * crc32c_lane_size[tier] - 33);
        crc32c_fold_two[tier] = crc32c_power_of_x(16 * crc32c_lane_size[tier] - 33);
    }
}

/* Chooses the kernel: 0 the best of this CPU, 1 slicing, 2 SSE4.2 in one chain, 3 three lanes (for tests).
 * Returns 0 when this CPU lacks it (the choice then stays as it was). */
static int crc32c_choose(int kernel)
{
    int best = 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2"))
        best = __builtin_cpu_supports("pclmul") ? 3 : 2;
#endif
    if (kernel == 0)
        kernel = best;
    if (kernel < 1 || kernel > best)
        return 0;
    crc32c_kernel = crc32c_slicing;
    crc32c_kernel_name = "slicing-by-8";
#if defined(__x86_64__)
    if (kernel == 2) {
        crc32c_kernel = crc32c_sse42;
        crc32c_kernel_name = "sse4.2";
    } else if (kernel == 3) {
        crc32c_kernel = crc32c_three_lanes;
        crc32c_kernel_name = "sse4.2 three lanes";
    }
#endif
    return 1;
}

static inline uint32_t crc32c_run(uint32_t crc, const uint8_t *data, size_t size)
{
    return ~crc32c_kernel(~crc, data, size);
}

#endif
