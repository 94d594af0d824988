"""Transactions that a cleaning round has seen while walking a log from its start (Kafka's CleanedTransactionMetadata)."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.storage.producer_state cimport Marker
from kafka_cy.storage.transaction_index cimport AbortedTransaction, TransactionIndex

cdef struct SeenTransaction:
    int64_t producer_id
    int32_t aborted             # index in `aborted`; -1: committed, and it had data
    bint has_data

# Owner: one cleaner thread, for one pass over the log. Open transactions carry over from one segment to the next.
cdef struct CleanedTransactions:
    AbortedTransaction* aborted     # the log's aborted transactions, by first offset
    int32_t aborted_count
    int32_t next_aborted            # count of those that have begun
    SeenTransaction* open           # by producer id; their markers are still to come
    int32_t open_count
    int32_t open_capacity
    TransactionIndex kept           # entries whose markers stay, for the segment being written

# Takes ownership of `aborted` (malloc'ed).
cdef void cleaned_transactions_init(
    CleanedTransactions* transactions, AbortedTransaction* aborted, int32_t count
) noexcept nogil
cdef void cleaned_transactions_free(CleanedTransactions* transactions) noexcept nogil
# A data batch: 1 its transaction was aborted, 0 not, -1 out of memory.
cdef int transactions_see_data(CleanedTransactions* transactions, const BatchHeader* header) noexcept nogil
# A control batch: 1 no data of its transaction was seen, so it may be removed in time; 0 it must stay; -1 out of
# memory.
cdef int transactions_see_marker(
    CleanedTransactions* transactions, const BatchHeader* header, const Marker* marker
) noexcept nogil
