"""The hints of KIP-951: who leads a partition, and the endpoints of the leaders that a response names."""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.network.metadata_image cimport BrokerImage, MetadataImage
from kafka_cy.records.wire cimport Writer, write_int32, write_int8, write_raw, write_string, write_uvarint

cdef enum:
    LEADERS_MAX = 8             # node endpoints in one response; clients find more leaders than that through Metadata


# The leaders that a response names. Owner: one handler call, on its stack.
cdef struct Leaders:
    int32_t count
    int32_t ids[LEADERS_MAX]


cdef inline void leaders_add(Leaders* leaders, int32_t leader) noexcept nogil:
    cdef int32_t i
    if leader < 0 or leaders.count >= LEADERS_MAX:
        return
    for i in range(leaders.count):
        if leaders.ids[i] == leader:
            return
    leaders.ids[leaders.count] = leader
    leaders.count += 1


cdef inline BrokerImage* find_broker(MetadataImage* image, int32_t broker_id) noexcept nogil:
    cdef int32_t i
    if image == NULL:
        return NULL
    for i in range(image.brokers_count):
        if image.brokers[i].id == broker_id:
            return &image.brokers[i]
    return NULL


cdef inline void write_response_tags(
    Writer* w, Writer* scratch, MetadataImage* image, int32_t listener, Leaders* leaders
) noexcept nogil:
    """The tagged fields at the end of a Produce v10+ or Fetch v16+ response: NodeEndpoints (tag 0) of the named leaders."""
    cdef int32_t found = 0
    cdef int32_t i
    cdef BrokerImage* broker
    for i in range(leaders.count):
        broker = find_broker(image, leaders.ids[i])
        if broker != NULL and listener < broker.listeners_count and broker.hosts[listener] != NULL:
            found += 1
    if found == 0:
        write_int8(w, 0)
        return
    scratch.size = 0
    write_uvarint(scratch, <unsigned int>(found + 1))
    for i in range(leaders.count):
        broker = find_broker(image, leaders.ids[i])
        if broker == NULL or listener >= broker.listeners_count or broker.hosts[listener] == NULL:
            continue
        write_int32(scratch, broker.id)
        write_string(scratch, True, broker.hosts[listener], broker.host_sizes[listener])
        write_int32(scratch, broker.ports[listener])
        write_string(scratch, True, broker.rack, broker.rack_size)
        write_int8(scratch, 0)
    write_int8(w, 1)
    write_uvarint(w, 0)
    write_uvarint(w, <unsigned int>scratch.size)
    write_raw(w, scratch.data, scratch.size)
    if scratch.error:
        w.error = scratch.error


cdef inline void write_current_leader(Writer* w, uint8_t tag, int32_t leader, int32_t leader_epoch) noexcept nogil:
    """A tagged-field section that holds only CurrentLeader (KIP-951)."""
    write_int8(w, 1)
    write_uvarint(w, tag)
    write_uvarint(w, 9)
    write_int32(w, leader)
    write_int32(w, leader_epoch)
    write_int8(w, 0)
