"""Walks the batch headers of a segment file."""
from libc.errno cimport EAGAIN
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.page_cache cimport pread_cached
from kafka_cy.base.posix cimport read_some
from kafka_cy.records.batch cimport BATCH_HEADER_SIZE, LOG_OVERHEAD, BatchHeader
from kafka_cy.records.wire cimport load_be32, load_be64


cdef void cursor_init(BatchCursor* cursor, Segment* segment, int64_t limit) noexcept nogil:
    cursor.segment = segment
    cursor.limit = limit
    cursor.cached_only = False
    cursor.window_position = 0
    cursor.window_size = 0


cdef const uint8_t* cursor_bytes(BatchCursor* cursor, int64_t position, int64_t wanted, int64_t* there) noexcept nogil:
    """Return up to `wanted` bytes at `position`; NULL on a read error, with -errno in `there`."""
    cdef int64_t size = CURSOR_WINDOW_SIZE
    if position < cursor.window_position or position + wanted > cursor.window_position + cursor.window_size:
        if position + size > cursor.limit:
            size = cursor.limit - position
        if cursor.cached_only:
            size = pread_cached(cursor.segment.fd, cursor.window, <size_t>size, position)
            if 0 <= size < wanted:
                size = -EAGAIN              # The rest, or a later page, is not cached.
        else:
            size = read_some(cursor.segment.fd, cursor.window, <size_t>size, position)
        if size < 0:
            there[0] = size
            return NULL
        cursor.window_position = position
        cursor.window_size = size
    there[0] = cursor.window_position + cursor.window_size - position
    return cursor.window + (position - cursor.window_position)


cdef int cursor_header(BatchCursor* cursor, int64_t position, BatchHeader* header) noexcept nogil:
    cdef int64_t wanted = min(BATCH_HEADER_SIZE, cursor.limit - position)
    cdef int64_t there = 0
    cdef const uint8_t* raw
    if wanted < ENTRY_SIZE_MIN:
        return 0
    raw = cursor_bytes(cursor, position, wanted, &there)
    if raw == NULL:
        return <int>there
    return entry_header(raw, wanted, cursor.limit - position, header) if there >= wanted else 0


cdef int entry_header(const uint8_t* raw, int64_t there, int64_t size, BatchHeader* header) noexcept nogil:
    """Magic 0 and 1 entries have a shorter header: offsets, length and timestamp are the fields that callers need."""
    if there < ENTRY_SIZE_MIN:
        return 0
    header.base_offset = <int64_t>load_be64(raw)
    header.length = <int32_t>load_be32(raw + 8)
    header.magic = <signed char>raw[16]
    if header.length < 14 or LOG_OVERHEAD + header.length > size or header.magic > 2 or header.magic < 0:
        return 0
    if header.magic == 2:
        return header_from(raw, header) if there >= BATCH_HEADER_SIZE else 0
    header.leader_epoch = -1
    header.last_offset_delta = 0
    header.attributes = <signed char>raw[17]
    header.max_timestamp = <int64_t>load_be64(raw + 18) if header.magic == 1 else -1
    header.producer_id = -1
    header.producer_epoch = -1
    header.base_sequence = -1
    header.records_count = 1
    return 1


cdef int header_from(const uint8_t* raw, BatchHeader* header) noexcept nogil:
    header.leader_epoch = <int32_t>load_be32(raw + 12)
    header.crc = load_be32(raw + 17)
    header.attributes = <short>((raw[21] << 8) | raw[22])
    header.last_offset_delta = <int32_t>load_be32(raw + 23)
    header.base_timestamp = <int64_t>load_be64(raw + 27)
    header.max_timestamp = <int64_t>load_be64(raw + 35)
    header.producer_id = <int64_t>load_be64(raw + 43)
    header.producer_epoch = <short>((raw[51] << 8) | raw[52])
    header.base_sequence = <int32_t>load_be32(raw + 53)
    header.records_count = <int32_t>load_be32(raw + 57)
    return 1 if header.length >= BATCH_HEADER_SIZE - LOG_OVERHEAD and header.last_offset_delta >= 0 else 0


cdef int64_t cursor_find_offset(BatchCursor* cursor, int64_t position, int64_t offset) noexcept nogil:
    cdef BatchHeader header
    cdef int there = cursor_header(cursor, position, &header)
    while there > 0 and header.base_offset + header.last_offset_delta < offset:
        position += LOG_OVERHEAD + header.length
        there = cursor_header(cursor, position, &header)
    return position if there >= 0 else there


cdef int64_t cursor_find_position(BatchCursor* cursor, int64_t position, int64_t wanted, int64_t* next_offset) noexcept nogil:
    cdef BatchHeader header
    cdef int there = cursor_header(cursor, position, &header)
    next_offset[0] = -1
    while there > 0:
        next_offset[0] = header.base_offset
        if position + LOG_OVERHEAD + header.length > wanted:
            return position
        position += LOG_OVERHEAD + header.length
        there = cursor_header(cursor, position, &header)
    next_offset[0] = -1
    return position if there >= 0 else there
