"""Leading a partition with other replicas: assignment, ISR, fetches of followers. See partition_leader.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.leader_replicas cimport IsrChange
from kafka_cy.storage.partition cimport Partition

# What a follower reports with a fetch.
cdef struct FollowerFetch:
    int32_t broker_id
    int32_t leader_epoch        # the partition's, as the follower knows it; -1 not said
    int64_t end_offset          # it has everything below
    int64_t start_offset        # of its log; -1 not said
    int64_t broker_epoch        # -1 not said

cdef enum FollowerFetched:      # bits
    FETCHED = 0
    FETCHED_MAY_JOIN = 1        # it may join the ISR now
    FETCHED_BY_OTHER = 2        # that broker has no replica of the partition: nothing was noted
    FETCHED_NOT_NOW = 4         # another thread has the log's append mutex: nothing was noted
    FETCHED_IN_SYNC = 8         # it is a member of the ISR
    FETCHED_ADDING = 16         # a reassignment adds it
    FETCHED_UNKNOWN = 32        # nothing is noted yet, or nothing was noted because the role has changed

# Set the followers by broker id, and whether each is in sync. What is known of those that stay is kept; a change of the ISR in
# flight ends. False: out of memory.
cdef bint partition_set_replicas(
    Partition* partition, const int32_t* followers, const bint* in_sync, int32_t count, int32_t isr_count
) noexcept nogil
# The replicas that a reassignment adds; the others that it added are no such replicas any more. `own_id`: this broker's.
cdef void partition_set_adding(Partition* partition, const int32_t* adding, int32_t count, int32_t own_id) noexcept nogil
# Become leader with a new epoch, which begins at the log's end. A StorageError.
cdef int partition_become_leader(Partition* partition, int32_t leader_epoch) noexcept nogil
# The same together with the assignment and the ISR, in one step; `change` of the ISR, which adds `joining`, stays in flight.
cdef int partition_lead(
    Partition* partition, int32_t leader_epoch, const int32_t* followers, const bint* in_sync, int32_t count, int32_t isr_count,
    IsrChange change, int32_t joining
) noexcept nogil
# A follower fetched. Not on a reactor: an append to a slow disk may have the mutex.
cdef FollowerFetched partition_follower_fetched(Partition* partition, const FollowerFetch* fetch) noexcept nogil
# The same, but the mutex is waited for during `wait_ns` at most, 0: not at all; then FETCHED_NOT_NOW.
cdef FollowerFetched partition_follower_fetched_within(
    Partition* partition, const FollowerFetch* fetch, int64_t wait_ns
) noexcept nogil
# The least log start offset of the replicas that live; -1: not all are known. `is_known` False: another thread has the append
# mutex for longer than `wait_ns`. A StorageError if this broker does not lead.
cdef int partition_low_watermark(Partition* partition, int64_t wait_ns, int64_t* offset, bint* is_known) noexcept nogil
# Note that the controller is asked to change the ISR: add `broker_id`, or remove members (-1). False: not now, because another
# change is in flight, or the epoch is another one.
cdef bint partition_propose_isr(
    Partition* partition, int32_t leader_epoch, IsrChange change, int32_t broker_id
) noexcept nogil
# The controller refused: the ISR that it has stored holds.
cdef void partition_withdraw_isr(Partition* partition, int32_t leader_epoch) noexcept nogil
# The replicas that may join the ISR now: how many. `broker_ids` gets the first `capacity` of them.
cdef int32_t partition_joinable(
    Partition* partition, int32_t* broker_ids, int64_t* broker_epochs, int32_t capacity
) noexcept nogil
# The members of the ISR that are not caught up: how many. `broker_ids` gets the first `capacity` of them.
cdef int32_t partition_lagging(Partition* partition, int32_t* broker_ids, int32_t capacity) noexcept nogil
