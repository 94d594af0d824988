"""Produce (key 0).

Each partition's records are exactly one v2 batch, checked and, where the topic asks for it, rewritten before the
partition's lock is taken. One partition's error does not touch the others.

A partition that the request names twice gets the last of its batches and one response.

- v0-2 carry older message formats: the connection is closed, as in Kafka 4. ApiVersions lists them all the same, because
  librdkafka reads features out of the range (KAFKA-18659).
- v3: transactional id (KIP-98). v5: log start offset in the response. v7: zstd may be used (KIP-110).
- v8: record errors and error message (KIP-467). v9: flexible. v10: CurrentLeader and NodeEndpoints tags (KIP-951).
- v11, v12: transaction protocol (KIP-890), nothing new on the wire. v13: topics by id (KIP-516).
- acks -1 waits for the high watermark, 0 is not answered (an error closes the connection), 1 answers after the append;
  with flush.messages=1 all wait for the fsync. Other values: INVALID_REQUIRED_ACKS.
- With an authorizer, topics need WRITE, which is looked at again when the request continues after a job; transactional batches
  need WRITE on the transactional id, or the whole request is refused. The client id that may write to internal topics
  needs CLUSTER_ACTION, too, which Kafka does not ask for: anybody can name himself so.
- A transactional batch is appended only to a partition of the producer's open transaction (api/produce_transaction).
- A response is encoded before it waits; a wait that ends badly patches its error code.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memcmp, memcpy

from kafka_cy.api.topic_authorization cimport topic_is_allowed
from kafka_cy.api.error_codes cimport *
from kafka_cy.api.leader_hints cimport leaders_add, write_current_leader, write_response_tags
from kafka_cy.api.topic_key cimport find_topic, write_topic_key
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.api.named_partitions cimport NamedPartition, NamedPartitions, NamedTopic, named_add, named_of
from kafka_cy.api.produce_errors cimport (
    batch_error_code, batch_error_message, count_invalid, count_refused, found_in_records, not_one_batch, record_error_message,
    transaction_error_code, transaction_error_message,
)
from kafka_cy.api.produce_job cimport (
    NEEDS_JOB, append_was_slow, appends_need_job, budget_of_turn, suspend, suspend_again, suspended_end, validate_for_slow_disk,
    validate_here,
)
from kafka_cy.api.produce_transaction cimport (
    is_transactional, transaction_is_denied, transaction_must_ask, transaction_origin, transaction_refused, transaction_room,
)
from kafka_cy.api.produce_waiting cimport await_partition, lost_partition_error, park_produce, reached
from kafka_cy.api.topic_walk cimport TopicWalk, read_again, walk_begin, walk_next
from kafka_cy.base.atomics cimport atomic_load_pointer
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.network.authorization cimport ACL_WRITE, has_authorizer, request_is_of_broker
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Reactor, Request, request_close, request_error, response_begin, response_none,
    response_send,
)
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.network.questions cimport QUESTION_NOBODY
from kafka_cy.network.throttle cimport throttle_produce
from kafka_cy.network.tracing cimport trace_appended, trace_looks
from kafka_cy.records.batch cimport *
from kafka_cy.records.wire cimport (
    Reader, Writer, read_bytes, read_int16, read_int32, read_string, reader_init, skip_tagged_fields, write_array_length,
    write_int16, write_int32, write_int64, write_no_tags, write_string, writer_free, writer_init,
)
from kafka_cy.storage.log cimport (
    AppendOrigin, AppendResult, Log, ORIGIN_CLIENT, STORAGE_NOT_IN_TRANSACTION, STORAGE_OK, log_config,
    log_start_offset,
)
from kafka_cy.storage.slow_disk cimport disk_was_slow
from kafka_cy.storage.partition cimport (
    Partition, partition_append, partition_check_leader, partition_has_enough_replicas,
)

cdef enum:
    API_KEY = 0
    VERSION_APPENDED_MIN = 3        # older versions carry older message formats
    RECORD_MESSAGES_MAX = 1000      # further refused records are listed without a message

cdef const char* ADMIN_CLIENT_ID = "__admin_client"     # the only client that may write to internal topics


# The response of one partition.
cdef struct PartitionResponse:
    int16_t error
    int64_t base_offset
    int64_t log_append_time_ms
    int64_t log_start_offset
    RecordError* record_errors      # in the reactor's scratch buffer
    int32_t record_errors_count
    const char* message             # NULL none; static
    bint waits                      # its error code is not known yet
    bint suspends                   # it gets no response before a job has worked on its batch, or the coordinator has answered
    bint unseen                     # refused before it reaches the partition: BrokerTopicMetrics do not count it


cdef inline int read_partition(Reader* r, bint flexible, int32_t* index, uint8_t** records, int32_t* size) noexcept nogil:
    """One partition of the request; `records` is NULL for null."""
    index[0] = read_int32(r)
    records[0] = <uint8_t*>read_bytes(r, flexible, size)
    if flexible:
        skip_tagged_fields(r)
    return r.error


cdef int read_request(Request* request, Produce* produce, NamedPartitions* named) noexcept nogil:
    """Read the whole request before anything is appended; 1 when it cannot be parsed."""
    cdef Reader r
    cdef TopicWalk walk
    cdef uint8_t* records
    cdef const uint8_t* at
    cdef int32_t index, ignored
    reader_init(&r, request.body, request.body_size)
    read_string(&r, produce.flexible, &produce.transactional_id_size)
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


cdef int validate(
    Reactor* reactor, Produce* produce, Partition* partition, Log* log, uint8_t* records, int32_t size, ValidBatch* valid
) noexcept nogil:
    """Returns a BatchError, or NEEDS_JOB."""
    cdef ProduceRules rules = log_config(log).rules
    produce.job_appends_to = NULL
    if produce.outcome != NULL:
        valid[0] = produce.outcome.valid
        return produce.outcome.error
    if disk_was_slow(log.disk) and appends_need_job(reactor, log):
        return validate_for_slow_disk(produce, partition, &rules, records, size)
    if size >= BATCH_HEADER_SIZE:
        memcpy(produce.header_as_sent, records, BATCH_HEADER_SIZE)
    return validate_here(reactor, produce, &rules, records, size, valid)


cdef int append_valid(
    Reactor* reactor, Produce* produce, Partition* partition, Log* log, ValidBatch* valid, AppendOrigin origin,
    AppendResult* result,
) noexcept nogil:
    """Returns a StorageError, or NEEDS_JOB."""
    cdef int64_t ticks
    cdef int error
    if produce.outcome != NULL:
        if produce.outcome.appended_to != NULL:
            result[0] = produce.outcome.result
            produce.outcome.appended_to = NULL
            return produce.outcome.append_error
        if appends_need_job(reactor, log):
            produce.job_appends_to = partition
            return NEEDS_JOB
    ticks = ticks_now()
    error = partition_append(partition, valid, -1, produce.acks == -1, origin, reactor.now_ms, result)
    ticks = ticks_now() - ticks
    if ticks >= reactor.slow_append_ticks:
        append_was_slow(reactor, partition, ticks)
    return error


cdef void append_refused(Log* log, int error, AppendOrigin origin, PartitionResponse* response) noexcept nogil:
    """Kafka asks the coordinator about the epoch of a transactional batch before it looks at the log."""
    response.error = storage_error_code(error)
    if (
        response.error == ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER or response.error == ERROR_INVALID_TXN_STATE
        or (response.error == ERROR_INVALID_PRODUCER_EPOCH and origin == ORIGIN_CLIENT)
    ):
        response.log_start_offset = log_start_offset(log)


cdef bint must_ask(Reactor* reactor, Produce* produce, uint8_t* records, PartitionResponse* response) noexcept nogil:
    """Whether the transaction coordinator is asked. Without a coordinator the response has the error."""
    if transaction_room(reactor) != QUESTION_NOBODY:
        if not transaction_must_ask(produce):
            return False
        if produce.outcome == NULL:
            # The batch is validated again with the answer: a second validation would refuse what the first one has patched.
            memcpy(records, produce.header_as_sent, BATCH_HEADER_SIZE)
        return True
    response.error = transaction_error_code(ERROR_COORDINATOR_NOT_AVAILABLE, produce.version)
    response.message = transaction_error_message(ERROR_COORDINATOR_NOT_AVAILABLE, produce.version)
    response.unseen = True
    return False


cdef void append(
    Reactor* reactor, Produce* produce, Partition* partition, uint8_t* records, int32_t size, size_t error_at,
    PartitionResponse* response,
) noexcept nogil:
    """Check and append the batch of one partition, and record what its response has to wait for."""
    cdef Log* log = <Log*>atomic_load_pointer(<void**>&partition.log)
    cdef bint flush = log_config(log).flush_interval_messages == 1
    cdef ValidBatch valid
    cdef AppendOrigin origin = ORIGIN_CLIENT
    cdef AppendResult result
    cdef Awaited awaited
    cdef Awaited* kept
    cdef int error
    # Not needed after a job: the job has already appended the batch, or the append checks again (partition_append does).
    if produce.acks == -1 and produce.outcome == NULL and not partition_has_enough_replicas(partition):
        response.error = ERROR_NOT_ENOUGH_REPLICAS
        return
    error = validate(reactor, produce, partition, log, records, size, &valid)
    if error == NEEDS_JOB:
        response.suspends = True
        return
    if error != BATCH_OK:
        response.error = batch_error_code(error, records, size)
        response.message = batch_error_message(error)
        response.record_errors = valid.record_errors
        response.record_errors_count = valid.record_errors_count
        if found_in_records(error):
            response.log_start_offset = log_start_offset(log)
        response.unseen = not_one_batch(error)
        count_invalid(partition, error, &valid)
        return
    if is_transactional(&valid.header):
        response.error = transaction_refused(produce, &valid.header, &response.message)
        if response.error != ERROR_NONE:
            response.unseen = True
            return
        origin = transaction_origin(produce.version)
    error = append_valid(reactor, produce, partition, log, &valid, origin, &result)
    if error == NEEDS_JOB or (error == STORAGE_NOT_IN_TRANSACTION and must_ask(reactor, produce, records, response)):
        response.suspends = True
        return
    if error != STORAGE_OK:
        if response.error == ERROR_NONE:
            append_refused(log, error, origin, response)
        return
    if trace_looks(reactor, produce.slot, &valid) and not result.duplicate:
        trace_appended(reactor, produce.slot, partition, &valid, result.base_offset)
    response.base_offset = result.base_offset
    response.log_append_time_ms = result.log_append_time_ms
    response.log_start_offset = result.log_start_offset
    awaited.partition = partition
    awaited.required_offset = result.last_offset + 1
    awaited.leader_epoch = result.leader_epoch
    awaited.error_at = error_at
    awaited.high_watermark = produce.acks == -1
    # With a change meanwhile, the append may have left its flush to others.
    awaited.flush = flush and log_config(log).flush_interval_messages == 1
    if produce.acks == 0 or not (awaited.high_watermark or awaited.flush):
        return
    # After the append of a job, leadership may have been lost: what is reached is then of other records, and check_parked decides.
    if reached(&awaited) and lost_partition_error(&awaited) == ERROR_NONE:
        return
    kept = await_partition(produce, partition)
    if kept == NULL:
        response.error = ERROR_UNKNOWN_SERVER_ERROR
        return
    response.waits = True
    kept.required_offset = awaited.required_offset
    kept.leader_epoch = result.leader_epoch
    kept.error_at = error_at
    kept.high_watermark = awaited.high_watermark
    kept.flush = awaited.flush


cdef void respond_for_appended(
    Reactor* reactor, Produce* produce, PartitionImage* known, uint8_t* records, int32_t size, size_t error_at, bint by_id,
    PartitionResponse* response,
) noexcept nogil:
    """A job has appended the batch. What happened to the partition since then does not change that, unless it is gone."""
    cdef Partition* partition = produce.outcome.appended_to
    if known == NULL or (known.partition != NULL and known.partition != partition):
        # Deleted, or also created anew.
        response.error = ERROR_UNKNOWN_TOPIC_ID if by_id else ERROR_UNKNOWN_TOPIC_OR_PARTITION
        response.unseen = True
        return
    append(reactor, produce, partition, records, size, error_at, response)


cdef void produce_partition(
    Reactor* reactor, Produce* produce, TopicImage* topic, PartitionImage* known, uint8_t* records, int32_t size,
    size_t error_at, bint by_id, PartitionResponse* response,
) noexcept nogil:
    response.error = ERROR_NONE
    response.base_offset = -1
    response.log_append_time_ms = -1
    response.log_start_offset = -1
    response.record_errors = NULL
    response.record_errors_count = 0
    response.message = NULL
    response.waits = False
    response.suspends = False
    response.unseen = False
    if produce.outcome != NULL and produce.outcome.appended_to != NULL:
        respond_for_appended(reactor, produce, known, records, size, error_at, by_id, response)
    elif produce.denied:
        response.error = produce.denied
        response.unseen = True
    elif topic == NULL:
        response.error = ERROR_UNKNOWN_TOPIC_ID if by_id else ERROR_UNKNOWN_TOPIC_OR_PARTITION
    elif produce.acks < -1 or produce.acks > 1:
        response.error = ERROR_INVALID_REQUIRED_ACKS
        response.unseen = True
    elif known == NULL:
        response.error = ERROR_UNKNOWN_TOPIC_OR_PARTITION
    elif topic.internal and not produce.internal_allowed:
        response.error = ERROR_INVALID_TOPIC_EXCEPTION
        response.message = b"Cannot append to an internal topic"
    elif known.partition == NULL:
        response.error = ERROR_NOT_LEADER_OR_FOLLOWER
    elif records == NULL:
        response.error = ERROR_INVALID_RECORD
        response.message = batch_error_message(BATCH_NOT_ONE)
        response.unseen = True
    else:
        response.error = storage_error_code(partition_check_leader(known.partition, -1))
        if response.error == ERROR_NONE:
            append(reactor, produce, known.partition, records, size, error_at, response)
    if known != NULL and known.partition != NULL and response.error and not response.unseen:
        count_refused(known.partition, response.error, size)
    if response.error and not produce.error:
        produce.error = response.error


cdef int32_t text_size(const char* text) noexcept nogil:
    cdef int32_t size = 0
    if text == NULL:
        return -1
    while text[size]:
        size += 1
    return size


cdef void write_record_errors(Writer* w, bint flexible, PartitionResponse* response) noexcept nogil:
    cdef const char* message
    cdef int32_t i
    write_array_length(w, flexible, response.record_errors_count)
    for i in range(response.record_errors_count):
        message = record_error_message(response.record_errors[i].error) if i < RECORD_MESSAGES_MAX else NULL
        write_int32(w, response.record_errors[i].index)
        write_string(w, flexible, message, text_size(message))
        write_no_tags(w, flexible)


cdef void write_partition(
    Produce* produce, Writer* w, PartitionImage* known, PartitionResponse* response
) noexcept nogil:
    """Write the fields after the partition index, starting with the error code."""
    cdef bint flexible = produce.flexible
    write_int16(w, response.error)
    write_int64(w, response.base_offset)
    write_int64(w, response.log_append_time_ms)
    if produce.version >= 5:
        write_int64(w, response.log_start_offset)
    if produce.version >= 8:
        write_record_errors(w, flexible, response)
        write_string(w, flexible, response.message, text_size(response.message))
    if produce.version >= 10 and response.error == ERROR_NOT_LEADER_OR_FOLLOWER and known != NULL and known.leader >= 0:
        write_current_leader(w, 0, known.leader, known.leader_epoch)
        leaders_add(&produce.leaders, known.leader)
    else:
        write_no_tags(w, flexible)


cdef bint produce_topics(
    Reactor* reactor, Request* request, Produce* produce, NamedPartitions* named, Writer* w
) noexcept nogil:
    """Append each partition of the (already checked) request and write its response, starting where it stopped before.

    False: it stopped before a partition whose batch needs a job or an answer of the coordinator.
    """
    cdef NamedTopic* named_topic
    cdef TopicImage* topic
    while produce.topic_at < named.topics_count:
        named_topic = &named.topics[produce.topic_at]
        topic = find_topic(reactor.image, &named_topic.key)
        if has_authorizer(reactor) and produce.denied != ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            produce.denied = ERROR_TOPIC_AUTHORIZATION_FAILED
            if topic_is_allowed(reactor, request, &named_topic.key, topic, ACL_WRITE):
                produce.denied = ERROR_NONE
        if produce.partition_at == TOPIC_NOT_BEGUN:
            write_topic_key(w, &named_topic.key, produce.flexible)
            write_array_length(w, produce.flexible, named_topic.count)
            produce.partition_at = named_topic.first
        while produce.partition_at >= 0:
            if not produce_named(reactor, request, produce, topic, named_topic, &named.partitions[produce.partition_at], w):
                return False
            produce.partition_at = named.partitions[produce.partition_at].next
        write_no_tags(w, produce.flexible)
        produce.topic_at += 1
        produce.partition_at = TOPIC_NOT_BEGUN
    return True


cdef inline bint produce_named(
    Reactor* reactor, Request* request, Produce* produce, TopicImage* topic, NamedTopic* named_topic,
    NamedPartition* named_partition, Writer* w,
) noexcept nogil:
    """One partition of the request; False: it has to wait."""
    cdef Reader r
    cdef PartitionImage* known
    cdef PartitionResponse response
    cdef uint8_t* records
    cdef int32_t index, size
    cdef size_t start = w.size
    read_again(&r, request, named_partition.at)
    read_partition(&r, produce.flexible, &index, &records, &size)
    known = topic_partition(topic, index) if topic != NULL else NULL
    write_int32(w, index)
    produce_partition(reactor, produce, topic, known, records, size, w.size, named_topic.key.by_id, &response)
    if response.suspends:
        w.size = start
        return False
    produce.outcome = NULL              # Also when the partition was refused before it was used.
    write_partition(produce, w, known, &response)
    if not response.waits and (response.error or produce.acks != 0):    # With acks=0 there is no response to count.
        request_error(request, response.error, 1)
    return True


cdef bint is_admin_client(Request* request) noexcept nogil:
    return request.client_id_size == 14 and memcmp(request.client_id, ADMIN_CLIENT_ID, 14) == 0


cdef inline int finish(Reactor* reactor, Request* request, Produce* produce, Writer* w) noexcept nogil:
    """Respond when all partitions are done. Returns the handler's result."""
    if produce.acks == 0:
        writer_free(w)
        throttle_produce(reactor, request, <int64_t>produce.request_size)
        if produce.error:
            request.close_reason = b"Produce with acks=0 failed: the client is told by closing the connection"
            return CLOSE
        response_none(reactor, request)
        return HANDLED
    request.slot.throttle_at = w.size
    write_int32(w, throttle_produce(reactor, request, <int64_t>produce.request_size))
    if produce.version >= 10:
        write_response_tags(w, &reactor.scratch, reactor.image, request.listener, &produce.leaders)
    else:
        write_no_tags(w, produce.flexible)
    if produce.waiting != NULL:
        return park_produce(reactor, request, produce, w)
    response_send(reactor, request, w)
    return HANDLED


cdef void resume(Reactor* reactor, Request* request, SuspendedProduce* suspended) noexcept nogil:
    """ProduceResume: continue at the batch at which the request stopped."""
    if not produce_topics(reactor, request, &suspended.produce, &suspended.named, &suspended.w):
        if suspend_again(reactor, request, suspended):
            request.close_reason = b"out of memory"
            request_close(reactor, request)
            suspended_end(reactor, suspended)
        return
    if finish(reactor, request, &suspended.produce, &suspended.w) == CLOSE:
        request_close(reactor, request)
    writer_init(&suspended.w, 0)        # The response or the parked request owns it now, and the waiting partitions.
    suspended.produce.waiting = NULL
    suspended_end(reactor, suspended)


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef Produce produce
    cdef NamedPartitions* named = named_of(reactor.id)
    cdef Writer w
    produce.version = request.api_version
    produce.flexible = request.api_version >= 9
    produce.error = ERROR_NONE
    produce.denied = ERROR_NONE
    produce.waiting = NULL
    produce.slot = request.slot
    produce.request_size = request.size
    produce.topic_at = 0
    produce.partition_at = TOPIC_NOT_BEGUN
    produce.budget = budget_of_turn(reactor)
    produce.outcome = NULL
    produce.job_appends_to = NULL
    produce.transaction_producer_id = -1
    produce.answers = NULL
    produce.asks = False
    produce.asks_again = False
    produce.leaders.count = 0
    produce.internal_allowed = is_admin_client(request)
    if request.api_version < VERSION_APPENDED_MIN:
        request.close_reason = b"Produce before version 3 is not supported"
        return CLOSE
    if read_request(request, &produce, named):
        request.close_reason = b"Produce request that does not parse"
        return CLOSE
    if has_authorizer(reactor):
        produce.internal_allowed = produce.internal_allowed and request_is_of_broker(reactor, request, False)
        if transaction_is_denied(reactor, request, &produce, named):
            produce.denied = ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    writer_init(&w, RESPONSE_BYTES_MAX)
    response_begin(request, &w)
    write_array_length(&w, produce.flexible, named.topics_count)
    if not produce_topics(reactor, request, &produce, named, &w):
        return suspend(reactor, request, &produce, named, &w, resume)
    return finish(reactor, request, &produce, &w)


def register(int16_t version_min, int16_t version_max) -> None:
    """Make reactors answer Produce (also versions before 3, by closing the connection)."""
    hot_handler_register(API_KEY, version_min, version_max, handle)
    hot_handler_authorizes(API_KEY)
