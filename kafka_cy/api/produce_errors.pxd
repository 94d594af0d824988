"""What a Produce response says about a batch that is refused; see produce_errors.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.storage.partition cimport Partition

cdef int16_t batch_error_code(int error, const uint8_t* data, int32_t size) noexcept nogil
# Whether the batch as such was whole: only then does Kafka answer a log start offset.
cdef bint found_in_records(int error) noexcept nogil
# What Kafka's ProduceRequest.validateRecords refuses, before it looks at the partition.
cdef bint not_one_batch(int error) noexcept nogil
cdef const char* batch_error_message(int error) noexcept nogil      # NULL: none
# What a Produce of this version answers when the transaction coordinator has this error for a partition.
cdef int16_t transaction_error_code(int16_t error, int16_t version) noexcept nogil
cdef const char* transaction_error_message(int16_t error, int16_t version) noexcept nogil       # NULL: none
cdef const char* record_error_message(int error) noexcept nogil
# For the metrics: a produce request that appended nothing, and batches that fail the checks.
cdef void count_refused(Partition* partition, int error, int64_t size) noexcept nogil
cdef void count_invalid(Partition* partition, int error, const ValidBatch* valid) noexcept nogil
