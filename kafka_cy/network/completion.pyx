"""Completes requests of the control plane on their reactor: counts their times, throttles their client, sends their response."""
from libc.stdlib cimport free

from kafka_cy.base.atomics cimport atomic_sub_i64
from kafka_cy.base.histogram cimport histogram_add
from kafka_cy.network.authentication cimport AUTHENTICATION_FAILED, authentication_answered
from kafka_cy.network.connection cimport Connection, ResponseSlot, slot_remove, slot_send_whole
from kafka_cy.network.control_queue cimport ControlMessage, control_message_free
from kafka_cy.network.counters cimport TIME_LOCAL, TIME_REMOTE, TIME_REQUEST_QUEUE, ApiCounters, count_error
from kafka_cy.network.log_events cimport LOG_WARNING
from kafka_cy.network.mailbox cimport mailbox_take_responses
from kafka_cy.network.questions cimport question_complete
from kafka_cy.network.reactor_state cimport connection_log, connection_mark_dead, connection_mark_dirty
from kafka_cy.network.throttle cimport throttle_completed


cdef void count_completed(ResponseSlot* slot, ControlMessage* message) noexcept nogil:
    """Count the times of a request that the control plane answered."""
    cdef ApiCounters* api = slot.api
    cdef int i
    slot.begun = message.begun
    slot.handled = message.handled
    slot.answered = message.answered
    histogram_add(&api.times[TIME_REQUEST_QUEUE], message.begun - message.received, 1)
    histogram_add(&api.times[TIME_LOCAL], message.handled - message.begun, 1)
    if message.answered > message.handled:
        histogram_add(&api.times[TIME_REMOTE], message.answered - message.handled, 1)
    for i in range(message.errors_count):
        count_error(api, message.error_codes[i], message.error_times[i])


cdef void complete(ReactorState* reactor, ControlMessage* message) noexcept nogil:
    """Complete a request whose response came back from the control plane."""
    cdef Connection* connection = message.connection
    cdef ResponseSlot* slot = message.slot
    slot.at_control = False
    connection.at_control -= 1
    atomic_sub_i64(&reactor.network.queued_request_bytes, message.reserved)
    atomic_sub_i64(&reactor.network.controls[message.queue].bytes, message.reserved)
    count_completed(slot, message)
    if connection.dead:
        slot_remove(&reactor.send, connection, slot)
        free(message.response)
        if connection.fd < 0 and connection.at_control == 0:
            free(connection)
    else:
        authentication_answered(reactor, connection, message)
        if message.response == NULL:
            connection_log(reactor, connection, LOG_WARNING, message.api_key, message.close_reason)
            slot.close_here = True
            connection.closing = True
        else:
            throttle_completed(reactor, message)
            if slot_send_whole(
                &reactor.send, connection, slot, message.response, message.response_size, message.response_size
            ) != 0:
                connection_mark_dead(reactor, connection)
            if message.authentication_state == AUTHENTICATION_FAILED:
                slot.close_here = True
                connection.closing = True
        slot.done = True
        connection_mark_dirty(reactor, connection)
    control_message_free(message)


cdef void complete_all(ReactorState* reactor) noexcept nogil:
    cdef ControlMessage* message = <ControlMessage*>mailbox_take_responses(&reactor.mailbox)
    cdef ControlMessage* following
    while message != NULL:
        following = message.next
        if message.answered_question != NULL:
            question_complete(reactor, message)
        else:
            complete(reactor, message)
        message = following
