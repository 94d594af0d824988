"""RecordBatch v2: header, records, validation of produced batches, time lookup. All without the GIL.

Layout (big endian): base offset, length, partition leader epoch, magic, CRC32C (of all that follows), attributes,
last offset delta, base and max timestamp, producer id and epoch, base sequence, record count, then the records:
plain, or as one compressed block.
"""
from libc.stdint cimport INT64_MAX, int16_t, int32_t, int64_t, int8_t, uint8_t, uint16_t, uint32_t, uint64_t

from kafka_cy.records.compression cimport (
    CODEC_MAX, CODEC_NONE, CODEC_ZSTD, COMPRESSION_NO_MEMORY, COMPRESSION_OK, COMPRESSION_TOO_LARGE, Codecs,
    codecs_unpacked, codecs_unpacked_release, compress, decompress,
)
from kafka_cy.records.crc32c cimport crc32c
from kafka_cy.records.legacy cimport legacy_find_timestamp
from kafka_cy.records.wire cimport (
    WIRE_BAD_LENGTH, WIRE_OK, WIRE_TOO_LARGE, Reader, Writer, load_be16, load_be32, load_be64, read_int8, read_raw,
    read_varint, read_varlong, reader_init, store_be16, store_be32, store_be64, write_raw, writer_reserve,
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
    # A header takes two bytes at least: a count that lies is refused before the loop.
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


# ---- the walk over a produced batch's records ------------------------------------------------------------------------

# What a walk found. Owner: the caller's stack.
cdef struct Walk:
    int64_t timestamp_min           # records outside [min, max] are refused (timestamp -1 is exempt)
    int64_t timestamp_max
    bint key_required
    int64_t max_timestamp
    int32_t max_timestamp_at        # offset delta of the first record with it
    int32_t bad_index
    bint headers                    # some record has them


cdef inline const uint8_t* varint_at(const uint8_t* p, const uint8_t* end, int32_t* value) noexcept nogil:
    """A zigzag varint at `p`; the place after it, or NULL. One and two bytes are nearly all there are."""
    cdef uint32_t raw
    if end - p >= 2:
        raw = p[0]
        if raw < 0x80:
            value[0] = <int32_t>((raw >> 1) ^ (~(raw & 1) + 1))
            return p + 1
        if p[1] < 0x80:
            raw = (raw & 0x7f) | (<uint32_t>p[1] << 7)
            value[0] = <int32_t>((raw >> 1) ^ (~(raw & 1) + 1))
            return p + 2
    return varint_at_slow(p, end, value)


cdef const uint8_t* varint_at_slow(const uint8_t* p, const uint8_t* end, int32_t* value) noexcept nogil:
    cdef Reader r
    if p > end:
        return NULL
    reader_init(&r, p, <size_t>(end - p))
    value[0] = read_varint(&r)
    return r.position if r.error == WIRE_OK else NULL


cdef const uint8_t* varlong_at_slow(const uint8_t* p, const uint8_t* end, int64_t* value) noexcept nogil:
    cdef Reader r
    if p > end:
        return NULL
    reader_init(&r, p, <size_t>(end - p))
    value[0] = read_varlong(&r)
    return r.position if r.error == WIRE_OK else NULL


cdef inline const uint8_t* varlong_at(const uint8_t* p, const uint8_t* end, int64_t* value) noexcept nogil:
    cdef uint64_t raw
    if end - p >= 2:
        raw = p[0]
        if raw < 0x80:
            value[0] = <int64_t>((raw >> 1) ^ (~(raw & 1) + 1))
            return p + 1
        if p[1] < 0x80:
            raw = (raw & 0x7f) | (<uint64_t>p[1] << 7)
            value[0] = <int64_t>((raw >> 1) ^ (~(raw & 1) + 1))
            return p + 2
    return varlong_at_slow(p, end, value)


cdef inline const uint8_t* skip_bytes(const uint8_t* p, const uint8_t* end, int32_t size) noexcept nogil:
    """The place after nullable bytes of `size` (-1 null), or NULL."""
    if <uint64_t><int64_t>size <= <uint64_t>(end - p):
        return p + size
    return p if size == -1 else NULL


cdef const uint8_t* skip_headers(const uint8_t* p, const uint8_t* end, int32_t count) noexcept nogil:
    cdef Reader r
    reader_init(&r, p, <size_t>(end - p))
    headers_check(&r, count)
    return r.position if r.error == WIRE_OK else NULL


cdef int walk_record(
    const uint8_t* p, const uint8_t* end, int32_t index, const BatchHeader* header, Walk* walk
) noexcept nogil:
    """One record in [p, end), which must fill it exactly."""
    cdef int64_t delta = 0, timestamp
    cdef int32_t value = 0
    p = varlong_at(p + 1, end, &delta)      # + 1: attributes, unused
    if p == NULL:
        return BATCH_BAD_RECORD
    p = varint_at(p, end, &value)
    if p == NULL or value != index:
        return BATCH_BAD_RECORD
    p = varint_at(p, end, &value)
    if p == NULL:
        return BATCH_BAD_RECORD
    if value < 0 and walk.key_required:
        return BATCH_NO_KEY
    p = skip_bytes(p, end, value)
    if p == NULL:
        return BATCH_BAD_RECORD
    p = varint_at(p, end, &value)
    if p == NULL:
        return BATCH_BAD_RECORD
    p = skip_bytes(p, end, value)
    if p == NULL or p >= end:
        return BATCH_BAD_RECORD
    if p[0] != 0:                           # some headers
        walk.headers = True
        p = varint_at(p, end, &value)
        if p != NULL:
            p = skip_headers(p, end, value)
    else:
        p += 1
    if p != end:
        return BATCH_BAD_RECORD
    timestamp = <int64_t>(<uint64_t>header.base_timestamp + <uint64_t>delta)
    if (timestamp < walk.timestamp_min or timestamp > walk.timestamp_max) and timestamp != -1:
        return BATCH_BAD_TIMESTAMP
    if timestamp > walk.max_timestamp:
        walk.max_timestamp = timestamp
        walk.max_timestamp_at = index
    return BATCH_OK


cdef inline bint walk_plain_record(
    const uint8_t* p, const uint8_t* end, int32_t index, const BatchHeader* header, Walk* walk
) noexcept nogil:
    """The shape that nearly all records have (short key, value under 8 KiB, no headers) in half the instructions.
    False: let walk_record look at it. It never accepts what walk_record would refuse."""
    cdef uint32_t raw, expected = <uint32_t>index << 1
    cdef int64_t timestamp
    if end - p < 8 or index >= 8192:
        return False
    raw = p[1]                              # timestamp delta; p[0] are the attributes
    p += 2
    if raw >= 0x80:
        if p[0] >= 0x80:
            return False
        raw = (raw & 0x7f) | (<uint32_t>p[0] << 7)
        p += 1
    timestamp = <int64_t>(<uint64_t>header.base_timestamp + <uint64_t>((<int64_t>(raw >> 1)) ^ -<int64_t>(raw & 1)))
    if expected < 0x80:
        if p[0] != expected:
            return False
        p += 1
    else:
        if p[0] != (expected & 0x7f | 0x80) or p[1] != expected >> 7:
            return False
        p += 2
    raw = p[0]                              # key length: 1 is null, other odd numbers are negative
    p += 1
    if raw == 1:
        if walk.key_required:
            return False
    elif raw & 0x81:
        return False
    else:
        p += raw >> 1
    if end - p < 3:
        return False
    raw = p[0]                              # value length
    p += 1
    if raw >= 0x80:
        if p[0] >= 0x80:
            return False
        raw = (raw & 0x7f) | (<uint32_t>p[0] << 7)
        p += 1
    if raw & 1:
        return False
    p += raw >> 1
    if p + 1 != end or p[0] != 0:           # no headers, and nothing after them
        return False
    if <uint64_t>timestamp - <uint64_t>walk.timestamp_min > <uint64_t>walk.timestamp_max - <uint64_t>walk.timestamp_min:
        return False
    if timestamp > walk.max_timestamp:
        walk.max_timestamp = timestamp
        walk.max_timestamp_at = index
    return True


cdef int walk_records(const uint8_t* data, size_t size, const BatchHeader* header, Walk* walk) noexcept nogil:
    """Every record with bounds checks: offset deltas 0..n-1, timestamps in range, exactly the bytes given."""
    cdef const uint8_t* p = data
    cdef const uint8_t* end = data + size
    cdef int32_t index, length = 0
    cdef int error
    walk.max_timestamp = -1
    walk.max_timestamp_at = header.last_offset_delta
    walk.headers = False
    for index in range(header.records_count):
        p = varint_at(p, end, &length)
        # A record takes six bytes at least: attributes, two deltas, key, value and header lengths.
        if p == NULL or length < 6 or length > end - p:
            walk.bad_index = index
            return BATCH_BAD_COUNT if p == NULL else BATCH_BAD_RECORD
        if not walk_plain_record(p, p + length, index, header, walk):
            error = walk_record(p, p + length, index, header, walk)
            if error:
                walk.bad_index = index
                return error
        p += length
    return BATCH_OK if p == end else BATCH_BAD_COUNT


# ---- validation of a produced batch ----------------------------------------------------------------------------------

cdef int check_header(
    const uint8_t* data, size_t size, const ProduceRules* rules, int16_t produce_version, BatchHeader* header
) noexcept nogil:
    """What can be said without looking at the records."""
    cdef int codec, error
    if size == 0:
        return BATCH_NOT_ONE
    error = batch_header_read(data, size, header)
    if error:
        return error
    if <size_t>header.length + LOG_OVERHEAD != size:
        return BATCH_NOT_ONE
    codec = header.attributes & ATTRIBUTE_CODEC_MASK
    if codec == CODEC_ZSTD and produce_version < 7:
        return BATCH_ZSTD_UNSUPPORTED
    if header.base_offset != 0:
        return BATCH_BAD_COUNT
    if size > <size_t>rules.message_bytes_max:
        return BATCH_TOO_LARGE
    if not batch_crc_matches(data, header):
        return BATCH_BAD_CRC
    if header.records_count <= 0 or header.records_count - 1 != header.last_offset_delta:
        return BATCH_BAD_COUNT
    if header.attributes & ATTRIBUTE_CONTROL or codec > CODEC_MAX:
        return BATCH_BAD_ATTRIBUTES
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        return BATCH_BAD_SEQUENCE
    if rules.log_append_time and header.attributes & ATTRIBUTE_LOG_APPEND_TIME:
        return BATCH_BAD_TIMESTAMP
    return BATCH_OK


cdef void set_time_limits(Walk* walk, const ProduceRules* rules, int64_t now_ms) noexcept nogil:
    """The timestamps a record may have; with log append time any, since they are not kept."""
    cdef int64_t before = rules.timestamp_before_max_ms
    cdef int64_t after = rules.timestamp_after_max_ms
    walk.timestamp_min = -INT64_MAX - 1
    walk.timestamp_max = INT64_MAX
    if rules.log_append_time:
        return
    if 0 <= before < INT64_MAX:
        walk.timestamp_min = now_ms - before
    if 0 <= after <= INT64_MAX - now_ms:
        walk.timestamp_max = now_ms + after


cdef bint must_walk(const BatchHeader* header, const ProduceRules* rules, int target) noexcept nogil:
    """Whether the records have to be looked at; a compressed batch is mostly taken at its word."""
    cdef int codec = header.attributes & ATTRIBUTE_CODEC_MASK
    if codec == CODEC_NONE or codec != target or rules.verify_records or rules.key_required:
        return True
    if rules.log_append_time:
        return False
    # Some clients leave the maximum unset; the broker has to find it.
    return rules.timestamp_before_max_ms < INT64_MAX or header.max_timestamp < header.base_timestamp


cdef int rewrite_batch(
    Codecs* codecs, int target, const ProduceRules* rules, const uint8_t* records, size_t records_size,
    Writer* scratch, ValidBatch* valid,
) noexcept nogil:
    """The batch with its records in another codec, in `scratch`. Length and CRC are set by the caller's finish."""
    cdef int error = COMPRESSION_OK
    scratch.size = 0
    scratch.error = WIRE_OK
    valid.header.attributes = <int16_t>((valid.header.attributes & ~ATTRIBUTE_CODEC_MASK) | target)
    if batch_header_write(scratch, &valid.header):
        if target == CODEC_NONE:
            write_raw(scratch, records, records_size)
        else:
            error = compress(codecs, target, rules.compression_level, records, records_size, scratch)
    if error == COMPRESSION_TOO_LARGE or scratch.error == WIRE_TOO_LARGE:
        return BATCH_TOO_LARGE
    if error or scratch.error:
        return BATCH_NO_MEMORY
    if scratch.size > <size_t>rules.message_bytes_max:
        return BATCH_TOO_LARGE
    batch_finish(scratch, 0)
    valid.data = scratch.data
    valid.size = scratch.size
    return BATCH_OK


cdef int64_t count_keyless(const uint8_t* records, size_t size) noexcept nogil:
    """Kafka goes on behind the first one and counts them all."""
    cdef Reader r
    cdef RecordView record
    cdef int64_t count = 0
    reader_init(&r, records, size)
    while record_read(&r, &record):
        count += record.key == NULL
    return count


cdef int walk_and_rewrite(
    Codecs* codecs, const ProduceRules* rules, int target, Walk* walk, Writer* unpacked, Writer* scratch,
    ValidBatch* valid,
) noexcept nogil:
    cdef const uint8_t* records = NULL
    cdef size_t records_size = 0
    cdef int error = batch_unpack(codecs, valid.data, &valid.header, unpacked, &records, &records_size)
    if error:
        return error
    error = walk_records(records, records_size, &valid.header, walk)
    if error:
        if error == BATCH_NO_KEY or error == BATCH_BAD_TIMESTAMP:   # Kafka names no record that does not parse.
            valid.bad_record_index = walk.bad_index
        if error == BATCH_NO_KEY:
            valid.keyless_records = count_keyless(records, records_size)
        return error
    if valid.header.attributes & ATTRIBUTE_CODEC_MASK != target:
        return rewrite_batch(codecs, target, rules, records, records_size, scratch, valid)
    return BATCH_OK


cdef int batch_validate(
    Codecs* codecs, uint8_t* data, size_t size, const ProduceRules* rules, int64_t now_ms, int16_t produce_version,
    Writer* scratch, ValidBatch* valid,
) noexcept nogil:
    cdef Walk walk
    cdef Writer* unpacked
    cdef int error, codec, target
    cdef bint walked
    cdef int64_t max_timestamp
    valid.data = data
    valid.size = size
    valid.bad_record_index = -1
    valid.headers = False
    error = check_header(data, size, rules, produce_version, &valid.header)
    if error:
        return error
    codec = valid.header.attributes & ATTRIBUTE_CODEC_MASK
    target = codec if rules.compression_type < 0 else rules.compression_type
    walk.key_required = rules.key_required
    walk.bad_index = -1
    set_time_limits(&walk, rules, now_ms)
    max_timestamp = valid.header.max_timestamp
    valid.max_timestamp_offset_delta = valid.header.last_offset_delta
    walked = must_walk(&valid.header, rules, target)
    if walked:
        unpacked = codecs_unpacked(codecs, rules.unpacked_bytes_max)
        error = walk_and_rewrite(codecs, rules, target, &walk, unpacked, scratch, valid)
        codecs_unpacked_release(codecs)
        if error:
            return error
        max_timestamp = walk.max_timestamp
        valid.max_timestamp_offset_delta = walk.max_timestamp_at
        valid.headers = walk.headers
    elif (max_timestamp < walk.timestamp_min or max_timestamp > walk.timestamp_max) and max_timestamp != -1:
        return BATCH_BAD_TIMESTAMP
    if rules.log_append_time:
        max_timestamp = now_ms
        valid.max_timestamp_offset_delta = 0
    if max_timestamp != valid.header.max_timestamp or rules.log_append_time or (
        valid.header.attributes & ATTRIBUTE_LOG_APPEND_TIME
    ):
        batch_set_max_timestamp(valid.data, rules.log_append_time, max_timestamp)
    batch_header_read(valid.data, valid.size, &valid.header)
    return BATCH_OK


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
    if header.attributes & ATTRIBUTE_CONTROL or header.max_timestamp < target_ms:
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
