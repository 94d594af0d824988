"""Rebuilding what a log knows from its batches, after a crash or a truncation. See log_recovery.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.leader_epochs cimport LeaderEpochs
from kafka_cy.storage.log_files cimport Listing
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.segment cimport Segment
from kafka_cy.storage.transaction_index cimport TransactionIndex

# Functions return 0 or an errno.
# Re-scan segments[first:].
cdef int recover_from(Log* log, Listing* listing, int32_t first) noexcept nogil
cdef int rebuild_segment(
    Log* log, Segment* segment, int64_t offset_limit, Listing* listing, TransactionIndex* aborted, LeaderEpochs* epochs,
    int64_t* end_offset, bint* was_cut
) noexcept nogil
cdef int rebuild_epochs(Log* log) noexcept nogil
cdef int load_producers(Log* log, Listing* listing, int64_t offset) noexcept nogil
