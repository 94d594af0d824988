"""Finding records of a log by their timestamps. See log_timestamps.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.segment cimport Segment

# ListOffsets. found: 1/0; epoch is the leader epoch of that offset (-1 unknown).
cdef int log_offset_for_timestamp(
    Log* log, Codecs* codecs, int64_t target_ms, int64_t* offset, int64_t* timestamp_ms, int32_t* epoch, bint* found
) noexcept nogil
cdef int log_max_timestamp(
    Log* log, Codecs* codecs, int64_t* offset, int64_t* timestamp_ms, int32_t* epoch, bint* found
) noexcept nogil
# What time-based retention and the compaction lag count from: the largest timestamp, else the file's last change. -1: unknown.
cdef int64_t segment_max_timestamp(Log* log, Segment* segment) noexcept nogil
cdef int64_t first_batch_timestamp(Segment* segment) noexcept nogil
