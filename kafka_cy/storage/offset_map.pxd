"""Key -> last offset, for the cleaner. See offset_map.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef struct OffsetSlot:
    uint64_t hash_low
    uint64_t hash_high
    int64_t offset_after        # offset + 1; 0: a free slot

# Keys are not stored. They are identified by 128-bit SipHash-2-4 with the process seed (base/hash.pxd), so nobody can
# choose two keys that collide. For that reason, and to keep an entry at 24 bytes, this is not base/hash_table.
# Owner: one cleaner thread. Open addressing, linear probing. The table doubles up to `capacity_max` slots; the old
#   table is freed only after the move.
cdef struct OffsetMap:
    OffsetSlot* slots
    int64_t capacity
    int64_t capacity_max
    int64_t count
    double load_max             # maximum share of used slots

cdef void offset_map_init(OffsetMap* map, int64_t bytes_max, double load_max) noexcept nogil
cdef void offset_map_free(OffsetMap* map) noexcept nogil
# True: stored. False: the key is new, and slots or memory ran out.
cdef bint offset_map_put(OffsetMap* map, const uint8_t* key, int32_t size, int64_t offset) noexcept nogil
cdef int64_t offset_map_get(const OffsetMap* map, const uint8_t* key, int32_t size) noexcept nogil      # -1: not found
