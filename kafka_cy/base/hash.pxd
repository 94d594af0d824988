"""Seeded hashes: a client that chooses keys cannot choose where they end up in a table.

- `hash_of_bytes`: SipHash-1-3, for keys of any length. With an unknown key nobody can compute collisions.
- `hash_of_number`, `hash_of_pair`: two 64 x 64 -> 128 bit products with secret factors, for whole numbers. One product is
  not enough: under one seed in a hundred, numbers at equal distances gather. It is not a cryptographic hash, but the seed
  is needed to predict it, and a client sees neither the seed nor a hash.
- `siphash_128`: SipHash-2-4 with 128 bits of output, for tables that do not store their keys (storage/offset_map).

The seed is random and belongs to the process. Hashes must not leave the process, neither to a client nor to a file.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef KAFKA_CY_HASH
    #define KAFKA_CY_HASH
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>
    #define SIP_ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
    #define SIP_ROUND(v0, v1, v2, v3) do { \\
        v0 += v1; v1 = SIP_ROTATE(v1, 13); v1 ^= v0; v0 = SIP_ROTATE(v0, 32); \\
        v2 += v3; v3 = SIP_ROTATE(v3, 16); v3 ^= v2; \\
        v0 += v3; v3 = SIP_ROTATE(v3, 21); v3 ^= v0; \\
        v2 += v1; v1 = SIP_ROTATE(v1, 17); v1 ^= v2; v2 = SIP_ROTATE(v2, 32); \\
    } while (0)
    static inline uint64_t sip_little_endian(uint64_t word) {
        #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        return __builtin_bswap64(word);
        #else
        return word;
        #endif
    }
    /* The last word of the input: what does not fill a word, and the size in the highest byte. */
    static inline uint64_t sip_last_word(const uint8_t *rest, size_t size) {
        uint64_t word = (uint64_t)size << 56;
        switch (size & 7) {
            case 7: word |= (uint64_t)rest[6] << 48; /* fall through */
            case 6: word |= (uint64_t)rest[5] << 40; /* fall through */
            case 5: word |= (uint64_t)rest[4] << 32; /* fall through */
            case 4: word |= (uint64_t)rest[3] << 24; /* fall through */
            case 3: word |= (uint64_t)rest[2] << 16; /* fall through */
            case 2: word |= (uint64_t)rest[1] << 8;  /* fall through */
            case 1: word |= (uint64_t)rest[0];
        }
        return word;
    }
    /* SipHash (Aumasson, Bernstein) with `rounds` a word and `last_rounds` at the end; constants after inlining. */
    static inline __attribute__((always_inline)) void siphash(
        const uint64_t *key, const void *data, size_t size, int rounds, int last_rounds, int wide, uint64_t *hash
    ) {
        const uint8_t *at = (const uint8_t *)data, *end = at + (size & ~(size_t)7);
        uint64_t v0 = key[0] ^ 0x736f6d6570736575ULL, v1 = key[1] ^ 0x646f72616e646f6dULL;
        uint64_t v2 = key[0] ^ 0x6c7967656e657261ULL, v3 = key[1] ^ 0x7465646279746573ULL;
        uint64_t word;
        int i;
        if (wide) v1 ^= 0xee;
        for (;;) {
            if (at < end) { memcpy(&word, at, 8); word = sip_little_endian(word); }
            else word = sip_last_word(at, size);
            v3 ^= word;
            for (i = 0; i < rounds; i++) SIP_ROUND(v0, v1, v2, v3);
            v0 ^= word;
            if (at == end) break;
            at += 8;
        }
        v2 ^= wide ? 0xee : 0xff;
        for (i = 0; i < last_rounds; i++) SIP_ROUND(v0, v1, v2, v3);
        hash[0] = v0 ^ v1 ^ v2 ^ v3;
        if (!wide) return;
        v1 ^= 0xdd;
        for (i = 0; i < last_rounds; i++) SIP_ROUND(v0, v1, v2, v3);
        hash[1] = v0 ^ v1 ^ v2 ^ v3;
    }
    static inline uint64_t siphash_13(const uint64_t *key, const void *data, size_t size)
        { uint64_t hash; siphash(key, data, size, 1, 3, 0, &hash); return hash; }
    static inline void siphash_128(const uint64_t *key, const void *data, size_t size, uint64_t *hash)
        { siphash(key, data, size, 2, 4, 1, hash); }
    static inline uint64_t folded_product(uint64_t a, uint64_t b)
        { unsigned __int128 product = (unsigned __int128)a * b; return (uint64_t)(product >> 64) ^ (uint64_t)product; }
    #endif
    """
    uint64_t siphash_13(const uint64_t* key, const void* data, size_t size) noexcept nogil
    void siphash_128(const uint64_t* key, const void* data, size_t size, uint64_t* hash) noexcept nogil   # hash[2]
    uint64_t folded_product(uint64_t a, uint64_t b) noexcept nogil

cdef struct HashSeed:
    uint64_t key[2]             # of SipHash
    uint64_t masks[2]
    uint64_t factors[2]         # odd

cdef HashSeed hash_seed         # of this process; set when the module is imported, never changed


cdef inline uint32_t hash_of_bytes(const void* data, size_t size) noexcept nogil:
    return <uint32_t>siphash_13(hash_seed.key, data, size)


cdef inline uint32_t hash_with_seed(const HashSeed* seed, uint64_t number) noexcept nogil:
    cdef uint64_t first = folded_product(number ^ seed.masks[0], seed.factors[0])
    return <uint32_t>folded_product(first ^ seed.masks[1], seed.factors[1])


cdef inline uint32_t hash_of_number(uint64_t number) noexcept nogil:
    return hash_with_seed(&hash_seed, number)


cdef inline uint32_t hash_of_pair(uint32_t first, uint32_t second) noexcept nogil:
    """Of two numbers, or of a hash and a number."""
    return hash_of_number((<uint64_t>first << 32) | second)
