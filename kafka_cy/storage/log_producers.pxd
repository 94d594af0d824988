"""A log's producers and transactions: look-ups, expiry, snapshot files. See log_producers.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.base.atomics cimport atomic_store_i64
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.producer_state cimport (
    LastRecord, ProducerSummary, producers_first_unreplicated, producers_forget_replicated,
)
from kafka_cy.storage.transaction_index cimport AbortedTransaction

# Lists producers, unordered, malloc'ed.
cdef int log_copy_producers(Log* log, ProducerSummary** summaries, int64_t* count) noexcept nogil
cdef int log_copy_last_records(Log* log, LastRecord** records, int32_t* count) noexcept nogil
# Append aborted transactions that overlap [first, last_exclusive) to `pairs`, in index order, as int64 pairs (producer
# id, first offset). `pairs` is malloc'ed by the callee and freed by the caller.
cdef int log_aborted_transactions(
    Log* log, int64_t first, int64_t last_exclusive, int64_t** pairs, int32_t* count
) noexcept nogil
# Aborted transactions that overlap [first, end), malloc'ed.
cdef int log_copy_aborted(
    Log* log, int64_t first, int64_t end, AbortedTransaction** aborted, int32_t* count
) noexcept nogil
cdef void log_expire_producers(Log* log, int64_t now_ms) noexcept nogil

cdef struct SnapshotBytes:
    uint8_t* data
    size_t size

# Copy the current producers, malloc'ed, for write_snapshot. 0 or an errno.
cdef int encode_snapshot(Log* log, SnapshotBytes* out) noexcept nogil
cdef int write_snapshot(Log* log, int64_t offset, SnapshotBytes* content) noexcept nogil
cdef void unlink_snapshot(Log* log, int64_t offset) noexcept nogil


cdef inline void log_forget_replicated(Log* log, int64_t high_watermark) noexcept nogil:
    """With the append mutex: the high watermark moved; see `first_unreplicated`."""
    if log.producers.ended_count > 0:
        producers_forget_replicated(&log.producers, high_watermark)
        atomic_store_i64(&log.first_unreplicated, producers_first_unreplicated(&log.producers))
