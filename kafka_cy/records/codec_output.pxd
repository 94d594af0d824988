"""Shared by all codecs: growing the output up to its cap, and converting a Writer's error to a CompressionError."""
from kafka_cy.records.compression cimport COMPRESSION_NO_MEMORY, COMPRESSION_OK, COMPRESSION_TOO_LARGE
from kafka_cy.records.wire cimport WIRE_OK, WIRE_TOO_LARGE, Writer, writer_reserve

cdef enum:
    GUESS_BYTES_MAX = 1 << 20           # A claimed size is trusted up to this; beyond it the buffer grows with actual output.


cdef inline int writer_status(Writer* output) noexcept nogil:
    if output.error == WIRE_OK:
        return COMPRESSION_OK
    return COMPRESSION_TOO_LARGE if output.error == WIRE_TOO_LARGE else COMPRESSION_NO_MEMORY


cdef inline size_t room_left(Writer* output, size_t wanted) noexcept nogil:
    """How many bytes may be written at output.data + output.size: 0 at the cap, or (with output.error) when out of
    memory. Grows a full buffer by `wanted`, or doubles it."""
    cdef size_t allowed
    if output.size >= output.size_max:
        return 0
    allowed = output.size_max - output.size
    if output.capacity <= output.size:
        if wanted < output.capacity:
            wanted = output.capacity
        if wanted > allowed:
            wanted = allowed
        if writer_reserve(output, wanted) == NULL:
            return 0
    return min(output.capacity - output.size, allowed)


cdef inline size_t first_guess(size_t size) noexcept nogil:
    """Allocate the first buffer for decompressing `size` bytes."""
    return min(max(size * 4, <size_t>4096), <size_t>GUESS_BYTES_MAX)
