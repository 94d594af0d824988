"""One connection to another broker: framing, correlation, time-outs, back-off after failures; TLS through a ClientTransport.

Connections to a listener with SASL log in first (broker_login.pyx), and again before their session ends.
The owner thread blocks in poll; `stop_fd` (an eventfd) ends every wait. Versions are the caller's: between brokers they follow from
`inter.broker.protocol.version`, nothing is negotiated. For Python threads: broker_connection.pyx.
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memset, strerror, strlen

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_relaxed_i64
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.base.posix cimport MSG_NOSIGNAL, close, recv, send
from kafka_cy.base.posix_connect cimport (
    CONNECT_STOPPED, CONNECT_UNRESOLVED, ETIMEDOUT, POLLIN, POLLOUT, connect_to, wait_for_socket,
)
from kafka_cy.network.client_transport cimport (
    CLIENT_WANTS_READ, CLIENT_WANTS_WRITE, LOGIN_COMPLETE, LOGIN_FAILED, LOGIN_FAILURE_BYTES_MAX, LOGIN_TOKEN_BYTES_MAX,
    LOGIN_WAITS,
)
from kafka_cy.records.wire cimport (
    load_be32, read_bytes, read_int16, read_int32, read_int64, read_string, reader_init, skip_tagged_fields, store_be32,
    write_int16, write_int32, write_int8, write_raw, write_string, writer_free, writer_init,
)

cdef enum:
    SIZE_BYTES = 4
    CORRELATION_ID_AT = 8       # in a frame: behind its size, API key and version
    BACKOFF_DOUBLINGS_MAX = 10
    SASL_HANDSHAKE_KEY = 17
    SASL_AUTHENTICATE_KEY = 36
    SASL_VERSION = 1            # of both
    SESSION_MS_MAX = 1 << 30    # longer ones count as these 12 days
    LOGIN_AGAIN_PERCENT = 85    # of a session's lifetime, as Kafka's clients at the earliest
    LOGIN_REASON_BYTES_MAX = 120

#: At least so long are the pauses in the end between connections that are closed before the first response, with TLS or SASL: each
#: handshake costs both brokers milliseconds, and a certificate or a password that is refused stays refused.
cdef int64_t HANDSHAKE_BACKOFF_MAX_NS = <int64_t>1000 * 1000000
#: Between two looks whether a login has the ticket that it waits for.
cdef int64_t CREDENTIAL_PAUSE_NS = <int64_t>10 * 1000000
cdef int64_t logins_failed = 0      # (a)


cdef void client_init(
    BrokerClient* client, const char* host, int32_t port, const char* client_id, ClientTransport* transport, int stop_fd
) noexcept nogil:
    memset(client, 0, sizeof(BrokerClient))
    snprintf(client.host, sizeof(client.host), "%s", host)
    snprintf(client.client_id, sizeof(client.client_id), "%s", client_id)
    client.port = port
    client.transport = transport
    if transport != NULL and transport.login != NULL:
        client.login = transport.login
        client.transport = transport.encryption
    client.stop_fd = stop_fd
    client.timeout_ns = 30000 * <int64_t>1000000
    client.backoff_min_ns = 50 * <int64_t>1000000
    client.backoff_max_ns = 1000 * <int64_t>1000000
    client.response_bytes_max = REQUEST_BYTES_MAX
    client.fd = -1


cdef void client_disconnect(BrokerClient* client) noexcept nogil:
    if client.session != NULL:
        client.session.close(client.session)
        client.session = NULL
    if client.fd >= 0:
        close(client.fd)
        client.fd = -1


cdef void client_free(BrokerClient* client) noexcept nogil:
    client_disconnect(client)
    free(client.response)
    client.response = NULL
    client.response_capacity = 0


cdef int64_t client_retry_ns(const BrokerClient* client) noexcept nogil:
    return client.retry_ns


cdef int fail(BrokerClient* client, int error, const char* why) noexcept nogil:
    """The connection ends."""
    snprintf(client.failure, sizeof(client.failure), "%s", why)
    client_disconnect(client)
    return error


cdef int fail_waiting(BrokerClient* client, int failed) noexcept nogil:
    if failed == CONNECT_STOPPED:
        return fail(client, CLIENT_STOPPED, b"stopped")
    if failed == ETIMEDOUT:
        return fail(client, CLIENT_TIMED_OUT, b"no response in time")
    return fail(client, CLIENT_CLOSED, strerror(failed))


# -- connecting --

cdef int connect_client(BrokerClient* client, int64_t deadline_ns) noexcept nogil:
    cdef int failed
    if monotonic_ns() < client.retry_ns:
        return CLIENT_BACKING_OFF       # `failure` still says why
    failed = connect_to(client.host, client.port, client.stop_fd, deadline_ns, &client.fd)
    if not failed and client.transport != NULL:
        client.session = client.transport.open(client.transport, client.fd, client.host)
        if client.session == NULL:
            return fail(client, CLIENT_NO_MEMORY, b"out of memory")
    client.unanswered = not failed
    if not failed:
        return CLIENT_OK
    client.fd = -1
    if failed == CONNECT_STOPPED:
        return fail_waiting(client, failed)
    back_off(client)
    if failed == CONNECT_UNRESOLVED:
        return fail(client, CLIENT_UNREACHABLE, b"its name cannot be resolved")
    return fail(client, CLIENT_UNREACHABLE, strerror(failed))


cdef void back_off(BrokerClient* client) noexcept nogil:
    cdef int64_t pause_ns = client.backoff_min_ns << min(client.failures, <int32_t>BACKOFF_DOUBLINGS_MAX)
    cdef int64_t longest_ns = client.backoff_max_ns
    if (client.transport != NULL or client.login != NULL) and client.unanswered:
        longest_ns = max(longest_ns, HANDSHAKE_BACKOFF_MAX_NS)
    client.failures += 1
    client.retry_ns = monotonic_ns() + min(pause_ns, longest_ns)


# -- bytes --

cdef int wait_ready(BrokerClient* client, bint to_send, int64_t deadline_ns) noexcept nogil:
    cdef int failed
    cdef short events = POLLOUT if to_send else POLLIN
    if client.session != NULL:
        events = POLLOUT if client.session.wants == CLIENT_WANTS_WRITE else POLLIN
    failed = wait_for_socket(client.fd, events, client.stop_fd, deadline_ns)
    return fail_waiting(client, failed) if failed else CLIENT_OK


cdef int stream_ended(BrokerClient* client) noexcept nogil:
    if client.session != NULL and client.session.failure[0]:
        return fail(client, CLIENT_CLOSED, client.session.failure)
    if client.session != NULL and client.unanswered:
        # In TLS 1.3 a refusal comes behind the handshake, and is lost if the peer has closed with our request unread.
        return fail(client, CLIENT_CLOSED, b"the broker closed the connection at once; its log may say why")
    return fail(client, CLIENT_CLOSED, b"the broker closed the connection")


cdef int wait_to_go_on(BrokerClient* client, bint to_send, int64_t deadline_ns) noexcept nogil:
    """After a call that sent or received nothing: wait until the next one may, or tell why there is none."""
    if client.session == NULL:
        if errno == EINTR:
            return CLIENT_OK
        if errno != EAGAIN:
            return fail(client, CLIENT_CLOSED, strerror(errno))
    elif not CLIENT_WANTS_READ <= client.session.wants <= CLIENT_WANTS_WRITE:
        return stream_ended(client)
    return wait_ready(client, to_send, deadline_ns)


cdef int send_all(BrokerClient* client, const uint8_t* data, size_t size, int64_t deadline_ns) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t sent
    cdef int error
    while done < size:
        if client.session != NULL:
            sent = client.session.send(client.session, data + done, size - done)
        else:
            sent = send(client.fd, data + done, size - done, MSG_NOSIGNAL)
        if sent > 0:
            done += <size_t>sent
            continue
        error = wait_to_go_on(client, True, deadline_ns)
        if error:
            return error
    return CLIENT_OK


cdef int receive_all(BrokerClient* client, uint8_t* data, size_t size, int64_t deadline_ns) noexcept nogil:
    cdef size_t done = 0
    cdef ssize_t got
    cdef int error
    while done < size:
        if client.session != NULL:
            got = client.session.receive(client.session, data + done, size - done)
        else:
            got = recv(client.fd, data + done, size - done, 0)
        if got > 0:
            done += <size_t>got
            continue
        if client.session == NULL and got == 0:
            return stream_ended(client)
        error = wait_to_go_on(client, False, deadline_ns)
        if error:
            return error
    return CLIENT_OK


# -- requests --

cdef void client_begin(BrokerClient* client, Writer* w, int16_t api_key, int16_t version, bint flexible) noexcept nogil:
    cdef int16_t size = <int16_t>strlen(client.client_id)
    write_int32(w, 0)
    write_int16(w, api_key)
    write_int16(w, version)
    write_int32(w, 0)
    write_int16(w, size)
    write_raw(w, client.client_id, <size_t>size)
    if flexible:
        write_int8(w, 0)


cdef int room_for(BrokerClient* client, size_t size) noexcept nogil:
    cdef uint8_t* larger
    if size > client.response_bytes_max:
        return fail(client, CLIENT_CONFUSED, b"its response is larger than allowed")
    if client.response_capacity >= size and (
        client.response_capacity <= RESPONSE_KEPT_BYTES_MAX or size > RESPONSE_KEPT_BYTES_MAX
    ):
        return CLIENT_OK
    larger = <uint8_t*>malloc(size)
    if larger == NULL:
        return fail(client, CLIENT_NO_MEMORY, b"out of memory")
    free(client.response)
    client.response = larger
    client.response_capacity = size
    return CLIENT_OK


cdef int receive_frame(BrokerClient* client, int64_t deadline_ns, size_t* size) noexcept nogil:
    cdef uint8_t[SIZE_BYTES] head
    cdef int error = receive_all(client, head, SIZE_BYTES, deadline_ns)
    if error:
        return error
    if <int32_t>load_be32(head) < 4:
        return fail(client, CLIENT_CONFUSED, b"its response has an impossible size")
    size[0] = load_be32(head)
    error = room_for(client, size[0])
    return error if error else receive_all(client, client.response, size[0], deadline_ns)


cdef int exchange(BrokerClient* client, Writer* w, bint flexible, int64_t deadline_ns, Reader* body) noexcept nogil:
    """Send a request over the connection and receive its response."""
    cdef size_t size = 0
    cdef int error
    if w.error:
        return fail(client, CLIENT_NO_MEMORY, b"out of memory")
    client.correlation_id = (client.correlation_id + 1) & 0x7fffffff
    store_be32(w.data, <unsigned int>(w.size - SIZE_BYTES))
    store_be32(w.data + CORRELATION_ID_AT, <unsigned int>client.correlation_id)
    error = send_all(client, w.data, w.size, deadline_ns)
    if not error:
        error = receive_frame(client, deadline_ns, &size)
    if error:
        if error == CLIENT_CLOSED:
            back_off(client)            # a broker that closes every connection is not asked in a loop
        return error
    reader_init(body, client.response, size)
    if read_int32(body) != client.correlation_id:
        return fail(client, CLIENT_CONFUSED, b"its response belongs to no request")
    if flexible:
        skip_tagged_fields(body)
    if body.error:
        return fail(client, CLIENT_CONFUSED, b"its response has no header")
    return CLIENT_OK


cdef int client_call(BrokerClient* client, Writer* w, bint flexible, Reader* body) noexcept nogil:
    cdef int64_t deadline_ns = monotonic_ns() + client.timeout_ns
    cdef int error = CLIENT_OK
    if w.error:
        return fail(client, CLIENT_NO_MEMORY, b"out of memory")
    if client.fd < 0:
        error = connect_client(client, deadline_ns)
        if not error and client.login != NULL:
            error = log_in(client, deadline_ns)
    elif client.login_again_ns and monotonic_ns() >= client.login_again_ns:
        error = log_in(client, deadline_ns)
    if not error:
        error = exchange(client, w, flexible, deadline_ns, body)
    if error:
        return error
    client.failures = 0
    client.unanswered = False
    return CLIENT_OK


# -- SASL --

cdef int64_t client_logins_failed() noexcept nogil:
    return atomic_load_relaxed_i64(&logins_failed)


cdef int log_in(BrokerClient* client, int64_t deadline_ns) noexcept nogil:
    """SaslHandshake, and tokens until the broker has accepted one and the login is complete, too (SaslClientAuthenticator)."""
    cdef uint8_t* token = <uint8_t*>malloc(LOGIN_TOKEN_BYTES_MAX)
    cdef void* conversation = NULL
    cdef int error
    if token == NULL:
        return fail(client, CLIENT_NO_MEMORY, b"out of memory")
    error = offer_mechanism(client, deadline_ns)
    client.login_again_ns = 0
    if not error:
        error = converse(client, &conversation, token, deadline_ns)
    client.login.forget(&conversation)
    free(token)
    return error


cdef int converse(BrokerClient* client, void** conversation, uint8_t* token, int64_t deadline_ns) noexcept nogil:
    cdef char[LOGIN_FAILURE_BYTES_MAX] failure
    cdef const uint8_t* challenge = NULL
    cdef int32_t size = 0
    cdef size_t token_size = 0
    cdef int step
    cdef int error = CLIENT_OK
    failure[0] = 0
    while not error:
        step = client.login.step(
            client.login, client.host, conversation, challenge, <size_t>max(size, 0), token, &token_size, failure)
        if step == LOGIN_COMPLETE:
            break
        if step == LOGIN_WAITS:
            error = wait_for_credential(client, deadline_ns)
        elif step == LOGIN_FAILED:
            error = login_failed(client, 0, failure, <int32_t>strlen(failure))
        else:
            error = send_token(client, token, token_size, deadline_ns, &challenge, &size)
    return error


cdef int wait_for_credential(BrokerClient* client, int64_t deadline_ns) noexcept nogil:
    cdef int64_t now_ns = monotonic_ns()
    if now_ns >= deadline_ns:
        return login_failed(client, 0, b"there was no ticket in time", 27)
    if wait_for_socket(-1, 0, client.stop_fd, now_ns + CREDENTIAL_PAUSE_NS) == CONNECT_STOPPED:
        return fail_waiting(client, CONNECT_STOPPED)
    return CLIENT_OK


cdef int login_failed(BrokerClient* client, int code, const char* why, int32_t size) noexcept nogil:
    """The connection ends. `code`: the broker's error, 0 if it was this side that refused."""
    cdef char[CLIENT_FAILURE_BYTES_MAX] text
    cdef int shown = min(max(size, 0), <int32_t>LOGIN_REASON_BYTES_MAX)
    if code:
        snprintf(text, sizeof(text), "the login with %s was refused: error %d %.*s", client.login.mechanism, code, shown, why)
    else:
        snprintf(text, sizeof(text), "the login with %s failed: %.*s", client.login.mechanism, shown, why)
    atomic_add_i64(&logins_failed, 1)
    back_off(client)
    return fail(client, CLIENT_NOT_LOGGED_IN, text)


cdef int offer_mechanism(BrokerClient* client, int64_t deadline_ns) noexcept nogil:
    cdef Writer w
    cdef Reader body
    cdef int code
    cdef int error
    writer_init(&w, REQUEST_BYTES_MAX)
    client_begin(client, &w, SASL_HANDSHAKE_KEY, SASL_VERSION, False)
    write_string(&w, False, client.login.mechanism, <int32_t>strlen(client.login.mechanism))
    error = exchange(client, &w, False, deadline_ns, &body)
    writer_free(&w)
    if error:
        return error
    code = read_int16(&body)
    if body.error:
        return fail(client, CLIENT_CONFUSED, b"its response to SaslHandshake is malformed")
    return login_failed(client, code, b"(SaslHandshake)", 15) if code else CLIENT_OK


cdef int send_token(
    BrokerClient* client, const uint8_t* token, size_t token_size, int64_t deadline_ns, const uint8_t** challenge, int32_t* size
) noexcept nogil:
    """`challenge` is the broker's next token, valid until the next exchange."""
    cdef Writer w
    cdef Reader body
    cdef const char* message
    cdef int32_t message_size = 0
    cdef int64_t lifetime_ms
    cdef int code
    cdef int error
    writer_init(&w, REQUEST_BYTES_MAX)
    client_begin(client, &w, SASL_AUTHENTICATE_KEY, SASL_VERSION, False)
    write_int32(&w, <int32_t>token_size)
    write_raw(&w, token, token_size)
    error = exchange(client, &w, False, deadline_ns, &body)
    writer_free(&w)
    if error:
        return error
    code = read_int16(&body)
    message = read_string(&body, False, &message_size)
    challenge[0] = <const uint8_t*>read_bytes(&body, False, size)
    lifetime_ms = read_int64(&body)
    if body.error:
        return fail(client, CLIENT_CONFUSED, b"its response to SaslAuthenticate is malformed")
    if code:
        return login_failed(client, code, message, message_size)
    if lifetime_ms > 0:
        client.login_again_ns = monotonic_ns() + min(lifetime_ms, SESSION_MS_MAX) * (<int64_t>LOGIN_AGAIN_PERCENT * 10000)
    return CLIENT_OK
