"""How many connections each client address has (max.connections.per.ip); behaviour in address_counts.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.base.hash_table cimport HashTable
from kafka_cy.base.posix cimport pthread_mutex_t

cdef struct AddressCount:
    uint8_t address[16]         # an IPv4 address fills the first four bytes, the others are 0
    uint32_t hash
    int64_t count

# An address with a limit of its own (max.connections.per.ip.overrides).
cdef struct AddressLimit:
    uint8_t address[16]
    int64_t connections_max

# Purpose: the limit of connections from one address. Threads: any; all fields are guarded by `mutex`.
# Lifetime: the server's. Limits: one entry for each address with an open connection, so max.connections bounds it.
cdef struct AddressCounts:
    pthread_mutex_t mutex
    HashTable table             # places in `entries`
    AddressCount* entries       # dense, in no order
    int32_t count
    int32_t capacity
    AddressLimit* limits
    int32_t limits_count

cdef void address_counts_init(AddressCounts* counts) noexcept nogil
cdef void address_counts_free(AddressCounts* counts) noexcept nogil
# Replaces the limits of single addresses; takes over `limits`, which malloc gave. Any thread.
cdef void address_limits_replace(AddressCounts* counts, AddressLimit* limits, int32_t limits_count) noexcept nogil
# Counts one more connection of the address. False, and nothing is counted: it has `connections_max` already (or as many as
# its own limit says), or there is no memory.
cdef bint address_enter(AddressCounts* counts, const uint8_t* address, int64_t connections_max) noexcept nogil
# Counts one connection less of an address that was counted.
cdef void address_leave(AddressCounts* counts, const uint8_t* address) noexcept nogil
