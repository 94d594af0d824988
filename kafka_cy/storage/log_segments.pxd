"""The list of a log's segments: growing and shrinking it, taking references. See log_segments.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.segment cimport Segment

cdef int add_segment(Log* log, Segment* segment) noexcept nogil
cdef int new_active(Log* log, int64_t base_offset, Segment** out) noexcept nogil
cdef Segment** take_from_list(Log* log, int32_t first, int32_t count) noexcept nogil
cdef Segment** log_acquire_segments(Log* log, int32_t* count) noexcept nogil
cdef void release_segments(Segment** segments, int32_t count) noexcept nogil
# References to the closed segments with a base offset below `end_offset`, malloc'ed; `next_base` is the base offset of
# the segment after them.
cdef int log_closed_segments(
    Log* log, int64_t end_offset, Segment*** segments, int32_t* count, int64_t* next_base
) noexcept nogil
cdef int64_t log_size_bytes(Log* log) noexcept nogil
cdef int64_t log_first_base_offset(Log* log) noexcept nogil
cdef void log_name_file(Log* log, int64_t base_offset, const char* suffix, char* path) noexcept nogil
