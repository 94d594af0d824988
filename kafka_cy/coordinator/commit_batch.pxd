"""The records of committed offsets as a batch; see commit_batch.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.coordinator.offset_map cimport Committed
from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.records.wire cimport Writer

# Begin a batch at the start of an empty `w`; `now_ms` is the time of its records.
cdef void commit_batch_begin(Writer* w, int64_t now_ms) noexcept nogil
# Add the record of one offset; `number` counts them from 0 on.
cdef void commit_batch_add(
    Writer* w, int32_t number, const char* group, int32_t group_size, const char* topic, int32_t topic_size, int32_t partition,
    const Committed* committed
) noexcept nogil
# Complete the batch of `count` records; `batch` refers to the bytes of `w`. -1 without memory.
cdef int commit_batch_end(Writer* w, int32_t count, ValidBatch* batch) noexcept nogil
