"""Produce requests that wait for the high watermark or an fsync; see produce_waiting.pyx."""
from libc.stdint cimport int16_t

from kafka_cy.api.produce cimport Awaited, ParkedProduce, Produce
from kafka_cy.network.dispatch cimport Reactor, Request
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.partition cimport Partition

# A place for one more partition that waits; NULL without memory.
cdef Awaited* await_partition(Produce* produce, Partition* partition) noexcept nogil
cdef bint reached(Awaited* awaited) noexcept nogil
# The error of a partition that this broker has not led since the append; what was reached is then of other records. 0: none.
cdef int16_t lost_partition_error(Awaited* awaited) noexcept nogil
# Parks the request with its response. The handler's result.
cdef int park_produce(Reactor* reactor, Request* request, Produce* produce, Writer* w) noexcept nogil
# For a request that ends before it parks.
cdef void waiting_free(ParkedProduce* waiting) noexcept nogil
