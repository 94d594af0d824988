"""The table of hot handlers, filled by their modules (kafka_cy/api)."""
from libc.string cimport memset

memset(hot_apis, 0, sizeof(hot_apis))


cdef void hot_handler_register(int16_t api_key, int16_t version_min, int16_t version_max, HotHandler handler) noexcept nogil:
    """Register a handler; registering the same version range again replaces its handler."""
    cdef HotRange* hot
    cdef int i
    if api_key < 0 or api_key >= API_KEYS_MAX:
        return
    for i in range(HOT_RANGES_MAX):
        hot = &hot_apis[api_key].ranges[i]
        if hot.handler == NULL or (hot.version_min == version_min and hot.version_max == version_max):
            hot.version_min = version_min
            hot.version_max = version_max
            hot.handler = handler
            return


cdef void hot_handler_authorizes(int16_t api_key) noexcept nogil:
    if 0 <= api_key < API_KEYS_MAX:
        hot_apis[api_key].asks_acls = True
