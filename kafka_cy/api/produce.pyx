"""Produce (key 0).

Each partition's records are exactly one v2 batch, checked and, where the topic asks for it, rewritten before the
partition's lock is taken. One partition's error does not touch the others.

A partition that the request names twice gets the last of its batches and one answer.

- v0-2 carry older message formats: the connection is closed, as in Kafka 4. ApiVersions lists them all the same, because
  librdkafka reads features out of the range (KAFKA-18659).
- v3: transactional id (KIP-98). v5: log start offset in the answer. v7: zstd may be used (KIP-110).
- v8: record errors and error message (KIP-467). v9: flexible. v10: CurrentLeader and NodeEndpoints tags (KIP-951).
- v11, v12: transaction protocol (KIP-890), nothing new on the wire. v13: topics by id (KIP-516).
- acks -1 waits for the high watermark, 0 is not answered (an error closes the connection), 1 answers after the append;
  with flush.messages=1 all wait for the fsync. Other values: INVALID_REQUIRED_ACKS.
- Without a transaction coordinator no partition is part of a transaction: transactional batches get INVALID_TXN_STATE.
- Answers are encoded before they wait; a wait that ends badly patches the error code.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from kafka_cy.base.atomics cimport atomic_add_relaxed_i64, atomic_load_i32, atomic_load_i64, atomic_load_pointer
from kafka_cy.api.error_codes cimport *
from kafka_cy.api.leaders cimport (
    RESPONSE_BYTES_MAX, Leaders, find_topic, leaders_add, write_current_leader, write_response_tags, write_topic_key,
)
from kafka_cy.api.named_partitions cimport NamedPartitions, NamedTopic, named_add, named_of
from kafka_cy.api.parking cimport park, parked_init
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_begin, walk_next
from kafka_cy.network.connection cimport ResponseSlot
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.reactor cimport (
    CLOSE, HANDLED, Parked, Reactor, Request, hot_handler_register, parked_watch, request_error, response_begin, response_none,
    response_send,
)
from kafka_cy.network.tracing cimport trace_appended, trace_looks
from kafka_cy.records.batch cimport *
from kafka_cy.records.batch_validation cimport batch_validate
from kafka_cy.records.wire cimport (
    Reader, Writer, read_bytes, read_int16, read_int32, read_string, reader_init,
    skip_tagged_fields, store_be16, write_array_length, write_int16, write_int32, write_int64, write_no_tags,
    write_string, writer_free, writer_init,
)
from kafka_cy.storage.log cimport (
    AppendResult, Log, LogConfig, ORIGIN_CLIENT, STORAGE_OK, log_config, log_flushed_offset, log_start_offset,
)
from kafka_cy.storage.partition cimport (
    PARTITION_DELETED, PARTITION_OFFLINE, PARTITION_ONLINE, Partition, partition_acquire, partition_append,
    partition_check_leader, partition_has_enough_replicas, partition_release,
)

cdef enum:
    API_KEY = 0
    VERSION_APPENDED_MIN = 3        # older versions carry older message formats
    RECORD_MESSAGES_MAX = 1000      # refused records further back are named without a message

cdef const char* ADMIN_CLIENT_ID = "__admin_client"     # the only client that may write to internal topics


# A partition whose answer waits. Holds a partition reference while parked.
cdef struct Awaited:
    Partition* partition
    int64_t required_offset         # what the high watermark and/or the flushed offset must reach
    int32_t leader_epoch            # that the batch was appended with
    size_t error_at                 # where its error code stands in the answer
    bint high_watermark             # acks=all
    bint flush
    bint done
    int16_t error                   # what it answers


# Purpose: a Produce that waits for replication or fsync. Owner: the reactor of its connection.
cdef struct ParkedProduce:
    Parked parked                   # first field
    Writer answer
    int32_t count
    Awaited* awaited


# One request while it is worked on. Owner: one handler call, on its stack.
cdef struct Produce:
    int16_t version
    bint flexible
    int16_t acks
    int32_t timeout_ms
    bint internal_allowed
    int32_t partitions_count
    int16_t error                   # first error of a partition (acks=0 closes on it)
    Leaders leaders
    ParkedProduce* waiting          # NULL until a partition has to wait
    ResponseSlot* slot


# What one partition answers.
cdef struct PartitionAnswer:
    int16_t error
    int64_t base_offset
    int64_t log_append_time_ms
    int64_t log_start_offset
    RecordError* record_errors      # in the reactor's scratch buffer
    int32_t record_errors_count
    const char* message             # NULL none; static
    bint waits                      # its error code is not known yet
    bint unseen                     # refused before it is a request to this partition: BrokerTopicMetrics leave it out


cdef int16_t batch_error_code(int error, const uint8_t* data, int32_t size) noexcept nogil:
    if error == BATCH_BAD_MAGIC:
        # Older formats are refused as invalid records; a magic that does not exist is corruption.
        return ERROR_INVALID_RECORD if size > MAGIC_AT and data[MAGIC_AT] < 2 else ERROR_CORRUPT_MESSAGE
    if error == BATCH_BAD_LENGTH or error == BATCH_BAD_CRC:
        return ERROR_CORRUPT_MESSAGE
    if error == BATCH_BAD_COMPRESSION or (error == BATCH_BAD_ATTRIBUTES and data[ATTRIBUTES_AT + 1] & 7 > 4):
        return ERROR_UNKNOWN_SERVER_ERROR       # as Kafka; CORRUPT_MESSAGE would make the client try again
    if error == BATCH_BAD_TIMESTAMP:
        return ERROR_INVALID_TIMESTAMP
    if error == BATCH_TOO_LARGE or error == BATCH_UNPACKS_TOO_LARGE:
        return ERROR_MESSAGE_TOO_LARGE
    if error == BATCH_ZSTD_UNSUPPORTED:
        return ERROR_UNSUPPORTED_COMPRESSION_TYPE
    if error == BATCH_NO_MEMORY:
        return ERROR_UNKNOWN_SERVER_ERROR
    return ERROR_INVALID_RECORD


cdef bint found_in_records(int error) noexcept nogil:
    """Whether the batch as such was whole: only then does Kafka answer a log start offset."""
    return not (
        error == BATCH_TRUNCATED or error == BATCH_NOT_ONE or error == BATCH_BAD_LENGTH or error == BATCH_BAD_MAGIC
        or error == BATCH_BAD_CRC or error == BATCH_TOO_LARGE
    )


cdef bint not_one_batch(int error) noexcept nogil:
    """What Kafka's ProduceRequest.validateRecords refuses, before a partition is asked."""
    return error == BATCH_TRUNCATED or error == BATCH_NOT_ONE or error == BATCH_BAD_MAGIC


cdef const char* batch_error_message(int error) noexcept nogil:
    if error == BATCH_TRUNCATED or error == BATCH_NOT_ONE:
        return b"Produce requests must hold exactly one whole record batch per partition"
    if error == BATCH_BAD_LENGTH:
        return b"The length field of the batch is not the length of the data"
    if error == BATCH_BAD_MAGIC:
        return b"Only record batches with magic 2 are accepted"
    if error == BATCH_BAD_CRC:
        return b"The checksum of the batch does not match"
    if error == BATCH_BAD_COUNT:
        return b"The record count does not match the offsets or the records of the batch"
    if error == BATCH_BAD_ATTRIBUTES:
        return b"Clients may not write control batches or unknown compression types"
    if error == BATCH_BAD_SEQUENCE:
        return b"A batch with a producer id needs a sequence, and no other may have one"
    if error == BATCH_BAD_RECORD:
        return b"One or more records do not parse"
    if error == BATCH_NO_KEY:
        return b"One or more records have been rejected: a compacted topic accepts no record without a key"
    if error == BATCH_BAD_TIMESTAMP:
        return b"One or more records have been rejected due to invalid timestamp"
    if error == BATCH_TOO_LARGE:
        return b"The batch is larger than max.message.bytes"
    if error == BATCH_BAD_COMPRESSION:
        return b"The batch does not unpack"
    if error == BATCH_UNPACKS_TOO_LARGE:
        return b"The batch unpacks to more than the broker accepts"
    if error == BATCH_ZSTD_UNSUPPORTED:
        return b"zstd needs Produce version 7 or later"
    return NULL


cdef const char* record_error_message(int error) noexcept nogil:
    if error == BATCH_NO_KEY:
        return b"Compacted topic cannot accept message without key"
    return b"The timestamp is outside the range that the topic accepts"


cdef int read_partition(Reader* r, bint flexible, int32_t* index, uint8_t** records, int32_t* size) noexcept nogil:
    """One partition of the request; `records` is NULL for null."""
    index[0] = read_int32(r)
    records[0] = <uint8_t*>read_bytes(r, flexible, size)
    if flexible:
        skip_tagged_fields(r)
    return r.error


cdef int read_request(Request* request, Produce* produce, NamedPartitions* named) noexcept nogil:
    """Reads the whole request before anything is appended; 1 when it does not parse."""
    cdef Reader r
    cdef TopicWalk walk
    cdef uint8_t* records
    cdef const uint8_t* at
    cdef int32_t index, ignored
    reader_init(&r, request.body, request.body_size)
    read_string(&r, produce.flexible, &ignored)     # transactional id: the batches say whether they are transactional
    produce.acks = read_int16(&r)
    produce.timeout_ms = read_int32(&r)
    walk_begin(&walk, &r, produce.version >= 13, produce.flexible, 5)
    while walk_next(&walk):
        at = walk.r.position
        if read_partition(&walk.r, produce.flexible, &index, &records, &ignored):
            return 1
        if named_add(named, &walk.key, index, at):
            return 1
    r = walk.r
    if produce.flexible:
        skip_tagged_fields(&r)
    produce.partitions_count = named.partitions_count
    return r.error


cdef Awaited* await_partition(Produce* produce, Partition* partition) noexcept nogil:
    """A place for one more partition that waits; NULL without memory."""
    cdef ParkedProduce* waiting = produce.waiting
    cdef Awaited* awaited
    if waiting == NULL:
        waiting = <ParkedProduce*>malloc(sizeof(ParkedProduce) + sizeof(Awaited) * produce.partitions_count)
        if waiting == NULL:
            return NULL
        waiting.count = 0
        waiting.awaited = <Awaited*>(waiting + 1)
        produce.waiting = waiting
    awaited = &waiting.awaited[waiting.count]
    waiting.count += 1
    awaited.partition = partition_acquire(partition)
    awaited.done = False
    awaited.error = ERROR_NONE
    return awaited


cdef bint reached(Awaited* awaited) noexcept nogil:
    cdef Partition* partition = awaited.partition
    if awaited.high_watermark and atomic_load_i64(&partition.high_watermark) < awaited.required_offset:
        return False
    if awaited.flush:
        return log_flushed_offset(<Log*>atomic_load_pointer(<void**>&partition.log)) >= awaited.required_offset
    return True


cdef void count_refused(Partition* partition, int error, int64_t size) noexcept nogil:
    """A produce request that appended nothing; Kafka calls it failed only when neither client nor leadership explain it."""
    atomic_add_relaxed_i64(&partition.refused_produce_requests, 1)
    if error == ERROR_MESSAGE_TOO_LARGE:
        atomic_add_relaxed_i64(&partition.bytes_rejected, size)
    elif not (
        error == ERROR_NOT_LEADER_OR_FOLLOWER or error == ERROR_CORRUPT_MESSAGE or error == ERROR_KAFKA_STORAGE_ERROR
        or error == ERROR_RECORD_LIST_TOO_LARGE or error == ERROR_UNKNOWN_TOPIC_OR_PARTITION
        or error == ERROR_INVALID_REQUIRED_ACKS or error == ERROR_INVALID_TOPIC_EXCEPTION
    ):
        atomic_add_relaxed_i64(&partition.failed_produce_requests, 1)


cdef void count_invalid(Partition* partition, int error, const ValidBatch* valid) noexcept nogil:
    """What BrokerTopicMetrics counts of batches that do not pass the checks."""
    if error == BATCH_BAD_CRC:
        atomic_add_relaxed_i64(&partition.invalid_crc, 1)
    elif error == BATCH_BAD_COUNT or error == BATCH_BAD_SEQUENCE:
        atomic_add_relaxed_i64(&partition.invalid_offset_or_sequence, 1)
    elif error == BATCH_NO_KEY:
        atomic_add_relaxed_i64(&partition.no_key, valid.keyless_records)


cdef void append(
    Reactor* reactor, Produce* produce, PartitionImage* known, uint8_t* records, int32_t size, size_t error_at,
    PartitionAnswer* answer,
) noexcept nogil:
    """Checks and appends one partition's batch, and notes what its answer has to wait for."""
    cdef Partition* partition = known.partition
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&partition.log)
    cdef const LogConfig* config = log_config(log)
    cdef ValidBatch valid
    cdef AppendResult result
    cdef Awaited awaited
    cdef Awaited* kept
    cdef int error
    if produce.acks == -1 and not partition_has_enough_replicas(partition):     # asked again where it counts
        answer.error = ERROR_NOT_ENOUGH_REPLICAS
        return
    error = batch_validate(
        reactor.codecs, records, <size_t>size, &config.rules, reactor.now_ms, produce.version, &reactor.scratch, &valid
    )
    if error != BATCH_OK:
        answer.error = batch_error_code(error, records, size)
        answer.message = batch_error_message(error)
        answer.record_errors = valid.record_errors
        answer.record_errors_count = valid.record_errors_count
        if found_in_records(error):
            answer.log_start_offset = log_start_offset(log)
        answer.unseen = not_one_batch(error)
        count_invalid(partition, error, &valid)
        return
    if valid.header.attributes & ATTRIBUTE_TRANSACTIONAL:
        answer.error = ERROR_INVALID_TXN_STATE
        answer.unseen = True
        answer.message = b"The partition is not part of an ongoing transaction"
        return
    error = partition_append(partition, &valid, -1, produce.acks == -1, ORIGIN_CLIENT, reactor.now_ms, &result)
    if error != STORAGE_OK:
        answer.error = storage_error_code(error)
        if answer.error == ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER or answer.error == ERROR_INVALID_PRODUCER_EPOCH:
            answer.log_start_offset = log_start_offset(log)
        return
    if trace_looks(reactor, produce.slot, &valid) and not result.duplicate:
        trace_appended(reactor, produce.slot, partition, &valid, result.base_offset)
    answer.base_offset = result.base_offset
    answer.log_append_time_ms = result.log_append_time_ms
    answer.log_start_offset = result.log_start_offset
    awaited.partition = partition
    awaited.required_offset = result.last_offset + 1
    awaited.error_at = error_at
    awaited.high_watermark = produce.acks == -1
    awaited.flush = config.flush_interval_messages == 1
    if produce.acks == 0 or reached(&awaited):
        return
    kept = await_partition(produce, partition)
    if kept == NULL:
        answer.error = ERROR_UNKNOWN_SERVER_ERROR
        return
    answer.waits = True
    kept.required_offset = awaited.required_offset
    kept.leader_epoch = result.leader_epoch
    kept.error_at = error_at
    kept.high_watermark = awaited.high_watermark
    kept.flush = awaited.flush


cdef void produce_partition(
    Reactor* reactor, Produce* produce, TopicImage* topic, PartitionImage* known, uint8_t* records, int32_t size,
    size_t error_at, bint by_id, PartitionAnswer* answer,
) noexcept nogil:
    answer.error = ERROR_NONE
    answer.base_offset = -1
    answer.log_append_time_ms = -1
    answer.log_start_offset = -1
    answer.record_errors_count = 0
    answer.message = NULL
    answer.waits = False
    answer.unseen = False
    if topic == NULL:
        answer.error = ERROR_UNKNOWN_TOPIC_ID if by_id else ERROR_UNKNOWN_TOPIC_OR_PARTITION
    elif produce.acks < -1 or produce.acks > 1:
        answer.error = ERROR_INVALID_REQUIRED_ACKS
        answer.unseen = True
    elif known == NULL:
        answer.error = ERROR_UNKNOWN_TOPIC_OR_PARTITION
    elif topic.internal and not produce.internal_allowed:
        answer.error = ERROR_INVALID_TOPIC_EXCEPTION
        answer.message = b"Cannot append to an internal topic"
    elif known.partition == NULL:
        answer.error = ERROR_NOT_LEADER_OR_FOLLOWER
    elif records == NULL:
        answer.error = ERROR_INVALID_RECORD
        answer.message = batch_error_message(BATCH_NOT_ONE)
        answer.unseen = True
    else:
        answer.error = storage_error_code(partition_check_leader(known.partition, -1))
        if answer.error == ERROR_NONE:
            append(reactor, produce, known, records, size, error_at, answer)
    if known != NULL and known.partition != NULL and answer.error and not answer.unseen:
        count_refused(known.partition, answer.error, size)
    if answer.error and not produce.error:
        produce.error = answer.error


cdef int32_t text_size(const char* text) noexcept nogil:
    cdef int32_t size = 0
    if text == NULL:
        return -1
    while text[size]:
        size += 1
    return size


cdef void write_record_errors(Writer* w, bint flexible, PartitionAnswer* answer) noexcept nogil:
    cdef const char* message
    cdef int32_t i
    write_array_length(w, flexible, answer.record_errors_count)
    for i in range(answer.record_errors_count):
        message = record_error_message(answer.record_errors[i].error) if i < RECORD_MESSAGES_MAX else NULL
        write_int32(w, answer.record_errors[i].index)
        write_string(w, flexible, message, text_size(message))
        write_no_tags(w, flexible)


cdef void write_partition(
    Produce* produce, Writer* w, PartitionImage* known, PartitionAnswer* answer
) noexcept nogil:
    """What follows the partition index, its error code included."""
    cdef bint flexible = produce.flexible
    write_int16(w, answer.error)
    write_int64(w, answer.base_offset)
    write_int64(w, answer.log_append_time_ms)
    if produce.version >= 5:
        write_int64(w, answer.log_start_offset)
    if produce.version >= 8:
        write_record_errors(w, flexible, answer)
        write_string(w, flexible, answer.message, text_size(answer.message))
    if produce.version >= 10 and answer.error == ERROR_NOT_LEADER_OR_FOLLOWER and known != NULL and known.leader >= 0:
        write_current_leader(w, 0, known.leader, known.leader_epoch)
        leaders_add(&produce.leaders, known.leader)
    else:
        write_no_tags(w, flexible)


cdef void produce_topics(
    Reactor* reactor, Request* request, Produce* produce, NamedPartitions* named, Writer* w
) noexcept nogil:
    """Appends each partition of the (already checked) request and writes its answer."""
    cdef Reader r
    cdef NamedTopic* named_topic
    cdef TopicImage* topic
    cdef PartitionImage* known
    cdef PartitionAnswer answer
    cdef uint8_t* records
    cdef int32_t index, size, i, j
    write_array_length(w, produce.flexible, named.topics_count)
    for i in range(named.topics_count):
        named_topic = &named.topics[i]
        topic = find_topic(reactor.image, &named_topic.key)
        write_topic_key(w, &named_topic.key, produce.flexible)
        write_array_length(w, produce.flexible, named_topic.count)
        j = named_topic.first
        while j >= 0:
            read_again(&r, request, named.partitions[j].at)
            read_partition(&r, produce.flexible, &index, &records, &size)
            known = topic_partition(topic, index) if topic != NULL else NULL
            write_int32(w, index)
            produce_partition(reactor, produce, topic, known, records, size, w.size, named_topic.key.by_id, &answer)
            write_partition(produce, w, known, &answer)
            if not answer.waits and (answer.error or produce.acks != 0):    # without an answer nobody is told of a success
                request_error(request, answer.error, 1)
            j = named.partitions[j].next
        write_no_tags(w, produce.flexible)


# -- waiting --

cdef int16_t lost_partition_error(Awaited* awaited) noexcept nogil:
    """The error of a waiting partition that this broker has not led all the time since the append; 0 when it has."""
    cdef Partition* partition = awaited.partition
    cdef int32_t state = atomic_load_i32(&partition.state)
    if state == PARTITION_ONLINE:
        if awaited.leader_epoch < atomic_load_i32(&partition.leader_since_epoch):
            return ERROR_NOT_LEADER_OR_FOLLOWER     # the batch may have been truncated in between
        return ERROR_NONE
    if state == PARTITION_OFFLINE:
        return ERROR_KAFKA_STORAGE_ERROR
    if state == PARTITION_DELETED:
        return ERROR_UNKNOWN_TOPIC_OR_PARTITION
    return ERROR_NOT_LEADER_OR_FOLLOWER


cdef int check_parked(Reactor* reactor, Parked* parked, bint expired) noexcept nogil:
    """ParkedCheck: answers when each partition arrived or failed, or the timeout has passed."""
    cdef ParkedProduce* waiting = <ParkedProduce*>parked
    cdef Awaited* awaited
    cdef int16_t error
    cdef bint open = False
    cdef int32_t i
    for i in range(waiting.count):
        awaited = &waiting.awaited[i]
        if awaited.done:
            continue
        error = lost_partition_error(awaited)
        if error == ERROR_NONE and reached(awaited):
            if not awaited.high_watermark or partition_has_enough_replicas(awaited.partition):
                awaited.done = True
                continue
            error = ERROR_NOT_ENOUGH_REPLICAS_AFTER_APPEND
        if error == ERROR_NONE and expired:
            error = ERROR_REQUEST_TIMED_OUT
        if error == ERROR_NONE:
            open = True
            continue
        awaited.done = True
        awaited.error = error
        if not waiting.answer.error:
            store_be16(waiting.answer.data + awaited.error_at, <unsigned short>error)
    if open:
        return 0
    for i in range(waiting.count):
        request_error(&parked.request, waiting.awaited[i].error, 1)
    response_send(reactor, &parked.request, &waiting.answer)
    return 1


cdef void free_parked(Parked* parked) noexcept nogil:
    cdef ParkedProduce* waiting = <ParkedProduce*>parked
    cdef int32_t i
    for i in range(waiting.count):
        partition_release(waiting.awaited[i].partition)
    writer_free(&waiting.answer)
    free(waiting)


cdef int park_produce(Reactor* reactor, Request* request, Produce* produce, Writer* w) noexcept nogil:
    cdef ParkedProduce* waiting = produce.waiting
    cdef Parked* parked = &waiting.parked
    cdef bint watched = True
    cdef int32_t i
    cdef int64_t timeout_ms = produce.timeout_ms if produce.timeout_ms > 0 else 0
    waiting.answer = w[0]
    parked_init(parked, request, reactor.now_ns + timeout_ms * 1000000, check_parked, free_parked)
    for i in range(waiting.count):
        watched = watched and parked_watch(reactor, parked, waiting.awaited[i].partition) == 0
    return park(reactor, request, parked, watched, timeout_ms == 0)


cdef bint is_admin_client(Request* request) noexcept nogil:
    return request.client_id_size == 14 and memcmp(request.client_id, ADMIN_CLIENT_ID, 14) == 0


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef Produce produce
    cdef NamedPartitions* named = named_of(reactor.id)
    cdef Writer w
    produce.version = request.api_version
    produce.flexible = request.api_version >= 9
    produce.error = ERROR_NONE
    produce.waiting = NULL
    produce.slot = request.slot
    produce.leaders.count = 0
    produce.internal_allowed = is_admin_client(request)
    if request.api_version < VERSION_APPENDED_MIN:
        request.close_reason = b"Produce before version 3 is not supported"
        return CLOSE
    if read_request(request, &produce, named):
        request.close_reason = b"Produce request that does not parse"
        return CLOSE
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    produce_topics(reactor, request, &produce, named, &w)
    if produce.acks == 0:
        writer_free(&w)
        if produce.error:
            request.close_reason = b"Produce with acks=0 failed: the client is told by closing the connection"
            return CLOSE
        response_none(reactor, request)
        return HANDLED
    write_int32(&w, 0)
    if produce.version >= 10:
        write_response_tags(&w, &reactor.scratch, reactor.image, request.listener, &produce.leaders)
    else:
        write_no_tags(&w, produce.flexible)
    if produce.waiting != NULL:
        return park_produce(reactor, request, &produce, &w)
    response_send(reactor, request, &w)
    return HANDLED


def register(int16_t version_min, int16_t version_max) -> None:
    """Makes reactors answer Produce (versions before 3 too: by closing the connection)."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
