"""The TLS of one connection of a listener; see tls_session.pyx."""
from kafka_cy.network.transport cimport Session, Transport

# A Transport's `open`; its context is an SSL_CTX.
cdef Session* tls_open(Transport* transport, int fd) noexcept nogil
