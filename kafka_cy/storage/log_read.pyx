"""Reading whole batches. The segments mutex is held for the look-up only; files are read with the segment pinned."""
from libc.errno cimport EAGAIN
from libc.stdint cimport int32_t, int64_t

from kafka_cy.base.atomics cimport atomic_load_i64
from kafka_cy.base.posix cimport pthread_mutex_lock, pthread_mutex_unlock
from kafka_cy.records.batch cimport LOG_OVERHEAD, BatchHeader
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_find_offset, cursor_find_position, cursor_header, cursor_init
from kafka_cy.storage.log_failure cimport fail_read
from kafka_cy.storage.log_struct cimport (
    REMEMBERED_READS, TAIL_BATCHES, Log, OffsetPosition, ReadResult, log_check_state, segment_floor,
)
from kafka_cy.storage.offset_index cimport offset_index_floor, position_index_floor
from kafka_cy.storage.segment cimport Segment, segment_acquire, segment_pin, segment_release, segment_size, segment_unref
from kafka_cy.storage.segment_index cimport segment_map_indexes
from kafka_cy.storage.storage_error cimport (
    STORAGE_CORRUPT, STORAGE_IO_ERROR, STORAGE_NOT_CACHED, STORAGE_OFFSET_OUT_OF_RANGE, STORAGE_OK,
)

# Result of a read's lookup under the mutex.
cdef struct Lookup:
    Segment* segment            # one reference
    bint cached_only            # return STORAGE_NOT_CACHED instead of waiting for the disk
    int64_t bytes               # readable bytes of the segment
    int64_t next_base           # base offset of the next segment, or the log's end
    int64_t start_hint          # a batch start at or before the wanted one
    bint start_exact
    int64_t end_hint            # a batch start at or before the first unwanted batch; -1 unknown
    bint end_exact
    int64_t cut_hint            # a batch start at or before start + bytes_max; -1 unknown
    int64_t end_offset          # see ReadResult


cdef int log_read(
    Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always, ReadResult* result
) noexcept nogil:
    return read_log(log, offset, offset_max, bytes_max, first_batch_always, False, result)


cdef int log_read_cached(
    Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always, ReadResult* result
) noexcept nogil:
    return read_log(log, offset, offset_max, bytes_max, first_batch_always, True, result)


cdef int read_log(
    Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always, bint cached_only,
    ReadResult* result,
) noexcept nogil:
    cdef Lookup found
    cdef int32_t i = -1
    cdef int64_t start = 0
    cdef int64_t end = 0
    cdef int error
    result.segment = NULL
    result.fd = -1
    result.position = 0
    result.size = 0
    while True:
        pthread_mutex_lock(&log.segments_mutex)
        error = log_check_state(log)
        if not error and (offset < log.start_offset or offset > log.end_offset):
            error = STORAGE_OFFSET_OUT_OF_RANGE
        if error or min(offset_max, log.end_offset) <= offset:
            pthread_mutex_unlock(&log.segments_mutex)
            return error
        i = segment_floor(log, offset)
        look_up_at(log, i, offset, min(offset_max, log.end_offset), bytes_max, &found)
        pthread_mutex_unlock(&log.segments_mutex)
        found.cached_only = cached_only
        if cached_only and atomic_load_i64(&found.segment.pins) < 0:    # opening may wait for the disk
            segment_unref(found.segment)
            return STORAGE_NOT_CACHED
        error = segment_pin(found.segment)
        if error:
            segment_unref(found.segment)
            return read_failed(log, error)
        error = read_found(log, &found, offset, offset_max, bytes_max, first_batch_always, &start, &end)
        if error or end <= start:
            segment_release(found.segment)
            if error or start < found.bytes or found.next_base <= offset:
                return error
            offset = found.next_base    # hole at the end of the segment: its records were compacted away
            continue
        result.segment = found.segment
        result.fd = found.segment.fd
        result.position = start
        result.size = end - start
        result.end_offset = found.end_offset
        return STORAGE_OK


cdef void look_up_at(Log* log, int32_t i, int64_t offset, int64_t offset_max, int64_t bytes_max, Lookup* found) noexcept nogil:
    """Call with segments_mutex."""
    cdef Segment* segment = log.segments[i]
    found.segment = segment_acquire(segment)
    found.start_exact = offset <= segment.base_offset or remembered_position(log, segment.base_offset, offset, &found.start_hint)
    if offset <= segment.base_offset:
        found.start_hint = 0
    found.end_hint = -1
    found.end_exact = False
    found.cut_hint = -1
    if segment.active:
        found.bytes = segment.size
        found.next_base = log.end_offset
        look_up_active(log, offset, offset_max, bytes_max, found)
    else:
        found.bytes = -1
        found.next_base = log.segments[i + 1].base_offset
    found.end_offset = min(offset_max, found.next_base)


cdef void look_up_active(Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, Lookup* found) noexcept nogil:
    """Call with segments_mutex: the active segment's indexes may move when they grow."""
    cdef Segment* segment = found.segment
    cdef int64_t position = 0
    if not found.start_exact and tail_position(log, offset, &position, &found.start_exact):
        found.start_hint = position
    elif not found.start_exact:
        found.start_hint = offset_index_floor(&segment.offsets, offset - segment.base_offset)
    if offset_max >= found.next_base:
        found.end_hint = found.bytes
        found.end_exact = True
    elif tail_position(log, offset_max, &position, &found.end_exact):
        found.end_hint = position
    else:
        found.end_hint = offset_index_floor(&segment.offsets, offset_max - 1 - segment.base_offset)
    if found.bytes - found.start_hint > bytes_max:
        found.cut_hint = position_index_floor(&segment.offsets, found.start_hint + bytes_max)


cdef int look_up_closed(Log* log, int64_t offset, int64_t offset_max, int64_t bytes_max, Lookup* found) noexcept nogil:
    """Pinned segment: the rest of the lookup, from its mapped index."""
    cdef Segment* segment = found.segment
    cdef int failed
    if found.cached_only and atomic_load_i64(&segment.size) < 0:
        return STORAGE_NOT_CACHED
    found.bytes = segment_size(segment)
    if found.bytes < 0:
        return STORAGE_IO_ERROR
    if offset_max >= found.next_base:
        found.end_hint = found.bytes
        found.end_exact = True
    if found.start_exact and found.end_exact and found.bytes - found.start_hint <= bytes_max:
        return STORAGE_OK
    # Indexes stay mapped while the segment is pinned. Their pages may have left the page cache; that is not checked.
    if found.cached_only and not segment.indexes_mapped and not segment.indexes_unwritten:
        return STORAGE_NOT_CACHED
    failed = 0 if found.cached_only else segment_map_indexes(segment)
    if failed:
        return read_failed(log, failed)
    if not found.start_exact:
        found.start_hint = offset_index_floor(&segment.offsets, offset - segment.base_offset)
    if not found.end_exact:
        found.end_hint = offset_index_floor(&segment.offsets, offset_max - 1 - segment.base_offset)
    if found.bytes - found.start_hint > bytes_max:
        found.cut_hint = position_index_floor(&segment.offsets, found.start_hint + bytes_max)
    return STORAGE_OK


cdef bint tail_position(Log* log, int64_t offset, int64_t* position, bint* exact) noexcept nogil:
    """Position of the last batch with base offset <= offset, if it is one of the latest; exact: it begins at `offset`."""
    cdef int64_t i
    cdef int64_t oldest = log.tail_count - TAIL_BATCHES if log.tail_count > TAIL_BATCHES else 0
    for i in range(log.tail_count - 1, oldest - 1, -1):
        if log.tail[i % TAIL_BATCHES].offset <= offset:
            position[0] = log.tail[i % TAIL_BATCHES].position
            exact[0] = log.tail[i % TAIL_BATCHES].offset == offset
            return True
    return False


cdef bint remembered_position(Log* log, int64_t segment_base, int64_t offset, int64_t* position) noexcept nogil:
    cdef int32_t i
    for i in range(REMEMBERED_READS):
        if log.reads[i].offset == offset and log.reads[i].segment_base == segment_base and log.reads[i].position > 0:
            position[0] = log.reads[i].position
            return True
    return False


cdef void remember_read(Log* log, Segment* segment, int64_t offset, int64_t position) noexcept nogil:
    """That consumer's next read begins here, unless the segment was replaced in the meantime."""
    cdef OffsetPosition* slot
    pthread_mutex_lock(&log.segments_mutex)
    if log.segments[segment_floor(log, segment.base_offset)] == segment:
        slot = &log.reads[log.reads_next]
        log.reads_next = (log.reads_next + 1) % REMEMBERED_READS
        slot.segment_base = segment.base_offset
        slot.offset = offset
        slot.position = position
    pthread_mutex_unlock(&log.segments_mutex)


cdef int read_found(
    Log* log, Lookup* found, int64_t offset, int64_t offset_max, int64_t bytes_max, bint first_batch_always,
    int64_t* start, int64_t* end
) noexcept nogil:
    """Positions of the wanted batches in a pinned segment. start == segment bytes: nothing at or after `offset` here."""
    cdef BatchCursor cursor
    cdef int error = STORAGE_OK
    if found.bytes < 0:         # it was closed at lookup time
        error = look_up_closed(log, offset, offset_max, bytes_max, found)
        if error:
            return error
    cursor_init(&cursor, found.segment, found.bytes)
    cursor.cached_only = found.cached_only
    start[0] = found.start_hint
    if not found.start_exact:
        start[0] = cursor_find_offset(&cursor, found.start_hint, offset)
    end[0] = found.end_hint
    if not found.end_exact and start[0] >= 0:
        end[0] = cursor_find_offset(&cursor, max(start[0], found.end_hint), offset_max)
    if start[0] < 0 or end[0] < 0:
        return read_failed(log, <int>-min(start[0], end[0]))
    if end[0] - start[0] > bytes_max:
        error = cut_to_bytes(log, &cursor, found, start[0], bytes_max, first_batch_always, end)
    return error


cdef int cut_to_bytes(
    Log* log, BatchCursor* cursor, Lookup* found, int64_t start, int64_t bytes_max, bint first_batch_always, int64_t* end
) noexcept nogil:
    """Lower `end` to a batch boundary within bytes_max, or to the first batch's end."""
    cdef BatchHeader header
    cdef int64_t next_offset = -1
    cdef int64_t cut = cursor_find_position(cursor, max(start, found.cut_hint), start + max(bytes_max, 0), &next_offset)
    if cut < 0:
        return read_failed(log, <int>-cut)
    if cut == start:
        if not first_batch_always:
            end[0] = start
            return STORAGE_OK
        if cursor_header(cursor, start, &header) != 1:
            return STORAGE_CORRUPT
        cut = start + LOG_OVERHEAD + header.length
        next_offset = header.base_offset + header.last_offset_delta + 1
    if cut < end[0]:
        end[0] = cut
        if next_offset >= 0:
            found.end_offset = next_offset
            remember_read(log, found.segment, next_offset, cut)
    return STORAGE_OK


cdef int read_failed(Log* log, int failed) noexcept nogil:
    return STORAGE_NOT_CACHED if failed == EAGAIN else fail_read(log, failed)
