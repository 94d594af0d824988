"""Message sets of magic 0 and 1: the format of logs written by Kafka before 0.11. Reading only, without the GIL.

A message: offset int64, size int32, CRC-32 int32, magic int8, attributes int8, (magic 1: timestamp int64), key,
value (each with an int32 length, -1 null). A compressed wrapper is a message whose value is a compressed message
set. In magic 1 the inner offsets count from 0 and the wrapper has the offset of the last of them; in magic 0 they
are absolute.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from kafka_cy.records.batch cimport (
    BATCH_BAD_ATTRIBUTES, BATCH_BAD_COMPRESSION, BATCH_BAD_LENGTH, BATCH_BAD_MAGIC, BATCH_BAD_RECORD, BATCH_NO_MEMORY,
    BATCH_OK, BATCH_TRUNCATED, BATCH_UNPACKS_TOO_LARGE, LOG_OVERHEAD,
)
from kafka_cy.records.compression cimport (
    CODEC_LZ4, CODEC_NONE, COMPRESSION_NO_MEMORY, COMPRESSION_OK, COMPRESSION_TOO_LARGE, Codecs, codecs_unpacked,
    codecs_unpacked_release, decompress, decompress_legacy_lz4,
)
from kafka_cy.records.wire cimport (
    WIRE_OK, Reader, Writer, read_int8, read_int32, read_int64, read_raw, reader_init, reader_remaining,
)

cdef extern from "zlib.h" nogil:
    unsigned long crc32(unsigned long crc, const uint8_t* data, unsigned int size) noexcept

cdef enum:
    CRC_FIELD_AT = 12           # after offset and size
    CRC_COVERS_AT = 16          # magic and all that follows
    MESSAGE_SIZE_MIN = 14       # CRC, magic, attributes, two lengths


cdef int legacy_message_read(const uint8_t* data, size_t size, LegacyMessage* message) noexcept nogil:
    cdef Reader r
    reader_init(&r, data, size)
    message.offset = read_int64(&r)
    message.size = read_int32(&r)
    if r.error:
        return BATCH_TRUNCATED
    if message.size < MESSAGE_SIZE_MIN:
        return BATCH_BAD_LENGTH
    if <size_t>message.size > reader_remaining(&r):
        return BATCH_TRUNCATED
    reader_init(&r, data + LOG_OVERHEAD, <size_t>message.size)
    message.crc = <uint32_t>read_int32(&r)
    message.magic = read_int8(&r)
    message.attributes = read_int8(&r)
    if message.magic < 0 or message.magic > 1:
        return BATCH_BAD_MAGIC
    message.timestamp = read_int64(&r) if message.magic == 1 else -1
    message.key = legacy_bytes(&r, &message.key_size)
    message.value = legacy_bytes(&r, &message.value_size)
    return BATCH_OK if r.error == WIRE_OK and r.position == r.end else BATCH_BAD_RECORD


cdef inline const uint8_t* legacy_bytes(Reader* r, int32_t* size) noexcept nogil:
    size[0] = read_int32(r)
    if size[0] == -1:
        return NULL
    return read_raw(r, size[0])


cdef bint legacy_crc_matches(const uint8_t* data, const LegacyMessage* message) noexcept nogil:
    cdef unsigned int size = <unsigned int>(message.size + LOG_OVERHEAD - CRC_COVERS_AT)
    return <uint32_t>crc32(0, data + CRC_COVERS_AT, size) == message.crc


cdef int unpack_wrapper(Codecs* codecs, const LegacyMessage* wrapper, Writer* unpacked) noexcept nogil:
    cdef int codec = wrapper.attributes & 0x07
    cdef int error
    if codec > CODEC_LZ4:
        return BATCH_BAD_ATTRIBUTES
    if wrapper.value == NULL:
        return BATCH_BAD_RECORD
    unpacked.size = 0
    unpacked.error = WIRE_OK
    if codec == CODEC_LZ4 and wrapper.magic == 0:
        error = decompress_legacy_lz4(wrapper.value, <size_t>wrapper.value_size, unpacked)
    else:
        error = decompress(codecs, codec, wrapper.value, <size_t>wrapper.value_size, unpacked)
    if error == COMPRESSION_OK:
        return BATCH_OK
    if error == COMPRESSION_TOO_LARGE:
        return BATCH_UNPACKS_TOO_LARGE
    return BATCH_NO_MEMORY if error == COMPRESSION_NO_MEMORY else BATCH_BAD_COMPRESSION


cdef int legacy_iterate(
    Codecs* codecs, const uint8_t* data, size_t size, Writer* unpacked, LegacyIterator* iterator
) noexcept nogil:
    cdef LegacyMessage wrapper
    cdef LegacyMessage inner
    cdef Reader last
    cdef int error = legacy_message_read(data, size, &wrapper)
    if error:
        return error
    iterator.offset_shift = 0
    iterator.log_append_time = False
    iterator.wrapper_timestamp = wrapper.timestamp
    if wrapper.attributes & 0x07 == CODEC_NONE:
        reader_init(&iterator.reader, data, <size_t>wrapper.size + LOG_OVERHEAD)
        return BATCH_OK
    error = unpack_wrapper(codecs, &wrapper, unpacked)
    if error:
        return error
    reader_init(&iterator.reader, unpacked.data, unpacked.size)
    if wrapper.magic == 0:
        return BATCH_OK
    iterator.log_append_time = wrapper.attributes & 0x08 != 0
    # The wrapper has the offset of its last message, so the shift is known once the last message is.
    last = iterator.reader
    inner.offset = 0
    while reader_remaining(&last) > 0:
        error = legacy_message_read(last.position, reader_remaining(&last), &inner)
        if error:
            return error
        read_raw(&last, <int64_t>inner.size + LOG_OVERHEAD)
    iterator.offset_shift = <int64_t>(<uint64_t>wrapper.offset - <uint64_t>inner.offset)
    return BATCH_OK


cdef int legacy_next(LegacyIterator* iterator, LegacyMessage* message) noexcept nogil:
    cdef int error
    if reader_remaining(&iterator.reader) == 0:
        return 0
    error = legacy_message_read(iterator.reader.position, reader_remaining(&iterator.reader), message)
    if error:
        return -error
    read_raw(&iterator.reader, <int64_t>message.size + LOG_OVERHEAD)
    message.offset = <int64_t>(<uint64_t>message.offset + <uint64_t>iterator.offset_shift)
    if iterator.log_append_time:
        message.timestamp = iterator.wrapper_timestamp
    return 1


cdef int legacy_find_timestamp(
    Codecs* codecs, const uint8_t* data, size_t size, int64_t target_ms, int64_t min_offset, int64_t unpacked_bytes_max,
    int64_t* offset, int64_t* timestamp_ms,
) noexcept nogil:
    cdef LegacyIterator iterator
    cdef LegacyMessage message
    cdef Writer* unpacked = codecs_unpacked(codecs, unpacked_bytes_max)
    cdef int found = -legacy_iterate(codecs, data, size, unpacked, &iterator)
    if found == 0:
        found = legacy_next(&iterator, &message)
        while found == 1 and not (message.timestamp >= target_ms and message.offset >= min_offset):
            found = legacy_next(&iterator, &message)
    if found == 1:
        offset[0] = message.offset
        timestamp_ms[0] = message.timestamp
    codecs_unpacked_release(codecs)
    return found
