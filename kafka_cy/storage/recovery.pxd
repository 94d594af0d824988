"""A log's work at start: list its files, re-scan unflushed data, replay producers. See recovery.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.leader_epochs cimport LeaderEpochs
from kafka_cy.storage.producer_state cimport ProducerState
from kafka_cy.storage.segment cimport Segment
from kafka_cy.storage.transaction_index cimport TransactionIndex

# The files of a log's folder, sorted by offset.
cdef struct Listing:
    int64_t* segments           # base offsets of *.log
    int32_t segments_count
    int64_t* snapshots
    int32_t snapshots_count
    int64_t* transactions       # base offsets of *.txnindex
    int32_t transactions_count

# Functions that return int return 0 or an errno.
cdef int listing_read(Listing* listing, const char* directory) noexcept nogil      # also removes leftovers
cdef void listing_free(Listing* listing) noexcept nogil
# Load the newest readable snapshot at or below `offset`; returns its offset, -1 none (then `producers` is empty).
cdef int64_t snapshot_floor(ProducerState* producers, const char* directory, Listing* listing, int64_t offset) noexcept nogil
cdef void snapshots_delete_above(const char* directory, int64_t offset) noexcept nogil
cdef void snapshots_delete_below(const char* directory, int64_t offset) noexcept nogil
# Check every batch of a pinned segment, rebuild its indexes in memory, record producers, epochs, aborted transactions.
# `end_offset` is the offset after the last good batch; the file is cut after it. A batch is good if its checksum is
# right and its offsets follow those before it, within [offset_min, offset_limit): the checksum does not cover the base
# offset.
cdef int recover_segment(
    Segment* segment, int64_t offset_min, int64_t offset_limit, int32_t index_interval_bytes, ProducerState* producers,
    TransactionIndex* aborted, LeaderEpochs* epochs, int64_t* end_offset, bint* was_cut
) noexcept nogil
# Record the producers of batches in [from_offset, until_offset) of a pinned segment. `bytes`: of the segment.
cdef int replay_producers(
    Segment* segment, int64_t bytes, int64_t from_offset, int64_t until_offset, ProducerState* producers
) noexcept nogil
