"""Aborted transactions in marker order (Kafka's .txnindex). See transaction_index.pyx."""
from libc.stdint cimport int32_t, int64_t

cdef enum:
    ABORTED_ENTRY_SIZE = 34     # int16 version 0, producer id, first, last (the marker's), last stable offset after it

cdef struct AbortedTransaction:
    int64_t producer_id
    int64_t first_offset
    int64_t last_offset
    int64_t last_stable_offset

# All of a log's entries, in memory. Each file belongs to the segment that holds the markers. Guarded by segments_mutex.
cdef struct TransactionIndex:
    AbortedTransaction* entries
    int32_t count
    int32_t capacity

cdef void transactions_free(TransactionIndex* index) noexcept nogil
cdef int transactions_append(TransactionIndex* index, const AbortedTransaction* aborted) noexcept nogil    # 0, or -1: out of memory
# Functions that touch a file return 0 or an errno.
cdef int transactions_write(const char* directory, int64_t base_offset, const AbortedTransaction* aborted) noexcept nogil
cdef int transactions_load(TransactionIndex* index, const char* directory, int64_t base_offset) noexcept nogil
cdef void transactions_truncate_end(TransactionIndex* index, int64_t end_offset) noexcept nogil
cdef void transactions_truncate_start(TransactionIndex* index, int64_t start_offset) noexcept nogil
cdef int transactions_overlapping(
    TransactionIndex* index, int64_t first, int64_t last_exclusive, int64_t** pairs, int32_t* count
) noexcept nogil
# Make the file at `path` hold exactly the entries with a marker in [first, end); no file if there are none.
cdef int transactions_write_file(
    const TransactionIndex* index, const char* path, int64_t first, int64_t end
) noexcept nogil
# Set `copy` to the entries with a marker below `end`. 0, or -1: out of memory.
cdef int transactions_copy_below(const TransactionIndex* index, int64_t end, TransactionIndex* copy) noexcept nogil
# Set `merged` to the index with the entries of `kept` in place of those with a marker in [first, end). 0, or -1: out of
# memory.
cdef int transactions_merge(
    const TransactionIndex* index, int64_t first, int64_t end, const TransactionIndex* kept, TransactionIndex* merged
) noexcept nogil
cdef int transactions_rewrite(TransactionIndex* index, const char* directory, int64_t base_offset, int64_t end) noexcept nogil
