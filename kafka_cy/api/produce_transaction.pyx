"""Transactional batches: which may be appended, and what the transaction coordinator is asked before (KIP-890).

A batch is appended when its partition is in the producer's open transaction: the log has the transaction already, or
the coordinator's table has the partition (partition_append looks under the append mutex). Otherwise the request is
suspended, and the coordinator is asked about all partitions of the request that are missing. Produce 12 and later adds
them; an older one only verifies that the client has added them (AddPartitionsToTxn). With the answer the request continues
where it stopped.

transaction.partition.verification.enable=false: batches of Produce 11 and older are appended without being verified.

Kafka: ReplicaManager.handleProduceAppend, AddPartitionsToTxnManager. Kafka refuses a request with batches of two
transactional producers as a whole; here the batches of the first one are appended. No client sends such a request.
"""
from libc.stdint cimport int16_t, int32_t, uint8_t
from libc.stdlib cimport malloc

from kafka_cy.api.topic_authorization cimport topic_is_allowed
from kafka_cy.api.error_codes cimport *
from kafka_cy.api.named_partitions cimport NamedPartition, NamedTopic
from kafka_cy.api.produce_errors cimport transaction_error_code, transaction_error_message
from kafka_cy.api.produce_job cimport budget_of_turn
from kafka_cy.api.topic_key cimport find_topic
from kafka_cy.api.topic_walk cimport read_again
from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32
from kafka_cy.network.authorization cimport ACL_TRANSACTIONAL_ID, ACL_WRITE, request_allows
from kafka_cy.network.metadata_image cimport PartitionImage, TopicImage, topic_partition
from kafka_cy.network.questions cimport question_ask, question_room
from kafka_cy.records.batch cimport ATTRIBUTES_AT, BATCH_HEADER_SIZE, BATCH_OK, batch_header_read
from kafka_cy.records.wire cimport (
    Reader, Writer, load_be16, read_bytes, read_int32, read_string, reader_init, write_int8, write_int16, write_int32,
    write_int64, write_string, writer_free, writer_init,
)
from kafka_cy.storage.log cimport ORIGIN_TRANSACTION_V1, ORIGIN_TRANSACTION_V2
from kafka_cy.storage.partition cimport Partition
from kafka_cy.storage.transaction_table cimport transaction_contains

cdef enum:
    ADD_PARTITIONS_TO_TXN_KEY = 24
    VERSION_IMPLICIT_MIN = 12       # from here on Produce adds the partition
    PARTITIONS_ASKED_MAX = 1000     # in one question; the request asks again for further ones
    QUESTION_BYTES_MAX = 1 << 20

cdef int32_t verification = 1       # (a) transaction.partition.verification.enable


cdef AppendOrigin transaction_origin(int16_t version) noexcept nogil:
    if version >= VERSION_IMPLICIT_MIN:
        return ORIGIN_TRANSACTION_V2
    return ORIGIN_TRANSACTION_V1 if atomic_load_i32(&verification) else ORIGIN_CLIENT


cdef bint transaction_is_denied(
    Reactor* reactor, Request* request, Produce* produce, NamedPartitions* named
) noexcept nogil:
    """Kafka's ProduceRequest.hasTransactionalRecords looks at the attributes of each partition's first batch."""
    cdef Reader r
    cdef const uint8_t* records
    cdef const char* transactional_id
    cdef int32_t size
    cdef int32_t place = 0
    while place < named.partitions_count:
        read_again(&r, request, named.partitions[place].at)
        read_int32(&r)
        records = <const uint8_t*>read_bytes(&r, produce.flexible, &size)
        if records != NULL and size >= BATCH_HEADER_SIZE and records[ATTRIBUTES_AT + 1] & ATTRIBUTE_TRANSACTIONAL:
            break
        place += 1
    if place == named.partitions_count:
        return False
    reader_init(&r, request.body, request.body_size)
    transactional_id = read_string(&r, produce.flexible, &size)
    return transactional_id == NULL or not request_allows(
        reactor, request, ACL_TRANSACTIONAL_ID, transactional_id, size, ACL_WRITE, False
    )


cdef int16_t transaction_refused(Produce* produce, const BatchHeader* header, const char** message) noexcept nogil:
    cdef int16_t answer
    if produce.transactional_id_size < 0:
        return ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED      # as Kafka, with or without an authorizer
    if produce.transaction_producer_id < 0:
        produce.transaction_producer_id = header.producer_id
        produce.transaction_epoch = header.producer_epoch
    elif produce.transaction_producer_id != header.producer_id or produce.transaction_epoch != header.producer_epoch:
        message[0] = b"Transactional records contained more than one producer ID"
        return ERROR_INVALID_PRODUCER_ID_MAPPING
    if produce.answers == NULL:
        return ERROR_NONE
    answer = produce.answers[produce.partition_at]
    if answer == NOT_ASKED or answer == ERROR_NONE:
        return ERROR_NONE
    message[0] = transaction_error_message(answer, produce.version)
    return transaction_error_code(answer, produce.version)


cdef bint transaction_must_ask(Produce* produce) noexcept nogil:
    """A confirmed partition has left the table when its transaction has ended, or when the coordinator stops or moves away.

    The coordinator is asked again which of them it was. Else a broker that stops would refuse the batches of open transactions with
    INVALID_TXN_STATE, an error from which producers do not recover.
    """
    if produce.answers == NULL or produce.answers[produce.partition_at] == NOT_ASKED:
        produce.asks = True
    elif not produce.asks_again:
        produce.asks = produce.asks_again = True
        produce.answers[produce.partition_at] = GONE
    else:
        produce.asks = False
    return produce.asks


cdef QuestionRoom transaction_room(Reactor* reactor) noexcept nogil:
    return question_room(reactor, ADD_PARTITIONS_TO_TXN_KEY)


cdef Partition* missing_partition(
    Reactor* reactor, Request* request, Produce* produce, NamedPartitions* named, int32_t place
) noexcept nogil:
    """The partition at `place` of the request, if it has a batch of the transaction and the coordinator has to be asked."""
    cdef NamedPartition* named_partition = &named.partitions[place]
    cdef NamedTopic* named_topic = &named.topics[named_partition.topic]
    cdef TopicImage* topic = find_topic(reactor.image, &named_topic.key)
    cdef PartitionImage* known = topic_partition(topic, named_partition.index) if topic != NULL else NULL
    cdef BatchHeader header
    cdef Reader r
    cdef const uint8_t* records
    cdef int32_t size
    if known == NULL or known.partition == NULL or produce.answers[place] != NOT_ASKED:
        return NULL
    read_again(&r, request, named_partition.at)
    read_int32(&r)
    records = <const uint8_t*>read_bytes(&r, produce.flexible, &size)
    if records == NULL or batch_header_read(records, <size_t>size, &header) != BATCH_OK or not is_transactional(&header):
        return NULL
    if header.producer_id != produce.transaction_producer_id or header.producer_epoch != produce.transaction_epoch:
        return NULL
    if place != produce.partition_at and transaction_contains(
        header.producer_id, header.producer_epoch, known.partition.topic_id, known.partition.index
    ):
        return NULL
    if not topic_is_allowed(reactor, request, &named_topic.key, topic, ACL_WRITE):
        return NULL
    return known.partition


cdef int write_partition(
    Reactor* reactor, Request* request, SuspendedProduce* suspended, int32_t place, Writer* w
) noexcept nogil:
    """Topic name and index of the partition, if the coordinator has to be asked about it. Returns how many were written."""
    cdef Partition* partition = missing_partition(reactor, request, &suspended.produce, &suspended.named, place)
    if partition == NULL:
        return 0
    write_string(w, False, partition.topic, partition.topic_size)
    write_int32(w, partition.index)
    suspended.produce.answers[place] = ASKED
    return 1


cdef void write_partitions(Reactor* reactor, Request* request, SuspendedProduce* suspended, Writer* w) noexcept nogil:
    """The partition at which the request stopped, then others that no question has looked at."""
    cdef int32_t count = write_partition(reactor, request, suspended, suspended.produce.partition_at, w)
    suspended.asked_from = suspended.asked_to
    while suspended.asked_to < suspended.named.partitions_count and count < PARTITIONS_ASKED_MAX:
        count += write_partition(reactor, request, suspended, suspended.asked_to, w)
        suspended.asked_to += 1


cdef const uint8_t* take_answer(
    SuspendedProduce* suspended, int32_t place, const uint8_t* answer, const uint8_t* end
) noexcept nogil:
    cdef int16_t* answers = suspended.produce.answers
    if answers[place] != ASKED:
        return answer
    if answer == NULL or end - answer < 2:
        answers[place] = ERROR_COORDINATOR_NOT_AVAILABLE
        return answer
    answers[place] = <int16_t>load_be16(answer)
    return answer + 2


cdef void take_answers(SuspendedProduce* suspended, const uint8_t* answer, size_t size) noexcept nogil:
    """An int16 error code for each partition that was asked about, in order. Without an answer the coordinator is not available."""
    cdef const uint8_t* end = answer + size
    cdef int32_t place
    answer = take_answer(suspended, suspended.produce.partition_at, answer, end)
    for place in range(suspended.asked_from, suspended.asked_to):
        answer = take_answer(suspended, place, answer, end)


cdef void answered(Reactor* reactor, void* context, const uint8_t* answer, size_t size) noexcept nogil:
    """QuestionAnswered: the request goes on."""
    cdef SuspendedProduce* suspended = <SuspendedProduce*>context
    cdef Request request = suspended.parked.request
    take_answers(suspended, answer, size)
    request.body = suspended.job.body
    request.body_size = suspended.job.body_size
    suspended.produce.asks = False
    suspended.produce.outcome = &suspended.job.outcome if suspended.keeps_outcome else NULL
    suspended.produce.budget = budget_of_turn(reactor)
    suspended.resume(reactor, &request, suspended)


cdef bint answers_begin(SuspendedProduce* suspended) noexcept nogil:
    cdef int32_t place
    if suspended.produce.answers != NULL:
        return True
    suspended.produce.answers = <int16_t*>malloc(<size_t>suspended.named.partitions_count * sizeof(int16_t))
    if suspended.produce.answers == NULL:
        return False
    for place in range(suspended.named.partitions_count):
        suspended.produce.answers[place] = NOT_ASKED
    return True


cdef void forget_confirmed(SuspendedProduce* suspended) noexcept nogil:
    """One confirmed partition has left the table: the coordinator is asked again about it, and about the others that it lacks."""
    cdef Produce* produce = &suspended.produce
    cdef int32_t place
    for place in range(suspended.named.partitions_count):
        if produce.answers[place] == GONE or produce.answers[place] == ERROR_NONE:
            produce.answers[place] = NOT_ASKED
    suspended.asked_to = 0


cdef int transaction_ask(Reactor* reactor, Request* request, SuspendedProduce* suspended) noexcept nogil:
    cdef Produce* produce = &suspended.produce
    cdef Reader r
    cdef Writer w
    cdef int32_t id_size
    cdef const char* transactional_id
    cdef int failed
    if not answers_begin(suspended):
        return -1
    if produce.answers[produce.partition_at] == GONE:
        forget_confirmed(suspended)
    reader_init(&r, request.body, request.body_size)
    transactional_id = read_string(&r, produce.flexible, &id_size)
    writer_init(&w, QUESTION_BYTES_MAX)
    write_int64(&w, produce.transaction_producer_id)
    write_int16(&w, produce.transaction_epoch)
    write_int8(&w, produce.version >= VERSION_IMPLICIT_MIN)
    write_string(&w, False, transactional_id, id_size)
    write_partitions(reactor, request, suspended, &w)
    failed = -1 if w.error else question_ask(
        reactor, request.connection, ADD_PARTITIONS_TO_TXN_KEY, produce.version, w.data, w.size, suspended.job.job.bytes, answered,
        suspended,
    )
    writer_free(&w)
    return failed


def set_partition_verification(bint enabled):
    """Set transaction.partition.verification.enable. Any thread; requests that come later follow it."""
    atomic_store_i32(&verification, enabled)
