"""Traced requests for Python: drains the ring, converts ticks to wall-clock time, reads traceparents from the log."""
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc

from kafka_cy.base.atomics cimport atomic_load_pointer, atomic_load_relaxed_i64
from kafka_cy.base.clock cimport ticks_now
from kafka_cy.network.reactor_state cimport ReactorState, ns_per_tick
from kafka_cy.network.request cimport Reactor
from kafka_cy.network.server cimport Server
from kafka_cy.network.trace_events cimport (
    TRACE_EVENTS_MAX, TRACE_PLACES_MAX, TraceEvent, TracePlace, Tracer, tracer_init, tracer_take,
)
from kafka_cy.network.tracing cimport trace_first_turn, trace_free
from kafka_cy.records.compression cimport Codecs, codecs_free, codecs_new
from kafka_cy.storage.log cimport Log, log_ref, log_unref
from kafka_cy.storage.record_headers cimport log_record_header

import socket
import time
from typing import NamedTuple

cdef enum:
    TRACEPARENT_BYTES_MAX = 64


class TracedBatch(NamedTuple):
    """A batch of a traced request. `traceparent` is that of its first record, "" if it has none."""

    topic: str
    partition: int
    offset: int
    records: int  # 0: unknown (fetched)
    traceparent: str


class TracedRequest(NamedTuple):
    """A request with its times in ns since 1970, in ascending order: socket ready, handler started, handler returned,
    response complete, response in the send queue."""

    api_key: int
    api_version: int
    correlation_id: int
    listener_index: int
    client_id: str
    client_host: str
    client_port: int
    received_ns: int
    begun_ns: int
    handled_ns: int
    answered_ns: int
    sent_ns: int
    response_bytes: int
    batches: list


# The result of reading for one TracePlace, without the GIL.
cdef struct Found:
    bint there
    int32_t size
    uint8_t traceparent[TRACEPARENT_BYTES_MAX]


cdef void look_up(Codecs* codecs, TracePlace* place, Found* found) noexcept nogil:
    cdef Log* log = log_ref(<Log*>atomic_load_pointer(<void**>&place.partition.log))
    cdef int64_t segment_base = -1
    cdef int64_t position = -1
    found.size = log_record_header(
        codecs, log, place.offset, b"traceparent", 11, found.traceparent, TRACEPARENT_BYTES_MAX, &segment_base, &position)
    found.there = place.segment_base < 0 or (
        segment_base == place.segment_base and place.position <= position < place.position + place.size)
    log_unref(log)


cdef class TraceReader:
    """Enables tracing (before `server.start()`) and returns traced requests. Only one thread calls `take`."""

    cdef Server server
    cdef Codecs* codecs

    def __cinit__(self, Server server not None, int32_t every, int32_t per_second_max):
        """Trace one request in `every` (0: only those sampled by the client), at most `per_second_max` per second."""
        cdef Reactor* reactor
        cdef int i
        if server.started:
            raise RuntimeError("the server has already been started")
        if server.tracer != NULL:
            raise RuntimeError("tracing is already enabled")
        self.server = server
        self.codecs = codecs_new()
        server.tracer = <Tracer*>calloc(1, sizeof(Tracer))
        if server.tracer == NULL or self.codecs == NULL:
            raise MemoryError
        tracer_init(server.tracer, every, per_second_max)
        for i in range(server.network.reactors_count):
            reactor = &(<ReactorState*>server.network.reactors[i]).shared
            reactor.tracer = server.tracer
            trace_first_turn(reactor)

    @property
    def waiting_max(self):
        """The maximum number of requests waiting for `take`."""
        return TRACE_EVENTS_MAX

    @property
    def dropped(self):
        """The number of sampled requests dropped because of a limit."""
        return atomic_load_relaxed_i64(&self.server.tracer.dropped)

    def take(self):
        """Return the TracedRequests since the last call; a fetch holds only batches that were really in its response."""
        cdef Tracer* tracer = self.server.tracer
        cdef TraceEvent* event
        cdef Found[TRACE_PLACES_MAX] found
        cdef int64_t now = ticks_now()
        cdef int64_t now_ns = time.time_ns()
        cdef double tick_ns = ns_per_tick(self.server.network)
        cdef int i
        cdef int taken = 0
        cdef list requests = []
        while taken < TRACE_EVENTS_MAX:
            with nogil:
                event = tracer_take(tracer)
                if event != NULL:
                    for i in range(event.places_count):
                        look_up(self.codecs, &event.places[i], &found[i])
            if event == NULL:
                break
            taken += 1
            requests.append(traced_request(event, found, now, now_ns, tick_ns))
            trace_free(event)
        return requests

    def __dealloc__(self):
        if self.codecs != NULL:
            codecs_free(self.codecs)


cdef object traced_request(TraceEvent* event, Found* found, int64_t now, int64_t now_ns, double tick_ns):
    cdef int64_t[5] ticks
    cdef int id_size = event.client_id_size if event.client_id_size > 0 else 0
    cdef int i
    cdef list times = []
    cdef list batches = []
    ticks[:] = [event.received, event.begun, event.handled, event.answered, event.sent]
    for i in range(5):
        at = now_ns - <int64_t>(<double>(now - ticks[i]) * tick_ns)
        times.append(max(at, times[i - 1]) if i else at)
    for i in range(event.places_count):
        if found[i].there:
            batches.append(traced_batch(&event.places[i], &found[i]))
    address_size = 4 if event.family == socket.AF_INET else 16
    host = socket.inet_ntop(event.family, event.address[:address_size])
    return TracedRequest(
        event.api_key, event.api_version, event.correlation_id, event.listener,
        event.client_id[:id_size].decode("utf-8", "replace"), host, event.port,
        *times, event.bytes, batches,
    )


cdef object traced_batch(TracePlace* place, Found* found):
    cdef int size = min(found.size, TRACEPARENT_BYTES_MAX) if found.size > 0 else 0
    text = (<char*>found.traceparent)[:size].decode("ascii", "replace")
    topic = place.partition.topic[:place.partition.topic_size].decode("utf-8", "replace")
    return TracedBatch(topic, place.partition.index, place.offset, place.records, text)
