"""The leader's bookkeeping of its replicas (Kafka: Partition, Replica): when one is caught up, who is in sync, and how far the
high watermark may go.

Pure: the clock and all offsets are arguments. tests/storage/test_leader_replicas.py compares it with a model of the rules.

- The **maximal ISR** is what the controller may have stored: with an expansion in flight it includes the joining replica, with
  a shrink in flight the members that leave. Records are committed only when all of the maximal ISR have them. Otherwise a
  leader elected from an ISR of which this one has not heard yet might lack them.
- A replica outside the ISR that is caught up is waited for, too, while its broker is alive: it would join at its next fetch
  otherwise, but the high watermark would have run ahead of it.
- A replica outside the ISR is judged by its fetches since it left the ISR, and of this leader epoch. Its broker may have lost the
  end of its log since an earlier one: as a member it could be elected without committed records. (Kafka remembers older ones,
  but judges only the follower that fetches.)
- With fewer members than min.insync.replicas, the high watermark stands still (KAFKA-15583), also for acks=1.
"""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32, atomic_store_i64
from kafka_cy.storage.live_brokers cimport broker_alive

cdef int64_t NEVER_MS = -(<int64_t>1 << 62)


cdef FollowerReplica* replicas_find(const LeaderReplicas* replicas, int32_t broker_id) noexcept nogil:
    cdef int32_t i
    for i in range(replicas.count):
        if replicas.others[i].broker_id == broker_id:
            return &replicas.others[i]
    return NULL


cdef void forget_fetches(FollowerReplica* replica) noexcept nogil:
    replica.end_offset = UNKNOWN_OFFSET
    replica.start_offset = UNKNOWN_OFFSET
    replica.fetched_ms = NEVER_MS
    replica.leader_end_offset = UNKNOWN_OFFSET
    replica.caught_up_ms = NEVER_MS
    replica.broker_epoch = -1


cdef bint replicas_assign(
    LeaderReplicas* replicas, const int32_t* broker_ids, const bint* in_sync, int32_t count, int32_t isr_count
) noexcept nogil:
    cdef FollowerReplica* fresh = replicas_room(count)
    if fresh == NULL:
        return False
    replicas_put(replicas, fresh, broker_ids, in_sync, count, isr_count)
    return True


cdef FollowerReplica* replicas_room(int32_t count) noexcept nogil:
    return <FollowerReplica*>malloc(<size_t>(count + 1) * sizeof(FollowerReplica))


cdef void replicas_put(
    LeaderReplicas* replicas, FollowerReplica* room, const int32_t* broker_ids, const bint* in_sync, int32_t count,
    int32_t isr_count
) noexcept nogil:
    cdef FollowerReplica* fresh = room
    cdef FollowerReplica* known
    cdef int32_t i
    for i in range(count):
        known = replicas_find(replicas, broker_ids[i])
        if known != NULL:
            fresh[i] = known[0]
            if known.in_sync and not in_sync[i]:
                forget_fetches(&fresh[i])
        else:
            memset(&fresh[i], 0, sizeof(FollowerReplica))
            forget_fetches(&fresh[i])
            fresh[i].broker_id = broker_ids[i]
            fresh[i].alive = broker_alive(broker_ids[i])
        fresh[i].in_sync = in_sync[i]
        fresh[i].joining = False
    free(replicas.others)
    replicas.others = fresh
    atomic_store_i32(&replicas.count, count)
    atomic_store_i32(&replicas.isr_count, isr_count)
    replicas.change = ISR_SETTLED


cdef void replicas_free(LeaderReplicas* replicas) noexcept nogil:
    free(replicas.others)
    replicas.others = NULL
    replicas.count = 0


cdef void replicas_lead(LeaderReplicas* replicas, int64_t start_offset, int64_t now_ms, bint anew) noexcept nogil:
    cdef FollowerReplica* replica
    cdef int32_t i
    atomic_store_i64(&replicas.epoch_start_offset, start_offset)
    for i in range(replicas.count):
        replica = &replicas.others[i]
        if anew or not replica.in_sync:
            forget_fetches(replica)
        else:
            replica.leader_end_offset = start_offset
            replica.fetched_ms = now_ms
        replica.caught_up_ms = now_ms if replica.in_sync else NEVER_MS


cdef void replicas_resign(LeaderReplicas* replicas) noexcept nogil:
    cdef int32_t i
    for i in range(replicas.count):
        replicas.others[i].in_sync = False
    atomic_store_i32(&replicas.isr_count, 0)
    replicas_withdraw(replicas)


cdef void replica_fetched(
    FollowerReplica* replica, int64_t offset, int64_t start_offset, int64_t leader_end, int64_t now_ms, int64_t broker_epoch
) noexcept nogil:
    """A replica that never has everything while records keep coming is caught up all the same, as of the fetch before, if by now
    it has what the leader had then."""
    if offset >= leader_end:
        replica.caught_up_ms = max(replica.caught_up_ms, now_ms)
    elif replica.leader_end_offset != UNKNOWN_OFFSET and offset >= replica.leader_end_offset:
        replica.caught_up_ms = max(replica.caught_up_ms, replica.fetched_ms)
    replica.end_offset = offset
    replica.start_offset = start_offset
    replica.leader_end_offset = max(replica.leader_end_offset, leader_end)
    replica.fetched_ms = now_ms
    replica.broker_epoch = broker_epoch


cdef bint replica_is_caught_up(
    const FollowerReplica* replica, int64_t leader_end, int64_t lag_max_ms, int64_t now_ms
) noexcept nogil:
    return replica.end_offset == leader_end or now_ms - lag_max_ms <= replica.caught_up_ms


cdef inline bint is_alive(const FollowerReplica* replica) noexcept nogil:
    return atomic_load_i32(<int32_t*>replica.alive)


cdef int64_t replicas_high_watermark(
    const LeaderReplicas* replicas, const ReplicaRules* rules, int64_t own_offset, int64_t leader_end, int64_t now_ms
) noexcept nogil:
    cdef const FollowerReplica* replica
    cdef int64_t offset = own_offset
    cdef int32_t i
    if replicas.isr_count < min(rules.isr_min, replicas.count + 1):
        return UNKNOWN_OFFSET
    for i in range(replicas.count):
        replica = &replicas.others[i]
        if replica.end_offset >= offset:
            continue
        if replica.in_sync or replica.joining or (
            is_alive(replica) and replica_is_caught_up(replica, leader_end, rules.lag_max_ms, now_ms)
        ):
            offset = replica.end_offset
    return offset


cdef int64_t replicas_low_watermark(const LeaderReplicas* replicas, int64_t own_offset) noexcept nogil:
    cdef int64_t offset = own_offset
    cdef int32_t i
    for i in range(replicas.count):
        if is_alive(&replicas.others[i]):
            offset = min(offset, replicas.others[i].start_offset)
    return offset


cdef bint replica_may_join(
    const LeaderReplicas* replicas, const FollowerReplica* replica, int64_t high_watermark
) noexcept nogil:
    """A replica with less than the start of the epoch may lack records that a leader of an earlier epoch has committed."""
    return (
        not replica.in_sync and replicas.change == ISR_SETTLED and replica.end_offset >= high_watermark
        and replica.end_offset >= replicas.epoch_start_offset and is_alive(replica)
    )


cdef int32_t replicas_lagging(
    const LeaderReplicas* replicas, int64_t leader_end, int64_t lag_max_ms, int64_t now_ms, int32_t* broker_ids
) noexcept nogil:
    cdef int32_t found = 0
    cdef int32_t i
    if replicas.change != ISR_SETTLED:
        return 0
    for i in range(replicas.count):
        if replicas.others[i].in_sync and not replica_is_caught_up(&replicas.others[i], leader_end, lag_max_ms, now_ms):
            broker_ids[found] = replicas.others[i].broker_id
            found += 1
    return found


cdef bint replicas_propose(LeaderReplicas* replicas, IsrChange change, int32_t broker_id) noexcept nogil:
    cdef FollowerReplica* replica
    if replicas.change != ISR_SETTLED:
        return False
    if change == ISR_EXPANDING:
        replica = replicas_find(replicas, broker_id)
        if replica == NULL or replica.in_sync:
            return False
        replica.joining = True
    replicas.change = change
    return True


cdef void replicas_withdraw(LeaderReplicas* replicas) noexcept nogil:
    cdef int32_t i
    for i in range(replicas.count):
        replicas.others[i].joining = False
    replicas.change = ISR_SETTLED


cdef int32_t replicas_maximal_isr_count(const LeaderReplicas* replicas) noexcept nogil:
    cdef int32_t count = replicas.isr_count
    cdef int32_t i
    for i in range(replicas.count):
        if replicas.others[i].joining:
            count += 1
    return count
