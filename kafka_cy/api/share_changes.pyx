"""Acknowledgements on a reactor: it begins the change of the records, and the coordinator's thread ends it.

The reactor checks the acknowledgements and marks the records (share/in_flight_acknowledge). From then on nobody else can touch
them. A question (network/questions) hands the marked records over to the coordinator's thread, which stores them in
`__share_group_state`, together with those of other requests, and then sets or undoes them, also when the connection has closed
meanwhile. The answer says for each partition whether it was stored.

The question: the address of a PendingChanges, which the coordinator owns then (share/in_flight.take_changes). The answer: an int16
error code for each change, in order. Without an answer, the coordinator is not available.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc

from kafka_cy.api.error_codes cimport (
    ERROR_COORDINATOR_NOT_AVAILABLE, ERROR_INVALID_REQUEST, ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_UNKNOWN_SERVER_ERROR,
)
from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.network.connection cimport Connection
from kafka_cy.network.dispatch cimport parked_recheck
from kafka_cy.network.jobs cimport connection_hold, connection_unhold
from kafka_cy.network.questions cimport question_ask, question_wake
from kafka_cy.records.wire cimport load_be16
from kafka_cy.share.in_flight_acknowledge cimport acknowledgements_are_valid, change_count, ranges_acknowledge
from kafka_cy.share.in_flight_ranges cimport Change
from kafka_cy.share.shared_records cimport PendingChanges, SharedRecords, records_acquire, records_release, records_undo


cdef int16_t begin_change(
    SharedRecords* records, const char* member, int32_t member_size, const Acknowledgement* asked, int32_t count, int64_t now_ns,
    Change* change
) noexcept nogil:
    cdef int error = ERROR_NOT_LEADER_OR_FOLLOWER
    pthread_mutex_lock(&records.mutex)
    if atomic_load_i32(&records.is_open):
        error = ranges_acknowledge(&records.ranges, member, member_size, asked, count, &records.limits, now_ns, change)
        if error == ERROR_NONE and change.count == 0:
            change_count(&records.ranges, change)
    pthread_mutex_unlock(&records.mutex)
    return <int16_t>error


cdef void share_acknowledge_item(
    ShareItem* item, const char* member, int32_t member_size, const Acknowledgement* asked, int32_t count, int64_t now_ns
) noexcept nogil:
    cdef Change* change
    if not acknowledgements_are_valid(asked, count, False):
        item.acknowledge_error = ERROR_INVALID_REQUEST
        return
    change = <Change*>calloc(1, sizeof(Change))
    if change == NULL:
        item.acknowledge_error = ERROR_UNKNOWN_SERVER_ERROR
        return
    item.acknowledge_error = begin_change(item.records, member, member_size, asked, count, now_ns, change)
    if change.count > 0:
        item.change = change
    else:
        free(change)


cdef bint share_changes_something(const ShareWork* work) noexcept nogil:
    cdef int32_t i
    for i in range(work.count):
        if work.items[i].change != NULL:
            return True
    return False


cdef PendingChanges* pending_new(const ShareWork* work) noexcept nogil:
    """The changes of the request, which stay its own until `pending_handed_over`."""
    cdef PendingChanges* pending
    cdef ShareItem* item
    cdef int32_t i
    pending = <PendingChanges*>malloc(sizeof(PendingChanges) + <size_t>work.count * sizeof(pending.items[0]))
    if pending == NULL:
        return NULL
    pending.count = 0
    for i in range(work.count):
        item = &work.items[i]
        if item.change != NULL:
            pending.items[pending.count].records = records_acquire(item.records)
            pending.items[pending.count].change = item.change
            pending.count += 1
    return pending


cdef void handed_over(ShareWork* work) noexcept nogil:
    cdef int32_t i
    for i in range(work.count):
        if work.items[i].change != NULL:
            work.items[i].change = NULL
            work.items[i].is_stored = False


cdef void share_undo(ShareWork* work) noexcept nogil:
    cdef ShareItem* item
    cdef bint wake = False
    cdef int32_t i
    for i in range(work.count):
        item = &work.items[i]
        if item.change == NULL:
            continue
        wake = records_undo(item.records, item.change) or wake
        free(item.change)
        item.change = NULL
        item.acknowledge_error = ERROR_UNKNOWN_SERVER_ERROR
    if wake:
        question_wake(<Reactor*>work.parked.request.connection.reactor, work.parked.request.api_key)


cdef void pending_free(PendingChanges* pending) noexcept nogil:
    """It was not handed over."""
    cdef int32_t i
    for i in range(pending.count if pending != NULL else 0):
        records_release(pending.items[i].records)
    free(pending)


cdef void answered(Reactor* reactor, void* context, const uint8_t* answer, size_t size) noexcept nogil:
    """QuestionAnswered: the request goes on."""
    cdef ShareWork* work = <ShareWork*>context
    cdef ShareItem* item
    cdef size_t at = 0
    cdef int32_t i
    for i in range(work.count):
        item = &work.items[i]
        if item.is_stored:
            continue
        item.is_stored = True
        item.acknowledge_error = ERROR_COORDINATOR_NOT_AVAILABLE
        if answer != NULL and at + 2 <= size:
            item.acknowledge_error = <int16_t>load_be16(answer + at)
        at += 2
    work.asking = False
    connection_unhold(reactor, work.parked.request.connection, True)
    parked_recheck(reactor, &work.parked, reactor.now_ns >= work.parked.deadline_ns)


cdef bint share_store(Reactor* reactor, ShareWork* work) noexcept nogil:
    cdef Connection* connection = work.parked.request.connection
    cdef PendingChanges* pending = pending_new(work)
    if pending == NULL or question_ask(
        reactor, connection, work.parked.request.api_key, work.parked.request.api_version, <const uint8_t*>&pending,
        sizeof(pending), 0, answered, work
    ):
        pending_free(pending)
        share_undo(work)
        return False
    handed_over(work)
    work.asking = True
    connection_hold(connection, True)
    return True
