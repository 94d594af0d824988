"""ListOffsets (key 2): the offset of a timestamp, or of one of the special specs.

- -1 latest: the high watermark, or the last stable offset with read_committed (v2+, KIP-98).
- -2 earliest: the log start offset. A timestamp >= 0: the first record at or after it that consumers may see.
- -3 max timestamp (v7+, KIP-734). -4 earliest local (v8+, KIP-405): the log start offset, as nothing is tiered.
- -5 latest tiered (v9+, KIP-1005) and -6 earliest pending upload (v11+, KIP-1023): -1 without remote storage.
- Any other negative, or a spec newer than the version: UNSUPPORTED_VERSION.
- v4: current leader epoch in, epoch of the offset out (KIP-320). v6: flexible. v10: timeout (remote reads only).
- A partition that the request names twice is in the response once, with INVALID_REQUEST.
- A replica (replica_id >= 0) sees the log end offset as the latest.
"""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.api.error_codes cimport (
    ERROR_INVALID_REQUEST, ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_UNKNOWN_TOPIC_OR_PARTITION,
    ERROR_UNSUPPORTED_VERSION, storage_error_code,
)
from kafka_cy.api.topic_key cimport find_topic, write_topic_key
from kafka_cy.api.named_partitions cimport NamedPartitions, NamedTopic, named_add, named_of
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_begin, walk_next
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Reactor, Request, hot_handler_register, request_error, response_begin, response_send,
)
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, read_int64, read_int8, reader_init, skip_tagged_fields, write_array_length,
    write_int16, write_int32, write_int64, write_no_tags, writer_init,
)
from kafka_cy.storage.log cimport (
    Log, log_end_offset, log_epoch_of, log_max_timestamp, log_offset_for_timestamp, log_start_offset,
)
from kafka_cy.storage.partition cimport Partition, partition_check_leader, partition_last_stable_offset

cdef enum:
    API_KEY = 2
    LATEST = -1
    EARLIEST = -2
    MAX_TIMESTAMP = -3
    EARLIEST_LOCAL = -4
    LATEST_TIERED = -5
    EARLIEST_PENDING_UPLOAD = -6
    READ_COMMITTED = 1


cdef struct Found:
    int16_t error
    int64_t timestamp_ms
    int64_t offset
    int32_t epoch


# The request-level fields.
cdef struct Asked:
    int16_t version
    bint flexible
    int32_t replica_id
    int8_t isolation_level


cdef struct AskedPartition:
    int32_t index
    int32_t current_leader_epoch
    int64_t timestamp_ms


cdef bint spec_supported(int64_t timestamp_ms, int16_t version) noexcept nogil:
    if timestamp_ms >= EARLIEST:
        return True
    if timestamp_ms == MAX_TIMESTAMP:
        return version >= 7
    if timestamp_ms == EARLIEST_LOCAL:
        return version >= 8
    if timestamp_ms == LATEST_TIERED:
        return version >= 9
    return timestamp_ms == EARLIEST_PENDING_UPLOAD and version >= 11


cdef int64_t last_fetchable_offset(Partition* partition, Log* log, Asked* asked) noexcept nogil:
    if asked.replica_id != -1:
        return log_end_offset(log)
    if asked.isolation_level == READ_COMMITTED:
        return partition_last_stable_offset(partition)
    return atomic_load_i64(&partition.high_watermark)


cdef void look_up(Reactor* reactor, Partition* partition, int64_t timestamp_ms, Asked* asked, Found* found) noexcept nogil:
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&partition.log)
    cdef int64_t limit = last_fetchable_offset(partition, log, asked)
    cdef bint hit = False
    cdef int error
    if timestamp_ms == LATEST:
        found.offset = limit
        found.epoch = atomic_load_i32(&partition.leader_epoch)
        return
    if timestamp_ms == EARLIEST or timestamp_ms == EARLIEST_LOCAL:
        found.offset = log_start_offset(log)
        found.epoch = log_epoch_of(log, found.offset)
        return
    if timestamp_ms == LATEST_TIERED or timestamp_ms == EARLIEST_PENDING_UPLOAD:
        return
    if timestamp_ms == MAX_TIMESTAMP:
        error = log_max_timestamp(log, reactor.codecs, &found.offset, &found.timestamp_ms, &found.epoch, &hit)
    else:
        error = log_offset_for_timestamp(
            log, reactor.codecs, timestamp_ms, &found.offset, &found.timestamp_ms, &found.epoch, &hit
        )
    found.error = storage_error_code(error)
    if found.error or not hit or found.offset >= limit:
        found.offset = -1
        found.timestamp_ms = -1
        found.epoch = -1


cdef void respond_for_partition(
    Reactor* reactor, Request* request, TopicImage* topic, Asked* asked, AskedPartition* partition, bint twice, Writer* w
) noexcept nogil:
    cdef PartitionImage* known = topic_partition(topic, partition.index) if topic != NULL else NULL
    cdef Found found
    found.error = ERROR_NONE
    found.timestamp_ms = -1
    found.offset = -1
    found.epoch = -1
    if twice:
        found.error = ERROR_INVALID_REQUEST
    elif not spec_supported(partition.timestamp_ms, asked.version):
        found.error = ERROR_UNSUPPORTED_VERSION
    elif known == NULL:
        found.error = ERROR_UNKNOWN_TOPIC_OR_PARTITION
    elif known.partition == NULL:
        found.error = ERROR_NOT_LEADER_OR_FOLLOWER
    else:
        found.error = storage_error_code(partition_check_leader(known.partition, partition.current_leader_epoch))
        if found.error == ERROR_NONE:
            look_up(reactor, known.partition, partition.timestamp_ms, asked, &found)
    write_int32(w, partition.index)
    write_int16(w, found.error)
    request_error(request, found.error, 1)
    write_int64(w, found.timestamp_ms)
    write_int64(w, found.offset)
    if asked.version >= 4:
        write_int32(w, found.epoch)
    write_no_tags(w, asked.flexible)


cdef void read_partition(Reader* r, Asked* asked, AskedPartition* partition) noexcept nogil:
    partition.index = read_int32(r)
    partition.current_leader_epoch = read_int32(r) if asked.version >= 4 else -1
    partition.timestamp_ms = read_int64(r)
    if asked.flexible:
        skip_tagged_fields(r)


cdef int read_request(Request* request, Asked* asked, NamedPartitions* named) noexcept nogil:
    """Reads the whole request; not 0 when it does not parse."""
    cdef Reader r
    cdef TopicWalk walk
    cdef AskedPartition partition
    cdef const uint8_t* at
    asked.version = request.api_version
    asked.flexible = request.api_version >= 6
    reader_init(&r, request.body, request.body_size)
    asked.replica_id = read_int32(&r)
    asked.isolation_level = read_int8(&r) if asked.version >= 2 else 0
    walk_begin(&walk, &r, False, asked.flexible, 12)
    while walk_next(&walk):
        at = walk.r.position
        read_partition(&walk.r, asked, &partition)
        if named_add(named, &walk.key, partition.index, at):
            return 1
    r = walk.r
    if asked.version >= 10:
        read_int32(&r)                              # timeout_ms of remote reads
    if asked.flexible:
        skip_tagged_fields(&r)
    return r.error


cdef void write_response(Reactor* reactor, Request* request, Asked* asked, NamedPartitions* named, Writer* w) noexcept nogil:
    cdef Reader r
    cdef AskedPartition partition
    cdef NamedTopic* named_topic
    cdef TopicImage* topic
    cdef int32_t i, j
    if asked.version >= 2:
        write_int32(w, 0)
    write_array_length(w, asked.flexible, named.topics_count)
    for i in range(named.topics_count):
        named_topic = &named.topics[i]
        topic = find_topic(reactor.image, &named_topic.key)
        write_topic_key(w, &named_topic.key, asked.flexible)
        write_array_length(w, asked.flexible, named_topic.count)
        j = named_topic.first
        while j >= 0:
            read_again(&r, request, named.partitions[j].at)
            read_partition(&r, asked, &partition)
            respond_for_partition(reactor, request, topic, asked, &partition, named.partitions[j].times > 1, w)
            j = named.partitions[j].next
        write_no_tags(w, asked.flexible)
    write_no_tags(w, asked.flexible)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef Writer w
    cdef Asked asked
    cdef NamedPartitions* named = named_of(reactor.id)
    if read_request(request, &asked, named):
        request.close_reason = b"ListOffsets request that does not parse"
        return CLOSE
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    write_response(reactor, request, &asked, named, &w)
    response_send(reactor, request, &w)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Make the reactors handle ListOffsets."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
