"""All checks and changes of Kafka's LogValidator on a produced batch, without the GIL.

Each record is checked, in compressed batches too. Records without a required key, or with a timestamp out of range,
are collected, because the response names all of them; any other error ends the walk.
"""
from libc.stdint cimport INT64_MAX, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from kafka_cy.records.batch cimport *
from kafka_cy.records.compression cimport (
    CODEC_MAX, CODEC_NONE, CODEC_ZSTD, COMPRESSION_OK, COMPRESSION_TOO_LARGE, Codecs, codecs_unpacked,
    codecs_unpacked_release, compress,
)
from kafka_cy.records.wire cimport (
    WIRE_OK, WIRE_TOO_LARGE, Reader, Writer, read_varint, read_varlong, reader_init, write_raw, writer_reserve,
)

cdef enum:
    RECORD_BYTES_MIN = 7            # with its length
    RECORD_ERRORS_ALWAYS = 1000     # this many are listed however small the batch is


# What a walk found.
# Owner: the caller's stack.
cdef struct Walk:
    int64_t timestamp_min           # records outside [min, max] are refused (timestamp -1 is exempt)
    int64_t timestamp_max
    bint key_required
    bint append_time_refused        # in a batch that claims log append time; else only records without a timestamp
    int64_t max_timestamp
    int32_t max_timestamp_at        # offset delta of the first record with it
    bint headers                    # some record has them
    Writer* refused                 # RecordError entries
    int32_t refused_count
    int32_t refused_max
    int64_t keyless_records
    int64_t bad_timestamps


cdef inline const uint8_t* varint_at(const uint8_t* p, const uint8_t* end, int32_t* value) noexcept nogil:
    """Read a zigzag varint at `p`; returns the position after it, or NULL. Nearly all take one or two bytes."""
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
    """The position after nullable bytes of `size` (-1 null), or NULL."""
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
    """Check one record in [p, end), which must fill it exactly."""
    cdef int64_t delta = 0, timestamp
    cdef int32_t value = 0
    cdef bint keyless
    p = varlong_at(p + 1, end, &delta)      # + 1: attributes, unused
    if p == NULL:
        return BATCH_BAD_RECORD
    p = varint_at(p, end, &value)
    if p == NULL or value != index:
        return BATCH_BAD_RECORD
    p = varint_at(p, end, &value)
    if p == NULL:
        return BATCH_BAD_RECORD
    keyless = value < 0
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
    if keyless and walk.key_required:
        return BATCH_NO_KEY
    timestamp = record_timestamp(header, delta)
    if (timestamp < walk.timestamp_min or timestamp > walk.timestamp_max) and timestamp != -1:
        return BATCH_BAD_TIMESTAMP
    if header.attributes & ATTRIBUTE_LOG_APPEND_TIME and (timestamp == -1 or walk.append_time_refused):
        return BATCH_BAD_TIMESTAMP
    if timestamp > walk.max_timestamp:
        walk.max_timestamp = timestamp
        walk.max_timestamp_at = index
    return BATCH_OK


cdef inline bint walk_plain_record(
    const uint8_t* p, const uint8_t* end, int32_t index, const BatchHeader* header, Walk* walk
) noexcept nogil:
    """Fast path for the common record (short key, value under 8 KiB, no headers), in half the instructions. False: use
    walk_record. It never accepts a record that walk_record would refuse."""
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


cdef int note_refused(Walk* walk, int32_t index, int error) noexcept nogil:
    """Note a refused record; the walk continues, because Kafka names all of them."""
    cdef RecordError* noted
    if error == BATCH_NO_KEY:
        walk.keyless_records += 1
    else:
        walk.bad_timestamps += 1
    if walk.refused_count == walk.refused_max:
        return BATCH_OK
    noted = <RecordError*>writer_reserve(walk.refused, sizeof(RecordError))
    if noted == NULL:
        return BATCH_NO_MEMORY
    noted.index = index
    noted.error = error
    walk.refused.size += sizeof(RecordError)
    walk.refused_count += 1
    return BATCH_OK


cdef int walk_records(const uint8_t* data, size_t size, const BatchHeader* header, Walk* walk) noexcept nogil:
    """Check every record: bounds, offset deltas 0..n-1, timestamps in range, exactly the given bytes."""
    cdef const uint8_t* p = data
    cdef const uint8_t* end = data + size
    cdef bint plain = not header.attributes & ATTRIBUTE_LOG_APPEND_TIME     # Otherwise a record's own timestamp has no meaning.
    cdef int32_t index, length = 0
    cdef int error
    walk.max_timestamp = -1
    walk.max_timestamp_at = header.last_offset_delta
    walk.headers = False
    for index in range(header.records_count):
        p = varint_at(p, end, &length)
        # A record takes at least six bytes: attributes, two deltas, key, value and header lengths.
        if p == NULL or length < 6 or length > end - p:
            return BATCH_BAD_COUNT if p == NULL else BATCH_BAD_RECORD
        if not plain or not walk_plain_record(p, p + length, index, header, walk):
            error = walk_record(p, p + length, index, header, walk)
            if error == BATCH_NO_KEY or error == BATCH_BAD_TIMESTAMP:
                error = note_refused(walk, index, error)
            if error:
                return error
        p += length
    if p != end:
        return BATCH_BAD_COUNT
    if walk.bad_timestamps:
        return BATCH_BAD_TIMESTAMP
    return BATCH_NO_KEY if walk.keyless_records else BATCH_OK


# ---- validation of a produced batch ----------------------------------------------------------------------------------

cdef int check_header(
    const uint8_t* data, size_t size, const ProduceRules* rules, int16_t produce_version, BatchHeader* header
) noexcept nogil:
    """Checks that do not need the records."""
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
    return BATCH_OK


cdef void set_time_limits(Walk* walk, const ProduceRules* rules, int64_t now_ms) noexcept nogil:
    """The allowed record timestamps; with log append time any, since they are not kept."""
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


cdef int rewrite_batch(
    Codecs* codecs, int target, const ProduceRules* rules, const uint8_t* records, size_t records_size,
    Writer* scratch, ValidBatch* valid,
) noexcept nogil:
    """Recompress the batch's records with another codec into `scratch`. The caller's finish sets length and CRC."""
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


cdef int walk_and_rewrite(
    Codecs* codecs, const ProduceRules* rules, int target, Walk* walk, Writer* unpacked, Writer* scratch,
    ValidBatch* valid,
) noexcept nogil:
    cdef const uint8_t* records = NULL
    cdef size_t records_size = 0
    cdef int error = batch_unpack(codecs, valid.data, &valid.header, unpacked, &records, &records_size)
    if error:
        return error
    # Nothing is rewritten when records are refused, so `scratch` can hold the list of them.
    walk.refused = scratch
    scratch.size = 0
    scratch.error = WIRE_OK
    error = walk_records(records, records_size, &valid.header, walk)
    if error:
        if error == BATCH_NO_KEY or error == BATCH_BAD_TIMESTAMP:
            valid.record_errors = <RecordError*>scratch.data
            valid.record_errors_count = walk.refused_count
            valid.keyless_records = walk.keyless_records
        return error
    if valid.header.attributes & ATTRIBUTE_CODEC_MASK != target:
        return rewrite_batch(codecs, target, rules, records, records_size, scratch, valid)
    return BATCH_OK


cdef int32_t record_errors_max(size_t batch_size) noexcept nogil:
    """Check all records of an uncompressed batch. The cap keeps a compressed batch from causing a response of
    gigabytes."""
    return <int32_t>min(batch_size // RECORD_BYTES_MIN + RECORD_ERRORS_ALWAYS, <size_t>0x7fffffff)


cdef int batch_validate(
    Codecs* codecs, uint8_t* data, size_t size, const ProduceRules* rules, int64_t now_ms, int16_t produce_version,
    Writer* scratch, ValidBatch* valid,
) noexcept nogil:
    cdef Walk walk
    cdef Writer* unpacked
    cdef int error, codec, target
    cdef int64_t max_timestamp
    valid.data = data
    valid.size = size
    valid.record_errors_count = 0
    valid.keyless_records = 0
    valid.headers = False
    error = check_header(data, size, rules, produce_version, &valid.header)
    if error:
        return error
    codec = valid.header.attributes & ATTRIBUTE_CODEC_MASK
    target = codec if rules.compression_type < 0 else rules.compression_type
    walk.key_required = rules.key_required
    walk.append_time_refused = rules.log_append_time
    walk.refused_count = 0
    walk.refused_max = record_errors_max(size)
    walk.keyless_records = 0
    walk.bad_timestamps = 0
    set_time_limits(&walk, rules, now_ms)
    unpacked = codecs_unpacked(codecs, rules.unpacked_bytes_max)
    error = walk_and_rewrite(codecs, rules, target, &walk, unpacked, scratch, valid)
    codecs_unpacked_release(codecs)
    if error:
        return error
    max_timestamp = walk.max_timestamp
    valid.max_timestamp_offset_delta = walk.max_timestamp_at
    valid.headers = walk.headers
    if rules.log_append_time:
        max_timestamp = now_ms
        valid.max_timestamp_offset_delta = 0
    if max_timestamp != valid.header.max_timestamp or rules.log_append_time or (
        valid.header.attributes & ATTRIBUTE_LOG_APPEND_TIME
    ):
        batch_set_max_timestamp(valid.data, rules.log_append_time, max_timestamp)
        batch_header_read(valid.data, valid.size, &valid.header)
    elif valid.data != data:
        batch_header_read(valid.data, valid.size, &valid.header)
    return BATCH_OK
