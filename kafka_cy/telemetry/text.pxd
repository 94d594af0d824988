"""Writes Prometheus' text exposition without the GIL: families, samples, label values that are always valid.

Both formats hold the same sample lines; OpenMetrics names a counter's family without `_total` and says `unknown` where
the older format says `untyped`.
"""
from libc.stdint cimport int64_t, uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strlen

from kafka_cy.records.wire cimport Writer, writer_reserve

cdef enum TextKind:
    TEXT_GAUGE = 0
    TEXT_COUNTER = 1        # its name is given without `_total`
    TEXT_UNKNOWN = 2


cdef inline void text_raw(Writer* w, const char* text, size_t size) noexcept nogil:
    cdef uint8_t* place = writer_reserve(w, size)
    if place != NULL:
        memcpy(place, text, size)
        w.size += size


cdef inline void text_put(Writer* w, const char* text) noexcept nogil:
    text_raw(w, text, strlen(text))


cdef inline void text_int(Writer* w, int64_t value) noexcept nogil:
    cdef char[24] digits
    cdef int at = 24
    cdef bint negative = value < 0
    cdef unsigned long long rest = <unsigned long long>(-value) if negative else <unsigned long long>value
    while True:
        at -= 1
        digits[at] = <char>(48 + rest % 10)
        rest //= 10
        if rest == 0:
            break
    if negative:
        at -= 1
        digits[at] = 45
    text_raw(w, &digits[at], <size_t>(24 - at))


cdef inline void text_double(Writer* w, double value) noexcept nogil:
    cdef char[40] digits
    text_raw(w, digits, <size_t>snprintf(digits, 40, b"%.9g", value))


cdef inline int utf8_size(const uint8_t* at, size_t left) noexcept nogil:
    """Length of the well-formed UTF-8 character that begins here; 0 if there is none."""
    cdef int size
    cdef int i
    if at[0] < 0x80:
        return 1
    if at[0] < 0xc2 or at[0] > 0xf4:
        return 0
    size = 2 if at[0] < 0xe0 else (3 if at[0] < 0xf0 else 4)
    if <size_t>size > left:
        return 0
    for i in range(1, size):
        if at[i] & 0xc0 != 0x80:
            return 0
    if (at[0] == 0xe0 and at[1] < 0xa0) or (at[0] == 0xed and at[1] > 0x9f):
        return 0                            # overlong encoding, or a surrogate
    if (at[0] == 0xf0 and at[1] < 0x90) or (at[0] == 0xf4 and at[1] > 0x8f):
        return 0
    return size


cdef inline void text_label_value(Writer* w, const char* value, size_t size) noexcept nogil:
    """Write the value escaped; invalid UTF-8 becomes U+FFFD."""
    cdef const uint8_t* data = <const uint8_t*>value
    cdef size_t at = 0
    cdef int length
    while at < size:
        length = utf8_size(data + at, size - at)
        if length == 0:
            text_raw(w, b"\xef\xbf\xbd", 3)
            at += 1
        elif data[at] == 92 or data[at] == 34:      # \ and "
            text_raw(w, b"\\", 1)
            text_raw(w, value + at, 1)
            at += 1
        elif data[at] == 10:
            text_raw(w, b"\\n", 2)
            at += 1
        else:
            text_raw(w, value + at, <size_t>length)
            at += <size_t>length


cdef inline void text_family(Writer* w, bint openmetrics, const char* name, TextKind kind, const char* help) noexcept nogil:
    """Write the two comment lines above a family's samples."""
    cdef bint total = kind == TEXT_COUNTER and not openmetrics
    text_put(w, b"# HELP ")
    text_put(w, name)
    if total:
        text_put(w, b"_total")
    text_put(w, b" ")
    text_put(w, help)
    text_put(w, b"\n# TYPE ")
    text_put(w, name)
    if total:
        text_put(w, b"_total")
    if kind == TEXT_COUNTER:
        text_put(w, b" counter\n")
    elif kind == TEXT_GAUGE:
        text_put(w, b" gauge\n")
    elif openmetrics:
        text_put(w, b" unknown\n")
    else:
        text_put(w, b" untyped\n")
