"""Produce requests that wait: for the high watermark (acks=all), or for the fsync (flush.messages=1).

The response is encoded before the wait; a wait that ends badly patches the partition's error code.
"""
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport free, malloc

from kafka_cy.api.error_codes cimport *
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.network.dispatch cimport (
    PARKED_WATCH_BYTES, Parked, park_reserve_anyway, parked_watch, request_error, response_send,
)
from kafka_cy.records.wire cimport store_be16, writer_free, writer_init
from kafka_cy.storage.log cimport Log, log_flushed_offset
from kafka_cy.storage.partition cimport (
    PARTITION_DELETED, PARTITION_OFFLINE, PARTITION_ONLINE, Partition, partition_acquire, partition_has_enough_replicas,
    partition_release,
)


cdef Awaited* await_partition(Produce* produce, Partition* partition) noexcept nogil:
    cdef ParkedProduce* waiting = produce.waiting
    cdef Awaited* awaited
    if waiting == NULL:
        waiting = <ParkedProduce*>malloc(sizeof(ParkedProduce) + sizeof(Awaited) * produce.partitions_count)
        if waiting == NULL:
            return NULL
        waiting.count = 0
        writer_init(&waiting.response, 0)
        waiting.awaited = <Awaited*>(waiting + 1)
        produce.waiting = waiting
    awaited = &waiting.awaited[waiting.count]
    waiting.count += 1
    awaited.partition = partition_acquire(partition)
    awaited.done = False
    awaited.error = ERROR_NONE
    return awaited


cdef bint reached(Awaited* awaited) noexcept nogil:
    cdef Partition* partition = awaited.partition
    if awaited.high_watermark and atomic_load_i64(&partition.high_watermark) < awaited.required_offset:
        return False
    if awaited.flush:
        return log_flushed_offset(<Log*>atomic_load_pointer(<void**>&partition.log)) >= awaited.required_offset
    return True


cdef int16_t lost_partition_error(Awaited* awaited) noexcept nogil:
    """The error of a waiting partition that this broker has not led continuously since the append; otherwise 0."""
    cdef Partition* partition = awaited.partition
    cdef int32_t state = atomic_load_i32(&partition.state)
    if state == PARTITION_ONLINE:
        if awaited.leader_epoch < atomic_load_i32(&partition.leader_since_epoch):
            return ERROR_NOT_LEADER_OR_FOLLOWER     # the batch may have been truncated in between
        return ERROR_NONE
    if state == PARTITION_OFFLINE:
        return ERROR_KAFKA_STORAGE_ERROR
    if state == PARTITION_DELETED:
        return ERROR_UNKNOWN_TOPIC_OR_PARTITION
    return ERROR_NOT_LEADER_OR_FOLLOWER


cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: respond when each partition has reached its offset or failed, or the timeout has passed."""
    cdef ParkedProduce* waiting = <ParkedProduce*>parked
    cdef Awaited* awaited
    cdef int16_t error
    cdef bint open = False
    cdef bint has_reached
    cdef int32_t i
    for i in range(waiting.count):
        awaited = &waiting.awaited[i]
        if awaited.done:
            continue
        has_reached = reached(awaited)      # first: the offsets of a follower say nothing about this batch
        error = lost_partition_error(awaited)
        if error == ERROR_NONE and has_reached:
            if not awaited.high_watermark or partition_has_enough_replicas(awaited.partition):
                awaited.done = True
                continue
            error = ERROR_NOT_ENOUGH_REPLICAS_AFTER_APPEND
        if error == ERROR_NONE and expired:
            error = ERROR_REQUEST_TIMED_OUT
        if error == ERROR_NONE:
            open = True
            continue
        awaited.done = True
        awaited.error = error
        if not waiting.response.error:
            store_be16(waiting.response.data + awaited.error_at, <unsigned short>error)
    if open:
        return 0
    for i in range(waiting.count):
        request_error(&parked.request, waiting.awaited[i].error, 1)
    response_send(reactor, &parked.request, &waiting.response)
    return 1


cdef void free_parked(Parked* parked) noexcept nogil:
    cdef ParkedProduce* waiting = <ParkedProduce*>parked
    cdef int32_t i
    for i in range(waiting.count):
        partition_release(waiting.awaited[i].partition)
    writer_free(&waiting.response)
    free(waiting)


cdef void waiting_free(ParkedProduce* waiting) noexcept nogil:
    free_parked(&waiting.parked)


cdef int park_produce(Reactor* reactor, Request* request, Produce* produce, Writer* w) noexcept nogil:
    cdef ParkedProduce* waiting = produce.waiting
    cdef Parked* parked = &waiting.parked
    cdef bint watched = True
    cdef int32_t i
    cdef int64_t timeout_ms = produce.timeout_ms if produce.timeout_ms > 0 else 0
    cdef int64_t bytes = (
        <int64_t>sizeof(ParkedProduce) + produce.partitions_count * <int64_t>sizeof(Awaited)
        + waiting.count * <int64_t>PARKED_WATCH_BYTES + <int64_t>w.capacity
    )
    waiting.response = w[0]
    parked_init(parked, request, reactor.now_ns + timeout_ms * 1000000, check_parked, free_parked)
    park_reserve_anyway(reactor, parked, bytes)         # its batches are appended, so it cannot be refused
    for i in range(waiting.count):
        watched = watched and parked_watch(reactor, parked, waiting.awaited[i].partition) == 0
    return park(reactor, request, parked, watched, timeout_ms == 0)
