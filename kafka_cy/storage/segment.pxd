"""One segment: a .log file with its offset and time index. See segment.pyx. Functions that can fail return 0 or an
errno."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.posix cimport pthread_mutex_t
from kafka_cy.storage.index_table cimport IndexTable
from kafka_cy.storage.log_folder cimport LogFolder

# Purpose: one segment's files.
# Lifetime: `references` counts the log and every reader; the last one closes and frees it. `folder` belongs to the
#   log.
# Threads: fields below "appender" are written by the log's appender only (append mutex). Others read them only for
#   closed segments, or under the log's segments_mutex. `pins` counts users of `fd` and the mapped indexes: -1 closed.
# Locks: the segment's files_mutex: one thread at a time opens its files, maps, repairs or writes its indexes, or
#   renames its files. It is held over that I/O. A thread that has the files pinned and the indexes mapped does not need
#   it.
# Limits: open descriptors of the whole process are bounded (open_max): unpinned ones are closed in clock order.
cdef struct Segment:
    int32_t references          # (a)
    int64_t pins                # (a) -1: the files are not open
    int32_t fd
    int32_t recently_used       # (a) the clock's second chance
    pthread_mutex_t files_mutex
    LogFolder* folder
    int64_t base_offset
    int64_t size                # (a) -1: not checked yet
    int32_t active              # (a) indexes are in memory and may grow
    int32_t indexes_mapped      # (a) closed segment: the tables equal the files and are freed with the descriptor
    int32_t indexes_unwritten   # (a) closed segment: only the tables in memory exist; the log's next flush writes them
    int32_t aborted_synced      # (a) all entries of its index of aborted transactions, if it has one, are on disk
    int32_t deleted             # (a) renamed to .deleted
    bint preallocated           # the file may be preallocated beyond `bytes`
    Segment* next               # ring of open segments
    Segment* previous
    # appender
    int64_t created_ms
    int64_t first_timestamp     # max timestamp of the first batch, -1 none: time-based rolling counts from it, else created_ms
    int64_t max_timestamp       # -1 none
    int64_t max_timestamp_offset
    int64_t bytes_since_index
    IndexTable offsets
    IndexTable times

cdef Segment* segment_new(LogFolder* folder, int64_t base_offset) noexcept nogil
cdef Segment* segment_acquire(Segment* segment) noexcept nogil
cdef void segment_unref(Segment* segment) noexcept nogil
# Open the files if needed and keep them open until segment_unpin.
cdef int segment_pin(Segment* segment) noexcept nogil
cdef void segment_unpin(Segment* segment) noexcept nogil
cdef int64_t segment_size(Segment* segment) noexcept nogil          # checks the file once; -1 on an error
cdef int segment_append_bytes(Segment* segment, const void* data, size_t size) noexcept nogil   # pinned
cdef int segment_trim(Segment* segment) noexcept nogil              # releases unused preallocated space
cdef int segment_flush(Segment* segment) noexcept nogil             # fdatasync of the .log
cdef void segment_rename_deleted(Segment* segment) noexcept nogil
cdef void segment_unlink_files(const LogFolder* folder, int64_t base_offset) noexcept nogil
# Call after an open() that failed with `error_number`: returns True if descriptors ran out and one was freed, so a
# retry may succeed.
cdef bint segments_give_way(int error_number) noexcept nogil
# pread of exactly `size` bytes of a pinned segment. STORAGE_OK or STORAGE_IO_ERROR.
cdef int segment_read(Segment* segment, int64_t position, uint8_t* buffer, size_t size) noexcept nogil
cdef void segment_release(Segment* segment) noexcept nogil          # unpins, and gives the reference back
