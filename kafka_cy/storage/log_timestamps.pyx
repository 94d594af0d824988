"""Finding records of a log by their timestamps."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from kafka_cy.base.posix cimport EIO, ENOENT, modified_ms_of_fd, pthread_mutex_lock, pthread_mutex_unlock, read_some
from kafka_cy.records.batch cimport LOG_OVERHEAD, BatchHeader, batch_find_timestamp
from kafka_cy.records.compression cimport Codecs
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_header, cursor_init, records_timestamp
from kafka_cy.storage.log_epochs cimport log_epoch_of
from kafka_cy.storage.log_failure cimport fail_read
from kafka_cy.storage.log_struct cimport Log, log_config, log_start_offset, segment_floor
from kafka_cy.storage.offset_index cimport offset_index_floor
from kafka_cy.storage.segment cimport (
    Segment, segment_acquire, segment_pin, segment_release, segment_size, segment_unpin, segment_unref,
)
from kafka_cy.storage.segment_index cimport segment_map_indexes
from kafka_cy.storage.storage_error cimport STORAGE_CORRUPT, STORAGE_NO_MEMORY, STORAGE_OK
from kafka_cy.storage.time_index cimport time_entry_timestamp, time_index_floor

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
    """The first record that has the log's largest timestamp.

    The segment with the log start may have it in a record that was deleted. Only when nothing is found, its batches are searched.
    """
    cdef int64_t best = -1
    cdef bint exactly = False
    cdef int error = largest_timestamp(log, codecs, exactly, &best)
    found[0] = False
    epoch[0] = -1
    if not error and best >= 0:
        error = log_offset_for_timestamp(log, codecs, best, offset, timestamp_ms, epoch, found)
    if not error and best >= 0 and not found[0]:
        exactly = True
        error = largest_timestamp(log, codecs, exactly, &best)
        if not error and best >= 0:
            error = log_offset_for_timestamp(log, codecs, best, offset, timestamp_ms, epoch, found)
    return error


cdef int largest_timestamp(Log* log, Codecs* codecs, bint exactly, int64_t* best) noexcept nogil:
    """Of all segments with records (-1: none), as a StorageError. Not `exactly`: also of deleted records before the log start."""
    cdef int64_t start_offset = log_start_offset(log)
    cdef int64_t base_offset
    cdef int64_t bytes = 0
    cdef int64_t max_timestamp = -1
    cdef int64_t position = 0
    cdef int error = STORAGE_OK
    cdef int failed
    cdef Segment* segment
    best[0] = -1
    pthread_mutex_lock(&log.segments_mutex)
    base_offset = log.segments[segment_floor(log, start_offset)].base_offset - 1
    pthread_mutex_unlock(&log.segments_mutex)
    segment = acquire_after(log, base_offset, &bytes)
    while segment != NULL and not error:
        failed = segment_pin(segment)
        if failed:
            segment_unref(segment)
            return fail_read(log, failed)
        base_offset = segment.base_offset
        if exactly and base_offset < start_offset:
            error = search_largest(log, codecs, segment, bytes if bytes >= 0 else segment_size(segment), start_offset, best)
        else:
            failed = time_bounds(log, segment, 0, &max_timestamp, &position)
            error = fail_read(log, failed) if failed else STORAGE_OK
            best[0] = max(best[0], max_timestamp)
        segment_release(segment)
        segment = acquire_after(log, base_offset, &bytes) if not error else NULL
    return error


cdef int search_largest(
    Log* log, Codecs* codecs, Segment* segment, int64_t bytes, int64_t start_offset, int64_t* best
) noexcept nogil:
    """Raise `best` to the largest timestamp of a segment's records from `start_offset` on. A StorageError. The batch with the log
    start is bisected at last: it has some records more than those that count."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef BatchHeader cut
    cdef int64_t position = 0
    cdef int64_t cut_position = -1
    cdef int there
    cursor_init(&cursor, segment, bytes)
    there = cursor_header(&cursor, position, &header)
    while there > 0:
        if header.base_offset >= start_offset:
            best[0] = max(best[0], records_timestamp(&header))
        elif header.base_offset + header.last_offset_delta >= start_offset:
            cut = header
            cut_position = position
        position += LOG_OVERHEAD + header.length
        there = cursor_header(&cursor, position, &header)
    if there < 0:
        return fail_read(log, -there)
    return bisect_largest(log, codecs, segment, cut_position, &cut, start_offset, best) if cut_position >= 0 else STORAGE_OK


cdef int bisect_largest(
    Log* log, Codecs* codecs, Segment* segment, int64_t position, const BatchHeader* header, int64_t start_offset, int64_t* best
) noexcept nogil:
    cdef int64_t high = records_timestamp(header)
    cdef int64_t middle
    cdef int64_t offset = -1
    cdef int64_t timestamp_ms = -1
    cdef int found
    while best[0] < high:
        middle = best[0] + (high - best[0] + 1) // 2
        found = search_batch(log, codecs, segment, position, header, middle, start_offset, &offset, &timestamp_ms)
        if found < 0:
            return -found
        if found:
            best[0] = max(timestamp_ms, middle)
        else:
            high = middle - 1
    return STORAGE_OK


cdef int64_t segment_max_timestamp(Log* log, Segment* segment) noexcept nogil:
    """What time-based retention counts from: the largest timestamp, else the file's last change. 0, as in Kafka, if the file is
    gone. -1: unknown, as the files cannot be read now."""
    cdef int64_t max_timestamp = -1
    cdef int64_t position = 0
    cdef int failed = segment_pin(segment)
    if not failed:
        failed = time_bounds(log, segment, 0, &max_timestamp, &position)
        if not failed and max_timestamp < 0:
            max_timestamp = modified_ms_of_fd(segment.fd)
        segment_unpin(segment)
    if failed == ENOENT:
        return 0
    if failed:
        fail_read(log, failed)
        return -1
    return max_timestamp


cdef int64_t first_batch_timestamp(Segment* segment) noexcept nogil:
    """-1: missing or unreadable."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t timestamp = -1
    if segment_pin(segment):
        return -1
    cursor_init(&cursor, segment, segment_size(segment))
    if cursor_header(&cursor, 0, &header) > 0:
        timestamp = header.max_timestamp
    segment_unpin(segment)
    return timestamp


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
