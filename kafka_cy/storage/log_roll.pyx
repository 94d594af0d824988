"""Rolling to a new active segment. Under the append mutex only the new file is created. A roll queues a flush, which writes
what the roll left in memory: the old segment's indexes and a snapshot of the producers."""
from libc.stdint cimport int64_t
from libc.stdlib cimport free, rand

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32
from kafka_cy.base.posix cimport ENOMEM, pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_flush cimport log_queue_flush
from kafka_cy.storage.log_producers cimport SnapshotBytes, encode_snapshot, write_snapshot
from kafka_cy.storage.log_segments cimport add_segment, new_active
from kafka_cy.storage.log_struct cimport ROLLED_MAX, Log, RolledSegment, active_segment, log_check_state
from kafka_cy.storage.segment cimport Segment, segment_acquire, segment_trim, segment_unlink_files, segment_unref
from kafka_cy.storage.segment_index cimport (
    segment_drop_partial_indexes, segment_retire, segment_seal_times, segment_write_indexes,
)
from kafka_cy.storage.storage_error cimport STORAGE_OK

cdef int log_roll(Log* log) noexcept nogil:
    cdef int error
    pthread_mutex_lock(&log.append_mutex)
    error = log_check_state(log)
    if not error and active_segment(log).size > 0:
        error = roll_locked(log, log.end_offset)
    pthread_mutex_unlock(&log.append_mutex)
    log_queue_flush(log)
    return error


cdef int roll_locked(Log* log, int64_t new_base) noexcept nogil:
    """The caller queues a flush after it releases the append mutex. Returns a StorageError."""
    cdef Segment* old = active_segment(log)
    cdef Segment* fresh = NULL
    cdef SnapshotBytes snapshot
    cdef int failed = 0
    if old.base_offset == new_base:
        return STORAGE_OK
    snapshot.data = NULL
    if old.size > 0:
        failed = encode_snapshot(log, &snapshot)
    if not failed:
        failed = new_active(log, new_base, &fresh)
    if not failed and old.size > 0:
        pthread_mutex_lock(&log.segments_mutex)     # the table may move while others search it
        segment_seal_times(old)
        pthread_mutex_unlock(&log.segments_mutex)
        if atomic_load_i32(&log.rolled_count) == ROLLED_MAX:    # the disk cannot keep up: make the appender wait
            failed = segment_write_indexes(old, True)
            if not failed:
                failed = write_snapshot(log, new_base, &snapshot)
            if not failed:
                failed = segment_trim(old)
        else:
            segment_drop_partial_indexes(old)
    if not failed:
        failed = swap_active(log, old, fresh, &snapshot)
    if failed:
        free(snapshot.data)
        if fresh != NULL:
            segment_unlink_files(&log.folder, new_base)
            segment_unref(fresh)
        return fail_log(log, failed)
    log.roll_random = rand()
    return STORAGE_OK


cdef int swap_active(Log* log, Segment* old, Segment* fresh, SnapshotBytes* snapshot) noexcept nogil:
    """Publish the new segment and retire the old one. 0 or an errno."""
    cdef RolledSegment* rolled
    cdef bint full
    pthread_mutex_lock(&log.segments_mutex)
    full = log.rolled_count == ROLLED_MAX
    if add_segment(log, fresh):
        pthread_mutex_unlock(&log.segments_mutex)
        return ENOMEM
    log.tail_count = 0
    if old.size == 0:                       # offsets jumped: the empty segment is not needed
        log.segments[log.segments_count - 2] = fresh
        log.segments_count -= 1
    else:
        log.snapshot_offset = fresh.base_offset
        segment_retire(old, full)
        if not full:
            rolled = &log.rolled[log.rolled_count]
            rolled.segment = segment_acquire(old)
            rolled.snapshot_offset = fresh.base_offset
            rolled.snapshot = snapshot.data
            rolled.snapshot_size = snapshot.size
            atomic_store_i32(&log.rolled_count, log.rolled_count + 1)
    pthread_mutex_unlock(&log.segments_mutex)
    if old.size == 0:
        segment_unlink_files(&log.folder, old.base_offset)
        segment_unref(old)
    elif full:
        free(snapshot.data)
    return 0
