# Opening: list the files, trust what was flushed, re-scan the rest.

cdef int make_log(const char* directory, const LogConfig* config, Log** out) noexcept nogil:
    cdef Log* log = <Log*>calloc(1, sizeof(Log))
    if log == NULL:
        return STORAGE_NO_MEMORY
    log.references = 1
    log.directory = strdup(directory)
    log.config = <LogConfig*>malloc(sizeof(LogConfig))
    pthread_mutex_init(&log.append_mutex, NULL)
    pthread_mutex_init(&log.segments_mutex, NULL)
    pthread_mutex_init(&log.flush_mutex, NULL)
    producers_init(&log.producers)
    log.first_unstable = -1
    log.snapshot_offset = -1
    log.last_flush_ms = wall_clock_ms()
    if log.directory == NULL or log.config == NULL:
        log_unref(log)
        return STORAGE_NO_MEMORY
    log.config[0] = config[0]
    choose_jitter(log)
    out[0] = log
    return STORAGE_OK


cdef int load_producers(Log* log, Listing* listing, int64_t offset) noexcept nogil:
    """Producer state as of `offset`: the newest snapshot at or below it, then the batches from there."""
    cdef int64_t from_offset
    cdef int32_t i
    cdef int error = STORAGE_OK
    cdef Segment* segment
    from_offset = snapshot_floor(&log.producers, log.directory, listing, offset)
    log.snapshot_offset = from_offset
    if from_offset == offset or log.segments_count == 0:
        return STORAGE_OK
    i = segment_floor(log, from_offset if from_offset > 0 else 0)
    while not error and i < log.segments_count and log.segments[i].base_offset < offset:
        segment = log.segments[i]
        error = segment_pin(segment)
        if not error:
            error = replay_producers(segment, segment_size(segment), from_offset, offset, &log.producers)
            segment_unpin(segment)
        i += 1
    return error


cdef int rebuild_segment(Log* log, Segment* segment, Listing* listing, int64_t* end_offset, bint* was_cut) noexcept nogil:
    """Re-scan one pinned segment with the producer state as of its base offset; its index files are written anew."""
    cdef int error = load_producers(log, listing, segment.base_offset)
    log.snapshot_offset = -1
    segment.active = True
    segment.indexes_mapped = False
    segment.max_timestamp = -1
    segment.max_timestamp_offset = -1
    segment.first_timestamp = -1
    segment.bytes_since_index = 0
    if not error:
        error = recover_segment(
            segment, segment.base_offset, log_config(log).index_interval_bytes, &log.producers, &log.aborted, &log.epochs,
            end_offset, was_cut)
    if not error:
        error = segment_write_indexes(segment, True)
    if not error and transactions_rewrite(&log.aborted, log.directory, segment.base_offset, 0x7fffffffffffffff) < 0:
        error = STORAGE_IO_ERROR
    return error


cdef int recover_from(Log* log, Listing* listing, int32_t first) noexcept nogil:
    """Unclean start: re-scan segments[first:]. Whatever follows a torn segment is dropped: offsets would have a gap."""
    cdef int64_t end_offset = log.segments[first].base_offset
    cdef int32_t i = first
    cdef bint was_cut = False
    cdef int error = STORAGE_OK
    cdef Segment* segment
    transactions_truncate_end(&log.aborted, end_offset)
    snapshots_delete_above(log.directory, end_offset)
    while not error and i < log.segments_count and not was_cut:
        segment = log.segments[i]
        error = segment_pin(segment)
        if error:
            return error
        if i == first:
            error = rebuild_segment(log, segment, listing, &end_offset, &was_cut)
        else:
            error = recover_next(log, segment, &end_offset, &was_cut)
        if not error and i + 1 < log.segments_count and not was_cut:
            error = segment_close_indexes(segment)
            segment.active = False
            segment.indexes_mapped = True
        segment_unpin(segment)
        i += 1
    while log.segments_count > i:
        log.segments_count -= 1
        segment_rename_deleted(log.segments[log.segments_count])
        segment_unref(log.segments[log.segments_count])
    epochs_truncate_end(&log.epochs, end_offset)
    log.end_offset = end_offset
    return error


cdef int recover_next(Log* log, Segment* segment, int64_t* end_offset, bint* was_cut) noexcept nogil:
    """A later segment of the same recovery: producers and epochs carry on."""
    cdef int error
    segment.active = True
    segment_size(segment)
    error = recover_segment(
        segment, max(segment.base_offset, end_offset[0]), log_config(log).index_interval_bytes, &log.producers, &log.aborted,
        &log.epochs, end_offset, was_cut)
    if not error:
        error = segment_write_indexes(segment, True)
    if not error and transactions_rewrite(&log.aborted, log.directory, segment.base_offset, 0x7fffffffffffffff) < 0:
        error = STORAGE_IO_ERROR
    return error


cdef bint tables_usable(Segment* segment, BatchCursor* cursor) noexcept nogil:
    """Are there time entries, and does the last offset entry name a batch?"""
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
    """The checkpoint cannot be read: the batches know."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position
    cdef int32_t i
    cdef int error = STORAGE_OK
    epochs_truncate_end(&log.epochs, 0)
    for i in range(log.segments_count):
        error = segment_pin(log.segments[i])
        if error:
            return error
        cursor_init(&cursor, log.segments[i], segment_size(log.segments[i]))
        position = 0
        while not error and cursor_header(&cursor, position, &header) > 0:
            if header.leader_epoch > epochs_latest(&log.epochs):
                if epochs_assign(&log.epochs, header.leader_epoch, header.base_offset) < 0:
                    error = STORAGE_NO_MEMORY
            position += LOG_OVERHEAD + header.length
        segment_unpin(log.segments[i])
    write_epochs(log)
    return error


cdef int load_active(Log* log, Segment* segment, bint* whole) noexcept nogil:
    """Clean start: read the last segment's indexes and find the end of the log behind its last index entry."""
    cdef char path[PATH_BYTES_MAX]
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position
    cdef int64_t next_offset = segment.base_offset
    cdef bint is_indexed
    segment.active = True
    name_file(path, PATH_BYTES_MAX, log.directory, segment.base_offset, b".index")
    if table_load(&segment.offsets, path) < 0:
        return STORAGE_IO_ERROR
    name_file(path, PATH_BYTES_MAX, log.directory, segment.base_offset, b".timeindex")
    if table_load(&segment.times, path) < 0:
        return STORAGE_IO_ERROR
    cursor_init(&cursor, segment, segment.size)
    if not tables_usable(segment, &cursor):
        table_free(&segment.offsets)    # made anew below, from the headers alone
        table_free(&segment.times)
    if segment.times.count > 0:
        segment.max_timestamp = time_entry_timestamp(&segment.times, segment.times.count - 1)
        segment.max_timestamp_offset = segment.base_offset + time_entry_relative(&segment.times, segment.times.count - 1)
    if cursor_header(&cursor, 0, &header) > 0:
        segment.first_timestamp = header.max_timestamp
    position = position_index_floor(&segment.offsets, 0x7fffffffffffffff)
    is_indexed = segment.offsets.count > 0          # the batch that the last entry names
    while cursor_header(&cursor, position, &header) > 0:
        next_offset = header.base_offset + header.last_offset_delta + 1
        if segment_index_batch(
                segment, next_offset - 1, header.max_timestamp, position, LOG_OVERHEAD + header.length,
                0x7fffffff if is_indexed else log_config(log).index_interval_bytes):
            return STORAGE_NO_MEMORY
        is_indexed = False
        position += LOG_OVERHEAD + header.length
    whole[0] = position == segment.size
    log.end_offset = next_offset
    return STORAGE_OK


cdef int load_clean(Log* log, Listing* listing) noexcept nogil:
    cdef Segment* segment = active_segment(log)
    cdef bint whole = False
    cdef int error = segment_pin(segment)
    if error:
        return error
    error = load_active(log, segment, &whole)
    segment_unpin(segment)
    if not error and not whole:
        return recover_from(log, listing, log.segments_count - 1)
    if not error:
        error = load_producers(log, listing, log.end_offset)
    return error


cdef int load_files(Log* log, Listing* listing, int64_t start_offset, int64_t recovery_point, bint clean) noexcept nogil:
    cdef Segment* segment
    cdef int32_t i
    cdef int error = STORAGE_OK
    cdef bint epochs_lost = epochs_read(&log.epochs, log.directory) < 0
    if listing.segments_count == 0:
        error = new_active(log, max(start_offset, 0), &segment)
        if error:
            return error
        log.end_offset = segment.base_offset
        log.start_offset = segment.base_offset
        log.flushed_offset = segment.base_offset
        return add_segment(log, segment)
    for i in range(listing.segments_count):
        segment = segment_new(log.directory, listing.segments[i])
        if segment == NULL or add_segment(log, segment) != STORAGE_OK:
            return STORAGE_NO_MEMORY
    if epochs_lost:
        error = rebuild_epochs(log)
        if error:
            return error
    for i in range(listing.transactions_count):
        if transactions_load(&log.aborted, log.directory, listing.transactions[i]) < 0:
            return STORAGE_IO_ERROR
    if clean:
        error = load_clean(log, listing)
    else:
        error = recover_from(log, listing, segment_floor(log, max(recovery_point, 0)))
    log.start_offset = min(max(log.segments[0].base_offset, start_offset), log.end_offset)
    log.flushed_offset = log.end_offset if clean else min(max(recovery_point, log.start_offset), log.end_offset)
    log.first_unstable = producers_first_unstable(&log.producers)
    if not error and start_offset > log.end_offset:
        # What was left after DeleteRecords is lost; its offsets must not be given away again.
        error = truncate_fully_locked(log, start_offset)
    return error


cdef int log_open(
    const char* directory, const LogConfig* config, int64_t start_offset, int64_t recovery_point, bint clean, Log** out
) noexcept nogil:
    cdef Listing listing
    cdef Log* log = NULL
    cdef int error = listing_read(&listing, directory)
    if error:
        return error
    error = make_log(directory, config, &log)
    if not error:
        error = load_files(log, &listing, start_offset, recovery_point, clean)
    listing_free(&listing)
    if not error and not clean:
        error = log_flush(log)          # what was re-scanned is on disk from here on
    if error:
        if log != NULL:
            log_unref(log)
        return error
    out[0] = log
    return STORAGE_OK
