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
# Re-scan one pinned segment. What follows its last good batch in the file is for the caller to cut off (`was_cut`).
cdef int rebuild_segment(
    Log* log, Segment* segment, int64_t offset_limit, Listing* listing, TransactionIndex* aborted, LeaderEpochs* epochs,
    int64_t* end_offset, bint* was_cut
) noexcept nogil
# Its file ends where the segment does, and that is on disk.
cdef int cut_file_of(Segment* segment) noexcept nogil
cdef int rebuild_epochs(Log* log) noexcept nogil
# Read the .txnindex files of segments[:end]. A file with entries that cannot be is rebuilt from the segment's batches.
cdef int load_aborted(Log* log, Listing* listing, int32_t end) noexcept nogil
# At a clean start, when the log's end is known: the same for entries of the last segment beyond it.
cdef int check_aborted_below_end(Log* log, Listing* listing) noexcept nogil
# This clears the producers first.
cdef int load_producers(Log* log, Listing* listing, int64_t offset) noexcept nogil
