"""The cleaner's table of keys: 24 bytes a key, whatever its size."""
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import os

cdef enum:
    SLOTS_MIN = 1024

cdef uint64_t[2] process_secret
memcpy(process_secret, PyBytes_AS_STRING(os.urandom(16)), 16)


cdef inline uint64_t rotated(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void sip_rounds(uint64_t* v, int rounds) noexcept nogil:
    cdef int _
    for _ in range(rounds):
        v[0] += v[1]
        v[1] = rotated(v[1], 13) ^ v[0]
        v[0] = rotated(v[0], 32)
        v[2] += v[3]
        v[3] = rotated(v[3], 16) ^ v[2]
        v[0] += v[3]
        v[3] = rotated(v[3], 21) ^ v[0]
        v[2] += v[1]
        v[1] = rotated(v[1], 17) ^ v[2]
        v[2] = rotated(v[2], 32)


cdef void siphash_128(const uint64_t* secret, const uint8_t* data, size_t size, uint64_t* hash) noexcept nogil:
    """SipHash-2-4 with 128 bits of output (Aumasson, Bernstein)."""
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef size_t done = 0
    v[0] = <uint64_t>0x736f6d6570736575 ^ secret[0]
    v[1] = <uint64_t>0x646f72616e646f6d ^ secret[1] ^ 0xee
    v[2] = <uint64_t>0x6c7967656e657261 ^ secret[0]
    v[3] = <uint64_t>0x7465646279746573 ^ secret[1]
    while done <= size:                 # the last word holds what is left, and the size
        word = 0
        if size - done >= 8:
            memcpy(&word, data + done, 8)
        else:
            if size > done:
                memcpy(&word, data + done, size - done)
            word |= <uint64_t>size << 56
        v[3] ^= word
        sip_rounds(v, 2)
        v[0] ^= word
        done += 8
    v[2] ^= 0xee
    sip_rounds(v, 4)
    hash[0] = v[0] ^ v[1] ^ v[2] ^ v[3]
    v[1] ^= 0xdd
    sip_rounds(v, 4)
    hash[1] = v[0] ^ v[1] ^ v[2] ^ v[3]


cdef void offset_map_init(OffsetMap* map, int64_t bytes_max, double load_max) noexcept nogil:
    map.slots = NULL
    map.capacity = 0
    map.capacity_max = max(bytes_max // <int64_t>sizeof(OffsetSlot), 2)
    map.count = 0
    map.load_max = min(max(load_max, 0.1), 0.95)


cdef void offset_map_free(OffsetMap* map) noexcept nogil:
    free(map.slots)
    map.slots = NULL
    map.capacity = 0
    map.count = 0


cdef inline OffsetSlot* slot_for(const OffsetMap* map, const uint64_t* hash) noexcept nogil:
    """The key's slot, or the free one where it belongs."""
    cdef int64_t i = <int64_t>(hash[0] % <uint64_t>map.capacity)
    while map.slots[i].offset_after and (map.slots[i].hash_low != hash[0] or map.slots[i].hash_high != hash[1]):
        i += 1
        if i == map.capacity:
            i = 0
    return &map.slots[i]


cdef bint has_room(const OffsetMap* map) noexcept nogil:
    """For one more key. One slot always stays free: it ends a search."""
    return map.count + 1 <= <int64_t>(<double>map.capacity * map.load_max) and map.count + 1 < map.capacity


cdef bint grow(OffsetMap* map) noexcept nogil:
    cdef OffsetSlot* old = map.slots
    cdef int64_t old_capacity = map.capacity
    cdef int64_t i
    cdef int64_t wanted = min(max(map.capacity * 2, SLOTS_MIN), map.capacity_max)
    cdef OffsetSlot* fresh
    if wanted <= map.capacity:
        return False
    fresh = <OffsetSlot*>calloc(<size_t>wanted, sizeof(OffsetSlot))
    if fresh == NULL:
        return False
    map.slots = fresh
    map.capacity = wanted
    for i in range(old_capacity):
        if old[i].offset_after:
            slot_for(map, &old[i].hash_low)[0] = old[i]
    free(old)
    return True


cdef bint offset_map_put(OffsetMap* map, const uint8_t* key, int32_t size, int64_t offset) noexcept nogil:
    cdef uint64_t hash[2]
    cdef OffsetSlot* slot
    siphash_128(process_secret, key, <size_t>size, hash)
    if map.capacity > 0:
        slot = slot_for(map, hash)
        if slot.offset_after:
            slot.offset_after = offset + 1
            return True
    while not has_room(map):
        if not grow(map):
            return False
    slot = slot_for(map, hash)
    slot.hash_low = hash[0]
    slot.hash_high = hash[1]
    slot.offset_after = offset + 1
    map.count += 1
    return True


cdef int64_t offset_map_get(const OffsetMap* map, const uint8_t* key, int32_t size) noexcept nogil:
    cdef uint64_t hash[2]
    if map.capacity == 0:
        return -1
    siphash_128(process_secret, key, <size_t>size, hash)
    return slot_for(map, hash).offset_after - 1


def keyed_hash(secret, data):
    """SipHash-2-4 of `data` with 128 bits; `secret` and the result are 16 bytes."""
    cdef bytes key = bytes(secret)
    cdef bytes text = bytes(data)
    cdef uint64_t words[2]
    cdef uint64_t found[2]
    if len(key) != 16:
        raise ValueError("a secret has 16 bytes")
    memcpy(words, PyBytes_AS_STRING(key), 16)
    siphash_128(words, <const uint8_t*>PyBytes_AS_STRING(text), <size_t>len(text), found)
    return (<char*>found)[:16]
