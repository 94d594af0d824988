"""Appending what a follower fetched. See log_follow.pyx."""
from libc.stdint cimport int32_t, int64_t, uint8_t

from kafka_cy.storage.log_struct cimport Log

# What received_check found, and what the append made of it.
cdef struct Received:
    size_t size                 # of the whole batches; a batch that the leader has cut off at the end does not count
    int32_t batches
    int64_t first_offset        # base offset of the first batch; -1: there is no batch
    int64_t first_last_offset   # last offset of the first batch
    int64_t end_offset          # behind the last batch
    int32_t last_epoch          # leader epoch of the last batch; -1 in the older formats
    int64_t bad_position        # of the batch with which the check ended, in bytes; -1 none
    int64_t bad_offset          # its base offset, as it says itself
    int bad_why                 # BatchError, or RECEIVED_BACKWARDS
    bint rolled                 # the caller queues a flush after it releases the append mutex

cdef enum:
    RECEIVED_BACKWARDS = 1000   # a batch begins below the end of the one before it

# Check batches as they came from a leader: whole, the right checksum, ascending offsets. Takes no lock. STORAGE_OK or
# STORAGE_CORRUPT.
cdef int received_check(const uint8_t* data, size_t size, Received* received) noexcept nogil
# Append checked batches byte for byte. With the append mutex. A StorageError: STORAGE_OFFSET_OUT_OF_RANGE if they begin below the
# log's end, and the log is unchanged; after an I/O error it ends with a whole batch.
cdef int log_append_received_locked(Log* log, const uint8_t* data, int64_t now_ms, Received* received) noexcept nogil
