"""Java's hash of a string, by which Kafka finds the partition of a group id or transactional id.

In C it needs no cache, which would keep long ids, and takes some microseconds for the longest id.
"""
from libc.stdint cimport int32_t, uint32_t


def java_string_hash(str text not None):
    cdef uint32_t value = 0
    cdef uint32_t code
    cdef Py_UCS4 character
    for character in text:
        code = <uint32_t>character
        if code > 0xffff:               # two UTF-16 units
            value = 31 * value + 0xd800 + ((code - 0x10000) >> 10)
            code = 0xdc00 + ((code - 0x10000) & 0x3ff)
        value = 31 * value + code
    return <int32_t>value
