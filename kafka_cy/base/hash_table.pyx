"""The functions that are not inlined in hash_table.pxd: growing, clearing and removing."""
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset


cdef int hash_table_reserve_slow(HashTable* table, uint32_t count) noexcept nogil:
    cdef HashSlot* old = table.slots
    cdef size_t old_slots = <size_t>table.mask + 1 if old != NULL else 0
    cdef size_t slots = old_slots if old_slots else TABLE_SLOTS_MIN
    cdef HashSlot* fresh
    cdef size_t i
    if count > TABLE_ITEMS_MAX:
        return -1
    while slots < <size_t>count * 2:
        slots *= 2
    if slots == old_slots:
        return 0
    fresh = <HashSlot*>malloc(slots * sizeof(HashSlot))
    if fresh == NULL:
        return -1
    memset(fresh, 0xff, slots * sizeof(HashSlot))
    table.slots = fresh
    table.mask = <uint32_t>(slots - 1)
    table.count = 0
    for i in range(old_slots):
        if old[i].item >= 0:
            hash_table_insert(table, old[i].hash, old[i].item)
    free(old)
    return 0


cdef void hash_table_clear(HashTable* table) noexcept nogil:
    if table.slots != NULL and table.mask >= TABLE_SLOTS_MIN * 4 and table.count < table.mask >> 4:
        free(table.slots)           # clearing would cost more than the use of the table
        table.slots = NULL
        table.mask = 0
    if table.slots != NULL:
        memset(table.slots, 0xff, (<size_t>table.mask + 1) * sizeof(HashSlot))
    table.count = 0
    table.probes = 0


cdef uint32_t place_of(const HashTable* table, uint32_t hash, int32_t item) noexcept nogil:
    cdef uint32_t place = hash & table.mask
    while table.slots[place].item != item:
        place = (place + 1) & table.mask
    return place


cdef void hash_table_remove(HashTable* table, uint32_t hash, int32_t item) noexcept nogil:
    cdef uint32_t gap = place_of(table, hash, item)
    cdef uint32_t place = gap
    table.count -= 1
    while True:
        place = (place + 1) & table.mask
        if table.slots[place].item < 0:
            break
        # An item stays in its slot if its home slot is after the gap; otherwise it fills the gap.
        if ((place - (table.slots[place].hash & table.mask)) & table.mask) >= ((place - gap) & table.mask):
            table.slots[gap] = table.slots[place]
            gap = place
    table.slots[gap].item = -1


cdef void hash_table_renumber(HashTable* table, uint32_t hash, int32_t item, int32_t renamed) noexcept nogil:
    table.slots[place_of(table, hash, item)].item = renamed
