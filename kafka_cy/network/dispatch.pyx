"""Dispatches requests to hot handlers or the control plane; holds the functions handlers call to respond or wait.

Everything runs on the reactor's own thread, without the GIL. With an authorizer, a request whose hot handler does not ask the ACLs
itself goes to the control plane, which does.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_relaxed_i64, counter_add, counter_set
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.base.histogram cimport histogram_add
from kafka_cy.network.authentication cimport (
    STEP_NONE, STEP_RAW_TOKEN, authentication_ask, authentication_of,
)
from kafka_cy.network.authorization cimport has_authorizer
from kafka_cy.network.connection cimport (
    CLIENT_ID_BYTES_MAX, PAUSE_CONTROL, PAUSE_MEMORY, ClosedConnection, Connection, ResponseSlot, connection_host, slot_add_file,
    slot_add_memory, slot_append,
    slot_remove, slot_send_whole, spare_take,
)
from kafka_cy.network.control_queue cimport AUTHENTICATION_QUEUE, ControlMessage, ControlQueue, control_queue_push
from kafka_cy.network.counters cimport (
    ACTIVITY_HANDLING, API_KEYS_MAX, TIME_LOCAL, TIME_REMOTE, TIME_REQUEST_QUEUE, TIME_RESPONSE_QUEUE, TIME_RESPONSE_SEND,
    TIME_TOTAL, ApiCounters, api_counters, count_request,
)
from kafka_cy.network.hot_handlers cimport HotApi, hot_apis, hot_handler_find
from kafka_cy.network.log_events cimport log_events_add
from kafka_cy.network.parked cimport (
    ParkedState, parked_add_watch, parked_check, parked_end, parked_reserve, parked_reserve_anyway, parked_start,
)
from kafka_cy.network.reactor_state cimport (
    API_VERSIONS_KEY, SASL_AUTHENTICATE_KEY, ApiRange, NetworkState, ReactorState, connection_fail, connection_log,
    connection_mark_dirty, connection_refuse,
)
from kafka_cy.network.request_memory cimport KEPT_FREE_BYTES, memory_admit, parked_crowded
from kafka_cy.network.client_software cimport software_enter
from kafka_cy.network.throttle cimport throttle_answer, throttle_forwarded, throttle_handled
from kafka_cy.network.tracing cimport trace_end, trace_sample
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int16, read_int32, read_string, reader_init, skip_tagged_fields, store_be32, writer_init,
    writer_reserve,
)
from kafka_cy.storage.log cimport Segment
from kafka_cy.storage.partition cimport Partition

cdef enum:
    RESPONSE_BYTES_MAX = 1073741824


# -- requests --

cdef bint reactor_dispatch(Reactor* reactor, Connection* connection, uint8_t* frame, size_t size) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef Request request
    cdef Reader reader
    cdef const HotApi* hot
    cdef HotHandler handler
    cdef int64_t begun = state.ticks
    cdef int result = FORWARD
    reader_init(&reader, frame, size)
    if not request_parse(state, connection, &reader, &request):
        return True
    if not connection.spoke:
        connection.spoke = True
        keep_client_id(connection, &request)
    request.api = api_counters(&state.counters, request.api_key)
    request.slot = slot_append(&state.send, connection) if request.api != NULL else NULL
    if request.slot == NULL:
        connection_fail(state, connection, request.api_key, "out of memory")
        return True
    request.size = size
    trace_sample(reactor, request.slot)
    counter_set(&state.counters.activity, ACTIVITY_HANDLING | <int64_t>request.api_key << 8)
    request.slot.api_key = request.api_key
    request.slot.api_version = request.api_version
    request.slot.correlation_id = request.correlation_id
    hot = &hot_apis[request.api_key]
    handler = hot_handler_find(hot, request.api_version)
    if is_authentication_step(connection):
        pass
    elif handler != NULL:
        if not has_authorizer(reactor) or hot.asks_acls:
            result = handler(reactor, &request)
    elif request.api_key == API_VERSIONS_KEY and not version_known(state, &request):
        # A newer client: the control plane or the hot handler responds in v0 with error 35.
        handler = hot_handler_find(&hot_apis[API_VERSIONS_KEY], 0)
        if handler != NULL:
            result = handler(reactor, &request)
    if result == FORWARD:
        if not forward_allowed(state, &request):
            slot_remove(&state.send, connection, request.slot)
            return False
        result = forward(state, &request)
    if result == HELD_BACK:
        slot_remove(&state.send, connection, request.slot)
        return False
    if result == CLOSE:
        request_close(reactor, &request)
    count_handled(state, &request, begun)
    return True


cdef bint reactor_dispatch_token(Reactor* reactor, Connection* connection, uint8_t* token, size_t size) noexcept nogil:
    """Pass a bare token on as a SaslAuthenticate request without a header."""
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef Request request
    cdef int64_t begun = state.ticks
    memset(&request, 0, sizeof(Request))
    request.api_key = SASL_AUTHENTICATE_KEY
    request.client_id_size = -1
    request.body = token
    request.body_size = size
    request.size = size
    request.connection = connection
    request.listener = connection.listener
    request.close_reason = "malformed request"
    request.api = api_counters(&state.counters, request.api_key)
    request.slot = slot_append(&state.send, connection) if request.api != NULL else NULL
    if request.slot == NULL:
        connection_fail(state, connection, request.api_key, "out of memory")
        return True
    request.slot.api_key = request.api_key
    authentication_of(connection).step = STEP_RAW_TOKEN
    if not forward_allowed(state, &request):
        slot_remove(&state.send, connection, request.slot)
        return False
    if forward(state, &request) == CLOSE:
        request_close(reactor, &request)
    count_handled(state, &request, begun)
    return True


cdef void request_close(Reactor* reactor, Request* request) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    connection_log(state, request.connection, 30, request.api_key, request.close_reason)
    counter_add(&state.counters.closed_bad, 1)
    request.slot.close_here = True          # earlier responses leave first
    request.slot.done = True
    request.connection.closing = True
    connection_mark_dirty(state, request.connection)


cdef void keep_client_id(Connection* connection, Request* request) noexcept nogil:
    connection.client_id_size = request.client_id_size if request.client_id_size < CLIENT_ID_BYTES_MAX else CLIENT_ID_BYTES_MAX
    if connection.client_id_size > 0:
        memcpy(connection.client_id, request.client_id, <size_t>connection.client_id_size)


cdef void count_handled(ReactorState* state, Request* request, int64_t begun) noexcept nogil:
    """The handler returned. Requests of one read share clock readings: the end of one is the start of the next."""
    cdef ApiCounters* api = request.api
    cdef ResponseSlot* slot = request.slot
    cdef int64_t now = ticks_now()
    state.ticks = now
    count_request(api, request.api_version)
    histogram_add(&api.request_bytes, <int64_t>request.body_size, 1)
    if slot != NULL:
        slot.api = api
        slot.received = state.turn_ticks
        if slot.at_control:                 # its times come back with its response
            return
        slot.begun = begun
        slot.handled = now
        slot.answered = now
        slot.waits = not slot.done
        if not slot.waits:
            throttle_handled(state, request, now - begun)
    else:                                   # acks=0: no response
        histogram_add(&api.times[TIME_RESPONSE_QUEUE], 0, 1)
        histogram_add(&api.times[TIME_RESPONSE_SEND], 0, 1)
        histogram_add(&api.times[TIME_TOTAL], now - state.turn_ticks, 1)
    histogram_add(&api.times[TIME_REQUEST_QUEUE], begun - state.turn_ticks, 1)
    histogram_add(&api.times[TIME_LOCAL], now - begun, 1)


cdef void request_count_as(Reactor* reactor, Request* request, int row) noexcept nogil:
    cdef ApiCounters* api = api_counters(&(<ReactorState*>reactor.private_state).counters, row)
    if api != NULL:
        request.api = api


cdef void request_software(
    Reactor* reactor, Request* request, const char* name, int32_t name_size, const char* version, int32_t version_size
) noexcept nogil:
    software_enter(
        &(<ReactorState*>reactor.private_state).counters, request.connection, name, name_size, version, version_size
    )


cdef void reactor_log(Reactor* reactor, int level, int api_key, const char* message) noexcept nogil:
    log_events_add(
        &(<ReactorState*>reactor.private_state).network.log, reactor.now_ns, level, b"", api_key, message
    )


cdef bint version_known(ReactorState* state, Request* request) noexcept nogil:
    cdef ApiRange* api = &state.network.apis[request.api_key]
    return api.known and api.version_min <= request.api_version <= api.version_max


cdef bint request_parse(
    ReactorState* state, Connection* connection, Reader* reader, Request* request
) noexcept nogil:
    """Read the request header (v1, or v2 in flexible versions); False: the connection was refused."""
    cdef ApiRange* api
    memset(request, 0, sizeof(Request))
    request.api_key = read_int16(reader)
    request.api_version = read_int16(reader)
    request.correlation_id = read_int32(reader)
    if reader.error:
        connection_refuse(state, connection, -1, "request shorter than its header")
        return False
    if request.api_key < 0 or request.api_key >= API_KEYS_MAX or not state.network.apis[request.api_key].known:
        connection_refuse(state, connection, request.api_key, "unknown API key")
        return False
    api = &state.network.apis[request.api_key]
    if not version_known(state, request) and request.api_key != API_VERSIONS_KEY:
        connection_refuse(state, connection, request.api_key, "unsupported API version")
        return False
    request.flexible = request.api_version >= api.flexible_from
    # The client id keeps its two-byte length in every header version.
    request.client_id = read_string(reader, False, &request.client_id_size)
    if request.flexible:
        skip_tagged_fields(reader)
    if reader.error:
        connection_refuse(state, connection, request.api_key, "malformed request header")
        return False
    request.body = <uint8_t*>reader.position
    request.body_size = <size_t>(reader.end - reader.position)
    request.connection = connection
    request.listener = connection.listener
    request.close_reason = "malformed request"
    return True


cdef inline bint is_authentication_step(Connection* connection) noexcept nogil:
    return connection.authentication != NULL and authentication_of(connection).step != STEP_NONE


cdef inline int16_t queue_of(ReactorState* state, Request* request) noexcept nogil:
    """The queue of the API's requests. Whatever is in the place of a token goes to the authentication loop."""
    if is_authentication_step(request.connection):
        return AUTHENTICATION_QUEUE
    return state.network.apis[request.api_key].queue


cdef bint forward_allowed(ReactorState* state, Request* request) noexcept nogil:
    """Whether the request may go to the control plane now; False: the connection was paused and nothing else changed."""
    cdef NetworkState* network = state.network
    cdef Connection* connection = request.connection
    cdef int64_t size = <int64_t>request.body_size
    cdef ControlQueue* queue = &network.controls[queue_of(state, request)]
    if connection.at_control >= network.control_requests_per_connection_max:
        connection.pauses |= PAUSE_CONTROL
        return False
    if atomic_load_relaxed_i64(&queue.count) >= network.queued_requests_max or (
        size > KEPT_FREE_BYTES and (
            atomic_load_relaxed_i64(&queue.bytes) >= network.queued_request_bytes_max >> 2
            or not memory_admit(state, connection, size)
        )
    ):
        connection.pauses |= PAUSE_MEMORY
        return False
    return True


cdef bint watch(Connection* connection, ApiRange* api) noexcept nogil:
    """See to it that the API's queue is told when the connection closes, if the API asks for it. False: out of memory."""
    if not api.watched or connection.watched != NULL:
        return True
    connection.watched = <ClosedConnection*>calloc(1, sizeof(ClosedConnection))
    if connection.watched == NULL:
        return False
    connection.watched.id = connection.id
    connection.watched.queue = api.queue
    return True


cdef int forward(ReactorState* state, Request* request) noexcept nogil:
    """Copy the request for the control plane; its response comes back through the reactor's mailbox."""
    cdef Connection* connection = request.connection
    cdef size_t id_size = <size_t>request.client_id_size if request.client_id_size > 0 else 0
    cdef ControlMessage* message
    if <int64_t>request.body_size > state.network.control_request_bytes_max:
        request.close_reason = "request larger than kafkacy.control.request.max.bytes"
        return CLOSE
    message = <ControlMessage*>malloc(sizeof(ControlMessage) + id_size + request.body_size)
    if message == NULL or not watch(connection, &state.network.apis[request.api_key]):
        free(message)
        request.close_reason = "out of memory"
        return CLOSE
    memset(message, 0, sizeof(ControlMessage))
    message.connection = connection
    message.slot = request.slot
    message.reactor = state.shared.id
    message.queue = queue_of(state, request)
    message.api_key = request.api_key
    message.api_version = request.api_version
    message.correlation_id = request.correlation_id
    message.listener = request.listener
    message.connection_id = connection.id
    message.received_ns = state.shared.now_ns
    message.received = state.turn_ticks
    message.client_port = connection.port
    message.software = connection.software
    connection_host(connection, message.client_host, sizeof(message.client_host))
    message.client_id_size = request.client_id_size
    message.body_size = request.body_size
    if id_size:
        memcpy(message.data, request.client_id, id_size)
    memcpy(message.data + id_size, request.body, request.body_size)
    authentication_ask(connection, message)
    throttle_forwarded(state, request)
    request.slot.at_control = True
    connection.at_control += 1
    reserve_message(state, connection, message)
    counter_add(&state.counters.forwarded, 1)
    control_queue_push(&state.network.controls[message.queue], message)
    return HANDLED


cdef void reserve_message(ReactorState* state, Connection* connection, ControlMessage* message) noexcept nogil:
    """Count the copy until its body is decoded; it takes over the connection's reservation for the frame."""
    message.reserved = <int64_t>message.body_size
    atomic_add_i64(&state.network.controls[message.queue].bytes, message.reserved)
    if connection.reserved >= message.reserved:
        connection.reserved -= message.reserved
    else:
        atomic_add_i64(&state.network.queued_request_bytes, message.reserved)


# -- responses --

cdef int response_header_size(int16_t api_key, bint flexible) noexcept nogil:
    # ApiVersions responses always use header v0: the client does not know the broker's versions yet (KIP-511).
    return 9 if flexible and api_key != API_VERSIONS_KEY else 8


cdef void response_header_write(
    uint8_t* data, int16_t api_key, bint flexible, int32_t correlation_id, size_t size
) noexcept nogil:
    store_be32(data, <unsigned int>(size - 4))
    store_be32(data + 4, <unsigned int>correlation_id)
    if response_header_size(api_key, flexible) == 9:
        data[8] = 0


cdef void response_begin(Request* request, Writer* w) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>request.connection.reactor
    cdef int size = response_header_size(request.api_key, request.flexible)
    cdef uint8_t* data
    writer_init(w, RESPONSE_BYTES_MAX)
    spare_take(&state.send, &w.data, &w.capacity)
    data = writer_reserve(w, <size_t>size)
    if data == NULL:
        return
    response_header_write(data, request.api_key, request.flexible, request.correlation_id, 4)
    w.size = <size_t>size


cdef void response_add_file(
    Request* request, Writer* w, Segment* segment, int32_t fd, int64_t position, int64_t size
) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>request.connection.reactor
    cdef size_t size_max = w.size_max
    if not w.error and w.size:
        if slot_add_memory(&state.send, request.connection, request.slot, w.data, w.size, w.capacity) != 0:
            writer_init(w, size_max)
            w.error = 4
        else:
            writer_init(w, size_max)
    if slot_add_file(&state.send, request.slot, segment, fd, position, size) != 0:
        w.error = 4


cdef void response_send(Reactor* reactor, Request* request, Writer* w) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef Connection* connection = request.connection
    cdef ResponseSlot* slot = request.slot
    cdef int result = 0
    if slot.waits:                          # otherwise, when the handler has returned (count_handled)
        throttle_answer(state, request, w)
    if w.error or slot.bytes + w.size > 0x7fffffff:
        free(w.data)
        writer_init(w, w.size_max)
        connection_fail(state, connection, request.api_key, "out of memory for the response")
        return
    if slot.first == NULL:
        store_be32(w.data, <unsigned int>(w.size - 4))
        slot.response_size = w.size
        result = slot_send_whole(&state.send, connection, slot, w.data, w.size, w.capacity)
    else:
        store_be32(slot.first.data, <unsigned int>(slot.bytes + w.size - 4))
        if w.size:
            result = slot_add_memory(&state.send, connection, slot, w.data, w.size, w.capacity)
        else:
            free(w.data)
    writer_init(w, w.size_max)
    slot.done = True
    if slot.waits:
        slot.waits = False
        slot.answered = ticks_now()
        histogram_add(&slot.api.times[TIME_REMOTE], slot.answered - slot.handled, 1)
    connection_mark_dirty(state, connection)
    if result != 0:
        connection_fail(state, connection, request.api_key, "out of memory")


cdef void trace_unanswered(ReactorState* state, Request* request) noexcept nogil:
    cdef ResponseSlot* slot = request.slot
    slot.received = state.turn_ticks
    slot.begun = state.ticks                # when the previous request was handled
    slot.handled = ticks_now()
    slot.answered = slot.handled
    trace_end(request.connection, slot, slot.handled)


cdef void response_none(Reactor* reactor, Request* request) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    if request.slot.trace != NULL:
        trace_unanswered(state, request)
    slot_remove(&state.send, request.connection, request.slot)
    request.slot = NULL
    connection_mark_dirty(state, request.connection)


# -- waiting --

cdef int parked_watch(Reactor* reactor, Parked* parked, Partition* partition) noexcept nogil:
    return parked_add_watch(<ReactorState*>reactor.private_state, parked, partition)


cdef bint park_reserve(Reactor* reactor, Parked* parked, int64_t bytes) noexcept nogil:
    return parked_reserve(<ReactorState*>reactor.private_state, parked, bytes)


cdef void park_reserve_anyway(Reactor* reactor, Parked* parked, int64_t bytes) noexcept nogil:
    parked_reserve_anyway(<ReactorState*>reactor.private_state, parked, bytes)


cdef bint park_is_crowded(Reactor* reactor) noexcept nogil:
    return parked_crowded(<ReactorState*>reactor.private_state)


cdef int park_start(Reactor* reactor, Parked* parked) noexcept nogil:
    return parked_start(<ReactorState*>reactor.private_state, parked)


cdef void park_until_unheld(Parked* parked) noexcept nogil:
    (<ParkedState*>parked.private_state).after_hold = True


cdef void parked_recheck(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    parked_check(<ReactorState*>reactor.private_state, parked, expired)


cdef void park_cancel(Reactor* reactor, Parked* parked) noexcept nogil:
    parked_end(<ReactorState*>reactor.private_state, parked)
