"""Transaction markers as Kafka writes them (EndTransactionMarker): a control batch with one record.

Key: int16 version 0, int16 type (0 abort, 1 commit). Value: int16 version 0, int32 coordinator epoch.
"""
from libc.string cimport memset

from kafka_cy.records.batch cimport (
    ATTRIBUTE_CONTROL, ATTRIBUTE_LOG_APPEND_TIME, ATTRIBUTE_TRANSACTIONAL, batch_finish, batch_header_read, batch_header_write,
)
from kafka_cy.records.wire cimport write_int8, write_int16, write_int32, write_varint, write_varlong
from kafka_cy.storage.storage_error cimport STORAGE_NO_MEMORY, STORAGE_OK

cdef enum:
    KEY_SIZE = 4
    VALUE_SIZE = 6
    RECORD_SIZE = 16            # attributes, two deltas, key and value with their lengths, count of headers
    ABORT = 0
    COMMIT = 1


cdef int marker_write(Writer* output, const MarkerFields* fields, ValidBatch* batch) noexcept nogil:
    memset(batch, 0, sizeof(ValidBatch))
    batch.header.attributes = ATTRIBUTE_TRANSACTIONAL | ATTRIBUTE_CONTROL
    if fields.log_append_time:
        batch.header.attributes |= ATTRIBUTE_LOG_APPEND_TIME
    batch.header.base_timestamp = fields.timestamp_ms
    batch.header.max_timestamp = fields.timestamp_ms
    batch.header.producer_id = fields.producer_id
    batch.header.producer_epoch = fields.epoch
    batch.header.base_sequence = -1
    batch.header.records_count = 1
    batch_header_write(output, &batch.header)
    write_varint(output, RECORD_SIZE)
    write_int8(output, 0)
    write_varlong(output, 0)
    write_varint(output, 0)
    write_varint(output, KEY_SIZE)
    write_int16(output, 0)
    write_int16(output, COMMIT if fields.commit else ABORT)
    write_varint(output, VALUE_SIZE)
    write_int16(output, 0)
    write_int32(output, fields.coordinator_epoch)
    write_varint(output, 0)
    batch_finish(output, 0)
    if output.error:
        return STORAGE_NO_MEMORY
    batch.data = output.data
    batch.size = output.size
    batch_header_read(batch.data, batch.size, &batch.header)
    return STORAGE_OK
