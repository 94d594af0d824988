"""Record headers: of a record that was read, or of a record in a log."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from kafka_cy.records.batch cimport BATCH_OK, BatchHeader, RecordView, batch_header_read, batch_unpack, record_read
from kafka_cy.records.compression cimport Codecs, codecs_unpacked, codecs_unpacked_release
from kafka_cy.records.wire cimport Reader, Writer, read_raw, read_varint, reader_init
from kafka_cy.storage.log_read cimport log_read
from kafka_cy.storage.log_struct cimport Log, ReadResult
from kafka_cy.storage.segment cimport segment_read, segment_release
from kafka_cy.storage.storage_error cimport STORAGE_OK

cdef enum:
    BATCH_BYTES_MAX = 1048576       # larger batches, packed or unpacked, are skipped
cdef int64_t NO_LIMIT = 0x7fffffffffffffff


cdef const uint8_t* record_header(
    const RecordView* record, const char* name, int32_t name_size, int32_t* value_size
) noexcept nogil:
    cdef Reader r
    cdef const uint8_t* key
    cdef const uint8_t* value
    cdef int32_t key_size, size
    cdef int32_t i
    reader_init(&r, record.headers, <size_t>record.headers_size)
    for i in range(record.headers_count):  # no-cython-lint
        key_size = read_varint(&r)
        key = read_raw(&r, key_size)
        size = read_varint(&r)
        value = read_raw(&r, size) if size >= 0 else NULL
        if r.error:
            return NULL
        if key_size == name_size and memcmp(key, name, <size_t>name_size) == 0:
            value_size[0] = size
            return value
    return NULL


cdef int32_t batch_record_header(
    Codecs* codecs, const uint8_t* data, size_t size, int64_t offset, const char* name, int32_t name_size, uint8_t* out,
    int32_t out_max
) noexcept nogil:
    cdef BatchHeader header
    cdef Writer* unpacked
    cdef const uint8_t* records = NULL
    cdef const uint8_t* value
    cdef size_t records_size = 0
    cdef Reader r
    cdef RecordView record
    cdef int32_t found = -1
    if batch_header_read(data, size, &header) != BATCH_OK:
        return -1
    unpacked = codecs_unpacked(codecs, BATCH_BYTES_MAX)
    if batch_unpack(codecs, data, &header, unpacked, &records, &records_size) == BATCH_OK:
        reader_init(&r, records, records_size)
        while record_read(&r, &record):
            if header.base_offset + record.offset_delta < offset:
                continue
            value = record_header(&record, name, name_size, &found)
            if value != NULL:
                memcpy(out, value, <size_t>min(found, out_max))
            else:
                found = -1
            break
    codecs_unpacked_release(codecs)
    return found


cdef int32_t log_record_header(
    Codecs* codecs, Log* log, int64_t offset, const char* name, int32_t name_size, uint8_t* out, int32_t out_max,
    int64_t* segment_base, int64_t* position
) noexcept nogil:
    cdef ReadResult read
    cdef uint8_t* data
    cdef int32_t found = -1
    segment_base[0] = -1
    position[0] = -1
    if log_read(log, offset, NO_LIMIT, 0, True, &read) != STORAGE_OK or read.segment == NULL:
        return -1
    segment_base[0] = read.segment.base_offset
    position[0] = read.position
    data = <uint8_t*>malloc(<size_t>read.size) if read.size <= BATCH_BYTES_MAX else NULL
    if data != NULL and segment_read(read.segment, read.position, data, <size_t>read.size) == STORAGE_OK:
        found = batch_record_header(codecs, data, <size_t>read.size, offset, name, name_size, out, out_max)
    free(data)
    segment_release(read.segment)
    return found
