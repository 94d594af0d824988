"""The bookkeeping of a leader's replicas for tests: the clock and all offsets are given."""
from cpython cimport array
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from kafka_cy.storage.leader_replicas cimport (
    ISR_EXPANDING, ISR_SHRINKING, FollowerReplica, LeaderReplicas, ReplicaRules, replica_fetched, replica_is_caught_up,
    replica_may_join, replicas_assign, replicas_find, replicas_free, replicas_high_watermark, replicas_lagging, replicas_lead,
    replicas_maximal_isr_count, replicas_propose, replicas_resign, replicas_withdraw,
)

import array

cdef enum:
    ALIVE_MAX = 64              # broker ids that set_alive() knows are below


cdef class LeaderReplicasProbe:
    """The replicas of one leader. Broker ids are given without the leader's own."""

    cdef LeaderReplicas replicas
    cdef ReplicaRules rules
    cdef int32_t[ALIVE_MAX] alive
    cdef bint knows_alive

    def __cinit__(self, int64_t lag_max_ms, int32_t isr_min):
        memset(&self.replicas, 0, sizeof(LeaderReplicas))
        self.replicas.isr_count = 1
        self.rules.lag_max_ms = lag_max_ms
        self.rules.isr_min = isr_min

    def __dealloc__(self):
        replicas_free(&self.replicas)

    cdef FollowerReplica* of(self, int32_t broker_id) except NULL:
        cdef FollowerReplica* found = replicas_find(&self.replicas, broker_id)
        if found == NULL:
            raise KeyError(broker_id)
        return found

    def set_isr_min(self, int32_t isr_min):
        """min.insync.replicas"""
        self.rules.isr_min = isr_min

    def assign(self, followers, isr):
        """`isr`: without the leader, which is always a member."""
        cdef array.array ids = array.array("i", followers)
        cdef array.array flags = array.array("i", [each in isr for each in followers])
        if not replicas_assign(
            &self.replicas, <const int32_t*>ids.data.as_ints, <const bint*>flags.data.as_ints, <int32_t>len(followers),
            <int32_t>len(isr) + 1,
        ):
            raise MemoryError
        if self.knows_alive:
            self.point_at_alive()

    cdef void point_at_alive(self) noexcept:
        cdef int32_t i
        for i in range(self.replicas.count):
            self.replicas.others[i].alive = &self.alive[self.replicas.others[i].broker_id % ALIVE_MAX]

    def set_alive(self, broker_ids):
        """Which brokers are alive for this leader, whatever live_brokers says for the process."""
        memset(&self.alive, 0, sizeof(self.alive))
        for broker_id in broker_ids:
            self.alive[broker_id % ALIVE_MAX] = 1
        self.knows_alive = True
        self.point_at_alive()

    def lead(self, int64_t start_offset, int64_t now_ms, bint anew):
        replicas_lead(&self.replicas, start_offset, now_ms, anew)

    def resign(self):
        replicas_resign(&self.replicas)

    def fetched(self, int32_t broker_id, int64_t offset, int64_t leader_end, int64_t now_ms):
        replica_fetched(self.of(broker_id), offset, 0, leader_end, now_ms, -1)

    def caught_up(self, int32_t broker_id, int64_t leader_end, int64_t now_ms):
        return bool(replica_is_caught_up(self.of(broker_id), leader_end, self.rules.lag_max_ms, now_ms))

    def high_watermark(self, int64_t own_offset, int64_t leader_end, int64_t now_ms):
        """-1: it must not move."""
        return replicas_high_watermark(&self.replicas, &self.rules, own_offset, leader_end, now_ms)

    def may_join(self, int32_t broker_id, int64_t high_watermark):
        return bool(replica_may_join(&self.replicas, self.of(broker_id), high_watermark))

    def lagging(self, int64_t leader_end, int64_t now_ms):
        cdef array.array ids = array.array("i", [0] * (self.replicas.count + 1))
        count = replicas_lagging(&self.replicas, leader_end, self.rules.lag_max_ms, now_ms, <int32_t*>ids.data.as_ints)
        return list(ids[:count])

    def propose(self, joining=None):
        if joining is None:
            return bool(replicas_propose(&self.replicas, ISR_SHRINKING, -1))
        return bool(replicas_propose(&self.replicas, ISR_EXPANDING, joining))

    def withdraw(self):
        replicas_withdraw(&self.replicas)

    @property
    def maximal_isr_count(self):
        return replicas_maximal_isr_count(&self.replicas)
