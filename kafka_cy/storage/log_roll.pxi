# Rolling to a new active segment. Under the append mutex only the new file is created. A roll queues a flush, which
# writes what the roll left in memory: the old segment's indexes and a snapshot of the producers.

cdef struct SnapshotBytes:
    uint8_t* data
    size_t size


cdef int encode_snapshot(Log* log, SnapshotBytes* out) noexcept nogil:
    """Copy the current producers, malloc'ed, for write_snapshot; 0 or an errno. Call with the append mutex."""
    cdef Writer output
    writer_init(&output, SNAPSHOT_BYTES_MAX)
    producers_copy_snapshot(&log.producers, &output)
    if output.error:
        writer_free(&output)
        return ENOMEM
    out.data = output.data
    out.size = output.size
    return 0


cdef int write_file(const char* path, SnapshotBytes* content) noexcept nogil:
    cdef int failed
    cdef int fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC)
    while fd < 0 and segments_give_way(-fd):
        fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC)
    if fd < 0:
        return -fd
    failed = write_whole(fd, content.data, content.size, 0)
    close(fd)
    return failed


cdef int write_snapshot(Log* log, int64_t offset, SnapshotBytes* content) noexcept nogil:
    """Write the producers as of `offset`; 0 or an errno. The CRC detects a torn file."""
    cdef char path[PATH_BYTES_MAX]
    cdef const char* name = folder_name(&log.folder)
    cdef int failed = ENOENT
    cdef int i
    snapshot_finish(content.data, content.size)
    for i in range(NAME_TRIES_MAX):         # no-cython-lint  the folder may be renamed meanwhile
        name_file(path, PATH_BYTES_MAX, name, offset, b".snapshot")
        failed = write_file(path, content)
        if failed != ENOENT:
            break
        name = folder_other_name(&log.folder, name)
        if name == NULL:
            break
    return failed


cdef int write_rolled(Log* log, RolledSegment* rolled) noexcept nogil:
    """0 or an errno."""
    cdef SnapshotBytes snapshot
    cdef int failed = segment_settle_indexes(rolled.segment)
    snapshot.data = rolled.snapshot
    snapshot.size = rolled.snapshot_size
    if not failed:
        failed = write_snapshot(log, rolled.snapshot_offset, &snapshot)
    return failed if failed else segment_trim(rolled.segment)


cdef void forget_rolled(RolledSegment* rolled) noexcept nogil:
    segment_unref(rolled.segment)
    free(rolled.snapshot)


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
    choose_jitter(log)
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
