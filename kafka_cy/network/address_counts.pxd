"""Number of connections per client address (max.connections.per.ip); implemented in address_counts.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t

cdef struct AddressCount:
    uint8_t address[16]         # an IPv4 address fills the first four bytes; the rest are 0
    uint32_t hash
    int64_t count

# An address with its own limit (max.connections.per.ip.overrides).
cdef struct AddressLimit:
    uint8_t address[16]
    int64_t connections_max

# Purpose: limits the connections from one address. Threads: any; `mutex` guards all fields.
# Lifetime: the server's. Limits: one entry per address with an open connection, so max.connections bounds it.
cdef struct AddressCounts:
    pthread_mutex_t mutex
    HashTable table             # positions in `entries`
    AddressCount* entries       # dense, unordered
    int32_t count
    int32_t capacity
    AddressLimit* limits
    int32_t limits_count

cdef void address_counts_init(AddressCounts* counts) noexcept nogil
cdef void address_counts_free(AddressCounts* counts) noexcept nogil
# Replaces the per-address limits: 4 or 16 address bytes -> number of connections. Any thread, with the GIL. Raises MemoryError.
cdef int address_limits_set(AddressCounts* counts, dict limits) except -1
# Counts one more connection of the address. Returns False and counts nothing if the address already has `connections_max`
# connections (or reached its own limit), or if memory is short.
cdef bint address_enter(AddressCounts* counts, const uint8_t* address, int64_t connections_max) noexcept nogil
# Counts one connection fewer of a counted address.
cdef void address_leave(AddressCounts* counts, const uint8_t* address) noexcept nogil
