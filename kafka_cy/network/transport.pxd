"""The seam for encrypted connections: a connection with a Session gets its bytes through it, one without from its socket.

Function pointers, so that a broker without such a listener does not load the library that encrypts.
"""
from libc.stdint cimport uint8_t

cdef enum:
    RECORD_BYTES_MAX = 16384        # a session sends at most as many bytes at once, and may keep the beginning of as many
    FAILURE_BYTES_MAX = 160

# Purpose: the encryption of one connection. Owner: the connection's reactor; no locks.
# Lifetime: from registration to the connection's end.
cdef struct Session:
    # Read the socket once, into `scratch`, and put what that says into `data`; both have room for `size` bytes, more than
    # RECORD_BYTES_MAX. How many bytes it is, perhaps 0. Nothing is kept back but the beginning of a record, or epoll could
    # not tell of it.
    size_t (*receive)(Session* session, uint8_t* data, uint8_t* scratch, size_t size) noexcept nogil
    # As send; after EAGAIN it has to be called with the same bytes again, more may stand behind them.
    ssize_t (*send)(Session* session, const uint8_t* data, size_t size) noexcept nogil
    void (*close)(Session* session) noexcept nogil      # say so to the other end, and free
    bint established            # the handshake is through
    bint wants_write            # receive goes on when the socket takes bytes, and not before
    bint ended                  # receive reached the end, or failed; epoll does not tell again
    char failure[FAILURE_BYTES_MAX]     # why it failed; empty: it did not, or the socket did

# What makes the sessions of a listener. Owner: who made it; the server calls `open` under transports_mutex only.
cdef struct Transport:
    Session* (*open)(Transport* transport, int fd) noexcept nogil   # NULL: no memory
    void* context


cdef inline const char* transport_capsule_name() noexcept nogil:
    """Under which name a Transport reaches the server in a capsule."""
    return b"kafka_cy.network.transport"
