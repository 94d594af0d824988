"""Which transactions a cleaning round has seen, as it walks a log from its start (Kafka's CleanedTransactionMetadata)."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.storage.producer_state cimport Marker
from kafka_cy.storage.transaction_index cimport AbortedTransaction, TransactionIndex

cdef struct SeenTransaction:
    int64_t producer_id
    int32_t aborted             # number in `aborted`; -1: it was committed, and there was data of it
    bint has_data

# Owner: one cleaner thread, for one pass over the log: what is open goes along from one segment to the next.
cdef struct CleanedTransactions:
    AbortedTransaction* aborted     # of the log, by first offset
    int32_t aborted_count
    int32_t next_aborted            # those before it have begun
    SeenTransaction* open           # by producer id; their markers are still to come
    int32_t open_count
    int32_t open_capacity
    TransactionIndex kept           # entries whose markers stay, of the segment that is written

# Takes over `aborted` (malloc'ed).
cdef void cleaned_transactions_init(
    CleanedTransactions* transactions, AbortedTransaction* aborted, int32_t count
) noexcept nogil
cdef void cleaned_transactions_free(CleanedTransactions* transactions) noexcept nogil
# A data batch: 1 of an aborted transaction, 0 not, -1 no memory.
cdef int transactions_see_data(CleanedTransactions* transactions, const BatchHeader* header) noexcept nogil
# A control batch: 1 nothing of its transaction was seen, so it may go in time, 0 it must stay, -1 no memory.
cdef int transactions_see_marker(
    CleanedTransactions* transactions, const BatchHeader* header, const Marker* marker
) noexcept nogil
