"""A hot handler asks a control loop something that only Python knows, and continues with the answer.

A question travels like a forwarded request (ControlMessage), but it has no response slot: its answer goes to the handler that
asked. The connection is held meanwhile, so that no later request overtakes the one that waits. If the connection closes, the
answer is dropped when it comes.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from kafka_cy.base.atomics cimport atomic_add_i64, atomic_load_relaxed_i64, atomic_sub_i64
from kafka_cy.network.connection cimport PAUSE_MEMORY, Connection, connection_host
from kafka_cy.network.control_queue cimport control_message_free, control_queue_push, control_queue_wake
from kafka_cy.network.principal cimport principal_ref
from kafka_cy.network.reactor_state cimport NetworkState
from kafka_cy.network.request cimport HELD_BACK


cdef QuestionRoom question_room(Reactor* reactor, int16_t api_key) noexcept nogil:
    cdef NetworkState* network = (<ReactorState*>reactor.private_state).network
    if not network.apis[api_key].known:
        return QUESTION_NOBODY
    if atomic_load_relaxed_i64(&network.controls[network.apis[api_key].queue].count) >= network.queued_requests_max:
        return QUESTION_LATER
    return QUESTION_ALLOWED


cdef int question_hold_back(Connection* connection) noexcept nogil:
    connection.pauses |= PAUSE_MEMORY
    return HELD_BACK


cdef void question_wake(Reactor* reactor, int16_t api_key) noexcept nogil:
    cdef NetworkState* network = (<ReactorState*>reactor.private_state).network
    control_queue_wake(&network.controls[network.apis[api_key].queue])


cdef int question_ask(
    Reactor* reactor, Connection* connection, int16_t api_key, int16_t api_version, const uint8_t* data, size_t size,
    int64_t held_bytes, QuestionAnswered answered, void* context,
) noexcept nogil:
    cdef int16_t queue = (<ReactorState*>reactor.private_state).network.apis[api_key].queue
    return question_ask_queue(reactor, connection, queue, api_key, api_version, data, size, held_bytes, answered, context)


cdef int question_ask_queue(
    Reactor* reactor, Connection* connection, int32_t queue, int16_t api_key, int16_t api_version, const uint8_t* data,
    size_t size, int64_t held_bytes, QuestionAnswered answered, void* context,
) noexcept nogil:
    cdef ReactorState* state = <ReactorState*>reactor.private_state
    cdef ControlMessage* message = <ControlMessage*>malloc(sizeof(ControlMessage) + size)
    if message == NULL:
        return -1
    memset(message, 0, sizeof(ControlMessage))
    message.connection = connection
    message.reactor = reactor.id
    message.queue = queue
    message.api_key = api_key
    message.api_version = api_version
    message.listener = connection.listener
    message.connection_id = connection.id
    message.received_ns = reactor.now_ns
    message.received = state.turn_ticks
    message.client_port = connection.port
    message.software = connection.software
    message.principal = principal_ref(connection.principal)
    connection_host(connection, message.client_host, sizeof(message.client_host))
    message.client_id_size = -1
    message.body_size = size
    memcpy(message.data, data, size)
    message.answered_question = answered
    message.question_context = context
    message.question_holds = held_bytes
    message.reserved = <int64_t>size
    atomic_add_i64(&state.network.controls[message.queue].bytes, message.reserved)
    atomic_add_i64(&state.network.queued_request_bytes, message.reserved + held_bytes)
    connection.at_control += 1
    control_queue_push(&state.network.controls[message.queue], message)
    return 0


cdef void question_complete(ReactorState* reactor, ControlMessage* message) noexcept nogil:
    cdef Connection* connection = message.connection
    connection.at_control -= 1
    atomic_sub_i64(&reactor.network.controls[message.queue].bytes, message.reserved)
    atomic_sub_i64(&reactor.network.queued_request_bytes, message.reserved + message.question_holds)
    if not connection.dead:
        message.answered_question(&reactor.shared, message.question_context, message.response, message.response_size)
    elif connection.fd < 0 and connection.at_control == 0:
        free(connection)
    free(message.response)
    control_message_free(message)
