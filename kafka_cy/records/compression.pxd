"""gzip, snappy (xerial framing and raw), lz4 frame and zstd into growing buffers, with reused contexts.

Accepts what Kafka's Java readers accept; see compression.pyx.
"""
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
    COMPRESSION_CORRUPT = 1     # the bytes are invalid for the codec
    COMPRESSION_TOO_LARGE = 2   # would unpack past output.size_max
    COMPRESSION_NO_MEMORY = 3
    COMPRESSION_UNKNOWN_CODEC = 4

# Purpose: the compression contexts of one thread, created when they are first needed, then reused.
# Owner: the thread that created it; no locks.
# Lifetime: until codecs_free.
# Limits: an unpacked buffer or zstd context that a hostile input made large is freed after use.
cdef struct Codecs:
    void* inflater              # z_stream
    void* deflater              # z_stream
    int32_t deflater_level
    void* lz4_writer            # LZ4F_cctx
    void* zstd_reader           # ZSTD_DCtx
    void* zstd_writer           # ZSTD_CCtx
    Writer unpacked             # see codecs_unpacked

cdef Codecs* codecs_new() noexcept nogil
cdef void codecs_free(Codecs* codecs) noexcept nogil
# Append the result to `output`, whose size_max caps it. Return a CompressionError.
cdef int decompress(Codecs* codecs, int codec, const uint8_t* data, size_t size, Writer* output) noexcept nogil
cdef int compress(
    Codecs* codecs, int codec, int32_t level, const uint8_t* data, size_t size, Writer* output
) noexcept nogil
# For messages of magic 0: Kafka before 0.10 wrote lz4 frames with a wrong header checksum, which is not checked here.
cdef int decompress_legacy_lz4(const uint8_t* data, size_t size, Writer* output) noexcept nogil
# An empty buffer for unpacked records, owned by `codecs` and capped at `size_max`. Release it when done (it shrinks if
# it grew too large to keep); one user at a time.
cdef Writer* codecs_unpacked(Codecs* codecs, size_t size_max) noexcept nogil
cdef void codecs_unpacked_release(Codecs* codecs) noexcept nogil
