"""Error codes and messages of batches that are refused, as Kafka's ReplicaManager and LogValidator give them."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.api.error_codes cimport *
from kafka_cy.base.atomics cimport atomic_add_relaxed_i64
from kafka_cy.records.batch cimport *

cdef enum:
    VERSION_ABORTABLE_MIN = 11      # of Produce: TRANSACTION_ABORTABLE
    VERSION_IMPLICIT_MIN = 12       # Produce adds partitions to the transaction


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
        return b"Produce requests must contain exactly one complete record batch per partition"
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


cdef bint is_retriable(int16_t error, int16_t version) noexcept nogil:
    """Errors that older clients would not retry, so that they get NOT_ENOUGH_REPLICAS (ReplicaManager.handleProduceAppend)."""
    return (
        error == ERROR_NETWORK_EXCEPTION or error == ERROR_COORDINATOR_LOAD_IN_PROGRESS
        or error == ERROR_COORDINATOR_NOT_AVAILABLE or error == ERROR_NOT_COORDINATOR
        or (error == ERROR_CONCURRENT_TRANSACTIONS and version < VERSION_IMPLICIT_MIN)
    )


cdef int16_t transaction_error_code(int16_t error, int16_t version) noexcept nogil:
    if error == ERROR_PRODUCER_FENCED:
        return ERROR_INVALID_PRODUCER_EPOCH         # which producers expect of a Produce
    if error == ERROR_TRANSACTION_ABORTABLE and version < VERSION_ABORTABLE_MIN:
        return ERROR_INVALID_TXN_STATE
    return ERROR_NOT_ENOUGH_REPLICAS if is_retriable(error, version) else error


cdef const char* transaction_error_message(int16_t error, int16_t version) noexcept nogil:
    if transaction_error_code(error, version) == ERROR_INVALID_TXN_STATE:
        return b"Partition was not added to the transaction"
    if not is_retriable(error, version):
        return NULL
    if error == ERROR_NETWORK_EXCEPTION:
        return b"Unable to verify the partition has been added to the transaction. Underlying error: NETWORK_EXCEPTION"
    if error == ERROR_COORDINATOR_LOAD_IN_PROGRESS:
        return b"Unable to verify the partition has been added to the transaction. Underlying error: COORDINATOR_LOAD_IN_PROGRESS"
    if error == ERROR_COORDINATOR_NOT_AVAILABLE:
        return b"Unable to verify the partition has been added to the transaction. Underlying error: COORDINATOR_NOT_AVAILABLE"
    if error == ERROR_NOT_COORDINATOR:
        return b"Unable to verify the partition has been added to the transaction. Underlying error: NOT_COORDINATOR"
    return b"Unable to verify the partition has been added to the transaction. Underlying error: CONCURRENT_TRANSACTIONS"


# -- counters --

cdef void count_refused(Partition* partition, int error, int64_t size) noexcept nogil:
    """Count a produce request that appended nothing; in Kafka it counts as failed unless the client or leadership is the cause."""
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
    """Count batches that fail the checks, for BrokerTopicMetrics."""
    if error == BATCH_BAD_CRC:
        atomic_add_relaxed_i64(&partition.invalid_crc, 1)
    elif error == BATCH_BAD_COUNT or error == BATCH_BAD_SEQUENCE:
        atomic_add_relaxed_i64(&partition.invalid_offset_or_sequence, 1)
    elif error == BATCH_NO_KEY:
        atomic_add_relaxed_i64(&partition.no_key, valid.keyless_records)
