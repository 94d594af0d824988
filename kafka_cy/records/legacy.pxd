"""Reading message sets of magic 0 and 1 (logs written by Kafka before 0.11). See legacy.pyx."""
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t

from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Reader, Writer

# One message, borrowed from the bytes. Null key or value: pointer NULL, size -1.
cdef struct LegacyMessage:
    int64_t offset              # absolute; of a compressed wrapper: of its last inner message
    int32_t size                # bytes after offset and size field
    uint32_t crc                # CRC-32 of all that follows it
    int8_t magic
    int8_t attributes           # bits 0-2 codec, bit 3 log append time (magic 1)
    int64_t timestamp           # -1 for magic 0
    const uint8_t* key
    int32_t key_size
    const uint8_t* value
    int32_t value_size

# The messages inside a wrapper.
# Owner: the caller's stack; `unpacked` must outlive it.
cdef struct LegacyIterator:
    Reader reader
    int64_t offset_shift        # added to the inner (relative) offsets
    bint log_append_time        # the wrapper's timestamp applies to all
    int64_t wrapper_timestamp

# One message at the start of `data` (whole, bounds-checked): a BatchError.
cdef int legacy_message_read(const uint8_t* data, size_t size, LegacyMessage* message) noexcept nogil
cdef bint legacy_crc_matches(const uint8_t* data, const LegacyMessage* message) noexcept nogil
# Iterates over the plain message, or the messages of the compressed wrapper, that `data` starts with.
cdef int legacy_iterate(
    Codecs* codecs, const uint8_t* data, size_t size, Writer* unpacked, LegacyIterator* iterator
) noexcept nogil
# 1 a message, 0 the end, -BatchError.
cdef int legacy_next(LegacyIterator* iterator, LegacyMessage* message) noexcept nogil
cdef int legacy_find_timestamp(
    Codecs* codecs, const uint8_t* data, size_t size, int64_t target_ms, int64_t min_offset, int64_t unpacked_bytes_max,
    int64_t* offset, int64_t* timestamp_ms,
) noexcept nogil
