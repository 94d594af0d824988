"""The seam for encrypted connections: a connection with a Session reads and writes through it, others use the socket.

It uses function pointers, so that a broker without such a listener does not load the encryption library.
"""
from libc.stdint cimport int64_t, uint8_t

cdef enum:
    RECORD_BYTES_MAX = 16384        # max bytes a session sends at once; it may keep a partial record of this size
    FAILURE_BYTES_MAX = 160

# Purpose: the encryption of one connection. Owner: the connection's reactor, and a job thread while it shakes hands; no locks.
# Lifetime: from registration to the connection's end, or to the end of the job that the connection leaves behind (handshakes.pyx).
cdef struct Session:
    # One step of the handshake, which may take milliseconds: reads the socket once and does what can be done with that. Until
    # `established` or `ended`, nothing but this and `close` is called.
    void (*shake_hands)(Session* session) noexcept nogil
    # Reads the socket once into `scratch` and puts the plaintext into `data`; both have room for `size` bytes, more than
    # RECORD_BYTES_MAX. Returns the number of plaintext bytes, possibly 0. Only a partial record may be held back, because
    # epoll would not report other held data; what came behind a handshake is told by `holds_input`.
    size_t (*receive)(Session* session, uint8_t* data, uint8_t* scratch, size_t size) noexcept nogil
    # Like send. After EAGAIN it must be called with the same bytes again; more bytes may follow them.
    ssize_t (*send)(Session* session, const uint8_t* data, size_t size) noexcept nogil
    void (*close)(Session* session) noexcept nogil      # notifies the peer and frees the session
    # Writes the DER of the name in the peer's certificate and returns its size; 0: there is none, or it is larger than `size`.
    size_t (*subject)(Session* session, uint8_t* name, size_t size) noexcept nogil
    bint established            # the handshake is complete
    bint certified              # and the peer has shown a certificate
    bint wants_write            # reading or the handshake can continue only when the socket is writable
    bint holds_input            # receive has something without the socket
    bint ended                  # reached the end or failed; epoll does not report it again
    char failure[FAILURE_BYTES_MAX]     # why it failed; empty: no failure, or the socket failed
    int64_t answered_bytes      # sent by the handshake; 0: its first step is not done

# Creates the sessions of a listener. Owner: its creator; the server calls `open` only under transports_mutex.
cdef struct Transport:
    Session* (*open)(Transport* transport, int fd) noexcept nogil   # NULL: no memory
    void* context


cdef inline const char* transport_capsule_name() noexcept nogil:
    """The capsule name under which a Transport is passed to the server."""
    return b"kafka_cy.network.transport"
