"""Decides which requests are traced and what is recorded about them; see tracing.pyx."""
from libc.stdint cimport int64_t

from kafka_cy.network.connection cimport Connection, ResponseSlot
from kafka_cy.network.request cimport Reactor
from kafka_cy.network.trace_events cimport TraceEvent
from kafka_cy.records.batch cimport ValidBatch
from kafka_cy.storage.log cimport ReadResult
from kafka_cy.storage.partition cimport Partition

cdef void trace_turn(Reactor* reactor, ResponseSlot* slot) noexcept nogil       # the request whose turn it is
cdef void trace_first_turn(Reactor* reactor) noexcept nogil                     # before the reactor starts
# A batch was appended at `base_offset`: recorded if its request is traced or its first record's traceparent is sampled.
cdef void trace_appended(
    Reactor* reactor, ResponseSlot* slot, Partition* partition, const ValidBatch* batch, int64_t base_offset
) noexcept nogil
# Only if tracing is on: records from `offset` to below `end` may have been sent; recorded if they include a traced batch.
cdef void trace_fetched(
    Reactor* reactor, ResponseSlot* slot, Partition* partition, int64_t offset, int64_t end, const ReadResult* read
) noexcept nogil
cdef void trace_end(Connection* connection, ResponseSlot* slot, int64_t now) noexcept nogil    # the response leaves
cdef void trace_free(TraceEvent* event) noexcept nogil


cdef inline void trace_sample(Reactor* reactor, ResponseSlot* slot) noexcept nogil:
    """Decide at a request's start whether to sample it. It costs the same two instructions with tracing on or off."""
    reactor.trace_countdown -= 1
    if reactor.trace_countdown == 0:
        trace_turn(reactor, slot)


cdef inline bint trace_looks(Reactor* reactor, ResponseSlot* slot, const ValidBatch* batch) noexcept nogil:
    """Whether `trace_appended` has anything to do. This is rare, so callers check first."""
    return slot.trace != NULL or (batch.headers and reactor.tracer != NULL)
