# Appending: checks, roll, one write, publication. Everything here runs with the append mutex held.

cdef inline Segment* active_segment(Log* log) noexcept nogil:
    return log.segments[log.segments_count - 1]


cdef int log_append(
    Log* log, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil:
    cdef int error
    pthread_mutex_lock(&log.append_mutex)
    error = log_append_locked(log, batch, leader_epoch, origin, now_ms, result)
    pthread_mutex_unlock(&log.append_mutex)
    if result.rolled:
        log_queue_flush(log)
    return error


cdef int log_append_locked(
    Log* log, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, int64_t now_ms, AppendResult* result
) noexcept nogil:
    cdef BatchHeader* header = &batch.header
    cdef const LogConfig* config = log_config(log)
    cdef int error = place_batch(log, batch, leader_epoch, origin, result)
    result.rolled = False
    if error or result.duplicate:
        return error
    if header.producer_id >= 0 and producers_reserve(&log.producers) < 0:
        return STORAGE_NO_MEMORY
    if must_roll(active_segment(log), config, log.roll_jitter_ms, batch, now_ms):
        error = roll_locked(log, header.base_offset)
        result.rolled = not error
    if not error:
        error = write_batch(log, batch)
    if error:
        return error
    log.unflushed_messages += header.last_offset_delta + 1
    counter_add(&log.batches_in, 1)
    counter_add(&log.messages_in, header.last_offset_delta + 1)
    counter_add(&log.bytes_in, <int64_t>batch.size)
    return publish_batch(log, config, batch)


cdef int place_batch(
    Log* log, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, AppendResult* result
) noexcept nogil:
    """Check state, epoch and producer; assign offsets and the epoch and patch them into the batch's header and bytes."""
    cdef BatchHeader* header = &batch.header
    cdef int32_t latest_epoch = epochs_latest(&log.epochs)
    cdef int64_t end_offset = log.end_offset
    cdef int error = log_check_appendable(log)
    if error:
        return error
    if <int64_t>batch.size > log_config(log).segment_bytes:
        return STORAGE_BATCH_TOO_LARGE
    result.duplicate = False
    result.log_start_offset = log.start_offset
    result.log_append_time_ms = header.max_timestamp if header.attributes & ATTRIBUTE_LOG_APPEND_TIME else -1
    if origin == ORIGIN_REPLICATION:
        if header.base_offset < end_offset:
            return STORAGE_OFFSET_OUT_OF_RANGE
    else:
        if leader_epoch < 0:
            leader_epoch = latest_epoch if latest_epoch >= 0 else 0
        elif leader_epoch < latest_epoch:
            return STORAGE_FENCED_LEADER_EPOCH
        error = check_producer(log, header, origin, result)
        if error or result.duplicate:
            return error
        header.base_offset = end_offset
        header.leader_epoch = leader_epoch
        batch_set_base_offset(batch.data, end_offset, leader_epoch)
    result.base_offset = header.base_offset
    result.last_offset = header.base_offset + header.last_offset_delta
    return STORAGE_OK


cdef int check_producer(Log* log, BatchHeader* header, AppendOrigin origin, AppendResult* result) noexcept nogil:
    cdef ProducerEntry* entry
    cdef RetainedBatch repeated
    cdef bint is_repeat = False
    cdef int error
    if header.producer_id < 0:
        return STORAGE_OK
    if header.attributes & ATTRIBUTE_CONTROL:
        entry = producers_find(&log.producers, header.producer_id)
        return STORAGE_INVALID_PRODUCER_EPOCH if entry != NULL and header.producer_epoch < entry.epoch else STORAGE_OK
    error = producers_check(&log.producers, header, origin == ORIGIN_CLIENT, &repeated, &is_repeat)
    if error or not is_repeat:
        return error
    result.duplicate = True
    result.last_offset = repeated.last_offset
    result.base_offset = repeated.last_offset - repeated.offset_delta
    result.log_append_time_ms = repeated.timestamp_ms     # with either timestamp type, as Kafka answers a duplicate
    return STORAGE_OK


cdef bint must_roll(Segment* active, const LogConfig* config, int64_t jitter_ms, ValidBatch* batch, int64_t now_ms) noexcept nogil:
    cdef BatchHeader* header = &batch.header
    cdef int64_t waited_ms
    if header.base_offset + header.last_offset_delta - active.base_offset > 0x7fffffff:
        return True
    if active.size == 0:
        return False
    if active.size > config.segment_bytes - <int64_t>batch.size:
        return True
    if active.offsets.count >= config.segment_index_bytes // 8 or active.times.count >= config.segment_index_bytes // 12 - 1:
        return True
    if active.first_timestamp >= 0:
        waited_ms = header.max_timestamp - active.first_timestamp
    else:
        waited_ms = now_ms - active.created_ms
    return waited_ms > config.segment_ms - jitter_ms


cdef int32_t offline_events = 0     # (a) number of logs that went offline; the log manager watches it


cdef int fail_log(Log* log, int error_number) noexcept nogil:
    """The StorageError of a failed call. Disk failures, including a full disk, take the log offline (Kafka:
    LogDirFailureChannel). If memory or descriptors ran out, nothing was written yet and the next call may succeed."""
    if error_number == ENOMEM:
        return STORAGE_NO_MEMORY
    atomic_store_i32(&log.failed_errno, error_number)
    if error_number != EMFILE and error_number != ENFILE and atomic_cas_i32(&log.state, LOG_ONLINE, LOG_OFFLINE):
        atomic_add_i32(&offline_events, 1)
    return STORAGE_IO_ERROR


cdef int fail_read(Log* log, int error_number) noexcept nogil:
    """The same for a read. If the file is missing, retention removed it from under the reader."""
    return STORAGE_IO_ERROR if error_number == ENOENT else fail_log(log, error_number)


cdef int write_batch(Log* log, ValidBatch* batch) noexcept nogil:
    """Write the bytes at once. A partial write is cut off again, so that the file ends with the last whole batch. If
    that also fails, the next start cuts the file."""
    cdef Segment* active = active_segment(log)
    cdef int failed = segment_pin(active)
    if failed:
        return fail_log(log, failed)
    failed = segment_append_bytes(active, batch.data, batch.size)
    if failed:
        cut_file(active.fd, active.size)
    segment_unpin(active)
    return fail_log(log, failed) if failed else STORAGE_OK


cdef int publish_batch(Log* log, const LogConfig* config, ValidBatch* batch) noexcept nogil:
    """Publish indexes, producer state, epochs and the new end to readers, all at once."""
    cdef BatchHeader* header = &batch.header
    cdef Segment* active = active_segment(log)
    cdef int64_t position = active.size
    cdef int64_t last_offset = header.base_offset + header.last_offset_delta
    cdef AbortedTransaction aborted
    cdef bint has_aborted = producers_apply(&log.producers, header, batch.data, batch.size, &aborted)
    cdef OffsetPosition* tail
    cdef int failed = transactions_write(log.folder.name, active.base_offset, &aborted) if has_aborted else 0
    if failed:
        fail_log(log, failed)
    if header.leader_epoch > epochs_latest(&log.epochs):
        begin_epoch(log, header.leader_epoch, header.base_offset)
    elif log.epochs.dirty:
        write_epochs(log)
    pthread_mutex_lock(&log.segments_mutex)
    # If memory for an index entry runs out, lookups are only slower.
    segment_index_batch(
        active, last_offset, records_timestamp(header), position, <int64_t>batch.size, config.index_interval_bytes)
    if has_aborted:
        transactions_append(&log.aborted, &aborted)
    tail = &log.tail[log.tail_count % TAIL_BATCHES]
    tail.segment_base = active.base_offset
    tail.offset = header.base_offset
    tail.position = position
    log.tail_count += 1
    atomic_store_i64(&active.size, position + <int64_t>batch.size)
    if log.producers.ended_count > 0:       # before first_unstable: readers read this one first
        atomic_store_i64(&log.first_unreplicated, producers_first_unreplicated(&log.producers))
    atomic_store_i64(&log.first_unstable, log.producers.first_unstable)
    atomic_store_i64(&log.end_offset, last_offset + 1)
    pthread_mutex_unlock(&log.segments_mutex)
    return STORAGE_OK


cdef void begin_epoch(Log* log, int32_t epoch, int64_t start_offset) noexcept nogil:
    """Call with the append mutex, before offsets of the epoch are visible, so that a flush that covers them finds the
    file written."""
    pthread_mutex_lock(&log.segments_mutex)
    epochs_assign(&log.epochs, epoch, start_offset)
    pthread_mutex_unlock(&log.segments_mutex)
    write_epochs(log)


cdef void write_epochs(Log* log) noexcept nogil:
    """Call with the append mutex. The next flush syncs the file before it raises the recovery point."""
    cdef int failed = epochs_write(&log.epochs, log.folder.name, False)
    if failed:
        fail_log(log, failed)   # if the failure is transient, the epochs stay dirty and the next append retries
        return
    atomic_store_i32(&log.epochs_unsynced, 1)
    atomic_store_i32(&log.names_unsynced, 1)


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
    if not failed and log_config(log).preallocate:
        segment.preallocated = True
        failed = reserve_file(segment.fd, log_config(log).segment_bytes)
        segment_unpin(segment)
        if failed:
            segment_unlink_files(&log.folder, base_offset)
    elif not failed:
        segment_unpin(segment)
    if failed:
        segment_unref(segment)
        return failed
    atomic_store_i32(&log.names_unsynced, 1)
    out[0] = segment
    return 0


cdef void choose_jitter(Log* log) noexcept nogil:
    cdef int64_t limit = log_config(log).segment_jitter_ms
    log.roll_jitter_ms = rand() % limit if limit > 0 else 0


cdef int log_check_state(Log* log) noexcept nogil:
    cdef int32_t state = atomic_load_i32(&log.state)
    if state == LOG_ONLINE:
        return STORAGE_OK
    return STORAGE_OFFLINE if state == LOG_OFFLINE else STORAGE_DELETED


cdef int log_check_appendable(Log* log) noexcept nogil:
    """Call with the append mutex."""
    return STORAGE_NOT_LEADER if atomic_load_i32(&log.sealed) else log_check_state(log)


cdef void log_forget_replicated(Log* log, int64_t high_watermark) noexcept nogil:
    if log.producers.ended_count > 0:
        producers_forget_replicated(&log.producers, high_watermark)
        atomic_store_i64(&log.first_unreplicated, producers_first_unreplicated(&log.producers))
