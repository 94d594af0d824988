"""lz4 frames as Kafka's Lz4BlockInputStream reads them.

It reads one frame of independent blocks, without a dictionary. It skips the content size, verifies the checksums of
the header and of blocks, but not of the content, and ignores everything after the frame.
"""
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from kafka_cy.records.codec_output cimport writer_status
from kafka_cy.records.compression cimport (
    COMPRESSION_CORRUPT, COMPRESSION_NO_MEMORY, COMPRESSION_OK, COMPRESSION_TOO_LARGE, Codecs,
)
from kafka_cy.records.wire cimport Writer, write_raw, writer_reserve

cdef extern from "lz4.h" nogil:
    int LZ4_decompress_safe(const char* data, char* output, int size, int room) noexcept

cdef extern from "lz4frame.h" nogil:
    ctypedef struct LZ4F_cctx
    ctypedef struct LZ4F_frameInfo_t:
        int blockSizeID
        int blockMode
    ctypedef struct LZ4F_preferences_t:
        LZ4F_frameInfo_t frameInfo
        int compressionLevel
        unsigned int autoFlush
    enum:
        LZ4F_VERSION
        LZ4F_max64KB
        LZ4F_blockIndependent
    unsigned int LZ4F_isError(size_t code) noexcept
    size_t LZ4F_createCompressionContext(LZ4F_cctx** context, unsigned int version) noexcept
    size_t LZ4F_freeCompressionContext(LZ4F_cctx* context) noexcept
    size_t LZ4F_compressBegin(LZ4F_cctx* context, void* output, size_t room, LZ4F_preferences_t* preferences) noexcept
    size_t LZ4F_compressBound(size_t size, LZ4F_preferences_t* preferences) noexcept
    size_t LZ4F_compressUpdate(
        LZ4F_cctx* context, void* output, size_t room, const void* data, size_t size, const void* options
    ) noexcept
    size_t LZ4F_compressEnd(LZ4F_cctx* context, void* output, size_t room, const void* options) noexcept

cdef enum:
    HEADER_SIZE_MIN = 7
    CONTENT_SIZE_SIZE = 8
    FLAG_RESERVED = 0x03                # a reserved bit, and that of a dictionary
    FLAG_CONTENT_CHECKSUM = 0x04
    FLAG_CONTENT_SIZE = 0x08
    FLAG_BLOCK_CHECKSUM = 0x10
    FLAG_INDEPENDENT = 0x20
    FLAG_VERSION = 0xc0
    VERSION_1 = 0x40
    BLOCK_IS_PLAIN = 0x80000000u
    EXPANSION_MAX = 255                 # maximum expansion per byte of a block
    DEFAULT_LEVEL = 9                   # Kafka's default of compression.lz4.level: the fast compressor
    HIGH_LEVEL_MIN = 3
    HIGH_LEVEL_MAX = 12

cdef uint8_t[4] MAGIC = [0x04, 0x22, 0x4d, 0x18]


# A frame's descriptor.
# Owner: the caller's stack.
cdef struct Frame:
    size_t header_size
    size_t block_size_max
    bint block_checksums
    bint content_checksum


cdef inline uint32_t load_le32(const uint8_t* p) noexcept nogil:
    return p[0] | <uint32_t>p[1] << 8 | <uint32_t>p[2] << 16 | <uint32_t>p[3] << 24


cdef inline uint32_t rotate_left(uint32_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (32 - bits))


cdef uint32_t xxh32(const uint8_t* data, size_t size) noexcept nogil:
    """XXH32 with seed 0: the checksum of lz4 frames."""
    cdef uint32_t hashed = 374761393u
    cdef uint32_t[4] lanes
    cdef size_t at = 0
    cdef int i
    if size >= 16:
        lanes = [606290984u, 2246822519u, 0u, 1640531535u]
        while size - at >= 16:
            for i in range(4):
                lanes[i] = rotate_left(lanes[i] + load_le32(data + at + 4 * i) * 2246822519u, 13) * 2654435761u
            at += 16
        hashed = (
            rotate_left(lanes[0], 1) + rotate_left(lanes[1], 7) + rotate_left(lanes[2], 12) + rotate_left(lanes[3], 18)
        )
    hashed += <uint32_t>size
    while size - at >= 4:
        hashed = rotate_left(hashed + load_le32(data + at) * 3266489917u, 17) * 668265263u
        at += 4
    while at < size:
        hashed = rotate_left(hashed + data[at] * 374761393u, 11) * 2654435761u
        at += 1
    hashed = (hashed ^ (hashed >> 15)) * 2246822519u
    hashed = (hashed ^ (hashed >> 13)) * 3266489917u
    return hashed ^ (hashed >> 16)


cdef int read_header(const uint8_t* data, size_t size, bint header_checksum, Frame* frame) noexcept nogil:
    cdef uint8_t flags, block
    cdef size_t at = 6
    if size < HEADER_SIZE_MIN or memcmp(data, MAGIC, 4) != 0:
        return COMPRESSION_CORRUPT
    flags = data[4]
    block = data[5]
    if flags & FLAG_VERSION != VERSION_1 or flags & FLAG_RESERVED or not flags & FLAG_INDEPENDENT:
        return COMPRESSION_CORRUPT
    if block & 0x8f or block < 0x40:
        return COMPRESSION_CORRUPT
    if flags & FLAG_CONTENT_SIZE:
        at += CONTENT_SIZE_SIZE
        if size <= at:
            return COMPRESSION_CORRUPT
    if header_checksum and data[at] != (xxh32(data + 4, at - 4) >> 8) & 0xff:
        return COMPRESSION_CORRUPT
    frame.header_size = at + 1
    frame.block_size_max = <size_t>1 << (8 + 2 * (block >> 4))
    frame.block_checksums = flags & FLAG_BLOCK_CHECKSUM != 0
    frame.content_checksum = flags & FLAG_CONTENT_CHECKSUM != 0
    return COMPRESSION_OK


cdef int block_beyond_cap(const uint8_t* data, size_t size, size_t size_max) noexcept nogil:
    """Whether a block that did not fit below the cap is too large or corrupt."""
    cdef char* place = <char*>malloc(size_max)
    cdef int unpacked
    if place == NULL:
        return COMPRESSION_NO_MEMORY
    unpacked = LZ4_decompress_safe(<const char*>data, place, <int>size, <int>size_max)
    free(place)
    return COMPRESSION_TOO_LARGE if unpacked >= 0 else COMPRESSION_CORRUPT


cdef int read_block(const uint8_t* data, size_t size, const Frame* frame, Writer* output) noexcept nogil:
    """A compressed block of `size` bytes."""
    cdef size_t wanted = min(size * EXPANSION_MAX, frame.block_size_max)
    cdef size_t room = wanted
    cdef uint8_t* place
    cdef int unpacked
    if output.size_max - output.size < room:
        room = output.size_max - output.size
    place = writer_reserve(output, room)
    if place == NULL and output.error:
        return writer_status(output)
    unpacked = LZ4_decompress_safe(<const char*>data, <char*>place, <int>size, <int>room) if room else -1
    if unpacked < 0:
        return COMPRESSION_CORRUPT if room == wanted else block_beyond_cap(data, size, frame.block_size_max)
    output.size += <size_t>unpacked
    return COMPRESSION_OK


cdef int lz4_decompress(const uint8_t* data, size_t size, bint header_checksum, Writer* output) noexcept nogil:
    cdef Frame frame
    cdef size_t at, block
    cdef uint32_t field
    cdef int error = read_header(data, size, header_checksum, &frame)
    if error:
        return error
    if output.error or output.size > output.size_max:
        return COMPRESSION_TOO_LARGE
    at = frame.header_size
    while True:
        if size - at < 4:
            return COMPRESSION_CORRUPT
        field = load_le32(data + at)
        at += 4
        block = field & ~BLOCK_IS_PLAIN
        if block == 0:
            return COMPRESSION_CORRUPT if frame.content_checksum and size - at < 4 else COMPRESSION_OK
        if block > frame.block_size_max or block > size - at:
            return COMPRESSION_CORRUPT
        if field & BLOCK_IS_PLAIN:
            write_raw(output, data + at, block)
            error = writer_status(output)
        else:
            error = read_block(data + at, block, &frame, output)
        if error:
            return error
        at += block
        if frame.block_checksums:
            if size - at < 4 or load_le32(data + at) != xxh32(data + at - block, block):
                return COMPRESSION_CORRUPT
            at += 4


cdef void lz4_free(Codecs* codecs) noexcept nogil:
    LZ4F_freeCompressionContext(<LZ4F_cctx*>codecs.lz4_writer)
    codecs.lz4_writer = NULL


cdef int lz4_compress(Codecs* codecs, int32_t level, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    """Write 64 KiB independent blocks with only the header checksum, as Kafka does."""
    cdef LZ4F_preferences_t preferences
    cdef size_t bound, at = 0, written
    cdef uint8_t* place
    memset(&preferences, 0, sizeof(preferences))
    preferences.frameInfo.blockSizeID = LZ4F_max64KB
    preferences.frameInfo.blockMode = LZ4F_blockIndependent
    preferences.autoFlush = 1
    if level != DEFAULT_LEVEL and level > 0:
        preferences.compressionLevel = min(max(level, <int32_t>HIGH_LEVEL_MIN), <int32_t>HIGH_LEVEL_MAX)
    if codecs.lz4_writer == NULL:
        if LZ4F_isError(LZ4F_createCompressionContext(<LZ4F_cctx**>&codecs.lz4_writer, LZ4F_VERSION)):
            codecs.lz4_writer = NULL
            return COMPRESSION_NO_MEMORY
    bound = LZ4F_compressBound(size, &preferences) + 64
    place = writer_reserve(output, bound)
    if place == NULL:
        return writer_status(output)
    written = LZ4F_compressBegin(<LZ4F_cctx*>codecs.lz4_writer, place, bound, &preferences)
    if LZ4F_isError(written):
        return COMPRESSION_NO_MEMORY
    at = written
    if size:
        written = LZ4F_compressUpdate(<LZ4F_cctx*>codecs.lz4_writer, place + at, bound - at, data, size, NULL)
        if LZ4F_isError(written):
            return COMPRESSION_NO_MEMORY
        at += written
    written = LZ4F_compressEnd(<LZ4F_cctx*>codecs.lz4_writer, place + at, bound - at, NULL)
    if LZ4F_isError(written):
        return COMPRESSION_NO_MEMORY
    output.size += at + written
    return COMPRESSION_OK
