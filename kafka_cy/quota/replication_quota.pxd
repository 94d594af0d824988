"""Quotas of replication (KIP-73): what the throttled replicas of this broker send, fetch and copy; see replication_quota.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.quota.rate cimport Rate, Sample

cdef enum ReplicationKind:
    REPLICATION_LEADER = 0      # leader.replication.throttled.rate: what a leader sends
    REPLICATION_FOLLOWER = 1    # follower.replication.throttled.rate: what a follower fetches
    REPLICATION_LOG_DIRS = 2    # replica.alter.log.dirs.io.max.bytes.per.second: what moves between log directories copy
    REPLICATION_KINDS = 3

cdef enum:
    REPLICATION_WINDOWS_MAX = 1000

# Purpose: one quota and the rate that is measured for it. Owner: the process. Threads: all. (a) atomics
# Lock: `mutex`, held while samples change: about once a second, and never over another lock or a system call.
cdef struct ReplicationQuota:
    int64_t limit               # (a) bytes a second; UNLIMITED
    pthread_mutex_t mutex
    Rate rate
    Sample samples[REPLICATION_WINDOWS_MAX + 1]

# Count bytes of a throttled replica.
cdef void replication_record(ReplicationKind kind, int64_t bytes, int64_t now_ns) noexcept nogil
# How long the rate stays above the limit if nothing is counted meanwhile, in ms; 0: it is within the limit, or there is none.
cdef int64_t replication_wait_ms(ReplicationKind kind, int64_t now_ns) noexcept nogil
