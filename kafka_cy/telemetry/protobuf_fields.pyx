"""Counts the fields of an encoded protobuf message before it is parsed: a parser needs much time and memory for each one."""
from libc.stdint cimport int64_t, uint8_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

cdef enum:
    DEPTH_MAX = 128        # of nested messages; protobuf's parsers refuse more than 100
    VARINT_BYTES_MAX = 10

    VARINT = 0             # wire types
    FIXED64 = 1
    SIZED = 2
    GROUP_START = 3
    GROUP_END = 4
    FIXED32 = 5


cdef const uint8_t* varint_read(const uint8_t* at, const uint8_t* end, uint64_t* value) noexcept nogil:
    """The byte behind the varint; NULL if it is too long or incomplete."""
    cdef int shift = 0
    cdef uint8_t byte
    value[0] = 0
    while at < end and shift < 7 * VARINT_BYTES_MAX:
        byte = at[0]
        at += 1
        value[0] |= <uint64_t>(byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return at
    return NULL


cdef int64_t fields_count(const uint8_t* at, const uint8_t* end, int64_t count_max) noexcept nogil:
    """See count_fields. The innermost candidate message ends at ends[depth - 1]."""
    cdef const uint8_t* ends[DEPTH_MAX]
    cdef const uint8_t* after
    cdef uint64_t tag = 0
    cdef uint64_t value = 0
    cdef int64_t count = 0
    cdef int depth = 1
    cdef int kind
    ends[0] = end
    while depth > 0:
        end = ends[depth - 1]
        if at >= end:
            depth -= 1
            continue
        after = varint_read(at, end, &tag)
        kind = <int>(tag & 7)
        if after != NULL and (kind == VARINT or kind == SIZED):
            after = varint_read(after, end, &value)
        elif kind == FIXED64 or kind == FIXED32:
            value = 8 if kind == FIXED64 else 4
        else:
            value = 0
        if after == NULL or kind > FIXED32 or (kind != VARINT and value > <uint64_t>(end - after)):
            at = end  # no message: text, for example
            continue
        count += 1
        if count > count_max:
            break
        at = after
        if kind == SIZED and depth < DEPTH_MAX:
            ends[depth] = after + value
            depth += 1
        elif kind != VARINT:
            at = after + value
    return count


def count_fields(bytes data not None, int64_t count_max):
    """At least as many as there are fields in the message and all messages in it; counts no further than count_max + 1.

    The schema is not known here, so bytes and texts that look like a message count as one. Each byte is looked at once.
    """
    cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef int64_t count
    with nogil:
        count = fields_count(at, at + size, count_max)
    return count
