"""ApiVersions (key 18).

The response lists a table of API keys that the control plane sets (`set_table`). The table is encoded once.

- v0: error code and API keys. v1: throttle time. v2: nothing new on the wire.
- v3 (KIP-511, KIP-482, KIP-584): flexible body behind response header v0. The request carries the name and the version of
  the client software; INVALID_REQUEST if they are malformed. Tags with the supported and the finalized features
  (`set_features`).
- v4 (KIP-584 follow-up): supported features with a minimum of 0 are listed, too.
- A version above the newest gets a v0 response with UNSUPPORTED_VERSION and the range of ApiVersions itself, as KIP-511
  requires. The client then repeats the request with a version that both know.
"""
from libc.stdint cimport int16_t, int32_t, uint8_t
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport atomic_load_pointer, atomic_store_pointer
from kafka_cy.api.error_codes cimport ERROR_INVALID_REQUEST, ERROR_UNSUPPORTED_VERSION
from kafka_cy.network.authentication cimport authentication_repeat_api_versions
from kafka_cy.network.dispatch cimport (
    CLOSE, HANDLED, Reactor, Request, request_error, request_software, response_begin, response_send,
    response_throttle_time,
)
from kafka_cy.network.hot_handlers cimport hot_handler_authorizes, hot_handler_register
from kafka_cy.network.request cimport RESPONSE_BYTES_MAX
from kafka_cy.records.wire cimport (
    Reader, Writer, read_string, reader_init, skip_tagged_fields, write_array_length, write_int16, write_int32,
    write_int8, write_raw, writer_init,
)

cdef enum:
    API_KEY = 18


# The encoded API keys of both encodings. Written once, never freed: a reactor may be reading an older one.
cdef struct KeyTable:
    int32_t count
    size_t size
    size_t flexible_size
    uint8_t* entries            # int16 key, min, max
    uint8_t* flexible_entries   # the same with an empty tag section each


# The encoded sections of tagged fields with the features. Written once, never freed: a reactor may be reading older ones.
cdef struct FeatureTags:
    size_t sizes[2]             # of v3 and v4
    uint8_t* data[2]

cdef void* published_table = NULL
cdef void* published_features = NULL
cdef int16_t own_version_min, own_version_max       # set before the server starts


cdef bint is_alphanumeric(char c) noexcept nogil:
    return (48 <= c <= 57) or (65 <= c <= 90) or (97 <= c <= 122)


cdef bint software_name_valid(const char* text, int32_t size) noexcept nogil:
    """Letters, digits, '-' and '.', beginning and ending with a letter or digit."""
    cdef int32_t i
    if size <= 0 or not is_alphanumeric(text[0]) or not is_alphanumeric(text[size - 1]):
        return False
    for i in range(size):
        if not is_alphanumeric(text[i]) and text[i] != 45 and text[i] != 46:
            return False
    return True


cdef void write_own_range(Writer* w) noexcept nogil:
    write_int16(w, ERROR_UNSUPPORTED_VERSION)
    write_int32(w, 1)
    write_int16(w, API_KEY)
    write_int16(w, own_version_min)
    write_int16(w, own_version_max)


cdef void write_keys(Request* request, Writer* w, int16_t version, int16_t error) noexcept nogil:
    cdef KeyTable* table = <KeyTable*>atomic_load_pointer(&published_table)
    cdef bint flexible = version >= 3
    write_int16(w, error)
    if error or table == NULL:
        write_array_length(w, flexible, 0)
    else:
        write_array_length(w, flexible, table.count)
        if flexible:
            write_raw(w, table.flexible_entries, table.flexible_size)
        else:
            write_raw(w, table.entries, table.size)
    if version >= 1:
        response_throttle_time(request, w)
    if flexible:
        write_features(w, version, error)


cdef void write_features(Writer* w, int16_t version, int16_t error) noexcept nogil:
    cdef FeatureTags* tags = <FeatureTags*>atomic_load_pointer(&published_features)
    cdef int place = 1 if version >= 4 else 0
    if error or tags == NULL:
        write_int8(w, 0)
    else:
        write_raw(w, tags.data[place], tags.sizes[place])


cdef int handle(Reactor* reactor, Request* request) noexcept nogil:
    cdef Reader r
    cdef Writer w
    cdef int16_t error = 0
    cdef const char* name
    cdef const char* version
    cdef int32_t name_size = 0
    cdef int32_t version_size = 0
    writer_init(&w, RESPONSE_BYTES_MAX)
    if request.api_version < own_version_min or request.api_version > own_version_max:
        response_begin(request, &w)
        write_own_range(&w)
        request_error(request, ERROR_UNSUPPORTED_VERSION, 1)
        response_send(reactor, request, &w)
        return HANDLED
    if request.api_version >= 3:
        reader_init(&r, request.body, request.body_size)
        name = read_string(&r, True, &name_size)
        version = read_string(&r, True, &version_size)
        skip_tagged_fields(&r)
        if r.error or name_size < 0 or version_size < 0:
            request.close_reason = b"ApiVersions request that does not parse"
            return CLOSE
        if not software_name_valid(name, name_size) or not software_name_valid(version, version_size):
            error = ERROR_INVALID_REQUEST
            authentication_repeat_api_versions(request.connection)
        else:
            request_software(reactor, request, name, name_size, version, version_size)
    response_begin(request, &w)
    write_keys(request, &w, request.api_version, error)
    request_error(request, error, 1)
    response_send(reactor, request, &w)
    return HANDLED


def set_table(table: list) -> None:
    """Set what ApiVersions lists from now on: (API key, version min, version max), in this order. MemoryError."""
    cdef KeyTable* made = <KeyTable*>malloc(sizeof(KeyTable))
    cdef Writer plain
    cdef Writer flexible
    if made == NULL:
        raise MemoryError
    writer_init(&plain, RESPONSE_BYTES_MAX)
    writer_init(&flexible, RESPONSE_BYTES_MAX)
    made.count = 0
    for key, version_min, version_max in table:
        for value in (key, version_min, version_max):
            write_int16(&plain, <int16_t>value)
            write_int16(&flexible, <int16_t>value)
        write_int8(&flexible, 0)
        made.count += 1
    if plain.error or flexible.error:
        raise MemoryError
    made.entries = plain.data
    made.size = plain.size
    made.flexible_entries = flexible.data
    made.flexible_size = flexible.size
    atomic_store_pointer(&published_table, made)


def set_features(bytes tags_v3 not None, bytes tags_v4 not None) -> None:
    """Set the sections of tagged fields that v3 and v4 responses end with from now on. MemoryError."""
    cdef FeatureTags* made = <FeatureTags*>malloc(sizeof(FeatureTags))
    if made == NULL:
        raise MemoryError
    for place, tags in enumerate((tags_v3, tags_v4)):
        made.sizes[<int>place] = <size_t>len(tags)
        made.data[<int>place] = <uint8_t*>malloc(<size_t>len(tags) + 1)
        if made.data[<int>place] == NULL:
            raise MemoryError
        memcpy(made.data[<int>place], <const char*>tags, <size_t>len(tags))
    atomic_store_pointer(&published_features, made)


def register(int16_t version_min, int16_t version_max) -> None:
    """Make the reactors handle ApiVersions in any version, so that unknown versions get a response too."""
    global own_version_min, own_version_max
    own_version_min = version_min
    own_version_max = version_max
    hot_handler_register(API_KEY, 0, 0x7fff, handle)
    hot_handler_authorizes(API_KEY)             # anybody may ask
