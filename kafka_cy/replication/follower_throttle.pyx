"""Which partitions a fetcher leaves out of its requests because follower.replication.throttled.rate is used up.

As in Kafka (RemoteLeaderEndPoint.shouldFollowerThrottle), these are the throttled replicas that are not in sync: one that had
everything below the leader's high watermark is fetched all the same, or it would leave the ISR.

What is throttled leaves the leader's fetch session, and comes back at its end, when the quota allows some requests. A response has
room for some partitions only, and the leader serves those first that came first. So they come back in their turns: who waits
longest for records is the first. (In Kafka, the fetcher's own order of its partitions does that: updateAndMoveToEnd.)

Without a limit, a request costs one atomic load. When the limit is exceeded, the fetcher's thread looks at its partitions once, and
then only at those whose position changed, until the rate is within the limit again.
"""
from libc.stdint cimport int64_t

from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.quota.replication_quota cimport REPLICATION_FOLLOWER, replication_record, replication_wait_ms
from kafka_cy.replication.followed cimport (
    FOLLOW_FETCHING, Followed, followed_throttle, followed_unthrottle,
)
from kafka_cy.storage.partition cimport THROTTLED_FOLLOWER
from kafka_cy.storage.replicated_bytes cimport REASSIGNED_IN, REPLICATED_IN, count_replicated

cdef enum:
    PAUSE_MIN_MS = 20           # so that partitions are not looked at with each request
    PAUSE_MAX_MS = 1000         # the limit, or what is throttled, may change meanwhile


cdef inline void throttle_one(FollowedTable* table, Followed* followed) noexcept nogil:
    if followed.state == FOLLOW_FETCHING and not followed.in_sync and (
        atomic_load_i32(&followed.partition.throttled) & THROTTLED_FOLLOWER
    ):
        followed_throttle(table, followed)


cdef int64_t throttle_followed(FollowedTable* table, int64_t now_ns) noexcept nogil:
    cdef Followed* followed
    cdef Followed* after
    if now_ns >= table.throttled_until_ns:
        while table.throttled.first != NULL:
            followed_unthrottle(table, table.throttled.first)
        table.throttled_until_ns = wait_until(now_ns)
        if table.throttled_until_ns == 0:
            return 0
        followed = table.turns.first
        while followed != NULL:
            throttle_one(table, followed)
            followed = followed.later
    else:
        followed = table.dirty.first
        while followed != NULL:
            after = followed.next
            throttle_one(table, followed)
            followed = after
    return table.throttled_until_ns if table.throttled.first != NULL else 0


cdef inline int64_t wait_until(int64_t now_ns) noexcept nogil:
    cdef int64_t wait_ms = replication_wait_ms(REPLICATION_FOLLOWER, now_ns)
    if wait_ms == 0:
        return 0
    return now_ns + max(<int64_t>PAUSE_MIN_MS, min(wait_ms, <int64_t>PAUSE_MAX_MS)) * 1000000


cdef void count_appended(Partition* partition, int64_t size) noexcept nogil:
    count_replicated(REPLICATED_IN, size)
    if atomic_load_i32(&partition.adding):
        count_replicated(REASSIGNED_IN, size)
    if atomic_load_i32(&partition.throttled) & THROTTLED_FOLLOWER:
        replication_record(REPLICATION_FOLLOWER, size, monotonic_ns())
