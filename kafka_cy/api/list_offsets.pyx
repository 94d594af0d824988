"""ListOffsets (key 2): the offset of a timestamp, or of one of the special specs.

- -1 latest: the high watermark, or the last stable offset with read_committed (v2+, KIP-98).
- -2 earliest: the log start offset. A timestamp >= 0: the first record at or after it that consumers may see.
- -3 max timestamp (v7+, KIP-734). -4 earliest local (v8+, KIP-405): the log start offset, as nothing is tiered.
- -5 latest tiered (v9+, KIP-1005) and -6 earliest pending upload (v11+, KIP-1023): -1 without remote storage.
- Any other negative, or a spec newer than the version: UNSUPPORTED_VERSION.
- v4: current leader epoch in, epoch of the offset out (KIP-320). v6: flexible. v10: timeout (remote reads only).
- A partition that the request names twice is in the response once, with INVALID_REQUEST.
- A replica (replica_id >= 0) sees the log end offset as the latest.
- With an authorizer, topics need DESCRIBE, which is looked at again with what a job has found.
- Times and the max timestamp are looked up by a job (see list_offsets_job.pyx). Other specs are answered at once.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.api.topic_authorization cimport topic_is_allowed
from kafka_cy.api.error_codes cimport (
    ERROR_INVALID_REQUEST, ERROR_LEADER_NOT_AVAILABLE, ERROR_NONE, ERROR_NOT_LEADER_OR_FOLLOWER, ERROR_OFFSET_NOT_AVAILABLE,
    ERROR_TOPIC_AUTHORIZATION_FAILED, ERROR_UNKNOWN_TOPIC_OR_PARTITION, ERROR_UNSUPPORTED_VERSION, storage_error_code,
)
from kafka_cy.api.list_offsets_job cimport look_up_add, look_up_job_free, look_up_job_new, look_up_suspend
from kafka_cy.api.topic_key cimport find_topic, write_topic_key
from kafka_cy.api.named_partitions cimport NamedPartitions, NamedTopic, named_add, named_of
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_begin, walk_next
from kafka_cy.network.authorization cimport ACL_DESCRIBE
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Reactor, Request, request_error, response_begin, response_send,
    response_throttle_time,
)
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.network.job_places cimport job_has_room, job_hold_back
from kafka_cy.network.jobs cimport JOB_LOOK_UP
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.records.wire cimport (
    Reader, Writer, read_int32, read_int64, read_int8, reader_init, skip_tagged_fields, write_array_length,
    write_int16, write_int32, write_int64, write_no_tags, writer_init,
)
from kafka_cy.storage.log cimport Log, log_end_offset, log_epoch_of, log_start_offset
from kafka_cy.storage.partition cimport partition_check_leader, partition_last_stable_offset

cdef enum:
    API_KEY = 2
    LATEST = -1
    EARLIEST = -2
    EARLIEST_LOCAL = -4
    LATEST_TIERED = -5
    EARLIEST_PENDING_UPLOAD = -6
    READ_COMMITTED = 1


cdef struct PartitionAsked:
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


cdef bint is_time(int64_t timestamp_ms) noexcept nogil:
    """Whether batches have to be searched for it."""
    return timestamp_ms >= 0 or timestamp_ms == MAX_TIMESTAMP


cdef int64_t last_fetchable_offset(Partition* partition, Log* log, ListOffsetsHeader* header) noexcept nogil:
    if header.replica_id != -1:
        return log_end_offset(log)
    if header.isolation_level == READ_COMMITTED:
        return partition_last_stable_offset(partition)
    return atomic_load_i64(&partition.high_watermark)


cdef int16_t not_yet(Partition* partition, ListOffsetsHeader* header) noexcept nogil:
    """The error if a client must not be told the end now, 0 if it may (KIP-207; Kafka: Partition.fetchOffsetForTimestamp).

    A new leader's high watermark may be behind that of the leader before it, until its followers have fetched.
    """
    if header.replica_id != -1:
        return ERROR_NONE
    if atomic_load_i64(&partition.high_watermark) >= atomic_load_i64(&partition.replicas.epoch_start_offset):
        return ERROR_NONE
    return ERROR_OFFSET_NOT_AVAILABLE if header.version >= 5 else ERROR_LEADER_NOT_AVAILABLE


cdef void look_up(
    Partition* partition, int64_t timestamp_ms, ListOffsetsHeader* header, const TimeLookUp* looked_up, FoundOffset* found
) noexcept nogil:
    """The partition's offset. `looked_up` has the result of a look-up by time; NULL: there was none."""
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&partition.log)
    cdef int16_t too_early = not_yet(partition, header)     # before the limit, which only rises
    cdef int64_t limit = last_fetchable_offset(partition, log, header)
    if timestamp_ms == LATEST:
        found.error = too_early
        if found.error == ERROR_NONE:
            found.offset = limit
            found.epoch = atomic_load_i32(&partition.leader_epoch)
    elif timestamp_ms == EARLIEST or timestamp_ms == EARLIEST_LOCAL:
        found.offset = log_start_offset(log)
        found.epoch = log_epoch_of(log, found.offset)
    elif is_time(timestamp_ms):
        if looked_up == NULL or looked_up.partition != partition:
            # It became the leader, or the topic was created anew, while the job ran: the client asks again.
            found.error = ERROR_NOT_LEADER_OR_FOLLOWER
        elif 0 <= looked_up.found.offset < limit:
            found[0] = looked_up.found
        else:
            found.error = looked_up.found.error if looked_up.found.error else too_early


cdef int16_t check(
    PartitionImage* known, ListOffsetsHeader* header, PartitionAsked* partition, bint twice, bint denied
) noexcept nogil:
    """The error code before anything is looked up. `known`: NULL when the topic has no such partition."""
    if denied:
        return ERROR_TOPIC_AUTHORIZATION_FAILED
    if twice:
        return ERROR_INVALID_REQUEST
    if not spec_supported(partition.timestamp_ms, header.version):
        return ERROR_UNSUPPORTED_VERSION
    if known == NULL:
        return ERROR_UNKNOWN_TOPIC_OR_PARTITION
    if known.partition == NULL:
        return ERROR_NOT_LEADER_OR_FOLLOWER
    return storage_error_code(partition_check_leader(known.partition, partition.current_leader_epoch))


cdef void respond_for_partition(
    Request* request, TopicImage* topic, ListOffsetsHeader* header, PartitionAsked* partition, bint twice, bint denied,
    const TimeLookUp* looked_up, Writer* w,
) noexcept nogil:
    cdef PartitionImage* known = topic_partition(topic, partition.index) if topic != NULL else NULL
    cdef FoundOffset found
    found.error = check(known, header, partition, twice, denied)
    found.timestamp_ms = -1
    found.offset = -1
    found.epoch = -1
    if found.error == ERROR_NONE:
        look_up(known.partition, partition.timestamp_ms, header, looked_up, &found)
    write_int32(w, partition.index)
    write_int16(w, found.error)
    request_error(request, found.error, 1)
    write_int64(w, found.timestamp_ms)
    write_int64(w, found.offset)
    if header.version >= 4:
        write_int32(w, found.epoch)
    write_no_tags(w, header.flexible)


cdef void read_partition(Reader* r, ListOffsetsHeader* header, PartitionAsked* partition) noexcept nogil:
    partition.index = read_int32(r)
    partition.current_leader_epoch = read_int32(r) if header.version >= 4 else -1
    partition.timestamp_ms = read_int64(r)
    if header.flexible:
        skip_tagged_fields(r)


cdef int read_request(Request* request, ListOffsetsHeader* header, NamedPartitions* named) noexcept nogil:
    """Reads the whole request; not 0 when it does not parse."""
    cdef Reader r
    cdef TopicWalk walk
    cdef PartitionAsked partition
    cdef const uint8_t* at
    header.version = request.api_version
    header.flexible = request.api_version >= 6
    header.by_time = False
    reader_init(&r, request.body, request.body_size)
    header.replica_id = read_int32(&r)
    header.isolation_level = read_int8(&r) if header.version >= 2 else 0
    walk_begin(&walk, &r, False, header.flexible, 12)
    while walk_next(&walk):
        at = walk.r.position
        read_partition(&walk.r, header, &partition)
        header.by_time |= is_time(partition.timestamp_ms)
        if named_add(named, &walk.key, partition.index, at):
            return 1
    r = walk.r
    if header.version >= 10:
        read_int32(&r)                              # timeout_ms of remote reads
    if header.flexible:
        skip_tagged_fields(&r)
    return r.error


cdef int collect(
    Reactor* reactor, Request* request, ListOffsetsHeader* header, NamedPartitions* named, LookUpJob* work
) noexcept nogil:
    """Adds the partitions that are to be looked up by time to the job, in the order of the response. 1 without memory."""
    cdef Reader r
    cdef PartitionAsked partition
    cdef PartitionImage* known
    cdef TopicImage* topic
    cdef int32_t i, j
    for i in range(named.topics_count):
        topic = find_topic(reactor.image, &named.topics[i].key)
        if not topic_is_allowed(reactor, request, &named.topics[i].key, topic, ACL_DESCRIBE):
            topic = NULL
        j = named.topics[i].first if topic != NULL else -1
        while j >= 0:
            read_again(&r, request, named.partitions[j].at)
            read_partition(&r, header, &partition)
            known = topic_partition(topic, partition.index)
            if is_time(partition.timestamp_ms) and not check(known, header, &partition, named.partitions[j].times > 1, False):
                if look_up_add(work, known.partition, j, partition.timestamp_ms):
                    return 1
            j = named.partitions[j].next
    return 0


cdef void write_response(
    Reactor* reactor, Request* request, ListOffsetsHeader* header, NamedPartitions* named, const LookUpJob* work, Writer* w
) noexcept nogil:
    """`work` has the results of look-ups by time; NULL: there were none."""
    cdef Reader r
    cdef PartitionAsked partition
    cdef NamedTopic* named_topic
    cdef TopicImage* topic
    cdef const TimeLookUp* looked_up
    cdef int32_t at = 0
    cdef int32_t i, j
    cdef bint denied
    if header.version >= 2:
        response_throttle_time(request, w)
    write_array_length(w, header.flexible, named.topics_count)
    for i in range(named.topics_count):
        named_topic = &named.topics[i]
        topic = find_topic(reactor.image, &named_topic.key)
        denied = not topic_is_allowed(reactor, request, &named_topic.key, topic, ACL_DESCRIBE)
        write_topic_key(w, &named_topic.key, header.flexible)
        write_array_length(w, header.flexible, named_topic.count)
        j = named_topic.first
        while j >= 0:
            read_again(&r, request, named.partitions[j].at)
            read_partition(&r, header, &partition)
            looked_up = NULL
            if work != NULL and at < work.count and work.look_ups[at].number == j:
                looked_up = &work.look_ups[at]
                at += 1
            respond_for_partition(
                request, topic, header, &partition, named.partitions[j].times > 1, denied, looked_up, w)
            j = named.partitions[j].next
        write_no_tags(w, header.flexible)
    write_no_tags(w, header.flexible)


cdef void respond(
    Reactor* reactor, Request* request, ListOffsetsHeader* header, NamedPartitions* named, const LookUpJob* work
) noexcept nogil:
    cdef Writer w
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    write_response(reactor, request, header, named, work, &w)
    response_send(reactor, request, &w)


cdef void resume(Reactor* reactor, Request* request, SuspendedListOffsets* suspended) noexcept nogil:
    """ListOffsetsResume: responds with what the job has found."""
    respond(reactor, request, &suspended.header, &suspended.named, suspended.job)


cdef int look_up_by_time(
    Reactor* reactor, Request* request, ListOffsetsHeader* header, NamedPartitions* named
) noexcept nogil:
    """Gives what is asked by time to a job. The handler's result."""
    cdef LookUpJob* work
    if not job_has_room(reactor, request.connection, JOB_LOOK_UP):
        return job_hold_back(request.connection, JOB_LOOK_UP, True)
    work = look_up_job_new()
    if work == NULL or collect(reactor, request, header, named, work):
        if work != NULL:
            look_up_job_free(work)
        request.close_reason = b"out of memory"
        return CLOSE
    if work.count:
        return look_up_suspend(reactor, request, header, named, work, resume)
    look_up_job_free(work)
    respond(reactor, request, header, named, NULL)
    return HANDLED


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef ListOffsetsHeader header
    cdef NamedPartitions* named = named_of(reactor.id)
    if read_request(request, &header, named):
        request.close_reason = b"ListOffsets request that does not parse"
        return CLOSE
    if header.by_time:
        return look_up_by_time(reactor, request, &header, named)
    respond(reactor, request, &header, named, NULL)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Make the reactors handle ListOffsets."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)
