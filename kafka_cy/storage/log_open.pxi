# Opening: list the files, trust what was flushed, re-scan the rest. All functions before log_open return 0 or an errno.

cdef int make_log(const char* directory, const LogConfig* config, Log** out) noexcept nogil:
    cdef Log* log = <Log*>calloc(1, sizeof(Log))
    if log == NULL:
        return ENOMEM
    log.references = 1
    log.folder.name = strdup(directory)
    log.disk = disk_of(directory)
    log.config = <LogConfig*>malloc(sizeof(LogConfig))
    pthread_mutex_init(&log.append_mutex, NULL)
    pthread_mutex_init(&log.segments_mutex, NULL)
    pthread_mutex_init(&log.flush_mutex, NULL)
    pthread_mutex_init(&log.listener_mutex, NULL)
    producers_init(&log.producers)
    log.first_unstable = -1
    log.first_unreplicated = -1
    log.snapshot_offset = -1
    log.cleaner_offset = -1
    log.last_flush_ms = wall_clock_ms()
    if log.folder.name == NULL or log.config == NULL:
        log_unref(log)
        return ENOMEM
    log.config[0] = config[0]
    choose_jitter(log)
    out[0] = log
    return 0


cdef int load_producers(Log* log, Listing* listing, int64_t offset) noexcept nogil:
    """Restore producer state as of `offset`: load the newest snapshot at or below it, then replay the batches from
    there."""
    cdef int64_t from_offset
    cdef int32_t i
    cdef int failed = 0
    cdef Segment* segment
    from_offset = snapshot_floor(&log.producers, log.folder.name, listing, offset)
    log.snapshot_offset = from_offset
    if from_offset == offset or log.segments_count == 0:
        return 0
    i = segment_floor(log, from_offset if from_offset > 0 else 0)
    while not failed and i < log.segments_count and log.segments[i].base_offset < offset:
        segment = log.segments[i]
        failed = segment_pin(segment)
        if not failed:
            failed = replay_producers(segment, segment_size(segment), from_offset, offset, &log.producers)
            segment_unpin(segment)
        i += 1
    return failed


cdef int64_t offset_limit_of(Log* log, int32_t i) noexcept nogil:
    """Upper bound of the end offset of segments[i]."""
    return log.segments[i + 1].base_offset if i + 1 < log.segments_count else 0x7fffffffffffffff


cdef int rebuild_segment(
    Log* log, Segment* segment, int64_t offset_limit, Listing* listing, TransactionIndex* aborted, LeaderEpochs* epochs,
    int64_t* end_offset, bint* was_cut
) noexcept nogil:
    """Re-scan one pinned segment with the producer state as of its base offset, and rewrite its index files. Fills
    `aborted` and `epochs` from its batches."""
    cdef int failed = load_producers(log, listing, segment.base_offset)
    log.snapshot_offset = -1
    segment.active = True
    segment.indexes_mapped = False
    segment.max_timestamp = -1
    segment.max_timestamp_offset = -1
    segment.first_timestamp = -1
    segment.bytes_since_index = 0
    if not failed:
        failed = recover_segment(
            segment, segment.base_offset, offset_limit, log_config(log).index_interval_bytes, &log.producers, aborted, epochs,
            end_offset, was_cut)
    if not failed:
        failed = segment_write_indexes(segment, True)
    if not failed:
        failed = transactions_rewrite(aborted, log.folder.name, segment.base_offset, 0x7fffffffffffffff)
    return failed


cdef int recover_from(Log* log, Listing* listing, int32_t first) noexcept nogil:
    """Unclean start: re-scan segments[first:]. Segments after a torn one are dropped: the offsets would have a gap."""
    cdef int64_t end_offset = log.segments[first].base_offset
    cdef int32_t i = first
    cdef bint was_cut = False
    cdef int failed = 0
    cdef Segment* segment
    transactions_truncate_end(&log.aborted, end_offset)
    snapshots_delete_above(log.folder.name, end_offset)
    while not failed and i < log.segments_count and not was_cut:
        segment = log.segments[i]
        failed = segment_pin(segment)
        if failed:
            return failed
        if i == first:
            failed = rebuild_segment(
                log, segment, offset_limit_of(log, i), listing, &log.aborted, &log.epochs, &end_offset, &was_cut)
        else:
            failed = recover_next(log, segment, offset_limit_of(log, i), &end_offset, &was_cut)
        if not failed and i + 1 < log.segments_count and not was_cut:
            failed = segment_close_indexes(segment)
            segment.active = False
            segment.indexes_mapped = True
        segment_unpin(segment)
        i += 1
    if failed:
        return failed           # a read or write error drops nothing
    while log.segments_count > i:
        log.segments_count -= 1
        segment_rename_deleted(log.segments[log.segments_count])
        segment_unref(log.segments[log.segments_count])
    epochs_truncate_end(&log.epochs, end_offset)
    log.end_offset = end_offset
    return 0


cdef int recover_next(
    Log* log, Segment* segment, int64_t offset_limit, int64_t* end_offset, bint* was_cut
) noexcept nogil:
    """A later segment of the same recovery: producers and epochs carry over."""
    cdef int failed
    segment.active = True
    segment_size(segment)
    failed = recover_segment(
        segment, max(segment.base_offset, end_offset[0]), offset_limit, log_config(log).index_interval_bytes, &log.producers,
        &log.aborted, &log.epochs, end_offset, was_cut)
    if not failed:
        failed = segment_write_indexes(segment, True)
    if not failed:
        failed = transactions_rewrite(&log.aborted, log.folder.name, segment.base_offset, 0x7fffffffffffffff)
    return failed


cdef bint tables_usable(Segment* segment, BatchCursor* cursor) noexcept nogil:
    """Does it have time entries, and does the last offset entry name a batch?"""
    cdef BatchHeader header
    cdef int64_t last_offset
    if segment.times.count == 0:
        return False
    if segment.offsets.count == 0:
        return True
    last_offset = segment.base_offset + offset_entry_relative(&segment.offsets, segment.offsets.count - 1)
    if cursor_header(cursor, position_index_floor(&segment.offsets, 0x7fffffffffffffff), &header) <= 0:
        return False
    return segment.base_offset <= header.base_offset <= last_offset


cdef int rebuild_epochs(Log* log) noexcept nogil:
    """The checkpoint is unreadable: rebuild it from the batches."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position
    cdef int32_t i
    cdef int there
    cdef int failed = 0
    epochs_truncate_end(&log.epochs, 0)
    for i in range(log.segments_count):
        failed = segment_pin(log.segments[i])
        if failed:
            return failed
        cursor_init(&cursor, log.segments[i], segment_size(log.segments[i]))
        position = 0
        there = cursor_header(&cursor, position, &header)
        while there > 0:
            if header.leader_epoch > epochs_latest(&log.epochs):
                if epochs_assign(&log.epochs, header.leader_epoch, header.base_offset) < 0:
                    there = -ENOMEM
                    break
            position += LOG_OVERHEAD + header.length
            there = cursor_header(&cursor, position, &header)
        segment_unpin(log.segments[i])
        if there < 0:
            return -there
    write_epochs(log)
    return failed


cdef int load_active(Log* log, Segment* segment, bint* whole) noexcept nogil:
    """Clean start: read the last segment's indexes and find the log's end after its last index entry."""
    cdef char path[PATH_BYTES_MAX]
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position
    cdef int64_t next_offset = segment.base_offset
    cdef bint is_indexed
    cdef int failed
    segment.active = True
    name_file(path, PATH_BYTES_MAX, log.folder.name, segment.base_offset, b".index")
    failed = table_load(&segment.offsets, path)
    if failed:
        return failed
    name_file(path, PATH_BYTES_MAX, log.folder.name, segment.base_offset, b".timeindex")
    failed = table_load(&segment.times, path)
    if failed:
        return failed
    cursor_init(&cursor, segment, segment.size)
    if not tables_usable(segment, &cursor):
        table_free(&segment.offsets)    # rebuilt below, from the headers alone
        table_free(&segment.times)
    if segment.times.count > 0:
        segment.max_timestamp = time_entry_timestamp(&segment.times, segment.times.count - 1)
        segment.max_timestamp_offset = segment.base_offset + time_entry_relative(&segment.times, segment.times.count - 1)
    if cursor_header(&cursor, 0, &header) > 0:
        segment.first_timestamp = header.max_timestamp
    position = position_index_floor(&segment.offsets, 0x7fffffffffffffff)
    is_indexed = segment.offsets.count > 0          # the batch named by the last entry
    while cursor_header(&cursor, position, &header) > 0:
        next_offset = header.base_offset + header.last_offset_delta + 1
        if segment_index_batch(
                segment, next_offset - 1, records_timestamp(&header), position, LOG_OVERHEAD + header.length,
                0x7fffffff if is_indexed else log_config(log).index_interval_bytes):
            return ENOMEM
        is_indexed = False
        position += LOG_OVERHEAD + header.length
    whole[0] = position == segment.size
    log.end_offset = next_offset
    return 0


cdef int load_clean(Log* log, Listing* listing) noexcept nogil:
    cdef Segment* segment = active_segment(log)
    cdef bint whole = False
    cdef int failed = segment_pin(segment)
    if failed:
        return failed
    failed = load_active(log, segment, &whole)
    segment_unpin(segment)
    if not failed and not whole:
        return recover_from(log, listing, log.segments_count - 1)
    if not failed:
        failed = load_producers(log, listing, log.end_offset)
    return failed


cdef int load_files(Log* log, Listing* listing, int64_t start_offset, int64_t recovery_point, bint clean) noexcept nogil:
    cdef Segment* segment
    cdef int32_t i
    cdef int failed = 0
    cdef bint epochs_lost = epochs_read(&log.epochs, log.folder.name) != 0
    if listing.segments_count == 0:
        failed = new_active(log, max(start_offset, 0), &segment)
        if failed:
            return failed
        log.end_offset = segment.base_offset
        log.start_offset = segment.base_offset
        log.flushed_offset = segment.base_offset
        return add_segment(log, segment)
    for i in range(listing.segments_count):
        segment = segment_new(&log.folder, listing.segments[i])
        if segment == NULL or add_segment(log, segment):
            return ENOMEM
    if epochs_lost:
        failed = rebuild_epochs(log)
        if failed:
            return failed
    for i in range(listing.transactions_count):
        failed = transactions_load(&log.aborted, log.folder.name, listing.transactions[i])
        if failed:
            return failed
    if clean:
        failed = load_clean(log, listing)
    else:
        failed = recover_from(log, listing, segment_floor(log, max(recovery_point, 0)))
    active_segment(log).preallocated = log_config(log).preallocate
    log.start_offset = min(max(log.segments[0].base_offset, start_offset), log.end_offset)
    log.flushed_offset = log.end_offset if clean else min(max(recovery_point, log.start_offset), log.end_offset)
    log.first_unreplicated = producers_first_unreplicated(&log.producers)
    log.first_unstable = log.producers.first_unstable
    if not failed and start_offset > log.end_offset:
        # The records that remained after DeleteRecords are lost; their offsets must not be reused.
        failed = truncate_fully_locked(log, start_offset)
    return failed


cdef int log_open(
    const char* directory, const LogConfig* config, int64_t start_offset, int64_t recovery_point, bint clean, Log** out,
    int* error_number
) noexcept nogil:
    cdef Listing listing
    cdef Log* log = NULL
    cdef int failed = listing_read(&listing, directory)
    if not failed:
        failed = make_log(directory, config, &log)
        if not failed:
            failed = load_files(log, &listing, start_offset, recovery_point, clean)
        listing_free(&listing)
    if not failed and not clean:
        failed = flush_locked(log)      # re-scanned data is on disk from here on
    error_number[0] = failed
    if failed:
        if log != NULL:
            log_unref(log)
        return STORAGE_NO_MEMORY if failed == ENOMEM else STORAGE_IO_ERROR
    out[0] = log
    return STORAGE_OK
