"""Bounds-checked reading and growing writing of Kafka's primitive types, without the GIL.

`Reader` has a sticky error: a read past the end sets `error`, returns 0 and every later read returns 0, so a
decoder checks `error` once, after the whole message. Owner: the calling thread; it borrows the bytes.

`Writer` is a growing malloc buffer with the same sticky error (out of memory, or past `size_max`). Owner: whoever
holds the struct; free with `writer_free`, or hand `data` over and call `writer_init` again.
"""

from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #ifndef KAFKA_CY_BYTE_ORDER
    #define KAFKA_CY_BYTE_ORDER
    #include <stdint.h>
    #include <string.h>
    static inline uint16_t load_be16(const void *p) { uint16_t v; memcpy(&v, p, 2); return __builtin_bswap16(v); }
    static inline uint32_t load_be32(const void *p) { uint32_t v; memcpy(&v, p, 4); return __builtin_bswap32(v); }
    static inline uint64_t load_be64(const void *p) { uint64_t v; memcpy(&v, p, 8); return __builtin_bswap64(v); }
    static inline void store_be16(void *p, uint16_t v) { v = __builtin_bswap16(v); memcpy(p, &v, 2); }
    static inline void store_be32(void *p, uint32_t v) { v = __builtin_bswap32(v); memcpy(p, &v, 4); }
    static inline void store_be64(void *p, uint64_t v) { v = __builtin_bswap64(v); memcpy(p, &v, 8); }
    #endif
    """
    uint16_t load_be16(const void *p) noexcept nogil
    uint32_t load_be32(const void *p) noexcept nogil
    uint64_t load_be64(const void *p) noexcept nogil
    void store_be16(void *p, uint16_t v) noexcept nogil
    void store_be32(void *p, uint32_t v) noexcept nogil
    void store_be64(void *p, uint64_t v) noexcept nogil

cdef enum WireError:
    WIRE_OK = 0
    WIRE_TRUNCATED = 1      # a read past the end
    WIRE_BAD_VARINT = 2     # more than 5 (10) bytes, or over 32 (64) bits
    WIRE_BAD_LENGTH = 3     # a negative or impossible string, bytes or array length
    WIRE_NO_MEMORY = 4
    WIRE_TOO_LARGE = 5      # a Writer would pass size_max


cdef struct Reader:
    const uint8_t* position
    const uint8_t* end
    int error


cdef inline void reader_init(Reader* r, const uint8_t* data, size_t size) noexcept nogil:
    r.position = data
    r.end = data + size
    r.error = WIRE_OK


cdef inline size_t reader_remaining(Reader* r) noexcept nogil:
    return <size_t>(r.end - r.position)


cdef inline const uint8_t* read_raw(Reader* r, int64_t size) noexcept nogil:
    """`size` bytes in place; NULL (and the error set) when fewer remain."""
    cdef const uint8_t* start = r.position
    if r.error or size < 0 or size > <int64_t>(r.end - r.position):
        if not r.error:
            r.error = WIRE_TRUNCATED if size >= 0 else WIRE_BAD_LENGTH
        return NULL
    r.position += size
    return start


cdef inline int8_t read_int8(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_raw(r, 1)
    return <int8_t>p[0] if p != NULL else 0


cdef inline int16_t read_int16(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_raw(r, 2)
    return <int16_t>load_be16(p) if p != NULL else 0


cdef inline int32_t read_int32(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_raw(r, 4)
    return <int32_t>load_be32(p) if p != NULL else 0


cdef inline int64_t read_int64(Reader* r) noexcept nogil:
    cdef const uint8_t* p = read_raw(r, 8)
    return <int64_t>load_be64(p) if p != NULL else 0


cdef inline uint32_t read_uvarint(Reader* r) noexcept nogil:
    cdef uint32_t value = 0
    cdef int shift = 0
    cdef uint8_t byte
    if r.error:
        return 0
    while True:
        if r.position >= r.end:
            r.error = WIRE_TRUNCATED
            return 0
        byte = r.position[0]
        r.position += 1
        if shift == 28 and byte > 0x0f:
            r.error = WIRE_BAD_VARINT
            return 0
        value |= <uint32_t>(byte & 0x7f) << shift
        if not byte & 0x80:
            return value
        shift += 7


cdef inline uint64_t read_uvarlong(Reader* r) noexcept nogil:
    cdef uint64_t value = 0
    cdef int shift = 0
    cdef uint8_t byte
    if r.error:
        return 0
    while True:
        if r.position >= r.end:
            r.error = WIRE_TRUNCATED
            return 0
        byte = r.position[0]
        r.position += 1
        if shift == 63 and byte > 0x01:
            r.error = WIRE_BAD_VARINT
            return 0
        value |= <uint64_t>(byte & 0x7f) << shift
        if not byte & 0x80:
            return value
        shift += 7


cdef inline int32_t read_varint(Reader* r) noexcept nogil:
    """Zigzag int32, as in records."""
    cdef uint32_t raw = read_uvarint(r)
    return <int32_t>((raw >> 1) ^ (~(raw & 1) + 1))


cdef inline int64_t read_varlong(Reader* r) noexcept nogil:
    """Zigzag int64, as in records."""
    cdef uint64_t raw = read_uvarlong(r)
    return <int64_t>((raw >> 1) ^ (~(raw & 1) + 1))


cdef inline int32_t read_length(Reader* r, bint flexible, bint is_string) noexcept nogil:
    """The length of a string (int16 / uvarint+1) or of bytes and records (int32 / uvarint+1); -1 for null.

    Any negative length is null, as Kafka reads it.
    """
    cdef int64_t length
    if flexible:
        length = <int64_t>read_uvarint(r) - 1
    elif is_string:
        length = read_int16(r)
    else:
        length = read_int32(r)
    if r.error or length < 0:
        return -1
    if length > <int64_t>(r.end - r.position):
        r.error = WIRE_TRUNCATED
        return -1
    return <int32_t>length


cdef inline const char* read_string(Reader* r, bint flexible, int32_t* size) noexcept nogil:
    """A (nullable) string in place, not zero-terminated. Null: returns NULL with *size = -1."""
    size[0] = read_length(r, flexible, True)
    if size[0] < 0:
        return NULL
    return <const char*>read_raw(r, size[0])


cdef inline const uint8_t* read_bytes(Reader* r, bint flexible, int32_t* size) noexcept nogil:
    """(Nullable) bytes or records in place. Null: returns NULL with *size = -1."""
    size[0] = read_length(r, flexible, False)
    if size[0] < 0:
        return NULL
    return read_raw(r, size[0])


cdef inline int32_t read_array_length(Reader* r, bint flexible, int32_t element_size_min) noexcept nogil:
    """The count of a (nullable) array, -1 for null (any negative one). A count too large for the remaining bytes is an
    error."""
    cdef int64_t count = <int64_t>read_uvarint(r) - 1 if flexible else read_int32(r)
    if r.error or count < 0:
        return -1
    if count * element_size_min > <int64_t>(r.end - r.position):
        r.error = WIRE_BAD_LENGTH
        return -1
    return <int32_t>count


cdef inline void skip_tagged_fields(Reader* r) noexcept nogil:
    cdef uint32_t count = read_uvarint(r)
    cdef uint32_t size
    while count > 0 and not r.error:
        read_uvarint(r)
        size = read_uvarint(r)
        read_raw(r, size)
        count -= 1


cdef struct Writer:
    uint8_t* data
    size_t size
    size_t capacity
    size_t size_max
    int error


cdef inline void writer_init(Writer* w, size_t size_max) noexcept nogil:
    w.data = NULL
    w.size = 0
    w.capacity = 0
    w.size_max = size_max
    w.error = WIRE_OK


cdef inline void writer_free(Writer* w) noexcept nogil:
    free(w.data)
    writer_init(w, w.size_max)


cdef inline uint8_t* writer_reserve(Writer* w, size_t size) noexcept nogil:
    """Reserve `size` more bytes at the returned position (w.size is not moved); NULL on a sticky error."""
    cdef size_t wanted
    cdef uint8_t* grown
    if w.error:
        return NULL
    if size > w.capacity - w.size:
        if w.size > w.size_max or size > w.size_max - w.size:
            w.error = WIRE_TOO_LARGE
            return NULL
        wanted = w.capacity * 2 if w.capacity else 256
        if wanted < w.size + size:
            wanted = w.size + size
        if wanted > w.size_max:
            wanted = w.size_max
        grown = <uint8_t*>realloc(w.data, wanted)
        if grown == NULL:
            w.error = WIRE_NO_MEMORY
            return NULL
        w.data = grown
        w.capacity = wanted
    return w.data + w.size


cdef inline void write_raw(Writer* w, const void* data, size_t size) noexcept nogil:
    cdef uint8_t* p = writer_reserve(w, size)
    if p != NULL and size:
        memcpy(p, data, size)
        w.size += size


cdef inline void write_int8(Writer* w, int8_t value) noexcept nogil:
    cdef uint8_t* p = writer_reserve(w, 1)
    if p != NULL:
        p[0] = <uint8_t>value
        w.size += 1


cdef inline void write_int16(Writer* w, int16_t value) noexcept nogil:
    cdef uint8_t* p = writer_reserve(w, 2)
    if p != NULL:
        store_be16(p, <uint16_t>value)
        w.size += 2


cdef inline void write_int32(Writer* w, int32_t value) noexcept nogil:
    cdef uint8_t* p = writer_reserve(w, 4)
    if p != NULL:
        store_be32(p, <uint32_t>value)
        w.size += 4


cdef inline void write_int64(Writer* w, int64_t value) noexcept nogil:
    cdef uint8_t* p = writer_reserve(w, 8)
    if p != NULL:
        store_be64(p, <uint64_t>value)
        w.size += 8


cdef inline void write_uvarlong(Writer* w, uint64_t value) noexcept nogil:
    cdef uint8_t* p = writer_reserve(w, 10)
    if p == NULL:
        return
    while value >= 0x80:
        p[0] = <uint8_t>(value | 0x80)
        p += 1
        value >>= 7
    p[0] = <uint8_t>value
    w.size = <size_t>(p + 1 - w.data)


cdef inline void write_uvarint(Writer* w, uint32_t value) noexcept nogil:
    write_uvarlong(w, value)


cdef inline void write_varint(Writer* w, int32_t value) noexcept nogil:
    write_uvarlong(w, <uint32_t>((<uint32_t>value << 1) ^ <uint32_t>(value >> 31)))


cdef inline void write_varlong(Writer* w, int64_t value) noexcept nogil:
    write_uvarlong(w, (<uint64_t>value << 1) ^ <uint64_t>(value >> 63))


cdef inline void write_string(Writer* w, bint flexible, const char* data, int32_t size) noexcept nogil:
    """A string; size -1 writes null."""
    if flexible:
        write_uvarint(w, <uint32_t>(size + 1))
    else:
        write_int16(w, <int16_t>size)
    if size > 0:
        write_raw(w, data, <size_t>size)


cdef inline void write_array_length(Writer* w, bint flexible, int32_t count) noexcept nogil:
    """An array count; -1 writes null."""
    if flexible:
        write_uvarint(w, <uint32_t>(count + 1))
    else:
        write_int32(w, count)


cdef inline void write_no_tags(Writer* w, bint flexible) noexcept nogil:
    """The empty tagged-field section that ends every flexible struct."""
    if flexible:
        write_int8(w, 0)
