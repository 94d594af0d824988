"""Applies client quotas to the requests of a reactor (KIP-13, KIP-124, KIP-599, KIP-612).

A request is answered at once, also by a client that has used too much. Its response says for how long (throttle_time_ms), and its
connection is not read for so long (KIP-219), whatever the client does. A throttled Fetch gets an empty response, and the bytes
that it would have got are not counted.

What a request has used is known when its response is written: a byte quota counts then, and the time that its handler took
on the reactor and on a loop of the control plane. Kafka also counts the time of its network threads.

The time of most requests is known without another look at the clock when the handler has returned (dispatch.pyx counts it for the
metrics, too). The response waits for the end of the turn then, and the throttle time is written into it. Produce and Fetch decide
while they write their response, and a request that has waited does when it is answered.

The common case is inline (throttle.pxd): the client of the request before, and a sum that nothing could make too large.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, strlen

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, counter_add
from kafka_cy.base.histogram cimport histogram_add
from kafka_cy.base.posix cimport close
from kafka_cy.network.connection cimport PAUSE_THROTTLED, Piece, connection_host
from kafka_cy.network.counters cimport TIME_THROTTLE, ApiCounters
from kafka_cy.network.principal cimport Principal
from kafka_cy.network.reactor_state cimport ApiRange, connection_mark_dirty
from kafka_cy.network.timer_wheel cimport TIMER_REFUSED, TIMER_THROTTLE, timer_cancel, timer_set
from kafka_cy.quota.sensor cimport QUOTA_CONNECTION, sensor_delayed, sensor_record, sensor_release
from kafka_cy.quota.table cimport Quotas, quotas_address_sensor, quotas_sensor
from kafka_cy.records.wire cimport load_be32, store_be32

cdef enum:
    SHARE_FETCH_KEY = 78
    TIMED_KINDS = 1 << QUOTA_REQUEST | 1 << QUOTA_FETCH     # what counts for requests of the control plane
    REFUSED_MAX = 1000                  # sockets that a reactor keeps open beyond the quota of their address
    HOST_BYTES_MAX = 64

cdef const char* ANONYMOUS = b"ANONYMOUS"


cdef inline int64_t now_ms(ReactorState* state) noexcept nogil:
    return state.shared.now_ns // 1000000


# -- the client's sensors --

cdef ClientThrottle* throttle_of(Connection* connection) noexcept nogil:
    """Return the connection's state, allocated at first use; NULL without memory, and then no quota applies."""
    cdef ClientThrottle* throttle = <ClientThrottle*>connection.throttle
    if throttle == NULL:
        throttle = <ClientThrottle*>calloc(1, sizeof(ClientThrottle))
        if throttle != NULL:
            throttle.timer.slot = -1
            throttle.timer.kind = TIMER_THROTTLE
            throttle.connection = connection
            throttle.client_id_size = CLIENT_ID_UNKNOWN
            connection.throttle = throttle
    return throttle


cdef void release_sensors(ClientThrottle* throttle) noexcept nogil:
    cdef int kind
    for kind in range(CLIENT_KINDS):
        if throttle.sensors[kind] != NULL:
            sensor_release(throttle.sensors[kind])
            throttle.sensors[kind] = NULL


cdef void look_up(
    ReactorState* state, ClientThrottle* throttle, const char* client_id, int32_t client_id_size
) noexcept nogil:
    cdef Quotas* quotas = <Quotas*>state.network.quotas
    cdef Principal* principal = throttle.connection.principal
    cdef const char* user = ANONYMOUS if principal == NULL else principal.name
    cdef int32_t user_size = ANONYMOUS_SIZE if principal == NULL else principal.size
    cdef int kind
    release_sensors(throttle)
    throttle.version = atomic_load_relaxed_i64(&quotas.version)         # before: a change meanwhile is seen next time
    throttle.client_id_size = client_id_size if client_id_size <= CLIENT_ID_COMPARED_MAX else CLIENT_ID_LONG
    if 0 < client_id_size <= CLIENT_ID_COMPARED_MAX and client_id != throttle.client_id:
        memcpy(throttle.client_id, client_id, <size_t>client_id_size)
    for kind in range(CLIENT_KINDS):
        if quota_is_on(quotas, 1 << kind):
            throttle.sensors[kind] = quotas_sensor(
                quotas, kind, user, user_size, client_id, client_id_size, now_ms(state)
            )


cdef void throttle_forget_client(Connection* connection) noexcept nogil:
    if connection.throttle != NULL:
        (<ClientThrottle*>connection.throttle).client_id_size = CLIENT_ID_UNKNOWN


cdef ClientThrottle* sensors_of(
    ReactorState* state, Connection* connection, const char* client_id, int32_t client_id_size
) noexcept nogil:
    """Return the state with the sensors of this client id; NULL without memory. `client_id` NULL with a size: it is not known any
    more (the request has waited), and the one that was used last counts."""
    cdef ClientThrottle* throttle = throttle_of(connection)
    cdef bint is_current
    if throttle == NULL:
        return NULL
    is_current = throttle.version == atomic_load_relaxed_i64(&(<Quotas*>state.network.quotas).version)
    if client_id == NULL and client_id_size > 0:
        if throttle.client_id_size == CLIENT_ID_UNKNOWN:
            return NULL
        if not is_current and throttle.client_id_size != CLIENT_ID_LONG:
            look_up(state, throttle, throttle.client_id, throttle.client_id_size)
        return throttle
    if client_id_size < 0:              # null
        client_id_size = 0
    if not is_current or not is_same_client(throttle, client_id, client_id_size):
        look_up(state, throttle, client_id, client_id_size)
    return throttle


# -- throttling --

cdef void connection_throttle(ReactorState* state, ClientThrottle* throttle, int64_t throttle_ms) noexcept nogil:
    """Do not read the connection for this time. What it sent before is answered."""
    cdef int64_t until_ns = state.shared.now_ns + throttle_ms * 1000000
    cdef Connection* connection = throttle.connection
    if until_ns <= throttle.until_ns:
        return
    if throttle.until_ns == 0:
        counter_add(&state.counters.throttled, 1)
        counter_add(&state.counters.paused, 1)
    throttle.until_ns = until_ns
    timer_cancel(&state.wheel, &throttle.timer)
    timer_set(&state.wheel, &throttle.timer, until_ns)
    connection.pauses |= PAUSE_THROTTLED
    connection_mark_dirty(state, connection)


cdef void throttle_ended(ReactorState* state, Timer* timer) noexcept nogil:
    cdef ClientThrottle* throttle = <ClientThrottle*>timer
    throttle_forget(state, throttle)
    connection_mark_dirty(state, throttle.connection)


cdef inline void throttle_forget(ReactorState* state, ClientThrottle* throttle) noexcept nogil:
    if throttle.until_ns:
        throttle.until_ns = 0
        counter_add(&state.counters.throttled, -1)


cdef void throttle_give_up(ReactorState* state, Connection* connection) noexcept nogil:
    cdef ClientThrottle* throttle = <ClientThrottle*>connection.throttle
    if throttle != NULL:
        timer_cancel(&state.wheel, &throttle.timer)
        throttle_forget(state, throttle)


cdef void throttle_free(ReactorState* state, Connection* connection) noexcept nogil:
    cdef ClientThrottle* throttle = <ClientThrottle*>connection.throttle
    if throttle == NULL:
        return
    throttle_forget(state, throttle)
    timer_cancel(&state.wheel, &throttle.timer)
    release_sensors(throttle)
    free(throttle)
    connection.throttle = NULL


cdef void count_throttle(ReactorState* state, ApiCounters* api, int64_t throttle_ms) noexcept nogil:
    if api != NULL and state.ns_per_tick > 0.0:
        histogram_add(&api.times[<int>TIME_THROTTLE], <int64_t>(<double>throttle_ms * 1e6 / state.ns_per_tick), 1)


cdef int32_t throttle_for(
    ReactorState* state, ApiCounters* api, ClientThrottle* throttle, Sensor* sensor, int64_t throttle_ms
) noexcept nogil:
    if throttle_ms > 0:
        sensor_delayed(sensor, throttle_ms, now_ms(state))
        connection_throttle(state, throttle, throttle_ms)
        count_throttle(state, api, throttle_ms)
    return <int32_t>throttle_ms


cdef int32_t throttle_sizes_slow(Reactor* reactor, Request* request, int kind, int64_t bytes) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef ClientThrottle* throttle = sensors_of(state, request.connection, request.client_id, request.client_id_size)
    return throttle_record(state, request, throttle, kind, bytes) if throttle != NULL else 0


cdef int32_t throttle_beyond(
    ReactorState* state, Request* request, ClientThrottle* throttle, int kind, int64_t bytes, int64_t bytes_ms, int64_t time_ms
) noexcept nogil:
    if kind == QUOTA_FETCH and throttle.sensors[kind] != NULL:
        sensor_record(throttle.sensors[kind], -bytes, state.shared.now_ns)
    if bytes_ms > time_ms:
        return throttle_for(state, request.api, throttle, throttle.sensors[kind], bytes_ms)
    return throttle_for(state, request.api, throttle, throttle.sensors[<int>QUOTA_REQUEST], time_ms)


cdef void throttle_look_up(ReactorState* state, Request* request) noexcept nogil:
    sensors_of(state, request.connection, request.client_id, request.client_id_size)


cdef void throttle_handled_slow(ReactorState* state, Request* request, int64_t ticks) noexcept nogil:
    cdef ClientThrottle* throttle = sensors_of(state, request.connection, request.client_id, request.client_id_size)
    if throttle != NULL:
        throttle_record_handled(state, request, throttle, ticks)


cdef uint8_t* unsent_response(Request* request) noexcept nogil:
    """Where a response begins that is complete and was not sent, because a reactor sends at the end of its turn. It is at the end
    of the send queue, or in pieces of its slot while earlier responses are missing. NULL: it is not found."""
    cdef Piece* last = request.connection.send_last
    cdef size_t size = request.slot.response_size
    cdef uint8_t* data
    if request.slot.first != NULL:
        return request.slot.first.data
    if last == NULL or last.data == NULL or size < 8 or last.size - last.sent < size:
        return NULL
    data = last.data + last.size - size
    return data if load_be32(data) == size - 4 and <int32_t>load_be32(data + 4) == request.correlation_id else NULL


cdef void throttle_say(ReactorState* state, Request* request, ClientThrottle* throttle, int64_t throttle_ms) noexcept nogil:
    cdef uint8_t* data
    if request.connection.dead or request.slot.close_here:
        return
    throttle_for(state, request.api, throttle, throttle.sensors[<int>QUOTA_REQUEST], throttle_ms)
    data = unsent_response(request) if request.slot.throttle_at else NULL
    if data != NULL:
        store_be32(data + request.slot.throttle_at, <unsigned int>throttle_ms)


cdef void throttle_answer(ReactorState* state, Request* request, Writer* w) noexcept nogil:
    """A request that has waited is answered: count the time of its handler, and say how long the client is to wait."""
    cdef ClientThrottle* throttle
    cdef Sensor* sensor
    cdef uint8_t* data = w.data if request.slot.first == NULL else request.slot.first.data
    cdef int64_t throttle_ms
    if request.slot.throttle_decided or w.error or not quota_is_on(<Quotas*>state.network.quotas, 1 << QUOTA_REQUEST):
        return
    request.slot.throttle_decided = True
    throttle = sensors_of(state, request.connection, request.client_id, request.client_id_size)
    sensor = throttle.sensors[<int>QUOTA_REQUEST] if throttle != NULL else NULL
    if sensor == NULL:
        return
    throttle_ms = record_ticks(state, sensor, request.slot.handled - request.slot.begun)
    if throttle_ms > 0:
        throttle_for(state, request.api, throttle, sensor, throttle_ms)
        if request.slot.throttle_at:
            store_be32(data + request.slot.throttle_at, <unsigned int>throttle_ms)


cdef void throttle_forwarded(ReactorState* state, Request* request) noexcept nogil:
    """A request goes to the control plane: its client id is not known any more when its response comes."""
    if quota_is_on(<Quotas*>state.network.quotas, TIMED_KINDS):
        sensors_of(state, request.connection, request.client_id, request.client_id_size)


cdef int64_t message_throttle_ms(ReactorState* state, ControlMessage* message, ClientThrottle* throttle) noexcept nogil:
    """Record what a request of the control plane has used."""
    cdef Sensor* timer = throttle.sensors[<int>QUOTA_REQUEST]
    cdef Sensor* fetched = throttle.sensors[<int>QUOTA_FETCH]
    cdef int64_t throttle_ms = message.throttle_ms
    cdef int64_t more_ms
    if timer != NULL and state.network.apis[message.api_key].throttled:
        more_ms = record_ticks(state, timer, message.handled - message.begun)
        if more_ms > 0:
            sensor_delayed(timer, more_ms, now_ms(state))
        throttle_ms = max(throttle_ms, more_ms)
    if fetched != NULL and message.api_key == SHARE_FETCH_KEY:
        more_ms = sensor_record(fetched, <int64_t>message.response_size, state.shared.now_ns)
        if more_ms > 0:
            sensor_delayed(fetched, more_ms, now_ms(state))
        throttle_ms = max(throttle_ms, more_ms)
    return throttle_ms


cdef int64_t place_in_response(const ControlMessage* message, const ApiRange* api) noexcept nogil:
    """Where the response has throttle_time_ms, if its version has it. There are no tags, which take a byte."""
    cdef bint flexible = message.api_version >= api.flexible_from
    if api.throttle_at < 0:
        return <int64_t>message.response_size - flexible + api.throttle_at
    return 8 + flexible + api.throttle_at


cdef void throttle_completed(ReactorState* state, ControlMessage* message) noexcept nogil:
    """The response of a loop of the control plane has come."""
    cdef ApiRange* api = &state.network.apis[message.api_key]
    cdef ClientThrottle* throttle
    cdef int64_t throttle_ms
    cdef int64_t at
    if not message.throttle_ms and not quota_is_on(<Quotas*>state.network.quotas, TIMED_KINDS):
        return
    throttle = throttle_of(message.connection)
    if throttle == NULL:
        return
    throttle_ms = message_throttle_ms(state, message, throttle)
    if throttle_ms <= 0:
        return
    connection_throttle(state, throttle, throttle_ms)
    count_throttle(state, message.slot.api, throttle_ms)
    at = place_in_response(message, api)
    if message.api_version >= api.throttle_from and 8 <= at <= <int64_t>message.response_size - 4:
        store_be32(message.response + at, <unsigned int>throttle_ms)


# -- connections beyond the quota of their address --

cdef bint refuse_later(ReactorState* state, int fd, int64_t throttle_ms) noexcept nogil:
    """Keep the socket open for this time; False: it is to be closed now."""
    cdef RefusedConnection* refused
    cdef int64_t deadline_ns = state.shared.now_ns + throttle_ms * 1000000
    if state.refused_count >= REFUSED_MAX:
        return False
    refused = <RefusedConnection*>calloc(1, sizeof(RefusedConnection))
    if refused == NULL:
        return False
    refused.fd = fd
    refused.timer.kind = TIMER_REFUSED
    refused.next = <RefusedConnection*>state.refused_first
    if refused.next != NULL:
        refused.next.prev = refused
    state.refused_first = refused
    state.refused_count += 1
    timer_set(&state.wheel, &refused.timer, deadline_ns)
    return True


cdef bint throttle_accepted(ReactorState* state, Listener* listener, Connection* connection) noexcept nogil:
    cdef char host[HOST_BYTES_MAX]
    cdef Sensor* sensor
    cdef int64_t throttle_ms
    if not quota_is_on(<Quotas*>state.network.quotas, 1 << QUOTA_CONNECTION):
        return False
    connection_host(connection, host, HOST_BYTES_MAX)
    sensor = quotas_address_sensor(<Quotas*>state.network.quotas, connection.address, host, <int32_t>strlen(host), now_ms(state))
    if sensor == NULL:
        return False
    throttle_ms = min(sensor_record(sensor, 1, state.shared.now_ns), sensor.rate.window_ms)
    if throttle_ms > 0:
        sensor_record(sensor, -1, state.shared.now_ns)        # it is not accepted
        sensor_delayed(sensor, throttle_ms, now_ms(state))
        counter_add(&state.counters.address_throttled_by_listener[listener.index], 1)
        counter_add(&state.counters.address_throttle_ns_by_listener[listener.index], throttle_ms * 1000000)
        if not refuse_later(state, connection.fd, throttle_ms):
            close(connection.fd)
    sensor_release(sensor)
    return throttle_ms > 0


cdef void refused_close(ReactorState* state, Timer* timer) noexcept nogil:
    cdef RefusedConnection* refused = <RefusedConnection*>timer
    timer_cancel(&state.wheel, timer)
    close(refused.fd)
    if refused.prev != NULL:
        refused.prev.next = refused.next
    else:
        state.refused_first = refused.next
    if refused.next != NULL:
        refused.next.prev = refused.prev
    state.refused_count -= 1
    free(refused)


cdef void refused_close_all(ReactorState* state) noexcept nogil:
    while state.refused_first != NULL:
        refused_close(state, &(<RefusedConnection*>state.refused_first).timer)
