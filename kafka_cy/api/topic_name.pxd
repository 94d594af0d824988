"""Which names a topic can have."""
from libc.stdint cimport int32_t

cdef enum:
    TOPIC_NAME_BYTES_MAX = 249


cdef inline bint topic_name_is_legal(const char* name, int32_t size) noexcept nogil:
    """Whether a topic can have this name: Kafka's `Topic.validate`, with the same limit of 249 characters."""
    cdef int32_t i
    cdef char c
    if size < 1 or size > TOPIC_NAME_BYTES_MAX:
        return False
    if name[0] == b"." and (size == 1 or (size == 2 and name[1] == b".")):
        return False
    for i in range(size):
        c = name[i]
        if not (b"a" <= c <= b"z" or b"A" <= c <= b"Z" or b"0" <= c <= b"9" or c == b"." or c == b"_" or c == b"-"):
            return False
    return True
