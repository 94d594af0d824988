"""Flushing a log: what is on disk afterwards, and who is told. Never on a reactor."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove, memset

from kafka_cy.base.atomics cimport (
    atomic_add_i32, atomic_load_i32, atomic_load_i64, atomic_store_i32, atomic_store_i64, atomic_store_seq_i32,
    atomic_sub_i32,
)
from kafka_cy.base.clock cimport ticks_now, wall_clock_ms
from kafka_cy.base.histogram cimport Histogram, histogram_add_shared
from kafka_cy.base.posix cimport ENOENT, ENOMEM, pthread_mutex_lock, pthread_mutex_unlock, sync_path, usleep
from kafka_cy.storage.background cimport background_submit
from kafka_cy.storage.log_epochs cimport write_epochs
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_folder cimport NAME_TRIES_MAX, folder_name, folder_other_name
from kafka_cy.storage.log_lifetime cimport forget_rolled, log_ref, log_unref
from kafka_cy.storage.log_producers cimport SnapshotBytes, write_snapshot
from kafka_cy.storage.log_struct cimport LOG_ONLINE, FlushListener, Log, RolledSegment, log_check_state, segment_floor
from kafka_cy.storage.segment cimport Segment, segment_acquire, segment_flush, segment_trim, segment_unref, segments_give_way
from kafka_cy.storage.segment_index cimport segment_settle_indexes

cdef enum:
    FLUSH_YIELDS_MAX = 50       # how often a background flush lets others go first
    FLUSH_YIELD_US = 100

cdef Histogram flush_times          # ticks, of all logs of this process
memset(&flush_times, 0, sizeof(flush_times))


cdef Histogram* log_flush_times() noexcept nogil:
    return &flush_times


cdef int log_flush(Log* log) noexcept nogil:
    """Everything that was appended before the call is on disk after it. Appends go on meanwhile; the next flush takes them
    along (group commit). After a failed fsync the log goes offline: a retried fsync may report success for lost pages."""
    cdef int error
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    error = flush_and_notify(log)
    pthread_mutex_unlock(&log.flush_mutex)
    return error


cdef void log_queue_flush(Log* log) noexcept nogil:
    if atomic_add_i32(&log.flush_queued, 1) > 1:
        return
    if background_submit(flush_job, log_ref(log)) < 0:
        flush_job(log)


cdef void flush_job(void* context) noexcept nogil:
    cdef Log* log = <Log*>context
    cdef int32_t round
    # A log that is flushed without a pause would take the mutex again and again before the threads that wait for it.
    for round in range(FLUSH_YIELDS_MAX):  # no-cython-lint
        if atomic_load_i32(&log.flush_waiting) == 0:
            break
        usleep(FLUSH_YIELD_US)
    atomic_store_seq_i32(&log.flush_queued, 0)      # before the flush reads the end: a later append queues again
    pthread_mutex_lock(&log.flush_mutex)
    flush_and_notify(log)
    pthread_mutex_unlock(&log.flush_mutex)
    log_unref(log)


cdef int flush_and_notify(Log* log) noexcept nogil:
    """With the flush mutex."""
    cdef int64_t begun = ticks_now()
    cdef int error = log_check_state(log)
    cdef int failed
    if not error:
        failed = flush_locked(log)
        histogram_add_shared(&flush_times, ticks_now() - begun)
        if failed:
            error = fail_log(log, failed)
    log_tell_listener(log)
    return error


cdef void log_tell_listener(Log* log) noexcept nogil:
    """The call holds a reference to the listener, so that the listener can be removed without waiting for an fsync."""
    cdef FlushListener listener
    pthread_mutex_lock(&log.listener_mutex)
    listener = log.listener
    if listener.context != NULL and not listener.acquire(listener.context):
        listener.context = NULL
    pthread_mutex_unlock(&log.listener_mutex)
    if listener.context != NULL:
        listener.flushed(listener.context)


cdef void log_set_listener(Log* log, const FlushListener* listener) noexcept nogil:
    pthread_mutex_lock(&log.listener_mutex)
    log.listener = listener[0]
    pthread_mutex_unlock(&log.listener_mutex)


cdef void log_remove_listener(Log* log, void* context) noexcept nogil:
    pthread_mutex_lock(&log.listener_mutex)
    if log.listener.context == context:
        log.listener.context = NULL
    pthread_mutex_unlock(&log.listener_mutex)


cdef int flush_locked(Log* log) noexcept nogil:
    """0 or an errno. With the flush mutex."""
    cdef Segment** pending = NULL
    cdef int32_t count = 0
    cdef int32_t i
    cdef int64_t end_offset = 0
    cdef int failed = settle_rolled(log)
    if not failed:
        failed = collect_unflushed(log, &pending, &count, &end_offset)
    for i in range(count):
        if not failed:
            failed = segment_flush(pending[i])
        segment_unref(pending[i])
    free(pending)
    if not failed:
        failed = write_epochs(log)      # after `end_offset` was read: an epoch is known before its offsets are visible
    if not failed:
        failed = log_sync_names(log)
    if not failed and end_offset > atomic_load_i64(&log.flushed_offset):
        atomic_store_i64(&log.flushed_offset, end_offset)
    atomic_store_i64(&log.last_flush_ms, wall_clock_ms())
    return failed


cdef int collect_unflushed(Log* log, Segment*** out, int32_t* count, int64_t* end_offset) noexcept nogil:
    """References to the segments with data that is not on disk yet; 0 or an errno."""
    cdef int32_t first, i
    pthread_mutex_lock(&log.segments_mutex)
    end_offset[0] = log.end_offset
    first = segment_floor(log, log.flushed_offset)
    count[0] = log.segments_count - first if log.flushed_offset < log.end_offset else 0
    out[0] = <Segment**>malloc(<size_t>(count[0] + 1) * sizeof(Segment*))
    if out[0] == NULL:
        count[0] = 0
    for i in range(count[0]):
        out[0][i] = segment_acquire(log.segments[first + i])
    pthread_mutex_unlock(&log.segments_mutex)
    return 0 if out[0] != NULL else ENOMEM


cdef int write_rolled(Log* log, RolledSegment* rolled) noexcept nogil:
    """0 or an errno."""
    cdef SnapshotBytes snapshot
    cdef int failed = segment_settle_indexes(rolled.segment)
    snapshot.data = rolled.snapshot
    snapshot.size = rolled.snapshot_size
    if not failed:
        failed = write_snapshot(log, rolled.snapshot_offset, &snapshot)
    return failed if failed else segment_trim(rolled.segment)


cdef int settle_rolled(Log* log) noexcept nogil:
    """Write what rolls left in memory, oldest first; 0 or an errno. Call with the flush mutex."""
    cdef RolledSegment oldest
    cdef int failed = 0
    while atomic_load_i32(&log.rolled_count) > 0 and atomic_load_i32(&log.state) == LOG_ONLINE:
        oldest = log.rolled[0]      # only this thread removes from the queue
        failed = write_rolled(log, &oldest)
        if failed:
            return failed
        pthread_mutex_lock(&log.segments_mutex)
        memmove(&log.rolled[0], &log.rolled[1], <size_t>(log.rolled_count - 1) * sizeof(RolledSegment))
        atomic_store_i32(&log.rolled_count, log.rolled_count - 1)
        pthread_mutex_unlock(&log.segments_mutex)
        forget_rolled(&oldest)
        atomic_store_i32(&log.names_unsynced, 1)
    return 0


cdef int log_sync_names(Log* log) noexcept nogil:
    """fsync of the folder, if files were created or renamed: what the recovery point covers is found after a power cut."""
    cdef const char* directory = folder_name(&log.folder)
    cdef int failed = ENOENT
    cdef int i
    if not atomic_load_i32(&log.names_unsynced):
        return 0
    atomic_store_seq_i32(&log.names_unsynced, 0)    # before the fsync: a name that comes later is left for the next one
    for i in range(NAME_TRIES_MAX):         # no-cython-lint  the folder may be renamed meanwhile
        failed = sync_by_name(directory)
        if failed != ENOENT:
            break
        directory = folder_other_name(&log.folder, directory)
        if directory == NULL:
            break
    if failed:
        atomic_store_i32(&log.names_unsynced, 1)
    return failed


cdef int sync_by_name(const char* path) noexcept nogil:
    """fsync of a folder. If descriptors ran out, files of unused segments are closed. 0 or an errno."""
    cdef int failed = sync_path(path)
    while failed and segments_give_way(failed):
        failed = sync_path(path)
    return failed
