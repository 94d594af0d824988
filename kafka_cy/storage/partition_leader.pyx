"""Leading a partition with other replicas (Kafka: Partition). The rules are in leader_replicas; here they meet the log, its append
mutex and those who wait. Whether to ask the controller for another ISR, and what its answer means, is decided in Python."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32
from kafka_cy.base.posix cimport pthread_mutex_trylock
from kafka_cy.base.timed_lock cimport mutex_lock_within
from kafka_cy.storage.leader_replicas cimport (
    ISR_SETTLED, FollowerReplica, replica_fetched, replica_may_join, replicas_assign, replicas_find, replicas_lagging,
    replicas_lead, replicas_low_watermark, replicas_propose, replicas_put, replicas_room, replicas_withdraw,
)
from kafka_cy.storage.log_epochs cimport log_assign_epoch_locked
from kafka_cy.storage.log_producers cimport log_forget_replicated
from kafka_cy.storage.log_struct cimport Log, log_end_offset, log_start_offset
from kafka_cy.storage.partition cimport (
    PARTITION_ONLINE, advance_high_watermark, lock_log, partition_check_leader, partition_log, partition_role_error,
    partition_take_state, partition_wake, replica_clock_ms, replica_lag_max_ms, unlock_log,
)
from kafka_cy.storage.storage_error cimport STORAGE_NO_MEMORY

cdef enum:
    JOINABLE_FETCH_AGE_MAX_MS = 1000    # shorter than a broker needs to start again with less in its log


cdef bint partition_set_replicas(
    Partition* partition, const int32_t* followers, const bint* in_sync, int32_t count, int32_t isr_count
) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef bint done = replicas_assign(&partition.replicas, followers, in_sync, count, isr_count)
    if done:
        advance_high_watermark(partition, log)
    unlock_log(log)
    partition_wake(partition)       # also if nothing moved: a replica that left the ISR has to report again
    return done


cdef void partition_set_adding(Partition* partition, const int32_t* adding, int32_t count, int32_t own_id) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef FollowerReplica* replica
    cdef bint own = False
    cdef int32_t i
    for i in range(partition.replicas.count):
        partition.replicas.others[i].adding = False
    for i in range(count):
        replica = replicas_find(&partition.replicas, adding[i])
        if replica != NULL:
            replica.adding = True
        own = own or adding[i] == own_id
    atomic_store_i32(&partition.adding, own)
    unlock_log(log)


cdef void lead_locked(Partition* partition, Log* log, int32_t leader_epoch) noexcept nogil:
    """The epoch is in the log's epochs already: before the partition serves anybody with it.

    In an epoch that this broker has not heard of, another one may have led, and have had replicas cut what they had fetched here.
    """
    cdef bint anew = atomic_load_i32(&partition.state) != PARTITION_ONLINE or leader_epoch > partition.leader_epoch + 1
    if anew or leader_epoch != partition.leader_epoch:
        replicas_lead(&partition.replicas, log_end_offset(log), replica_clock_ms(), anew)
    if anew:
        atomic_store_i32(&partition.leader_since_epoch, leader_epoch)
    atomic_store_i32(&partition.leader_epoch, leader_epoch)
    partition_take_state(partition, PARTITION_ONLINE)
    log_forget_replicated(log, partition.high_watermark)
    advance_high_watermark(partition, log)


cdef int partition_become_leader(Partition* partition, int32_t leader_epoch) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef int error = partition_role_error(partition)
    if not error:
        error = log_assign_epoch_locked(log, leader_epoch)
    if not error:
        lead_locked(partition, log, leader_epoch)
    unlock_log(log)
    partition_wake(partition)
    return error


cdef int partition_lead(
    Partition* partition, int32_t leader_epoch, const int32_t* followers, const bint* in_sync, int32_t count, int32_t isr_count,
    IsrChange change, int32_t joining
) noexcept nogil:
    """What may be refused comes first: without memory nothing changes. The high watermark moves last: not past one that joins."""
    cdef FollowerReplica* room = replicas_room(count)
    cdef Log* log
    cdef int error
    if room == NULL:
        return STORAGE_NO_MEMORY
    log = lock_log(partition)
    error = partition_role_error(partition)
    if not error:
        error = log_assign_epoch_locked(log, leader_epoch)
    if error:
        free(room)
    else:
        replicas_put(&partition.replicas, room, followers, in_sync, count, isr_count)
        if change != ISR_SETTLED:
            replicas_propose(&partition.replicas, change, joining)
        lead_locked(partition, log, leader_epoch)
    unlock_log(log)
    partition_wake(partition)
    return error


cdef FollowerFetched partition_follower_fetched(Partition* partition, const FollowerFetch* fetch) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef bint moved = False
    cdef FollowerFetched found = note_fetch(partition, log, fetch, &moved)
    unlock_log(log)
    if moved:
        partition_wake(partition)
    return found


cdef FollowerFetched partition_follower_fetched_within(
    Partition* partition, const FollowerFetch* fetch, int64_t wait_ns
) noexcept nogil:
    cdef Log* log = partition_log(partition)
    cdef FollowerFetched found = FETCHED_NOT_NOW
    cdef bint moved = False
    if lock_within(log, wait_ns):
        if log == partition_log(partition):     # else it was moved meanwhile
            found = note_fetch(partition, log, fetch, &moved)
        unlock_log(log)
    if moved:
        partition_wake(partition)
    return found


cdef bint lock_within(Log* log, int64_t wait_ns) noexcept nogil:
    return pthread_mutex_trylock(&log.append_mutex) == 0 or (
        wait_ns > 0 and mutex_lock_within(&log.append_mutex, wait_ns) == 0)


cdef FollowerFetched note_fetch(Partition* partition, Log* log, const FollowerFetch* fetch, bint* moved) noexcept nogil:
    """With the append mutex. A fetch from beyond the log's end says nothing: it is answered with an error."""
    cdef FollowerReplica* follower = replicas_find(&partition.replicas, fetch.broker_id)
    cdef int64_t end_offset = log_end_offset(log)
    cdef int found
    if follower == NULL:
        return FETCHED_BY_OTHER
    if fetch.end_offset > end_offset or atomic_load_i32(&partition.state) != PARTITION_ONLINE or (
        fetch.leader_epoch >= 0 and fetch.leader_epoch != partition.leader_epoch
    ):
        return FETCHED_UNKNOWN
    replica_fetched(follower, fetch.end_offset, fetch.start_offset, end_offset, replica_clock_ms(), fetch.broker_epoch)
    moved[0] = advance_high_watermark(partition, log)
    found = FETCHED_ADDING if follower.adding else FETCHED
    if follower.in_sync:
        found |= FETCHED_IN_SYNC
    elif replica_may_join(&partition.replicas, follower, partition.high_watermark):
        found |= FETCHED_MAY_JOIN
    return <FollowerFetched>found


cdef int partition_low_watermark(Partition* partition, int64_t wait_ns, int64_t* offset, bint* is_known) noexcept nogil:
    cdef Log* log = partition_log(partition)
    cdef int error = partition_check_leader(partition, -1)
    is_known[0] = False
    if not error and atomic_load_i32(&partition.replicas.count) == 0:
        offset[0] = log_start_offset(log)
        is_known[0] = True
    elif not error and lock_within(log, wait_ns):
        error = partition_check_leader(partition, -1)
        is_known[0] = log == partition_log(partition)       # else it was moved meanwhile
        offset[0] = replicas_low_watermark(&partition.replicas, log_start_offset(log))
        unlock_log(log)
    return error


cdef bint partition_propose_isr(
    Partition* partition, int32_t leader_epoch, IsrChange change, int32_t broker_id
) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef bint done = (
        atomic_load_i32(&partition.state) == PARTITION_ONLINE and partition.leader_epoch == leader_epoch
        and replicas_propose(&partition.replicas, change, broker_id)
    )
    unlock_log(log)
    return done


cdef void partition_withdraw_isr(Partition* partition, int32_t leader_epoch) noexcept nogil:
    cdef Log* log = lock_log(partition)
    cdef bint moved = False
    if partition.leader_epoch == leader_epoch:
        replicas_withdraw(&partition.replicas)
        moved = advance_high_watermark(partition, log)
    unlock_log(log)
    if moved:
        partition_wake(partition)


cdef int32_t partition_lagging(Partition* partition, int32_t* broker_ids, int32_t capacity) noexcept nogil:
    """The high watermark waits for nobody any more who has gone, or was caught up for the last time a while ago."""
    cdef Log* log = lock_log(partition)
    cdef int32_t* found = NULL
    cdef int32_t count = 0
    cdef bint moved = advance_high_watermark(partition, log)
    if atomic_load_i32(&partition.state) == PARTITION_ONLINE and partition.replicas.count > 0:
        found = <int32_t*>malloc(<size_t>partition.replicas.count * sizeof(int32_t))
    if found != NULL:
        count = replicas_lagging(&partition.replicas, log_end_offset(log), replica_lag_max_ms(), replica_clock_ms(), found)
    unlock_log(log)
    if moved:
        partition_wake(partition)
    count = min(count, capacity)
    if count > 0:
        memcpy(broker_ids, found, <size_t>count * sizeof(int32_t))
    free(found)
    return count


cdef int32_t partition_joinable(
    Partition* partition, int32_t* broker_ids, int64_t* broker_epochs, int32_t capacity
) noexcept nogil:
    """Another replica's fetch may have led here: one that has not fetched just now is left to its own next fetch."""
    cdef Log* log = lock_log(partition)
    cdef int64_t since_ms = replica_clock_ms() - min(replica_lag_max_ms(), <int64_t>JOINABLE_FETCH_AGE_MAX_MS)
    cdef FollowerReplica* replica
    cdef int32_t count = 0
    cdef int32_t i
    if atomic_load_i32(&partition.state) == PARTITION_ONLINE:
        for i in range(partition.replicas.count):
            replica = &partition.replicas.others[i]
            if count < capacity and replica.fetched_ms >= since_ms and replica_may_join(
                &partition.replicas, replica, partition.high_watermark
            ):
                broker_ids[count] = replica.broker_id
                broker_epochs[count] = replica.broker_epoch
                count += 1
    unlock_log(log)
    return count
