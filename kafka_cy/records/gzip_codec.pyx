"""gzip as java.util.zip.GZIPInputStream reads it: an accepted stream must not stop a Java consumer.

zlib does the inflating. Headers and trailers are read here, because zlib's own reader differs: it also accepts zlib
streams, and refuses reserved flags. Members may follow one another. Bytes after a member that are not a header are
ignored.
"""
from libc.limits cimport UINT_MAX
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from kafka_cy.records.codec_output cimport first_guess, room_left, writer_status
from kafka_cy.records.compression cimport (
    COMPRESSION_CORRUPT, COMPRESSION_NO_MEMORY, COMPRESSION_OK, COMPRESSION_TOO_LARGE, Codecs,
)
from kafka_cy.records.wire cimport Writer, writer_reserve

cdef extern from "zlib.h" nogil:
    ctypedef struct z_stream:
        uint8_t* next_in
        unsigned int avail_in
        uint8_t* next_out
        unsigned int avail_out
    enum:
        Z_OK
        Z_STREAM_END
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
    unsigned long crc32(unsigned long crc, const uint8_t* data, unsigned int size) noexcept

cdef enum:
    RAW_WINDOW_BITS = -15               # no header, no trailer
    GZIP_WINDOW_BITS = 31
    FIXED_HEADER_SIZE = 10              # magic, method, flags, time, extra flags, system
    TRAILER_SIZE = 8                    # CRC-32 and size of the member, little endian
    METHOD_DEFLATE = 8
    FLAG_HEADER_CRC = 0x02
    FLAG_EXTRA = 0x04
    FLAG_NAME = 0x08
    FLAG_COMMENT = 0x10
    JAVA_BUFFER_SIZE = 8192             # GZIPInputStream's input buffer, as Kafka creates it
    JAVA_LAST_BYTES_MAX = 18            # with at most this many bytes left, all of them buffered, Java ends without checking them
    EMPTY_MEMBERS_MAX = 1000            # in a row; Java recurses for each, and fails at some thousands


cdef void gzip_free(Codecs* codecs) noexcept nogil:
    if codecs.inflater != NULL:
        inflateEnd(<z_stream*>codecs.inflater)
        free(codecs.inflater)
        codecs.inflater = NULL
    deflater_free(codecs)


cdef z_stream* inflater(Codecs* codecs) noexcept nogil:
    """Prepare for a new stream; NULL when out of memory."""
    if codecs.inflater != NULL:
        inflateReset(<z_stream*>codecs.inflater)
        return <z_stream*>codecs.inflater
    codecs.inflater = calloc(1, sizeof(z_stream))
    if codecs.inflater != NULL and inflateInit2(<z_stream*>codecs.inflater, RAW_WINDOW_BITS) != Z_OK:
        free(codecs.inflater)
        codecs.inflater = NULL
    return <z_stream*>codecs.inflater


cdef void deflater_free(Codecs* codecs) noexcept nogil:
    if codecs.deflater != NULL:
        deflateEnd(<z_stream*>codecs.deflater)
        free(codecs.deflater)
        codecs.deflater = NULL


cdef z_stream* deflater(Codecs* codecs, int32_t level) noexcept nogil:
    """Prepare for a new gzip stream of this level; NULL when out of memory (or for a level that zlib does not know)."""
    if codecs.deflater != NULL and codecs.deflater_level != level:
        deflater_free(codecs)
    if codecs.deflater != NULL:
        deflateReset(<z_stream*>codecs.deflater)
        return <z_stream*>codecs.deflater
    codecs.deflater = calloc(1, sizeof(z_stream))
    codecs.deflater_level = level
    if codecs.deflater != NULL and (
        deflateInit2(<z_stream*>codecs.deflater, level, Z_DEFLATED, GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK
    ):
        free(codecs.deflater)
        codecs.deflater = NULL
    return <z_stream*>codecs.deflater


cdef inline uint32_t load_le16(const uint8_t* p) noexcept nogil:
    return p[0] | <uint32_t>p[1] << 8


cdef inline uint32_t load_le32(const uint8_t* p) noexcept nogil:
    return load_le16(p) | load_le16(p + 2) << 16


cdef size_t skip_text(const uint8_t* data, size_t size, size_t at) noexcept nogil:
    """The position after a zero-terminated text; 0 if it is not terminated."""
    while at < size:
        at += 1
        if data[at - 1] == 0:
            return at
    return 0


cdef size_t header_size(const uint8_t* data, size_t size) noexcept nogil:
    """The size of the member's header at `data`; 0: Java refuses it. Like Java, it ignores reserved flags."""
    cdef size_t at = FIXED_HEADER_SIZE
    cdef uint8_t flags
    if size < FIXED_HEADER_SIZE or data[0] != 0x1f or data[1] != 0x8b or data[2] != METHOD_DEFLATE:
        return 0
    flags = data[3]
    if flags & FLAG_EXTRA:
        if size - at < 2:
            return 0
        at += 2 + load_le16(data + at)
        if at > size:
            return 0
    if flags & FLAG_NAME:
        at = skip_text(data, size, at)
        if at == 0:
            return 0
    if flags & FLAG_COMMENT:
        at = skip_text(data, size, at)
        if at == 0:
            return 0
    if flags & FLAG_HEADER_CRC:
        if size - at < 2 or load_le16(data + at) != <uint32_t>crc32(0, data, <unsigned int>at) & 0xffff:
            return 0
        at += 2
    return at


cdef int inflate_member(
    z_stream* stream, const uint8_t* data, size_t size, size_t* consumed, Writer* output
) noexcept nogil:
    """The deflated part of a member, from the start of `data`."""
    cdef uint8_t spare
    cdef size_t room
    cdef int status = Z_OK
    stream.next_in = <uint8_t*>data
    stream.avail_in = <unsigned int>size
    while status != Z_STREAM_END:
        room = min(room_left(output, first_guess(size)), <size_t>UINT_MAX)
        if output.error:
            return writer_status(output)
        # At the cap, one more byte shows whether the stream ends here.
        stream.next_out = output.data + output.size if room else &spare
        stream.avail_out = <unsigned int>room if room else 1
        status = inflate(stream, Z_NO_FLUSH)
        if room:
            output.size += room - stream.avail_out
        elif stream.avail_out == 0:
            return COMPRESSION_TOO_LARGE
        if status == Z_MEM_ERROR:
            return COMPRESSION_NO_MEMORY
        if status == Z_STREAM_END:
            break
        # Output space remains and the input is used up: the stream is truncated.
        if status != Z_OK or (stream.avail_in == 0 and stream.avail_out > 0):
            return COMPRESSION_CORRUPT
    consumed[0] = <size_t>(stream.next_in - data)
    return COMPRESSION_OK


cdef bint trailer_matches(const uint8_t* trailer, const uint8_t* member, size_t size) noexcept nogil:
    cdef unsigned long crc = crc32(0, NULL, 0)
    cdef size_t at = 0, part
    while at < size:
        part = min(size - at, <size_t>UINT_MAX)
        crc = crc32(crc, member + at, <unsigned int>part)
        at += part
    return load_le32(trailer) == <uint32_t>crc and load_le32(trailer + 4) == <uint32_t>size


cdef int gzip_decompress(Codecs* codecs, const uint8_t* data, size_t size, Writer* output) noexcept nogil:
    cdef z_stream* stream = inflater(codecs)
    cdef size_t at, start, consumed = 0, header
    cdef size_t buffered                # how far Java has read when its position is `at`
    cdef int error, empty = 0
    if stream == NULL:
        return COMPRESSION_NO_MEMORY
    at = header_size(data, size)
    if at == 0 or size > UINT_MAX:
        return COMPRESSION_CORRUPT
    buffered = at
    while True:
        start = output.size
        error = inflate_member(stream, data + at, size - at, &consumed, output)
        if error:
            return error
        at += consumed
        if size - at < TRAILER_SIZE or not trailer_matches(data + at, output.data + start, output.size - start):
            return COMPRESSION_CORRUPT
        if buffered < at:
            buffered += (at - buffered + JAVA_BUFFER_SIZE - 1) // JAVA_BUFFER_SIZE * JAVA_BUFFER_SIZE
        at += TRAILER_SIZE
        if size - at <= JAVA_LAST_BYTES_MAX and buffered >= size:
            return COMPRESSION_OK
        header = header_size(data + at, size - at)
        if header == 0:
            return COMPRESSION_OK           # Java ignores what follows.
        at += header
        buffered = max(buffered, at)
        empty = empty + 1 if output.size == start else 0
        if empty > EMPTY_MEMBERS_MAX or inflateReset(stream) != Z_OK:
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
