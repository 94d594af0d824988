"""The inlines of wire.pxd, callable from Python: for tests, fuzzing and micro-benchmarks only."""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.records.wire cimport (
    Reader, Writer, read_array_length, read_bytes, read_int8, read_int16, read_int32, read_int64, read_raw, read_string,
    read_uvarint, read_uvarlong, read_varint, read_varlong, reader_init, reader_remaining, skip_tagged_fields,
    write_array_length, write_int8, write_int16, write_int32, write_int64, write_no_tags, write_raw, write_string,
    write_uvarint, write_uvarlong, write_varint, write_varlong, writer_free, writer_init,
)


cdef object number(Reader* r, str kind):
    if kind == "int8":
        return read_int8(r)
    if kind == "int16":
        return read_int16(r)
    if kind == "int32":
        return read_int32(r)
    if kind == "int64":
        return read_int64(r)
    if kind == "uvarint":
        return read_uvarint(r)
    if kind == "uvarlong":
        return read_uvarlong(r)
    if kind == "varint":
        return read_varint(r)
    if kind == "varlong":
        return read_varlong(r)
    raise KeyError(kind)


cdef object sized(Reader* r, str kind, bint flexible, int argument):
    cdef int32_t size = 0
    cdef const uint8_t* place
    if kind == "string":
        place = <const uint8_t*>read_string(r, flexible, &size)
    elif kind == "bytes":
        place = read_bytes(r, flexible, &size)
    elif kind == "raw":
        size = argument
        place = read_raw(r, size)
    elif kind == "array":
        return read_array_length(r, flexible, argument)
    elif kind == "tags":
        skip_tagged_fields(r)
        return None
    else:
        return number(r, kind)
    return None if place == NULL else PyBytes_FromStringAndSize(<const char*>place, size)


def read(bytes data not None, list fields not None):
    """([values], error, bytes left) of reading `fields`, each (kind, flexible, argument), in order."""
    cdef Reader r
    cdef const uint8_t[::1] view = data
    reader_init(&r, &view[0] if len(data) else <const uint8_t*>b"", <size_t>len(data))
    values = [sized(&r, kind, flexible, argument) for kind, flexible, argument in fields]
    return values, r.error, reader_remaining(&r)


cdef int put(Writer* w, str kind, bint flexible, object value) except -1:
    cdef const char* text
    if kind == "int8":
        write_int8(w, value)
    elif kind == "int16":
        write_int16(w, value)
    elif kind == "int32":
        write_int32(w, value)
    elif kind == "int64":
        write_int64(w, value)
    elif kind == "uvarint":
        write_uvarint(w, value)
    elif kind == "uvarlong":
        write_uvarlong(w, value)
    elif kind == "varint":
        write_varint(w, value)
    elif kind == "varlong":
        write_varlong(w, value)
    elif kind == "string":
        text = NULL
        if value is not None:
            text = value
        write_string(w, flexible, text, -1 if value is None else <int32_t>len(value))
    elif kind == "raw":
        text = value
        write_raw(w, text, <size_t>len(value))
    elif kind == "array":
        write_array_length(w, flexible, value)
    elif kind == "tags":
        write_no_tags(w, flexible)
    else:
        raise KeyError(kind)
    return 0


def write(list fields not None, size_t size_max):
    """(bytes, error, capacity) of writing `fields`, each (kind, flexible, value), into a Writer with this limit."""
    cdef Writer w
    writer_init(&w, size_max)
    try:
        for kind, flexible, value in fields:
            put(&w, kind, flexible, value)
        return PyBytes_FromStringAndSize(<char*>w.data, <Py_ssize_t>w.size), w.error, w.capacity
    finally:
        writer_free(&w)


def sum_of_varints(bytes data not None):
    """The sum of all varints in `data`, read in one loop without the GIL; ValueError when they do not parse."""
    cdef Reader r
    cdef const uint8_t[::1] view = data
    cdef int64_t total = 0
    if not len(data):
        return 0
    reader_init(&r, &view[0], <size_t>len(data))
    with nogil:
        while reader_remaining(&r) > 0 and not r.error:
            total += read_varint(&r)
    if r.error:
        raise ValueError("not varints")
    return total


def varints_of(const int32_t[::1] values not None):
    """All values as varints, written in one loop without the GIL."""
    cdef Writer w
    cdef Py_ssize_t i
    writer_init(&w, <size_t>values.shape[0] * 5)
    try:
        with nogil:
            for i in range(values.shape[0]):
                write_varint(&w, values[i])
        if w.error:
            raise MemoryError
        return PyBytes_FromStringAndSize(<char*>w.data, <Py_ssize_t>w.size)
    finally:
        writer_free(&w)
