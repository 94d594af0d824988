"""What the cleaner asks of a log, and the swap of old segments for cleaned ones. The cleaner itself is cleaner.pyx."""
from libc.errno cimport errno
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free
from libc.string cimport memmove, memset

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64, atomic_sub_i32,
)
from kafka_cy.base.posix cimport (
    EIO, ENOENT, ENOMEM, PATH_BYTES_MAX, name_file, pthread_mutex_lock, pthread_mutex_unlock, unlink,
)
from kafka_cy.storage.log_failure cimport fail_log, fail_log_half_done
from kafka_cy.storage.log_files cimport retire_segment
from kafka_cy.storage.log_flush cimport log_sync_names, settle_rolled
from kafka_cy.storage.log_folder cimport LogFolder, folder_name, rename_in_folder
from kafka_cy.storage.log_producers cimport unlink_snapshot
from kafka_cy.storage.log_segments cimport log_closed_segments
from kafka_cy.storage.log_struct cimport Log, log_check_state, log_config, log_end_offset, log_start_offset, segment_floor
from kafka_cy.storage.log_timestamps cimport first_batch_timestamp, segment_max_timestamp
from kafka_cy.storage.segment cimport Segment, segment_new, segment_size, segment_unref
from kafka_cy.storage.storage_error cimport STORAGE_DELETED, STORAGE_IO_ERROR, STORAGE_OK
from kafka_cy.storage.transaction_index cimport (
    TransactionIndex, transactions_append, transactions_free, transactions_merge, transactions_truncate_start,
)

cdef int log_cleanable(Log* log, int64_t stable_offset, int64_t now_ms, Cleanable* cleanable) noexcept nogil:
    """Kafka's LogCleanerManager.cleanableOffsets and maxCompactionDelay, and LogToClean."""
    cdef Segment** segments = NULL
    cdef int64_t next_base = 0
    cdef int64_t earliest_ms = 0x7fffffffffffffff
    cdef int64_t end
    cdef int32_t count = 0
    cdef int32_t first, i
    cdef int64_t start_offset = log_start_offset(log)
    cdef int error = log_closed_segments(log, 0x7fffffffffffffff, &segments, &count, &next_base)
    memset(cleanable, 0, sizeof(Cleanable))
    if error:
        return error
    cleanable.first_dirty = atomic_load_i64(&log.cleaner_offset)
    if not start_offset <= cleanable.first_dirty <= log_end_offset(log):
        cleanable.first_dirty = start_offset
    first = count
    while first > 0 and segments[first - 1].base_offset > cleanable.first_dirty:
        first -= 1
    if first > 0:               # the dirty part begins in this one, or at the active segment
        end = segments[first].base_offset if first < count else next_base
        if cleanable.first_dirty < end:
            first -= 1
    # Stop at the active segment, at the segment with the last stable offset, or at the first segment that is too young.
    cleanable.first_uncleanable = next_base
    for i in range(count - 1, -1, -1):
        end = segments[i + 1].base_offset if i + 1 < count else next_base
        if end > stable_offset or (i >= first and is_too_young(log, segments[i], now_ms)):
            cleanable.first_uncleanable = segments[i].base_offset
    for i in range(first):
        cleanable.clean_bytes += bytes_of(segments[i])
    for i in range(first, count):
        add_segment_to(log, segments[i], now_ms, &earliest_ms, cleanable)
    if earliest_ms < now_ms - log_config(log).compaction_lag_max_ms:
        cleanable.overdue_ms = now_ms - log_config(log).compaction_lag_max_ms - earliest_ms
    for i in range(count):
        segment_unref(segments[i])
    free(segments)
    return STORAGE_OK


cdef void add_segment_to(Log* log, Segment* segment, int64_t now_ms, int64_t* earliest_ms, Cleanable* cleanable) noexcept nogil:
    cdef int64_t timestamp
    if segment.base_offset < cleanable.first_uncleanable:
        cleanable.dirty_bytes += bytes_of(segment)
    if log_config(log).compaction_lag_max_ms < <int64_t>0x7fffffffffffffff:
        timestamp = first_batch_timestamp(segment)
        if timestamp > 0:
            earliest_ms[0] = min(earliest_ms[0], timestamp)


cdef bint is_too_young(Log* log, Segment* segment, int64_t now_ms) noexcept nogil:
    """Also a segment of which it is unknown."""
    cdef int64_t lag_ms = log_config(log).compaction_lag_min_ms
    cdef int64_t latest_ms = segment_max_timestamp(log, segment) if lag_ms > 0 else 0
    return lag_ms > 0 and (latest_ms < 0 or latest_ms > now_ms - lag_ms)


cdef int64_t bytes_of(Segment* segment) noexcept nogil:
    cdef int64_t size = segment_size(segment)
    return size if size > 0 else 0


cdef int log_replace_segments(
    Log* log, Segment** replaced, int32_t count, const CleanedSegment* cleaned, int* failed_errno
) noexcept nogil:
    """With the flush mutex, no flush writes an index under the new segment's name, and no segment leaves the list. Appends and
    rolls go on: they touch the active segment only."""
    cdef int32_t first
    cdef int error
    cdef int failed
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    failed = settle_rolled(log)
    error = log_check_state(log)
    if not error and (failed or atomic_load_i32(&log.cleaning_held) > 0):
        error = STORAGE_DELETED                 # the next flush reports a failed flush
    if not error and atomic_load_i32(&log.truncations) != cleaned.truncations:
        error = STORAGE_DELETED                 # a later record of the same key may be gone
    if not error:
        first = find_replaced(log, replaced, count)
        if first < 0:
            error = STORAGE_DELETED
        else:
            failed_errno[0] = replace(log, replaced, count, cleaned, first)
            error = STORAGE_IO_ERROR if failed_errno[0] else STORAGE_OK
            if error and log_check_state(log) == STORAGE_DELETED:
                error = STORAGE_DELETED         # the topic was deleted meanwhile
    pthread_mutex_unlock(&log.flush_mutex)
    return error


cdef int32_t find_replaced(Log* log, Segment** replaced, int32_t count) noexcept nogil:
    """Index of the first of the segments in the list; -1 if retention, a truncation or a deletion removed any."""
    cdef int32_t first, i
    pthread_mutex_lock(&log.segments_mutex)
    first = segment_floor(log, replaced[0].base_offset)
    if first + count >= log.segments_count:     # the active segment is never replaced
        first = -1
    for i in range(count):
        if first >= 0 and log.segments[first + i] != replaced[i]:
            first = -1
    pthread_mutex_unlock(&log.segments_mutex)
    return first


cdef int replace(
    Log* log, Segment** replaced, int32_t count, const CleanedSegment* cleaned, int32_t first
) noexcept nogil:
    """0 or an errno. Call with the flush mutex. Once a .log.swap exists, the next start finishes an interrupted swap."""
    cdef TransactionIndex merged
    cdef int64_t last_marker = -1
    cdef Segment* segment = segment_new(&log.folder, cleaned.base_offset)
    cdef int32_t i
    cdef int failed
    if segment == NULL:
        return ENOMEM
    failed = merge_aborted(log, cleaned, &merged, &last_marker)
    if failed:
        segment_unref(segment)
        return failed
    segment.size = cleaned.size
    failed = name_swap(log, cleaned)
    if not failed:
        for i in range(count):
            if not failed:
                failed = retire_segment(replaced[i])
        if not failed:
            failed = name_swapped(log, cleaned)
        if not failed:
            failed = put_in_place(log, first, count, segment, &merged, last_marker)
        if failed:
            fail_log(log, EIO if failed == ENOMEM else failed)  # between two states: the next start repairs it
    if failed:
        transactions_free(&merged)
        segment_unref(segment)
        return failed
    for i in range(1, count):           # a snapshot belongs to the start of a segment
        unlink_snapshot(log, replaced[i].base_offset)
    for i in range(count):
        segment_unref(replaced[i])      # the list's reference; the caller has its own
    atomic_store_i32(&log.names_unsynced, 1)
    atomic_add_i32(&log.replacements, 1)
    return 0


cdef int merge_aborted(
    Log* log, const CleanedSegment* cleaned, TransactionIndex* merged, int64_t* last_marker
) noexcept nogil:
    """The index of aborted transactions with the cleaned segment's entries, and the marker of the last one that it knows."""
    cdef int failed
    pthread_mutex_lock(&log.segments_mutex)
    if log.aborted.count > 0:
        last_marker[0] = log.aborted.entries[log.aborted.count - 1].last_offset
    failed = transactions_merge(&log.aborted, cleaned.base_offset, cleaned.next_base, cleaned.aborted, merged)
    pthread_mutex_unlock(&log.segments_mutex)
    return ENOMEM if failed < 0 else 0


cdef int put_in_place(
    Log* log, int32_t first, int32_t count, Segment* segment, TransactionIndex* merged, int64_t last_marker
) noexcept nogil:
    """Later readers find the cleaned segment. `merged` gets the transactions that were aborted since it was made, and becomes
    the log's index. 0, or ENOMEM: nothing was changed."""
    cdef int32_t i
    cdef int failed = 0
    pthread_mutex_lock(&log.segments_mutex)
    for i in range(log.aborted.count):
        if not failed and log.aborted.entries[i].last_offset > last_marker:
            failed = transactions_append(merged, &log.aborted.entries[i])
    if failed:
        pthread_mutex_unlock(&log.segments_mutex)
        return ENOMEM
    transactions_truncate_start(merged, log.start_offset)
    log.segments[first] = segment
    memmove(log.segments + first + 1, log.segments + first + count,
            <size_t>(log.segments_count - first - count) * sizeof(Segment*))
    log.segments_count -= count - 1
    memset(log.reads, 0, sizeof(log.reads))
    transactions_free(&log.aborted)
    log.aborted = merged[0]
    pthread_mutex_unlock(&log.segments_mutex)
    return 0


cdef int name_swap(Log* log, const CleanedSegment* cleaned) noexcept nogil:
    """.cleaned to .swap. The log is renamed last: the next start takes over segments with a .log.swap. 0 or an errno."""
    cdef LogFolder* folder = &log.folder
    cdef int failed = rename_in_folder(folder, cleaned.base_offset, b".index.cleaned", b".index.swap")
    if not failed:
        failed = rename_in_folder(folder, cleaned.base_offset, b".timeindex.cleaned", b".timeindex.swap")
    if not failed and cleaned.aborted.count > 0:
        failed = rename_in_folder(folder, cleaned.base_offset, b".txnindex.cleaned", b".txnindex.swap")
    if not failed:
        failed = rename_in_folder(folder, cleaned.base_offset, b".log.cleaned", b".log.swap")
    if failed and unlink_swapped_indexes(log, cleaned.base_offset):
        fail_log_half_done(log, failed)     # the .log.cleaned stays: it tells the next start to remove them
    return failed


cdef int unlink_swapped_indexes(Log* log, int64_t base_offset) noexcept nogil:
    """The next start would put them in the place of the indexes of the segment that stays, also if a power cut brings them back
    when the .log.cleaned is gone. 0 or an errno."""
    cdef int failed = unlink_in_folder(&log.folder, base_offset, b".index.swap")
    if not failed:
        failed = unlink_in_folder(&log.folder, base_offset, b".timeindex.swap")
    if not failed:
        failed = unlink_in_folder(&log.folder, base_offset, b".txnindex.swap")
    if not failed:
        atomic_store_i32(&log.names_unsynced, 1)
        failed = log_sync_names(log)
    return failed


cdef int unlink_in_folder(const LogFolder* folder, int64_t base_offset, const char* suffix) noexcept nogil:
    """0 or an errno. A missing file is none: then the folder has another name, and is being removed."""
    cdef char path[PATH_BYTES_MAX]
    name_file(path, PATH_BYTES_MAX, folder_name(folder), base_offset, suffix)
    return errno if unlink(path) and errno != ENOENT else 0


cdef int name_swapped(Log* log, const CleanedSegment* cleaned) noexcept nogil:
    """.swap to the final names. 0 or an errno."""
    cdef LogFolder* folder = &log.folder
    cdef int failed = rename_in_folder(folder, cleaned.base_offset, b".log.swap", b".log")
    if not failed:
        failed = rename_in_folder(folder, cleaned.base_offset, b".index.swap", b".index")
    if not failed:
        failed = rename_in_folder(folder, cleaned.base_offset, b".timeindex.swap", b".timeindex")
    if not failed and cleaned.aborted.count > 0:
        failed = rename_in_folder(folder, cleaned.base_offset, b".txnindex.swap", b".txnindex")
    return failed


cdef void log_set_cleaned(Log* log, int64_t end_offset, int32_t truncations) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    if atomic_load_i32(&log.truncations) == truncations:
        atomic_store_i64(&log.cleaner_offset, end_offset)
    pthread_mutex_unlock(&log.append_mutex)
