"""The TLS handshake of a connection, as jobs; see handshakes.pyx."""
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.reactor_state cimport ReactorState

# Its socket is ready for the next step, which becomes a job, now or when there is room for it.
cdef void handshake_continue(ReactorState* reactor, Connection* connection) noexcept nogil
# The connection closes while a job has its session. The job, or its end, closes the session and the socket.
cdef void handshake_abandon(ReactorState* reactor, Connection* connection) noexcept nogil


cdef inline bint in_handshake(const Connection* connection) noexcept nogil:
    return connection.handshake != NULL or (connection.session != NULL and not connection.session.established)
