"""The hash table of the broker: maps a key to the index of an item in an array that the caller owns.

The table stores hashes and indexes, not keys: the caller compares the items that `hash_table_next` returns with its key.
So one table supports names, ids, pairs of numbers, and any struct.

    place = hash_table_start(&table, hash)
    item = hash_table_next(&table, hash, &place)
    while item >= 0:
        if items[item].key == key:
            break
        item = hash_table_next(&table, hash, &place)

Open addressing with linear probing, at most half full, no tombstones: a removal closes the gap. Hashes must be seeded
(base/hash.pxd) if a client chooses the keys; then a lookup takes 1.5 to 2.5 probes on average, whatever the keys are.

Owner and locks: those of the caller. Memory: 8 bytes per slot, 16 to 32 bytes per item. Limits: 2^30 items.
"""
from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memset

cdef enum:
    TABLE_SLOTS_MIN = 16
    TABLE_ITEMS_MAX = 1 << 30

cdef struct HashSlot:
    uint32_t hash
    int32_t item                # -1: free

cdef struct HashTable:
    HashSlot* slots             # NULL: empty, `mask` is 0
    uint32_t mask               # number of slots - 1; the number is a power of two
    uint32_t count              # number of items
    int64_t probes              # slots that insertions probed since the table was created or cleared (for tests)


cdef inline void hash_table_init(HashTable* table) noexcept nogil:
    memset(table, 0, sizeof(HashTable))


cdef inline void hash_table_free(HashTable* table) noexcept nogil:
    """Free the memory; the table is empty and may be used again."""
    free(table.slots)
    hash_table_init(table)


# Reserve room for `count` items in total; -1 without memory, and the table is unchanged.
cdef int hash_table_reserve_slow(HashTable* table, uint32_t count) noexcept nogil
# Remove all items. Keeps the memory unless the table was nearly empty for its size.
cdef void hash_table_clear(HashTable* table) noexcept nogil
# Remove an item that is in the table under `hash`.
cdef void hash_table_remove(HashTable* table, uint32_t hash, int32_t item) noexcept nogil
# Change the index of an item that is in the table under `hash` (its position in the caller's array changed).
cdef void hash_table_renumber(HashTable* table, uint32_t hash, int32_t item, int32_t renamed) noexcept nogil


cdef inline int hash_table_reserve(HashTable* table, uint32_t count) noexcept nogil:
    """Reserve room for `count` items in total; -1 without memory, and the table is unchanged."""
    if table.slots != NULL and count <= (table.mask + 1) >> 1:
        return 0
    return hash_table_reserve_slow(table, count)


cdef inline uint32_t hash_table_start(const HashTable* table, uint32_t hash) noexcept nogil:
    return hash & table.mask


cdef inline int32_t hash_table_next(const HashTable* table, uint32_t hash, uint32_t* place) noexcept nogil:
    """The next item with this hash, or -1 if there is no other; `place` is where the search continues."""
    cdef const HashSlot* slot
    if table.slots == NULL:
        return -1
    while True:
        slot = &table.slots[place[0]]
        if slot.item < 0:
            return -1
        place[0] = (place[0] + 1) & table.mask
        if slot.hash == hash:
            return slot.item


cdef inline void hash_table_insert(HashTable* table, uint32_t hash, int32_t item) noexcept nogil:
    """Add an item that is not in the table. There must be room (hash_table_reserve)."""
    cdef uint32_t place = hash & table.mask
    cdef uint32_t first = place
    while table.slots[place].item >= 0:
        place = (place + 1) & table.mask
    table.slots[place].hash = hash
    table.slots[place].item = item
    table.count += 1
    table.probes += 1 + ((place - first) & table.mask)
