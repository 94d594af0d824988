"""One connection to another broker: requests and responses without the GIL. See broker_client.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.network.client_transport cimport ClientLogin, ClientSession, ClientTransport
from kafka_cy.records.wire cimport Reader, Writer

cdef enum:
    HOST_BYTES_MAX = 255
    CLIENT_ID_BYTES_MAX = 255
    CLIENT_FAILURE_BYTES_MAX = 200
    REQUEST_BYTES_MAX = 100 << 20           # also of a response, unless the caller allows less
    RESPONSE_KEPT_BYTES_MAX = 16 << 20      # a larger buffer is freed after its response

cdef enum ClientError:
    CLIENT_OK = 0
    CLIENT_UNREACHABLE = 1      # the name does not resolve, or no address accepts
    CLIENT_BACKING_OFF = 2      # it was unreachable shortly before: not tried
    CLIENT_TIMED_OUT = 3
    CLIENT_CLOSED = 4           # by the peer, or the socket or its encryption failed
    CLIENT_CONFUSED = 5         # no response to the request that was sent, or a larger one than allowed
    CLIENT_NO_MEMORY = 6
    CLIENT_STOPPED = 7          # `stop_fd` became readable
    CLIENT_NOT_LOGGED_IN = 8    # the broker refused the login

# Purpose: the connection of one thread to one broker, one request at a time. It connects when a request needs it, and again
#   after a failure, which ends the connection: after it nobody knows which response comes next.
# Owner: one thread at a time; no locks. Only `stop_fd` may be made readable by another one.
# Limits: a response of `response_bytes_max`; the buffer is kept for the next one up to RESPONSE_KEPT_BYTES_MAX.
cdef struct BrokerClient:
    char host[HOST_BYTES_MAX + 1]
    int32_t port
    char client_id[CLIENT_ID_BYTES_MAX + 1]
    ClientTransport* transport  # NULL: plaintext
    ClientLogin* login          # NULL: no SASL
    int stop_fd                 # -1: none
    int64_t timeout_ns          # of connecting, and of a request with its response
    int64_t backoff_min_ns      # after a connection that could not be made; doubled each time
    int64_t backoff_max_ns
    size_t response_bytes_max
    # its own
    int fd                      # -1: not connected
    ClientSession* session      # NULL with plaintext
    int32_t correlation_id
    int32_t failures            # connections in a row that could not be made
    bint unanswered             # this connection, or the last one, had no response (those of a login do not count)
    int64_t login_again_ns      # before the session ends (KIP-368); 0: it does not
    int64_t retry_ns            # not before this time (monotonic)
    uint8_t* response
    size_t response_capacity
    char failure[CLIENT_FAILURE_BYTES_MAX]      # why the last call failed, in words

# An unconnected client. host and client_id are cut at their limits.
cdef void client_init(
    BrokerClient* client, const char* host, int32_t port, const char* client_id, ClientTransport* transport, int stop_fd
) noexcept nogil
# Begin a request: its frame and header; the body follows. `flexible`: header version 2, else 1.
cdef void client_begin(BrokerClient* client, Writer* w, int16_t api_key, int16_t version, bint flexible) noexcept nogil
# Send the request and wait for the response: a ClientError. `body` reads what follows the response's header, until the next call.
# `flexible`: of the response's header.
cdef int client_call(BrokerClient* client, Writer* w, bint flexible, Reader* body) noexcept nogil
# When a client that is CLIENT_BACKING_OFF tries again, monotonic.
cdef int64_t client_retry_ns(const BrokerClient* client) noexcept nogil
cdef void client_disconnect(BrokerClient* client) noexcept nogil
cdef int64_t client_logins_failed() noexcept nogil      # of all clients, so far
cdef void client_free(BrokerClient* client) noexcept nogil     # closes and frees what it holds
