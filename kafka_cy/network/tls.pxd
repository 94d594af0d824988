"""TLS of a listener; see tls.pyx."""
from kafka_cy.network.openssl cimport EVP_PKEY, SSL_CTX, X509_STACK
from kafka_cy.network.transport cimport Transport


# Purpose: certificates and rules of one listener. Owner: Python threads until it is passed to the server; then read-only.
# Lifetime: the server keeps it until it is replaced; open sessions hold OpenSSL's own reference.
cdef class TlsContext:
    cdef SSL_CTX* context
    cdef Transport to_sessions

    cdef int show(self, EVP_PKEY* private_key, X509_STACK* certificates) except -1
    cdef int trust(self, X509_STACK* certificates) except -1
