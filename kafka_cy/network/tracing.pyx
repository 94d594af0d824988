"""Sampling for OpenTelemetry. A request is traced if it is chosen at random (one in `every`), if the first record of a
batch it appends carries a W3C traceparent whose sampled flag is set, or if it fetches a traced batch.

The data plane records where and when; a Python thread creates everything else (contexts, spans) from that.
"""
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from kafka_cy.base.atomics cimport atomic_load_i64
from kafka_cy.network.connection cimport Connection, ResponseSlot
from kafka_cy.network.reactor_state cimport ReactorState
from kafka_cy.network.request cimport Reactor
from kafka_cy.network.trace_events cimport (
    TRACE_CLIENT_ID_BYTES_MAX, TRACE_PLACES_MAX, TraceEvent, TracePlace, tracer_add, tracer_may_begin,
)
from kafka_cy.records.batch cimport ATTRIBUTE_CODEC_MASK, BATCH_HEADER_SIZE, RecordView, ValidBatch, record_read
from kafka_cy.records.wire cimport Reader, reader_init
from kafka_cy.storage.log cimport ReadResult
from kafka_cy.storage.partition cimport (
    TRACED_BATCHES, Partition, partition_acquire, partition_release, partition_remember_traced,
)
from kafka_cy.storage.record_headers cimport record_header

cdef enum:
    TRACEPARENT_SIZE = 55           # 00-<32 hex digits>-<16>-<2>: the last digit holds the sampled flag
    TRACEPARENT_NAME_SIZE = 11


cdef inline uint32_t next_random(uint32_t* state) noexcept nogil:
    """xorshift32"""
    state[0] ^= state[0] << 13
    state[0] ^= state[0] >> 17
    state[0] ^= state[0] << 5
    return state[0]


cdef void begin(Reactor* reactor, ResponseSlot* slot) noexcept nogil:
    if slot.trace == NULL and tracer_may_begin(reactor.tracer, reactor.now_ns):
        slot.trace = <TraceEvent*>calloc(1, sizeof(TraceEvent))


cdef void trace_first_turn(Reactor* reactor) noexcept nogil:
    reactor.trace_random = 2463534242u + <uint32_t>reactor.id
    draw_gap(reactor)


cdef void draw_gap(Reactor* reactor) noexcept nogil:
    """Draw uniformly from 1 to 2 * every - 1: `every` on average, without a rhythm that a client's requests could match."""
    cdef int64_t every = reactor.tracer.every
    reactor.trace_countdown = 1 + next_random(&reactor.trace_random) % (2 * every - 1) if every > 0 else -1


cdef void trace_turn(Reactor* reactor, ResponseSlot* slot) noexcept nogil:
    draw_gap(reactor)
    begin(reactor, slot)


cdef bint is_hex(uint8_t c) noexcept nogil:
    return 48 <= c <= 57 or 97 <= c <= 102


cdef bint sampled_by_client(const ValidBatch* batch) noexcept nogil:
    """Whether the first record's traceparent is sampled; compressed batches are not inspected."""
    cdef Reader r
    cdef RecordView record
    cdef const uint8_t* value
    cdef int32_t size = 0
    if not batch.headers or batch.header.attributes & ATTRIBUTE_CODEC_MASK:
        return False
    reader_init(&r, batch.data + BATCH_HEADER_SIZE, batch.size - BATCH_HEADER_SIZE)
    if not record_read(&r, &record) or record.headers_count == 0:
        return False
    value = record_header(&record, b"traceparent", TRACEPARENT_NAME_SIZE, &size)
    if value == NULL or size < TRACEPARENT_SIZE or not is_hex(value[TRACEPARENT_SIZE - 1]):
        return False
    return value[TRACEPARENT_SIZE - 1] & 1 == (1 if value[TRACEPARENT_SIZE - 1] < 97 else 0)


cdef TracePlace* place_add(TraceEvent* event, Partition* partition, int64_t offset) noexcept nogil:
    """Add a place to the event; NULL if the event is full."""
    cdef TracePlace* place = &event.places[event.places_count]
    if event.places_count == TRACE_PLACES_MAX:
        return NULL
    event.places_count += 1
    place.partition = partition_acquire(partition)
    place.offset = offset
    place.segment_base = -1
    return place


cdef void trace_appended(
    Reactor* reactor, ResponseSlot* slot, Partition* partition, const ValidBatch* batch, int64_t base_offset
) noexcept nogil:
    cdef TracePlace* place
    if slot.trace == NULL:
        if not sampled_by_client(batch):
            return
        begin(reactor, slot)
    if slot.trace == NULL:
        return
    place = place_add(slot.trace, partition, base_offset)
    if place != NULL:
        place.records = batch.header.records_count
        partition_remember_traced(partition, base_offset)


cdef void trace_fetched(
    Reactor* reactor, ResponseSlot* slot, Partition* partition, int64_t offset, int64_t end, const ReadResult* read
) noexcept nogil:
    cdef TracePlace* place
    cdef int64_t traced
    cdef int i
    if atomic_load_i64(&partition.traced_last) <= offset:       # stored as offset + 1; 0: none
        return
    for i in range(TRACED_BATCHES):
        traced = atomic_load_i64(&partition.traced[i]) - 1
        if traced < offset or traced >= end:
            continue
        begin(reactor, slot)
        if slot.trace == NULL:
            return
        place = place_add(slot.trace, partition, traced)
        if place == NULL:
            return
        place.segment_base = read.segment.base_offset
        place.position = read.position
        place.size = read.size


cdef void trace_end(Connection* connection, ResponseSlot* slot, int64_t now) noexcept nogil:
    cdef TraceEvent* event = slot.trace
    cdef Reactor* reactor = &(<ReactorState*>connection.reactor).shared
    slot.trace = NULL
    event.api_key = slot.api_key
    event.api_version = slot.api_version
    event.correlation_id = slot.correlation_id
    event.listener = connection.listener
    event.received = slot.received
    event.begun = slot.begun
    event.handled = slot.handled
    event.answered = slot.answered
    event.sent = now
    event.bytes = <int64_t>slot.bytes
    event.client_id_size = min(connection.client_id_size, <int32_t>TRACE_CLIENT_ID_BYTES_MAX)
    if event.client_id_size > 0:
        memcpy(event.client_id, connection.client_id, <size_t>event.client_id_size)
    event.family = connection.family
    event.port = <uint16_t>connection.port
    memcpy(event.address, connection.address, sizeof(event.address))
    if not tracer_add(reactor.tracer, event):
        trace_free(event)


cdef void trace_free(TraceEvent* event) noexcept nogil:
    cdef int i
    for i in range(event.places_count):
        partition_release(event.places[i].partition)
    free(event)
