# Offsets, timestamps, leader epochs, aborted transactions.

cdef int64_t log_first_base_offset(Log* log) noexcept nogil:
    """Base offset of the oldest segment."""
    cdef int64_t base_offset
    pthread_mutex_lock(&log.segments_mutex)
    base_offset = log.segments[0].base_offset
    pthread_mutex_unlock(&log.segments_mutex)
    return base_offset


cdef int32_t log_epoch_of(Log* log, int64_t offset) noexcept nogil:
    cdef int32_t epoch
    pthread_mutex_lock(&log.segments_mutex)
    epoch = epochs_of(&log.epochs, offset)
    pthread_mutex_unlock(&log.segments_mutex)
    return epoch


cdef int32_t log_latest_epoch(Log* log) noexcept nogil:
    cdef int32_t epoch
    pthread_mutex_lock(&log.segments_mutex)
    epoch = epochs_latest(&log.epochs)
    pthread_mutex_unlock(&log.segments_mutex)
    return epoch


cdef void log_end_offset_for_epoch(Log* log, int32_t asked_epoch, int32_t* epoch, int64_t* end_offset) noexcept nogil:
    pthread_mutex_lock(&log.segments_mutex)
    epochs_end_offset_for(&log.epochs, asked_epoch, log.end_offset, epoch, end_offset)
    pthread_mutex_unlock(&log.segments_mutex)


cdef int log_aborted_transactions(
    Log* log, int64_t first, int64_t last_exclusive, int64_t** pairs, int32_t* count
) noexcept nogil:
    cdef int failed
    pthread_mutex_lock(&log.segments_mutex)
    failed = transactions_overlapping(&log.aborted, first, last_exclusive, pairs, count)
    pthread_mutex_unlock(&log.segments_mutex)
    return STORAGE_NO_MEMORY if failed else STORAGE_OK


cdef Segment* acquire_after(Log* log, int64_t base_offset, int64_t* bytes) noexcept nogil:
    """The first segment with a larger base offset, with a reference; NULL if none exists. `bytes` is -1 for a closed
    segment. Lookup is by offset, not by index: retention may remove segments between two calls."""
    cdef Segment* segment = NULL
    cdef int32_t i
    pthread_mutex_lock(&log.segments_mutex)
    i = segment_floor(log, base_offset)
    if log.segments[i].base_offset <= base_offset:
        i += 1
    if i < log.segments_count:
        segment = segment_acquire(log.segments[i])
        bytes[0] = segment.size if segment.active else -1
    pthread_mutex_unlock(&log.segments_mutex)
    return segment


cdef int time_bounds(Log* log, Segment* segment, int64_t target_ms, int64_t* max_timestamp, int64_t* position) noexcept nogil:
    """Largest timestamp of a pinned segment (-1 unknown), and where a scan for `target_ms` may begin. 0 or an errno."""
    cdef int64_t relative
    cdef int failed
    cdef bint active
    pthread_mutex_lock(&log.segments_mutex)
    active = segment.active
    if active:
        max_timestamp[0] = segment.max_timestamp
        relative = time_index_floor(&segment.times, target_ms)
        position[0] = offset_index_floor(&segment.offsets, relative)
    pthread_mutex_unlock(&log.segments_mutex)
    if active:
        return 0
    failed = segment_map_indexes(segment)
    if failed:
        return failed
    max_timestamp[0] = -1
    if segment.times.count > 0:
        max_timestamp[0] = time_entry_timestamp(&segment.times, segment.times.count - 1)
    relative = time_index_floor(&segment.times, target_ms)
    position[0] = offset_index_floor(&segment.offsets, relative)
    return 0


cdef int search_batch(
    Log* log, Codecs* codecs, Segment* segment, int64_t position, const BatchHeader* header, int64_t target_ms,
    int64_t offset_min, int64_t* offset, int64_t* timestamp_ms
) noexcept nogil:
    """1 found, 0 not in this batch, negative: -StorageError."""
    cdef size_t size = <size_t>(LOG_OVERHEAD + header.length)
    cdef uint8_t* data = <uint8_t*>malloc(size)
    cdef int64_t there
    cdef int found
    if data == NULL:
        return -STORAGE_NO_MEMORY
    there = read_some(segment.fd, data, size, position)
    if there != <int64_t>size:
        free(data)
        return -fail_read(log, <int>-there if there < 0 else EIO)
    found = batch_find_timestamp(
        codecs, data, size, target_ms, offset_min, log_config(log).rules.unpacked_bytes_max, offset, timestamp_ms)
    free(data)
    return found if found >= 0 else -STORAGE_CORRUPT


cdef int search_segment(
    Log* log, Codecs* codecs, Segment* segment, int64_t bytes, int64_t position, int64_t target_ms, int64_t* offset,
    int64_t* timestamp_ms
) noexcept nogil:
    """Like search_batch, through the batches from `position` on."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t start_offset = log_start_offset(log)
    cdef int found
    cdef int there
    cursor_init(&cursor, segment, bytes)
    there = cursor_header(&cursor, position, &header)
    while there > 0:
        if (header.max_timestamp >= target_ms or header.magic < 2) \
                and (header.base_offset + header.last_offset_delta >= start_offset):
            found = search_batch(log, codecs, segment, position, &header, target_ms, start_offset, offset, timestamp_ms)
            if found != 0:
                return found
        position += LOG_OVERHEAD + header.length
        there = cursor_header(&cursor, position, &header)
    return 0 if there == 0 else -fail_read(log, -there)


cdef int log_offset_for_timestamp(
    Log* log, Codecs* codecs, int64_t target_ms, int64_t* offset, int64_t* timestamp_ms, int32_t* epoch, bint* found
) noexcept nogil:
    cdef int64_t base_offset
    cdef int64_t bytes = 0
    cdef int64_t max_timestamp = -1
    cdef int64_t position = 0
    cdef int outcome = 0
    cdef int failed
    cdef Segment* segment
    found[0] = False
    epoch[0] = -1
    pthread_mutex_lock(&log.segments_mutex)
    base_offset = log.segments[segment_floor(log, log.start_offset)].base_offset - 1
    pthread_mutex_unlock(&log.segments_mutex)
    while outcome == 0:
        segment = acquire_after(log, base_offset, &bytes)
        if segment == NULL:
            return STORAGE_OK
        base_offset = segment.base_offset
        failed = segment_pin(segment)
        if failed:
            segment_unref(segment)
            return fail_read(log, failed)
        if bytes < 0:
            bytes = segment_size(segment)
        failed = time_bounds(log, segment, target_ms, &max_timestamp, &position)
        if failed:
            outcome = -fail_read(log, failed)
        elif (max_timestamp >= target_ms or max_timestamp < 0):
            outcome = search_segment(log, codecs, segment, bytes, position, target_ms, offset, timestamp_ms)
        segment_release(segment)
    if outcome < 0:
        return -outcome
    found[0] = True
    epoch[0] = log_epoch_of(log, offset[0])
    return STORAGE_OK


cdef int log_max_timestamp(
    Log* log, Codecs* codecs, int64_t* offset, int64_t* timestamp_ms, int32_t* epoch, bint* found
) noexcept nogil:
    """The first record that has the log's largest timestamp."""
    cdef int64_t best = -1
    cdef int64_t bytes = 0
    cdef int64_t max_timestamp = -1
    cdef int64_t position = 0
    cdef int64_t base_offset = -1
    cdef int failed
    cdef Segment* segment = acquire_after(log, base_offset, &bytes)
    found[0] = False
    epoch[0] = -1
    while segment != NULL:
        failed = segment_pin(segment)
        if failed:
            segment_unref(segment)
            return fail_read(log, failed)
        failed = time_bounds(log, segment, 0, &max_timestamp, &position)
        base_offset = segment.base_offset
        segment_release(segment)
        if failed:
            return fail_read(log, failed)
        best = max(best, max_timestamp)
        segment = acquire_after(log, base_offset, &bytes)
    if best < 0:
        return STORAGE_OK
    return log_offset_for_timestamp(log, codecs, best, offset, timestamp_ms, epoch, found)
