"""One batch in a cleaning round (Kafka's Cleaner.cleanInto and MemoryRecords.filterTo).

The latest record of each key stays. A tombstone stays until its batch's delete horizon. The first round that keeps
the tombstone sets the horizon (attribute bit 6; the base timestamp then holds the horizon). Aborted data is removed.
A marker without data is removed once its horizon has passed. Offsets never change: the base offset and last offset
delta are those of the original batch.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memset

from kafka_cy.records.batch cimport (
    ATTRIBUTE_CODEC_MASK, ATTRIBUTE_CONTROL, ATTRIBUTE_DELETE_HORIZON, ATTRIBUTE_LOG_APPEND_TIME, BATCH_NO_MEMORY, BATCH_OK,
    LOG_OVERHEAD, BatchHeader, RecordView, batch_finish, batch_header_write, batch_unpack, record_read, record_timestamp,
)
from kafka_cy.records.compression cimport (
    CODEC_GZIP, CODEC_LZ4, CODEC_NONE, CODEC_ZSTD, COMPRESSION_NO_MEMORY, codecs_unpacked, codecs_unpacked_release, compress,
)
from kafka_cy.records.legacy cimport LegacyIterator, LegacyMessage, legacy_iterate, legacy_next
from kafka_cy.records.wire cimport (
    WIRE_NO_MEMORY, WIRE_OK, Reader, Writer, reader_init, write_int8, write_raw, write_varint, write_varlong,
)
from kafka_cy.storage.cleaned_transactions cimport transactions_see_data, transactions_see_marker
from kafka_cy.storage.offset_map cimport offset_map_get, offset_map_put
from kafka_cy.storage.producer_state cimport LastRecord, Marker, marker_read
from kafka_cy.storage.sorted_ids cimport place_of_id
from kafka_cy.storage.storage_error cimport (
    STORAGE_BATCH_TOO_LARGE, STORAGE_CORRUPT, STORAGE_NO_MEMORY, STORAGE_OK,
)

# Iterates over a batch's records. For magic 0 and 1, `header` is synthesised so that records look like magic 2: base
# timestamp 0, base offset of the first message. Rebuilt batches have magic 2.
cdef struct RecordWalk:
    BatchHeader header
    Reader reader
    LegacyIterator legacy
    int32_t seen
    int32_t previous_delta

# Facts about a batch's records, found by the first pass.
cdef struct KeptRecords:
    int32_t count
    int64_t first_timestamp
    int64_t max_timestamp
    bint all
    bint tombstones             # does any kept record have a null value?


cdef inline int storage_error(int batch_error) noexcept nogil:
    if batch_error == BATCH_OK:
        return STORAGE_OK
    return STORAGE_NO_MEMORY if batch_error == BATCH_NO_MEMORY else STORAGE_CORRUPT


cdef inline bint has_horizon(const BatchHeader* header) noexcept nogil:
    return header.magic == 2 and header.attributes & ATTRIBUTE_DELETE_HORIZON != 0


cdef inline bint is_marker(const BatchHeader* header) noexcept nogil:
    return header.magic == 2 and header.attributes & ATTRIBUTE_CONTROL != 0


cdef int walk_start(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, Writer* unpacked, RecordWalk* walk
) noexcept nogil:
    cdef const uint8_t* records = NULL
    cdef size_t records_size = 0
    cdef LegacyIterator first
    cdef LegacyMessage message
    cdef int error
    memset(walk, 0, sizeof(RecordWalk))
    walk.header = header[0]
    walk.previous_delta = -1
    if header.magic == 2:
        error = batch_unpack(filter.codecs, data, header, unpacked, &records, &records_size)
        if not error:
            reader_init(&walk.reader, records, records_size)
        return storage_error(error)
    error = legacy_iterate(filter.codecs, data, <size_t>(LOG_OVERHEAD + header.length), unpacked, &walk.legacy)
    if error:
        return storage_error(error)
    first = walk.legacy
    if legacy_next(&first, &message) != 1:
        return STORAGE_CORRUPT
    walk.header.base_offset = message.offset
    walk.header.last_offset_delta = <int32_t>(header.base_offset - message.offset)
    walk.header.base_timestamp = 0
    walk.header.attributes = header.attributes & ATTRIBUTE_CODEC_MASK
    return STORAGE_OK


cdef int next_legacy(RecordWalk* walk, RecordView* record) noexcept nogil:
    cdef LegacyMessage message
    cdef int found = legacy_next(&walk.legacy, &message)
    if found != 1:
        return found
    record.timestamp_delta = message.timestamp
    record.offset_delta = <int32_t>(message.offset - walk.header.base_offset)
    record.key = message.key
    record.key_size = message.key_size
    record.value = message.value
    record.value_size = message.value_size
    record.headers_count = 0
    record.headers = NULL
    record.headers_size = 0
    return 1


cdef int walk_next(RecordWalk* walk, RecordView* record) noexcept nogil:
    """1 a record, 0 the end, negative: -StorageError. Checks that offsets ascend within the batch and that the count is
    right."""
    cdef int found
    if walk.header.magic == 2:
        found = 1 if record_read(&walk.reader, record) else (0 if walk.reader.error == WIRE_OK else -STORAGE_CORRUPT)
        if found == 0 and walk.seen != walk.header.records_count:
            return -STORAGE_CORRUPT
    else:
        found = next_legacy(walk, record)
    if found < 0:
        return -STORAGE_CORRUPT
    if found:
        walk.seen += 1
        if record.offset_delta <= walk.previous_delta or record.offset_delta > walk.header.last_offset_delta:
            return -STORAGE_CORRUPT
        walk.previous_delta = record.offset_delta
    return found


cdef int batch_note_keys(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, int64_t first_offset
) noexcept nogil:
    cdef RecordWalk walk
    cdef RecordView record
    cdef int64_t offset
    cdef int outcome = -walk_start(filter, data, header, codecs_unpacked(filter.codecs, filter.unpacked_bytes_max), &walk)
    if outcome == 0:
        outcome = walk_next(&walk, &record)
    while outcome == 1:
        offset = walk.header.base_offset + record.offset_delta
        if record.key_size >= 0 and offset >= first_offset:
            if not offset_map_put(filter.latest, record.key, record.key_size, offset):
                break
        outcome = walk_next(&walk, &record)
    codecs_unpacked_release(filter.codecs)
    return outcome


cdef LastRecord* last_record_of(BatchFilter* filter, int64_t producer_id) noexcept nogil:
    cdef int32_t i = place_of_id(filter.last_records, sizeof(LastRecord), filter.last_records_count, producer_id)
    if i < filter.last_records_count and filter.last_records[i].producer_id == producer_id:
        return &filter.last_records[i]
    return NULL


cdef bint must_leave_empty(BatchFilter* filter, const BatchHeader* header) noexcept nogil:
    """Must an empty batch stay? The round's last batch keeps the log's end offset. An active producer's last data batch
    keeps its sequence; without data, its marker keeps its epoch."""
    cdef int64_t last_offset = header.base_offset + header.last_offset_delta
    cdef LastRecord* last
    if last_offset + 1 == filter.round_end:
        return True
    if header.producer_id < 0:
        return False
    last = last_record_of(filter, header.producer_id)
    if last == NULL:
        return False
    if last.last_data_offset >= 0:
        return last_offset == last.last_data_offset
    return is_marker(header) and header.producer_epoch == last.epoch


cdef bint stays(BatchFilter* filter, const RecordWalk* walk, const RecordView* record, bint keep_tombstones) noexcept nogil:
    cdef int64_t offset = walk.header.base_offset + record.offset_delta
    if offset > filter.latest_offset:
        return True
    if record.key_size < 0:
        return False
    if record.value_size < 0 and not keep_tombstones:
        return False
    return offset >= offset_map_get(filter.latest, record.key, record.key_size)


cdef int choose_records(BatchFilter* filter, RecordWalk walk, KeptRecords* kept) noexcept nogil:
    """First pass: set a flag per record in filter.kept and collect their common properties. Returns a StorageError."""
    cdef RecordView record
    cdef const BatchHeader* header = &walk.header
    cdef bint is_control = is_marker(header)
    cdef bint keep_tombstones
    cdef bint keep
    cdef int64_t timestamp
    cdef int found
    if header.magic < 2:
        keep_tombstones = filter.keep_legacy_tombstones
    else:
        keep_tombstones = not has_horizon(header) or filter.now_ms < header.base_timestamp
    memset(kept, 0, sizeof(KeptRecords))
    kept.all = True
    kept.max_timestamp = -1
    filter.kept.size = 0
    found = walk_next(&walk, &record)
    while found == 1:
        keep = is_control or stays(filter, &walk, &record, keep_tombstones)
        write_int8(&filter.kept, keep)
        if keep:
            timestamp = record_timestamp(header, record.timestamp_delta)
            if kept.count == 0:
                kept.first_timestamp = timestamp
            kept.max_timestamp = max(kept.max_timestamp, timestamp)
            kept.count += 1
            kept.tombstones = kept.tombstones or record.value_size < 0
        else:
            kept.all = False
        found = walk_next(&walk, &record)
    if filter.kept.error:
        filter.kept.error = WIRE_OK
        return STORAGE_NO_MEMORY
    return -found


cdef inline int32_t varlong_size(int64_t value) noexcept nogil:
    cdef uint64_t raw = (<uint64_t>value << 1) ^ <uint64_t>(value >> 63)
    cdef int32_t size = 1
    while raw >= 0x80:
        raw >>= 7
        size += 1
    return size


cdef void write_record(Writer* w, const RecordView* record, int64_t timestamp_delta) noexcept nogil:
    cdef int32_t key_bytes = record.key_size if record.key_size > 0 else 0
    cdef int32_t value_bytes = record.value_size if record.value_size > 0 else 0
    write_varint(w, 1 + varlong_size(timestamp_delta) + varlong_size(record.offset_delta)
                 + varlong_size(record.key_size) + key_bytes + varlong_size(record.value_size) + value_bytes
                 + varlong_size(record.headers_count) + record.headers_size)
    write_int8(w, 0)
    write_varlong(w, timestamp_delta)
    write_varint(w, record.offset_delta)
    write_varint(w, record.key_size)
    write_raw(w, record.key, <size_t>key_bytes)
    write_varint(w, record.value_size)
    write_raw(w, record.value, <size_t>value_bytes)
    write_varint(w, record.headers_count)
    write_raw(w, record.headers, <size_t>record.headers_size)


cdef int32_t default_level(int codec) noexcept nogil:
    """Use Kafka's default level: a topic's compression.*.level applies to producers only."""
    if codec == CODEC_GZIP:
        return -1
    if codec == CODEC_LZ4:
        return 9
    return 3 if codec == CODEC_ZSTD else 0


cdef int rebuild(BatchFilter* filter, RecordWalk walk, const BatchHeader* header, Writer* output) noexcept nogil:
    """Second pass: build a batch of the kept records. `header` is complete except for length and CRC."""
    cdef RecordView record
    cdef int codec = header.attributes & ATTRIBUTE_CODEC_MASK
    cdef Writer* records = output if codec == CODEC_NONE else &filter.plain
    cdef size_t start = output.size
    cdef int64_t timestamp
    cdef int error = 0
    filter.plain.size = 0
    batch_header_write(output, header)
    while not records.error and walk_next(&walk, &record) == 1:
        if filter.kept.data[walk.seen - 1]:
            timestamp = record_timestamp(&walk.header, record.timestamp_delta)
            write_record(records, &record, <int64_t>(<uint64_t>timestamp - <uint64_t>header.base_timestamp))
    if codec != CODEC_NONE and not records.error:
        error = compress(filter.codecs, codec, default_level(codec), records.data, records.size, output)
    if error or records.error or output.error:
        if error == COMPRESSION_NO_MEMORY or records.error == WIRE_NO_MEMORY or output.error == WIRE_NO_MEMORY:
            error = STORAGE_NO_MEMORY
        else:
            error = STORAGE_BATCH_TOO_LARGE
        records.error = WIRE_OK
        output.error = WIRE_OK
        output.size = start
        return error
    batch_finish(output, start)
    return STORAGE_OK


cdef int write_empty(const BatchHeader* header, Writer* output) noexcept nogil:
    """Append the batch without its records, always as magic 2."""
    cdef BatchHeader empty = header[0]
    cdef size_t start = output.size
    empty.attributes = <int16_t>(header.attributes & ~(ATTRIBUTE_CODEC_MASK | ATTRIBUTE_DELETE_HORIZON))
    empty.base_timestamp = -1
    empty.records_count = 0
    if not batch_header_write(output, &empty):
        output.error = WIRE_OK
        return STORAGE_NO_MEMORY
    batch_finish(output, start)
    return STORAGE_OK


cdef int write_kept(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, const RecordWalk* walk, const KeptRecords* kept,
    bint marker_without_data, Writer* output
) noexcept nogil:
    """Append the batch unchanged, or rebuilt if records are removed or a delete horizon is set."""
    cdef BatchHeader rebuilt = walk.header
    cdef bint sets_horizon = header.magic == 2 and not has_horizon(header) and (kept.tombstones or marker_without_data)
    if kept.all and not sets_horizon:
        write_raw(output, data, <size_t>(LOG_OVERHEAD + header.length))
        if output.error:
            output.error = WIRE_OK
            return STORAGE_NO_MEMORY
        return STORAGE_OK
    if sets_horizon:
        rebuilt.attributes |= ATTRIBUTE_DELETE_HORIZON
        rebuilt.base_timestamp = filter.now_ms + min(filter.delete_retention_ms, <int64_t>0x7fffffffffffffff - filter.now_ms)
    elif not has_horizon(header):
        rebuilt.base_timestamp = kept.first_timestamp
    if not rebuilt.attributes & ATTRIBUTE_LOG_APPEND_TIME:
        rebuilt.max_timestamp = kept.max_timestamp
    rebuilt.records_count = kept.count
    return rebuild(filter, walk[0], &rebuilt, output)


cdef int batch_see_transaction(BatchFilter* filter, const uint8_t* data, const BatchHeader* header) noexcept nogil:
    cdef Marker marker
    if header.magic < 2:
        return 0
    if header.attributes & ATTRIBUTE_CONTROL:
        marker_read(data, <size_t>(LOG_OVERHEAD + header.length), header, &marker)
        return transactions_see_marker(filter.transactions, header, &marker)
    return transactions_see_data(filter.transactions, header)


cdef int batch_clean(
    BatchFilter* filter, const uint8_t* data, const BatchHeader* header, Writer* output, int64_t* max_timestamp
) noexcept nogil:
    cdef RecordWalk walk
    cdef KeptRecords kept
    cdef int discardable = batch_see_transaction(filter, data, header)
    cdef bint is_control = is_marker(header)
    cdef bint discard = discardable > 0
    cdef int error
    max_timestamp[0] = -1
    if discardable < 0:
        return STORAGE_NO_MEMORY
    if is_control and header.records_count > 0:         # a marker stays until its horizon
        discard = discard and has_horizon(header) and header.base_timestamp <= filter.now_ms
    if discard or header.records_count == 0:
        return write_empty(header, output) if must_leave_empty(filter, header) else STORAGE_OK
    error = walk_start(filter, data, header, codecs_unpacked(filter.codecs, filter.unpacked_bytes_max), &walk)
    if not error:
        error = choose_records(filter, walk, &kept)
    if not error and kept.count > 0:
        max_timestamp[0] = kept.max_timestamp
        error = write_kept(filter, data, header, &walk, &kept, is_control and discardable > 0, output)
    elif not error and must_leave_empty(filter, header):
        error = write_empty(header, output)
    codecs_unpacked_release(filter.codecs)
    return error
