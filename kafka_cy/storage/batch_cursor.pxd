"""Walks the batch headers of a segment file. See batch_cursor.pyx."""
from libc.stdint cimport int64_t, uint8_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.storage.segment cimport Segment

cdef enum:
    CURSOR_WINDOW_SIZE = 8192
    ENTRY_SIZE_MIN = 26         # the smallest entry: magic 0 without key and value

# Walks batch headers with few reads.
# Owner: the calling thread (the cursor lives on its stack).
cdef struct BatchCursor:
    Segment* segment
    int64_t limit               # end of the readable part of the segment
    bint cached_only            # return -EAGAIN instead of reading from disk
    int64_t window_position
    int64_t window_size
    uint8_t window[CURSOR_WINDOW_SIZE]

cdef void cursor_init(BatchCursor* cursor, Segment* segment, int64_t limit) noexcept nogil
# Read the batch header at `position`: 1 found, 0 no whole batch before `limit`, -errno. The segment must be pinned.
cdef int cursor_header(BatchCursor* cursor, int64_t position, BatchHeader* header) noexcept nogil
# The same of bytes in memory: `there` of the entry's bytes are at `raw`, at least the header or the whole entry; `size` bytes are
# left in all. 1 found, 0 no whole batch.
cdef int entry_header(const uint8_t* raw, int64_t there, int64_t size, BatchHeader* header) noexcept nogil
# The position of the first batch that ends at or after `offset`, from the batch at `position` on; the end if none does; -errno.
cdef int64_t cursor_find_offset(BatchCursor* cursor, int64_t position, int64_t offset) noexcept nogil
# The last batch end <= `wanted`, from the batch at `position` on (`position` itself if that batch is larger); -errno. Sets
# `next_offset` to the base offset of the batch that begins there, -1 if none does.
cdef int64_t cursor_find_position(BatchCursor* cursor, int64_t position, int64_t wanted, int64_t* next_offset) noexcept nogil


cdef inline int64_t records_timestamp(const BatchHeader* header) noexcept nogil:
    """Largest record timestamp of a batch; -1 for a batch emptied by compaction, whatever its header says."""
    return header.max_timestamp if header.records_count > 0 else -1
