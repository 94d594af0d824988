"""Sampled requests for OpenTelemetry: fixed-size C events in a ring that a Python thread drains.

Owner of an event: its request's slot, then the ring, then the thread that takes it. Lock: `mutex` (one request in a
hundred takes it). Limits: TRACE_EVENTS_MAX waiting, `per_second_max` started per second; any beyond are only counted.
"""
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t

from kafka_cy.base.posix cimport pthread_mutex_init, pthread_mutex_lock, pthread_mutex_t, pthread_mutex_unlock
from kafka_cy.storage.partition cimport Partition

cdef enum:
    TRACE_EVENTS_MAX = 1024
    TRACE_PLACES_MAX = 4            # max batches recorded per request
    TRACE_CLIENT_ID_BYTES_MAX = 48

# One batch of a request: appended, or sent to a consumer.
cdef struct TracePlace:
    Partition* partition            # one reference
    int64_t offset                  # the batch's first
    int64_t records                 # count; 0: unknown
    int64_t segment_base            # fetched: the range of the segment's file that was sent; -1: appended
    int64_t position
    int64_t size

# One request. Times are ticks: socket ready, handler started, handler returned, response complete, response queued.
cdef struct TraceEvent:
    int16_t api_key
    int16_t api_version
    int32_t correlation_id
    int32_t listener
    int64_t received
    int64_t begun
    int64_t handled
    int64_t answered
    int64_t sent
    int64_t bytes                   # of the response
    int32_t client_id_size
    char client_id[TRACE_CLIENT_ID_BYTES_MAX]
    int32_t family                  # of the client's address
    uint8_t address[16]
    uint16_t port
    int32_t places_count
    TracePlace places[TRACE_PLACES_MAX]

# Shared by all reactors. Lifetime: from enabling tracing to the end of the Server object.
cdef struct Tracer:
    pthread_mutex_t mutex
    int32_t every                   # one request in this many is sampled
    int32_t per_second_max
    int64_t second                  # the second that `this_second` counts
    int32_t this_second
    int64_t dropped                 # sampled, but over a limit
    int32_t start
    int32_t count
    TraceEvent* ring[TRACE_EVENTS_MAX]


cdef inline void tracer_init(Tracer* tracer, int32_t every, int32_t per_second_max) noexcept nogil:
    pthread_mutex_init(&tracer.mutex, NULL)
    tracer.every = every
    tracer.per_second_max = per_second_max
    tracer.second = 0
    tracer.this_second = 0
    tracer.dropped = 0
    tracer.start = 0
    tracer.count = 0


cdef inline bint tracer_may_begin(Tracer* tracer, int64_t now_ns) noexcept nogil:
    """Whether this second has room for another event; if so, counts it."""
    cdef int64_t second = now_ns // 1000000000
    cdef bint room
    pthread_mutex_lock(&tracer.mutex)
    if second != tracer.second:
        tracer.second = second
        tracer.this_second = 0
    room = tracer.this_second < tracer.per_second_max
    if room:
        tracer.this_second += 1
    else:
        tracer.dropped += 1
    pthread_mutex_unlock(&tracer.mutex)
    return room


cdef inline bint tracer_add(Tracer* tracer, TraceEvent* event) noexcept nogil:
    """Add an event to the ring; False: it is full and the caller keeps the event."""
    cdef bint room
    pthread_mutex_lock(&tracer.mutex)
    room = tracer.count < TRACE_EVENTS_MAX
    if room:
        tracer.ring[(tracer.start + tracer.count) % TRACE_EVENTS_MAX] = event
        tracer.count += 1
    else:
        tracer.dropped += 1
    pthread_mutex_unlock(&tracer.mutex)
    return room


cdef inline TraceEvent* tracer_take(Tracer* tracer) noexcept nogil:
    """Take the oldest event; the caller owns it. NULL if none."""
    cdef TraceEvent* event = NULL
    pthread_mutex_lock(&tracer.mutex)
    if tracer.count > 0:
        event = tracer.ring[tracer.start]
        tracer.start = (tracer.start + 1) % TRACE_EVENTS_MAX
        tracer.count -= 1
    pthread_mutex_unlock(&tracer.mutex)
    return event
