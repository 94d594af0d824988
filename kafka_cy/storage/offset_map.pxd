"""Key -> last offset, for the cleaner; behaviour in offset_map.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

cdef struct OffsetSlot:
    uint64_t hash_low
    uint64_t hash_high
    int64_t offset_after        # offset + 1; 0: a free slot

# Keys are not stored but told apart by SipHash-2-4 of 128 bits with the seed of the process (base/hash.pxd): nobody can
# choose two keys that collide. For that reason, and to keep a key at 24 bytes, this is not base/hash_table.
# Owner: one cleaner thread. Open addressing, linear probing. The table grows by doubling up to `capacity_max` slots; the
# old one is freed only after the move.
cdef struct OffsetMap:
    OffsetSlot* slots
    int64_t capacity
    int64_t capacity_max
    int64_t count
    double load_max             # share of the slots that may be taken

cdef void offset_map_init(OffsetMap* map, int64_t bytes_max, double load_max) noexcept nogil
cdef void offset_map_free(OffsetMap* map) noexcept nogil
# True: noted. False: the key is new and there is no room, or no memory, for it.
cdef bint offset_map_put(OffsetMap* map, const uint8_t* key, int32_t size, int64_t offset) noexcept nogil
cdef int64_t offset_map_get(const OffsetMap* map, const uint8_t* key, int32_t size) noexcept nogil      # -1: not there
