"""A connection's life on its reactor, from registration to close; see connection_lifetime.pyx."""
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState

cdef void connection_register(ReactorState* reactor, Connection* connection) noexcept nogil     # on its reactor's thread
cdef void connection_destroy(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void idle_again(ReactorState* reactor, Connection* connection) noexcept nogil              # now the last to be idle


cdef inline void connection_active(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Note that something was received or sent. The idle order is exact to 1/32 of the limit."""
    if reactor.shared.now_ns - connection.active_ns > reactor.network.idle_timeout_ns >> 5:
        idle_again(reactor, connection)
