"""TLS sessions, using OpenSSL: the handshake on job threads, everything else on the connection's reactor, all without the GIL.

A session works on the connection's own socket. All bytes of one read are decrypted at once, so that no data waits inside
OpenSSL where epoll cannot see it, and a client's work per turn is bounded by that read.
"""
from libc.errno cimport EAGAIN, EINTR, ENOMEM, EPIPE, errno
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from kafka_cy.base.posix cimport errno_set, recv
from kafka_cy.network.openssl cimport (
    BIO, BIO_NOCLOSE, BIO_free, BIO_new_mem_buf, BIO_new_socket, BIO_number_written, BIO_pending, BIO_set_mem_eof_return,
    ERR_GET_REASON, ERR_clear_error, ERR_get_error, ERR_reason_error_string, SSL, SSL_CTX, SSL_CTX_free, SSL_CTX_up_ref,
    SSL_ERROR_SSL, SSL_ERROR_SYSCALL, SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN, SSL_R_HTTP_REQUEST,
    SSL_R_WRONG_VERSION_NUMBER, SSL_do_handshake, SSL_free, SSL_get0_peer_certificate, SSL_get_error, SSL_get_rbio,
    SSL_get_verify_result, SSL_get_wbio, SSL_new, SSL_read, SSL_set0_rbio, SSL_set0_wbio, SSL_set_accept_state,
    SSL_shutdown, SSL_write, X509, X509_NAME, X509_V_OK, X509_cmp_current_time, X509_get0_notAfter, X509_get_subject_name,
    X509_verify_cert_error_string, i2d_X509_NAME,
)
from kafka_cy.network.transport cimport FAILURE_BYTES_MAX, RECORD_BYTES_MAX, Session, Transport

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_PEEK

cdef enum:
    HANDSHAKE_BYTES_MAX = 16384     # read in one step of a handshake
    HANDSHAKE_RECORD = 22           # the first byte of a ClientHello

cdef const uint8_t* NOTHING = b""
cdef const char* NO_MEMORY = b"out of memory"

# `base` is the first field: the network layer sees only that. Owner: the connection's reactor; the job thread in shake_hands.
cdef struct TlsSession:
    Session base
    SSL_CTX* context        # one reference, until `ssl` is made
    SSL* ssl                # NULL until the first bytes came: a connection that says nothing costs little
    int fd
    uint8_t* kept           # input that OpenSSL has not read; usually NULL
    size_t kept_size
    bint broken             # nothing more may be sent, not even close_notify


cdef Session* tls_open(Transport* transport, int fd) noexcept nogil:
    cdef TlsSession* session = <TlsSession*>calloc(1, sizeof(TlsSession))
    if session == NULL:
        return NULL
    session.fd = fd
    session.context = <SSL_CTX*>transport.context
    SSL_CTX_up_ref(session.context)
    session.base.shake_hands = tls_shake_hands
    session.base.receive = tls_receive
    session.base.send = tls_send
    session.base.close = tls_close
    session.base.subject = tls_subject
    return &session.base


cdef void fail(TlsSession* session, const char* reason) noexcept nogil:
    """The connection ends, and nothing more is sent. Without a reason (NULL) the client has left, and nobody is told."""
    session.base.ended = True
    session.broken = True
    if reason != NULL and not session.base.failure[0]:
        snprintf(session.base.failure, FAILURE_BYTES_MAX, "%s", reason)


# -- the handshake --

cdef void tls_shake_hands(Session* base) noexcept nogil:
    cdef TlsSession* session = <TlsSession*>base
    cdef uint8_t[HANDSHAKE_BYTES_MAX] received
    cdef uint8_t* input = session.kept if session.kept != NULL else received
    cdef size_t size = session.kept_size
    cdef ssize_t there
    cdef int result
    if not base.wants_write:
        there = recv(session.fd, received, HANDSHAKE_BYTES_MAX, 0)
        if there < 0 and is_momentary(errno):
            return
        if there <= 0 or nobody_waits(session, received):
            fail(session, NULL)
            return
        input = received
        size = <size_t>there
    base.wants_write = False
    if not ssl_made(session) or not input_set(session, input, size):
        fail(session, NO_MEMORY)
        return
    ERR_clear_error()
    result = SSL_do_handshake(session.ssl)
    while result != 1 and goes_on(session, result):
        result = SSL_do_handshake(session.ssl)
    base.answered_bytes = <int64_t>BIO_number_written(SSL_get_wbio(session.ssl))
    if result == 1:
        # Also of a resumed session: its ticket holds the certificate, and OpenSSL looks at the chain in full handshakes only.
        base.certified = SSL_get0_peer_certificate(session.ssl) != NULL
        base.established = not base.certified or not is_expired(session)
    keep_rest(session, input, size)


cdef inline bint is_momentary(int error) noexcept nogil:
    return error == EAGAIN or error == EINTR


cdef bint nobody_waits(TlsSession* session, const uint8_t* received) noexcept nogil:
    """Whether a client has left that has sent no more than its ClientHello: to answer it would hold up the others.

    What is no ClientHello is not ignored: there is a reason to log.
    """
    cdef uint8_t following
    cdef ssize_t there
    if session.ssl != NULL or received[0] != HANDSHAKE_RECORD:
        return False
    there = recv(session.fd, &following, 1, MSG_PEEK)
    return there == 0 or (there < 0 and not is_momentary(errno))


cdef bint ssl_made(TlsSession* session) noexcept nogil:
    """Make OpenSSL's session with the first bytes. False: no memory."""
    cdef BIO* output
    if session.ssl != NULL:
        return True
    session.ssl = SSL_new(session.context)
    output = BIO_new_socket(session.fd, BIO_NOCLOSE)
    if session.ssl == NULL or output == NULL:
        BIO_free(output)
        return False
    SSL_CTX_free(session.context)
    session.context = NULL
    SSL_set0_wbio(session.ssl, output)
    SSL_set_accept_state(session.ssl)
    return True


cdef bint is_expired(TlsSession* session) noexcept nogil:
    """Whether the client's certificate has expired; then the connection ends. A client that resumes is refused, too."""
    if X509_cmp_current_time(X509_get0_notAfter(SSL_get0_peer_certificate(session.ssl))) > 0:
        return False
    fail(session, b"certificate has expired")
    return True


# -- data --

cdef size_t tls_receive(Session* base, uint8_t* data, uint8_t* scratch, size_t size) noexcept nogil:
    cdef TlsSession* session = <TlsSession*>base
    cdef uint8_t* input = session.kept if session.kept != NULL else scratch
    cdef size_t input_size = session.kept_size
    cdef size_t got = 0
    cdef ssize_t there
    cdef int n
    if base.ended:
        return 0
    if session.kept == NULL and not base.wants_write:
        # Less than the free space: the start of a record may already be inside.
        there = recv(session.fd, scratch, size - RECORD_BYTES_MAX, 0)
        if there <= 0:
            base.ended = there == 0 or not is_momentary(errno)
            session.broken = base.ended     # the peer closed without close_notify: send none either
            return 0
        input_size = <size_t>there
    base.wants_write = False
    if not input_set(session, input, input_size):
        fail(session, NO_MEMORY)
        return 0
    ERR_clear_error()
    while True:
        n = SSL_read(session.ssl, data + got, <int>(size - got))
        if n > 0:
            got += <size_t>n
        elif not goes_on(session, n):
            break
    if base.wants_write or session.kept != NULL:
        keep_rest(session, input, input_size)
    return got


cdef bint input_set(TlsSession* session, const uint8_t* data, size_t size) noexcept nogil:
    """Let OpenSSL read these bytes and then see the socket as empty. False: no memory."""
    cdef BIO* input = BIO_new_mem_buf(data, <int>size)
    if input == NULL:
        return False
    BIO_set_mem_eof_return(input, -1)
    SSL_set0_rbio(session.ssl, input)
    return True


cdef bint goes_on(TlsSession* session, int result) noexcept nogil:
    """Whether to call OpenSSL again after it returned nothing. False also at the end and after failures; both are recorded."""
    cdef int error = SSL_get_error(session.ssl, result)
    if error == SSL_ERROR_WANT_READ:        # this may follow a record without data
        return BIO_pending(SSL_get_rbio(session.ssl)) > 0
    if error == SSL_ERROR_WANT_WRITE:
        session.base.wants_write = True
        return False
    session.base.ended = True
    if error != SSL_ERROR_ZERO_RETURN:
        session.broken = True
        if error != SSL_ERROR_SYSCALL:
            describe_failure(session)
        elif errno == ENOMEM:               # otherwise the socket failed
            fail(session, NO_MEMORY)
    return False


cdef void keep_rest(TlsSession* session, const uint8_t* input, size_t size) noexcept nogil:
    """Keep what OpenSSL has not read of the input, whose memory is another's from now on."""
    cdef size_t rest = <size_t>BIO_pending(SSL_get_rbio(session.ssl)) if not session.base.ended else 0
    cdef uint8_t* kept = <uint8_t*>malloc(rest) if rest else NULL
    if kept != NULL:
        memcpy(kept, input + size - rest, rest)
    free(session.kept)
    session.kept = kept
    session.kept_size = rest if kept != NULL else 0
    session.base.holds_input = kept != NULL and not session.base.wants_write
    if not input_set(session, NOTHING, 0) or (rest and kept == NULL):
        fail(session, NO_MEMORY)


cdef size_t tls_subject(Session* base, uint8_t* name, size_t size) noexcept nogil:
    cdef X509* certificate = SSL_get0_peer_certificate((<TlsSession*>base).ssl)
    cdef X509_NAME* subject
    cdef int needed
    if certificate == NULL:
        return 0
    subject = X509_get_subject_name(certificate)
    needed = i2d_X509_NAME(subject, NULL)
    if needed <= 0 or <size_t>needed > size:
        return 0
    return <size_t>i2d_X509_NAME(subject, &name)


cdef void describe_failure(TlsSession* session) noexcept nogil:
    cdef unsigned long error = ERR_get_error()
    cdef const char* reason = ERR_reason_error_string(error)
    cdef long verified = SSL_get_verify_result(session.ssl)
    if ERR_GET_REASON(error) == SSL_R_WRONG_VERSION_NUMBER or ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST:
        reason = b"this is plaintext; the listener speaks TLS"
    elif reason == NULL:
        reason = b"unknown error"
    if verified != X509_V_OK:
        snprintf(session.base.failure, FAILURE_BYTES_MAX, "%s (%s)", reason, X509_verify_cert_error_string(verified))
    else:
        snprintf(session.base.failure, FAILURE_BYTES_MAX, "%s", reason)


cdef ssize_t tls_send(Session* base, const uint8_t* data, size_t size) noexcept nogil:
    cdef TlsSession* session = <TlsSession*>base
    cdef int n
    cdef int error
    ERR_clear_error()
    n = SSL_write(session.ssl, data, <int>size)
    if n > 0:
        return n
    error = SSL_get_error(session.ssl, n)
    if error == SSL_ERROR_WANT_WRITE:
        errno_set(EAGAIN)
        return -1
    session.broken = True           # also if it wants to read: a partial KeyUpdate is not worth waiting for
    if error == SSL_ERROR_SSL:      # no memory; otherwise the socket failed
        describe_failure(session)
    errno_set(EPIPE)
    return -1


cdef void tls_close(Session* base) noexcept nogil:
    cdef TlsSession* session = <TlsSession*>base
    ERR_clear_error()
    if base.established and not session.broken:
        SSL_shutdown(session.ssl)       # OpenSSL clients treat end of stream without close_notify as an error
    SSL_free(session.ssl)
    SSL_CTX_free(session.context)
    ERR_clear_error()
    free(session.kept)
    free(session)
