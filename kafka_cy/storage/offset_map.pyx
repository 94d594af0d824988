"""The cleaner's key table: 24 bytes per key, whatever the key's size."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free

from kafka_cy.base.hash cimport hash_seed, siphash_128

cdef enum:
    SLOTS_MIN = 1024

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
    """Index of the key's slot, or of the free slot for it."""
    cdef int64_t i = <int64_t>(hash[0] % <uint64_t>map.capacity)
    while map.slots[i].offset_after and (map.slots[i].hash_low != hash[0] or map.slots[i].hash_high != hash[1]):
        i += 1
        if i == map.capacity:
            i = 0
    return &map.slots[i]


cdef bint has_room(const OffsetMap* map) noexcept nogil:
    """Make room for one more key. One slot always stays free: it terminates a search."""
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
    siphash_128(hash_seed.key, key, <size_t>size, hash)
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
    siphash_128(hash_seed.key, key, <size_t>size, hash)
    return slot_for(map, hash).offset_after - 1
