"""Fetching from followers (KIP-392): which broker a consumer with a rack should ask, and which fetches a follower answers.

The rules are those of Kafka's RackAwareReplicaSelector: the leader, if it is in the client's rack or no replica is, else the most
caught up replica there. They are asked when the request comes, not again while it waits: a client in another rack than its leader
waits at most once before it asks the other broker.

A follower answers consumers with Fetch 11 or later, up to its own high watermark (read_committed: its last stable offset). As in
Kafka, an offset beyond its log's end is OFFSET_OUT_OF_RANGE, after which a consumer asks the leader again; one between the high
watermark and the end waits.
"""
from libc.stdint cimport int32_t
from libc.string cimport memcmp, memset

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32
from kafka_cy.network.metadata_image cimport BrokerImage, MetadataImage
from kafka_cy.storage.partition cimport PARTITION_FOLLOWER, REACTORS_MAX
from kafka_cy.storage.preferred_replica cimport partition_preferred_replica

cdef enum:
    VERSION_MIN = 11                # rack id and preferred read replica
    RACK_BROKERS_MAX = 256          # of one rack; further ones are not preferred

cdef int32_t rack_aware = 0         # (a) replica.selector.class
cdef int32_t rack_brokers[REACTORS_MAX][RACK_BROKERS_MAX]       # of the request that a reactor handles
memset(rack_brokers, 0, sizeof(rack_brokers))


cdef inline bint is_in_rack(const BrokerImage* broker, const FetchHeader* header) noexcept nogil:
    return broker.rack_size == header.rack_size and memcmp(broker.rack, header.rack, <size_t>header.rack_size) == 0


cdef void preferred_begin(Reactor* reactor, Request* request, FetchHeader* header, Fetch* fetch) noexcept nogil:
    cdef MetadataImage* image = reactor.image
    cdef BrokerImage* broker
    cdef int32_t i
    fetch.rack_brokers_count = 0
    if header.rack_size <= 0 or fetch.replica_id >= 0 or not atomic_load_i32(&rack_aware):
        return
    fetch.rack_brokers = &rack_brokers[reactor.id][0]
    for i in range(image.brokers_count):
        broker = &image.brokers[i]
        if not is_in_rack(broker, header):
            continue
        if broker.id == image.broker_id:
            fetch.rack_brokers_count = 0
            return
        if broker.hosts[request.listener] != NULL and fetch.rack_brokers_count < RACK_BROKERS_MAX:
            fetch.rack_brokers[fetch.rack_brokers_count] = broker.id
            fetch.rack_brokers_count += 1


cdef int32_t preferred_replica(Fetch* fetch, FetchItem* item) noexcept nogil:
    if fetch.rack_brokers_count == 0:
        return -1
    return partition_preferred_replica(item.partition, fetch.rack_brokers, fetch.rack_brokers_count, item.fetch_offset)


cdef bint serves_as_follower(Fetch* fetch, Partition* partition) noexcept nogil:
    """It has a role: before the controller has told of one, nobody knows how old its log is."""
    return (
        fetch.replica_id < 0 and fetch.version >= VERSION_MIN and atomic_load_i32(&partition.leader_epoch) >= 0
        and atomic_load_i32(&partition.state) == PARTITION_FOLLOWER
    )


def set_rack_aware(bint on):
    """Whether consumers are sent to replicas in their rack (replica.selector.class)."""
    atomic_store_i32(&rack_aware, on)
