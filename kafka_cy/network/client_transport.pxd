"""The seam for encrypted connections to other brokers, as transport.pxd is for those of clients."""
from libc.stdint cimport uint8_t

from kafka_cy.network.transport cimport FAILURE_BYTES_MAX

cdef enum ClientWants:
    CLIENT_WANTS_NOTHING = 0
    CLIENT_WANTS_READ = 1
    CLIENT_WANTS_WRITE = 2
    CLIENT_BROKEN = 3

# Purpose: the encryption of one connection to another broker. Owner: the connection's thread; no locks.
cdef struct ClientSession:
    # Bytes read or written; 0: see `wants`, or the end with CLIENT_WANTS_NOTHING. The first call of any does the handshake.
    ssize_t (*receive)(ClientSession* session, uint8_t* data, size_t size) noexcept nogil
    ssize_t (*send)(ClientSession* session, const uint8_t* data, size_t size) noexcept nogil
    bint (*shake_hands)(ClientSession* session) noexcept nogil      # whether the handshake is complete; False: see `wants`
    ssize_t (*pending)(ClientSession* session) noexcept nogil       # bytes that receive() has without the socket
    void (*close)(ClientSession* session) noexcept nogil    # notifies the peer and frees the session
    int wants                   # ClientWants, after a call that returned 0
    char failure[FAILURE_BYTES_MAX]

# Creates sessions. Owner: its creator, which keeps it until the last client that uses it is gone; read-only then.
cdef struct ClientTransport:
    ClientSession* (*open)(ClientTransport* transport, int fd, const char* host) noexcept nogil     # NULL: no memory
    void* context


cdef inline const char* client_transport_capsule_name() noexcept nogil:
    """The capsule name under which a ClientTransport is passed to a client."""
    return b"kafka_cy.network.client_transport"
