"""A connection's life on its reactor, from registration to close; see connection_lifetime.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState

cdef enum:
    IDLE_EXACT_NS = 1000000000

cdef void connection_register(ReactorState* reactor, Connection* connection) noexcept nogil     # on its reactor's thread
cdef void connection_destroy(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void idle_again(ReactorState* reactor, Connection* connection) noexcept nogil              # now the last to be idle


cdef inline void connection_active(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Note that something was received or sent. The idle order is exact to a second, and to 1/32 of the limit."""
    cdef int64_t idle_ns = reactor.shared.now_ns - connection.active_ns
    if idle_ns > IDLE_EXACT_NS or idle_ns > reactor.network.idle_timeout_ns >> 5:
        idle_again(reactor, connection)
