"""RecordBatch v2: header, records, time lookup. All without the GIL.

Layout (big endian): base offset, length, partition leader epoch, magic, CRC32C (of all that follows), attributes,
last offset delta, base and max timestamp, producer id and epoch, base sequence, record count, then the records:
plain, or as one compressed block.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, int8_t, uint8_t, uint16_t, uint32_t, uint64_t

from kafka_cy.records.compression cimport (
    CODEC_MAX, CODEC_NONE, COMPRESSION_NO_MEMORY, COMPRESSION_OK, COMPRESSION_TOO_LARGE, Codecs, codecs_unpacked,
    codecs_unpacked_release, decompress,
)
from kafka_cy.records.crc32c cimport crc32c
from kafka_cy.records.legacy cimport legacy_find_timestamp
from kafka_cy.records.wire cimport (
    WIRE_BAD_LENGTH, WIRE_OK, Reader, Writer, load_be16, load_be32, load_be64, read_int8, read_raw, read_varint,
    read_varlong, reader_init, store_be16, store_be32, store_be64, writer_reserve,
)


cdef int batch_header_read(const uint8_t* data, size_t size, BatchHeader* header) noexcept nogil:
    if size < MAGIC_AT + 1:
        return BATCH_TRUNCATED
    header.base_offset = <int64_t>load_be64(data + BASE_OFFSET_AT)
    header.length = <int32_t>load_be32(data + LENGTH_AT)
    header.leader_epoch = <int32_t>load_be32(data + LEADER_EPOCH_AT)
    header.magic = <int8_t>data[MAGIC_AT]
    if header.length < 0:
        return BATCH_BAD_LENGTH
    if header.magic != 2:
        return BATCH_BAD_MAGIC
    if header.length < BATCH_HEADER_SIZE - LOG_OVERHEAD:
        return BATCH_BAD_LENGTH
    if size < BATCH_HEADER_SIZE:
        return BATCH_TRUNCATED
    header.crc = load_be32(data + CRC_AT)
    header.attributes = <int16_t>load_be16(data + ATTRIBUTES_AT)
    header.last_offset_delta = <int32_t>load_be32(data + LAST_OFFSET_DELTA_AT)
    header.base_timestamp = <int64_t>load_be64(data + BASE_TIMESTAMP_AT)
    header.max_timestamp = <int64_t>load_be64(data + MAX_TIMESTAMP_AT)
    header.producer_id = <int64_t>load_be64(data + PRODUCER_ID_AT)
    header.producer_epoch = <int16_t>load_be16(data + PRODUCER_EPOCH_AT)
    header.base_sequence = <int32_t>load_be32(data + BASE_SEQUENCE_AT)
    header.records_count = <int32_t>load_be32(data + RECORDS_COUNT_AT)
    if <size_t>header.length > size - LOG_OVERHEAD:
        return BATCH_TRUNCATED
    return BATCH_OK


cdef bint batch_crc_matches(const uint8_t* data, const BatchHeader* header) noexcept nogil:
    return crc32c(data + ATTRIBUTES_AT, <size_t>header.length + LOG_OVERHEAD - ATTRIBUTES_AT) == header.crc


cdef void batch_set_base_offset(uint8_t* data, int64_t base_offset, int32_t leader_epoch) noexcept nogil:
    store_be64(data + BASE_OFFSET_AT, <uint64_t>base_offset)
    store_be32(data + LEADER_EPOCH_AT, <uint32_t>leader_epoch)


cdef void batch_set_max_timestamp(uint8_t* data, bint log_append_time, int64_t max_timestamp) noexcept nogil:
    cdef uint16_t attributes = load_be16(data + ATTRIBUTES_AT)
    if log_append_time:
        attributes = attributes | ATTRIBUTE_LOG_APPEND_TIME
    else:
        attributes = attributes & ~<uint16_t>ATTRIBUTE_LOG_APPEND_TIME
    store_be16(data + ATTRIBUTES_AT, attributes)
    store_be64(data + MAX_TIMESTAMP_AT, <uint64_t>max_timestamp)
    batch_set_crc(data)


cdef inline void batch_set_crc(uint8_t* data) noexcept nogil:
    cdef size_t size = <size_t>load_be32(data + LENGTH_AT) + LOG_OVERHEAD
    store_be32(data + CRC_AT, crc32c(data + ATTRIBUTES_AT, size - ATTRIBUTES_AT))


cdef bint batch_header_write(Writer* w, const BatchHeader* header) noexcept nogil:
    cdef uint8_t* p = writer_reserve(w, BATCH_HEADER_SIZE)
    if p == NULL:
        return False
    store_be64(p + BASE_OFFSET_AT, <uint64_t>header.base_offset)
    store_be32(p + LENGTH_AT, 0)
    store_be32(p + LEADER_EPOCH_AT, <uint32_t>header.leader_epoch)
    p[MAGIC_AT] = 2
    store_be32(p + CRC_AT, 0)
    store_be16(p + ATTRIBUTES_AT, <uint16_t>header.attributes)
    store_be32(p + LAST_OFFSET_DELTA_AT, <uint32_t>header.last_offset_delta)
    store_be64(p + BASE_TIMESTAMP_AT, <uint64_t>header.base_timestamp)
    store_be64(p + MAX_TIMESTAMP_AT, <uint64_t>header.max_timestamp)
    store_be64(p + PRODUCER_ID_AT, <uint64_t>header.producer_id)
    store_be16(p + PRODUCER_EPOCH_AT, <uint16_t>header.producer_epoch)
    store_be32(p + BASE_SEQUENCE_AT, <uint32_t>header.base_sequence)
    store_be32(p + RECORDS_COUNT_AT, <uint32_t>header.records_count)
    w.size += BATCH_HEADER_SIZE
    return True


cdef void batch_finish(Writer* w, size_t start) noexcept nogil:
    if w.error:
        return
    store_be32(w.data + start + LENGTH_AT, <uint32_t>(w.size - start - LOG_OVERHEAD))
    batch_set_crc(w.data + start)


# ---- records ---------------------------------------------------------------------------------------------------------

cdef bint record_read(Reader* r, RecordView* record) noexcept nogil:
    cdef Reader inner
    cdef int32_t length
    cdef const uint8_t* start
    if r.error or r.position >= r.end:
        return False
    length = read_varint(r)
    start = read_raw(r, length)
    if start == NULL:
        return False
    reader_init(&inner, start, <size_t>length)
    record.attributes = read_int8(&inner)
    record.timestamp_delta = read_varlong(&inner)
    record.offset_delta = read_varint(&inner)
    record.key = bytes_read(&inner, &record.key_size)
    record.value = bytes_read(&inner, &record.value_size)
    record.headers_count = read_varint(&inner)
    record.headers = inner.position
    record.headers_size = <int32_t>(inner.end - inner.position)
    headers_check(&inner, record.headers_count)
    if inner.error == WIRE_OK and inner.position != inner.end:
        inner.error = WIRE_BAD_LENGTH
    r.error = inner.error
    return inner.error == WIRE_OK


cdef inline const uint8_t* bytes_read(Reader* r, int32_t* size) noexcept nogil:
    """Nullable bytes of a record: a varint length, -1 for null."""
    size[0] = read_varint(r)
    if size[0] == -1 and not r.error:
        return NULL
    return read_raw(r, size[0])


cdef void headers_check(Reader* r, int32_t count) noexcept nogil:
    """Walks `count` headers: a key that is not null, a value that may be."""
    cdef int32_t size, _
    # A header takes at least two bytes: a forged count is refused before the loop.
    if count < 0 or count > (r.end - r.position) // 2:
        if not r.error:
            r.error = WIRE_BAD_LENGTH
        return
    for _ in range(count):
        size = read_varint(r)
        read_raw(r, size)
        bytes_read(r, &size)
        if r.error:
            return


cdef int batch_unpack(
    Codecs* codecs, const uint8_t* data, const BatchHeader* header, Writer* unpacked,
    const uint8_t** records, size_t* records_size,
) noexcept nogil:
    cdef int codec = header.attributes & ATTRIBUTE_CODEC_MASK
    cdef int error
    cdef size_t size = <size_t>header.length + LOG_OVERHEAD - BATCH_HEADER_SIZE
    records[0] = data + BATCH_HEADER_SIZE
    records_size[0] = size
    if codec == CODEC_NONE:
        return BATCH_OK
    if codec > CODEC_MAX:
        return BATCH_BAD_ATTRIBUTES
    unpacked.size = 0
    unpacked.error = WIRE_OK
    error = decompress(codecs, codec, data + BATCH_HEADER_SIZE, size, unpacked)
    records[0] = unpacked.data
    records_size[0] = unpacked.size
    if error == COMPRESSION_OK:
        return BATCH_OK
    if error == COMPRESSION_TOO_LARGE:
        return BATCH_UNPACKS_TOO_LARGE
    return BATCH_NO_MEMORY if error == COMPRESSION_NO_MEMORY else BATCH_BAD_COMPRESSION


# ---- time lookup -----------------------------------------------------------------------------------------------------

cdef int batch_find_timestamp(
    Codecs* codecs, const uint8_t* data, size_t size, int64_t target_ms, int64_t min_offset, int64_t unpacked_bytes_max,
    int64_t* offset, int64_t* timestamp_ms,
) noexcept nogil:
    cdef BatchHeader header
    cdef Writer* unpacked
    cdef int found = batch_header_read(data, size, &header)
    if found == BATCH_BAD_MAGIC and 0 <= header.magic <= 1:
        return legacy_find_timestamp(
            codecs, data, size, target_ms, min_offset, unpacked_bytes_max, offset, timestamp_ms
        )
    if found:
        return -found
    if header.max_timestamp < target_ms:
        return 0
    unpacked = codecs_unpacked(codecs, unpacked_bytes_max)
    found = find_in_records(codecs, data, &header, target_ms, min_offset, unpacked, offset, timestamp_ms)
    codecs_unpacked_release(codecs)
    return found


cdef int find_in_records(
    Codecs* codecs, const uint8_t* data, const BatchHeader* header, int64_t target_ms, int64_t min_offset,
    Writer* unpacked, int64_t* offset, int64_t* timestamp_ms,
) noexcept nogil:
    cdef const uint8_t* records = NULL
    cdef size_t records_size = 0
    cdef Reader r
    cdef RecordView record
    cdef int64_t at, timestamp
    cdef int error = batch_unpack(codecs, data, header, unpacked, &records, &records_size)
    if error:
        return -error
    reader_init(&r, records, records_size)
    while record_read(&r, &record):
        at = header.base_offset + record.offset_delta
        timestamp = record_timestamp(header, record.timestamp_delta)
        if timestamp >= target_ms and at >= min_offset:
            offset[0] = at
            timestamp_ms[0] = timestamp
            return 1
    return 0 if r.error == WIRE_OK else -BATCH_BAD_RECORD
