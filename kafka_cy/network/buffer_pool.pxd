"""Reuse of frame buffers by power-of-two size class.

Purpose: untouched memory costs page faults at first use, so large buffers are kept for reuse.
Owner: one reactor; no locks. Limit: `retained_max` bytes are kept; the rest is freed.
"""
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

cdef enum:
    POOL_SHIFT_MIN = 12                 # 4 KiB
    POOL_CLASSES = 13                   # up to 16 MiB; larger buffers are plain malloc
    POOL_BYTES_MAX = 16777216           # of the largest class
    POOL_RETAINED_BYTES_MAX = 33554432  # per reactor

cdef struct FreeBuffer:
    FreeBuffer* next

cdef struct BufferPool:
    FreeBuffer* classes[POOL_CLASSES]
    size_t retained


cdef inline int pool_class(size_t size) noexcept nogil:
    """Return the class whose buffers hold `size` bytes, or POOL_CLASSES if `size` exceeds the largest."""
    cdef int i = 0
    while i < POOL_CLASSES and (<size_t>1 << (POOL_SHIFT_MIN + i)) < size:
        i += 1
    return i


cdef inline uint8_t* pool_take(BufferPool* pool, size_t size, size_t* capacity) noexcept nogil:
    """Return a buffer of at least `size` bytes, or NULL if memory is short. Pass `capacity` back to pool_give."""
    cdef int i = pool_class(size)
    cdef FreeBuffer* found
    if i == POOL_CLASSES:
        capacity[0] = size
        return <uint8_t*>malloc(size)
    capacity[0] = <size_t>1 << (POOL_SHIFT_MIN + i)
    found = pool.classes[i]
    if found != NULL:
        pool.classes[i] = found.next
        pool.retained -= capacity[0]
        return <uint8_t*>found
    return <uint8_t*>malloc(capacity[0])


cdef inline void pool_give(BufferPool* pool, uint8_t* data, size_t capacity) noexcept nogil:
    cdef int i = pool_class(capacity)
    if data == NULL:
        return
    if i == POOL_CLASSES or pool.retained + capacity > POOL_RETAINED_BYTES_MAX:
        free(data)
        return
    (<FreeBuffer*>data).next = pool.classes[i]
    pool.classes[i] = <FreeBuffer*>data
    pool.retained += capacity


cdef inline void pool_free(BufferPool* pool) noexcept nogil:
    cdef FreeBuffer* each
    cdef int i
    for i in range(POOL_CLASSES):
        while pool.classes[i] != NULL:
            each = pool.classes[i]
            pool.classes[i] = each.next
            free(each)
    pool.retained = 0
