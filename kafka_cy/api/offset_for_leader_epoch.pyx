"""OffsetForLeaderEpoch (key 23).

For each partition, the response has the largest leader epoch that is not newer than the requested one, and the offset at
which it ends. Consumers detect with it that the log was truncated (KIP-320); followers truncate by it (KIP-101).

- v2: current leader epoch (KIP-320), throttle time. v3: replica id (KIP-392: -1 consumer, -2 debugging).
- With an authorizer: brokers need CLUSTER_ACTION, others DESCRIBE on each topic.
- v4: flexible. Unknown epoch: epoch -1 and end offset -1, no error.
"""
from libc.stdint cimport int16_t, int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_load_pointer
from kafka_cy.api.topic_authorization cimport topic_is_allowed
from kafka_cy.api.error_codes cimport (
    ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_TOPIC_AUTHORIZATION_FAILED, ERROR_UNKNOWN_TOPIC_OR_PARTITION,
    storage_error_code,
)
from kafka_cy.api.topic_key cimport TopicKey, find_topic, read_topic_key, write_topic_key
from kafka_cy.network.authorization cimport ACL_DESCRIBE, has_authorizer, request_is_of_broker
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Reactor, Request, request_error, response_begin, response_send,
    response_throttle_time,
)
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.records.wire cimport (
    Reader, Writer, read_array_length, read_int32, reader_init, skip_tagged_fields, write_array_length, write_int16,
    write_int32, write_int64, write_no_tags, writer_free, writer_init,
)
from kafka_cy.storage.log cimport Log, log_end_offset_for_epoch
from kafka_cy.storage.partition cimport partition_check_leader

cdef enum:
    API_KEY = 23


cdef void respond_for_partition(
    Request* request, TopicImage* topic, bint denied, Reader* r, Writer* w, bint flexible
) noexcept nogil:
    cdef int32_t index = read_int32(r)
    cdef int32_t current_leader_epoch = read_int32(r)
    cdef int32_t asked_epoch = read_int32(r)
    cdef int32_t epoch = -1
    cdef int64_t end_offset = -1
    cdef int16_t error = ERROR_NONE
    cdef PartitionImage* known = topic_partition(topic, index) if topic != NULL else NULL
    if flexible:
        skip_tagged_fields(r)
    if denied:
        error = ERROR_TOPIC_AUTHORIZATION_FAILED
    elif known == NULL:
        error = ERROR_UNKNOWN_TOPIC_OR_PARTITION
    elif known.partition == NULL:
        error = ERROR_NOT_LEADER_OR_FOLLOWER
    else:
        error = storage_error_code(partition_check_leader(known.partition, current_leader_epoch))
        if error == ERROR_NONE:
            log_end_offset_for_epoch(
                <Log*>atomic_load_pointer(<void**>&known.partition.log), asked_epoch, &epoch, &end_offset
            )
    write_int16(w, error)
    request_error(request, error, 1)
    write_int32(w, index)
    write_int32(w, epoch)
    write_int64(w, end_offset)
    write_no_tags(w, flexible)


cdef int write_response(Reactor* reactor, Request* request, Writer* w) noexcept nogil:
    """Reads the request and writes the response in one pass. 1 if the request does not parse: the response is unusable."""
    cdef Reader r
    cdef TopicKey key
    cdef TopicImage* topic
    cdef bint flexible = request.api_version >= 4
    cdef int32_t topics_count, partitions_count
    cdef int32_t i, j
    cdef bint denied
    cdef bint by_broker = has_authorizer(reactor) and request_is_of_broker(reactor, request, True)
    reader_init(&r, request.body, request.body_size)
    if request.api_version >= 3:
        read_int32(&r)                              # replica id: followers and consumers get the same response
    topics_count = read_array_length(&r, flexible, 5 if not flexible else 3)
    if r.error or topics_count < 0:
        return 1
    response_throttle_time(request, w)
    write_array_length(w, flexible, topics_count)
    for i in range(topics_count):  # no-cython-lint
        read_topic_key(&r, False, flexible, &key)
        partitions_count = read_array_length(&r, flexible, 12)
        if r.error or key.name == NULL or partitions_count < 0:
            return 1
        topic = find_topic(reactor.image, &key)
        denied = not by_broker and not topic_is_allowed(reactor, request, &key, topic, ACL_DESCRIBE)
        write_topic_key(w, &key, flexible)
        write_array_length(w, flexible, partitions_count)
        for j in range(partitions_count):  # no-cython-lint
            respond_for_partition(request, topic, denied, &r, w, flexible)
            if r.error:
                return 1
        if flexible:
            skip_tagged_fields(&r)
        write_no_tags(w, flexible)
    if flexible:
        skip_tagged_fields(&r)
    write_no_tags(w, flexible)
    return r.error


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef Writer w
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    if write_response(reactor, request, &w):
        writer_free(&w)
        request.close_reason = b"OffsetForLeaderEpoch request that does not parse"
        return CLOSE
    response_send(reactor, request, &w)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Make the reactors handle OffsetForLeaderEpoch."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)
