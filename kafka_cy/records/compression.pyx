"""gzip, snappy, lz4 and zstd without the GIL, through the system libraries, with contexts that are created once.

Each codec has its own module. They accept exactly what Kafka's Java readers accept: a batch that those refuse stops
every Java consumer of its partition, so the broker must not store it. Decompression streams into a growing buffer
and stops at its `size_max`: a claimed size is only a hint.
"""
from libc.stdint cimport SIZE_MAX, int32_t, uint8_t
from libc.stdlib cimport calloc, free

from kafka_cy.records.codec_output cimport writer_status
from kafka_cy.records.gzip_codec cimport gzip_compress, gzip_decompress, gzip_free
from kafka_cy.records.lz4_codec cimport lz4_compress, lz4_decompress, lz4_free
from kafka_cy.records.snappy_codec cimport snappy_compress_xerial, snappy_decompress
from kafka_cy.records.wire cimport WIRE_OK, Writer, write_raw, writer_free, writer_init
from kafka_cy.records.zstd_codec cimport zstd_compress, zstd_decompress, zstd_free

cdef enum:
    KEEP_BYTES_MAX = 4 << 20            # a larger buffer is freed after use


cdef Codecs* codecs_new() noexcept nogil:
    """Start empty: contexts are created on first use. NULL: out of memory."""
    cdef Codecs* codecs = <Codecs*>calloc(1, sizeof(Codecs))
    if codecs != NULL:
        writer_init(&codecs.unpacked, 0)
    return codecs


cdef void codecs_free(Codecs* codecs) noexcept nogil:
    if codecs == NULL:
        return
    gzip_free(codecs)
    lz4_free(codecs)
    zstd_free(codecs)
    writer_free(&codecs.unpacked)
    free(codecs)


cdef Writer* codecs_unpacked(Codecs* codecs, size_t size_max) noexcept nogil:
    # A Writer checks its limit only when it grows, so a buffer that is already larger is freed.
    if codecs.unpacked.capacity > size_max:
        writer_free(&codecs.unpacked)
    codecs.unpacked.size = 0
    codecs.unpacked.error = WIRE_OK
    codecs.unpacked.size_max = size_max
    return &codecs.unpacked


cdef void codecs_unpacked_release(Codecs* codecs) noexcept nogil:
    if codecs.unpacked.capacity > KEEP_BYTES_MAX:
        writer_free(&codecs.unpacked)


cdef int decompress(Codecs* codecs, int codec, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    if codec == CODEC_ZSTD:
        return zstd_decompress(codecs, data, size, output)
    if codec == CODEC_LZ4:
        return lz4_decompress(data, size, True, output)
    if codec == CODEC_SNAPPY:
        return snappy_decompress(data, size, output)
    if codec == CODEC_GZIP:
        return gzip_decompress(codecs, data, size, output)
    if codec == CODEC_NONE:
        return copy(data, size, output)
    return COMPRESSION_UNKNOWN_CODEC


cdef int decompress_legacy_lz4(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    return lz4_decompress(data, size, False, output)


cdef int compress(
    Codecs* codecs, int codec, int32_t level, const uint8_t* data, size_t size, Writer* output
) noexcept nogil:
    """Codecs need room for the worst case, so the cap is lifted for the call and checked after it."""
    cdef size_t size_max = output.size_max
    cdef size_t start = output.size
    cdef int error
    if output.error:
        return writer_status(output)
    if codec == CODEC_NONE:
        return copy(data, size, output)
    output.size_max = SIZE_MAX
    if codec == CODEC_ZSTD:
        error = zstd_compress(codecs, level, data, size, output)
    elif codec == CODEC_LZ4:
        error = lz4_compress(codecs, level, data, size, output)
    elif codec == CODEC_SNAPPY:
        error = snappy_compress_xerial(data, size, output)
    elif codec == CODEC_GZIP:
        error = gzip_compress(codecs, level, data, size, output)
    else:
        error = COMPRESSION_UNKNOWN_CODEC
    output.size_max = size_max
    if error == COMPRESSION_OK and output.size > size_max:
        error = COMPRESSION_TOO_LARGE
    if error:
        output.size = start
    return error


cdef int copy(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    write_raw(output, data, size)
    return writer_status(output)
