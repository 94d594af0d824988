"""Counts connections by client address, even without a limit, so that a limit may be set at any time."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.base.hash_table cimport (
    hash_table_free, hash_table_insert, hash_table_next, hash_table_remove, hash_table_renumber, hash_table_reserve,
    hash_table_start,
)
from kafka_cy.base.posix cimport pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock

IPV4_MAPPED = bytes(10) + b"\xff\xff"     # ::ffff:0.0.0.0/96


cdef void address_counts_init(AddressCounts* counts) noexcept nogil:
    memset(counts, 0, sizeof(AddressCounts))
    pthread_mutex_init(&counts.mutex, NULL)


cdef void address_counts_free(AddressCounts* counts) noexcept nogil:
    hash_table_free(&counts.table)
    free(counts.entries)
    free(counts.limits)
    pthread_mutex_destroy(&counts.mutex)


cdef int32_t find(AddressCounts* counts, const uint8_t* address, uint32_t hash) noexcept nogil:
    """Return the address's position in `entries`, or -1 if it has no connection. The caller holds the mutex."""
    cdef uint32_t place = hash_table_start(&counts.table, hash)
    cdef int32_t found = hash_table_next(&counts.table, hash, &place)
    while found >= 0 and memcmp(counts.entries[found].address, address, 16) != 0:
        found = hash_table_next(&counts.table, hash, &place)
    return found


cdef bint add(AddressCounts* counts, const uint8_t* address, uint32_t hash) noexcept nogil:
    """Add an address with its first connection; False if memory is short. The caller holds the mutex."""
    cdef int32_t capacity = 2 * counts.capacity + 16
    cdef AddressCount* entry
    if counts.count == counts.capacity:
        entry = <AddressCount*>realloc(counts.entries, <size_t>capacity * sizeof(AddressCount))
        if entry == NULL:
            return False
        counts.entries = entry
        counts.capacity = capacity
    if hash_table_reserve(&counts.table, <uint32_t>counts.count + 1) < 0:
        return False
    entry = &counts.entries[counts.count]
    memcpy(entry.address, address, 16)
    entry.hash = hash
    entry.count = 1
    hash_table_insert(&counts.table, hash, counts.count)
    counts.count += 1
    return True


cdef int address_limits_set(AddressCounts* counts, dict limits) except -1:
    cdef AddressLimit* made = <AddressLimit*>calloc(2 * len(limits) + 1, sizeof(AddressLimit))
    cdef int32_t count = 0
    cdef bytes packed
    if made == NULL:
        raise MemoryError()
    for address, connections_max in limits.items():
        # A dual-stack socket shows an IPv4 address as ::ffff:a.b.c.d.
        for packed in ((address, IPV4_MAPPED + address) if len(address) == 4 else (address,)):
            memcpy(made[count].address, <const char*>packed, <size_t>min(len(packed), <Py_ssize_t>16))
            made[count].connections_max = connections_max
            count += 1
    with nogil:
        limits_replace(counts, made, count)
    return 0


cdef void limits_replace(AddressCounts* counts, AddressLimit* limits, int32_t limits_count) noexcept nogil:
    """Takes ownership of `limits`."""
    cdef AddressLimit* old
    pthread_mutex_lock(&counts.mutex)
    old = counts.limits
    counts.limits = limits
    counts.limits_count = limits_count
    pthread_mutex_unlock(&counts.mutex)
    free(old)


cdef bint address_enter(AddressCounts* counts, const uint8_t* address, int64_t connections_max) noexcept nogil:
    cdef uint32_t hash = hash_of_bytes(address, 16)
    cdef int32_t found
    cdef bint allowed
    cdef int32_t i
    pthread_mutex_lock(&counts.mutex)
    for i in range(counts.limits_count):
        if memcmp(counts.limits[i].address, address, 16) == 0:
            connections_max = counts.limits[i].connections_max
    found = find(counts, address, hash)
    if connections_max <= 0:
        allowed = False
    elif found < 0:
        allowed = add(counts, address, hash)
    else:
        allowed = counts.entries[found].count < connections_max
        counts.entries[found].count += allowed
    pthread_mutex_unlock(&counts.mutex)
    return allowed


cdef void address_leave(AddressCounts* counts, const uint8_t* address) noexcept nogil:
    cdef uint32_t hash = hash_of_bytes(address, 16)
    cdef AddressCount* last
    cdef int32_t found
    pthread_mutex_lock(&counts.mutex)
    found = find(counts, address, hash)
    if found >= 0:
        counts.entries[found].count -= 1
        if counts.entries[found].count == 0:
            hash_table_remove(&counts.table, hash, found)
            counts.count -= 1
            if found != counts.count:           # the last entry fills the gap
                last = &counts.entries[counts.count]
                hash_table_renumber(&counts.table, last.hash, counts.count, found)
                counts.entries[found] = last[0]
    pthread_mutex_unlock(&counts.mutex)
