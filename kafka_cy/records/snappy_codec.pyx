"""snappy as org.xerial.snappy.SnappyInputStream reads it: blocks in xerial's framing, or one raw block.

xerial's stream begins with 0x82 "SNAPPY" 0, a version and the least compatible version (int32, big endian). Blocks
follow, each after its size (int32, big endian). Streams may follow one another. As in Java, the versions of the
first header are not checked, and one to three bytes at the end are ignored. One difference is deliberate: Java's
handling of blocks after a damaged further header depends on how it is called; here such a stream is refused.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcmp

from kafka_cy.records.codec_output cimport writer_status
from kafka_cy.records.compression cimport COMPRESSION_CORRUPT, COMPRESSION_OK
from kafka_cy.records.wire cimport Writer, load_be32, store_be32, write_raw, writer_reserve

cdef extern from "snappy-c.h" nogil:
    int snappy_compress(const char* data, size_t size, char* output, size_t* output_size) noexcept
    int snappy_uncompress(const char* data, size_t size, char* output, size_t* output_size) noexcept
    size_t snappy_max_compressed_length(size_t size) noexcept
    int snappy_uncompressed_length(const char* data, size_t size, size_t* result) noexcept

cdef enum:
    HEADER_SIZE = 16
    MAGIC_SIZE = 8
    VERSION_MIN = 1
    BLOCK_SIZE = 32 << 10               # what we write
    READ_BLOCK_SIZE_MAX = 512 << 20     # SnappyInputStream.MAX_CHUNK_SIZE
    HEADERS_MAX = 1000                  # in a row; Java recurses for each, and fails at some thousands

cdef uint8_t[16] HEADER = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00, 0, 0, 0, 1, 0, 0, 0, 1]


cdef int snappy_block(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    """One raw snappy block."""
    cdef size_t unpacked = 0
    cdef uint8_t* place
    if snappy_uncompressed_length(<const char*>data, size, &unpacked) != 0:
        return COMPRESSION_CORRUPT
    # No element expands 3 bytes to more than 64: a block that claims more is refused.
    if unpacked > size * 22 + 64:
        return COMPRESSION_CORRUPT
    place = writer_reserve(output, unpacked)
    if place == NULL and output.error:
        return writer_status(output)
    if snappy_uncompress(<const char*>data, size, <char*>place, &unpacked) != 0:
        return COMPRESSION_CORRUPT
    output.size += unpacked
    return COMPRESSION_OK


cdef int snappy_blocks(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    """Decompress the blocks after the first header."""
    cdef size_t at = 0
    cdef int32_t block
    cdef int error, headers = 0
    while size - at >= 4:
        block = <int32_t>load_be32(data + at)
        if block == <int32_t>load_be32(HEADER):
            headers += 1
            if size - at < HEADER_SIZE or headers > HEADERS_MAX:
                return COMPRESSION_CORRUPT
            if memcmp(data + at, HEADER, MAGIC_SIZE) != 0:
                return COMPRESSION_OK if size - at - HEADER_SIZE < 4 else COMPRESSION_CORRUPT
            if <int32_t>load_be32(data + at + MAGIC_SIZE) < VERSION_MIN:
                return COMPRESSION_CORRUPT
            at += HEADER_SIZE
            continue
        headers = 0
        at += 4
        if block < 0 or block > READ_BLOCK_SIZE_MAX or <size_t>block > size - at:
            return COMPRESSION_CORRUPT
        error = snappy_block(data + at, <size_t>block, output)
        if error:
            return error
        at += <size_t>block
    return COMPRESSION_OK


cdef int snappy_decompress(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    if size < HEADER_SIZE or memcmp(data, HEADER, MAGIC_SIZE) != 0:
        return snappy_block(data, size, output)
    return snappy_blocks(data + HEADER_SIZE, size - HEADER_SIZE, output)


cdef int snappy_compress_xerial(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef size_t at = 0, block, packed
    cdef uint8_t* place
    write_raw(output, HEADER, HEADER_SIZE)
    while at < size:
        block = min(size - at, <size_t>BLOCK_SIZE)
        packed = snappy_max_compressed_length(block)
        place = writer_reserve(output, packed + 4)
        if place == NULL:
            return writer_status(output)
        if snappy_compress(<const char*>data + at, block, <char*>place + 4, &packed) != 0:
            return COMPRESSION_CORRUPT
        store_be32(place, <uint32_t>packed)
        output.size += packed + 4
        at += block
    return writer_status(output)
