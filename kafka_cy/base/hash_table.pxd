"""The hash table of the broker: from a key to the number of an item in an array that the caller owns.

The table stores hashes and numbers, no keys: the caller compares the items that `hash_table_next` offers with what it looks
for. So one table serves names, ids, pairs of numbers, and any struct.

    place = hash_table_start(&table, hash)
    item = hash_table_next(&table, hash, &place)
    while item >= 0:
        if items[item].key == key:
            break
        item = hash_table_next(&table, hash, &place)

Open addressing with linear probing, at most half full, no tombstones: a removal closes the gap. Hashes must be seeded
(base/hash.pxd) where a client chooses the keys; then a look-up takes 1.5 to 2.5 probes on average, whatever the keys.

Owner and locks: the caller's. Memory: 8 bytes a slot, 16 to 32 bytes an item. Limits: 2^30 items.
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
    uint32_t count              # of items
    int64_t probes              # slots that insertions looked at, since the table was made or cleared (tests)


cdef inline void hash_table_init(HashTable* table) noexcept nogil:
    memset(table, 0, sizeof(HashTable))


cdef inline void hash_table_free(HashTable* table) noexcept nogil:
    """Gives the memory back; the table is empty and may be used again."""
    free(table.slots)
    hash_table_init(table)


# Room for `count` items in all; -1 without memory, and the table is as it was.
cdef int hash_table_reserve_slow(HashTable* table, uint32_t count) noexcept nogil
# Forgets all items. Keeps the memory unless the table was nearly empty for its size.
cdef void hash_table_clear(HashTable* table) noexcept nogil
# Removes an item that is in the table under `hash`.
cdef void hash_table_remove(HashTable* table, uint32_t hash, int32_t item) noexcept nogil
# Gives an item that is in the table under `hash` another number (its place in the caller's array changed).
cdef void hash_table_renumber(HashTable* table, uint32_t hash, int32_t item, int32_t renamed) noexcept nogil


cdef inline int hash_table_reserve(HashTable* table, uint32_t count) noexcept nogil:
    """Room for `count` items in all; -1 without memory, and the table is as it was."""
    if table.slots != NULL and count <= (table.mask + 1) >> 1:
        return 0
    return hash_table_reserve_slow(table, count)


cdef inline uint32_t hash_table_start(const HashTable* table, uint32_t hash) noexcept nogil:
    return hash & table.mask


cdef inline int32_t hash_table_next(const HashTable* table, uint32_t hash, uint32_t* place) noexcept nogil:
    """The next item with this hash, -1 when there is no other; `place` is where the search goes on."""
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
    """Adds an item that is not in the table. There must be room (hash_table_reserve)."""
    cdef uint32_t place = hash & table.mask
    cdef uint32_t first = place
    while table.slots[place].item >= 0:
        place = (place + 1) & table.mask
    table.slots[place].hash = hash
    table.slots[place].item = item
    table.count += 1
    table.probes += 1 + ((place - first) & table.mask)
