"""A cleaning round's state, and its reader: whole batches within the allowed bandwidth. See cleaner_reader.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.records.batch cimport BatchHeader
from kafka_cy.records.wire cimport Writer
from kafka_cy.storage.cleaned_batch cimport BatchFilter
from kafka_cy.storage.cleaned_transactions cimport CleanedTransactions
from kafka_cy.storage.cleaner_control cimport CleanerControl
from kafka_cy.storage.log_cleaning cimport Cleanable
from kafka_cy.storage.log_struct cimport Log
from kafka_cy.storage.offset_map cimport OffsetMap
from kafka_cy.storage.segment cimport Segment

# Statistics of a round.
cdef struct RoundStats:
    int64_t started_ms                  # monotonic
    int64_t elapsed_ms
    int64_t first_dirty
    int64_t end_offset
    int64_t map_bytes_read
    int64_t bytes_read
    int64_t bytes_written
    int64_t segments_before
    int64_t segments_after
    double buffer_utilization           # share of the map's slots

# A round in progress.
# Owner: one cleaner thread, on its stack. Its buffers exist only during the round.
cdef struct Cleaning:
    CleanerControl* control
    Log* log
    const Cleanable* cleanable
    RoundStats* stats
    int32_t truncations         # the log's count when the round began
    int64_t end_offset          # everything below is clean after the round
    int64_t legacy_horizon_ms   # magic 0 and 1 tombstones are removed from segments last changed before this
    size_t io_bytes             # size of each buffer
    double io_bytes_per_second
    int failed_errno
    OffsetMap latest
    CleanedTransactions transactions
    BatchFilter filter
    uint8_t* input
    size_t input_capacity
    Writer output

# Reads whole batches of a pinned segment through the round's input buffer.
cdef struct BatchReader:
    Segment* segment
    int64_t size
    int64_t position            # position of the next batch
    int64_t window_position     # bytes in the buffer
    int64_t window_size

# These return a StorageError. STORAGE_DELETED: the round was stopped, or retention or a deletion removed the input.
cdef int reader_init(Cleaning* cleaning, BatchReader* reader, Segment* segment) noexcept nogil      # from a pinned segment
cdef int next_batch(Cleaning* cleaning, BatchReader* reader, const uint8_t** data, BatchHeader* header) noexcept nogil
cdef int io_error(Cleaning* cleaning, int failed) noexcept nogil    # converts 0 or an errno
cdef void throttle(Cleaning* cleaning, int64_t size) noexcept nogil
