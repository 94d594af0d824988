"""The files in a log's folder: listing them, finishing swaps, removing leftovers, snapshots. See log_files.pyx."""
from libc.stdint cimport int32_t, int64_t

from kafka_cy.storage.producer_state cimport ProducerState
from kafka_cy.storage.segment cimport Segment

# How many files a start found broken, and made anew or left out.
cdef struct Repairs:
    int32_t transaction_indexes
    int32_t producer_snapshots
    int32_t epoch_checkpoints

# The files of a log's folder, sorted by offset.
cdef struct Listing:
    int64_t* segments           # base offsets of *.log
    int32_t segments_count
    int64_t* snapshots
    int32_t snapshots_count
    int64_t* transactions       # base offsets of *.txnindex
    int32_t transactions_count
    Repairs repairs

# Functions that return int return 0 or an errno.
# At a start: also finishes swaps and removes leftovers.
cdef int listing_read(Listing* listing, const char* directory) noexcept nogil
cdef int listing_look(Listing* listing, const char* directory) noexcept nogil      # changes nothing: for a log in use
cdef void listing_free(Listing* listing) noexcept nogil
# Rename a segment's files to .deleted. If that fails, the next start may find the segment: the log must go offline.
cdef int retire_segment(Segment* segment) noexcept nogil
# Load the newest whole snapshot at or below `offset`. `found`: its offset, -1 none (then `producers` is empty).
cdef int snapshot_floor(
    ProducerState* producers, const char* directory, Listing* listing, int64_t offset, int64_t* found
) noexcept nogil
cdef int snapshots_delete_above(const char* directory, int64_t offset) noexcept nogil
cdef int snapshots_delete_below(const char* directory, int64_t offset) noexcept nogil
