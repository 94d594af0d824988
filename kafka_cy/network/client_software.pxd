"""Software of the connected clients, as reported in ApiVersions (KIP-511): a bounded table per reactor.

See client_software.pyx.
"""
from libc.stdint cimport int32_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.counters cimport ClientSoftware, Counters

cdef void software_enter(
    Counters* counters, Connection* connection, const char* name, int32_t name_size, const char* version, int32_t version_size
) noexcept nogil
cdef void software_leave(Counters* counters, Connection* connection) noexcept nogil     # the connection ends
# For readers on other threads: copies an entry consistently; False if it is unused or being written.
cdef bint software_read(Counters* counters, int32_t entry, ClientSoftware* copy) noexcept nogil
