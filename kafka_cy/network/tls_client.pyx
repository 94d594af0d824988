"""TLS to other brokers, with key, certificates and rules of a listener's TlsContext (the broker's own ssl.* keys of that listener).

The peer's certificate is always checked. With `verify_host`, it must be for the host's name or address
(ssl.endpoint.identification.algorithm=https). A session belongs to the thread of its connection. It holds the context with which
it was opened, so another context (new certificates) can be put in its place at any time.
"""
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free

from kafka_cy.base.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)
from kafka_cy.network.client_transport cimport (
    CLIENT_BROKEN, CLIENT_WANTS_NOTHING, CLIENT_WANTS_READ, CLIENT_WANTS_WRITE, ClientSession, ClientTransport,
    client_transport_capsule_name,
)
from kafka_cy.network.openssl cimport (
    BIO, BIO_NOCLOSE, BIO_free, BIO_new_socket, ERR_clear_error, ERR_get_error, ERR_reason_error_string, SSL, SSL_CTX,
    SSL_CTX_free, SSL_CTX_up_ref, SSL_ERROR_SYSCALL, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN,
    SSL_METHOD, SSL_VERIFY_PEER, SSL_do_handshake, SSL_free, SSL_get_error, SSL_get_verify_result, SSL_is_init_finished,
    SSL_new, SSL_read, SSL_set0_rbio, SSL_set0_wbio, SSL_set_accept_state, SSL_shutdown, SSL_write, X509_V_OK,
    X509_verify_cert_error_string,
)
from kafka_cy.network.tls cimport TlsContext
from kafka_cy.network.transport cimport FAILURE_BYTES_MAX

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct X509_VERIFY_PARAM
    const SSL_METHOD* TLS_client_method()
    int SSL_pending(const SSL* ssl)
    int SSL_set_ssl_method(SSL* ssl, const SSL_METHOD* method)
    void SSL_set_connect_state(SSL* ssl)
    void SSL_set_verify(SSL* ssl, int mode, void* callback)
    int SSL_set1_host(SSL* ssl, const char* host)
    long SSL_set_tlsext_host_name(SSL* ssl, const char* name)
    X509_VERIFY_PARAM* SSL_get0_param(SSL* ssl)
    int BIO_up_ref(BIO* bio)
    int BIO_new_bio_pair(BIO** one, size_t size, BIO** other, size_t other_size)

cdef extern from "<openssl/x509v3.h>" nogil:
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM* parameters, const char* address)
    int X509_VERIFY_PARAM_set1_ip(X509_VERIFY_PARAM* parameters, const uint8_t* address, size_t size)


# `base` is the first field.
cdef struct TlsClientSession:
    ClientSession base
    SSL* ssl
    bint broken             # nothing more may be sent, not even close_notify


# Purpose: with what new sessions are opened. Owner: a TlsClient. Lock: client_rules_mutex, for the fields below it.
cdef struct TlsClientRules:
    pthread_mutex_t client_rules_mutex
    SSL_CTX* context        # one reference
    bint verify_host


cdef enum:
    HANDSHAKE_TURNS_MAX = 100   # of both sides; a handshake takes four at most


cdef bint set_peer(SSL* ssl, const char* host, bint verify_host) noexcept nogil:
    """An address is no server name (RFC 6066), and is compared with the addresses in the certificate."""
    if X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1:
        if not verify_host:
            X509_VERIFY_PARAM_set1_ip(SSL_get0_param(ssl), NULL, 0)
        return True
    ERR_clear_error()
    if SSL_set_tlsext_host_name(ssl, host) != 1:
        return False
    return not verify_host or SSL_set1_host(ssl, host) == 1


cdef SSL* new_client(SSL_CTX* context) noexcept nogil:
    """NULL: no memory."""
    cdef SSL* ssl = SSL_new(context)
    if ssl != NULL and SSL_set_ssl_method(ssl, TLS_client_method()) != 1:
        SSL_free(ssl)
        return NULL
    if ssl != NULL:
        SSL_set_connect_state(ssl)
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL)
    return ssl


cdef SSL* new_client_to(TlsClientRules* rules, const char* host) noexcept nogil:
    """With the rules of now. NULL: no memory."""
    cdef SSL_CTX* context
    cdef SSL* ssl
    cdef bint verify_host
    pthread_mutex_lock(&rules.client_rules_mutex)
    context = rules.context
    verify_host = rules.verify_host
    SSL_CTX_up_ref(context)
    pthread_mutex_unlock(&rules.client_rules_mutex)
    ssl = new_client(context)
    SSL_CTX_free(context)       # the session holds its own reference
    if ssl != NULL and not set_peer(ssl, host, verify_host):
        SSL_free(ssl)
        return NULL
    return ssl


cdef ClientSession* client_open(ClientTransport* transport, int fd, const char* host) noexcept nogil:
    cdef TlsClientSession* session = <TlsClientSession*>calloc(1, sizeof(TlsClientSession))
    cdef BIO* socket
    if session == NULL:
        return NULL
    ERR_clear_error()
    session.ssl = new_client_to(<TlsClientRules*>transport.context, host)
    socket = BIO_new_socket(fd, BIO_NOCLOSE)
    if session.ssl == NULL or socket == NULL:
        BIO_free(socket)
        SSL_free(session.ssl)
        free(session)
        return NULL
    BIO_up_ref(socket)
    SSL_set0_rbio(session.ssl, socket)
    SSL_set0_wbio(session.ssl, socket)
    session.base.receive = client_receive
    session.base.send = client_send
    session.base.shake_hands = client_shake_hands
    session.base.pending = client_pending
    session.base.close = client_close
    return &session.base


cdef ssize_t unfinished(TlsClientSession* session, int result) noexcept nogil:
    """Nothing was read or written: why. Returns 0."""
    cdef int error = SSL_get_error(session.ssl, result)
    if error == SSL_ERROR_WANT_READ:
        session.base.wants = CLIENT_WANTS_READ
    elif error == SSL_ERROR_WANT_WRITE:
        session.base.wants = CLIENT_WANTS_WRITE
    elif error == SSL_ERROR_ZERO_RETURN:
        session.base.wants = CLIENT_WANTS_NOTHING
    else:
        session.base.wants = CLIENT_BROKEN
        session.broken = True
        describe(session.base.failure, session.ssl, error)
    return 0


cdef void describe(char* failure, SSL* ssl, int error) noexcept nogil:
    """Why SSL_get_error said `error`; unchanged if the socket failed. `failure` has FAILURE_BYTES_MAX."""
    cdef const char* reason = ERR_reason_error_string(ERR_get_error())
    cdef long verified = SSL_get_verify_result(ssl)
    if verified != X509_V_OK:
        snprintf(failure, FAILURE_BYTES_MAX, "its certificate is not accepted: %s", X509_verify_cert_error_string(verified))
    elif error != SSL_ERROR_SYSCALL and reason != NULL:
        snprintf(failure, FAILURE_BYTES_MAX, "TLS: %s", reason)


cdef ssize_t client_receive(ClientSession* base, uint8_t* data, size_t size) noexcept nogil:
    cdef TlsClientSession* session = <TlsClientSession*>base
    cdef int n
    ERR_clear_error()
    n = SSL_read(session.ssl, data, <int>min(size, <size_t>0x40000000))
    return n if n > 0 else unfinished(session, n)


cdef ssize_t client_send(ClientSession* base, const uint8_t* data, size_t size) noexcept nogil:
    cdef TlsClientSession* session = <TlsClientSession*>base
    cdef int n
    ERR_clear_error()
    n = SSL_write(session.ssl, data, <int>min(size, <size_t>0x40000000))
    return n if n > 0 else unfinished(session, n)


cdef bint client_shake_hands(ClientSession* base) noexcept nogil:
    cdef TlsClientSession* session = <TlsClientSession*>base
    cdef int result
    ERR_clear_error()
    result = SSL_do_handshake(session.ssl)
    if result == 1:
        return True
    unfinished(session, result)
    return False


cdef ssize_t client_pending(ClientSession* base) noexcept nogil:
    return SSL_pending((<TlsClientSession*>base).ssl)


cdef void client_close(ClientSession* base) noexcept nogil:
    cdef TlsClientSession* session = <TlsClientSession*>base
    ERR_clear_error()
    if not session.broken and SSL_is_init_finished(session.ssl):
        SSL_shutdown(session.ssl)
    SSL_free(session.ssl)
    ERR_clear_error()
    free(session)


# -- whether two contexts understand each other --

cdef int shake_hands(SSL* client, SSL* server, char* failure) noexcept nogil:
    """Whether both finish. `failure`: why not, of the side that refused."""
    cdef SSL* side
    cdef int turn
    cdef int result
    cdef int error
    for turn in range(HANDSHAKE_TURNS_MAX):
        side = server if turn & 1 else client
        ERR_clear_error()
        result = SSL_do_handshake(side)
        error = SSL_get_error(side, result)
        if result != 1 and error != SSL_ERROR_WANT_READ and error != SSL_ERROR_WANT_WRITE:
            describe(failure, side, error)
            return False
        if SSL_is_init_finished(client) and SSL_is_init_finished(server):
            return True
    return False


def handshake_problem(TlsContext client not None, TlsContext server not None):
    """Why a connection from `client` to `server` would fail, whatever the host; None: it would not. In memory, in a few ms."""
    cdef SSL* connecting = new_client(client.context)
    cdef SSL* accepting = SSL_new(server.context)
    cdef BIO* one = NULL
    cdef BIO* other = NULL
    cdef char[FAILURE_BYTES_MAX] failure
    cdef bint succeeded
    failure[0] = 0
    if connecting == NULL or accepting == NULL or BIO_new_bio_pair(&one, 0, &other, 0) != 1:
        SSL_free(connecting)
        SSL_free(accepting)
        raise MemoryError
    BIO_up_ref(one)
    SSL_set0_rbio(connecting, one)
    SSL_set0_wbio(connecting, one)
    BIO_up_ref(other)
    SSL_set0_rbio(accepting, other)
    SSL_set0_wbio(accepting, other)
    SSL_set_accept_state(accepting)
    with nogil:
        succeeded = shake_hands(connecting, accepting, failure)
        SSL_free(connecting)
        SSL_free(accepting)
        ERR_clear_error()
    return None if succeeded else (<bytes>failure).decode(errors="replace") or "the handshake does not end"


cdef void let_go(object capsule) noexcept:
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


cdef class TlsClient:
    """Connects with the key, the certificates and the rules of `context`, which must not change any more."""

    cdef TlsClientRules rules
    cdef ClientTransport to_sessions

    def __cinit__(self, TlsContext context not None, bint verify_host=True):
        pthread_mutex_init(&self.rules.client_rules_mutex, NULL)
        SSL_CTX_up_ref(context.context)
        self.rules.context = context.context
        self.rules.verify_host = verify_host
        self.to_sessions.open = client_open
        self.to_sessions.context = &self.rules

    def __dealloc__(self):
        SSL_CTX_free(self.rules.context)
        pthread_mutex_destroy(&self.rules.client_rules_mutex)

    def use(self, TlsContext context not None, bint verify_host=True):
        """Open new sessions with this context; open ones keep the one that they have. Safe at any time."""
        cdef SSL_CTX* other = context.context
        SSL_CTX_up_ref(other)
        with nogil:
            pthread_mutex_lock(&self.rules.client_rules_mutex)
            self.rules.context, other = other, self.rules.context
            self.rules.verify_host = verify_host
            pthread_mutex_unlock(&self.rules.client_rules_mutex)
        SSL_CTX_free(other)

    @property
    def transport(self):
        """A capsule for BrokerConnection and ReplicaFetcher. It keeps this object alive."""
        capsule = PyCapsule_New(&self.to_sessions, client_transport_capsule_name(), let_go)
        PyCapsule_SetContext(capsule, <void*>self)
        Py_INCREF(self)
        return capsule
