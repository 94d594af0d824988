"""Client quotas on a reactor: what a request has used, and for how long its connection is not read; see throttle.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.control_queue cimport ControlMessage
from kafka_cy.network.reactor_state cimport Listener, ReactorState
from kafka_cy.network.request cimport Reactor, Request
from kafka_cy.network.timer_wheel cimport Timer
from kafka_cy.quota.sensor cimport CLIENT_KINDS, QUOTA_FETCH, QUOTA_PRODUCE, QUOTA_REQUEST, Sensor, sensor_record
from kafka_cy.quota.table cimport Quotas, quota_is_on
from kafka_cy.records.wire cimport Writer

cdef enum:
    ANONYMOUS_SIZE = 9
    CLIENT_ID_COMPARED_MAX = 128        # of a longer client id, the sensors are looked up for each request
    CLIENT_ID_UNKNOWN = -2              # instead of its size: nothing was looked up yet
    CLIENT_ID_LONG = 0x7fffffff         # longer than that

cdef const char* ANONYMOUS              # KafkaPrincipal.ANONYMOUS: the user of a connection without a principal

# Purpose: the sensors of the user and the client id that a connection used last, and when it will be read again.
# Owner: the connection's reactor. Lifetime: from the first request to which a quota may apply until the connection is destroyed.
cdef struct ClientThrottle:
    Timer timer                         # first field
    Connection* connection
    int64_t until_ns                    # it is not read before
    int64_t version                     # of the quotas, when `sensors` were looked up
    Sensor* sensors[CLIENT_KINDS]       # one reference each; NULL: no quota applies
    int32_t client_id_size              # or CLIENT_ID_UNKNOWN, CLIENT_ID_LONG; 0 also if it is null
    char client_id[CLIENT_ID_COMPARED_MAX]

# Purpose: a socket that was accepted beyond the quota of its address: it is closed later, and not read (KIP-612).
# Owner: the reactor that accepted it.
cdef struct RefusedConnection:
    Timer timer                         # first field
    RefusedConnection* next
    RefusedConnection* prev
    int32_t fd

# -- internal to the network layer --
cdef void throttle_look_up(ReactorState* state, Request* request) noexcept nogil
cdef void throttle_answer(ReactorState* state, Request* request, Writer* w) noexcept nogil
cdef void throttle_handled_slow(ReactorState* state, Request* request, int64_t ticks) noexcept nogil
# Throttles the client of a request that is handled, and writes the throttle time into its response.
cdef void throttle_say(ReactorState* state, Request* request, ClientThrottle* throttle, int64_t throttle_ms) noexcept nogil
cdef int32_t throttle_sizes_slow(Reactor* reactor, Request* request, int kind, int64_t bytes) noexcept nogil
# The client has used too much: returns throttle_time_ms. Bytes of a Fetch are taken back, because it gets none.
cdef int32_t throttle_beyond(
    ReactorState* state, Request* request, ClientThrottle* throttle, int kind, int64_t bytes, int64_t bytes_ms, int64_t time_ms
) noexcept nogil
cdef void throttle_forwarded(ReactorState* state, Request* request) noexcept nogil
cdef void throttle_completed(ReactorState* state, ControlMessage* message) noexcept nogil
cdef void throttle_ended(ReactorState* state, Timer* timer) noexcept nogil
# The client has closed the connection: it is read again at once, which meets the end of the stream.
cdef void throttle_give_up(ReactorState* state, Connection* connection) noexcept nogil
# The connection is another user from now on: its sensors are looked up again.
cdef void throttle_forget_client(Connection* connection) noexcept nogil
cdef void throttle_free(ReactorState* state, Connection* connection) noexcept nogil
# Whether a new connection is refused by the quota of its address: then the socket is taken over.
cdef bint throttle_accepted(ReactorState* state, Listener* listener, Connection* connection) noexcept nogil
cdef void refused_close(ReactorState* state, Timer* timer) noexcept nogil
cdef void refused_close_all(ReactorState* state) noexcept nogil


cdef inline bint is_throttled(ReactorState* state, Connection* connection) noexcept nogil:
    return connection.throttle != NULL and state.shared.now_ns < (<ClientThrottle*>connection.throttle).until_ns


# -- the common case, inline --

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* For the short names of clients, with fewer instructions than a call of memcmp. */
    static inline int kafka_cy_same_bytes(const char *a, const char *b, size_t size) {
        uint64_t left, right;
        size_t at;
        if (size < 8) {
            uint32_t first, second;
            if (size >= 4) {
                memcpy(&first, a, 4); memcpy(&second, b, 4);
                if (first != second) return 0;
                memcpy(&first, a + size - 4, 4); memcpy(&second, b + size - 4, 4);
                return first == second;
            }
            for (at = 0; at < size; at++) if (a[at] != b[at]) return 0;
            return 1;
        }
        memcpy(&left, a, 8); memcpy(&right, b, 8);
        if (left != right) return 0;
        for (at = 8; __builtin_expect(at + 8 < size, 0); at += 8) {
            memcpy(&left, a + at, 8); memcpy(&right, b + at, 8);
            if (left != right) return 0;
        }
        memcpy(&left, a + size - 8, 8); memcpy(&right, b + size - 8, 8);
        return left == right;
    }
    """
    bint same_bytes "kafka_cy_same_bytes"(const char* a, const char* b, size_t size) noexcept nogil


cdef inline bint is_same_client(const ClientThrottle* throttle, const char* client_id, int32_t size) noexcept nogil:
    return throttle.client_id_size == size and same_bytes(throttle.client_id, client_id, <size_t>size)


cdef inline ClientThrottle* throttle_if_same(ReactorState* state, Request* request) noexcept nogil:
    """Return the connection's state if the request comes from the client that it is of, and no quota has changed; else NULL. The
    request has not waited: its client id is known."""
    cdef ClientThrottle* throttle = <ClientThrottle*>request.connection.throttle
    if (
        throttle != NULL and throttle.version == atomic_load_relaxed_i64(&(<Quotas*>state.network.quotas).version)
        and is_same_client(throttle, request.client_id, request.client_id_size)
    ):
        return throttle
    return NULL


cdef inline int64_t record_ticks(ReactorState* state, Sensor* sensor, int64_t ticks) noexcept nogil:
    """Record time of a request. A client never waits longer than a window for it, as in Kafka."""
    cdef int64_t throttle_ms = sensor_record(sensor, <int64_t>(<double>ticks * state.ns_per_tick), state.shared.now_ns)
    return throttle_ms if throttle_ms < sensor.rate.window_ms else sensor.rate.window_ms


cdef inline void throttle_record_handled(
    ReactorState* state, Request* request, ClientThrottle* throttle, int64_t ticks
) noexcept nogil:
    cdef Sensor* sensor = throttle.sensors[<int>QUOTA_REQUEST]
    cdef int64_t throttle_ms
    if sensor != NULL:
        throttle_ms = record_ticks(state, sensor, ticks)
        if throttle_ms > 0:
            throttle_say(state, request, throttle, throttle_ms)


cdef inline void throttle_handled(ReactorState* state, Request* request, int64_t ticks) noexcept nogil:
    """The handler has taken so long, and its response is complete and not sent yet."""
    cdef ClientThrottle* throttle
    if not quota_is_on(<Quotas*>state.network.quotas, 1 << QUOTA_REQUEST) or request.slot.throttle_decided:
        return
    throttle = throttle_if_same(state, request)
    if throttle != NULL:
        throttle_record_handled(state, request, throttle, ticks)
    else:
        throttle_handled_slow(state, request, ticks)


cdef inline int64_t handler_ticks(ReactorState* state, Request* request) noexcept nogil:
    """How long the handler has worked on the request; if the request has waited since, until then."""
    if request.slot.handled:
        return request.slot.handled - request.slot.begun
    return ticks_now() - state.ticks


cdef inline int32_t throttle_record(
    ReactorState* state, Request* request, ClientThrottle* throttle, int kind, int64_t bytes
) noexcept nogil:
    """Record what a Produce or Fetch has used so far: bytes, and time unless it has no response (acks=0), as in Kafka."""
    cdef Sensor* sensor = throttle.sensors[kind]
    cdef Sensor* timer = throttle.sensors[<int>QUOTA_REQUEST]
    cdef int64_t bytes_ms = 0
    cdef int64_t time_ms = 0
    if sensor != NULL:
        bytes_ms = sensor_record(sensor, bytes, state.shared.now_ns)
    if timer != NULL and (kind == QUOTA_FETCH or request.slot.throttle_at):
        time_ms = record_ticks(state, timer, handler_ticks(state, request))
    if not bytes_ms and not time_ms:
        return 0
    return throttle_beyond(state, request, throttle, kind, bytes, bytes_ms, time_ms)


cdef inline int32_t throttle_sizes(Reactor* reactor, Request* request, int kind, int64_t bytes) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef ClientThrottle* throttle
    if not quota_is_on(<Quotas*>state.network.quotas, 1 << kind | 1 << QUOTA_REQUEST):
        return 0
    request.slot.throttle_decided = True
    throttle = throttle_if_same(state, request) if request.client_id != NULL else NULL
    if throttle == NULL:
        return throttle_sizes_slow(reactor, request, kind, bytes)
    return throttle_record(state, request, throttle, kind, bytes)


# -- for hot handlers --

cdef inline int32_t throttle_produce(Reactor* reactor, Request* request, int64_t size) noexcept nogil:
    """Record what a Produce has used: its size, and the time of its handler. Returns throttle_time_ms for the response; if it is
    above 0, the connection is not read for so long, from now on."""
    return throttle_sizes(reactor, request, QUOTA_PRODUCE, size)


cdef inline int32_t throttle_fetch(Reactor* reactor, Request* request, int64_t bytes) noexcept nogil:
    """The same for the bytes of a response; above 0, the response must be empty, and `bytes` are not counted."""
    return throttle_sizes(reactor, request, QUOTA_FETCH, bytes)


cdef inline int64_t throttle_fetch_max(Reactor* reactor, Request* request) noexcept nogil:
    """The largest response to a fetch that could ever be sent. The client id is compared when the response is made."""
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef Quotas* quotas = <Quotas*>state.network.quotas
    cdef ClientThrottle* throttle
    if not quota_is_on(quotas, 1 << QUOTA_FETCH):
        return 0x7fffffffffffffff
    throttle = <ClientThrottle*>request.connection.throttle
    if throttle == NULL or throttle.version != atomic_load_relaxed_i64(&quotas.version):
        throttle_look_up(state, request)
        throttle = <ClientThrottle*>request.connection.throttle
    if throttle == NULL or throttle.sensors[<int>QUOTA_FETCH] == NULL:
        return 0x7fffffffffffffff
    return atomic_load_relaxed_i64(&throttle.sensors[<int>QUOTA_FETCH].harmless)
