"""Offset and time index of one segment: growing, writing, mapping, repair."""
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_load_i32, atomic_store_i32
from kafka_cy.base.posix cimport (
    ENOENT, O_RDONLY, PATH_BYTES_MAX, name_file, pthread_mutex_lock, pthread_mutex_unlock, unlink,
)
from kafka_cy.records.batch cimport LOG_OVERHEAD, BatchHeader
from kafka_cy.storage.batch_cursor cimport BatchCursor, cursor_header, cursor_init, records_timestamp
from kafka_cy.storage.index_table cimport IndexTable, table_free, table_init, table_map, table_write
from kafka_cy.storage.log_folder cimport NAME_TRIES_MAX, folder_name, folder_other_name, open_in_folder
from kafka_cy.storage.offset_index cimport (
    OFFSET_ENTRY_SIZE, offset_entry_position, offset_entry_relative, offset_index_append,
)
from kafka_cy.storage.segment cimport Segment, segments_give_way
from kafka_cy.storage.time_index cimport TIME_ENTRY_SIZE, time_index_maybe_append

cdef enum:
    REPAIRED_INTERVAL_BYTES = 4096      # index.interval.bytes of a rebuilt index


cdef int segment_index_batch(
    Segment* segment, int64_t last_offset, int64_t max_timestamp, int64_t position, int64_t size, int32_t interval_bytes
) noexcept nogil:
    """Kafka's order: the timestamp counts before the interval check, the batch's bytes after it."""
    cdef int failed = 0
    if max_timestamp > segment.max_timestamp:
        segment.max_timestamp = max_timestamp
        segment.max_timestamp_offset = last_offset
    if position == 0:
        segment.first_timestamp = max_timestamp
    if segment.bytes_since_index > interval_bytes:
        failed = offset_index_append(&segment.offsets, last_offset - segment.base_offset, position)
        if not failed:
            failed = time_index_maybe_append(
                &segment.times, segment.max_timestamp, segment.max_timestamp_offset - segment.base_offset)
        segment.bytes_since_index = 0
    segment.bytes_since_index += size
    return failed


cdef void segment_seal_times(Segment* segment) noexcept nogil:
    if segment.max_timestamp >= 0:
        time_index_maybe_append(&segment.times, segment.max_timestamp, segment.max_timestamp_offset - segment.base_offset)


# -- writing --

cdef int write_table(Segment* segment, IndexTable* table, const char* suffix, bint exact) noexcept nogil:
    """With files_mutex. The folder may be renamed in the meantime."""
    cdef char path[PATH_BYTES_MAX]
    cdef const char* name = folder_name(segment.folder)
    cdef int failed = ENOENT
    cdef int i
    for i in range(NAME_TRIES_MAX):  # no-cython-lint
        name_file(path, PATH_BYTES_MAX, name, segment.base_offset, suffix)
        failed = table_write(table, path, exact)
        while failed and segments_give_way(failed):
            failed = table_write(table, path, exact)
        if failed != ENOENT:
            break
        name = folder_other_name(segment.folder, name)
        if name == NULL:
            break
    return failed


cdef int segment_write_indexes(Segment* segment, bint exact) noexcept nogil:
    """Does nothing for a deleted segment."""
    cdef int failed = 0
    pthread_mutex_lock(&segment.files_mutex)
    if not atomic_load_i32(&segment.deleted):
        failed = write_table(segment, &segment.offsets, b".index", exact)
        if not failed:
            failed = write_table(segment, &segment.times, b".timeindex", exact)
    pthread_mutex_unlock(&segment.files_mutex)
    return failed


cdef int segment_close_indexes(Segment* segment) noexcept nogil:
    segment_seal_times(segment)
    return segment_write_indexes(segment, True)


cdef void settled(Segment* segment) noexcept nogil:
    """In this order: readers map the files only when neither flag is set."""
    atomic_store_i32(&segment.indexes_mapped, 1)
    atomic_store_i32(&segment.indexes_unwritten, 0)


cdef void segment_drop_partial_indexes(Segment* segment) noexcept nogil:
    cdef char path[PATH_BYTES_MAX]
    if segment.offsets.written == 0 and segment.times.written == 0:
        return
    name_file(path, PATH_BYTES_MAX, folder_name(segment.folder), segment.base_offset, b".index")
    unlink(path)
    name_file(path, PATH_BYTES_MAX, folder_name(segment.folder), segment.base_offset, b".timeindex")
    unlink(path)
    segment.offsets.written = 0
    segment.times.written = 0


cdef void segment_retire(Segment* segment, bint indexes_written) noexcept nogil:
    if indexes_written:
        settled(segment)
    else:
        atomic_store_i32(&segment.indexes_unwritten, 1)
    atomic_store_i32(&segment.active, 0)


cdef int segment_settle_indexes(Segment* segment) noexcept nogil:
    cdef int failed = segment_write_indexes(segment, True)
    if not failed:
        settled(segment)
    return failed


# -- mapping --

cdef int map_table(Segment* segment, IndexTable* table, bint time) noexcept nogil:
    """With files_mutex. A missing file is an empty table."""
    cdef const char* suffix = b".timeindex" if time else b".index"
    cdef int failed
    if atomic_load_i32(&segment.deleted):
        suffix = b".timeindex.deleted" if time else b".index.deleted"
    failed = table_map(table, open_in_folder(segment.folder, segment.base_offset, suffix, O_RDONLY))
    while failed and segments_give_way(failed):
        failed = table_map(table, open_in_folder(segment.folder, segment.base_offset, suffix, O_RDONLY))
    return failed


cdef int segment_map_indexes(Segment* segment) noexcept nogil:
    cdef int failed = 0
    # The segment is pinned, so mapped or in-memory indexes stay.
    if (atomic_load_i32(&segment.indexes_mapped) or atomic_load_i32(&segment.indexes_unwritten)
            or atomic_load_i32(&segment.active)):
        return 0
    pthread_mutex_lock(&segment.files_mutex)
    if not atomic_load_i32(&segment.indexes_mapped):
        failed = map_table(segment, &segment.offsets, False)
        if not failed:
            failed = map_table(segment, &segment.times, True)
        if not failed and not indexes_fit(segment):
            failed = repair_indexes(segment)
        if not failed:
            atomic_store_i32(&segment.indexes_mapped, 1)
    pthread_mutex_unlock(&segment.files_mutex)
    return failed


cdef bint indexes_fit(Segment* segment) noexcept nogil:
    """Do the maps of a closed segment look complete? One read; detects torn or lost files, not altered ones."""
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef IndexTable* offsets = &segment.offsets
    cdef int64_t position = 0
    cdef int64_t last_offset = 0x7fffffffffffffff
    if segment.size <= 0:
        return True
    if offsets.mapped_size % OFFSET_ENTRY_SIZE or segment.times.mapped_size % TIME_ENTRY_SIZE:
        return False
    if offsets.count == 0 and segment.size > REPAIRED_INTERVAL_BYTES:
        return False
    if offsets.count > 0:
        position = offset_entry_position(offsets, offsets.count - 1)
        last_offset = segment.base_offset + offset_entry_relative(offsets, offsets.count - 1)
    cursor_init(&cursor, segment, segment.size)
    if cursor_header(&cursor, position, &header) <= 0:
        return offsets.count == 0
    if header.base_offset < segment.base_offset or header.base_offset > last_offset:
        return False
    return segment.times.count > 0 or records_timestamp(&header) < 0


cdef int repair_indexes(Segment* segment) noexcept nogil:
    """Rebuild a pinned, closed segment's indexes from its batch headers once, instead of scanning at every lookup. With
    files_mutex. The tables stay in memory until the segment is closed; if they cannot be written, the next map
    repairs them again."""
    cdef Segment scratch
    cdef BatchCursor cursor
    cdef BatchHeader header
    cdef int64_t position = 0
    cdef int there
    memset(&scratch, 0, sizeof(Segment))
    scratch.base_offset = segment.base_offset
    scratch.first_timestamp = -1
    scratch.max_timestamp = -1
    table_init(&scratch.offsets, OFFSET_ENTRY_SIZE)
    table_init(&scratch.times, TIME_ENTRY_SIZE)
    cursor_init(&cursor, segment, segment.size)
    there = cursor_header(&cursor, 0, &header)
    while there > 0 and 0 <= header.base_offset - segment.base_offset <= 0x7fffffff:
        segment_index_batch(
            &scratch, header.base_offset + header.last_offset_delta, records_timestamp(&header), position,
            LOG_OVERHEAD + header.length, REPAIRED_INTERVAL_BYTES)
        position += LOG_OVERHEAD + header.length
        there = cursor_header(&cursor, position, &header)
    if scratch.max_timestamp >= 0:
        time_index_maybe_append(&scratch.times, scratch.max_timestamp, scratch.max_timestamp_offset - segment.base_offset)
    if (scratch.offsets.count != segment.offsets.count or scratch.times.count != segment.times.count) \
            and not atomic_load_i32(&segment.deleted):
        write_table(segment, &scratch.offsets, b".index", True)
        write_table(segment, &scratch.times, b".timeindex", True)
    table_free(&segment.offsets)
    table_free(&segment.times)
    segment.offsets = scratch.offsets
    segment.times = scratch.times
    return -there if there < 0 else 0
