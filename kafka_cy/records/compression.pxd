"""gzip, snappy (xerial framing and raw), lz4 frame and zstd into growing buffers, with reused contexts."""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.records.wire cimport Writer

cdef enum Codec:
    CODEC_NONE = 0
    CODEC_GZIP = 1
    CODEC_SNAPPY = 2
    CODEC_LZ4 = 3
    CODEC_ZSTD = 4
    CODEC_MAX = 4

cdef enum CompressionError:
    COMPRESSION_OK = 0
    COMPRESSION_CORRUPT = 1     # the bytes are not what the codec says
    COMPRESSION_TOO_LARGE = 2   # would unpack past output.size_max
    COMPRESSION_NO_MEMORY = 3
    COMPRESSION_UNKNOWN_CODEC = 4

# Compression contexts of one thread (z_stream, LZ4F_dctx, ZSTD_CCtx/DCtx ...), made lazily, reused for ever.
# Owner: the thread that made it. Free with codecs_free.
cdef struct Codecs

cdef Codecs* codecs_new() noexcept nogil
cdef void codecs_free(Codecs* codecs) noexcept nogil
# Append the result to `output`; output.size_max is the cap of what may come out. Return a CompressionError.
cdef int decompress(Codecs* codecs, int codec, const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef int compress(
    Codecs* codecs, int codec, int32_t level, const uint8_t* data, size_t size, Writer* output
) noexcept nogil
