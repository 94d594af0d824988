"""zstd; see zstd_codec.pyx. Both functions return a CompressionError."""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer

cdef int zstd_decompress(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef int zstd_compress(Codecs* codecs, int32_t level, const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef void zstd_free(Codecs* codecs) noexcept nogil
