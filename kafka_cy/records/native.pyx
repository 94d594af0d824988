"""The C code of this package for Python callers; `kafka_cy.records` is the convenient interface.

One set of compression contexts serves all calls; it is only used with the GIL held.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_Check, PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_SET_ITEM
from libc.stdint cimport INT64_MAX, int8_t, int16_t, int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport (
    ATTRIBUTE_CODEC_MASK, BATCH_BAD_COMPRESSION, BATCH_BAD_MAGIC, BATCH_BAD_RECORD, BATCH_OK,
    BATCH_TRUNCATED, BATCH_UNPACKS_TOO_LARGE, LOG_OVERHEAD, BatchHeader, ProduceRules, RecordView, ValidBatch,
    batch_crc_matches, batch_find_timestamp, batch_finish, batch_header_read, batch_header_write, batch_unpack,
    record_read, record_timestamp,
)
from kafka_cy.records.batch_validation cimport batch_validate
from kafka_cy.records.compression cimport (
    CODEC_NONE, COMPRESSION_NO_MEMORY, COMPRESSION_TOO_LARGE, Codecs, codecs_new, codecs_unpacked,
    codecs_unpacked_release, compress as compress_bytes, decompress as decompress_bytes,
)
from kafka_cy.records.legacy cimport (
    LegacyIterator, LegacyMessage, legacy_crc_matches, legacy_iterate, legacy_message_read, legacy_next,
)
from kafka_cy.records.wire cimport (
    WIRE_OK, Reader, Writer, read_raw, read_varint, reader_init, write_int8, write_raw, write_varint, write_varlong,
    writer_free, writer_init,
)

from kafka_cy.records.errors import InvalidBatch
from kafka_cy.records.record import Record

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030E0000  /* tuples remember their hash from 3.14 on */
    #define forget_hash(record) (((PyTupleObject *)(record))->ob_hash = -1)
    #else
    #define forget_hash(record) ((void)(record))
    #endif
    """
    void forget_hash(object record)
    ctypedef struct PyTypeObject:
        pass
    object PyType_GenericAlloc(PyTypeObject* type, Py_ssize_t items)

cdef enum:
    RECORD_FIELDS = 5

cdef type record_type = Record
cdef Codecs* codecs = codecs_new()
if codecs == NULL:
    raise MemoryError


cdef inline const uint8_t* start_of(const uint8_t[::1] data) noexcept:
    return &data[0] if data.shape[0] else <const uint8_t*>b""


cdef int compression_failed(int error) except -1:
    if error == COMPRESSION_TOO_LARGE:
        raise InvalidBatch(BATCH_UNPACKS_TOO_LARGE)
    if error == COMPRESSION_NO_MEMORY:
        raise MemoryError
    raise InvalidBatch(BATCH_BAD_COMPRESSION)


def compress(int codec, const uint8_t[::1] data not None, int level):
    """`data` in the codec's format."""
    cdef Writer output
    cdef int error
    writer_init(&output, <size_t>INT64_MAX)
    try:
        error = compress_bytes(codecs, codec, level, start_of(data), <size_t>data.shape[0], &output)
        if error:
            compression_failed(error)
        return PyBytes_FromStringAndSize(<char*>output.data, <Py_ssize_t>output.size)
    finally:
        writer_free(&output)


def decompress(int codec, const uint8_t[::1] data not None, size_t size_max):
    """The bytes that `data` unpacks to; InvalidBatch when they are more than `size_max` or broken."""
    cdef Writer* output = codecs_unpacked(codecs, size_max)
    cdef int error
    try:
        error = decompress_bytes(codecs, codec, start_of(data), <size_t>data.shape[0], output)
        if error:
            compression_failed(error)
        return PyBytes_FromStringAndSize(<char*>output.data, <Py_ssize_t>output.size)
    finally:
        codecs_unpacked_release(codecs)


def read_header(const uint8_t[::1] data not None, size_t position):
    """The header fields of the batch at `position`, the first of them the whole size in bytes."""
    cdef BatchHeader h
    cdef LegacyMessage message
    cdef size_t size = <size_t>data.shape[0]
    cdef const uint8_t* p
    cdef int error
    if position > size:
        raise InvalidBatch(BATCH_TRUNCATED)
    p = start_of(data) + position
    error = batch_header_read(p, size - position, &h)
    if error == BATCH_BAD_MAGIC and 0 <= h.magic <= 1:
        error = legacy_message_read(p, size - position, &message)
        if error:
            raise InvalidBatch(error)
        return (
            message.size + LOG_OVERHEAD, message.offset, -1, message.magic, message.crc, message.attributes, 0,
            message.timestamp, message.timestamp, -1, -1, -1, -1,
        )
    if error:
        raise InvalidBatch(error)
    return (
        h.length + LOG_OVERHEAD, h.base_offset, h.leader_epoch, h.magic, h.crc, h.attributes, h.last_offset_delta,
        h.base_timestamp, h.max_timestamp, h.producer_id, h.producer_epoch, h.base_sequence, h.records_count,
    )


def crc_matches(const uint8_t[::1] data not None):
    """Whether the checksum of the batch that `data` starts with is right."""
    cdef BatchHeader header
    cdef LegacyMessage message
    cdef int error = batch_header_read(start_of(data), <size_t>data.shape[0], &header)
    if error == BATCH_BAD_MAGIC and 0 <= header.magic <= 1:
        error = legacy_message_read(start_of(data), <size_t>data.shape[0], &message)
        if error == BATCH_OK:
            return legacy_crc_matches(start_of(data), &message) != 0
    if error:
        raise InvalidBatch(error)
    return batch_crc_matches(start_of(data), &header) != 0


cdef object bytes_or_none(const uint8_t* data, int32_t size):
    return None if size < 0 else PyBytes_FromStringAndSize(<const char*>data, size)


cdef inline object new_record(object key, object value, int64_t timestamp_ms, object headers, int64_t offset):
    """A Record, filled like a tuple: calling its Python constructor would cost more than the rest of the record."""
    cdef object timestamp = timestamp_ms, place = offset
    cdef object record = PyType_GenericAlloc(<PyTypeObject*>record_type, RECORD_FIELDS)
    forget_hash(record)
    Py_INCREF(key)
    Py_INCREF(value)
    Py_INCREF(timestamp)
    Py_INCREF(headers)
    Py_INCREF(place)
    PyTuple_SET_ITEM(record, 0, key)
    PyTuple_SET_ITEM(record, 1, value)
    PyTuple_SET_ITEM(record, 2, timestamp)
    PyTuple_SET_ITEM(record, 3, headers)
    PyTuple_SET_ITEM(record, 4, place)
    return record


cdef tuple headers_of(const RecordView* record):
    """((key, value), ...); the bytes were checked by record_read."""
    cdef Reader r
    cdef int32_t size
    cdef const uint8_t* key
    cdef list found
    if record.headers_count == 0:
        return ()
    found = []
    reader_init(&r, record.headers, <size_t>record.headers_size)
    for _ in range(record.headers_count):
        size = read_varint(&r)
        key = read_raw(&r, size)
        name = PyBytes_FromStringAndSize(<const char*>key, size).decode("utf-8", "surrogateescape")
        size = read_varint(&r)
        found.append((name, bytes_or_none(read_raw(&r, size) if size >= 0 else NULL, size)))
    return tuple(found)


cdef list legacy_records(const uint8_t* data, size_t size, Writer* unpacked):
    cdef LegacyIterator iterator
    cdef LegacyMessage m
    cdef list found = []
    cdef int status = legacy_iterate(codecs, data, size, unpacked, &iterator)
    if status:
        raise InvalidBatch(status)
    status = legacy_next(&iterator, &m)
    while status == 1:
        found.append(new_record(
            bytes_or_none(m.key, m.key_size), bytes_or_none(m.value, m.value_size), m.timestamp, (), m.offset
        ))
        status = legacy_next(&iterator, &m)
    if status < 0:
        raise InvalidBatch(-status)
    return found


def read_records(const uint8_t[::1] data not None, size_t size_max):
    """Every Record of the batch that `data` starts with."""
    cdef BatchHeader header
    cdef const uint8_t* records = NULL
    cdef size_t records_size = 0
    cdef Reader r
    cdef RecordView view
    cdef list found = []
    cdef Writer* unpacked
    cdef int error = batch_header_read(start_of(data), <size_t>data.shape[0], &header)
    unpacked = codecs_unpacked(codecs, size_max)
    try:
        if error == BATCH_BAD_MAGIC and 0 <= header.magic <= 1:
            return legacy_records(start_of(data), <size_t>data.shape[0], unpacked)
        if error == BATCH_OK:
            error = batch_unpack(codecs, start_of(data), &header, unpacked, &records, &records_size)
        if error:
            raise InvalidBatch(error)
        reader_init(&r, records, records_size)
        while record_read(&r, &view):
            found.append(new_record(
                bytes_or_none(view.key, view.key_size), bytes_or_none(view.value, view.value_size),
                record_timestamp(&header, view.timestamp_delta), headers_of(&view),
                header.base_offset + view.offset_delta,
            ))
        if r.error != WIRE_OK or len(found) != header.records_count:
            raise InvalidBatch(BATCH_BAD_RECORD, len(found))
        return found
    finally:
        codecs_unpacked_release(codecs)


def read_columns(const uint8_t[::1] data not None, size_t size_max):
    """(unpacked records, six rows of int64 in native byte order): see Batch.columns."""
    cdef BatchHeader header
    cdef const uint8_t* records = NULL
    cdef size_t records_size = 0
    cdef Reader r
    cdef RecordView view
    cdef Writer rows
    cdef int64_t row[6]
    cdef Writer* unpacked
    cdef int error = batch_header_read(start_of(data), <size_t>data.shape[0], &header)
    unpacked = codecs_unpacked(codecs, size_max)
    writer_init(&rows, <size_t>INT64_MAX)
    try:
        if error == BATCH_OK:
            error = batch_unpack(codecs, start_of(data), &header, unpacked, &records, &records_size)
        if error:
            raise InvalidBatch(error)
        reader_init(&r, records, records_size)
        while record_read(&r, &view):
            row[0] = header.base_offset + view.offset_delta
            row[1] = record_timestamp(&header, view.timestamp_delta)
            row[2] = view.key - records if view.key_size >= 0 else -1
            row[3] = view.key_size
            row[4] = view.value - records if view.value_size >= 0 else -1
            row[5] = view.value_size
            write_raw(&rows, row, sizeof(row))
        if rows.error:
            raise MemoryError
        if r.error != WIRE_OK:
            raise InvalidBatch(BATCH_BAD_RECORD, <int>(rows.size // sizeof(row)))
        return (
            PyBytes_FromStringAndSize(<const char*>records, <Py_ssize_t>records_size),
            PyBytes_FromStringAndSize(<char*>rows.data, <Py_ssize_t>rows.size),
        )
    finally:
        writer_free(&rows)
        codecs_unpacked_release(codecs)


# ---- building --------------------------------------------------------------------------------------------------------

cdef int write_nullable(Writer* w, object data) except -1:
    cdef const uint8_t[::1] view
    if data is None:
        write_varint(w, -1)
        return 0
    if PyBytes_CheckExact(data):    # a buffer for it would cost more than the rest of its record
        write_varint(w, <int32_t>PyBytes_GET_SIZE(data))
        write_raw(w, PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data))
        return 0
    view = data
    write_varint(w, <int32_t>view.shape[0])
    write_raw(w, start_of(view), <size_t>view.shape[0])
    return 0


cdef inline object field_of(object record, Py_ssize_t index):
    # Cython's own tuple check requires an exact tuple, which a Record is not.
    return <object>PyTuple_GET_ITEM(record, index)


cdef int write_headers(Writer* w, object headers) except -1:
    write_varint(w, <int32_t>len(headers))
    for key, value in headers:
        if isinstance(key, str):
            key = (<str>key).encode("utf-8", "surrogateescape")
        if key is None:
            raise ValueError("the key of a header must not be null")
        write_nullable(w, key)
        write_nullable(w, value)
    return 0


cdef int write_record(Writer* w, Writer* body, int64_t timestamp_delta, int32_t offset_delta, object record) except -1:
    """One record; `body` is scratch, because the length comes first and is a varint."""
    body.size = 0
    write_int8(body, 0)
    write_varlong(body, timestamp_delta)
    write_varint(body, offset_delta)
    write_nullable(body, field_of(record, 0))
    write_nullable(body, field_of(record, 1))
    write_headers(body, field_of(record, 3))
    write_varint(w, <int32_t>body.size)
    write_raw(w, body.data, body.size)
    if w.error or body.error:
        raise MemoryError
    return 0


cdef int write_records(Writer* w, list records, BatchHeader* header) except -1:
    """All records; fills timestamps, last offset delta and count of the header."""
    cdef Writer body
    cdef int64_t timestamp, offset, previous = -1
    cdef int32_t index = 0
    header.base_timestamp = -1
    header.max_timestamp = -1
    header.records_count = <int32_t>len(records)
    header.last_offset_delta = max(header.records_count - 1, 0)
    writer_init(&body, <size_t>INT64_MAX)
    try:
        for record in records:
            if not PyTuple_Check(record) or PyTuple_GET_SIZE(record) != RECORD_FIELDS:
                raise TypeError(f"a record must be a tuple of {RECORD_FIELDS} fields, not {record!r}")
            timestamp = field_of(record, 2)
            if index == 0:
                header.base_timestamp = timestamp
            offset = field_of(record, 4)
            offset = offset - header.base_offset if offset >= 0 else index
            if not previous < offset <= 0x7fffffff:
                raise ValueError(f"offset {record[4]} does not fit in a batch with base offset {header.base_offset}")
            previous = offset
            write_record(w, &body, timestamp - header.base_timestamp, <int32_t>offset, record)
            header.max_timestamp = max(header.max_timestamp, timestamp)
            header.last_offset_delta = <int32_t>offset
            index += 1
    finally:
        writer_free(&body)
    return 0


def build_batch(
    list records, int codec, int level, int64_t base_offset, int32_t leader_epoch, int attributes, int64_t producer_id,
    int producer_epoch, int32_t base_sequence, last_offset_delta, max_timestamp,
):
    """A whole batch; each record is (key, value, timestamp_ms, headers, offset or -1)."""
    cdef BatchHeader header
    cdef Writer plain, output
    cdef int error
    if not records:
        codec = CODEC_NONE      # a batch without records (left by compaction) is never compressed
    header.base_offset = base_offset
    header.leader_epoch = leader_epoch
    header.attributes = <int16_t>((attributes & ~ATTRIBUTE_CODEC_MASK) | codec)
    header.producer_id = producer_id
    header.producer_epoch = <int16_t>producer_epoch
    header.base_sequence = base_sequence
    writer_init(&plain, 0x7fffffff)
    writer_init(&output, 0x7fffffff)
    try:
        write_records(&plain, records, &header)
        if last_offset_delta is not None:
            header.last_offset_delta = last_offset_delta
        if max_timestamp is not None:
            header.max_timestamp = max_timestamp
        if not batch_header_write(&output, &header):
            raise MemoryError
        error = compress_bytes(codecs, codec, level, plain.data, plain.size, &output)
        if error:
            compression_failed(error)
        batch_finish(&output, 0)
        return PyBytes_FromStringAndSize(<char*>output.data, <Py_ssize_t>output.size)
    finally:
        writer_free(&plain)
        writer_free(&output)


# ---- validation and lookup -------------------------------------------------------------------------------------------

def validate(
    const uint8_t[::1] data not None, int64_t now_ms, int produce_version, int message_bytes_max, int compression_type,
    int compression_level, bint log_append_time, bint key_required,
    int64_t timestamp_before_max_ms, int64_t timestamp_after_max_ms, int64_t unpacked_bytes_max,
):
    """(the batch as it would be appended, offset delta of the first record with the maximum timestamp)."""
    cdef ProduceRules rules
    cdef ValidBatch valid
    cdef Writer scratch
    cdef bytes own = PyBytes_FromStringAndSize(<const char*>start_of(data), data.shape[0])
    cdef int error
    rules.message_bytes_max = message_bytes_max
    rules.compression_type = <int8_t>compression_type
    rules.compression_level = compression_level
    rules.log_append_time = log_append_time
    rules.key_required = key_required
    rules.timestamp_before_max_ms = timestamp_before_max_ms
    rules.timestamp_after_max_ms = timestamp_after_max_ms
    rules.unpacked_bytes_max = unpacked_bytes_max
    writer_init(&scratch, 0x7fffffff)
    try:
        # Patched in place: a fresh copy that is not shared yet.
        error = batch_validate(
            codecs, <uint8_t*>PyBytes_AS_STRING(own), <size_t>data.shape[0], &rules, now_ms, <int16_t>produce_version,
            &scratch, &valid,
        )
        if error:
            raise InvalidBatch(error, valid.record_errors[0].index if valid.record_errors_count else -1)
        result = PyBytes_FromStringAndSize(<char*>valid.data, <Py_ssize_t>valid.size)
        return result, valid.max_timestamp_offset_delta
    finally:
        writer_free(&scratch)


def find_timestamp(const uint8_t[::1] data not None, int64_t target_ms, int64_t min_offset, int64_t unpacked_bytes_max):
    """(offset, timestamp_ms) of the first record at or after both, or None."""
    cdef int64_t offset = 0, timestamp_ms = 0
    cdef int found = batch_find_timestamp(
        codecs, start_of(data), <size_t>data.shape[0], target_ms, min_offset, unpacked_bytes_max, &offset, &timestamp_ms
    )
    if found < 0:
        raise InvalidBatch(-found)
    return (offset, timestamp_ms) if found else None
