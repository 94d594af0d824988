"""Metadata (key 3), of topics that this broker knows.

A request goes to the control plane if it names an unknown topic, which may be created then, or names a topic twice. For
every other request the response is written here from the metadata image.

- v0: an empty topic list means all topics; from v1 null means all and an empty list none.
- v1: rack, controller id, internal flag. v2: cluster id. v3: throttle time. v4: allow_auto_topic_creation.
- v5: offline replicas (KIP-112). v7: leader epoch (KIP-320). v8: authorized operations (KIP-430; the cluster's left
  again with v11). v9: flexible. v10: topic ids (KIP-516), which a request may use from v12 (before: INVALID_REQUEST).
- v13: top-level error code (KIP-1102), always 0 here.
- Brokers are listed with their address on the listener that the request came in by; a leader without one is reported as
  LISTENER_NOT_FOUND (before v6 LEADER_NOT_AVAILABLE).
- Without an authorizer every operation is allowed: the bit fields hold all that exist for the resource.
"""
from libc.stdint cimport int16_t, int32_t, uint8_t
from libc.string cimport memset

from kafka_cy.api.error_codes cimport (
    ERROR_INVALID_REQUEST, ERROR_LEADER_NOT_AVAILABLE, ERROR_LISTENER_NOT_FOUND, ERROR_NONE, ERROR_UNKNOWN_TOPIC_ID,
)
from kafka_cy.api.leader_hints cimport find_broker
from kafka_cy.api.topic_key cimport TopicKey, topic_id_is_zero
from kafka_cy.api.named_partitions cimport NamedPartitions, named_add, named_of
from kafka_cy.network.metadata_image cimport (
    BrokerImage, MetadataImage, PartitionImage, TopicImage, image_find_topic, image_find_topic_id,
)
from kafka_cy.network.dispatch cimport (
    CLOSE, FORWARD, HANDLED, Reactor, Request, request_error, response_begin, response_send,
    response_throttle_time,
)
from kafka_cy.network.hot_handlers cimport hot_handler_register
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.records.wire cimport (
    Reader, Writer, read_array_length, read_int8, read_raw, read_string, reader_init, skip_tagged_fields,
    write_array_length, write_int16, write_int32, write_int8, write_no_tags, write_raw, write_string,
    writer_init,
)

cdef enum:
    API_KEY = 3
    # AclOperation bits of a topic: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
    TOPIC_OPERATIONS = 0xdf8
    # Of a cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE.
    CLUSTER_OPERATIONS = 0x1fa0
    NOT_ASKED = -2147483648


# One request as read; pointers borrow the body. Owner: one handler call.
cdef struct MetadataRequest:
    bint all_topics
    int32_t topics_count
    const uint8_t* topics           # where the list's elements begin
    bint forward                    # names an unknown topic, or a topic twice
    bint cluster_operations
    bint topic_operations


cdef struct AskedTopic:
    const uint8_t* topic_id         # NULL before v10
    const char* name                # NULL: by id
    int32_t name_size


cdef void read_asked_topic(Reader* r, int16_t version, AskedTopic* asked) noexcept nogil:
    asked.topic_id = read_raw(r, 16) if version >= 10 else NULL
    asked.name = read_string(r, version >= 9, &asked.name_size)
    if version >= 9:
        skip_tagged_fields(r)
    if version >= 12 and not r.error and not topic_id_is_zero(asked.topic_id):
        asked.name = NULL                           # the id counts: Java's client sends it with an empty name


cdef const uint8_t* id_of(MetadataImage* image, AskedTopic* asked) noexcept nogil:
    """The id of the requested topic; NULL for an unknown name."""
    cdef TopicImage* known
    if asked.name == NULL:
        return asked.topic_id
    known = image_find_topic(image, asked.name, asked.name_size)
    return known.topic_id if known != NULL else NULL


cdef int read_request(Reactor* reactor, Request* request, MetadataRequest* asked) noexcept nogil:
    """Reads and checks the whole request; 1 when it does not parse."""
    cdef Reader r
    cdef AskedTopic topic
    cdef TopicKey key
    cdef NamedPartitions* named = named_of(reactor.id)
    cdef int16_t version = request.api_version
    cdef bint flexible = version >= 9
    cdef int32_t i
    reader_init(&r, request.body, request.body_size)
    memset(asked, 0, sizeof(MetadataRequest))
    asked.topics_count = read_array_length(&r, flexible, 18 if version >= 10 else 2)
    if r.error or (asked.topics_count < 0 and version == 0):
        return 1
    asked.all_topics = asked.topics_count < 0 or (version == 0 and asked.topics_count == 0)
    asked.topics = r.position
    for i in range(asked.topics_count):  # no-cython-lint
        read_asked_topic(&r, version, &topic)
        if r.error or (topic.name == NULL and version < 10):
            return 1
        if 10 <= version < 12 and (topic.name == NULL or not topic_id_is_zero(topic.topic_id)):
            continue                                # gets an error
        key.by_id = True
        key.topic_id = id_of(reactor.image, &topic)
        if key.topic_id == NULL:
            asked.forward = True
        elif asked.topics_count > 1 and named_add(named, &key, 0, NULL):
            return 1
    if named.partitions_count and named.partitions_count < asked.topics_count:
        asked.forward = True                        # a topic is named twice
    if version >= 4:
        read_int8(&r)                               # allow_auto_topic_creation: the control plane's business
    if 8 <= version <= 10:
        asked.cluster_operations = read_int8(&r) != 0
    if version >= 8:
        asked.topic_operations = read_int8(&r) != 0
    if flexible:
        skip_tagged_fields(&r)
    return r.error


cdef void write_brokers(Writer* w, MetadataImage* image, int16_t version, int32_t listener) noexcept nogil:
    cdef bint flexible = version >= 9
    cdef int32_t count = 0
    cdef int32_t i
    cdef BrokerImage* broker
    for i in range(image.brokers_count):
        broker = &image.brokers[i]
        if listener < broker.listeners_count and broker.hosts[listener] != NULL:
            count += 1
    write_array_length(w, flexible, count)
    for i in range(image.brokers_count):
        broker = &image.brokers[i]
        if listener >= broker.listeners_count or broker.hosts[listener] == NULL:
            continue
        write_int32(w, broker.id)
        write_string(w, flexible, broker.hosts[listener], broker.host_sizes[listener])
        write_int32(w, broker.ports[listener])
        if version >= 1:
            write_string(w, flexible, broker.rack, broker.rack_size)
        write_no_tags(w, flexible)


cdef void write_ids(Writer* w, bint flexible, const int32_t* ids, int32_t count) noexcept nogil:
    cdef int32_t i
    write_array_length(w, flexible, count)
    for i in range(count):
        write_int32(w, ids[i])


cdef void write_partition(
    Writer* w, MetadataImage* image, Request* request, PartitionImage* partition
) noexcept nogil:
    cdef int16_t version = request.api_version
    cdef int32_t listener = request.listener
    cdef bint flexible = version >= 9
    cdef int16_t error = ERROR_NONE
    cdef int32_t leader = partition.leader
    cdef BrokerImage* broker = find_broker(image, leader) if leader >= 0 else NULL
    if broker == NULL:
        error = ERROR_LEADER_NOT_AVAILABLE
        leader = -1
    elif listener >= broker.listeners_count or broker.hosts[listener] == NULL:
        error = ERROR_LISTENER_NOT_FOUND if version >= 6 else ERROR_LEADER_NOT_AVAILABLE
        leader = -1
    request_error(request, error, 1)
    write_int16(w, error)
    write_int32(w, partition.index)
    write_int32(w, leader)
    if version >= 7:
        write_int32(w, partition.leader_epoch)
    write_ids(w, flexible, partition.replicas, partition.replicas_count)
    write_ids(w, flexible, partition.isr, partition.isr_count)
    if version >= 5:
        write_ids(w, flexible, partition.offline, partition.offline_count)
    write_no_tags(w, flexible)


cdef void write_topic(
    Writer* w, Reactor* reactor, Request* request, TopicImage* topic, bint topic_operations
) noexcept nogil:
    cdef int16_t version = request.api_version
    cdef bint flexible = version >= 9
    cdef int32_t told = 0               # in a cluster, the controller tells of a partition when it has its first leader
    cdef int32_t i
    for i in range(topic.partitions_count):
        told += topic.partitions[i].replicas_count > 0
    request_error(request, ERROR_NONE, 1)
    write_int16(w, ERROR_NONE)
    write_string(w, flexible, topic.name, topic.name_size)
    if version >= 10:
        write_raw(w, topic.topic_id, 16)
    if version >= 1:
        write_int8(w, topic.internal)
    write_array_length(w, flexible, told)
    for i in range(topic.partitions_count):
        if topic.partitions[i].replicas_count == 0:
            continue
        write_partition(w, reactor.image, request, &topic.partitions[i])
    if version >= 8:
        write_int32(w, TOPIC_OPERATIONS if topic_operations else NOT_ASKED)
    write_no_tags(w, flexible)


cdef void write_topic_error(Writer* w, Request* request, AskedTopic* asked, int16_t error) noexcept nogil:
    """An entry without partitions; only from v10 on, where topics can be requested by id."""
    request_error(request, error, 1)
    write_int16(w, error)
    if asked.name == NULL and request.api_version < 12:
        write_string(w, True, b"", 0)               # the name may not be null before v12
    else:
        write_string(w, True, asked.name, asked.name_size if asked.name != NULL else -1)
    write_raw(w, asked.topic_id, 16)
    write_int8(w, 0)
    write_array_length(w, True, 0)
    write_int32(w, NOT_ASKED)
    write_no_tags(w, True)


cdef void write_asked_topics(Writer* w, Reactor* reactor, Request* request, MetadataRequest* asked) noexcept nogil:
    cdef Reader r
    cdef AskedTopic topic
    cdef TopicImage* known
    cdef int16_t version = request.api_version
    cdef int32_t i
    reader_init(&r, asked.topics, <size_t>(request.body + request.body_size - asked.topics))
    write_array_length(w, version >= 9, asked.topics_count)
    for i in range(asked.topics_count):  # no-cython-lint
        read_asked_topic(&r, version, &topic)
        if 10 <= version < 12 and (topic.name == NULL or not topic_id_is_zero(topic.topic_id)):
            write_topic_error(w, request, &topic, ERROR_INVALID_REQUEST)
            continue
        if topic.name != NULL:
            known = image_find_topic(reactor.image, topic.name, topic.name_size)
        else:
            known = image_find_topic_id(reactor.image, topic.topic_id)
        if known == NULL:
            write_topic_error(w, request, &topic, ERROR_UNKNOWN_TOPIC_ID)
        else:
            write_topic(w, reactor, request, known, asked.topic_operations)


cdef void write_all_topics(Writer* w, Reactor* reactor, Request* request, MetadataRequest* asked) noexcept nogil:
    cdef MetadataImage* image = reactor.image
    cdef int32_t i
    write_array_length(w, request.api_version >= 9, image.topics_count)
    for i in range(image.topics_count):
        write_topic(w, reactor, request, image.topics[i], asked.topic_operations)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef MetadataRequest asked
    cdef MetadataImage* image = reactor.image
    cdef Writer w
    cdef int16_t version = request.api_version
    cdef bint flexible = version >= 9
    if image == NULL:
        return FORWARD
    if read_request(reactor, request, &asked):
        request.close_reason = b"Metadata request that does not parse"
        return CLOSE
    if asked.forward:
        return FORWARD
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    if version >= 3:
        response_throttle_time(request, &w)
    write_brokers(&w, image, version, request.listener)
    if version >= 2:
        write_string(&w, flexible, image.cluster_id, image.cluster_id_size)
    if version >= 1:
        write_int32(&w, image.controller_id)
    if asked.all_topics:
        write_all_topics(&w, reactor, request, &asked)
    else:
        write_asked_topics(&w, reactor, request, &asked)
    if 8 <= version <= 10:
        write_int32(&w, CLUSTER_OPERATIONS if asked.cluster_operations else NOT_ASKED)
    if version >= 13:
        write_int16(&w, ERROR_NONE)
    write_no_tags(&w, flexible)
    response_send(reactor, request, &w)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Make the reactors handle Metadata of known topics."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
