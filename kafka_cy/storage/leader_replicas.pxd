"""What the leader of a partition knows of its other replicas: their fetches, the ISR, the high watermark. See
leader_replicas.pyx."""
from libc.stdint cimport int32_t, int64_t

cdef enum:
    UNKNOWN_OFFSET = -1

cdef enum IsrChange:            # of which the controller has not answered yet; at most one in flight
    ISR_SETTLED = 0
    ISR_EXPANDING = 1
    ISR_SHRINKING = 2

# Another broker's replica, as its leader knows it (Kafka: Replica, ReplicaState). Times are of one monotonic clock; a
# negative one that no lag reaches is "never".
cdef struct FollowerReplica:
    int32_t broker_id
    bint in_sync                # member of the ISR that the controller has stored
    bint joining                # of an expansion in flight: the controller may have stored it as a member
    bint adding                 # a reassignment adds it
    int64_t end_offset          # its log end offset as of its last fetch, UNKNOWN_OFFSET
    int64_t start_offset        # its log start offset as of its last fetch, UNKNOWN_OFFSET
    int64_t fetched_ms          # when it fetched last; never
    int64_t leader_end_offset   # the leader's log end offset at that time, UNKNOWN_OFFSET
    int64_t caught_up_ms        # the latest time at which it is known to have had everything; never
    int64_t broker_epoch        # as in its last fetch, -1 unknown
    const int32_t* alive        # (a) live_brokers

# Purpose: all other replicas of a partition that this broker leads.
# Owner: the partition; guarded by its log's append mutex. Nothing here reads a clock, takes a lock or allocates, except
#   replicas_assign and replicas_free.
cdef struct LeaderReplicas:
    FollowerReplica* others
    int32_t count               # (a)
    int32_t isr_count           # (a) of the stored ISR, the leader included
    int64_t epoch_start_offset  # (a) the log end offset when this broker began to lead in its epoch
    int32_t change              # IsrChange

# What is fixed while the high watermark is computed.
cdef struct ReplicaRules:
    int64_t lag_max_ms          # replica.lag.time.max.ms
    int32_t isr_min             # min.insync.replicas

cdef FollowerReplica* replicas_find(const LeaderReplicas* replicas, int32_t broker_id) noexcept nogil    # NULL: none
# Take the assignment and the ISR that the controller has stored, which ends a change in flight. What is known of replicas that
# stay is kept. False: no memory, and nothing has changed. `isr_count` includes the leader.
cdef bint replicas_assign(
    LeaderReplicas* replicas, const int32_t* broker_ids, const bint* in_sync, int32_t count, int32_t isr_count
) noexcept nogil
# The same in two steps: the memory, which may be refused (NULL), and the assignment, which then succeeds and takes it.
cdef FollowerReplica* replicas_room(int32_t count) noexcept nogil
cdef void replicas_put(
    LeaderReplicas* replicas, FollowerReplica* room, const int32_t* broker_ids, const bint* in_sync, int32_t count,
    int32_t isr_count
) noexcept nogil
cdef void replicas_free(LeaderReplicas* replicas) noexcept nogil
# A leader epoch begins at `start_offset`. `anew`: this broker did not lead in the epoch before, so nothing is known of the
# others. Members of the ISR count as caught up from now on.
cdef void replicas_lead(LeaderReplicas* replicas, int64_t start_offset, int64_t now_ms, bint anew) noexcept nogil
# This broker does not lead any more: there is no ISR.
cdef void replicas_resign(LeaderReplicas* replicas) noexcept nogil
# A replica fetched from `offset`: it has everything below.
cdef void replica_fetched(
    FollowerReplica* replica, int64_t offset, int64_t start_offset, int64_t leader_end, int64_t now_ms, int64_t broker_epoch
) noexcept nogil
cdef bint replica_is_caught_up(
    const FollowerReplica* replica, int64_t leader_end, int64_t lag_max_ms, int64_t now_ms
) noexcept nogil
# The high watermark that the replicas allow, not above `own_offset`; UNKNOWN_OFFSET: it must not move.
cdef int64_t replicas_high_watermark(
    const LeaderReplicas* replicas, const ReplicaRules* rules, int64_t own_offset, int64_t leader_end, int64_t now_ms
) noexcept nogil
# The least log start offset of the replicas that live, the leader's `own_offset` included; UNKNOWN_OFFSET: one that lives has not
# told its own yet. Kafka: Partition.lowWatermarkIfLeader.
cdef int64_t replicas_low_watermark(const LeaderReplicas* replicas, int64_t own_offset) noexcept nogil
# May this replica join the ISR now?
cdef bint replica_may_join(
    const LeaderReplicas* replicas, const FollowerReplica* replica, int64_t high_watermark
) noexcept nogil
# The members of the ISR that are not caught up; how many. `broker_ids` has room for `count`. None while a change is in flight.
cdef int32_t replicas_lagging(
    const LeaderReplicas* replicas, int64_t leader_end, int64_t lag_max_ms, int64_t now_ms, int32_t* broker_ids
) noexcept nogil
# The controller is asked to add `broker_id`, or to remove members (`broker_id` -1). False: a change is in flight already.
cdef bint replicas_propose(LeaderReplicas* replicas, IsrChange change, int32_t broker_id) noexcept nogil
# The controller has refused the change: the stored ISR holds.
cdef void replicas_withdraw(LeaderReplicas* replicas) noexcept nogil
# The members of the ISR as it may be stored already: of an expansion the new ones too, of a shrink the old ones still.
cdef int32_t replicas_maximal_isr_count(const LeaderReplicas* replicas) noexcept nogil
