"""Sample lines of one metric, one per label set: most of a page with ten thousand partitions."""
from libc.stdint cimport int64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from kafka_cy.records.wire cimport Writer, writer_free, writer_init
from kafka_cy.telemetry.text cimport text_int, text_raw

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1

cdef enum:
    TEXT_BYTES_MAX = 1073741824


def sample_lines(bytes head not None, list places not None, list values not None):
    """`head place value` lines, without spaces between. A value is an int, a float, or None: no line.

    `head` and `places` are written unchanged. Raises ValueError if the numbers of values and places differ, TypeError for
    a place that is not bytes, MemoryError.
    """
    cdef Writer w
    cdef Py_ssize_t i
    cdef int overflow
    cdef int64_t number = 0
    cdef bytes place
    cdef bytes text
    if len(places) != len(values):
        raise ValueError(f"{len(places)} places, {len(values)} values")
    writer_init(&w, TEXT_BYTES_MAX)
    try:
        for i in range(len(places)):
            value = values[i]
            if value is None:
                continue
            place = places[i]
            text_raw(&w, PyBytes_AS_STRING(head), <size_t>PyBytes_GET_SIZE(head))
            text_raw(&w, PyBytes_AS_STRING(place), <size_t>PyBytes_GET_SIZE(place))
            overflow = 1
            if isinstance(value, int):
                number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow == 0:
                text_int(&w, number)
            else:
                text = repr(value).encode()
                text_raw(&w, PyBytes_AS_STRING(text), <size_t>PyBytes_GET_SIZE(text))
            text_raw(&w, b"\n", 1)
        if w.error:
            raise MemoryError
        return PyBytes_FromStringAndSize(<char*>w.data, <Py_ssize_t>w.size)
    finally:
        writer_free(&w)
