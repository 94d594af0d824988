"""RecordBatch v2: header layout, checks, in-place patches. See batch.pyx."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Reader, Writer

cdef enum:
    # Byte positions in a batch (Kafka's DefaultRecordBatch).
    BASE_OFFSET_AT = 0
    LENGTH_AT = 8
    LEADER_EPOCH_AT = 12
    MAGIC_AT = 16
    CRC_AT = 17
    ATTRIBUTES_AT = 21
    LAST_OFFSET_DELTA_AT = 23
    BASE_TIMESTAMP_AT = 27
    MAX_TIMESTAMP_AT = 35
    PRODUCER_ID_AT = 43
    PRODUCER_EPOCH_AT = 51
    BASE_SEQUENCE_AT = 53
    RECORDS_COUNT_AT = 57
    BATCH_HEADER_SIZE = 61
    LOG_OVERHEAD = 12           # base offset + length: not included in a batch's length field
    ATTRIBUTE_CODEC_MASK = 0x07
    ATTRIBUTE_LOG_APPEND_TIME = 0x08
    ATTRIBUTE_TRANSACTIONAL = 0x10
    ATTRIBUTE_CONTROL = 0x20
    ATTRIBUTE_DELETE_HORIZON = 0x40

cdef enum BatchError:
    BATCH_OK = 0
    BATCH_TRUNCATED = 1             # fewer bytes than the header or the length field say
    BATCH_BAD_LENGTH = 2            # length field negative, too small, or not the bytes given (CORRUPT_MESSAGE)
    BATCH_BAD_MAGIC = 3             # (produce: magic < 2 UNSUPPORTED_FOR_MESSAGE_FORMAT, > 2 CORRUPT_MESSAGE)
    BATCH_BAD_CRC = 4               # CORRUPT_MESSAGE
    BATCH_BAD_COUNT = 5             # count differs from last offset delta, or records are missing (INVALID_RECORD)
    BATCH_BAD_ATTRIBUTES = 6        # control batch or unknown codec from a client (INVALID_RECORD)
    BATCH_BAD_SEQUENCE = 7          # a producer id without a sequence or the like (INVALID_RECORD)
    BATCH_BAD_RECORD = 8            # a record that does not parse, offset deltas not 0..n-1 (INVALID_RECORD)
    BATCH_NO_KEY = 9                # no key for a compacted topic (INVALID_RECORD)
    BATCH_BAD_TIMESTAMP = 10        # outside before/after max (INVALID_TIMESTAMP)
    BATCH_TOO_LARGE = 11            # over max.message.bytes (MESSAGE_TOO_LARGE)
    BATCH_BAD_COMPRESSION = 12      # does not unpack (CORRUPT_MESSAGE)
    BATCH_UNPACKS_TOO_LARGE = 13    # over the cap on unpacked bytes
    BATCH_NO_MEMORY = 14
    BATCH_NOT_ONE = 15              # not exactly one batch (INVALID_RECORD)
    BATCH_ZSTD_UNSUPPORTED = 16     # zstd with Produce < 7 (UNSUPPORTED_COMPRESSION_TYPE)

cdef struct BatchHeader:
    int64_t base_offset
    int32_t length                  # bytes after the length field
    int32_t leader_epoch
    int8_t magic
    uint32_t crc
    int16_t attributes
    int32_t last_offset_delta
    int64_t base_timestamp
    int64_t max_timestamp
    int64_t producer_id
    int16_t producer_epoch
    int32_t base_sequence
    int32_t records_count

# A topic's requirements for produced batches; filled from the topic's configuration.
cdef struct ProduceRules:
    int32_t message_bytes_max           # max.message.bytes
    int8_t compression_type             # -1 "producer": keep the client's codec; otherwise a Codec to recompress to
    int32_t compression_level
    bint log_append_time                # message.timestamp.type
    bint key_required                   # compacted topic
    int64_t timestamp_before_max_ms     # message.timestamp.before.max.ms
    int64_t timestamp_after_max_ms      # message.timestamp.after.max.ms
    int64_t unpacked_bytes_max          # cap on a batch's unpacked size

# A record that causes its batch to be refused.
cdef struct RecordError:
    int32_t index
    int32_t error                       # BATCH_NO_KEY or BATCH_BAD_TIMESTAMP

# A batch that may be appended. `data` is the input patched in place, or the scratch Writer's bytes if it was rewritten.
# Base offset and leader epoch are patched later (the CRC does not cover them).
cdef struct ValidBatch:
    uint8_t* data
    size_t size
    BatchHeader header                  # after rewriting
    # Offset delta of the first record with max_timestamp (last_offset_delta when not looked for).
    int64_t max_timestamp_offset_delta
    RecordError* record_errors          # with BATCH_NO_KEY and BATCH_BAD_TIMESTAMP; in the scratch Writer
    int32_t record_errors_count         # 0: the error concerns the whole batch
    int64_t keyless_records
    bint headers                        # some record has them

# One record of a batch, borrowed from the batch's (unpacked) bytes. Null key or value: pointer NULL, size -1.
cdef struct RecordView:
    int8_t attributes
    int64_t timestamp_delta
    int32_t offset_delta
    const uint8_t* key
    int32_t key_size
    const uint8_t* value
    int32_t value_size
    int32_t headers_count
    const uint8_t* headers              # the encoded headers after their count, bounds-checked
    int32_t headers_size

# Walks `count` encoded headers and sets r.error if they are invalid.
cdef void headers_check(Reader* r, int32_t count) noexcept nogil
# The next record; advances `r`. False: not a record (r.error is then set), or nothing left (r.error is WIRE_OK).
cdef bint record_read(Reader* r, RecordView* record) noexcept nogil
# The records of a batch as plain bytes: *records points into `data`, or, if compressed, into `unpacked` (emptied
# first). `unpacked.size_max` is the cap. Returns a BatchError.
cdef int batch_unpack(
    Codecs* codecs, const uint8_t* data, const BatchHeader* header, Writer* unpacked,
    const uint8_t** records, size_t* records_size,
) noexcept nogil
# The timestamp of a record of this batch (log append time, or base timestamp + delta).
cdef inline int64_t record_timestamp(const BatchHeader* header, int64_t delta) noexcept nogil:
    if header.attributes & ATTRIBUTE_LOG_APPEND_TIME:
        return header.max_timestamp
    return <int64_t>(<uint64_t>header.base_timestamp + <uint64_t>delta)

# Appends a header (base offset, counts and the rest as given; batch_finish sets length and CRC). False: out of memory.
cdef bint batch_header_write(Writer* w, const BatchHeader* header) noexcept nogil
# Sets length and CRC of the batch that starts at `start` in `w` and ends at its end.
cdef void batch_finish(Writer* w, size_t start) noexcept nogil

# Header bounds and length field only. With BATCH_BAD_MAGIC, base offset, length and magic are filled (magic 0 and 1
# messages share them); with BATCH_TRUNCATED, whatever the bytes hold.
cdef int batch_header_read(const uint8_t* data, size_t size, BatchHeader* header) noexcept nogil
cdef bint batch_crc_matches(const uint8_t* data, const BatchHeader* header) noexcept nogil
cdef void batch_set_base_offset(uint8_t* data, int64_t base_offset, int32_t leader_epoch) noexcept nogil
# Re-computes the CRC.
cdef void batch_set_max_timestamp(uint8_t* data, bint log_append_time, int64_t max_timestamp) noexcept nogil
# The first record with timestamp >= target_ms (offset >= min_offset): 1 found, 0 not in this batch, -BatchError.
# Unpacks where needed. Reads magic 0, 1 and 2.
cdef int batch_find_timestamp(
    Codecs* codecs, const uint8_t* data, size_t size, int64_t target_ms, int64_t min_offset, int64_t unpacked_bytes_max,
    int64_t* offset, int64_t* timestamp_ms,
) noexcept nogil
