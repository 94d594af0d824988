"""Removing the oldest records of a log: DeleteRecords, and segments by age, size and log start offset."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_load_i32, atomic_store_i64, atomic_sub_i32
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.storage.leader_epochs cimport epochs_truncate_start
from kafka_cy.storage.log_epochs cimport write_epochs
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_files cimport retire_segment, snapshots_delete_below
from kafka_cy.storage.log_flush cimport log_queue_flush, log_tell_listener
from kafka_cy.storage.log_folder cimport folder_name
from kafka_cy.storage.log_roll cimport roll_locked
from kafka_cy.storage.log_segments cimport log_acquire_segments, log_first_base_offset, release_segments, take_from_list
from kafka_cy.storage.log_struct cimport (
    Log, LogConfig, log_check_appendable, log_check_state, log_config, log_end_offset, log_start_offset,
)
from kafka_cy.storage.log_timestamps cimport segment_max_timestamp
from kafka_cy.storage.segment cimport Segment, segment_size
from kafka_cy.storage.storage_error cimport STORAGE_NO_MEMORY, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK
from kafka_cy.storage.transaction_index cimport transactions_truncate_start

cdef int log_delete_records(Log* log, int64_t offset) noexcept nogil:
    """The caller checked `offset` against the high watermark. The next retention check removes the segments below it."""
    cdef int error
    pthread_mutex_lock(&log.append_mutex)
    error = log_check_appendable(log)
    if not error and offset > log.end_offset:
        error = STORAGE_OFFSET_OUT_OF_RANGE
    if not error and offset > log.start_offset:
        raise_start(log, offset)
    pthread_mutex_unlock(&log.append_mutex)
    if not error:
        log_tell_listener(log)      # fetch sessions tell their clients of the new start
    return error


cdef void raise_start(Log* log, int64_t offset) noexcept nogil:
    """With the append mutex."""
    pthread_mutex_lock(&log.segments_mutex)
    atomic_store_i64(&log.start_offset, offset)
    epochs_truncate_start(&log.epochs, offset)
    transactions_truncate_start(&log.aborted, offset)
    pthread_mutex_unlock(&log.segments_mutex)


cdef int log_delete_old_segments(Log* log, int64_t high_watermark, int64_t now_ms, int32_t* deleted) noexcept nogil:
    """Files are read and renamed with the flush mutex only: appends go on."""
    cdef Segment** segments
    cdef Segment** taken = NULL
    cdef int32_t count = 0
    cdef int32_t i
    cdef int64_t end_offset
    cdef int error
    cdef int failed = 0
    deleted[0] = 0
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    end_offset = log_end_offset(log)    # before the list: a segment that is added later is not counted
    segments = log_acquire_segments(log, &count)
    error = log_check_state(log) if segments != NULL else STORAGE_NO_MEMORY
    if not error:
        i = count_deletable(log, segments, count, end_offset, high_watermark, now_ms)
        if i > 0:
            pthread_mutex_lock(&log.append_mutex)
            error = retire_oldest(log, i, end_offset, &taken, deleted)
            pthread_mutex_unlock(&log.append_mutex)
    for i in range(deleted[0]):     # the oldest first: a crash leaves no hole
        if not failed:
            failed = retire_segment(taken[i])
    if failed:
        error = fail_log(log, failed)
    elif deleted[0] > 0:
        # A snapshot that cannot be removed is harmless: the start reads newer ones first. The next check tries again.
        snapshots_delete_below(folder_name(&log.folder), log_first_base_offset(log))
        failed = write_epochs(log)
        if failed:
            error = fail_log(log, failed)
    pthread_mutex_unlock(&log.flush_mutex)
    release_segments(taken, deleted[0])
    release_segments(segments, count)
    if deleted[0] > 0:
        log_tell_listener(log)
    if atomic_load_i32(&log.rolled_count) > 0:
        log_queue_flush(log)
    return error


cdef int32_t count_deletable(
    Log* log, Segment** segments, int32_t count, int64_t end_offset, int64_t high_watermark, int64_t now_ms
) noexcept nogil:
    """How many of the oldest segments may be removed: by log start offset, and with cleanup.policy=delete by age and size.
    `end_offset`: the end of the last one."""
    cdef LogConfig config = log_config(log)
    cdef int64_t excess = -config.retention_bytes
    cdef int64_t size
    cdef int64_t end
    cdef int64_t latest_ms
    cdef int32_t i = 0
    cdef int32_t j
    cdef bint active
    cdef bint deletable
    if config.cleanup_delete and config.retention_bytes >= 0:
        for j in range(count):
            excess += max(segment_size(segments[j]), 0)
    while i < count:
        active = atomic_load_i32(&segments[i].active)
        end = segments[i + 1].base_offset if i + 1 < count else end_offset
        size = segment_size(segments[i])
        if end > high_watermark or (active and size == 0):
            break
        deletable = end <= log_start_offset(log) and not active
        if not deletable and config.cleanup_delete and config.retention_ms >= 0:
            latest_ms = segment_max_timestamp(log, segments[i])
            deletable = latest_ms >= 0 and now_ms - latest_ms > config.retention_ms
        if not deletable and config.cleanup_delete and config.retention_bytes >= 0 and excess - size >= 0:
            deletable = True
        if not deletable:
            break
        excess -= size
        i += 1
    return i


cdef int retire_oldest(Log* log, int32_t count, int64_t end_offset, Segment*** taken, int32_t* taken_count) noexcept nogil:
    """With the append mutex: remove the oldest segments from the list. A StorageError. `end_offset`: the log's end when they
    were counted. The segment that was active then stays if it has grown since, even if it was rolled afterwards."""
    cdef int error = log_check_state(log)
    if error:
        return error
    if count == log.segments_count:
        if log.end_offset != end_offset:
            count -= 1
        else:
            error = roll_locked(log, end_offset)            # the active segment is removed as well
    elif log.segments[count].base_offset > end_offset:
        count -= 1
    if error or count <= 0:
        return error
    if log.segments[count].base_offset > log.start_offset:
        raise_start(log, log.segments[count].base_offset)
    taken[0] = take_from_list(log, 0, count)
    taken_count[0] = count if taken[0] != NULL else 0
    return STORAGE_OK if taken[0] != NULL else STORAGE_NO_MEMORY
