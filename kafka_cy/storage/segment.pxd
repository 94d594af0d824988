"""One segment: a .log file with its offset and time index; behaviour in segment.pyx. What can fail returns 0 or an errno."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.storage.index_table cimport IndexTable

# Purpose: one segment's files.
# Lifetime: `references` counts the log and every reader; the last one closes and frees it. `directory` belongs to the log,
#   which keeps every name it ever had.
# Threads: fields below "appender" are written by the log's appender only (append mutex), and read by others only for
#   closed segments, or under the log's segments_mutex. `pins` counts users of `fd` and the mapped indexes: -1 closed.
# Limits: open descriptors of the whole process are bounded (open_max): unpinned ones are closed in clock order.
cdef struct Segment:
    int32_t references          # (a)
    int64_t pins                # (a) -1: fd and indexes are not there
    int32_t fd
    int32_t recently_used       # (a) the clock's second chance
    const char* directory       # the log's; guarded by the open-segments mutex
    int64_t base_offset
    int64_t size                # (a) -1: not looked at yet
    bint active                 # indexes are in memory and may grow
    bint indexes_mapped         # closed segment: the tables equal the files and go when the descriptor goes
    bint indexes_unwritten      # closed segment: the tables in memory are all there is; its log's next flush writes them
    bint deleted                # renamed to .deleted
    bint preallocated           # the file may have more room than bytes
    Segment* next               # ring of open segments
    Segment* previous
    # appender
    int64_t created_ms
    int64_t first_timestamp     # max timestamp of the first batch: what time-based rolling counts from; -1 none
    int64_t max_timestamp       # -1 none
    int64_t max_timestamp_offset
    int64_t bytes_since_index
    IndexTable offsets
    IndexTable times

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

cdef inline int64_t records_timestamp(const BatchHeader* header) noexcept nogil:
    """The largest of a batch's records; a batch that compaction left empty has none, whatever its header keeps."""
    return header.max_timestamp if header.records_count > 0 else -1


cdef Segment* segment_new(const char* directory, int64_t base_offset) noexcept nogil
cdef Segment* segment_acquire(Segment* segment) noexcept nogil
cdef void segment_unref(Segment* segment) noexcept nogil
# Open the files where needed and keep them open until segment_unpin.
cdef int segment_pin(Segment* segment) noexcept nogil
cdef void segment_unpin(Segment* segment) noexcept nogil
cdef int segment_map_indexes(Segment* segment) noexcept nogil       # pinned, closed segment
cdef int64_t segment_size(Segment* segment) noexcept nogil          # stats the file once; -1 on an error
# The header of the batch at `position`: 1 there, 0 no whole batch before `limit`, -errno. The segment must be pinned.
cdef void cursor_init(BatchCursor* cursor, Segment* segment, int64_t limit) noexcept nogil
cdef int cursor_header(BatchCursor* cursor, int64_t position, BatchHeader* header) noexcept nogil
cdef int segment_append_bytes(Segment* segment, const void* data, size_t size) noexcept nogil   # pinned
cdef int segment_index_batch(
    Segment* segment, int64_t last_offset, int64_t max_timestamp, int64_t position, int64_t size, int32_t interval_bytes
) noexcept nogil
cdef int segment_write_indexes(Segment* segment, bint exact) noexcept nogil
cdef void segment_seal_times(Segment* segment) noexcept nogil       # the last time entry; where others read, with segments_mutex
cdef int segment_close_indexes(Segment* segment) noexcept nogil     # last time entry, write, cut; then they are mapped on demand
# A segment that stops being active: its sealed tables serve from memory until segment_settle_indexes wrote them (with a
# crash before that, the indexes are missing, which the next map notices).
cdef void segment_retire(Segment* segment, bint indexes_written) noexcept nogil     # with segments_mutex
cdef int segment_settle_indexes(Segment* segment) noexcept nogil
cdef int segment_trim(Segment* segment) noexcept nogil              # gives back what preallocation left over
cdef int segment_flush(Segment* segment) noexcept nogil             # fdatasync of the .log
# Rename the folder of these segments; nobody opens a file of theirs meanwhile.
cdef int segments_rename_directory(Segment** segments, int32_t count, const char* old, const char* fresh) noexcept nogil
cdef void segment_rename_deleted(Segment* segment) noexcept nogil
cdef void segment_unlink_files(const char* directory, int64_t base_offset, bint renamed) noexcept nogil
# After an open() that failed with `error_number`: was it for want of descriptors, and was one freed, so that it may be tried
# again?
cdef bint segments_give_way(int error_number) noexcept nogil
