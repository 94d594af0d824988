"""The control batch that ends a transaction; see transaction_marker.pyx."""
from libc.stdint cimport int16_t, int32_t, int64_t

from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.records.wire cimport Writer

cdef enum:
    MARKER_BYTES_MAX = 256

cdef struct MarkerFields:
    int64_t producer_id
    int16_t epoch
    int32_t coordinator_epoch
    bint commit                 # False: abort
    int64_t timestamp_ms
    bint log_append_time        # message.timestamp.type of the topic

# Write the batch at the start of an empty `output`; `batch` refers to its bytes. 0, or STORAGE_NO_MEMORY.
cdef int marker_write(Writer* output, const MarkerFields* fields, ValidBatch* batch) noexcept nogil
