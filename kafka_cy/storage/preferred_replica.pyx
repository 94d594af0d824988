"""The follower from which a consumer should read, as its leader sees it (Kafka: ReplicaManager.findPreferredReadReplica and
ReplicaView.comparator).

A replica out of sync is not chosen: it may lag further and further behind, and so would the consumer.
"""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.posix cimport pthread_mutex_trylock
from kafka_cy.storage.leader_replicas cimport FollowerReplica
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.partition cimport PARTITION_ONLINE, partition_log, unlock_log


cdef inline bint is_better(const FollowerReplica* a, const FollowerReplica* b) noexcept nogil:
    if b == NULL or a.end_offset != b.end_offset:
        return b == NULL or a.end_offset > b.end_offset
    if a.caught_up_ms != b.caught_up_ms:
        return a.caught_up_ms > b.caught_up_ms
    return a.broker_id > b.broker_id


cdef inline bint is_among(int32_t broker_id, const int32_t* broker_ids, int32_t count) noexcept nogil:
    cdef int32_t i
    for i in range(count):
        if broker_ids[i] == broker_id:
            return True
    return False


cdef int32_t most_caught_up(Partition* partition, const int32_t* broker_ids, int32_t count, int64_t offset) noexcept nogil:
    """With the append mutex."""
    cdef const FollowerReplica* best = NULL
    cdef const FollowerReplica* each
    cdef int32_t i
    for i in range(partition.replicas.count):
        each = &partition.replicas.others[i]
        if each.in_sync and each.end_offset >= offset and each.start_offset <= offset and (
            is_among(each.broker_id, broker_ids, count) and is_better(each, best)
        ):
            best = each
    return best.broker_id if best != NULL else -1


cdef inline bint lock_if_free(Log* log) noexcept nogil:
    return pthread_mutex_trylock(&log.append_mutex) == 0


cdef int32_t partition_preferred_replica(
    Partition* partition, const int32_t* broker_ids, int32_t count, int64_t offset
) noexcept nogil:
    cdef Log* log = partition_log(partition)
    cdef int32_t found = -1
    if atomic_load_i32(&partition.replicas.count) == 0:
        return -1
    if lock_if_free(log):
        if log == partition_log(partition) and atomic_load_i32(&partition.state) == PARTITION_ONLINE:
            found = most_caught_up(partition, broker_ids, count, offset)
        unlock_log(log)
    return found
