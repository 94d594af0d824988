"""gzip; see gzip_codec.pyx. Both functions return a CompressionError."""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer

cdef int gzip_decompress(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef int gzip_compress(Codecs* codecs, int32_t level, const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef void gzip_free(Codecs* codecs) noexcept nogil
