"""Appending: checks, roll, one write, publication. All but log_append runs with the append mutex held."""
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_store_i32, atomic_store_i64, counter_add
from kafka_cy.base.posix cimport (
    EIO, EMFILE, ENFILE, ENOENT, O_RDONLY, close, cut_file, pthread_mutex_lock, pthread_mutex_unlock,
)
from kafka_cy.records.batch cimport ATTRIBUTE_CONTROL, ATTRIBUTE_LOG_APPEND_TIME, BatchHeader, ValidBatch, batch_set_base_offset
from kafka_cy.storage.batch_cursor cimport records_timestamp
from kafka_cy.storage.leader_epochs cimport epochs_latest
from kafka_cy.storage.log_epochs cimport begin_epoch
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_flush cimport log_queue_flush
from kafka_cy.storage.log_folder cimport open_in_folder
from kafka_cy.storage.log_roll cimport roll_locked
from kafka_cy.storage.log_struct cimport (
    ORIGIN_CLIENT, ORIGIN_MARKER_V2, ORIGIN_REPLICATION, TAIL_BATCHES, AppendOrigin, AppendResult, Log, LogConfig, OffsetPosition,
    active_segment, log_check_appendable, log_config, roll_jitter_ms,
)
from kafka_cy.storage.producer_state cimport (
    Marker, RetainedBatch, marker_read, producers_apply, producers_check, producers_check_marker, producers_first_unreplicated,
    producers_reserve,
)
from kafka_cy.storage.segment cimport Segment, segment_append_bytes, segment_pin, segment_unpin, segments_give_way
from kafka_cy.storage.segment_index cimport segment_index_batch
from kafka_cy.storage.storage_error cimport (
    STORAGE_BATCH_TOO_LARGE, STORAGE_FENCED_LEADER_EPOCH, STORAGE_NO_MEMORY, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK,
)
from kafka_cy.storage.transaction_index cimport AbortedTransaction, TransactionIndex, transactions_append, transactions_write

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
    cdef LogConfig config = log_config(log)
    cdef int error = place_batch(log, &config, batch, leader_epoch, origin, result)
    result.rolled = False
    if error or result.duplicate:
        return error
    if header.producer_id >= 0 and producers_reserve(&log.producers) < 0:
        return STORAGE_NO_MEMORY
    if begins_segment(active_segment(log), &config, roll_jitter_ms(log, &config), batch, now_ms):
        error = roll_locked(log, header.base_offset)
        result.rolled = not error
    if not error and header.attributes & ATTRIBUTE_CONTROL:
        error = log_reserve_for_marker(log, batch)
    if not error:
        error = write_batch(log, batch)
    if error:
        return error
    log.unflushed_messages += header.last_offset_delta + 1
    counter_add(&log.batches_in, 1)
    counter_add(&log.messages_in, header.last_offset_delta + 1)
    counter_add(&log.bytes_in, <int64_t>batch.size)
    return publish(log, &config, batch)


cdef int place_batch(
    Log* log, const LogConfig* config, ValidBatch* batch, int32_t leader_epoch, AppendOrigin origin, AppendResult* result
) noexcept nogil:
    """Check state, epoch and producer; assign offsets and the epoch and patch them into the batch's header and bytes."""
    cdef BatchHeader* header = &batch.header
    cdef int32_t latest_epoch = epochs_latest(&log.epochs)
    cdef int64_t end_offset = log.end_offset
    cdef int error = log_check_appendable(log)
    if error:
        return error
    if <int64_t>batch.size > config.segment_bytes:
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
        error = check_producer(log, batch, origin, result)
        if error or result.duplicate:
            return error
        header.base_offset = end_offset
        header.leader_epoch = leader_epoch
        batch_set_base_offset(batch.data, end_offset, leader_epoch)
    result.base_offset = header.base_offset
    result.last_offset = header.base_offset + header.last_offset_delta
    return STORAGE_OK


cdef int check_producer(Log* log, ValidBatch* batch, AppendOrigin origin, AppendResult* result) noexcept nogil:
    cdef BatchHeader* header = &batch.header
    cdef RetainedBatch repeated
    cdef bint is_repeat = False
    cdef int error
    if header.producer_id < 0:
        return STORAGE_OK
    if header.attributes & ATTRIBUTE_CONTROL:
        return producers_check_marker(&log.producers, header, batch.data, batch.size, origin == ORIGIN_MARKER_V2)
    error = producers_check(&log.producers, header, origin == ORIGIN_CLIENT, &repeated, &is_repeat)
    if error or not is_repeat:
        return error
    result.duplicate = True
    result.last_offset = repeated.last_offset
    result.base_offset = repeated.last_offset - repeated.offset_delta
    result.log_append_time_ms = repeated.timestamp_ms     # with either timestamp type, as Kafka answers a duplicate
    return STORAGE_OK


cdef inline bint begins_segment(
    Segment* active, const LogConfig* config, int64_t jitter_ms, ValidBatch* batch, int64_t now_ms
) noexcept nogil:
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


cdef int log_reserve_for_marker(Log* log, const ValidBatch* batch) noexcept nogil:
    cdef AbortedTransaction unused
    cdef Marker marker
    cdef int failed
    cdef int fd
    marker_read(batch.data, batch.size, &batch.header, &marker)
    if not marker.present or marker.commit:
        return STORAGE_OK
    memset(&unused, 0, sizeof(AbortedTransaction))
    pthread_mutex_lock(&log.segments_mutex)         # the entries may move while others search them
    failed = transactions_append(&log.aborted, &unused)
    if not failed:
        log.aborted.count -= 1
    pthread_mutex_unlock(&log.segments_mutex)
    if failed:
        return STORAGE_NO_MEMORY
    fd = open_in_folder(&log.folder, active_segment(log).base_offset, b".txnindex", O_RDONLY)
    while fd < 0 and segments_give_way(-fd):
        fd = open_in_folder(&log.folder, active_segment(log).base_offset, b".txnindex", O_RDONLY)
    if fd >= 0:
        close(fd)
    return fail_log(log, -fd) if fd < 0 and fd != -ENOENT else STORAGE_OK


cdef int write_aborted(Log* log, Segment* active, const AbortedTransaction* aborted) noexcept nogil:
    """A StorageError. The marker is in the file already. So the log goes offline if the descriptor that was there for its entry is
    gone again, too: the next start finds the entry in the batches."""
    cdef const TransactionIndex* index = &log.aborted
    cdef int failed
    if index.count == 0 or index.entries[index.count - 1].last_offset < active.base_offset:
        atomic_store_i32(&log.names_unsynced, 1)        # the segment's first entry creates the file
    failed = transactions_write(log.folder.name, active.base_offset, aborted)
    atomic_store_i32(&active.aborted_synced, 0)         # before the marker is published, and can be flushed
    if not failed:
        return STORAGE_OK
    return fail_log(log, EIO if failed == EMFILE or failed == ENFILE else failed)


cdef inline int publish(Log* log, const LogConfig* config, ValidBatch* batch) noexcept nogil:
    """Publish indexes, producer state, epochs and the new end to readers, all at once."""
    cdef BatchHeader* header = &batch.header
    cdef Segment* active = active_segment(log)
    cdef int64_t position = active.size
    cdef int64_t last_offset = header.base_offset + header.last_offset_delta
    cdef AbortedTransaction aborted
    cdef bint has_aborted = producers_apply(&log.producers, header, batch.data, batch.size, &aborted)
    cdef OffsetPosition* tail
    cdef int error = write_aborted(log, active, &aborted) if has_aborted else STORAGE_OK
    if header.leader_epoch > epochs_latest(&log.epochs):
        begin_epoch(log, header.leader_epoch, header.base_offset)
    pthread_mutex_lock(&log.segments_mutex)
    # If memory for an index entry runs out, lookups are only slower.
    segment_index_batch(
        active, last_offset, records_timestamp(header), position, <int64_t>batch.size, config.index_interval_bytes)
    if has_aborted:
        transactions_append(&log.aborted, &aborted)     # log_reserve_for_marker made room
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
    return error


# The same for log_follow: an append of the leader has both inlined.


cdef bint must_roll(
    Segment* active, const LogConfig* config, int64_t jitter_ms, ValidBatch* batch, int64_t now_ms
) noexcept nogil:
    return begins_segment(active, config, jitter_ms, batch, now_ms)


cdef int publish_batch(Log* log, const LogConfig* config, ValidBatch* batch) noexcept nogil:
    return publish(log, config, batch)
