"""Opening: list the files, trust what was flushed, re-scan the rest. Closing: write what a clean start needs. Functions before
log_open return 0 or an errno."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free

from kafka_cy.base.atomics cimport atomic_add_i32, atomic_load_i32, atomic_store_i32, atomic_sub_i32
from kafka_cy.base.posix cimport EINVAL, ENOMEM, PATH_BYTES_MAX, name_file, pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.records.batch cimport LOG_OVERHEAD, BatchHeader
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_header, cursor_init, records_timestamp
from kafka_cy.storage.index_table cimport table_free, table_load
from kafka_cy.storage.leader_epochs cimport epochs_read, epochs_truncate_start
from kafka_cy.storage.log_epochs cimport write_epochs
from kafka_cy.storage.log_failure cimport fail_log
from kafka_cy.storage.log_files cimport Listing, Repairs, listing_free, listing_read
from kafka_cy.storage.log_flush cimport flush_locked, log_flush, log_sync_names, settle_rolled
from kafka_cy.storage.log_lifetime cimport log_new, log_unref
from kafka_cy.storage.log_producers cimport SnapshotBytes, encode_snapshot, write_snapshot
from kafka_cy.storage.log_recovery cimport check_aborted_below_end, load_aborted, load_producers, rebuild_epochs, recover_from
from kafka_cy.storage.log_segments cimport add_segment, new_active
from kafka_cy.storage.log_struct cimport LOG_CLOSED, LOG_ONLINE, Log, active_segment, log_config, segment_floor
from kafka_cy.storage.log_truncation cimport truncate_fully_locked
from kafka_cy.storage.offset_index cimport offset_entry_relative, position_index_floor
from kafka_cy.storage.producer_state cimport producers_first_unreplicated
from kafka_cy.storage.segment cimport Segment, segment_new, segment_pin, segment_trim, segment_unpin
from kafka_cy.storage.segment_index cimport segment_index_batch, segment_seal_times, segment_write_indexes
from kafka_cy.storage.storage_error cimport STORAGE_IO_ERROR, STORAGE_NO_MEMORY, STORAGE_OK
from kafka_cy.storage.time_index cimport time_entry_relative, time_entry_timestamp

cdef int load_files(Log* log, Listing* listing, int64_t start_offset, int64_t recovery_point, bint clean) noexcept nogil:
    cdef Segment* segment
    cdef int32_t i, rescanned
    cdef int failed = epochs_read(&log.epochs, log.folder.name)
    cdef bint epochs_lost = failed == EINVAL
    if failed and not epochs_lost:
        return failed           # unreadable is not broken: the batches do not tell of an epoch without any
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
        listing.repairs.epoch_checkpoints = 1
        failed = rebuild_epochs(log)
        if failed:
            return failed
    rescanned = log.segments_count if clean else segment_floor(log, max(recovery_point, 0))
    failed = load_aborted(log, listing, rescanned)
    if failed:
        return failed
    failed = load_clean(log, listing) if clean else recover_from(log, listing, rescanned)
    active_segment(log).preallocated = log_config(log).preallocate
    log.start_offset = min(max(log.segments[0].base_offset, start_offset), log.end_offset)
    epochs_truncate_start(&log.epochs, log.start_offset)
    log.flushed_offset = log.end_offset if clean else min(max(recovery_point, log.start_offset), log.end_offset)
    log.first_unreplicated = producers_first_unreplicated(&log.producers)
    log.first_unstable = log.producers.first_unstable
    if not failed and start_offset > log.end_offset:
        # The records that remained after DeleteRecords are lost; their offsets must not be reused.
        failed = truncate_fully_locked(log, start_offset)
    return failed


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
        failed = check_aborted_below_end(log, listing)
    if not failed:
        failed = load_producers(log, listing, log.end_offset)
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


cdef int log_open(
    const char* directory, SharedConfig* config, int64_t start_offset, int64_t recovery_point, bint clean, Log** out,
    Repairs* repairs, int* error_number
) noexcept nogil:
    cdef Listing listing
    cdef Log* log = NULL
    cdef int failed = listing_read(&listing, directory)
    if not failed:
        failed = log_new(directory, config, &log)
        if not failed:
            failed = load_files(log, &listing, start_offset, recovery_point, clean)
        repairs[0] = listing.repairs
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


cdef int write_closing(Log* log, bint sync) noexcept nogil:
    """Write what a clean start reads: the active segment's indexes, the producers, the epochs. With the flush and the append
    mutex. 0 or an errno."""
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
    if not failed:
        failed = write_epochs(log)
    if not failed and sync:
        failed = log_sync_names(log)
    return failed
