"""zstd as zstd-jni's ZstdInputStream reads it, which Kafka's readers use.

Frames may follow one another, including skippable ones. Checksums are verified. zstd-jni detects a truncated last
frame only if it read part of it separately from the end of the previous frame; this decoder does the same, with the
same read sizes.
"""
from libc.stdint cimport int32_t, uint8_t

from kafka_cy.records.codec_output cimport GUESS_BYTES_MAX, first_guess, room_left, writer_status
from kafka_cy.records.compression cimport (
    COMPRESSION_CORRUPT, COMPRESSION_NO_MEMORY, COMPRESSION_OK, COMPRESSION_TOO_LARGE, Codecs,
)
from kafka_cy.records.wire cimport Writer, writer_reserve

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
    CONTEXT_KEEP_MAX = 16 << 20         # a larger context is freed after use
    WINDOW_LOG_MAX = 27                 # libzstd's own default limit, which zstd-jni keeps
    WINDOW_LOG_BASE = 10
    JAVA_READ_SIZE = (128 << 10) + 3    # ZSTD_DStreamInSize()
    JAVA_ROOM = 16 << 10                # what Kafka's readers ask for at once; a frame that fits may have any window
    SINGLE_SEGMENT_FLAG = 0x20          # of the frame header's first byte: the window is the content


cdef void zstd_free(Codecs* codecs) noexcept nogil:
    ZSTD_freeDCtx(<ZSTD_DCtx*>codecs.zstd_reader)
    ZSTD_freeCCtx(<ZSTD_CCtx*>codecs.zstd_writer)
    codecs.zstd_reader = NULL
    codecs.zstd_writer = NULL


cdef bint window_too_large(const uint8_t* data, size_t size) noexcept nogil:
    """Whether the first frame needs a window that streaming refuses. One-shot decompression does not check it."""
    cdef uint8_t window
    if size < 6 or data[4] & SINGLE_SEGMENT_FLAG:
        return False
    window = data[5]                    # 5 bits of exponent, 3 bits of mantissa
    return (window >> 3) + WINDOW_LOG_BASE + (window & 7 != 0) > WINDOW_LOG_MAX


cdef int zstd_stream(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef ZSTD_inBuffer source
    cdef ZSTD_outBuffer target
    cdef uint8_t spare
    cdef size_t room, status, before
    cdef bint frame_finished = True
    source.src = data
    source.size = 0
    source.pos = 0
    while True:
        if source.pos == source.size and source.size < size:
            source.size = min(size, source.size + <size_t>JAVA_READ_SIZE)
            frame_finished = False
        room = min(room_left(output, max(first_guess(size), <size_t>JAVA_ROOM)), <size_t>JAVA_ROOM)
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
        if status == 0:
            frame_finished = True
        if source.pos == size and (status == 0 or (source.pos == before and target.pos == 0)):
            return COMPRESSION_OK if frame_finished else COMPRESSION_CORRUPT


cdef int zstd_decompress(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef unsigned long long claimed
    cdef size_t result
    cdef uint8_t* place
    cdef int error
    if codecs.zstd_reader == NULL:
        codecs.zstd_reader = ZSTD_createDCtx()
        if codecs.zstd_reader == NULL:
            return COMPRESSION_NO_MEMORY
    claimed = ZSTD_getFrameContentSize(data, size)
    if (
        0 < claimed <= GUESS_BYTES_MAX and output.size <= output.size_max
        and claimed <= output.size_max - output.size and not window_too_large(data, size)
    ):
        place = writer_reserve(output, <size_t>claimed)
        if place == NULL:
            return writer_status(output)
        # One-shot when the size is known: no window, no second copy. Several frames are streamed.
        result = ZSTD_decompressDCtx(<ZSTD_DCtx*>codecs.zstd_reader, place, <size_t>claimed, data, size)
        if not ZSTD_isError(result):
            output.size += result
            return COMPRESSION_OK
    ZSTD_DCtx_reset(<ZSTD_DCtx*>codecs.zstd_reader, ZSTD_reset_session_only)
    ZSTD_DCtx_setParameter(<ZSTD_DCtx*>codecs.zstd_reader, ZSTD_d_windowLogMax, WINDOW_LOG_MAX)
    error = zstd_stream(codecs, data, size, output)
    if ZSTD_sizeof_DCtx(<ZSTD_DCtx*>codecs.zstd_reader) > CONTEXT_KEEP_MAX:
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
    if ZSTD_sizeof_CCtx(<ZSTD_CCtx*>codecs.zstd_writer) > CONTEXT_KEEP_MAX:
        ZSTD_freeCCtx(<ZSTD_CCtx*>codecs.zstd_writer)
        codecs.zstd_writer = NULL
    if ZSTD_isError(written):
        return COMPRESSION_NO_MEMORY
    output.size += written
    return COMPRESSION_OK
