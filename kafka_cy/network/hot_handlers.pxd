"""The handlers of requests that reactors answer themselves; see hot_handlers.pyx."""
from libc.stdint cimport int16_t

from kafka_cy.network.counters cimport API_KEYS_MAX
from kafka_cy.network.request cimport HotHandler

cdef enum:
    HOT_RANGES_MAX = 4                      # per API key

cdef struct HotRange:
    int16_t version_min
    int16_t version_max
    HotHandler handler

cdef struct HotApi:
    bint asks_acls                          # its handlers ask the ACLs themselves (authorization.pxd), or need none
    HotRange[HOT_RANGES_MAX] ranges

# By API key. Filled at start, before any reactor runs, and only read then; all reactors share it.
cdef HotApi[API_KEYS_MAX] hot_apis

cdef void hot_handler_register(int16_t api_key, int16_t version_min, int16_t version_max, HotHandler handler) noexcept nogil
cdef void hot_handler_authorizes(int16_t api_key) noexcept nogil        # sets asks_acls

# -- internal to the network layer --
cdef inline HotHandler hot_handler_find(const HotApi* api, int16_t api_version) noexcept nogil:
    cdef const HotRange* hot
    cdef int i
    for i in range(HOT_RANGES_MAX):
        hot = &api.ranges[i]
        if hot.handler == NULL:
            return NULL
        if hot.version_min <= api_version <= hot.version_max:
            return hot.handler
    return NULL


# Whether reactors never handle the API themselves.
cdef inline bint api_is_cold(int16_t api_key) noexcept nogil:
    return 0 <= api_key < API_KEYS_MAX and hot_apis[api_key].ranges[0].handler == NULL
