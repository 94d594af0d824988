"""Logs requests slower than the threshold: client, API, and each part of the time in milliseconds.

The line is logged when the response joins the send queue or, if only sending was slow, when the socket has accepted
it. For requests that wait by design (Fetch, JoinGroup, SyncGroup) the wait does not count.
"""
from libc.stdint cimport int64_t
from libc.stdio cimport snprintf

from kafka_cy.base.atomics cimport atomic_load_relaxed_i64, counter_add
from kafka_cy.network.connection cimport Connection, ResponseSlot, SentGroup
from kafka_cy.network.log_events cimport LOG_MESSAGE_BYTES_MAX, LOG_WARNING
from kafka_cy.network.reactor_state cimport ReactorState, connection_log, ns_per_tick
from kafka_cy.storage.slow_disk cimport SLOW_APPEND_NS

cdef enum:
    LINES_PER_SECOND_MAX = 5        # per reactor; all are counted
    FETCH_KEY = 1
    JOIN_GROUP_KEY = 11
    SYNC_GROUP_KEY = 14
    CALIBRATION_NS_MIN = 10000000   # minimum time before the two clocks can be compared
    REFRESH_NS = 1000000000
    CONSUME_NS_MAX = 1000000        # what a connection's requests may take in one turn

cdef int64_t NEVER = 0x7fffffffffffffff


cdef void slow_threshold_refresh(ReactorState* reactor) noexcept nogil:
    cdef int64_t slow_ns = atomic_load_relaxed_i64(&reactor.network.slow_ns)
    reactor.send.slow_ticks = NEVER
    reactor.shared.slow_append_ticks = NEVER
    reactor.consume_ticks_max = NEVER
    if reactor.shared.now_ns - reactor.network.started_ns < CALIBRATION_NS_MIN:
        reactor.slow_check_ns = reactor.shared.now_ns + CALIBRATION_NS_MIN
        return
    reactor.slow_check_ns = reactor.shared.now_ns + REFRESH_NS
    reactor.slow_lines = 0
    reactor.ns_per_tick = ns_per_tick(reactor.network)
    reactor.consume_ticks_max = <int64_t>(<double>CONSUME_NS_MAX / ns_per_tick(reactor.network))
    reactor.shared.slow_append_ticks = <int64_t>(<double>SLOW_APPEND_NS / ns_per_tick(reactor.network))
    if slow_ns > 0:
        reactor.send.slow_ticks = <int64_t>(<double>slow_ns / ns_per_tick(reactor.network))


cdef bint may_wait(int api_key) noexcept nogil:
    return api_key == FETCH_KEY or api_key == JOIN_GROUP_KEY or api_key == SYNC_GROUP_KEY


cdef void slow_request(Connection* connection, ResponseSlot* slot, SentGroup* group, int64_t now) noexcept nogil:
    cdef ReactorState* reactor = <ReactorState*>connection.reactor
    cdef char[LOG_MESSAGE_BYTES_MAX] text
    cdef double ms
    cdef int id_size = connection.client_id_size if connection.client_id_size > 0 else 0
    if slot != NULL and may_wait(slot.api_key):
        if now - slot.received - (slot.answered - slot.handled) < reactor.send.slow_ticks:
            return
    counter_add(&reactor.counters.slow, group.count if group != NULL else 1)
    if reactor.slow_lines >= LINES_PER_SECOND_MAX:
        return
    reactor.slow_lines += 1
    ms = ns_per_tick(reactor.network) / 1e6
    if slot != NULL:
        snprintf(
            text, LOG_MESSAGE_BYTES_MAX,
            b"slow request of client id %.*s: %.1f ms: request queue %.1f, local %.1f, remote %.1f, response queue %.1f",
            id_size, connection.client_id, ms * <double>(now - slot.received), ms * <double>(slot.begun - slot.received),
            ms * <double>(slot.handled - slot.begun), ms * <double>(slot.answered - slot.handled),
            ms * <double>(now - slot.answered),
        )
        connection_log(reactor, connection, LOG_WARNING, slot.api_key, text)
    else:
        snprintf(
            text, LOG_MESSAGE_BYTES_MAX, b"slow request of client id %.*s: %.1f ms: response send %.1f, of %lld responses",
            id_size, connection.client_id, ms * <double>(now - group.received), ms * <double>(now - group.queued),
            <long long>group.count,
        )
        connection_log(reactor, connection, LOG_WARNING, -1, text)
