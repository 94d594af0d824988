"""Offset and time index of one segment. See segment_index.pyx. Functions that can fail return 0 or an errno."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.segment cimport Segment

cdef int segment_map_indexes(Segment* segment) noexcept nogil       # pinned, closed segment
cdef int segment_index_batch(
    Segment* segment, int64_t last_offset, int64_t max_timestamp, int64_t position, int64_t size, int32_t interval_bytes
) noexcept nogil
cdef int segment_write_indexes(Segment* segment, bint exact) noexcept nogil
cdef void segment_seal_times(Segment* segment) noexcept nogil       # the last time entry; with segments_mutex if others read
cdef int segment_close_indexes(Segment* segment) noexcept nogil     # last time entry, write, cut; later maps are on demand
# A segment that stops being active: its sealed tables serve from memory until segment_settle_indexes has written them.
# After a crash before that, the indexes are missing, which the next map detects. Partial index files would pass for
# whole ones, so call segment_drop_partial_indexes first.
cdef void segment_drop_partial_indexes(Segment* segment) noexcept nogil
cdef void segment_retire(Segment* segment, bint indexes_written) noexcept nogil     # with segments_mutex
cdef int segment_settle_indexes(Segment* segment) noexcept nogil
