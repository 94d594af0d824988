"""One segment: a .log file with its offset and time index; behaviour in segment.pyx. What can fail returns 0 or an errno."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.storage.index_table cimport IndexTable
from kafka_cy.storage.log_folder cimport LogFolder

# Purpose: one segment's files.
# Lifetime: `references` counts the log and every reader; the last one closes and frees it. `folder` belongs to the log.
# Threads: fields below "appender" are written by the log's appender only (append mutex), and read by others only for
#   closed segments, or under the log's segments_mutex. `pins` counts users of `fd` and the mapped indexes: -1 closed.
# Locks: files_mutex of the segment: its files are opened, its indexes mapped, repaired or written, its files renamed by one
#   thread at a time. It is held over that I/O; a thread that has the files pinned and the indexes mapped does not need it.
# Limits: open descriptors of the whole process are bounded (open_max): unpinned ones are closed in clock order.
cdef struct Segment:
    int32_t references          # (a)
    int64_t pins                # (a) -1: the files are not open
    int32_t fd
    int32_t recently_used       # (a) the clock's second chance
    pthread_mutex_t files_mutex
    LogFolder* folder
    int64_t base_offset
    int64_t size                # (a) -1: not looked at yet
    int32_t active              # (a) indexes are in memory and may grow
    int32_t indexes_mapped      # (a) closed segment: the tables equal the files and go when the descriptor goes
    int32_t indexes_unwritten   # (a) closed segment: the tables in memory are all there is; its log's next flush writes them
    int32_t deleted             # (a) renamed to .deleted
    bint preallocated           # the file may have more room than bytes
    Segment* next               # ring of open segments
    Segment* previous
    # appender
    int64_t created_ms
    int64_t first_timestamp     # max timestamp of the first batch, -1 none: what time-based rolling counts from, else created_ms
    int64_t max_timestamp       # -1 none
    int64_t max_timestamp_offset
    int64_t bytes_since_index
    IndexTable offsets
    IndexTable times

cdef Segment* segment_new(LogFolder* folder, int64_t base_offset) noexcept nogil
cdef Segment* segment_acquire(Segment* segment) noexcept nogil
cdef void segment_unref(Segment* segment) noexcept nogil
# Open the files where needed and keep them open until segment_unpin.
cdef int segment_pin(Segment* segment) noexcept nogil
cdef void segment_unpin(Segment* segment) noexcept nogil
cdef int64_t segment_size(Segment* segment) noexcept nogil          # looks at the file once; -1 on an error
cdef int segment_append_bytes(Segment* segment, const void* data, size_t size) noexcept nogil   # pinned
cdef int segment_trim(Segment* segment) noexcept nogil              # gives back what preallocation left over
cdef int segment_flush(Segment* segment) noexcept nogil             # fdatasync of the .log
cdef void segment_rename_deleted(Segment* segment) noexcept nogil
cdef void segment_unlink_files(const LogFolder* folder, int64_t base_offset) noexcept nogil
# After an open() that failed with `error_number`: was it for want of descriptors, and was one freed, so that it may be tried
# again?
cdef bint segments_give_way(int error_number) noexcept nogil
