"""Appending to a log. See log_append.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.storage.log_struct cimport AppendOrigin, AppendResult, Log, LogConfig
from kafka_cy.storage.segment cimport Segment

# Call with the append mutex. `leader_epoch` -1: the latest epoch of the log.
cdef int log_append_locked(
    Log* log, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil
# For a log without a Partition: takes the append mutex.
cdef int log_append(
    Log* log, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil

# With the append mutex, before a marker is published: if it aborts, there is memory for its entry in the index of aborted
# transactions, and a descriptor to write it. A StorageError.
cdef int log_reserve_for_marker(Log* log, const ValidBatch* batch) noexcept nogil

# For log_follow, with the append mutex: does this batch begin a new segment? Publish a batch that is in the file.
cdef bint must_roll(
    Segment* active, const LogConfig* config, int64_t jitter_ms, ValidBatch* batch, int64_t now_ms
) noexcept nogil
cdef int publish_batch(Log* log, const LogConfig* config, ValidBatch* batch) noexcept nogil
