"""The user that a client certificate names; see certificate.pyx."""
from kafka_cy.network.connection cimport CERTIFICATE_SHOWN, Connection
from kafka_cy.network.reactor_state cimport ReactorState

# The TLS handshake of a connection whose listener does not ask for SASL is complete.
cdef void certificate_begin(ReactorState* reactor, Connection* connection) noexcept nogil
# Ask whose certificate it is; the connection is paused, or was failed.
cdef void certificate_ask(ReactorState* reactor, Connection* connection) noexcept nogil


cdef inline bint certificate_asks(const Connection* connection) noexcept nogil:
    """Whether the connection's next request needs certificate_ask before."""
    return connection.certificate == CERTIFICATE_SHOWN
