"""Quotas of replication (KIP-73) as a leader applies them to the fetches of followers."""
from libc.stdint cimport int64_t

from kafka_cy.api.fetch cimport THROTTLE_NOT_ASKED, THROTTLE_OFF, THROTTLE_ON, Fetch, FetchItem
from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.clock cimport monotonic_ns
from kafka_cy.quota.replication_quota cimport REPLICATION_LEADER, replication_record, replication_wait_ms
from kafka_cy.storage.partition cimport THROTTLED_LEADER
from kafka_cy.storage.partition_leader cimport FETCHED_ADDING, FETCHED_IN_SYNC, FETCHED_UNKNOWN
from kafka_cy.storage.replicated_bytes cimport REASSIGNED_OUT, REPLICATED_OUT, count_replicated


cdef inline bint is_throttled(Fetch* fetch, FetchItem* item) noexcept nogil:
    """Whether the follower gets no records of the partition now. A member of the ISR gets them: producers wait for it.

    So does a follower of which it is not known: its fetch is not noted, because another thread appends to the partition.
    Kafka: ReplicaManager.shouldLeaderThrottle. The quota is asked once for each reading, and only for a throttled replica.
    """
    if fetch.replica_id < 0 or item.found & (FETCHED_IN_SYNC | FETCHED_UNKNOWN):
        return False
    if not atomic_load_i32(&item.partition.throttled) & THROTTLED_LEADER:
        return False
    if fetch.throttle == THROTTLE_NOT_ASKED:
        fetch.throttle = THROTTLE_ON if replication_wait_ms(REPLICATION_LEADER, monotonic_ns()) else THROTTLE_OFF
    return fetch.throttle == THROTTLE_ON


cdef inline void count_sent_to_follower(FetchItem* item, int64_t size) noexcept nogil:
    """Members of the ISR count, too: the quota is of all that the throttled replicas send."""
    count_replicated(REPLICATED_OUT, size)
    if item.found & FETCHED_ADDING:
        count_replicated(REASSIGNED_OUT, size)
    if atomic_load_i32(&item.partition.throttled) & THROTTLED_LEADER:
        replication_record(REPLICATION_LEADER, size, monotonic_ns())
