"""Log lines of reactors: fixed-size C events in a ring that the control plane drains.

Owner: any reactor adds, Python takes. Lock: `mutex` (events are rare by construction). Limits: LOG_EVENTS_MAX waiting,
LOG_EVENTS_PER_SECOND_MAX per second; events beyond that are only counted.
"""
from libc.stdint cimport int32_t, int64_t
from libc.string cimport strncpy

from kafka_cy.base.posix cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock,
)

cdef enum:
    LOG_EVENTS_MAX = 256
    LOG_EVENTS_PER_SECOND_MAX = 50
    LOG_MESSAGE_BYTES_MAX = 200
    LOG_PEER_BYTES_MAX = 72

cdef enum LogLevel:         # level numbers of Python's logging
    LOG_DEBUG = 10
    LOG_INFO = 20
    LOG_WARNING = 30
    LOG_ERROR = 40

cdef struct LogEventData:
    int32_t level
    int32_t api_key         # -1: none
    char peer[LOG_PEER_BYTES_MAX]
    char message[LOG_MESSAGE_BYTES_MAX]

cdef struct LogEvents:
    pthread_mutex_t mutex
    LogEventData* ring      # [LOG_EVENTS_MAX]
    int32_t start
    int32_t count
    int64_t second          # the second that `this_second` counts
    int32_t this_second
    int64_t suppressed      # since the last take


cdef inline void log_events_init(LogEvents* events, LogEventData* ring) noexcept nogil:
    pthread_mutex_init(&events.mutex, NULL)
    events.ring = ring
    events.start = 0
    events.count = 0
    events.second = 0
    events.this_second = 0
    events.suppressed = 0


cdef inline void log_events_free(LogEvents* events) noexcept nogil:
    pthread_mutex_destroy(&events.mutex)


cdef inline void log_events_add(
    LogEvents* events, int64_t now_ns, int level, const char* peer, int api_key, const char* message
) noexcept nogil:
    cdef LogEventData* event
    cdef int64_t second = now_ns // 1000000000
    pthread_mutex_lock(&events.mutex)
    if second != events.second:
        events.second = second
        events.this_second = 0
    if events.count == LOG_EVENTS_MAX or events.this_second >= LOG_EVENTS_PER_SECOND_MAX:
        events.suppressed += 1
    else:
        events.this_second += 1
        event = &events.ring[(events.start + events.count) % LOG_EVENTS_MAX]
        events.count += 1
        event.level = level
        event.api_key = api_key
        strncpy(event.peer, peer, LOG_PEER_BYTES_MAX - 1)
        event.peer[LOG_PEER_BYTES_MAX - 1] = 0
        strncpy(event.message, message, LOG_MESSAGE_BYTES_MAX - 1)
        event.message[LOG_MESSAGE_BYTES_MAX - 1] = 0
    pthread_mutex_unlock(&events.mutex)


cdef inline bint log_events_take(LogEvents* events, LogEventData* event, int64_t* suppressed) noexcept nogil:
    """Copy the oldest event out; False if none. Adds the number of events dropped meanwhile to `suppressed`."""
    cdef bint found
    pthread_mutex_lock(&events.mutex)
    found = events.count > 0
    if found:
        event[0] = events.ring[events.start]
        events.start = (events.start + 1) % LOG_EVENTS_MAX
        events.count -= 1
    suppressed[0] += events.suppressed
    events.suppressed = 0
    pthread_mutex_unlock(&events.mutex)
    return found
