"""gzip, snappy, lz4 and zstd without the GIL, through the system libraries, with contexts that are made once.

Unpacking streams into a growing buffer and stops at its `size_max`: a size that the input claims is a hint at most.
Contexts belong to one thread; what a hostile input made large is given back at once.
"""
from libc.limits cimport UINT_MAX
from libc.stdint cimport SIZE_MAX, int32_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from kafka_cy.records.wire cimport (
    WIRE_OK, WIRE_TOO_LARGE, Writer, load_be32, store_be32, write_raw, writer_free, writer_init,
    writer_reserve,
)

cdef extern from "zlib.h" nogil:
    ctypedef struct z_stream:
        uint8_t* next_in
        unsigned int avail_in
        uint8_t* next_out
        unsigned int avail_out
    enum:
        Z_OK
        Z_STREAM_END
        Z_BUF_ERROR
        Z_MEM_ERROR
        Z_NO_FLUSH
        Z_FINISH
        Z_DEFLATED
        Z_DEFAULT_STRATEGY
    int inflateInit2(z_stream* stream, int window_bits) noexcept
    int inflateReset(z_stream* stream) noexcept
    int inflate(z_stream* stream, int flush) noexcept
    int inflateEnd(z_stream* stream) noexcept
    int deflateInit2(z_stream* stream, int level, int method, int window_bits, int memory, int strategy) noexcept
    int deflateReset(z_stream* stream) noexcept
    int deflate(z_stream* stream, int flush) noexcept
    int deflateEnd(z_stream* stream) noexcept
    unsigned long deflateBound(z_stream* stream, unsigned long size) noexcept

cdef extern from "snappy-c.h" nogil:
    int snappy_compress(const char* data, size_t size, char* output, size_t* output_size) noexcept
    int snappy_uncompress(const char* data, size_t size, char* output, size_t* output_size) noexcept
    size_t snappy_max_compressed_length(size_t size) noexcept
    int snappy_uncompressed_length(const char* data, size_t size, size_t* result) noexcept

cdef extern from "lz4frame.h" nogil:
    ctypedef struct LZ4F_dctx
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
    size_t LZ4F_createDecompressionContext(LZ4F_dctx** context, unsigned int version) noexcept
    size_t LZ4F_freeDecompressionContext(LZ4F_dctx* context) noexcept
    size_t LZ4F_decompress(
        LZ4F_dctx* context, void* output, size_t* output_size, const void* data, size_t* size, const void* options
    ) noexcept
    size_t LZ4F_createCompressionContext(LZ4F_cctx** context, unsigned int version) noexcept
    size_t LZ4F_freeCompressionContext(LZ4F_cctx* context) noexcept
    size_t LZ4F_compressBegin(LZ4F_cctx* context, void* output, size_t room, LZ4F_preferences_t* preferences) noexcept
    size_t LZ4F_compressBound(size_t size, LZ4F_preferences_t* preferences) noexcept
    size_t LZ4F_compressUpdate(
        LZ4F_cctx* context, void* output, size_t room, const void* data, size_t size, const void* options
    ) noexcept
    size_t LZ4F_compressEnd(LZ4F_cctx* context, void* output, size_t room, const void* options) noexcept

cdef extern from "zstd.h" nogil:
    ctypedef struct ZSTD_CCtx
    ctypedef struct ZSTD_DCtx
    ctypedef struct ZSTD_inBuffer:
        const void* src
        size_t size
        size_t pos
    ctypedef struct ZSTD_outBuffer:
        void* dst
        size_t size
        size_t pos
    enum:
        ZSTD_c_compressionLevel
        ZSTD_d_windowLogMax
        ZSTD_reset_session_only
    unsigned long long ZSTD_CONTENTSIZE_UNKNOWN
    unsigned long long ZSTD_CONTENTSIZE_ERROR
    ZSTD_CCtx* ZSTD_createCCtx() noexcept
    size_t ZSTD_freeCCtx(ZSTD_CCtx* context) noexcept
    size_t ZSTD_CCtx_setParameter(ZSTD_CCtx* context, int parameter, int value) noexcept
    size_t ZSTD_compress2(ZSTD_CCtx* context, void* output, size_t room, const void* data, size_t size) noexcept
    size_t ZSTD_compressBound(size_t size) noexcept
    size_t ZSTD_sizeof_CCtx(ZSTD_CCtx* context) noexcept
    ZSTD_DCtx* ZSTD_createDCtx() noexcept
    size_t ZSTD_freeDCtx(ZSTD_DCtx* context) noexcept
    size_t ZSTD_DCtx_reset(ZSTD_DCtx* context, int directive) noexcept
    size_t ZSTD_DCtx_setParameter(ZSTD_DCtx* context, int parameter, int value) noexcept
    size_t ZSTD_sizeof_DCtx(ZSTD_DCtx* context) noexcept
    size_t ZSTD_decompressStream(ZSTD_DCtx* context, ZSTD_outBuffer* output, ZSTD_inBuffer* data) noexcept
    size_t ZSTD_decompressDCtx(ZSTD_DCtx* context, void* output, size_t room, const void* data, size_t size) noexcept
    unsigned long long ZSTD_getFrameContentSize(const void* data, size_t size) noexcept
    unsigned int ZSTD_isError(size_t code) noexcept

cdef enum:
    KEEP_BYTES_MAX = 4 << 20            # a buffer or context beyond this is freed after use
    ZSTD_CONTEXT_KEEP_MAX = 16 << 20
    ZSTD_WINDOW_LOG_MIN = 23            # windows up to 8 MiB (level 19) whatever the cap on the output
    ZSTD_WINDOW_LOG_MAX = 27            # libzstd's own default limit
    GUESS_BYTES_MAX = 1 << 20           # a claimed size is believed up to here, beyond it is earned by output
    XERIAL_HEADER_SIZE = 16
    XERIAL_BLOCK_SIZE = 32 << 10
    LZ4_HEADER_SIZE_MIN = 7
    LZ4_INDEPENDENT_FLAG = 0x20
    LZ4_DEFAULT_LEVEL = 9               # Kafka's default of compression.lz4.level: the fast compressor
    LZ4_HIGH_LEVEL_MIN = 3
    LZ4_HIGH_LEVEL_MAX = 12

# xerial's stream header: 0x82 "SNAPPY" 0, then version and least compatible version as int32 big endian.
cdef uint8_t[16] XERIAL_HEADER = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00, 0, 0, 0, 1, 0, 0, 0, 1]
cdef uint8_t[4] LZ4_MAGIC = [0x04, 0x22, 0x4d, 0x18]


cdef Codecs* codecs_new() noexcept nogil:
    """Empty: a context is made when first needed. NULL: no memory."""
    cdef Codecs* codecs = <Codecs*>calloc(1, sizeof(Codecs))
    if codecs != NULL:
        writer_init(&codecs.unpacked, 0)
    return codecs


cdef void codecs_free(Codecs* codecs) noexcept nogil:
    if codecs == NULL:
        return
    if codecs.inflater != NULL:
        inflateEnd(<z_stream*>codecs.inflater)
        free(codecs.inflater)
    deflater_free(codecs)
    LZ4F_freeDecompressionContext(<LZ4F_dctx*>codecs.lz4_reader)
    LZ4F_freeCompressionContext(<LZ4F_cctx*>codecs.lz4_writer)
    ZSTD_freeDCtx(<ZSTD_DCtx*>codecs.zstd_reader)
    ZSTD_freeCCtx(<ZSTD_CCtx*>codecs.zstd_writer)
    writer_free(&codecs.unpacked)
    free(codecs)


cdef Writer* codecs_unpacked(Codecs* codecs, size_t size_max) noexcept nogil:
    # A Writer looks at its limit when it grows, so a buffer that is larger already must go.
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
        return lz4_decompress(codecs, data, size, output)
    if codec == CODEC_SNAPPY:
        return snappy_decompress(data, size, output)
    if codec == CODEC_GZIP:
        return gzip_decompress(codecs, data, size, output)
    if codec == CODEC_NONE:
        return copy(data, size, output)
    return COMPRESSION_UNKNOWN_CODEC


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


cdef int writer_status(Writer* output) noexcept nogil:
    if output.error == WIRE_OK:
        return COMPRESSION_OK
    return COMPRESSION_TOO_LARGE if output.error == WIRE_TOO_LARGE else COMPRESSION_NO_MEMORY


cdef size_t room_left(Writer* output, size_t wanted) noexcept nogil:
    """How many bytes may be written at output.data + output.size: 0 at the cap, or (with output.error) without memory.
    Grows the buffer when it is full, by `wanted` or to the double."""
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
    """The first buffer for the unpacked form of `size` bytes."""
    return min(max(size * 4, <size_t>4096), <size_t>GUESS_BYTES_MAX)


# ---- gzip ------------------------------------------------------------------------------------------------------------

cdef z_stream* inflater(Codecs* codecs) noexcept nogil:
    """Ready for a new stream; NULL without memory."""
    if codecs.inflater != NULL:
        inflateReset(<z_stream*>codecs.inflater)
        return <z_stream*>codecs.inflater
    codecs.inflater = calloc(1, sizeof(z_stream))
    # 15 bits of window + 32: gzip or zlib by their headers.
    if codecs.inflater != NULL and inflateInit2(<z_stream*>codecs.inflater, 47) != Z_OK:
        free(codecs.inflater)
        codecs.inflater = NULL
    return <z_stream*>codecs.inflater


cdef void deflater_free(Codecs* codecs) noexcept nogil:
    if codecs.deflater != NULL:
        deflateEnd(<z_stream*>codecs.deflater)
        free(codecs.deflater)
        codecs.deflater = NULL


cdef z_stream* deflater(Codecs* codecs, int32_t level) noexcept nogil:
    """Ready for a new gzip stream of this level; NULL without memory (or for a level that zlib does not know)."""
    if codecs.deflater != NULL and codecs.deflater_level != level:
        deflater_free(codecs)
    if codecs.deflater != NULL:
        deflateReset(<z_stream*>codecs.deflater)
        return <z_stream*>codecs.deflater
    codecs.deflater = calloc(1, sizeof(z_stream))
    codecs.deflater_level = level
    if codecs.deflater != NULL and (
        deflateInit2(<z_stream*>codecs.deflater, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK
    ):
        free(codecs.deflater)
        codecs.deflater = NULL
    return <z_stream*>codecs.deflater


cdef int gzip_decompress(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    """gzip (also several members in a row) or zlib."""
    cdef z_stream* stream = inflater(codecs)
    cdef uint8_t spare
    cdef size_t room
    cdef int status
    if stream == NULL:
        return COMPRESSION_NO_MEMORY
    if size == 0 or size > UINT_MAX:
        return COMPRESSION_CORRUPT
    stream.next_in = <uint8_t*>data
    stream.avail_in = <unsigned int>size
    while True:
        room = min(room_left(output, first_guess(size)), <size_t>UINT_MAX)
        if output.error:
            return writer_status(output)
        # At the cap one byte more shows whether the stream ends here or goes on.
        stream.next_out = output.data + output.size if room else &spare
        stream.avail_out = <unsigned int>room if room else 1
        status = inflate(stream, Z_NO_FLUSH)
        if room:
            output.size += room - stream.avail_out
        elif stream.avail_out == 0:
            return COMPRESSION_TOO_LARGE
        if status == Z_STREAM_END:
            if stream.avail_in == 0:
                return COMPRESSION_OK
            status = inflateReset(stream)
        if status == Z_MEM_ERROR:
            return COMPRESSION_NO_MEMORY
        # No progress (Z_BUF_ERROR) with room for output means that the input is cut short.
        if status != Z_OK or (stream.avail_in == 0 and stream.avail_out > 0):
            return COMPRESSION_CORRUPT


cdef int gzip_compress(Codecs* codecs, int32_t level, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef z_stream* stream = deflater(codecs, level)
    cdef size_t bound
    if stream == NULL:
        return COMPRESSION_NO_MEMORY
    if size > UINT_MAX // 2:
        return COMPRESSION_TOO_LARGE
    bound = deflateBound(stream, size)
    stream.next_out = writer_reserve(output, bound)
    if stream.next_out == NULL:
        return writer_status(output)
    stream.avail_out = <unsigned int>min(bound, <size_t>UINT_MAX)
    stream.next_in = <uint8_t*>data
    stream.avail_in = <unsigned int>size
    if deflate(stream, Z_FINISH) != Z_STREAM_END:
        return COMPRESSION_CORRUPT
    output.size = <size_t>(stream.next_out - output.data)
    return COMPRESSION_OK


# ---- snappy ----------------------------------------------------------------------------------------------------------

cdef int snappy_block(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    """One raw snappy block."""
    cdef size_t unpacked = 0
    cdef uint8_t* place
    if snappy_uncompressed_length(<const char*>data, size, &unpacked) != 0:
        return COMPRESSION_CORRUPT
    # No element gives more than 64 bytes for 3, so a claim beyond that is a lie.
    if unpacked > size * 22 + 64:
        return COMPRESSION_CORRUPT
    place = writer_reserve(output, unpacked)
    if place == NULL and output.error:
        return writer_status(output)
    if snappy_uncompress(<const char*>data, size, <char*>place, &unpacked) != 0:
        return COMPRESSION_CORRUPT
    output.size += unpacked
    return COMPRESSION_OK


cdef int snappy_decompress(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    """xerial blocks when its magic stands there (its version numbers are not looked at), else one raw block."""
    cdef size_t at = 0, block
    cdef int error
    if size < XERIAL_HEADER_SIZE or memcmp(data, XERIAL_HEADER, 8) != 0:
        return snappy_block(data, size, output)
    while at < size:
        if size - at >= XERIAL_HEADER_SIZE and memcmp(data + at, XERIAL_HEADER, 8) == 0:
            at += XERIAL_HEADER_SIZE        # streams may follow one another
            continue
        if size - at < 4:
            return COMPRESSION_CORRUPT
        block = load_be32(data + at)
        at += 4
        if block > size - at:
            return COMPRESSION_CORRUPT
        error = snappy_block(data + at, block, output)
        if error:
            return error
        at += block
    return COMPRESSION_OK


cdef int snappy_compress_xerial(const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef size_t at = 0, block, packed
    cdef uint8_t* place
    write_raw(output, XERIAL_HEADER, XERIAL_HEADER_SIZE)
    while at < size:
        block = min(size - at, <size_t>XERIAL_BLOCK_SIZE)
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


# ---- lz4 -------------------------------------------------------------------------------------------------------------

cdef int lz4_frame(
    Codecs* codecs, const uint8_t* data, size_t size, size_t* consumed, Writer* output
) noexcept nogil:
    """One frame from the start of `data`; blocks must be independent, as no Kafka client reads others."""
    cdef uint8_t spare
    cdef size_t room, produced, taken, status = 1
    cdef void* place
    if size < LZ4_HEADER_SIZE_MIN or memcmp(data, LZ4_MAGIC, 4) != 0 or not data[4] & LZ4_INDEPENDENT_FLAG:
        return COMPRESSION_CORRUPT
    while status != 0:
        room = room_left(output, first_guess(size))
        if output.error:
            return writer_status(output)
        place = <void*>(output.data + output.size) if room else <void*>&spare
        produced = room if room else 1
        taken = size - consumed[0]
        status = LZ4F_decompress(<LZ4F_dctx*>codecs.lz4_reader, place, &produced, data + consumed[0], &taken, NULL)
        if LZ4F_isError(status):
            return COMPRESSION_CORRUPT
        consumed[0] += taken
        if room:
            output.size += produced
        elif produced:
            return COMPRESSION_TOO_LARGE
        if status != 0 and taken == 0 and produced == 0:
            return COMPRESSION_CORRUPT
    return COMPRESSION_OK


cdef int lz4_decompress(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef size_t at = 0, consumed
    cdef int error
    if codecs.lz4_reader == NULL:
        if LZ4F_isError(LZ4F_createDecompressionContext(<LZ4F_dctx**>&codecs.lz4_reader, LZ4F_VERSION)):
            codecs.lz4_reader = NULL
            return COMPRESSION_NO_MEMORY
    while True:
        consumed = 0
        error = lz4_frame(codecs, data + at, size - at, &consumed, output)
        at += consumed
        if error:
            # A reset is not enough: liblz4 1.9.4 then refuses good frames.
            LZ4F_freeDecompressionContext(<LZ4F_dctx*>codecs.lz4_reader)
            codecs.lz4_reader = NULL
            return error
        if at == size:
            return COMPRESSION_OK


cdef int lz4_compress(Codecs* codecs, int32_t level, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    """64 KiB independent blocks, no checksums but the header's: what Kafka writes."""
    cdef LZ4F_preferences_t preferences
    cdef size_t bound, at = 0, written
    cdef uint8_t* place
    memset(&preferences, 0, sizeof(preferences))
    preferences.frameInfo.blockSizeID = LZ4F_max64KB
    preferences.frameInfo.blockMode = LZ4F_blockIndependent
    preferences.autoFlush = 1
    if level != LZ4_DEFAULT_LEVEL and level > 0:
        preferences.compressionLevel = min(max(level, <int32_t>LZ4_HIGH_LEVEL_MIN), <int32_t>LZ4_HIGH_LEVEL_MAX)
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


cdef inline uint32_t rotate_left(uint32_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (32 - bits))


cdef uint32_t xxh32_short(const uint8_t* data, size_t size) noexcept nogil:
    """XXH32 (seed 0) of fewer than 16 bytes: the checksum of an lz4 frame header."""
    cdef uint32_t hashed = <uint32_t>(374761393u + size)
    cdef uint32_t word
    cdef size_t at = 0
    while size - at >= 4:
        memcpy(&word, data + at, 4)
        hashed = rotate_left(hashed + word * 3266489917u, 17) * 668265263u
        at += 4
    while at < size:
        hashed = rotate_left(hashed + data[at] * 374761393u, 11) * 2654435761u
        at += 1
    hashed = (hashed ^ (hashed >> 15)) * 2246822519u
    hashed = (hashed ^ (hashed >> 13)) * 3266489917u
    return hashed ^ (hashed >> 16)


cdef int decompress_legacy_lz4(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef uint8_t* fixed
    cdef size_t descriptor = 2
    cdef int error
    if size < LZ4_HEADER_SIZE_MIN:
        return COMPRESSION_CORRUPT
    if data[4] & 0x08:
        descriptor += 8         # content size
    if data[4] & 0x01:
        descriptor += 4         # dictionary id
    if size < 4 + descriptor + 1:
        return COMPRESSION_CORRUPT
    fixed = <uint8_t*>malloc(size)
    if fixed == NULL:
        return COMPRESSION_NO_MEMORY
    memcpy(fixed, data, size)
    fixed[4 + descriptor] = <uint8_t>(xxh32_short(data + 4, descriptor) >> 8)
    error = lz4_decompress(codecs, fixed, size, output)
    free(fixed)
    return error


# ---- zstd ------------------------------------------------------------------------------------------------------------

cdef int window_log_max(Writer* output) noexcept nogil:
    """How large a window a frame may ask for: what the cap on the output needs, at least that of level 19."""
    cdef int bits = ZSTD_WINDOW_LOG_MIN
    while bits < ZSTD_WINDOW_LOG_MAX and (<size_t>1 << bits) < output.size_max:
        bits += 1
    return bits


cdef int zstd_stream(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef ZSTD_inBuffer source
    cdef ZSTD_outBuffer target
    cdef uint8_t spare
    cdef size_t room, status = 1, before
    source.src = data
    source.size = size
    source.pos = 0
    while status != 0 or source.pos < source.size:
        room = room_left(output, first_guess(size))
        if output.error:
            return writer_status(output)
        target.dst = <void*>(output.data + output.size) if room else <void*>&spare
        target.size = room if room else 1
        target.pos = 0
        before = source.pos
        status = ZSTD_decompressStream(<ZSTD_DCtx*>codecs.zstd_reader, &target, &source)
        if ZSTD_isError(status):
            return COMPRESSION_CORRUPT
        if room:
            output.size += target.pos
        elif target.pos:
            return COMPRESSION_TOO_LARGE
        if status != 0 and source.pos == before and target.pos == 0:
            return COMPRESSION_CORRUPT
    return COMPRESSION_OK


cdef int zstd_decompress(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef unsigned long long claimed
    cdef size_t result
    cdef uint8_t* place
    cdef int error
    if size == 0:
        return COMPRESSION_CORRUPT
    if codecs.zstd_reader == NULL:
        codecs.zstd_reader = ZSTD_createDCtx()
        if codecs.zstd_reader == NULL:
            return COMPRESSION_NO_MEMORY
    claimed = ZSTD_getFrameContentSize(data, size)
    if claimed == ZSTD_CONTENTSIZE_ERROR:
        return COMPRESSION_CORRUPT
    if 0 < claimed <= GUESS_BYTES_MAX and output.size <= output.size_max and claimed <= output.size_max - output.size:
        place = writer_reserve(output, <size_t>claimed)
        if place == NULL:
            return writer_status(output)
        # In one go when the size is known: no window, no second copy. Several frames go the long way.
        result = ZSTD_decompressDCtx(<ZSTD_DCtx*>codecs.zstd_reader, place, <size_t>claimed, data, size)
        if not ZSTD_isError(result):
            output.size += result
            return COMPRESSION_OK
    ZSTD_DCtx_reset(<ZSTD_DCtx*>codecs.zstd_reader, ZSTD_reset_session_only)
    ZSTD_DCtx_setParameter(<ZSTD_DCtx*>codecs.zstd_reader, ZSTD_d_windowLogMax, window_log_max(output))
    error = zstd_stream(codecs, data, size, output)
    if ZSTD_sizeof_DCtx(<ZSTD_DCtx*>codecs.zstd_reader) > ZSTD_CONTEXT_KEEP_MAX:
        ZSTD_freeDCtx(<ZSTD_DCtx*>codecs.zstd_reader)
        codecs.zstd_reader = NULL
    return error


cdef int zstd_compress(Codecs* codecs, int32_t level, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef size_t bound = ZSTD_compressBound(size)
    cdef size_t written
    cdef uint8_t* place
    if codecs.zstd_writer == NULL:
        codecs.zstd_writer = ZSTD_createCCtx()
        if codecs.zstd_writer == NULL:
            return COMPRESSION_NO_MEMORY
    place = writer_reserve(output, bound)
    if place == NULL:
        return writer_status(output)
    ZSTD_CCtx_setParameter(<ZSTD_CCtx*>codecs.zstd_writer, ZSTD_c_compressionLevel, level)
    written = ZSTD_compress2(<ZSTD_CCtx*>codecs.zstd_writer, place, bound, data, size)
    if ZSTD_sizeof_CCtx(<ZSTD_CCtx*>codecs.zstd_writer) > ZSTD_CONTEXT_KEEP_MAX:
        ZSTD_freeCCtx(<ZSTD_CCtx*>codecs.zstd_writer)
        codecs.zstd_writer = NULL
    if ZSTD_isError(written):
        return COMPRESSION_NO_MEMORY
    output.size += written
    return COMPRESSION_OK
