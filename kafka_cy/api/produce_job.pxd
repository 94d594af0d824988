"""Validation and appends that would hold a reactor for too long; see produce_job.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.api.named_partitions cimport NamedPartitions
from kafka_cy.api.produce cimport Produce, ProduceResume, SuspendedProduce
from kafka_cy.network.dispatch cimport Reactor, Request
from kafka_cy.records.batch cimport ProduceRules, ValidBatch
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.log cimport Log
from kafka_cy.storage.partition cimport Partition

cdef enum:
    NEEDS_JOB = -1                  # in addition to the values of BatchError
    REACTOR_BYTES_MAX = 256 << 10   # limit of a request's decompression on its reactor: some tenths of a millisecond
    REACTOR_BYTES_MIN = 8 << 10     # the same when earlier requests have used up the limit of this turn of the reactor

# The number of bytes that a request that starts or continues now may decompress here.
cdef int64_t budget_of_turn(Reactor* reactor) noexcept nogil
# Like batch_validate. If that would take too long here, returns NEEDS_JOB and changes nothing.
cdef int validate_here(
    Reactor* reactor, Produce* produce, const ProduceRules* rules, uint8_t* records, int32_t size, ValidBatch* valid
) noexcept nogil
# Whether the log's disk is slow, so that jobs append to it. Also tells the log when it no longer is.
cdef bint appends_need_job(Reactor* reactor, Log* log) noexcept nogil
# The reactor has appended a batch, which took this many ticks, at least slow_append_ticks.
cdef void append_was_slow(Reactor* reactor, Partition* partition, int64_t ticks) noexcept nogil
# The same for a partition whose disk is slow: always NEEDS_JOB.
cdef int validate_for_slow_disk(
    Produce* produce, Partition* partition, const ProduceRules* rules, const uint8_t* records, int32_t size
) noexcept nogil
# Parks the request. Passes the batch at `records` to a job, or asks the transaction coordinator (produce.asks). If nothing of
# the request is done and the queue has no room, holds the request back. Returns the handler's result.
cdef int suspend(
    Reactor* reactor, Request* request, Produce* produce, NamedPartitions* named, Writer* w, ProduceResume resume
) noexcept nogil
# The same for a request that was suspended before. 0, or -1 without memory.
cdef int suspend_again(Reactor* reactor, Request* request, SuspendedProduce* suspended) noexcept nogil
# After the response: frees it and resumes its connection.
cdef void suspended_end(Reactor* reactor, SuspendedProduce* suspended) noexcept nogil
