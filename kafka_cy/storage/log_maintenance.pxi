# Flush, truncation, deletion, configuration, closing. Never on a reactor.

cdef enum:
    FLUSH_YIELDS_MAX = 50       # how often a background flush lets others go first
    FLUSH_YIELD_US = 100

cdef Log* log_ref(Log* log) noexcept nogil:
    atomic_add_i32(&log.references, 1)
    return log


cdef void log_unref(Log* log) noexcept nogil:
    cdef int32_t i
    if atomic_sub_i32(&log.references, 1) > 0:
        return
    for i in range(log.segments_count):
        segment_unref(log.segments[i])
    for i in range(log.retired_configs_count):
        free(log.retired_configs[i])
    free(log.retired_configs)
    free(log.config)
    for i in range(log.rolled_count):
        forget_rolled(&log.rolled[i])
    free(log.segments)
    free(<void*>log.folder.name)
    free_former_names(log)
    producers_clear(&log.producers)
    epochs_free(&log.epochs)
    transactions_free(&log.aborted)
    pthread_mutex_destroy(&log.append_mutex)
    pthread_mutex_destroy(&log.segments_mutex)
    pthread_mutex_destroy(&log.flush_mutex)
    pthread_mutex_destroy(&log.listener_mutex)
    free(log)


cdef int collect_unflushed(Log* log, Segment*** out, int32_t* count, int64_t* end_offset) noexcept nogil:
    """References to the segments that hold what is not on disk yet; 0 or an errno."""
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


cdef int sync_by_name(const char* path) noexcept nogil:
    """fsync of a file or folder; where descriptors ran out, segments give way. 0 or an errno."""
    cdef int failed = sync_path(path)
    while failed and segments_give_way(failed):
        failed = sync_path(path)
    return failed


cdef int sync_names(Log* log) noexcept nogil:
    """New files and the epochs' file, where there are any: what the recovery point stands for is found after a power cut."""
    cdef const char* directory = folder_name(&log.folder)
    cdef int failed = ENOENT
    cdef int i
    if not atomic_load_i32(&log.names_unsynced) and not atomic_load_i32(&log.epochs_unsynced):
        return 0
    for i in range(NAME_TRIES_MAX):         # no-cython-lint  the folder may be renamed meanwhile
        failed = sync_names_in(log, directory)
        if failed != ENOENT:
            break
        directory = folder_other_name(&log.folder, directory)
        if directory == NULL:
            break
    return failed


cdef int sync_names_in(Log* log, const char* directory) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int failed = 0
    if atomic_load_i32(&log.epochs_unsynced):
        atomic_store_seq_i32(&log.epochs_unsynced, 0)
        join_path(path, PATH_BYTES_MAX, directory, b"leader-epoch-checkpoint")
        failed = sync_by_name(path)
        if failed:
            atomic_store_i32(&log.epochs_unsynced, 1)
    if not failed:
        atomic_store_seq_i32(&log.names_unsynced, 0)
        failed = sync_by_name(directory)
        if failed:
            atomic_store_i32(&log.names_unsynced, 1)
    return failed


cdef Histogram flush_times          # ticks, of all logs of this process
memset(&flush_times, 0, sizeof(flush_times))


cdef Histogram* log_flush_times() noexcept nogil:
    return &flush_times


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
        failed = sync_names(log)
    if not failed and end_offset > atomic_load_i64(&log.flushed_offset):
        atomic_store_i64(&log.flushed_offset, end_offset)
    atomic_store_i64(&log.last_flush_ms, wall_clock_ms())
    return failed


cdef int log_flush(Log* log) noexcept nogil:
    """All that was appended before the call is on disk after it. Appends go on meanwhile: that is the group commit. After a
    failed sync nobody knows what is on disk, and a retried fsync may report success for lost pages: the log goes offline."""
    cdef int error
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    error = flush_and_notify(log)
    pthread_mutex_unlock(&log.flush_mutex)
    return error


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
    notify_flushed(log)
    return error


cdef void notify_flushed(Log* log) noexcept nogil:
    """The listener gets a reference for the call, so that it can be taken away without waiting for an fsync."""
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


cdef void log_take_counts(Log* log, Log* from_log) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    counter_add(&log.batches_in, from_log.batches_in - log.batches_in)
    counter_add(&log.messages_in, from_log.messages_in - log.messages_in)
    counter_add(&log.bytes_in, from_log.bytes_in - log.bytes_in)
    pthread_mutex_unlock(&log.append_mutex)


cdef void log_queue_flush(Log* log) noexcept nogil:
    if atomic_add_i32(&log.flush_queued, 1) > 1:
        return
    if background_submit(flush_job, log_ref(log)) < 0:
        flush_job(log)


cdef int log_roll(Log* log) noexcept nogil:
    cdef int error
    pthread_mutex_lock(&log.append_mutex)
    error = log_check_state(log)
    if not error and active_segment(log).size > 0:
        error = roll_locked(log, log.end_offset)
    pthread_mutex_unlock(&log.append_mutex)
    log_queue_flush(log)
    return error


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
    segments = log_acquire_segments(log, &count)    # once after a start: files are looked at, without the mutex
    if segments == NULL:
        return total
    total = 0
    for i in range(count):
        total += max(segment_size(segments[i]), 0)
    release_segments(segments, count)
    return total


cdef int log_delete_records(Log* log, int64_t offset) noexcept nogil:
    """The caller checked `offset` against the high watermark. Segments wholly below go at the next retention check."""
    cdef int error
    pthread_mutex_lock(&log.append_mutex)
    error = log_check_appendable(log)
    if not error and offset > log.end_offset:
        error = STORAGE_OFFSET_OUT_OF_RANGE
    if not error and offset > log.start_offset:
        raise_start(log, offset)
    pthread_mutex_unlock(&log.append_mutex)
    return error


cdef void raise_start(Log* log, int64_t offset) noexcept nogil:
    """With the append mutex."""
    pthread_mutex_lock(&log.segments_mutex)
    atomic_store_i64(&log.start_offset, offset)
    epochs_truncate_start(&log.epochs, offset)
    transactions_truncate_start(&log.aborted, offset)
    pthread_mutex_unlock(&log.segments_mutex)


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


cdef int64_t segment_max_timestamp(Log* log, Segment* segment) noexcept nogil:
    """What time-based retention counts from: the largest timestamp, else the file's last change."""
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t max_timestamp = -1
    cdef int64_t position = 0
    if segment_pin(segment) == 0:
        time_bounds(log, segment, 0, &max_timestamp, &position)
        segment_unpin(segment)
    if max_timestamp >= 0:
        return max_timestamp
    log_name_file(log, segment.base_offset, b".log", path)
    return modified_ms_of_file(path)


cdef int32_t count_deletable(
    Log* log, Segment** segments, int32_t count, int64_t end_offset, int64_t high_watermark, int64_t now_ms
) noexcept nogil:
    """How many of the oldest segments are over: by log start offset, and with cleanup.policy=delete by time and bytes.
    `end_offset`: where the last one ends."""
    cdef const LogConfig* config = log_config(log)
    cdef int64_t excess = -config.retention_bytes
    cdef int64_t size
    cdef int64_t end
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
            deletable = now_ms - segment_max_timestamp(log, segments[i]) > config.retention_ms
        if not deletable and config.cleanup_delete and config.retention_bytes >= 0 and excess - size >= 0:
            deletable = True
        if not deletable:
            break
        excess -= size
        i += 1
    return i


cdef int retire_oldest(Log* log, int32_t count, int64_t end_offset, Segment*** taken, int32_t* taken_count) noexcept nogil:
    """With the append mutex: the oldest segments leave the list. A StorageError. `end_offset`: of the log when they were
    counted; the segment that was active then stays when it has grown since, also when it was rolled afterwards."""
    cdef int error = log_check_state(log)
    if error:
        return error
    if count == log.segments_count:
        if log.end_offset != end_offset:
            count -= 1
        else:
            error = roll_locked(log, end_offset)            # the active segment is over as well
    elif log.segments[count].base_offset > end_offset:
        count -= 1
    if error or count <= 0:
        return error
    if log.segments[count].base_offset > log.start_offset:
        raise_start(log, log.segments[count].base_offset)
    taken[0] = take_from_list(log, 0, count)
    taken_count[0] = count if taken[0] != NULL else 0
    return STORAGE_OK if taken[0] != NULL else STORAGE_NO_MEMORY


cdef int log_delete_old_segments(Log* log, int64_t high_watermark, int64_t now_ms, int32_t* deleted) noexcept nogil:
    """Files are looked at and renamed with the flush mutex only: appends go on."""
    cdef Segment** segments
    cdef Segment** taken = NULL
    cdef int32_t count = 0
    cdef int32_t i
    cdef int64_t end_offset
    cdef int error
    deleted[0] = 0
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    end_offset = log_end_offset(log)    # before the list: a segment that is added after this look is not counted
    segments = log_acquire_segments(log, &count)
    error = log_check_state(log) if segments != NULL else STORAGE_NO_MEMORY
    if not error:
        i = count_deletable(log, segments, count, end_offset, high_watermark, now_ms)
        if i > 0:
            pthread_mutex_lock(&log.append_mutex)
            error = retire_oldest(log, i, end_offset, &taken, deleted)
            pthread_mutex_unlock(&log.append_mutex)
    for i in range(deleted[0]):
        segment_rename_deleted(taken[i])
    if deleted[0] > 0:
        snapshots_delete_below(folder_name(&log.folder), log_first_base_offset(log))
    pthread_mutex_unlock(&log.flush_mutex)
    release_segments(taken, deleted[0])
    release_segments(segments, count)
    if atomic_load_i32(&log.rolled_count) > 0:
        log_queue_flush(log)
    return error


# -- truncation: with the flush and the append mutex. Files are cut and scanned without the segments mutex: readers go on --

cdef void hide_from(Log* log, Segment* cut, int64_t offset, int64_t position) noexcept nogil:
    """Readers see the end first: nobody looks at what will be cut off. `position`: where the active segment is cut, if it is."""
    pthread_mutex_lock(&log.segments_mutex)
    if atomic_load_i32(&cut.active):
        atomic_store_i64(&cut.size, position)
    log.tail_count = 0
    memset(log.reads, 0, sizeof(log.reads))
    epochs_truncate_end(&log.epochs, offset)
    atomic_store_i64(&log.flushed_offset, min(log.flushed_offset, offset))
    atomic_store_i64(&log.start_offset, min(log.start_offset, offset))
    atomic_store_i64(&log.end_offset, offset)
    pthread_mutex_unlock(&log.segments_mutex)


cdef int scan_cut(Log* log, Segment* segment, int64_t offset, TransactionIndex* aborted, LeaderEpochs* epochs) noexcept nogil:
    """Rebuild a cut, pinned segment that nobody knows yet; 0 or an errno. The index of aborted transactions and the epochs are
    copies, which the caller frees."""
    cdef Listing listing
    cdef int64_t unused = 0
    cdef bint was_cut = False
    cdef int failed = listing_read(&listing, log.folder.name)
    if failed:
        return failed
    if transactions_copy_below(&log.aborted, segment.base_offset, aborted) < 0 or epochs_copy(&log.epochs, epochs) < 0:
        failed = ENOMEM
    if not failed:
        failed = rebuild_segment(log, segment, offset, &listing, aborted, epochs, &unused, &was_cut)
    listing_free(&listing)
    return failed


cdef void put_cut_in_place(
    Log* log, Segment* segment, int32_t kept, TransactionIndex* aborted, LeaderEpochs* epochs
) noexcept nogil:
    """`segment` becomes the active one, after `kept` others. The old index and epochs are in the copies afterwards."""
    cdef TransactionIndex old_aborted = log.aborted
    cdef LeaderEpochs old_epochs = log.epochs
    pthread_mutex_lock(&log.segments_mutex)
    log.segments[kept] = segment
    log.segments_count = kept + 1
    log.aborted = aborted[0]
    log.epochs = epochs[0]
    atomic_store_i64(&log.first_unreplicated, producers_first_unreplicated(&log.producers))
    atomic_store_i64(&log.first_unstable, log.producers.first_unstable)
    pthread_mutex_unlock(&log.segments_mutex)
    aborted[0] = old_aborted
    epochs[0] = old_epochs


cdef int cut_segment(Log* log, Segment* segment, int32_t kept, int64_t offset, int64_t position) noexcept nogil:
    """0 or an errno. `segment` is a fresh one for the file of segments[kept]: readers of the old one keep its maps."""
    cdef TransactionIndex aborted
    cdef LeaderEpochs epochs
    cdef Segment* old = log.segments[kept]
    cdef int32_t i
    cdef int failed = 0
    memset(&aborted, 0, sizeof(TransactionIndex))
    memset(&epochs, 0, sizeof(LeaderEpochs))
    hide_from(log, old, offset, position)
    for i in range(log.segments_count - 1, kept, -1):       # the last one first: a crash leaves no hole
        segment_rename_deleted(log.segments[i])
    snapshots_delete_above(log.folder.name, offset)
    if position < segment.size:
        failed = cut_file(segment.fd, position)
        segment.size = position
    if not failed:
        failed = scan_cut(log, segment, offset, &aborted, &epochs)
    if not failed:
        for i in range(kept + 1, log.segments_count):
            segment_unref(log.segments[i])
        put_cut_in_place(log, segment_acquire(segment), kept, &aborted, &epochs)
        segment_unref(old)
        write_epochs(log)
    transactions_free(&aborted)
    epochs_free(&epochs)
    return EIO if failed == ENOMEM else failed      # half way there is no going on: the log goes offline


cdef int truncate_locked(Log* log, int64_t offset) noexcept nogil:
    """Cut behind the last batch that ends below `offset`. The log ends at `offset`, whatever a cleaner has left below it, as in
    UnifiedLog.truncateTo. 0 or an errno."""
    cdef int32_t kept = segment_floor(log, offset)
    cdef BatchCursor cursor
    cdef Segment* segment
    cdef int64_t position
    cdef int failed
    if log.segments[kept].base_offset == offset:
        kept -= 1
    segment = segment_new(&log.folder, log.segments[kept].base_offset)
    if segment == NULL:
        return ENOMEM
    failed = segment_pin(segment)
    if not failed:
        cursor_init(&cursor, segment, segment.size)
        position = scan_to_offset(&cursor, 0, offset)
        failed = <int>-position if position < 0 else 0
        if not failed:
            forget_cleaned(log, offset)
            failed = cut_segment(log, segment, kept, offset, position)
        segment_unpin(segment)
    segment_unref(segment)
    return failed


cdef int truncate_fully_locked(Log* log, int64_t new_start) noexcept nogil:
    """0 or an errno."""
    cdef Segment* fresh = NULL
    cdef int32_t count = log.segments_count
    cdef int32_t i
    cdef int failed
    cdef Segment** old = <Segment**>malloc(<size_t>count * sizeof(Segment*))
    if old == NULL:
        return ENOMEM
    forget_cleaned(log, -1)
    for i in range(count - 1, -1, -1):      # the last one first: a crash leaves no hole
        segment_rename_deleted(log.segments[i])
    snapshots_delete_above(log.folder.name, -1)
    producers_clear(&log.producers)
    log.snapshot_offset = -1
    failed = new_active(log, new_start, &fresh)
    if failed:
        free(old)
        return EIO if failed == ENOMEM else failed  # half way there is no going on: the log goes offline
    atomic_store_i64(&fresh.size, 0)
    memcpy(old, log.segments, <size_t>count * sizeof(Segment*))
    pthread_mutex_lock(&log.segments_mutex)
    log.segments[0] = fresh
    log.segments_count = 1
    epochs_truncate_end(&log.epochs, 0)
    transactions_truncate_end(&log.aborted, 0)
    log.tail_count = 0
    memset(log.reads, 0, sizeof(log.reads))
    atomic_store_i64(&log.start_offset, new_start)
    atomic_store_i64(&log.flushed_offset, new_start)
    atomic_store_i64(&log.end_offset, new_start)
    atomic_store_i64(&log.first_unreplicated, -1)
    atomic_store_i64(&log.first_unstable, -1)
    pthread_mutex_unlock(&log.segments_mutex)
    release_segments(old, count)
    write_epochs(log)
    return 0


cdef int log_truncate_to(Log* log, int64_t offset) noexcept nogil:
    cdef int error
    cdef int failed = 0
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.append_mutex)
    error = log_check_state(log)
    if not error and offset < log.end_offset:
        failed = settle_rolled(log)
        if not failed and offset <= log.segments[0].base_offset:
            failed = truncate_fully_locked(log, offset)
        elif not failed:
            failed = truncate_locked(log, offset)
    if failed:
        error = fail_log(log, failed)
    pthread_mutex_unlock(&log.append_mutex)
    pthread_mutex_unlock(&log.flush_mutex)
    return error


cdef int log_truncate_fully(Log* log, int64_t new_start) noexcept nogil:
    cdef int error
    cdef int failed = 0
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.append_mutex)
    error = log_check_state(log)
    if not error:
        failed = settle_rolled(log)
        if not failed:
            failed = truncate_fully_locked(log, new_start)
    if failed:
        error = fail_log(log, failed)
    pthread_mutex_unlock(&log.append_mutex)
    pthread_mutex_unlock(&log.flush_mutex)
    return error


cdef int log_set_config(Log* log, const LogConfig* config) noexcept nogil:
    """Readers may hold the old one: it is kept until the log goes."""
    cdef LogConfig* fresh = <LogConfig*>malloc(sizeof(LogConfig))
    cdef LogConfig** grown
    if fresh == NULL:
        return STORAGE_NO_MEMORY
    fresh[0] = config[0]
    pthread_mutex_lock(&log.append_mutex)
    grown = <LogConfig**>realloc(log.retired_configs, <size_t>(log.retired_configs_count + 1) * sizeof(LogConfig*))
    if grown == NULL:
        pthread_mutex_unlock(&log.append_mutex)
        free(fresh)
        return STORAGE_NO_MEMORY
    log.retired_configs = grown
    log.retired_configs[log.retired_configs_count] = log.config
    log.retired_configs_count += 1
    atomic_store_pointer(<void**>&log.config, fresh)
    choose_jitter(log)
    pthread_mutex_unlock(&log.append_mutex)
    return STORAGE_OK


cdef int log_rename(Log* log, const char* directory) noexcept nogil:
    """Rename the folder. Names are kept until the log is freed, that of a failed attempt included: somebody may look at it."""
    cdef char* fresh = strdup(directory)
    cdef FormerName* former = <FormerName*>malloc(sizeof(FormerName))
    cdef int failed
    if fresh == NULL or former == NULL:
        free(fresh)
        free(former)
        return STORAGE_NO_MEMORY
    pthread_mutex_lock(&log.append_mutex)
    former.directory = fresh
    former.next = log.former_names
    log.former_names = former
    atomic_store_pointer(<void**>&log.folder.next_name, fresh)
    failed = rename_path(log.folder.name, fresh)
    if not failed:
        former.directory = <char*>log.folder.name
        atomic_store_pointer(<void**>&log.folder.name, fresh)
    atomic_store_pointer(<void**>&log.folder.next_name, NULL)
    pthread_mutex_unlock(&log.append_mutex)
    return fail_log(log, failed) if failed else STORAGE_OK


cdef void free_former_names(Log* log) noexcept nogil:
    cdef FormerName* former = log.former_names
    while former != NULL:
        log.former_names = former.next
        free(former.directory)
        free(former)
        former = log.former_names


cdef int log_assign_epoch(Log* log, int32_t epoch) noexcept nogil:
    cdef int error
    pthread_mutex_lock(&log.append_mutex)
    error = log_assign_epoch_locked(log, epoch)
    pthread_mutex_unlock(&log.append_mutex)
    return error


cdef int log_assign_epoch_locked(Log* log, int32_t epoch) noexcept nogil:
    cdef int failed = 0
    pthread_mutex_lock(&log.segments_mutex)
    if epoch > epochs_latest(&log.epochs):
        failed = epochs_assign(&log.epochs, epoch, log.end_offset)
    pthread_mutex_unlock(&log.segments_mutex)
    return STORAGE_NO_MEMORY if failed else STORAGE_OK


cdef void log_seal(Log* log) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    atomic_store_i32(&log.sealed, 1)
    pthread_mutex_unlock(&log.append_mutex)


cdef void log_unseal(Log* log) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    atomic_store_i32(&log.sealed, 0)
    pthread_mutex_unlock(&log.append_mutex)


cdef void log_expire_producers(Log* log, int64_t now_ms) noexcept nogil:
    pthread_mutex_lock(&log.append_mutex)
    producers_expire(&log.producers, now_ms - log_config(log).producer_id_expiration_ms)
    pthread_mutex_unlock(&log.append_mutex)


cdef int write_closing(Log* log, bint sync) noexcept nogil:
    """What a clean start reads of the active segment, the producers and the epochs; 0 or an errno. With flush and append
    mutex."""
    cdef SnapshotBytes snapshot
    cdef int failed = settle_rolled(log)
    if failed:
        return failed
    pthread_mutex_lock(&log.segments_mutex)
    segment_seal_times(active_segment(log))
    pthread_mutex_unlock(&log.segments_mutex)
    failed = segment_write_indexes(active_segment(log), True)
    if not failed:
        failed = segment_trim(active_segment(log))
    if not failed and log.end_offset > 0 and log.snapshot_offset != log.end_offset:
        failed = encode_snapshot(log, &snapshot)
        if not failed:
            failed = write_snapshot(log, log.end_offset, &snapshot)
            free(snapshot.data)
            log.snapshot_offset = log.end_offset
    if not failed and log.epochs.dirty:
        failed = epochs_write(&log.epochs, log.folder.name, sync and log.end_offset > 0)
    return failed


cdef int log_close(Log* log, bint flush) noexcept nogil:
    cdef int error = log_flush(log) if flush else STORAGE_OK
    cdef int failed = 0
    atomic_add_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.flush_mutex)
    atomic_sub_i32(&log.flush_waiting, 1)
    pthread_mutex_lock(&log.append_mutex)
    if not error and atomic_load_i32(&log.state) == LOG_ONLINE:
        failed = write_closing(log, flush)
    if failed:
        error = fail_log(log, failed)
    atomic_store_i32(&log.state, LOG_CLOSED)
    pthread_mutex_unlock(&log.append_mutex)
    pthread_mutex_unlock(&log.flush_mutex)
    return error
