"""How many connections there may be; see connection_quotas.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_load_seq_i64
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport NetworkState, ReactorState

# Count the connection against the limits; False: refuse it.
cdef bint connection_admit(ReactorState* reactor, Connection* connection) noexcept nogil
# The connection is destroyed.
cdef void connection_leaves(ReactorState* reactor, Connection* connection) noexcept nogil
# There may be more connections than max.connections: have reactors close some. Any thread.
cdef void excess_announce(NetworkState* network) noexcept nogil
# What was announced; on the reactor's thread, when no connection of it is in use.
cdef void close_excess(ReactorState* reactor) noexcept nogil


cdef inline bint excess_announced(ReactorState* reactor) noexcept nogil:
    return atomic_load_seq_i64(<int64_t*>&reactor.excess) != 0
