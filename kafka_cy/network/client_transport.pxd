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

cdef enum:
    LOGIN_TOKEN_BYTES_MAX = 64 << 10    # a Kerberos ticket of Active Directory has the groups of its user
    LOGIN_FAILURE_BYTES_MAX = 160
    MECHANISM_BYTES_MAX = 32

cdef enum LoginStep:
    LOGIN_TOKEN = 0             # there is a token to send
    LOGIN_COMPLETE = 1
    LOGIN_FAILED = 2
    LOGIN_WAITS = 3             # for a credential: call it again a little later

# How connections log in to a listener with SASL; see broker_login.pyx. Owner: as of a ClientTransport.
cdef struct ClientLogin:
    char mechanism[MECHANISM_BYTES_MAX]
    # The next token, for the broker's `challenge` (without a conversation: the first one). A LoginStep. It may take milliseconds,
    # and waits for no network. `host`: the broker's. `token` has room for LOGIN_TOKEN_BYTES_MAX.
    int (*step)(
        ClientLogin* login, const char* host, void** conversation, const uint8_t* challenge, size_t size, uint8_t* token,
        size_t* token_size, char* failure,
    ) noexcept nogil
    void (*forget)(void** conversation) noexcept nogil      # ends a conversation; does nothing without one
    void* owner

# Creates sessions. Owner: its creator, which keeps it until the last client that uses it is gone; read-only then.
cdef struct ClientTransport:
    ClientSession* (*open)(ClientTransport* transport, int fd, const char* host) noexcept nogil     # NULL: no memory
    void* context
    ClientLogin* login          # NULL: no SASL
    ClientTransport* encryption # with a login: creates the sessions, NULL for plaintext


cdef inline const char* client_transport_capsule_name() noexcept nogil:
    """The capsule name under which a ClientTransport is passed to a client."""
    return b"kafka_cy.network.client_transport"
