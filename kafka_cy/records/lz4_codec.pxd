"""lz4 frames; see lz4_codec.pyx. Both functions return a CompressionError."""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.records.compression cimport Codecs
from kafka_cy.records.wire cimport Writer

# `header_checksum`: whether the header's checksum has to be right. Kafka before 0.10 (magic 0) wrote a wrong one.
cdef int lz4_decompress(const uint8_t* data, size_t size, bint header_checksum, Writer* output) noexcept nogil
cdef int lz4_compress(Codecs* codecs, int32_t level, const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef void lz4_free(Codecs* codecs) noexcept nogil
