"""Transactions in a cleaning round: aborted data is removed; a marker stays while data of its transaction remains."""
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, qsort, realloc
from libc.string cimport memmove, memset

from kafka_cy.records.batch cimport ATTRIBUTE_TRANSACTIONAL, BatchHeader
from kafka_cy.storage.producer_state cimport Marker
from kafka_cy.storage.sorted_ids cimport place_of_id
from kafka_cy.storage.transaction_index cimport AbortedTransaction, transactions_append, transactions_free


cdef int by_first_offset(const void* a, const void* b) noexcept nogil:
    cdef int64_t left = (<AbortedTransaction*>a).first_offset
    cdef int64_t right = (<AbortedTransaction*>b).first_offset
    return -1 if left < right else (1 if left > right else 0)


cdef void cleaned_transactions_init(
    CleanedTransactions* transactions, AbortedTransaction* aborted, int32_t count
) noexcept nogil:
    memset(transactions, 0, sizeof(CleanedTransactions))
    transactions.aborted = aborted
    transactions.aborted_count = count
    if count > 1:
        qsort(aborted, <size_t>count, sizeof(AbortedTransaction), by_first_offset)


cdef void cleaned_transactions_free(CleanedTransactions* transactions) noexcept nogil:
    free(transactions.aborted)
    free(transactions.open)
    transactions_free(&transactions.kept)
    memset(transactions, 0, sizeof(CleanedTransactions))


cdef int32_t place_of(const CleanedTransactions* transactions, int64_t producer_id) noexcept nogil:
    """Index of the producer's open transaction, or its insertion point."""
    return place_of_id(transactions.open, sizeof(SeenTransaction), transactions.open_count, producer_id)


cdef SeenTransaction* find_open(CleanedTransactions* transactions, int64_t producer_id) noexcept nogil:
    cdef int32_t i = place_of(transactions, producer_id)
    if i < transactions.open_count and transactions.open[i].producer_id == producer_id:
        return &transactions.open[i]
    return NULL


cdef SeenTransaction* open_one(CleanedTransactions* transactions, int64_t producer_id) noexcept nogil:
    """The producer's open transaction, created if missing; NULL when out of memory."""
    cdef SeenTransaction* found = find_open(transactions, producer_id)
    cdef SeenTransaction* grown
    cdef int32_t wanted, i
    if found != NULL:
        return found
    if transactions.open_count == transactions.open_capacity:
        wanted = transactions.open_capacity * 2 if transactions.open_capacity else 8
        grown = <SeenTransaction*>realloc(transactions.open, <size_t>wanted * sizeof(SeenTransaction))
        if grown == NULL:
            return NULL
        transactions.open = grown
        transactions.open_capacity = wanted
    i = place_of(transactions, producer_id)
    found = &transactions.open[i]
    memmove(found + 1, found, <size_t>(transactions.open_count - i) * sizeof(SeenTransaction))
    transactions.open_count += 1
    found.producer_id = producer_id
    found.aborted = -1
    found.has_data = False
    return found


cdef void close_one(CleanedTransactions* transactions, SeenTransaction* seen) noexcept nogil:
    cdef SeenTransaction* end = transactions.open + transactions.open_count
    memmove(seen, seen + 1, <size_t>(end - seen - 1) * sizeof(SeenTransaction))
    transactions.open_count -= 1


cdef int begin_aborted(CleanedTransactions* transactions, int64_t last_offset) noexcept nogil:
    """Open the aborted transactions that begin at or before `last_offset`."""
    cdef SeenTransaction* seen
    cdef int32_t i
    while transactions.next_aborted < transactions.aborted_count:
        i = transactions.next_aborted
        if transactions.aborted[i].first_offset > last_offset:
            return 0
        seen = open_one(transactions, transactions.aborted[i].producer_id)
        if seen == NULL:
            return -1
        seen.aborted = i
        seen.has_data = False
        transactions.next_aborted += 1
    return 0


cdef int transactions_see_data(CleanedTransactions* transactions, const BatchHeader* header) noexcept nogil:
    cdef SeenTransaction* seen
    if begin_aborted(transactions, header.base_offset + header.last_offset_delta) < 0:
        return -1
    if not header.attributes & ATTRIBUTE_TRANSACTIONAL:
        return 0
    seen = open_one(transactions, header.producer_id)
    if seen == NULL:
        return -1
    seen.has_data = True
    return 1 if seen.aborted >= 0 else 0


cdef int transactions_see_marker(
    CleanedTransactions* transactions, const BatchHeader* header, const Marker* marker
) noexcept nogil:
    cdef SeenTransaction* seen
    cdef bint stays
    if begin_aborted(transactions, header.base_offset + header.last_offset_delta) < 0:
        return -1
    if header.records_count == 0:
        return 1                # emptied by an earlier round
    if not marker.present:
        return 0                # not transactional
    seen = find_open(transactions, header.producer_id)
    if seen == NULL:
        return 1
    stays = seen.has_data
    if stays and seen.aborted >= 0 and transactions_append(&transactions.kept, &transactions.aborted[seen.aborted]) < 0:
        return -1
    close_one(transactions, seen)
    return 0 if stays else 1
