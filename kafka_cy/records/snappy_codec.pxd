"""snappy; see snappy_codec.pyx. Both functions return a CompressionError."""
from libc.stdint cimport uint8_t

from kafka_cy.records.wire cimport Writer

cdef int snappy_decompress(const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef int snappy_compress_xerial(const uint8_t* data, size_t size, Writer* output) noexcept nogil
