"""Reads whole batches of pinned segments for a cleaning round, within the allowed bandwidth."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport realloc
from libc.string cimport memset

from kafka_cy.base.atomics cimport atomic_load_i32
from kafka_cy.base.posix cimport (
    EIO, ENOENT, ENOMEM, pthread_mutex_lock, pthread_mutex_unlock, read_some,
)
from kafka_cy.records.batch cimport (
    BATCH_HEADER_SIZE, LOG_OVERHEAD, MAGIC_AT, BatchHeader, batch_crc_matches, batch_header_read,
)
from kafka_cy.records.legacy cimport LegacyMessage, legacy_crc_matches, legacy_message_read
from kafka_cy.records.wire cimport load_be32
from kafka_cy.storage.cleaner_control cimport CleanerControl, control_wait, monotonic_ms
from kafka_cy.storage.log_struct cimport LOG_ONLINE, Log
from kafka_cy.storage.segment cimport Segment, segment_size
from kafka_cy.storage.storage_error cimport (
    STORAGE_CORRUPT, STORAGE_DELETED, STORAGE_IO_ERROR, STORAGE_NO_MEMORY, STORAGE_OK,
)


cdef void throttle(Cleaning* cleaning, int64_t size) noexcept nogil:
    """Account for bytes read or written; wait while they exceed log.cleaner.io.max.bytes.per.second."""
    cdef CleanerControl* control = cleaning.control
    cdef int64_t now_ms = monotonic_ms()
    cdef double spent_ms = <double>size * 1000.0 / cleaning.io_bytes_per_second
    cdef double due_ms
    if cleaning.io_bytes_per_second > 1e15:
        return
    pthread_mutex_lock(&control.mutex)
    control.bandwidth_free_ms = max(control.bandwidth_free_ms, <double>now_ms) + spent_ms
    due_ms = control.bandwidth_free_ms
    pthread_mutex_unlock(&control.mutex)
    while <double>now_ms + 1 < due_ms and not was_stopped(cleaning):
        control_wait(control, <int64_t>min(due_ms - <double>now_ms, 500.0))
        now_ms = monotonic_ms()


cdef bint was_stopped(Cleaning* cleaning) noexcept nogil:
    cdef Log* log = cleaning.log
    return (atomic_load_i32(&cleaning.control.stopping) or atomic_load_i32(&log.state) != LOG_ONLINE
            or atomic_load_i32(&log.cleaning_held) > 0 or atomic_load_i32(&log.truncations) != cleaning.truncations)


cdef int io_error(Cleaning* cleaning, int failed) noexcept nogil:
    """Convert 0 or an errno to a StorageError."""
    if failed == 0:
        return STORAGE_OK
    if failed == ENOMEM:
        return STORAGE_NO_MEMORY
    if failed == ENOENT:                # retention or a deletion removed it first
        return STORAGE_DELETED
    cleaning.failed_errno = failed
    return STORAGE_IO_ERROR


cdef int fill_window(Cleaning* cleaning, BatchReader* reader, int64_t wanted) noexcept nogil:
    """Ensure that the buffer holds at least `wanted` bytes from the reader's position on."""
    cdef size_t capacity = max(cleaning.io_bytes, <size_t>wanted)
    cdef int64_t size, there
    cdef uint8_t* grown
    if reader.position >= reader.window_position \
            and reader.position + wanted <= reader.window_position + reader.window_size:
        return STORAGE_OK
    if was_stopped(cleaning):
        return STORAGE_DELETED
    if capacity > cleaning.input_capacity:
        grown = <uint8_t*>realloc(cleaning.input, capacity)
        if grown == NULL:
            return STORAGE_NO_MEMORY
        cleaning.input = grown
        cleaning.input_capacity = capacity
    size = min(<int64_t>cleaning.input_capacity, reader.size - reader.position)
    there = read_some(reader.segment.fd, cleaning.input, <size_t>size, reader.position)
    if there != size:
        return io_error(cleaning, <int>-there if there < 0 else EIO)
    reader.window_position = reader.position
    reader.window_size = size
    throttle(cleaning, size)
    return STORAGE_OK


cdef int legacy_header(const uint8_t* data, int64_t size, BatchHeader* header) noexcept nogil:
    """Present a magic 0 or 1 message as a batch; the message's offset is that of its last record."""
    cdef LegacyMessage message
    if legacy_message_read(data, <size_t>size, &message) or not legacy_crc_matches(data, &message):
        return STORAGE_CORRUPT
    memset(header, 0, sizeof(BatchHeader))
    header.base_offset = message.offset
    header.length = message.size
    header.magic = message.magic
    header.attributes = message.attributes
    header.leader_epoch = -1
    header.producer_id = -1
    header.producer_epoch = -1
    header.base_sequence = -1
    header.max_timestamp = message.timestamp
    header.records_count = 1
    return STORAGE_OK


cdef int next_batch(Cleaning* cleaning, BatchReader* reader, const uint8_t** data, BatchHeader* header) noexcept nogil:
    """Read the whole batch at the reader's position, verify its checksum and advance past it."""
    cdef int64_t left = reader.size - reader.position
    cdef int64_t size
    cdef const uint8_t* start
    cdef int error
    if left < LOG_OVERHEAD + 14:        # the smallest: magic 0 without key and value
        return STORAGE_CORRUPT
    error = fill_window(cleaning, reader, min(left, BATCH_HEADER_SIZE))
    if error:
        return error
    size = LOG_OVERHEAD + <int64_t><int32_t>load_be32(cleaning.input + (reader.position - reader.window_position) + 8)
    if size < LOG_OVERHEAD + 14 or size > left:
        return STORAGE_CORRUPT
    error = fill_window(cleaning, reader, size)
    if error:
        return error
    start = cleaning.input + (reader.position - reader.window_position)
    if start[MAGIC_AT] == 2:
        if batch_header_read(start, <size_t>size, header) or header.last_offset_delta < 0 \
                or not batch_crc_matches(start, header):
            return STORAGE_CORRUPT
    else:
        error = legacy_header(start, size, header)
        if error:
            return error
    reader.position += size
    data[0] = start
    return STORAGE_OK


cdef int reader_init(Cleaning* cleaning, BatchReader* reader, Segment* segment) noexcept nogil:
    """Start reading a pinned segment."""
    memset(reader, 0, sizeof(BatchReader))
    reader.segment = segment
    reader.size = segment_size(segment)
    return STORAGE_OK if reader.size >= 0 else io_error(cleaning, ENOENT)
