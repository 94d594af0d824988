"""What every hot handler shares: topics by name or id, the leader hints of KIP-951, response limits."""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp, memset

from kafka_cy.base.hash cimport hash_of_bytes
from kafka_cy.network.metadata_image cimport (
    BrokerImage, MetadataImage, PartitionImage, TopicImage, image_find_topic, image_find_topic_id, topic_partition,
)
from kafka_cy.records.wire cimport (
    Reader, Writer, read_raw, read_string, write_int32, write_int8, write_no_tags, write_raw, write_string,
    write_uvarint,
)

cdef enum:
    RESPONSE_BYTES_MAX = 0x7fff0000
    LEADERS_MAX = 8             # node endpoints in one answer; more leaders than that are found through Metadata

cdef enum LogLevel:
    LEVEL_DEBUG = 10
    LEVEL_INFO = 20
    LEVEL_WARNING = 30


# How a request names a topic: borrowed from the request body.
cdef struct TopicKey:
    bint by_id
    const char* name            # NULL when by_id
    int32_t name_size
    const uint8_t* topic_id     # NULL when not by_id


# Leaders that an answer points to (KIP-951). Owner: one handler call, on its stack.
cdef struct Leaders:
    int32_t count
    int32_t ids[LEADERS_MAX]


cdef inline void read_topic_key(Reader* r, bint by_id, bint flexible, TopicKey* key) noexcept nogil:
    """A topic's name or id. A null name is left NULL with size -1 (the caller decides)."""
    key.by_id = by_id
    key.name = NULL
    key.name_size = 0
    key.topic_id = NULL
    if by_id:
        key.topic_id = read_raw(r, 16)
    else:
        key.name = read_string(r, flexible, &key.name_size)


cdef inline bint same_topic(TopicKey* a, TopicKey* b) noexcept nogil:
    """Both by id or both by name. Two keys that borrow the same bytes are not compared byte by byte."""
    if a.by_id:
        return a.topic_id == b.topic_id or memcmp(a.topic_id, b.topic_id, 16) == 0
    if a.name_size != b.name_size:
        return False
    return a.name == b.name or memcmp(a.name, b.name, <size_t>a.name_size) == 0


cdef inline uint32_t hash_of_topic(TopicKey* key) noexcept nogil:
    if key.by_id:
        return hash_of_bytes(key.topic_id, 16)
    return hash_of_bytes(key.name, <size_t>key.name_size)


cdef inline TopicImage* find_topic(MetadataImage* image, TopicKey* key) noexcept nogil:
    if image == NULL:
        return NULL
    if key.by_id:
        return image_find_topic_id(image, key.topic_id)
    if key.name == NULL:
        return NULL
    return image_find_topic(image, key.name, key.name_size)


cdef inline void write_topic_key(Writer* w, TopicKey* key, bint flexible) noexcept nogil:
    if key.by_id:
        write_raw(w, key.topic_id, 16)
    else:
        write_string(w, flexible, key.name, key.name_size)


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
    """The tagged fields that end a Produce v10+ or Fetch v16+ answer: NodeEndpoints (tag 0) of the leaders named."""
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


cdef inline bint topic_id_is_zero(const uint8_t* topic_id) noexcept nogil:
    cdef int i
    for i in range(16):
        if topic_id[i]:
            return False
    return True
