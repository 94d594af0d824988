"""What the cleaner asks of a log, and the swap of old segments for cleaned ones. See log_cleaning.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.segment cimport Segment
from kafka_cy.storage.transaction_index cimport TransactionIndex

# The cleanable part of a log (Kafka's LogToClean).
cdef struct Cleanable:
    int64_t first_dirty         # the round builds its map from here ...
    int64_t first_uncleanable   # ... to here, the base offset of a segment
    int64_t clean_bytes         # in the segments before first_dirty
    int64_t dirty_bytes         # in those from there to first_uncleanable
    int64_t overdue_ms          # time since max.compaction.lag.ms expired, 0 not yet

# `stable_offset`: the last stable offset, exclusive. A StorageError.
cdef int log_cleanable(Log* log, int64_t stable_offset, int64_t now_ms, Cleanable* cleanable) noexcept nogil
# A complete, synced segment written beside the log as <base offset>.log.cleaned (and .index, .timeindex, .txnindex).
cdef struct CleanedSegment:
    int64_t base_offset         # base offset of the first segment it replaces
    int64_t next_base           # base offset of the segment after the last replaced one
    int64_t size
    int32_t truncations         # the log's number of them when the round began
    TransactionIndex* aborted   # entries whose markers stay
# Put it in the place of `replaced` (pinned, consecutive). STORAGE_DELETED: some of them are gone, the log was cut or is
# closed, or replacing is held; nothing was changed. STORAGE_IO_ERROR: see `failed_errno`.
cdef int log_replace_segments(
    Log* log, Segment** replaced, int32_t count, const CleanedSegment* cleaned, int* failed_errno
) noexcept nogil
# Everything below `end_offset` is clean, unless the log was truncated since its count was `truncations`.
cdef void log_set_cleaned(Log* log, int64_t end_offset, int32_t truncations) noexcept nogil
