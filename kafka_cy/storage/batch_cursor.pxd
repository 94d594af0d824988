"""Walks the batch headers of a segment's file; behaviour in batch_cursor.pyx."""
from libc.stdint cimport int64_t, uint8_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.storage.segment cimport Segment

cdef enum:
    CURSOR_WINDOW_SIZE = 8192

# Walks batch headers with few reads. Owner: the calling thread (it lives on the stack).
cdef struct BatchCursor:
    Segment* segment
    int64_t limit               # bytes of the segment that may be looked at
    bint cached_only            # -EAGAIN instead of reading from the disk
    int64_t window_position
    int64_t window_size
    uint8_t window[CURSOR_WINDOW_SIZE]

cdef void cursor_init(BatchCursor* cursor, Segment* segment, int64_t limit) noexcept nogil
# The header of the batch at `position`: 1 it is there, 0 no whole batch before `limit`, -errno. The segment must be pinned.
cdef int cursor_header(BatchCursor* cursor, int64_t position, BatchHeader* header) noexcept nogil


cdef inline int64_t records_timestamp(const BatchHeader* header) noexcept nogil:
    """The largest of a batch's records; a batch that compaction left empty has none, whatever its header keeps."""
    return header.max_timestamp if header.records_count > 0 else -1
