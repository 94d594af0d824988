"""The list of a log's segments: growing and shrinking it, taking references."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from kafka_cy.base.atomics cimport atomic_load_i64, atomic_store_i32, atomic_store_i64
from kafka_cy.base.posix cimport (
    ENOMEM, PATH_BYTES_MAX, cut_file, name_file, pthread_mutex_lock, pthread_mutex_unlock, reserve_file,
)
from kafka_cy.storage.log_folder cimport folder_name
from kafka_cy.storage.log_struct cimport Log, log_config
from kafka_cy.storage.segment cimport (
    Segment, segment_acquire, segment_new, segment_pin, segment_size, segment_unlink_files, segment_unpin, segment_unref,
)
from kafka_cy.storage.storage_error cimport STORAGE_NO_MEMORY, STORAGE_OK

cdef int add_segment(Log* log, Segment* segment) noexcept nogil:
    """Append to the list; with segments_mutex, or before the log is shared. 0 or an errno."""
    cdef Segment** grown
    cdef int32_t wanted
    if log.segments_count == log.segments_capacity:
        wanted = log.segments_capacity * 2 if log.segments_capacity else 2
        grown = <Segment**>realloc(log.segments, <size_t>wanted * sizeof(Segment*))
        if grown == NULL:
            return ENOMEM
        log.segments = grown
        log.segments_capacity = wanted
    log.segments[log.segments_count] = segment
    log.segments_count += 1
    return 0


cdef int new_active(Log* log, int64_t base_offset, Segment** out) noexcept nogil:
    """Create an empty segment and its file; not yet in the list. 0 or an errno."""
    cdef Segment* segment = segment_new(&log.folder, base_offset)
    cdef int failed
    if segment == NULL:
        return ENOMEM
    segment.active = True
    failed = segment_pin(segment)
    if not failed:
        if segment.size != 0:       # left under this name: its records are no part of the log
            failed = cut_file(segment.fd, 0)
            atomic_store_i64(&segment.size, 0)
        if not failed and log_config(log).preallocate:
            segment.preallocated = True
            failed = reserve_file(segment.fd, log_config(log).segment_bytes)
        segment_unpin(segment)
        if failed:
            segment_unlink_files(&log.folder, base_offset)
    if failed:
        segment_unref(segment)
        return failed
    atomic_store_i32(&log.names_unsynced, 1)
    out[0] = segment
    return 0


cdef Segment** take_from_list(Log* log, int32_t first, int32_t count) noexcept nogil:
    """With the flush and the append mutex. The list's references become the caller's. NULL without memory."""
    cdef Segment** taken = <Segment**>malloc(<size_t>(count + 1) * sizeof(Segment*))
    if taken == NULL:
        return NULL
    pthread_mutex_lock(&log.segments_mutex)
    memcpy(taken, log.segments + first, <size_t>count * sizeof(Segment*))
    memmove(log.segments + first, log.segments + first + count,
            <size_t>(log.segments_count - first - count) * sizeof(Segment*))
    log.segments_count -= count
    pthread_mutex_unlock(&log.segments_mutex)
    return taken


cdef Segment** log_acquire_segments(Log* log, int32_t* count) noexcept nogil:
    """A reference to each segment, by base offset; end with release_segments. NULL without memory."""
    cdef Segment** segments
    cdef int32_t i
    count[0] = 0
    pthread_mutex_lock(&log.segments_mutex)
    segments = <Segment**>malloc(<size_t>log.segments_count * sizeof(Segment*))
    if segments != NULL:
        count[0] = log.segments_count
        for i in range(log.segments_count):
            segments[i] = segment_acquire(log.segments[i])
    pthread_mutex_unlock(&log.segments_mutex)
    return segments


cdef void release_segments(Segment** segments, int32_t count) noexcept nogil:
    cdef int32_t i
    for i in range(count):
        segment_unref(segments[i])
    free(segments)


cdef int log_closed_segments(
    Log* log, int64_t end_offset, Segment*** segments, int32_t* count, int64_t* next_base
) noexcept nogil:
    count[0] = 0
    pthread_mutex_lock(&log.segments_mutex)
    segments[0] = <Segment**>malloc(<size_t>log.segments_count * sizeof(Segment*))
    if segments[0] != NULL:
        while count[0] < log.segments_count - 1 and log.segments[count[0]].base_offset < end_offset:
            segments[0][count[0]] = segment_acquire(log.segments[count[0]])
            count[0] += 1
        next_base[0] = log.segments[count[0]].base_offset
    pthread_mutex_unlock(&log.segments_mutex)
    return STORAGE_OK if segments[0] != NULL else STORAGE_NO_MEMORY


cdef int64_t log_size_bytes(Log* log) noexcept nogil:
    cdef int64_t total = 0
    cdef int64_t size
    cdef bint unknown = False
    cdef int32_t count = 0
    cdef int32_t i
    cdef Segment** segments
    pthread_mutex_lock(&log.segments_mutex)
    for i in range(log.segments_count):
        size = atomic_load_i64(&log.segments[i].size)
        total += max(size, 0)
        unknown = unknown or size < 0
    pthread_mutex_unlock(&log.segments_mutex)
    if not unknown:
        return total
    segments = log_acquire_segments(log, &count)    # once after a start: the files' sizes are read without the mutex
    if segments == NULL:
        return total
    total = 0
    for i in range(count):
        total += max(segment_size(segments[i]), 0)
    release_segments(segments, count)
    return total


cdef int64_t log_first_base_offset(Log* log) noexcept nogil:
    """Base offset of the oldest segment."""
    cdef int64_t base_offset
    pthread_mutex_lock(&log.segments_mutex)
    base_offset = log.segments[0].base_offset
    pthread_mutex_unlock(&log.segments_mutex)
    return base_offset


cdef void log_name_file(Log* log, int64_t base_offset, const char* suffix, char* path) noexcept nogil:
    """`path` has PATH_BYTES_MAX bytes. Without the append mutex the folder may be renamed at any moment."""
    name_file(path, PATH_BYTES_MAX, folder_name(&log.folder), base_offset, suffix)
