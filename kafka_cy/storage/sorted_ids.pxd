"""Producer lookup in an array of structs that begin with a producer id (int64) and are sorted by it."""
from libc.stdint cimport int32_t, int64_t


cdef inline int32_t place_of_id(const void* items, size_t item_size, int32_t count, int64_t producer_id) noexcept nogil:
    """Index of the first item whose id is not below `producer_id`: its position or insertion point."""
    cdef int32_t low = 0
    cdef int32_t high = count
    cdef int32_t middle
    while low < high:
        middle = low + (high - low) // 2
        if (<const int64_t*>(<const char*>items + <size_t>middle * item_size))[0] < producer_id:
            low = middle + 1
        else:
            high = middle
    return low
