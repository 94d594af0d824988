"""Log compaction: one round of one log (Kafka's Cleaner).

The round first maps each key of the dirty part to the offset of its last record. It then copies every segment up to
that point without superseded records, merging several small segments into one. Each copy replaces its originals.
Readers are not disturbed: they keep the segments that they hold.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.clock cimport wall_clock_ms
from kafka_cy.base.posix cimport (
    O_CREAT, O_RDWR, O_TRUNC, PATH_BYTES_MAX, close, copy_modified_time, modified_ms_of_fd, modified_ms_of_file, open_file,
    pthread_mutex_lock, pthread_mutex_unlock, size_of_file, sync_data, sync_path, unlink, write_whole,
)
from kafka_cy.records.batch cimport ATTRIBUTE_CONTROL, BatchHeader
from kafka_cy.records.compression cimport codecs_free, codecs_new
from kafka_cy.records.wire cimport writer_free, writer_init
from kafka_cy.storage.cleaned_batch cimport batch_clean, batch_note_keys, batch_see_transaction
from kafka_cy.storage.cleaned_transactions cimport cleaned_transactions_free, cleaned_transactions_init
from kafka_cy.storage.cleaner_control cimport CleanerConfig, CleanerControl, control_destroy, control_init, monotonic_ms
from kafka_cy.storage.cleaner_reader cimport BatchReader, Cleaning, RoundStats, io_error, next_batch, reader_init, throttle
from kafka_cy.storage.index_table cimport IndexTable, table_free, table_init, table_write
from kafka_cy.storage.log cimport PartitionLog
from kafka_cy.storage.log_cleaning cimport Cleanable, CleanedSegment, log_cleanable, log_replace_segments, log_set_cleaned
from kafka_cy.storage.log_flush cimport log_sync_names
from kafka_cy.storage.log_producers cimport log_copy_aborted, log_copy_last_records
from kafka_cy.storage.log_segments cimport log_closed_segments, log_name_file
from kafka_cy.storage.log_struct cimport Log, LogConfig, log_check_state, log_config, log_end_offset, log_first_unstable_offset
from kafka_cy.storage.offset_index cimport OFFSET_ENTRY_SIZE, offset_index_floor
from kafka_cy.storage.offset_map cimport offset_map_free, offset_map_init
from kafka_cy.storage.producer_state cimport LastRecord
from kafka_cy.storage.segment cimport Segment, segment_pin, segment_size, segment_unpin, segment_unref, segments_give_way
from kafka_cy.storage.segment_index cimport segment_index_batch, segment_map_indexes, segment_seal_times
from kafka_cy.storage.storage_error cimport (
    STORAGE_BATCH_TOO_LARGE, STORAGE_DELETED, STORAGE_IO_ERROR, STORAGE_NO_MEMORY, STORAGE_OFFLINE, STORAGE_OK,
)
from kafka_cy.storage.time_index cimport TIME_ENTRY_SIZE
from kafka_cy.storage.transaction_index cimport AbortedTransaction, transactions_write_file

from kafka_cy.storage.log_failure import STORAGE_ERROR_NAMES, StorageFailure

cdef enum:
    SEGMENT_BYTES_MAX = 0x7fffffff
    IO_BUFFER_MIN = 4096

# The segment being written.
cdef struct NewSegment:
    Segment indexes             # for its index tables and timestamps
    int fd
    int64_t written             # bytes in the file; later bytes are in Cleaning.output


# -- the key map --

cdef int note_segment(Cleaning* cleaning, Segment* segment, bint* full) noexcept nogil:
    """Add the keys of a pinned segment to the map, from first_dirty on. Aborted data is ignored."""
    cdef BatchReader reader
    cdef BatchHeader header
    cdef const uint8_t* data = NULL
    cdef int64_t last_offset
    cdef int outcome = 0
    cdef int error = reader_init(cleaning, &reader, segment)
    if not error:
        error = io_error(cleaning, segment_map_indexes(segment))
    if error:
        return error
    reader.position = offset_index_floor(&segment.offsets, cleaning.cleanable.first_dirty - segment.base_offset)
    while not error and reader.position < reader.size:
        error = next_batch(cleaning, &reader, &data, &header)
        last_offset = header.base_offset + header.last_offset_delta
        if error or last_offset < cleaning.cleanable.first_dirty:
            continue
        outcome = batch_see_transaction(&cleaning.filter, data, &header)
        if outcome < 0:
            return STORAGE_NO_MEMORY
        if outcome == 0 and (header.magic < 2 or header.attributes & ATTRIBUTE_CONTROL == 0):
            outcome = batch_note_keys(&cleaning.filter, data, &header, cleaning.cleanable.first_dirty)
            if outcome < 0:
                return -outcome
            full[0] = outcome == 1
            if full[0]:
                return STORAGE_OK
        cleaning.filter.latest_offset = last_offset
    cleaning.stats.map_bytes_read += reader.size
    return error


cdef int build_map(Cleaning* cleaning, Segment** segments, int32_t count, int64_t next_base) noexcept nogil:
    """Map the keys of all dirty segments. The round ends where the map is full."""
    cdef AbortedTransaction* aborted = NULL
    cdef int32_t aborted_count = 0
    cdef int64_t segment_end
    cdef int32_t i
    cdef bint full = False
    cdef int error = log_copy_aborted(
        cleaning.log, cleaning.cleanable.first_dirty, cleaning.cleanable.first_uncleanable, &aborted, &aborted_count)
    if error:
        return error
    cleaned_transactions_init(&cleaning.transactions, aborted, aborted_count)
    for i in range(count):
        segment_end = segments[i + 1].base_offset if i + 1 < count else next_base
        if error or full or segment_end <= cleaning.cleanable.first_dirty:
            continue
        error = io_error(cleaning, segment_pin(segments[i]))
        if error:
            continue
        error = note_segment(cleaning, segments[i], &full)
        segment_unpin(segments[i])
        if not error and not full:
            cleaning.filter.latest_offset = segment_end - 1    # any missing offsets at its end are a hole
    cleaned_transactions_free(&cleaning.transactions)
    cleaning.end_offset = cleaning.filter.latest_offset + 1
    cleaning.stats.buffer_utilization = <double>cleaning.latest.count / cleaning.latest.capacity_max
    if not error and full and cleaning.end_offset <= cleaning.cleanable.first_dirty:
        return STORAGE_BATCH_TOO_LARGE      # the keys of one batch exceed the map's capacity
    return error


# -- the new segment --

cdef int create_cleaned(Cleaning* cleaning, NewSegment* fresh, int64_t base_offset) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    memset(fresh, 0, sizeof(NewSegment))
    fresh.indexes.base_offset = base_offset
    fresh.indexes.first_timestamp = -1
    fresh.indexes.max_timestamp = -1
    fresh.indexes.max_timestamp_offset = -1
    table_init(&fresh.indexes.offsets, OFFSET_ENTRY_SIZE)
    table_init(&fresh.indexes.times, TIME_ENTRY_SIZE)
    log_name_file(cleaning.log, base_offset, b".log.cleaned", path)
    fresh.fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC)
    while fresh.fd < 0 and segments_give_way(-fresh.fd):
        fresh.fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC)
    return io_error(cleaning, -fresh.fd if fresh.fd < 0 else 0)


cdef int write_out(Cleaning* cleaning, NewSegment* fresh) noexcept nogil:
    cdef int failed
    if cleaning.output.size == 0:
        return STORAGE_OK
    failed = write_whole(fresh.fd, cleaning.output.data, cleaning.output.size, fresh.written)
    if failed:
        return io_error(cleaning, failed)
    fresh.written += <int64_t>cleaning.output.size
    cleaning.stats.bytes_written += <int64_t>cleaning.output.size
    throttle(cleaning, <int64_t>cleaning.output.size)
    cleaning.output.size = 0
    return STORAGE_OK


cdef int clean_segment(Cleaning* cleaning, NewSegment* fresh, Segment* segment) noexcept nogil:
    """Append what remains of a pinned segment to the new one."""
    cdef BatchReader reader
    cdef BatchHeader header
    cdef const uint8_t* data = NULL
    cdef int64_t max_timestamp = -1
    cdef int64_t position
    cdef size_t before
    cdef int error = reader_init(cleaning, &reader, segment)
    while not error and reader.position < reader.size:
        error = next_batch(cleaning, &reader, &data, &header)
        if error:
            return error
        before = cleaning.output.size
        position = fresh.written + <int64_t>before
        error = batch_clean(&cleaning.filter, data, &header, &cleaning.output, &max_timestamp)
        if error or cleaning.output.size == before:
            continue
        if fresh.written + <int64_t>cleaning.output.size > SEGMENT_BYTES_MAX:
            return STORAGE_BATCH_TOO_LARGE
        error = io_error(cleaning, segment_index_batch(
            &fresh.indexes, header.base_offset + header.last_offset_delta, max_timestamp, position,
            <int64_t>(cleaning.output.size - before), log_config(cleaning.log).index_interval_bytes))
        if not error and cleaning.output.size >= cleaning.io_bytes:
            error = write_out(cleaning, fresh)
    cleaning.stats.bytes_read += reader.size
    return error


cdef int write_index(Cleaning* cleaning, IndexTable* table, int64_t base_offset, const char* suffix) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int failed
    log_name_file(cleaning.log, base_offset, suffix, path)
    unlink(path)                # left by a stopped round
    failed = table_write(table, path, True)
    while failed and segments_give_way(failed):
        failed = table_write(table, path, True)
    return io_error(cleaning, failed if failed else sync_path(path))


cdef int finish_cleaned(Cleaning* cleaning, NewSegment* fresh, Segment* last_replaced) noexcept nogil:
    """Finish the new segment: all files are complete and on disk, with the mtime of the last original."""
    cdef char path[PATH_BYTES_MAX]
    cdef int error = write_out(cleaning, fresh)
    if error:
        return error
    segment_seal_times(&fresh.indexes)
    copy_modified_time(last_replaced.fd, fresh.fd)
    error = io_error(cleaning, sync_data(fresh.fd))
    if not error:
        error = write_index(cleaning, &fresh.indexes.offsets, fresh.indexes.base_offset, b".index.cleaned")
    if not error:
        error = write_index(cleaning, &fresh.indexes.times, fresh.indexes.base_offset, b".timeindex.cleaned")
    if error:
        return error
    log_name_file(cleaning.log, fresh.indexes.base_offset, b".txnindex.cleaned", path)
    error = io_error(cleaning, transactions_write_file(&cleaning.transactions.kept, path, 0, 0x7fffffffffffffff))
    if not error and cleaning.transactions.kept.count > 0:
        error = io_error(cleaning, sync_path(path))
    return error


cdef void unlink_cleaned(Log* log, int64_t base_offset) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    log_name_file(log, base_offset, b".log.cleaned", path)
    unlink(path)
    log_name_file(log, base_offset, b".index.cleaned", path)
    unlink(path)
    log_name_file(log, base_offset, b".timeindex.cleaned", path)
    unlink(path)
    log_name_file(log, base_offset, b".txnindex.cleaned", path)
    unlink(path)


cdef int copy_segments(Cleaning* cleaning, NewSegment* fresh, Segment** segments, int32_t count) noexcept nogil:
    """Copy pinned segments into the finished files of a new one."""
    cdef LastRecord* last_records = NULL
    cdef int32_t i
    cdef int error = log_copy_last_records(cleaning.log, &last_records, &cleaning.filter.last_records_count)
    cleaning.filter.last_records = last_records
    cleaning.transactions.kept.count = 0
    for i in range(count):
        if not error:
            cleaning.filter.keep_legacy_tombstones = modified_ms_of_fd(segments[i].fd) > cleaning.legacy_horizon_ms
            error = clean_segment(cleaning, fresh, segments[i])
    free(last_records)
    cleaning.filter.last_records = NULL
    cleaning.filter.last_records_count = 0
    return error if error else finish_cleaned(cleaning, fresh, segments[count - 1])


cdef int clean_group(Cleaning* cleaning, Segment** segments, int32_t count, int64_t next_base) noexcept nogil:
    """Replace `segments` with one new segment; the next segment begins at `next_base`."""
    cdef NewSegment fresh
    cdef CleanedSegment cleaned
    cdef int32_t pinned = 0
    cdef int32_t i
    cdef int failed = 0
    cdef int error = STORAGE_OK
    while pinned < count and not error:
        error = io_error(cleaning, segment_pin(segments[pinned]))
        if error:
            break
        pinned += 1
        # Readers that hold a segment continue after its files are renamed: its indexes are mapped as long as it is
        # pinned.
        error = io_error(cleaning, segment_map_indexes(segments[pinned - 1]))
    if not error:
        error = create_cleaned(cleaning, &fresh, segments[0].base_offset)
        if not error:
            cleaning.output.size = 0
            error = copy_segments(cleaning, &fresh, segments, count)
            close(fresh.fd)
        table_free(&fresh.indexes.offsets)
        table_free(&fresh.indexes.times)
        if not error:
            cleaned.base_offset = segments[0].base_offset
            cleaned.next_base = next_base
            cleaned.size = fresh.written
            cleaned.truncations = cleaning.truncations
            cleaned.aborted = &cleaning.transactions.kept
            error = log_replace_segments(cleaning.log, segments, count, &cleaned, &failed)
            if error == STORAGE_IO_ERROR:
                error = io_error(cleaning, failed)
        if error and log_check_state(cleaning.log) != STORAGE_OFFLINE:
            unlink_cleaned(cleaning.log, segments[0].base_offset)
    for i in range(pinned):
        segment_unpin(segments[i])
    return error


# -- the round --

cdef int32_t group_size(Cleaning* cleaning, Segment** segments, int32_t count, int64_t next_base) noexcept nogil:
    """How many segments, from the first on, are merged into one (Kafka's groupSegmentsBySize)."""
    cdef LogConfig config = log_config(cleaning.log)
    cdef int64_t bytes = segment_size(segments[0])
    cdef int64_t index_bytes = index_size(cleaning.log, segments[0], b".index")
    cdef int64_t time_bytes = index_size(cleaning.log, segments[0], b".timeindex")
    cdef int64_t end
    cdef int32_t i = 1
    while i < count and i < GROUP_SEGMENTS_MAX:
        end = segments[i + 1].base_offset if i + 1 < count else next_base
        bytes += segment_size(segments[i])
        index_bytes += index_size(cleaning.log, segments[i], b".index")
        time_bytes += index_size(cleaning.log, segments[i], b".timeindex")
        if bytes > config.segment_bytes or index_bytes > config.segment_index_bytes or time_bytes > config.segment_index_bytes:
            break
        if segment_size(segments[i]) > 0 and end - 1 - segments[0].base_offset > 0x7fffffff:
            break
        i += 1
    return i


cdef int64_t index_size(Log* log, Segment* segment, const char* suffix) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    cdef int64_t size
    log_name_file(log, segment.base_offset, suffix, path)
    size = size_of_file(path)
    return size if size > 0 else 0


cdef int64_t legacy_horizon(Log* log, Segment** segments, int32_t count, int64_t first_dirty) noexcept nogil:
    """delete.retention.ms before the last change of the last clean segment; unset before the first cleaning."""
    cdef char path[PATH_BYTES_MAX]
    cdef int32_t i
    cdef int64_t modified_ms
    for i in range(count - 1, -1, -1):
        if segments[i].base_offset < first_dirty:
            log_name_file(log, segments[i].base_offset, b".log", path)
            modified_ms = modified_ms_of_file(path)
            if modified_ms < log_config(log).delete_retention_ms:
                return 0
            return modified_ms - log_config(log).delete_retention_ms
    return 0


cdef int clean_groups(Cleaning* cleaning, Segment** segments, int32_t count, int64_t next_base) noexcept nogil:
    cdef AbortedTransaction* aborted = NULL
    cdef int32_t aborted_count = 0
    cdef int64_t group_end
    cdef int32_t i = 0
    cdef int32_t size, j
    cdef int error = log_copy_aborted(cleaning.log, 0, cleaning.cleanable.first_uncleanable, &aborted, &aborted_count)
    if error:
        return error
    cleaned_transactions_init(&cleaning.transactions, aborted, aborted_count)
    cleaning.legacy_horizon_ms = legacy_horizon(cleaning.log, segments, count, cleaning.cleanable.first_dirty)
    while not error and i < count and segments[i].base_offset < cleaning.end_offset:
        size = group_size(cleaning, segments + i, count - i, next_base)
        while size > 1 and segments[i + size - 1].base_offset >= cleaning.end_offset:
            size -= 1
        group_end = segments[i + size].base_offset if i + size < count else next_base
        error = clean_group(cleaning, segments + i, size, group_end)
        for j in range(i, i + size):    # replaced segments are closed here, unless readers hold them
            segment_unref(segments[j])
            segments[j] = NULL
        i += size
        cleaning.stats.segments_before += size
        cleaning.stats.segments_after += 1
    cleaned_transactions_free(&cleaning.transactions)
    return error


cdef int begin(Cleaning* cleaning, CleanerControl* control, Log* log, const Cleanable* cleanable, int64_t now_ms) noexcept nogil:
    cdef CleanerConfig config
    memset(cleaning, 0, sizeof(Cleaning))
    pthread_mutex_lock(&control.mutex)
    config = control.config
    pthread_mutex_unlock(&control.mutex)
    cleaning.control = control
    cleaning.log = log
    cleaning.cleanable = cleanable
    cleaning.truncations = atomic_load_i32(&log.truncations)
    cleaning.io_bytes = <size_t>max(config.io_buffer_bytes // max(config.threads, 1) // 2, IO_BUFFER_MIN)
    cleaning.io_bytes_per_second = max(config.io_bytes_per_second, 1.0)
    offset_map_init(&cleaning.latest, config.dedupe_buffer_bytes // max(config.threads, 1), config.load_max)
    writer_init(&cleaning.output, SEGMENT_BYTES_MAX)
    cleaning.filter.latest = &cleaning.latest
    cleaning.filter.latest_offset = cleanable.first_dirty - 1
    cleaning.filter.round_end = cleanable.first_uncleanable
    cleaning.filter.transactions = &cleaning.transactions
    cleaning.filter.now_ms = now_ms
    cleaning.filter.delete_retention_ms = log_config(log).delete_retention_ms
    cleaning.filter.unpacked_bytes_max = <size_t>log_config(log).rules.unpacked_bytes_max
    writer_init(&cleaning.filter.kept, SEGMENT_BYTES_MAX)
    writer_init(&cleaning.filter.plain, SEGMENT_BYTES_MAX)
    cleaning.filter.codecs = codecs_new()
    return STORAGE_OK if cleaning.filter.codecs != NULL else STORAGE_NO_MEMORY


cdef void end(Cleaning* cleaning) noexcept nogil:
    offset_map_free(&cleaning.latest)
    codecs_free(cleaning.filter.codecs)
    writer_free(&cleaning.filter.kept)
    writer_free(&cleaning.filter.plain)
    writer_free(&cleaning.output)
    free(cleaning.input)


cdef int clean_log(
    CleanerControl* control, Log* log, const Cleanable* cleanable, int64_t now_ms, RoundStats* stats, int* failed_errno
) noexcept nogil:
    cdef Cleaning cleaning
    cdef Segment** segments = NULL
    cdef int64_t next_base = 0
    cdef int32_t count = 0
    cdef int32_t i
    cdef int error = begin(&cleaning, control, log, cleanable, now_ms)
    memset(stats, 0, sizeof(RoundStats))
    cleaning.stats = stats
    stats.started_ms = monotonic_ms()
    stats.first_dirty = cleanable.first_dirty
    if not error:
        error = log_closed_segments(log, cleanable.first_uncleanable, &segments, &count, &next_base)
    if not error:
        error = build_map(&cleaning, segments, count, next_base)
    if not error:
        error = clean_groups(&cleaning, segments, count, next_base)
    if not error:
        error = io_error(&cleaning, log_sync_names(log))
    if not error:
        stats.end_offset = cleaning.end_offset
        log_set_cleaned(log, cleaning.end_offset, cleaning.truncations)
    elif atomic_load_i32(&log.truncations) != cleaning.truncations:
        error = STORAGE_DELETED         # a file was cut while it was read: neither it nor the disk is damaged
    for i in range(count):
        if segments[i] != NULL:
            segment_unref(segments[i])
    free(segments)
    failed_errno[0] = cleaning.failed_errno
    end(&cleaning)
    stats.elapsed_ms = monotonic_ms() - stats.started_ms
    return error


cdef int64_t stable_offset_of(Log* log) noexcept nogil:
    cdef int64_t first_unstable = log_first_unstable_offset(log)
    return first_unstable if first_unstable >= 0 else log_end_offset(log)


def cleanable(PartitionLog log not None, *, last_stable_offset=None, now_ms=None):
    """What could be cleaned: first_dirty, first_uncleanable (offsets), clean_bytes, dirty_bytes, overdue_ms."""
    cdef Cleanable found
    cdef int64_t stable = stable_offset_of(log.log) if last_stable_offset is None else last_stable_offset
    cdef int64_t now = wall_clock_ms() if now_ms is None else now_ms
    cdef int error
    with nogil:
        error = log_cleanable(log.log, stable, now, &found)
    if error:
        raise StorageFailure(f"what is dirty: {STORAGE_ERROR_NAMES[error]}", error)
    return found


def clean(
    PartitionLog log not None, *, last_stable_offset=None, now_ms=None, dedupe_buffer_bytes=134217728, io_buffer_bytes=524288,
    load_factor=0.9,
):
    """Run one round regardless of the dirty ratio. Returns its statistics, or None when nothing is dirty.

    Raises StorageFailure. Code STORAGE_DELETED (12) means that retention or truncation removed what was being
    cleaned, or that the log was closed or held; a later round may succeed.
    """
    cdef CleanerControl control
    cdef Cleanable found = cleanable(log, last_stable_offset=last_stable_offset, now_ms=now_ms)
    cdef RoundStats stats
    cdef int64_t now = wall_clock_ms() if now_ms is None else now_ms
    cdef int failed_errno = 0
    cdef int error
    if found.dirty_bytes <= 0:
        return None
    control_init(&control)
    control.config.threads = 1
    control.config.dedupe_buffer_bytes = dedupe_buffer_bytes
    control.config.io_buffer_bytes = io_buffer_bytes
    control.config.io_bytes_per_second = 1e300
    control.config.load_max = load_factor
    with nogil:
        error = clean_log(&control, log.log, &found, now, &stats, &failed_errno)
    control_destroy(&control)
    if error:
        why = "what it was at is gone, or held" if error == STORAGE_DELETED else STORAGE_ERROR_NAMES[error]
        raise StorageFailure(f"cleaning was stopped: {why}", error, failed_errno)
    return stats
