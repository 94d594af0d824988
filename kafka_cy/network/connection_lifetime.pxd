"""A connection of a reactor from its registration to its end; see connection_lifetime.pyx."""
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState

cdef void connection_register(ReactorState* reactor, Connection* connection) noexcept nogil     # on its reactor's thread
cdef void connection_destroy(ReactorState* reactor, Connection* connection) noexcept nogil
cdef void idle_again(ReactorState* reactor, Connection* connection) noexcept nogil              # it becomes the last to be idle


cdef inline void connection_active(ReactorState* reactor, Connection* connection) noexcept nogil:
    """Something was received or sent. The order of idle connections is exact to a 32nd of the limit."""
    if reactor.shared.now_ns - connection.active_ns > reactor.network.idle_timeout_ns >> 5:
        idle_again(reactor, connection)
